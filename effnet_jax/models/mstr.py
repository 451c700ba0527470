"""MSTR: patch tokens at several scales, recycled into the feature that the head sees.

Windows of patches are averaged at each scale, pass through a small transformer per scale, and are mixed over all tokens
into one vector, which joins the CLS token. The published code differs from its own description: it averages runs of
consecutive tokens instead of windows, attends over the pictures of a batch instead of over tokens, and never trains or
saves its transformers. `as_published` reproduces the first two, for comparison with recorded numbers only.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange, reduce
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Float32, Key

from effnet_jax.models.layers import RowDropout, layer_norm, linear

SCALES = (1, 2, 7)  # edges of the windows, patches
LAYERS = 2
HEADS = 8
FFN = 2048
DROPOUT = 0.1
EPSILON = 1e-5  # of the layer norms, torch's
CLS_SHARE = 0.9  # of the feature that the head sees; the rest is recycled
CHANNEL_GROUP = 48  # neighbouring channels averaged before tokens are compared
PUBLISHED_GRID = 14  # patches along an edge
OVERLAP = 0.5  # similarity wanted of a window and one that lies inside it


class PostNormLayer(nnx.Module):
    """Post-norm transformer layer with a ReLU network.

    Example:
        >>> layer = PostNormLayer(8, 2, 16, 0.1, dtype=jnp.float32, rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((1, 5, 8))).shape
        (1, 5, 8)
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.heads, self.dropout = heads, dropout
        self.qkv = linear(width, 3 * width, dtype, rngs)
        self.proj = linear(width, width, dtype, rngs)
        self.fc1 = linear(width, hidden, dtype, rngs)
        self.fc2 = linear(hidden, width, dtype, rngs)
        self.norm1, self.norm2 = (layer_norm(width, dtype, rngs, epsilon=EPSILON) for _ in range(2))

    def __call__(self, x: Float[Array, "b n d"], keys: Key[Array, "b"] | None = None) -> Float[Array, "b n d"]:
        """Attend over the tokens; keys, one per row, turn dropout on."""
        draw = RowDropout(self.dropout, keys)
        query, key, value = rearrange(self.qkv(x), "b n (three k e) -> three b k n e", three=3, k=self.heads)
        logits = jnp.einsum("bkne,bkme->bknm", query * query.shape[-1] ** -0.5, key)
        weights = draw(jax.nn.softmax(logits.astype(jnp.float32), axis=-1).astype(x.dtype), 0)
        attended = rearrange(jnp.einsum("bknm,bkme->bkne", weights, value), "b k n e -> b n (k e)")
        x = self.norm1(x + draw(self.proj(attended), 1))
        return self.norm2(x + draw(self.fc2(draw(jax.nn.relu(self.fc1(x)), 2)), 3))


class MSTR(nnx.Module):
    """Multi-scale token recycling.

    Args:
        width: token width d; a multiple of the heads and of 48.
        grid: patches along an edge; a multiple of every scale.
        heads: attention heads k of the transformers.
        hidden: hidden width of the transformers' networks.
        dropout: share dropped of the attention maps and after the linear layers, where a key is given.
        as_published: the published behaviour instead of the described one; scores then depend on the batch.
        dtype: compute dtype.
        rngs: source of the initialisation key.

    Raises:
        ValueError: a grid or width that does not divide.

    Source: the authors' later replacement of TRSM ("ARNet").

    Example:
        >>> mstr = MSTR(48, 14, hidden=8, rngs=nnx.Rngs(0))
        >>> seen, decorrelation = nnx.jit(mstr)(jnp.ones((2, 197, 48)))
        >>> seen.shape, decorrelation.shape
        ((2, 48), (2,))
    """

    def __init__(
        self,
        width: int,
        grid: int,
        *,
        heads: int = HEADS,
        hidden: int = FFN,
        dropout: float = DROPOUT,
        as_published: bool = False,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if problem := recycling_problem(width, grid, heads, as_published=as_published):
            raise ValueError(f"MSTR: {problem}.")
        self.grid = grid
        self.as_published = as_published
        self.transformers = nnx.List(
            [
                nnx.List([PostNormLayer(width, heads, hidden, dropout, dtype=dtype, rngs=rngs) for _ in range(LAYERS)])
                for _ in SCALES
            ]
        )
        tokens = sum((grid // scale) ** 2 for scale in SCALES)
        self.mix = linear(tokens, 1, jnp.float32, rngs)

    def __call__(
        self, tokens: Float[Array, "b n d"], keys: Key[Array, "b"] | None = None
    ) -> tuple[Float[Array, "b d"], Float[Array, " b"]]:
        """Recycle the tokens of a ViT.

        Args:
            tokens: final-norm tokens, CLS first.
            keys: one per row, for dropout; None at test.

        Returns:
            What the head sees, 0.9 CLS + 0.1 recycled, float32; and the decorrelation loss of each picture: the mean
            squared difference of its tokens' Gram matrix from the wanted one.
        """
        recycled = jnp.concatenate(self.recycle(tokens[:, 1:], keys), axis=1).astype(jnp.float32)  # (b, m, d)
        mixed = self.mix(rearrange(recycled, "b m d -> b d m"))[..., 0]
        final = CLS_SHARE * tokens[:, 0].astype(jnp.float32) + (1 - CLS_SHARE) * mixed
        pooled = reduce(recycled, "b m (c g) -> b m c", "mean", g=CHANNEL_GROUP)
        gram = jnp.einsum("bmc,bnc->bmn", pooled, pooled, precision=jax.lax.Precision.HIGHEST)
        wanted = published_target(self.grid) if self.as_published else overlap_target(self.grid)
        return final, jnp.mean((gram - wanted) ** 2, axis=(1, 2))

    def recycle(
        self, patches: Float[Array, "b m d"], keys: Key[Array, "b"] | None = None
    ) -> list[Float[Array, "b _ d"]]:
        """Give the tokens of every scale after its transformer, fine to coarse."""
        outputs = []
        for i, (scale, layers) in enumerate(zip(SCALES, self.transformers, strict=True)):
            if self.as_published:
                x = reduce(patches, "b (m q) d -> m b d", "mean", q=scale**2)  # pictures take the place of tokens
            else:
                x = reduce(patches, "b (i p j q) d -> b (i j) d", "mean", p=scale, q=scale, i=self.grid // scale,
                           j=self.grid // scale)  # fmt: skip
            for j, layer in enumerate(layers):
                own = None if keys is None else jax.vmap(jax.random.fold_in, (0, None))(keys, LAYERS * i + j)
                x = layer(x, None if self.as_published else own)
            outputs.append(rearrange(x, "m b d -> b m d") if self.as_published else x)
        return outputs


def recycling_problem(width: int, grid: int, heads: int = HEADS, *, as_published: bool = False) -> str:
    """Say why MSTR cannot work on tokens of a width and a grid of patches; "" where it can.

    Example:
        >>> recycling_problem(768, 14)
        ''
        >>> recycling_problem(64, 14)
        'the width 64 must be a multiple of 8 heads and of 48 channels'
    """
    if heads < 1:
        return f"{heads} heads cannot be; it needs 1 or more"
    if any(grid % scale for scale in SCALES):
        return (
            f"windows of {SCALES} patches are averaged, so the {grid} x {grid} patches must be a multiple of "
            f"{math.lcm(*SCALES)} along each edge; 224 pixels with patches of 16 are"
        )
    if as_published and grid != PUBLISHED_GRID:
        return f"the published behaviour is one of 14 x 14 patches only, not of {grid} x {grid}"
    if width % heads or width % CHANNEL_GROUP:
        return f"the width {width} must be a multiple of {heads} heads and of {CHANNEL_GROUP} channels"
    return ""


def overlap_target(grid: int) -> Float32[np.ndarray, "m m"]:
    """Give the Gram matrix that decorrelation wants: 1 on the diagonal, 0 within a scale, and between scales half the
    share of the finer window's patches that lie inside the coarser one.

    Source: what the published matrix, asymmetric and with overlapping ranges, was evidently meant to be.

    Example:
        >>> target = overlap_target(14)
        >>> target.shape, target[0, 196].item(), target[0, 245].item()  # its 2 x 2 and its 7 x 7 window
        ((249, 249), 0.5, 0.5)
    """
    patches = np.arange(grid * grid).reshape(grid, grid)
    windows = []  # (tokens of a scale, patches) membership
    for scale in SCALES:
        edge = grid // scale
        index = (patches // grid // scale) * edge + patches % grid // scale
        windows.append((index.reshape(1, -1) == np.arange(edge**2)[:, None]).astype(np.float32))
    blocks = []
    for i, a in enumerate(windows):
        shares = [
            np.eye(len(a), dtype=np.float32) if i == j else OVERLAP * (a @ b.T) / min(SCALES[i], SCALES[j]) ** 2
            for j, b in enumerate(windows)
        ]
        blocks.append(shares)
    return np.block(blocks).astype(np.float32)


def published_target(grid: int) -> Float32[np.ndarray, "m m"]:
    """Give the published matrix, for 14 x 14 patches only, with its asymmetry and overlapping ranges.

    Raises:
        ValueError: another grid.

    Example:
        >>> target = published_target(14)
        >>> target.shape, bool((target == target.T).all())
        ((249, 249), False)
    """
    if grid != PUBLISHED_GRID:
        raise ValueError(f"the published MSTR works on 14 x 14 patches only, not on {grid} x {grid}.")
    fine, middle, coarse = 14 * 14, 7 * 7, 2 * 2
    target = np.eye(fine + middle + coarse, dtype=np.float32)
    for i in range(middle):
        target[fine + i, 4 * i : 4 * i + 4] = target[4 * i : 4 * i + 4, fine + i] = OVERLAP
    for i in range(coarse):
        row, run = fine + middle + i, slice(49 * i, 49 * i + 49)
        target[row, run] = target[run, row] = OVERLAP
        target[row, fine + 12 * i : fine + (middle if i == coarse - 1 else 13 * (i + 1))] = OVERLAP
    return target
