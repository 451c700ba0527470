"""View A2 with its draws given: resized crop and colour jitter, in static shapes; and the draws themselves."""

import itertools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int, Key, UInt8

LUMA = (0.299, 0.587, 0.114)  # the grey of Pillow
ATTEMPTS = 10  # candidate crops, before the whole image is taken
BRIGHTNESS, CONTRAST = 0, 1  # rows of the jitter's factors; the third is saturation


def draw_box(key: Key[Array, ""], n: int, area: tuple[float, ...], ratio: tuple[float, ...]) -> Int[Array, "4"]:
    """Draw a crop: the first candidate that fits, or else the whole image.

    Args:
        n: edge of the square image, pixels.
        area: lowest and highest share of the image's area, in (0, 1].
        ratio: lowest and highest width over height; its logarithm is uniform.

    Returns:
        Top, left, height, width, pixels.

    Source: torchvision's RandomResizedCrop.
    """
    uniform = jax.random.uniform(key, (2 * ATTEMPTS + 2,))  # one call: each one takes long to compile
    covered = n * n * (area[0] + (area[1] - area[0]) * uniform[:ATTEMPTS])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = jnp.exp(low + (high - low) * uniform[ATTEMPTS:-2])
    sides = jnp.round(jnp.sqrt(jnp.stack([covered / aspect, covered * aspect]))).astype(jnp.int32)  # (2, attempts)
    fits = jnp.all((sides > 0) & (sides <= n), axis=0)
    side = jnp.where(jnp.any(fits), sides[:, jnp.argmax(fits)], n)  # (2,)
    place = jnp.floor(uniform[-2:] * (n - side + 1)).astype(jnp.int32)
    return jnp.concatenate([jnp.minimum(place, n - side), side])


def resized_crop(
    image: UInt8[Array, "n n 3"], box: Int[Array, "4"], mirrored: Bool[Array, ""], size: int
) -> Float32[Array, "i i 3"]:
    """Cut out a box and resize it bilinearly, with antialiasing, to a square; swap left and right or not.

    Args:
        image: square RGB.
        box: top, left, height, width, pixels, inside the image.
        mirrored: whether left and right are swapped.
        size: edge of the result, pixels.

    Returns:
        Values in [0, 1] for an 8-bit image, unrounded (Pillow rounds to 8 bits twice: within one grey level of it).
    """
    n = image.shape[0]
    rows, row_weights = _taps(box[0], box[2], n, size)
    columns, column_weights = _taps(box[1], box[3], n, size)
    columns = jnp.where(mirrored, columns[:, ::-1], columns)
    column_weights = jnp.where(mirrored, column_weights[:, ::-1], column_weights)
    row_weights = row_weights / 255  # here and not at the end, where XLA would compute the crop anew for each use
    taps = rows.shape[0]
    lines = jnp.asarray(sum(row_weights[k, :, None, None] * image[rows[k]] for k in range(taps)))  # (i, n, 3)
    return jnp.asarray(sum(column_weights[k, :, None] * lines[:, columns[k]] for k in range(taps)))  # (i, i, 3)


def _taps(start: Array, length: Array, n: int, size: int) -> tuple[Int[Array, "t i"], Float32[Array, "t i"]]:
    """Give the t source pixels of each output pixel along one axis, and their weights (a triangle filter)."""
    step = length / size
    reach = jnp.maximum(step, 1.0)
    taps = math.ceil(2 * max(n / size, 1.0))  # pixel centres under the triangle of the largest crop
    centre = start + (jnp.arange(size) + 0.5) * step  # (i,)
    first = jnp.floor(centre - reach + 0.5).astype(jnp.int32)
    pixel = first + jnp.arange(taps)[:, None]  # (t, i)
    weight = jnp.maximum(0.0, 1.0 - jnp.abs(pixel + 0.5 - centre) / reach)
    weight = jnp.where((pixel >= start) & (pixel < start + length), weight, 0.0)
    return jnp.clip(pixel, 0, n - 1), weight / jnp.sum(weight, axis=0)


def draw_jitter(
    key: Key[Array, ""], strength: tuple[float, ...]
) -> tuple[Int[Array, "3"], Int[Array, ""], Float[Array, "3"], Float[Array, ""]]:
    """Draw a colour jitter: order of brightness, contrast and saturation, place of the hue, factors, turn of the hue.

    Args:
        strength: the three factors are U(1 - s, 1 + s), in 0..1; the hue turns by U(-s, s) full turns, in 0..0.5.

    Source: torchvision's ColorJitter; an order of three and a place among them are a uniform order of the four.
    """
    uniform = jax.random.uniform(key, (5,), minval=-1.0)
    choice = jnp.minimum(jnp.floor(12 * (uniform[0] + 1)), 23).astype(jnp.int32)  # one of 24 orders
    order = jnp.asarray(list(itertools.permutations(range(3))))[choice // 4]
    return order, choice % 4, 1 + jnp.asarray(strength[:3]) * uniform[1:4], strength[3] * uniform[4]


def jitter_colours(
    image: Float32[Array, "h w 3"],
    order: Int[Array, "3"],
    hue_place: Int[Array, ""],
    factors: Float[Array, "3"],
    turn: Float[Array, ""],
) -> Float32[Array, "h w 3"]:
    """Change brightness, contrast, saturation and hue, in any order, with one pass over the hue.

    Args:
        image: RGB in [0, 1].
        order: 0 brightness, 1 contrast, 2 saturation: which comes first, second, third.
        hue_place: 0..3, how many of them come before the hue.
        factors: of brightness, contrast and saturation; 1 leaves the image alone.
        turn: of the hue, in full turns.

    Source: torchvision's ColorJitter on a PIL image; no rounding to 8 bits between the steps here.
    """
    planes = jnp.moveaxis(image, -1, 0)  # (3, h, w): channels last is four times as slow on CPUs
    for k in range(3):
        planes = _blend(planes, order[k], jnp.where(k < hue_place, factors[order[k]], 1.0))
    planes = _turn_hue(planes, turn)
    for k in range(3):
        planes = _blend(planes, order[k], jnp.where(k < hue_place, 1.0, factors[order[k]]))
    return jnp.moveaxis(planes, 0, -1)


def _blend(planes: Array, kind: Array, factor: Array) -> Array:
    """Move away from (or towards) black, the mean grey or each pixel's grey: brightness, contrast, saturation."""
    grey = sum(weight * plane for weight, plane in zip(LUMA, planes, strict=True))  # (h, w)
    still = jnp.where(kind == BRIGHTNESS, 0.0, jnp.where(kind == CONTRAST, jnp.mean(grey), grey))
    return jnp.clip(factor * planes + (1 - factor) * still, 0.0, 1.0)


def _turn_hue(planes: Array, turn: Array) -> Array:
    """Turn the hue of HSV; value and saturation stay."""
    red, green, blue = planes
    value = jnp.max(planes, axis=0)
    chroma = value - jnp.min(planes, axis=0)
    inverse = 1 / jnp.where(chroma > 0, chroma, 1.0)
    # Never `value == red`: XLA may compute the two apart, with other roundings, and no channel would be the largest.
    of_rest = jnp.where(green >= blue, 2 + (blue - red) * inverse, 4 + (red - green) * inverse)
    hue = jnp.where((red >= green) & (red >= blue), (green - blue) * inverse, of_rest) + 6 * turn  # sixths of a turn

    def channel(offset: float) -> Array:
        k = offset + hue
        k = k - 6 * jnp.floor(k / 6)  # % is three times as slow
        return value - chroma * jnp.clip(jnp.minimum(k, 4 - k), 0.0, 1.0)

    return jnp.stack([channel(5.0), channel(3.0), channel(1.0)])
