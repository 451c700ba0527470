"""VGG16: thirteen 3x3 convolutions (torchvision's `features`, in flax.nnx)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from effnet_jax.models.backbone import Backbone, check_images, check_size
from effnet_jax.models.layers import convolution, max_pool, raster

# widths of the convolutions over the first's, by stage; each stage ends with a 2x2 maximum
STAGES = ((1, 1), (2, 2), (4, 4, 4), (8, 8, 8), (8, 8, 8))
LEAST = 2 ** len(STAGES)  # pixels


class VGG16(Backbone):
    """VGG16 without its classifier: the cells of the last feature map.

    Args:
        width: channels of the first stage.
        image_size: height and width of the input, pixels; 32 or more.
        dtype: compute dtype, jnp.float32 or jnp.bfloat16.
        rngs: source of the initialisation key (stream `params`).

    Raises:
        ValueError: an image size below 32.

    Source: Simonyan & Zisserman 2015; torchvision `vgg16.features`; EffNet takes the global maximum.

    Example:
        >>> images = jnp.ones((1, 224, 224, 3))
        >>> nnx.eval_shape(lambda: VGG16(rngs=nnx.Rngs(0))(images)).shape  # computes nothing
        (1, 49, 512)
    """

    pooling = "max"

    def __init__(self, *, width: int = 64, image_size: int = 224, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        check_size("VGG16", image_size, least=LEAST)
        self.image_size, self.dtype = image_size, dtype
        self.width = width * STAGES[-1][-1]
        self.patches = (image_size // LEAST) ** 2
        inputs, stages = 3, []
        for stage in STAGES:
            convolutions = []
            for factor in stage:
                outputs = width * factor
                convolutions.append(
                    convolution(inputs, outputs, (3, 3), 1, (1, 1), use_bias=True, dtype=dtype, rngs=rngs)
                )
                inputs = outputs
            stages.append(nnx.List(convolutions))
        self.stages = nnx.List(stages)

    def __call__(self, images: Float[Array, "b h w 3"], keys: Key[Array, "b"] | None = None) -> Float[Array, "b n d"]:
        """Encode images to the cells of the last feature map, in raster order; nothing is random."""
        del keys
        check_images("VGG16", images, self.image_size)
        x = images.astype(self.dtype)
        for convolutions in self.stages:
            for convolve in convolutions:
                x = jax.nn.relu(convolve(x))
            x = max_pool(x, 2, 2)
        return raster(x)
