"""Swin Transformer: attention inside shifted windows, four stages of halved resolution (timm's Swin, in flax.nnx).

Letters: b batch, h w image, i j cells of the feature map, d width, k heads, e head width, n cells of a window.
"""

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, Key

from effnet_jax.models.backbone import Backbone, check_images, check_size
from effnet_jax.models.layers import Mlp, dense_init, drop_path, drop_path_rates, layer_norm, linear, per_token, raster

PATCH, STAGES, EPSILON = 4, 4, 1e-5
LEAST = MULTIPLE = PATCH * 2 ** (STAGES - 1)  # pixels
MASKED = -100.0  # timm's; added to the logits of pairs that are not neighbours before the shift


class WindowAttention(nnx.Module):
    """Multi-head self-attention inside one window, with a learned bias for each displacement.

    Example:
        >>> attention = WindowAttention(8, 2, window=2, dtype=jnp.float32, rngs=nnx.Rngs(0))
        >>> nnx.eval_shape(lambda x: attention(x, side=2, mask=None), jnp.ones((3, 4, 8))).shape
        (3, 4, 8)
    """

    def __init__(self, width: int, heads: int, window: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.heads = heads
        self.window = window
        self.qkv = linear(width, 3 * width, dtype, rngs)
        self.proj = linear(width, width, dtype, rngs)
        self.relative_position_bias = nnx.Param(dense_init(rngs.params(), ((2 * window - 1) ** 2, heads)))

    def __call__(
        self, x: Float[Array, "c n d"], side: int, mask: Bool[np.ndarray, "v n n"] | None
    ) -> Float[Array, "c n d"]:
        """Attend in each window.

        Args:
            x: cells of the windows, the windows of one image after another.
            side: edge of the windows, at most the one the bias was made for.
            mask: for each window of an image, which pairs may see each other; None for all.
        """
        query, key, value = rearrange(per_token(self.qkv, x), "c n (three k e) -> three c k n e", three=3, k=self.heads)
        logits = jnp.einsum("ckne,ckme->cknm", query * query.shape[-1] ** -0.5, key, preferred_element_type=jnp.float32)
        bias = self.relative_position_bias[...][displacements(side, self.window)]  # (n, n, k)
        logits = logits + rearrange(bias, "n m k -> k n m")
        if mask is not None:
            by_image = rearrange(logits, "(b v) k n m -> b v k n m", v=mask.shape[0])
            by_image = by_image + jnp.where(mask, 0.0, MASKED)[:, None]
            logits = rearrange(by_image, "b v k n m -> (b v) k n m")
        weights = jax.nn.softmax(logits, axis=-1).astype(x.dtype)
        attended = jnp.einsum("cknm,ckme->ckne", weights, value)
        return per_token(self.proj, rearrange(attended, "c k n e -> c n (k e)"))


def displacements(side: int, window: int) -> Int[np.ndarray, "n n"]:
    """Give the row of the bias table for each pair of cells in a window of edge `side`.

    The table is laid out for windows of edge `window`; a smaller one uses the displacements that occur in it.

    Example:
        >>> displacements(side=2, window=2).tolist()
        [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]
    """
    cells = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), axis=-1).reshape(-1, 2)
    rows, columns = np.moveaxis(cells[:, None] - cells[None, :], -1, 0) + window - 1
    return rows * (2 * window - 1) + columns


def neighbours(grid: int, side: int, shift: int) -> Bool[np.ndarray, "v n n"]:
    """Tell for each window of a shifted grid which pairs of cells lay side by side before the shift.

    Example:
        >>> mask = neighbours(grid=4, side=2, shift=1)
        >>> mask.shape, mask[0].all().item(), mask[3].sum().item()  # the last window has four regions
        ((4, 4, 4), True, 4)
    """
    edges = np.zeros(grid, int)
    edges[-side:] += 1
    edges[-shift:] += 1
    regions = edges[:, None] * 3 + edges[None, :]
    windows = rearrange(regions, "(i p) (j q) -> (i j) (p q)", p=side, q=side)
    return windows[:, :, None] == windows[:, None, :]


class Block(nnx.Module):
    """Window attention and an MLP, pre-norm; every second block of a stage shifts the windows by half.

    Example:
        >>> block = Block(8, 2, window=2, shifted=True, drop=0.0, place=0, dtype=jnp.float32, rngs=nnx.Rngs(0))
        >>> nnx.eval_shape(block, jnp.ones((1, 4, 4, 8)), None).shape
        (1, 4, 4, 8)
    """

    def __init__(
        self,
        width: int,
        heads: int,
        window: int,
        *,
        shifted: bool,
        drop: float,
        place: int,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.window, self.shifted, self.drop, self.place = window, shifted, drop, place
        self.norm1 = layer_norm(width, dtype, rngs, epsilon=EPSILON)
        self.attn = WindowAttention(width, heads, window, dtype=dtype, rngs=rngs)
        self.norm2 = layer_norm(width, dtype, rngs, epsilon=EPSILON)
        self.mlp = Mlp(width, 4 * width, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "b i j d"], keys: Key[Array, "b"] | None) -> Float[Array, "b i j d"]:
        """One block."""
        x = x + drop_path(self._attend(self.norm1(x)), keys, self.drop, 2 * self.place)
        return x + drop_path(self.mlp(self.norm2(x)), keys, self.drop, 2 * self.place + 1)

    def _attend(self, x: Float[Array, "b i j d"]) -> Float[Array, "b i j d"]:
        """Shift, pad to whole windows (with zeros that take part, as in timm), attend, and undo both."""
        grid = x.shape[1]
        side = min(self.window, grid)
        shift = side // 2 if self.shifted and side < grid else 0
        x = jnp.roll(x, (-shift, -shift), axis=(1, 2))
        missing = -grid % side
        x = jnp.pad(x, ((0, 0), (0, missing), (0, missing), (0, 0)))
        rows = (grid + missing) // side
        mask = neighbours(grid + missing, side, shift) if shift else None
        windows = rearrange(x, "b (i p) (j q) d -> (b i j) (p q) d", p=side, q=side)
        windows = self.attn(windows, side, mask)
        x = rearrange(windows, "(b i j) (p q) d -> b (i p) (j q) d", i=rows, j=rows, p=side)
        return jnp.roll(x[:, :grid, :grid], (shift, shift), axis=(1, 2))


class PatchMerging(nnx.Module):
    """Four neighbouring cells to one of twice the width.

    Example:
        >>> PatchMerging(4, dtype=jnp.float32, rngs=nnx.Rngs(0))(jnp.ones((1, 4, 4, 4))).shape
        (1, 2, 2, 8)
    """

    def __init__(self, width: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.norm = layer_norm(4 * width, dtype, rngs, epsilon=EPSILON)
        self.reduction = linear(4 * width, 2 * width, dtype, rngs, use_bias=False)

    def __call__(self, x: Float[Array, "b i j d"]) -> Float[Array, "b u v e"]:
        """Halve both sides of the grid."""
        x = rearrange(x, "b (i p) (j q) d -> b i j (q p d)", p=2, q=2)  # column of the cell before its row
        return per_token(self.reduction, self.norm(x))


class Swin(Backbone):
    """Swin Transformer that returns the cells of its last, normed feature map.

    Grids that are no multiple of the window are padded, as in timm. Where a grid is smaller than the window, the window
    shrinks and uses its part of the bias table, so the parameters are the same at every image size; timm interpolates
    the table there.

    Args:
        width: channels of the first stage, doubled by each further one; default and every other default: Swin-T at 224.
        depths: blocks of the four stages.
        heads: attention heads of the first stage, doubled by each further one; must divide `width`.
        image_size: height and width of the input, pixels; a multiple of 32.
        window: height and width of a window, cells.
        drop_path: rate at which rows lose a branch in training, 0 in the first block to this in the last.
        dtype: compute dtype, jnp.float32 or jnp.bfloat16.
        remat: recompute the blocks in the backward pass.
        rngs: source of the initialisation key (stream `params`).

    Raises:
        ValueError: heads do not divide the width, or an image size that is no multiple of 32.

    Source: Liu et al. 2021; timm `swin_*_patch4_window7_224`; EffNet's Swin trains with drop path 0.1.

    Example:
        >>> images = jnp.ones((1, 224, 224, 3))
        >>> nnx.eval_shape(lambda: Swin(depths=(1, 1, 1, 1), rngs=nnx.Rngs(0))(images)).shape  # computes nothing
        (1, 49, 768)
    """

    pooling = "mean"

    def __init__(
        self,
        *,
        width: int = 96,
        depths: tuple[int, int, int, int] = (2, 2, 6, 2),
        heads: int = 3,
        image_size: int = 224,
        window: int = 7,
        drop_path: float = 0.1,
        dtype: DTypeLike = jnp.float32,
        remat: bool = False,
        rngs: nnx.Rngs,
    ):
        if width % heads:
            raise ValueError(f"Swin: width {width} is not a multiple of {heads} heads; change one of them.")
        check_size("Swin", image_size, least=LEAST, multiple=MULTIPLE)
        self.image_size, self.dtype, self.remat = image_size, dtype, remat
        self.width = width * 2 ** (STAGES - 1)
        self.patches = (image_size // MULTIPLE) ** 2
        self.patch_embed = linear(3 * PATCH**2, width, dtype, rngs)
        self.patch_norm = layer_norm(width, dtype, rngs, epsilon=EPSILON)
        rates = drop_path_rates(drop_path, depths)
        self.stages = nnx.List(
            [
                nnx.List(
                    [
                        Block(
                            width * 2**s,
                            heads * 2**s,
                            window,
                            shifted=i % 2 == 1,
                            drop=rates[s][i],
                            place=sum(depths[:s]) + i,
                            dtype=dtype,
                            rngs=rngs,
                        )
                        for i in range(depths[s])
                    ]
                )
                for s in range(STAGES)
            ]
        )
        self.merges = nnx.List([PatchMerging(width * 2**s, dtype=dtype, rngs=rngs) for s in range(STAGES - 1)])
        self.norm = layer_norm(self.width, dtype, rngs, epsilon=EPSILON)

    def __call__(self, images: Float[Array, "b h w 3"], keys: Key[Array, "b"] | None = None) -> Float[Array, "b n d"]:
        """Encode images to the cells of the last feature map, in raster order; `keys` draw the drop path."""
        check_images("Swin", images, self.image_size)
        x = rearrange(images.astype(self.dtype), "b (i p) (j q) c -> b i j (p q c)", p=PATCH, q=PATCH)
        x = self.patch_norm(per_token(self.patch_embed, x))
        for s, blocks in enumerate(self.stages):
            if s:
                x = self.merges[s - 1](x)
            for block in blocks:
                x = nnx.remat(Block.__call__)(block, x, keys) if self.remat else block(x, keys)
        return raster(self.norm(x))
