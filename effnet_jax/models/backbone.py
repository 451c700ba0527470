"""Backbone: the one interface of all architectures, image -> tokens."""

from typing import ClassVar

from flax import nnx
from jaxtyping import Array, Float, Key


class Backbone(nnx.Module):
    """What every backbone is to an encoder: images in, tokens out.

    A backbone without tokens of its own gives the cells of its last feature map in raster order, so that what follows
    need not know the architecture. TRSM needs a CLS token before the patches: `has_cls`.

    Attributes:
        width: channels d of a token.
        patches: number of patch tokens (ViT) or cells of the last feature map.
        pooling: how this architecture makes one feature of its tokens, a key of encoder.POOLING.
        has_cls: whether token 0 is a CLS token.

    Example:
        >>> class Dots(Backbone):
        ...     width, patches = 3, 4
        ...     def __call__(self, images, keys=None):
        ...         return images[:, ::16, ::16].reshape(-1, 4, 3)
        >>> import jax.numpy as jnp
        >>> from effnet_jax.models.encoder import Encoder
        >>> Encoder(Dots(), embedding_size=8, rngs=nnx.Rngs(0))(jnp.ones((2, 32, 32, 3))).embedding.shape
        (2, 8)
    """

    width: int
    patches: int
    pooling: ClassVar[str] = "mean"
    has_cls: ClassVar[bool] = False

    def __call__(self, images: Float[Array, "b h w 3"], keys: Key[Array, "b"] | None = None) -> Float[Array, "b n d"]:
        """Encode images to tokens.

        Args:
            images: scaled pixels.
            keys: one per row while training: drop path draws from them, and batch norms use and update the statistics
                of the batch. None is inference.

        Returns:
            Tokens in the compute dtype.
        """
        raise NotImplementedError

    def finish(self, pooled: Float[Array, "b f"]) -> Float[Array, "b f"]:
        """Do what the architecture does to its pooled feature; most do nothing."""
        return pooled


def size_problem(name: str, image_size: int, *, least: int, multiple: int = 1) -> str:
    """Say why an architecture cannot take an image size; "" where it can.

    Args:
        name: of the architecture.
        image_size: edge of the square image, pixels.
        least: smallest edge that leaves one cell in the last feature map.
        multiple: the edge must be a multiple of it.

    Example:
        >>> size_problem("Swin", 80, least=32, multiple=32)
        'Swin needs an image size of 32 pixels or more, a multiple of 32, but image_size is 80'
        >>> size_problem("Swin", 96, least=32, multiple=32)
        ''
    """
    if image_size < least or image_size % multiple:
        step = f", a multiple of {multiple}" if multiple > 1 else ""
        return f"{name} needs an image size of {least} pixels or more{step}, but image_size is {image_size}"
    return ""


def check_size(name: str, image_size: int, *, least: int, multiple: int = 1) -> None:
    """Refuse an image size that the architecture cannot take.

    Raises:
        ValueError: with the sizes that it can.

    Example:
        >>> check_size("Swin", 224, least=32, multiple=32) is None
        True

    Example:
        >>> check_size("VGG16", 224, least=32)  # 16 would raise
    """
    if problem := size_problem(name, image_size, least=least, multiple=multiple):
        raise ValueError(f"{problem}; resize the images.")


def check_images(name: str, images: Float[Array, "b h w 3"], image_size: int) -> None:
    """Refuse images of another size than the backbone was built for.

    Raises:
        ValueError: with both sizes.

    Example:
        >>> from jax.numpy import zeros
        >>> check_images("ViT", zeros((2, 224, 224, 3)), 224) is None
        True

    Example:
        >>> import jax.numpy as jnp
        >>> check_images("ViT", jnp.ones((2, 32, 32, 3)), 32)  # 64 would raise
    """
    if images.shape[1:] != (image_size, image_size, 3):
        raise ValueError(
            f"{name} was built for images (b, {image_size}, {image_size}, 3) but got {images.shape}; "
            "resize the images, or build it with that image_size."
        )
