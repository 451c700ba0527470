"""Vision Transformer: patches and a CLS token through pre-norm blocks (timm's ViT, in flax.nnx).

Letters: b batch, h w image, n tokens (1 + patches), d width, k heads, e head width.
"""

import itertools

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from effnet_jax.models.attention import ATTENTION, choose_attention
from effnet_jax.models.backbone import Backbone, check_images
from effnet_jax.models.layers import Mlp, gelu, layer_norm, linear, per_token

STEM_WIDTH = 32  # channels after the first convolution of a convolutional stem
POSITION_STD = 0.2  # about the size of a patch's content, so that position is heard from the first step


class Attention(nnx.Module):
    """Multi-head self-attention with one fused projection to queries, keys and values.

    Example:
        >>> Attention(8, 2, dtype=jnp.float32, rngs=nnx.Rngs(0))(jnp.ones((1, 5, 8))).shape
        (1, 5, 8)
    """

    def __init__(self, width: int, heads: int, *, dtype: DTypeLike, rngs: nnx.Rngs, attention: str = "auto"):
        self.heads, self.attention = heads, attention
        self.qkv = linear(width, 3 * width, dtype, rngs)
        self.proj = linear(width, width, dtype, rngs)

    def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        """Attend over the tokens."""
        qkv = per_token(self.qkv, x)
        name, _ = choose_attention(self.attention, qkv.dtype, x.shape[1], self.heads, x.shape[2] // self.heads)
        return per_token(self.proj, ATTENTION[name](qkv, self.heads))


class Block(nnx.Module):
    """Pre-norm transformer block: x + attention(norm(x)), then x + mlp(norm(x)).

    Example:
        >>> Block(8, 2, 4.0, dtype=jnp.float32, rngs=nnx.Rngs(0))(jnp.ones((1, 5, 8))).shape
        (1, 5, 8)
    """

    def __init__(
        self, width: int, heads: int, mlp_ratio: float, *, dtype: DTypeLike, rngs: nnx.Rngs, attention: str = "auto"
    ):
        self.norm1 = layer_norm(width, dtype, rngs)
        self.attn = Attention(width, heads, dtype=dtype, rngs=rngs, attention=attention)
        self.norm2 = layer_norm(width, dtype, rngs)
        self.mlp = Mlp(width, int(width * mlp_ratio), dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        """One block."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ConvStem(nnx.Module):
    """Strided 3x3 convolutions in place of the linear patch embedding: as many tokens, and strokes are seen at once.

    One stride-2 convolution for each halving of the patch, widths doubling from STEM_WIDTH and the last of token width,
    each followed by a GroupNorm of one channel per group and a GELU. White that the input scaling made zero stays zero.

    Source: Xiao et al. 2021, "Early Convolutions Help Transformers See Better" (with BatchNorm there). EffNet does not
    have it; it is for training from random numbers, where a plain ViT needs far more data.

    Example:
        >>> ConvStem(8, patch_size=4, dtype=jnp.float32, rngs=nnx.Rngs(0))(jnp.ones((1, 32, 32, 3))).shape
        (1, 64, 8)
    """

    def __init__(self, width: int, patch_size: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        halvings = patch_size.bit_length() - 1
        if patch_size < 2 or 2**halvings != patch_size:
            raise ValueError(f"a convolutional stem halves the image, so patch size {patch_size} must be a power of 2.")
        self.dtype = dtype
        widths = [3, *(STEM_WIDTH << k for k in range(halvings - 1)), width]
        self.convolutions = nnx.List(
            [
                nnx.Conv(
                    a,
                    b,
                    (3, 3),
                    strides=2,
                    use_bias=False,
                    kernel_init=nnx.initializers.he_normal(),
                    dtype=dtype,
                    rngs=rngs,
                )
                for a, b in itertools.pairwise(widths)
            ]
        )
        self.norms = nnx.List(
            [nnx.GroupNorm(b, b, epsilon=1e-3, use_fast_variance=False, dtype=dtype, rngs=rngs) for b in widths[1:]]
        )

    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b m d"]:
        """Turn images into one token per patch, in raster order."""
        x = images.astype(self.dtype)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = gelu(_scale_channels(_halve(x, convolution.kernel[...]), norm))
        return rearrange(x, "b i j d -> b (i j) d")


def _halve(x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c d"]) -> Float[Array, "b i j d"]:
    """Convolve with stride 2 by one matrix product; XLA's gradient of such a convolution takes longer on a CPU."""
    b, height, width, _ = x.shape  # even numbers, so that padding is needed at the end alone
    padded = jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
    around = [padded[:, i : i + height : 2, j : j + width : 2] for i in range(3) for j in range(3)]
    rows = rearrange(jnp.concatenate(around, axis=-1), "b i j c -> (b i j) c")
    products = rows @ rearrange(kernel, "i j c d -> (i j c) d").astype(x.dtype)
    return rearrange(products, "(b i j) d -> b i j d", b=b, i=height // 2)


def _scale_channels(x: Float[Array, "b h w c"], norm: nnx.GroupNorm) -> Float[Array, "b h w c"]:
    """Do what a GroupNorm of one channel per group does, which the module does in three times the time on a CPU."""
    assert norm.scale is not None and norm.bias is not None
    wide = x.astype(jnp.float32)
    mean = jnp.mean(wide, axis=(1, 2), keepdims=True)
    variance = jnp.mean(jnp.square(wide - mean), axis=(1, 2), keepdims=True)
    scaled = (wide - mean) * (jax.lax.rsqrt(variance + norm.epsilon) * norm.scale[...]) + norm.bias[...]
    return scaled.astype(x.dtype)


class ViT(Backbone):
    """Vision Transformer that returns its final-norm tokens, CLS first.

    Any image and patch size works as long as the patch size divides the image size. Parameters are float32; the
    matrix products run in `dtype`.

    Args:
        width: token width d; default and every other default: ViT-B/16 at 224.
        depth: number of blocks.
        heads: attention heads k; must divide `width`.
        image_size: height and width of the input, pixels.
        patch_size: height and width of a patch, pixels.
        mlp_ratio: hidden width of the MLP over `width`.
        dtype: compute dtype, jnp.float32 or jnp.bfloat16.
        stem: "linear" (timm's patch embedding) or "conv" (see ConvStem).
        attention: "auto" or a key of attention.ATTENTION.
        remat: recompute the blocks in the backward pass, which keeps one (b, n, d) tensor per block in memory.
        rngs: source of the initialisation key (stream `params`).

    Raises:
        ValueError: heads do not divide the width, or patches do not divide the image.

    Source: timm `vit_*_patch16_224`; the classification head is left out, EffNet never uses it.

    Example:
        >>> vit = ViT(width=8, depth=1, heads=2, image_size=32, patch_size=16, rngs=nnx.Rngs(0))
        >>> vit(jnp.ones((2, 32, 32, 3))).shape  # CLS and four patches
        (2, 5, 8)
    """

    pooling = "cls"
    has_cls = True

    def __init__(
        self,
        *,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        image_size: int = 224,
        patch_size: int = 16,
        mlp_ratio: float = 4.0,
        dtype: DTypeLike = jnp.float32,
        remat: bool = False,
        stem: str = "linear",
        attention: str = "auto",
        rngs: nnx.Rngs,
    ):
        if width % heads:
            raise ValueError(f"ViT: width {width} is not a multiple of {heads} heads; change one of them.")
        if image_size % patch_size:
            raise ValueError(
                f"ViT: image size {image_size} is not a multiple of patch size {patch_size}; "
                f"{image_size // patch_size * patch_size} and {(image_size // patch_size + 1) * patch_size} are."
            )
        self.patches = (image_size // patch_size) ** 2
        self.width = width
        self.image_size = image_size
        self.patch_size = patch_size
        self.dtype = dtype
        self.remat = remat
        if stem not in ("linear", "conv"):
            raise ValueError(f"ViT: stem={stem!r} is not known; choose linear or conv.")
        self.patch_embed = (
            ConvStem(width, patch_size, dtype=dtype, rngs=rngs)
            if stem == "conv"
            else linear(3 * patch_size**2, width, dtype, rngs)
        )
        self.cls_token = nnx.Param(jax.random.normal(rngs.params(), (1, 1, width)) * 1e-6)
        self.pos_embed = nnx.Param(jax.random.normal(rngs.params(), (1, 1 + self.patches, width)) * POSITION_STD)
        self.blocks = nnx.List(
            [Block(width, heads, mlp_ratio, dtype=dtype, rngs=rngs, attention=attention) for _ in range(depth)]
        )
        self.norm = layer_norm(width, dtype, rngs)

    def __call__(self, images: Float[Array, "b h w 3"], keys: Key[Array, "b"] | None = None) -> Float[Array, "b n d"]:
        """Encode images to tokens.

        Args:
            images: scaled pixels, usually [0, 1] or mean/std-normalised, of the module's own image size.
            keys: not used; a ViT trains without random draws.

        Returns:
            Final-norm tokens in the compute dtype; row 0 is the CLS token, then the patches in raster order.

        Raises:
            ValueError: another image size than the one the position embeddings were made for.
        """
        del keys
        check_images("ViT", images, self.image_size)
        x = self.embed(images)
        for block in self.blocks:
            x = nnx.remat(Block.__call__)(block, x) if self.remat else block(x)
        return self.norm(x)

    def embed(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b n d"]:
        """Turn images into the tokens that the first block sees: patches behind the CLS token, positions added."""
        x = self._embed_patches(images.astype(self.dtype))  # (b, n-1, d)
        cls = jnp.broadcast_to(self.cls_token[...].astype(x.dtype), (x.shape[0], 1, self.width))
        return jnp.concatenate([cls, x], axis=1) + self.pos_embed[...].astype(x.dtype)  # (b, n, d)

    def _embed_patches(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b m d"]:
        if isinstance(self.patch_embed, ConvStem):
            return self.patch_embed(images)
        p = self.patch_size
        return per_token(self.patch_embed, rearrange(images, "b (i p) (j q) c -> b (i j) (p q c)", p=p, q=p))


def resize_position_embeddings(
    embeddings: Float[Array, "1 m d"], image_size: int, patch_size: int
) -> Float[Array, "1 n d"]:
    """Interpolate position embeddings (CLS first, then a square grid) to another grid of patches.

    The grid is resized bicubically with antialiasing, as timm does; the CLS row stays. Equal grids pass unchanged.

    Raises:
        ValueError: the patch rows do not form a square grid.

    Example:
        >>> resize_position_embeddings(jnp.ones((1, 5, 8)), image_size=48, patch_size=16).shape
        (1, 10, 8)
    """
    cls, grid = embeddings[:, :1], embeddings[:, 1:]
    old, new = round(grid.shape[1] ** 0.5), image_size // patch_size
    if old**2 != grid.shape[1]:
        raise ValueError(f"position embeddings with {grid.shape[1]} patch rows do not form a square grid.")
    if old == new:
        return embeddings
    square = rearrange(grid, "1 (i j) d -> i j d", i=old)
    resized = jax.image.resize(square, (new, new, square.shape[-1]), method="cubic", antialias=True)
    return jnp.concatenate([cls, rearrange(resized, "i j d -> 1 (i j) d")], axis=1)
