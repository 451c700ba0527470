"""View A1 with its draws given: rotate, mirror and crop as one gather of source pixels."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int32, UInt8

FIXED = 65536  # Pillow rotates in fixed point with 16 fractional bits


def rotate_and_crop(
    image: UInt8[Array, "n n 3"],
    angle: Float[Array, ""],
    mirrored: Bool[Array, ""],
    size: int,
    fill: tuple[int, ...] = (0, 0, 0),
) -> UInt8[Array, "i i 3"]:
    """Rotate about the centre (nearest pixel, same canvas), swap left and right or not, crop the centre.

    Args:
        image: square RGB.
        angle: degrees, -360..360, counter-clockwise.
        mirrored: whether left and right are swapped, after the rotation.
        size: edge of the crop, pixels, at most the image's.
        fill: RGB, 0..255, of the pixels that come from outside the image.

    Source: Pillow's rotate, then torchvision's hflip and CenterCrop. The angle is float32 here, a double there: about
    one pixel in 100,000 comes from a neighbour of Pillow's source pixel.
    """
    n = image.shape[0]
    pixels = jnp.concatenate([image.reshape(n * n, 3), jnp.asarray([fill], jnp.uint8)])  # (n * n + 1, 3)
    return jnp.take(pixels, source_pixels(angle, mirrored, n, size), axis=0, mode="clip")  # (i, i, 3)


def source_pixels(angle: Float[Array, ""], mirrored: Bool[Array, ""], n: int, size: int) -> Int32[Array, "i i"]:
    """Give the flat index of the pixel that each pixel of the result copies; n * n stands for the fill colour.

    Args:
        angle: degrees, -360..360, counter-clockwise.
        mirrored: whether left and right are swapped, after the rotation.
        n: edge of the image, pixels.
        size: edge of the crop, pixels.
    """
    cos, sin, cos_fixed, sin_fixed = _turn(angle)
    # Pillow's affine map at the centre of pixel (0, 0); everything is a multiple of 1 / FIXED pixel.
    start_x = jnp.floor((FIXED - cos - sin) * (n / 2) + (cos + sin) / 2 + 0.5).astype(jnp.int32)
    start_y = jnp.floor((FIXED + sin - cos) * (n / 2) + (cos - sin) / 2 + 0.5).astype(jnp.int32)
    row = jnp.arange(size) + round((n - size) / 2)  # round() halves to even, as CenterCrop does
    column = jnp.where(mirrored, n - 1 - row, row)
    x = (start_x + column[None, :] * cos_fixed + row[:, None] * sin_fixed) >> 16  # (i, i)
    y = (start_y - column[None, :] * sin_fixed + row[:, None] * cos_fixed) >> 16
    inside = (x >= 0) & (x < n) & (y >= 0) & (y < n)
    return jnp.where(inside, y * n + x, n * n)


def _turn(angle: Array) -> tuple[Array, Array, Array, Array]:
    """Give FIXED times cos and sin of minus the angle, as float32 and rounded as Pillow rounds its doubles.

    Float32 alone would round an entry to the other side for one angle in some 300, which moves up to 0.5 % of the
    pixels. So the whole degrees come from a table, and float32 serves only for the at most half degree that is left.
    """
    whole = jnp.round(angle)
    rest = jnp.deg2rad(angle - whole)
    cos_int, cos_part, sin_int, sin_part = jnp.moveaxis(_table()[whole.astype(jnp.int32) % 360], -1, 0)
    cos, sin = cos_int + cos_part, sin_int + sin_part
    rest_sin, rest_versine = jnp.sin(rest), 2 * jnp.sin(rest / 2) ** 2  # versine = 1 - cos, without its cancellation
    cos_change = sin * rest_sin - cos * rest_versine
    sin_change = -cos * rest_sin - sin * rest_versine
    cos_fixed = (cos_int + jnp.floor(cos_part + cos_change + 0.5)).astype(jnp.int32)
    sin_fixed = (sin_int + jnp.floor(sin_part + sin_change + 0.5)).astype(jnp.int32)
    return cos + cos_change, sin + sin_change, cos_fixed, sin_fixed


def _table() -> Float[Array, "degrees 4"]:
    """Give integer and fractional part of FIXED cos, then of FIXED sin, of minus 0..359 degrees."""
    radians = np.radians(-np.arange(360.0))
    exact = FIXED * np.stack([np.cos(radians), np.sin(radians)])  # (2, degrees)
    whole = np.floor(exact)
    return jnp.asarray(np.stack([whole[0], exact[0] - whole[0], whole[1], exact[1] - whole[1]], axis=-1), jnp.float32)
