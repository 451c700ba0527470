"""Inception-V3 (torchvision's, in flax.nnx), described by tables of its branches."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from effnet_jax.models.backbone import Backbone, check_images, check_size
from effnet_jax.models.layers import ConvNorm, max_pool, raster

LEAST = 75  # pixels: below, an unpadded convolution has nothing left
EPSILON = 1e-3


class Unit(NamedTuple):
    """One convolution with batch norm and ReLU; `name` is torchvision's.

    Example:
        >>> Unit("branch7x7_2", 128, (1, 7)).padding
        (0, 3)
    """

    name: str
    outputs: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padded: bool = True  # to the same size

    @property
    def padding(self) -> tuple[int, int]:
        """Rows and columns on each side."""
        return (self.kernel[0] // 2, self.kernel[1] // 2) if self.padded else (0, 0)


class Branch(NamedTuple):
    """A pool ("", "max" or "average"), units one after another, and units that fork at the end.

    Example:
        >>> [unit.name for branch in BLOCKS["Mixed_6a"] for unit in branch.units]
        ['branch3x3', 'branch3x3dbl_1', 'branch3x3dbl_2', 'branch3x3dbl_3']
    """

    units: tuple[Unit, ...] = ()
    forks: tuple[Unit, ...] = ()
    pool: str = ""


STEM = (  # two of them are followed by a 3x3 maximum of stride 2
    Unit("Conv2d_1a_3x3", 32, (3, 3), 2, padded=False),
    Unit("Conv2d_2a_3x3", 32, (3, 3), padded=False),
    Unit("Conv2d_2b_3x3", 64, (3, 3)),
    Unit("Conv2d_3b_1x1", 80),
    Unit("Conv2d_4a_3x3", 192, (3, 3), padded=False),
)
POOLED = ("Conv2d_2b_3x3", "Conv2d_4a_3x3")


def _a(pooled: int) -> tuple[Branch, ...]:
    return (
        Branch((Unit("branch1x1", 64),)),
        Branch((Unit("branch5x5_1", 48), Unit("branch5x5_2", 64, (5, 5)))),
        Branch((
            Unit("branch3x3dbl_1", 64), Unit("branch3x3dbl_2", 96, (3, 3)), Unit("branch3x3dbl_3", 96, (3, 3)),
        )),
        Branch((Unit("branch_pool", pooled),), pool="average"),
    )  # fmt: skip


def _c(inner: int) -> tuple[Branch, ...]:
    return (
        Branch((Unit("branch1x1", 192),)),
        Branch((
            Unit("branch7x7_1", inner), Unit("branch7x7_2", inner, (1, 7)), Unit("branch7x7_3", 192, (7, 1)),
        )),
        Branch((
            Unit("branch7x7dbl_1", inner), Unit("branch7x7dbl_2", inner, (7, 1)),
            Unit("branch7x7dbl_3", inner, (1, 7)), Unit("branch7x7dbl_4", inner, (7, 1)),
            Unit("branch7x7dbl_5", 192, (1, 7)),
        )),
        Branch((Unit("branch_pool", 192),), pool="average"),
    )  # fmt: skip


_E = (
    Branch((Unit("branch1x1", 320),)),
    Branch((Unit("branch3x3_1", 384),), (Unit("branch3x3_2a", 384, (1, 3)), Unit("branch3x3_2b", 384, (3, 1)))),
    Branch(
        (Unit("branch3x3dbl_1", 448), Unit("branch3x3dbl_2", 384, (3, 3))),
        (Unit("branch3x3dbl_3a", 384, (1, 3)), Unit("branch3x3dbl_3b", 384, (3, 1))),
    ),
    Branch((Unit("branch_pool", 192),), pool="average"),
)
BLOCKS: dict[str, tuple[Branch, ...]] = {
    "Mixed_5b": _a(32),
    "Mixed_5c": _a(64),
    "Mixed_5d": _a(64),
    "Mixed_6a": (
        Branch((Unit("branch3x3", 384, (3, 3), 2, padded=False),)),
        Branch((
            Unit("branch3x3dbl_1", 64), Unit("branch3x3dbl_2", 96, (3, 3)),
            Unit("branch3x3dbl_3", 96, (3, 3), 2, padded=False),
        )),
        Branch(pool="max"),
    ),
    "Mixed_6b": _c(128),
    "Mixed_6c": _c(160),
    "Mixed_6d": _c(160),
    "Mixed_6e": _c(192),
    "Mixed_7a": (
        Branch((Unit("branch3x3_1", 192), Unit("branch3x3_2", 320, (3, 3), 2, padded=False))),
        Branch((
            Unit("branch7x7x3_1", 192), Unit("branch7x7x3_2", 192, (1, 7)), Unit("branch7x7x3_3", 192, (7, 1)),
            Unit("branch7x7x3_4", 192, (3, 3), 2, padded=False),
        )),
        Branch(pool="max"),
    ),
    "Mixed_7b": _E,
    "Mixed_7c": _E,
}  # fmt: skip


def _make_unit(unit: Unit, inputs: int, dtype: DTypeLike, rngs: nnx.Rngs) -> ConvNorm:
    return ConvNorm(
        inputs, unit.outputs, unit.kernel, stride=unit.stride, padding=unit.padding, epsilon=EPSILON, dtype=dtype,
        rngs=rngs,
    )  # fmt: skip


class Block(nnx.Module):
    """Branches side by side, joined along the channels.

    Example:
        >>> block = Block((Branch((Unit("a", 2),)), Branch(pool="average")), 3, dtype=jnp.float32, rngs=nnx.Rngs(0))
        >>> block(jnp.ones((1, 4, 4, 3)), training=False).shape
        (1, 4, 4, 5)
    """

    def __init__(self, branches: tuple[Branch, ...], inputs: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.branches = branches
        self.outputs = 0
        units = {}
        for branch in branches:
            width = inputs
            for unit in branch.units:
                units[unit.name] = _make_unit(unit, width, dtype, rngs)
                width = unit.outputs
            for unit in branch.forks:
                units[unit.name] = _make_unit(unit, width, dtype, rngs)
            self.outputs += sum(unit.outputs for unit in branch.forks) or width
        self.units = nnx.Dict(units)

    def __call__(self, x: Float[Array, "b i j c"], training: bool) -> Float[Array, "b u v d"]:
        """One block."""
        parts = []
        for branch in self.branches:
            y = x
            if branch.pool == "max":
                y = max_pool(y, 3, 2)
            elif branch.pool == "average":
                y = nnx.avg_pool(y, (3, 3), padding="SAME")  # zeros count, as in torch
            for unit in branch.units:
                y = jax.nn.relu(self.units[unit.name](y, training))
            parts += [jax.nn.relu(self.units[unit.name](y, training)) for unit in branch.forks] or [y]
        return jnp.concatenate(parts, axis=-1)


class InceptionV3(Backbone):
    """Inception-V3 that returns the cells of its last feature map; no auxiliary head, no input transform.

    Args:
        image_size: height and width of the input, pixels; 75 or more (made for 299, EffNet uses 224).
        dtype: compute dtype, jnp.float32 or jnp.bfloat16; batch norms compute in float32.
        rngs: source of the initialisation key (stream `params`).

    Raises:
        ValueError: an image size below 75.

    Source: Szegedy et al. 2016; torchvision `inception_v3`; EffNet takes the global maximum.

    Example:
        >>> images = jnp.ones((1, 224, 224, 3))
        >>> nnx.eval_shape(lambda: InceptionV3(rngs=nnx.Rngs(0))(images)).shape  # computes nothing
        (1, 25, 2048)
    """

    pooling = "max"

    def __init__(self, *, image_size: int = 224, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        check_size("Inception-V3", image_size, least=LEAST)
        self.image_size, self.dtype = image_size, dtype
        inputs, units, side = 3, {}, image_size
        for unit in STEM:
            units[unit.name] = _make_unit(unit, inputs, dtype, rngs)
            inputs = unit.outputs
            side = (side + 2 * unit.padding[0] - unit.kernel[0]) // unit.stride + 1
            side = (side - 3) // 2 + 1 if unit.name in POOLED else side
        self.stem = nnx.Dict(units)
        blocks = {}
        for name, branches in BLOCKS.items():
            blocks[name] = Block(branches, inputs, dtype=dtype, rngs=rngs)
            inputs = blocks[name].outputs
            side = (side - 3) // 2 + 1 if branches[-1].pool == "max" else side
        self.blocks = nnx.Dict(blocks)
        self.width, self.patches = inputs, side**2

    def __call__(self, images: Float[Array, "b h w 3"], keys: Key[Array, "b"] | None = None) -> Float[Array, "b n d"]:
        """Encode images to the cells of the last feature map, in raster order; with `keys` in training mode."""
        check_images("Inception-V3", images, self.image_size)
        training = keys is not None
        x = images.astype(self.dtype)
        for unit in STEM:
            x = jax.nn.relu(self.stem[unit.name](x, training))
            x = max_pool(x, 3, 2) if unit.name in POOLED else x
        for name in BLOCKS:
            x = self.blocks[name](x, training)
        return raster(x)
