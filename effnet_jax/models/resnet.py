"""ResNet-18 and ResNet-50 (torchvision's, in flax.nnx)."""

import itertools

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from effnet_jax.models.backbone import Backbone, check_images, check_size
from effnet_jax.models.layers import ConvNorm, max_pool, raster

LEAST = 32  # pixels: the last feature map has a thirty-second of the edge, rounded up
EXPANSION = 4  # a bottleneck ends four times as wide as its 3x3 convolution


class Block(nnx.Module):
    """Residual block: convolutions, each with a batch norm, around which the input is carried.

    Args:
        inputs: channels in.
        width: channels of the 3x3 convolutions.
        bottleneck: 1x1, 3x3, 1x1 (ResNet-50) instead of two 3x3 (ResNet-18).
        stride: of the first 3x3 convolution, and of the shortcut.
        dtype: compute dtype.
        rngs: source of the initialisation key.

    Example:
        >>> block = Block(4, 8, bottleneck=False, stride=2, dtype=jnp.float32, rngs=nnx.Rngs(0))
        >>> nnx.eval_shape(lambda x: block(x, training=False), jnp.ones((1, 4, 4, 4))).shape
        (1, 2, 2, 8)
    """

    def __init__(self, inputs: int, width: int, *, bottleneck: bool, stride: int, dtype: DTypeLike, rngs: nnx.Rngs):
        outputs = width * EXPANSION if bottleneck else width
        widths = [inputs, width, width, outputs] if bottleneck else [inputs, width, width]
        kernels = [1, 3, 1] if bottleneck else [3, 3]
        strides = [1, stride, 1] if bottleneck else [stride, 1]
        self.convolutions = nnx.List(
            [
                ConvNorm(a, b, (k, k), stride=s, padding=(k // 2, k // 2), dtype=dtype, rngs=rngs)
                for (a, b), k, s in zip(itertools.pairwise(widths), kernels, strides, strict=True)
            ]
        )
        self.outputs = outputs
        self.shortcut = (
            ConvNorm(inputs, outputs, (1, 1), stride=stride, dtype=dtype, rngs=rngs)
            if stride != 1 or inputs != outputs
            else nnx.data(None)
        )

    def __call__(self, x: Float[Array, "b i j c"], training: bool) -> Float[Array, "b u v d"]:
        """One block."""
        y, last = x, len(self.convolutions) - 1
        for i, convolve in enumerate(self.convolutions):
            y = convolve(y, training)
            y = y if i == last else jax.nn.relu(y)
        return jax.nn.relu(y + (x if self.shortcut is None else self.shortcut(x, training)))


class ResNet(Backbone):
    """ResNet that returns the cells of its last feature map.

    Args:
        width: channels of the first stage's 3x3 convolutions, doubled by each further stage.
        depths: blocks of the four stages; (3, 4, 6, 3) with bottlenecks is ResNet-50, (2, 2, 2, 2) without ResNet-18.
        bottleneck: 1x1, 3x3, 1x1 blocks instead of two 3x3.
        image_size: height and width of the input, pixels; 32 or more.
        dtype: compute dtype, jnp.float32 or jnp.bfloat16; batch norms compute in float32.
        rngs: source of the initialisation key (stream `params`).

    Raises:
        ValueError: an image size below 32.

    Source: He et al. 2016, with the stride in the 3x3 convolution as in torchvision; EffNet takes the global maximum.

    Example:
        >>> images = jnp.ones((1, 224, 224, 3))
        >>> nnx.eval_shape(lambda: ResNet(depths=(1, 1, 1, 1), rngs=nnx.Rngs(0))(images)).shape  # computes nothing
        (1, 49, 2048)
    """

    pooling = "max"

    def __init__(
        self,
        *,
        width: int = 64,
        depths: tuple[int, int, int, int] = (3, 4, 6, 3),
        bottleneck: bool = True,
        image_size: int = 224,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_size("ResNet", image_size, least=LEAST)
        self.image_size, self.dtype = image_size, dtype
        self.patches = (-(-image_size // LEAST)) ** 2
        self.stem = ConvNorm(3, width, (7, 7), stride=2, padding=(3, 3), dtype=dtype, rngs=rngs)
        inputs, stages = width, []
        for s, depth in enumerate(depths):
            blocks = []
            for i in range(depth):
                stride = 2 if s and not i else 1
                blocks.append(Block(inputs, width * 2**s, bottleneck=bottleneck, stride=stride, dtype=dtype, rngs=rngs))
                inputs = blocks[-1].outputs
            stages.append(nnx.List(blocks))
        self.stages = nnx.List(stages)
        self.width = inputs

    def __call__(self, images: Float[Array, "b h w 3"], keys: Key[Array, "b"] | None = None) -> Float[Array, "b n d"]:
        """Encode images to the cells of the last feature map, in raster order; with `keys` in training mode."""
        check_images("ResNet", images, self.image_size)
        training = keys is not None
        x = jax.nn.relu(self.stem(images.astype(self.dtype), training))
        x = max_pool(x, 3, 2, padding=1)
        for blocks in self.stages:
            for block in blocks:
                x = block(x, training)
        return raster(x)
