"""ConvNeXt: depthwise convolutions and pointwise MLPs in four stages (timm's ConvNeXt, in flax.nnx)."""

import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from effnet_jax.models.backbone import Backbone, check_images, check_size
from effnet_jax.models.depthwise import depthwise
from effnet_jax.models.layers import Mlp, dense_init, drop_path, drop_path_rates, layer_norm, linear, per_token, raster

STAGES, STEM, KERNEL = 4, 4, 7
LEAST = STEM * 2 ** (STAGES - 1)  # pixels
LAYER_SCALE = 1e-6  # first value of gamma


class Block(nnx.Module):
    """x + gamma * mlp(norm(depthwise 7x7 convolution of x)).

    Example:
        >>> block = Block(4, drop=0.0, place=0, dtype=jnp.float32, rngs=nnx.Rngs(0))
        >>> nnx.eval_shape(block, jnp.ones((1, 4, 4, 4)), None).shape
        (1, 4, 4, 4)
    """

    def __init__(self, width: int, *, drop: float, place: int, dtype: DTypeLike, rngs: nnx.Rngs):
        self.drop, self.place, self.dtype = drop, place, dtype
        self.kernel = nnx.Param(dense_init(rngs.params(), (KERNEL, KERNEL, width)))
        self.bias = nnx.Param(jnp.zeros(width))
        self.norm = layer_norm(width, dtype, rngs)
        self.mlp = Mlp(width, 4 * width, dtype=dtype, rngs=rngs)
        self.gamma = nnx.Param(jnp.full(width, LAYER_SCALE, jnp.float32))  # not weakly typed

    def __call__(self, x: Float[Array, "b i j d"], keys: Key[Array, "b"] | None) -> Float[Array, "b i j d"]:
        """One block."""
        y = depthwise(x, self.kernel[...].astype(self.dtype)) + self.bias[...].astype(self.dtype)
        y = self.mlp(self.norm(y)) * self.gamma[...].astype(self.dtype)
        return x + drop_path(y, keys, self.drop, self.place)


class Downsample(nnx.Module):
    """Norm, then a 2x2 convolution of stride 2, written as a linear layer on patches.

    Example:
        >>> Downsample(4, 8, dtype=jnp.float32, rngs=nnx.Rngs(0))(jnp.ones((1, 5, 5, 4))).shape
        (1, 2, 2, 8)
    """

    def __init__(self, inputs: int, outputs: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.norm = layer_norm(inputs, dtype, rngs)
        self.conv = linear(4 * inputs, outputs, dtype, rngs)

    def __call__(self, x: Float[Array, "b i j c"]) -> Float[Array, "b u v d"]:
        """Halve both sides; a last odd row or column is left out."""
        return per_token(self.conv, patches(self.norm(x), 2))


def patches(x: Float[Array, "b h w c"], size: int) -> Float[Array, "b i j p"]:
    """Cut a map into patches; what is left over at the right and the bottom is dropped, as a convolution does.

    Example:
        >>> patches(jnp.ones((1, 5, 5, 3)), 2).shape
        (1, 2, 2, 12)
    """
    h, w = (edge // size * size for edge in x.shape[1:3])
    return rearrange(x[:, :h, :w], "b (i p) (j q) c -> b i j (p q c)", p=size, q=size)


class ConvNeXt(Backbone):
    """ConvNeXt that returns the cells of its last feature map; the final norm comes after the average.

    Args:
        widths: channels of the four stages; default and every other default: ConvNeXt-T at 224.
        depths: blocks of the four stages.
        image_size: height and width of the input, pixels; 32 or more.
        drop_path: rate at which rows lose a block in training, 0 in the first block to this in the last.
        dtype: compute dtype, jnp.float32 or jnp.bfloat16.
        remat: recompute the blocks in the backward pass.
        rngs: source of the initialisation key (stream `params`).

    Raises:
        ValueError: an image size below 32.

    Source: Liu et al. 2022; timm `convnext_*`.

    Example:
        >>> images = jnp.ones((1, 224, 224, 3))
        >>> nnx.eval_shape(lambda: ConvNeXt(depths=(1, 1, 1, 1), rngs=nnx.Rngs(0))(images)).shape  # computes nothing
        (1, 49, 768)
    """

    pooling = "mean"

    def __init__(
        self,
        *,
        widths: tuple[int, int, int, int] = (96, 192, 384, 768),
        depths: tuple[int, int, int, int] = (3, 3, 9, 3),
        image_size: int = 224,
        drop_path: float = 0.1,
        dtype: DTypeLike = jnp.float32,
        remat: bool = False,
        rngs: nnx.Rngs,
    ):
        check_size("ConvNeXt", image_size, least=LEAST)
        self.image_size, self.dtype, self.remat = image_size, dtype, remat
        self.width = widths[-1]
        self.patches = (image_size // LEAST) ** 2
        self.stem = linear(3 * STEM**2, widths[0], dtype, rngs)
        self.stem_norm = layer_norm(widths[0], dtype, rngs)
        rates = drop_path_rates(drop_path, depths)
        self.stages = nnx.List(
            [
                nnx.List(
                    [
                        Block(widths[s], drop=rates[s][i], place=sum(depths[:s]) + i, dtype=dtype, rngs=rngs)
                        for i in range(depths[s])
                    ]
                )
                for s in range(STAGES)
            ]
        )
        self.downsamples = nnx.List(
            [Downsample(widths[s], widths[s + 1], dtype=dtype, rngs=rngs) for s in range(STAGES - 1)]
        )
        self.norm = layer_norm(self.width, jnp.float32, rngs)

    def __call__(self, images: Float[Array, "b h w 3"], keys: Key[Array, "b"] | None = None) -> Float[Array, "b n d"]:
        """Encode images to the cells of the last feature map, in raster order; `keys` draw the drop path."""
        check_images("ConvNeXt", images, self.image_size)
        x = self.stem_norm(per_token(self.stem, patches(images.astype(self.dtype), STEM)))
        for s, blocks in enumerate(self.stages):
            if s:
                x = self.downsamples[s - 1](x)
            for block in blocks:
                x = nnx.remat(Block.__call__)(block, x, keys) if self.remat else block(x, keys)
        return raster(x)

    def finish(self, pooled: Float[Array, "b f"]) -> Float[Array, "b f"]:
        """Norm the pooled feature."""
        return self.norm(pooled)
