"""Late interaction: each patch of a sketch looks for the photo's patch that is most like it.

score(s, p) = mean over the sketch's patches i of max over the photo's patches j near i of <s_i, p_j>, patch tokens of
unit norm. Only patches of a sketch that hold ink count. A pair costs k m d multiply-adds for k patches with ink and m
of a photo: 196 x 196 x 192 = 7.4 million at most for ViT-Ti at 224 pixels, about half of that for a line drawing.
"""

import jax
import jax.numpy as jnp
import numpy as np
from einops import reduce
from jaxtyping import Array, Bool, Float, Float32, Int, UInt8

INK = 2.0  # mean darkness of a patch, 0..255, from which it counts
_NORM_FLOOR = 1e-6  # tokens are divided by max(norm, this), so that zero stays zero


def unit_patches(tokens: Float[Array | np.ndarray, "b n d"]) -> Float32[Array, "b m d"]:
    """Leave the CLS token out, and scale patch tokens to unit norm; zero stays zero.

    Args:
        tokens: CLS first, m = n - 1 patches in raster order behind.

    Example:
        >>> import jax.numpy as jnp
        >>> from effnet_jax.retrieval.late_interaction import unit_patches
        >>> unit_patches(jnp.array([[[9.0, 9.0], [3.0, 4.0], [0.0, 0.0]]])).tolist()
        [[[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]]
    """
    patches = jnp.asarray(tokens)[:, 1:].astype(jnp.float32)
    squared = jnp.sum(patches * patches, axis=-1, keepdims=True)
    return patches * jax.lax.rsqrt(jnp.maximum(squared, _NORM_FLOOR**2))  # a norm has no gradient at zero


def near(side: int, window: float) -> Bool[np.ndarray, "m m"]:
    """Tell which patches of a square grid lie within a window of each other.

    Args:
        side: patches along an edge; m = side * side.
        window: largest Euclidean distance, in patches; 0: any.

    Example:
        >>> from effnet_jax.retrieval.late_interaction import near
        >>> near(3, 1.0).sum(axis=1).reshape(3, 3).tolist()
        [[3, 4, 3], [4, 5, 4], [3, 4, 3]]
        >>> bool(near(3, 0).all())
        True
    """
    down, across = np.divmod(np.arange(side * side), side)
    squared = (down[:, None] - down) ** 2 + (across[:, None] - across) ** 2
    return squared <= window**2 if window else np.ones_like(squared, bool)


def late_scores(
    sketches: Float32[Array | np.ndarray, "s k d"],
    photos: Float32[Array | np.ndarray, "g m d"],
    nearby: Bool[Array | np.ndarray, "m m"],
    places: Int[Array | np.ndarray, "s k"] | None = None,
    *,
    at_once: bool = False,
) -> Float32[Array, "s g"]:
    """Score every sketch with every photo; a score depends on nothing but the two.

    Args:
        sketches: patches of unit norm; those of norm zero do not count. A sketch without any scores 0.
        photos: patches of unit norm.
        nearby: from `near`: where each patch of a sketch looks.
        places: of the sketches' patches in the grid, so that those without ink need not be compared; None: all patches
            in their order.
        at_once: compare all sketches at once, s g k m numbers in memory, which cuts over devices; else one by one.

    Returns:
        Means of cosines, in [-1, 1].

    Source: ours, after ColBERT's sum of maxima (arXiv 2004.12832), with a window.

    Example:
        >>> import jax.numpy as jnp
        >>> from effnet_jax.retrieval.late_interaction import late_scores, near
        >>> sketch = jnp.array([[[1.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 1.0]]])  # two of four patches count
        >>> photos = jnp.array([[[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [0.6, 0.8]], [[0.0, 1.0]] * 4])
        >>> late_scores(sketch, photos, near(2, 1.0)).round(2).tolist()
        [[0.8999999761581421, 0.5]]
        >>> late_scores(sketch[:, ::3], photos, near(2, 1.0), jnp.array([[0, 3]])).round(2).tolist()
        [[0.8999999761581421, 0.5]]
    """
    grid = jnp.asarray(nearby)
    where = jnp.broadcast_to(jnp.arange(len(grid)), sketches.shape[:2]) if places is None else jnp.asarray(places)

    def score(one: tuple[Float32[Array, "k d"], Int[Array, " k"]]) -> Float32[Array, " g"]:
        sketch, own = one
        alike = jnp.einsum("id,gjd->gij", sketch, photos, precision=jax.lax.Precision.HIGHEST)
        best = jnp.max(jnp.where(grid[own], alike, -jnp.inf), axis=-1)
        counts = jnp.any(sketch != 0, axis=-1)
        return jnp.sum(jnp.where(counts, best, 0.0), axis=-1) / jnp.maximum(jnp.sum(counts), 1)

    pairs = (jnp.asarray(sketches), where)
    return jax.vmap(score)(pairs) if at_once else jax.lax.map(score, pairs)


def inked_patches(
    sketches: UInt8[Array | np.ndarray, "b h w 3"], patch_size: int, ink: float = INK
) -> Bool[Array | np.ndarray, "b m"]:
    """Tell which patches of sketches hold ink; all of them where none does.

    Args:
        sketches: dark on light, at the size that the encoder sees.
        patch_size: edge of a patch, pixels.
        ink: mean darkness 0..255 above which a patch holds some.

    Example:
        >>> import numpy as np
        >>> from effnet_jax.retrieval.late_interaction import inked_patches
        >>> sketch = np.full((1, 4, 4, 3), 255, np.uint8)
        >>> sketch[0, 0, 0] = 0
        >>> inked_patches(sketch, patch_size=2).tolist()
        [[True, False, False, False]]
    """
    darkness = 255 - sketches.min(axis=-1).astype(np.float32)
    inked = reduce(darkness, "b (h p) (w q) -> b (h w)", "mean", p=patch_size, q=patch_size) > ink
    return inked | ~inked.any(axis=1, keepdims=True)
