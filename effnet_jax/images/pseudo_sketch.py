"""Pseudo sketches: line drawings made from photos, for catalogues that nobody has drawn.

Edges of a photo, at a scale that is drawn anew each time, become strokes; some are lost, the others get a thickness and
are bent and shifted as a hand would. Everything happens on a square canvas of `CANVAS` pixels, so that a pen's pixels
mean the same at any size of an image. Runs in threads and worker processes, so it must not need JAX.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from effnet_jax.config import PenConfig

CANVAS = 256  # edge of the square that is drawn on, pixels
_LONGEST = 4 * CANVAS  # side of a drawing of a panorama, pixels
_GRADIENT_UNIT = 8000  # OpenCV finds edges in whole numbers: a step from black to white, 4, is 32,000
_LEAST_INK, _MOST_INK = 0.002, 0.35  # share of the canvas on strokes, of a photo that can be drawn

Canvas = UInt8[np.ndarray, "256 256 3"]
Strokes = Bool[np.ndarray, "256 256"]
Lines = UInt8[np.ndarray, "256 256"]  # 0 black, 255 white
_DOWN, _ACROSS = np.mgrid[:CANVAS, :CANVAS].astype(np.float32) - CANVAS / 2


def draw_sketch(photo: Canvas, pen: PenConfig, seed: Sequence[int]) -> Canvas:
    """Draw a sketch of a photo, black on white.

    The same photo, pen and seed give the same drawing.

    Args:
        photo: RGB.
        pen: what the drawing varies in, and how much.
        seed: whole numbers, 0 or above, such as (run, photo, epoch).

    Returns:
        RGB; white where the photo has no edges.

    Source: ours. Canny's edges (1986) in brightness and two colour differences, after a trial on QMUL photos.

    Example:
        >>> import numpy as np
        >>> from effnet_jax.config import PenConfig
        >>> from effnet_jax.images.pseudo_sketch import draw_sketch
        >>> photo = np.full((256, 256, 3), 255, np.uint8)
        >>> photo[64:192, 64:192] = (160, 60, 40)  # a brown square
        >>> sketch = draw_sketch(photo, PenConfig(), seed=(0, 7))
        >>> bool(sketch.min() < 100), round(float((sketch < 128).mean()), 2)
        (True, 0.02)
    """
    return _in_colour(draw_lines(photo, pen, seed))


def draw_lines(photo: Canvas, pen: PenConfig, seed: Sequence[int]) -> Lines:
    """Draw what `draw_sketch` draws, as one channel."""
    rng = np.random.default_rng(list(seed))
    lines = _bend(_ink(find_strokes(photo, pen, rng), pen, rng), pen, rng)
    return np.rint(255 - _between(pen.darkness, rng) * (255 - lines.astype(np.float32))).astype(np.uint8)


def redraw_sketch(sketch: Canvas, pen: PenConfig, seed: Sequence[int]) -> Canvas:
    """Draw a real sketch anew as another hand might: some of it lost, of another thickness, bent, tilted and shifted.

    The same sketch, pen and seed give the same drawing.

    Args:
        sketch: RGB, dark on light.
        pen: what varies, and how much; edges play no part.
        seed: whole numbers, 0 or above, such as (run, sketch, epoch).

    Returns:
        RGB, grey on white.

    Example:
        >>> import numpy as np
        >>> from effnet_jax.config import PenConfig
        >>> from effnet_jax.images.pseudo_sketch import redraw_sketch
        >>> sketch = np.full((256, 256, 3), 255, np.uint8)
        >>> sketch[64:192, 126:130] = 0  # one stroke
        >>> again = redraw_sketch(sketch, PenConfig(), seed=(0, 7))
        >>> bool(again.min() < 100), bool((again != sketch).any())
        (True, True)
    """
    return _in_colour(redraw_lines(sketch, pen, seed))


def redraw_lines(sketch: Canvas, pen: PenConfig, seed: Sequence[int]) -> Lines:
    """Draw what `redraw_sketch` draws, as one channel."""
    rng = np.random.default_rng(list(seed))
    ink = 1 - sketch.min(axis=-1).astype(np.float32) / 255
    lost, patches = _between(pen.stroke_loss, rng), _smooth_noise(_between(pen.bend_width, rng), rng)
    ink[patches > np.quantile(patches, 1 - lost)] = 0
    blur = _between(pen.thickness, rng)
    return _bend(np.minimum(cv2.GaussianBlur(ink, (0, 0), blur) * (1 + blur), 1), pen, rng)


def resize_lines(lines: Lines, size: int, resample: str) -> UInt8[np.ndarray, "s s 3"]:
    """Resize a drawing of one channel as `resize` does its three."""
    from PIL import Image

    small = Image.fromarray(lines).resize((size, size), Image.Resampling[resample.upper()])
    return _in_colour(np.asarray(small))


def draw_picture(photo: UInt8[np.ndarray, "h w 3"], pen: PenConfig, seed: Sequence[int]) -> UInt8[np.ndarray, "_ _ 3"]:
    """Draw a sketch of a photo of any size, in the shape of the photo: its shorter side is that of the canvas."""
    drawing = draw_sketch(to_canvas(photo), pen, seed)
    height, width = photo.shape[:2]
    scale = CANVAS / min(height, width)
    size = min(round(scale * width), _LONGEST), min(round(scale * height), _LONGEST)
    return cv2.resize(drawing, size, interpolation=cv2.INTER_LINEAR)


def find_strokes(photo: Canvas, pen: PenConfig, rng: np.random.Generator) -> Strokes:
    """Find edges and keep those that a hand would draw: long enough, and not lost by chance."""
    scale, low = _between(pen.edge_scale, rng), _between(pen.edge_threshold, rng)
    high = low * _between(pen.edge_hysteresis, rng)
    edges = np.zeros(photo.shape[:2], np.uint8)
    for channel in _opponent_channels(photo):
        smooth = cv2.GaussianBlur(channel, (0, 0), scale)
        across, down = (cv2.Sobel(smooth, cv2.CV_16S, x, 1 - x, scale=_GRADIENT_UNIT) for x in (1, 0))
        edges |= cv2.Canny(across, down, _GRADIENT_UNIT * low, _GRADIENT_UNIT * high, L2gradient=True)
    _, stroke_of, table, _ = cv2.connectedComponentsWithStats(edges, connectivity=8, ltype=cv2.CV_16U)
    length = table[:, cv2.CC_STAT_AREA]
    lost = (rng.random(len(length)) < _between(pen.stroke_loss, rng)) & (length <= pen.longest_lost)
    kept = (length >= _between(pen.shortest_stroke, rng)) & ~lost
    kept[0] = False  # what is no edge
    return kept[stroke_of]


def can_be_drawn(photo: Canvas, pen: PenConfig) -> bool:
    """Tell whether a photo has edges that make a drawing: neither blank nor noise all over."""
    strokes = find_strokes(photo, pen, np.random.default_rng(0))
    return bool(_LEAST_INK <= strokes.mean() <= _MOST_INK)


def to_canvas(image: UInt8[np.ndarray, "h w 3"]) -> Canvas:
    """Resize an image to the canvas; the aspect ratio is not kept, as in the views of the encoders."""
    shrinking = image.shape[0] * image.shape[1] > CANVAS * CANVAS
    return cv2.resize(image, (CANVAS, CANVAS), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)


def _between(low_and_high: Sequence[float], rng: np.random.Generator) -> float:
    low, high = low_and_high
    return rng.uniform(low, high)


def _opponent_channels(photo: Canvas) -> list[Float32[np.ndarray, "256 256"]]:
    """Brightness, evened out in the dark, and red against green, blue against brightness."""
    red, green, blue = np.moveaxis(photo.astype(np.float32) / 255, -1, 0)
    mean = (red + green + blue) / 3
    return [np.sqrt(mean), red - green, blue - mean]


def _ink(strokes: Strokes, pen: PenConfig, rng: np.random.Generator) -> Float32[np.ndarray, "256 256"]:
    """Give strokes a thickness; 1 is black."""
    thickness = _between(pen.thickness, rng)
    return np.minimum(cv2.GaussianBlur(strokes.astype(np.float32), (0, 0), thickness) * (2.6 * thickness + 0.6), 1)


def _bend(drawn: Float32[np.ndarray, "256 256"], pen: PenConfig, rng: np.random.Generator) -> Lines:
    """Bend lines, and tilt, stretch and shift the whole, as a hand does."""
    angle = np.radians(rng.normal(0, pen.tilt))
    high, wide = rng.normal(1, pen.stretch, 2)
    shift = rng.normal(0, pen.shift, 2)
    strength, width = _between(pen.bend, rng), _between(pen.bend_width, rng)
    rows, columns = (np.float32(strength) * _smooth_noise(width, rng) for _ in range(2))
    turned = np.array([[np.cos(angle) * high, -np.sin(angle) * high], [np.sin(angle) * wide, np.cos(angle) * wide]])
    for where, (of_down, of_across), moved in zip((rows, columns), turned.astype(np.float32), shift, strict=True):
        where += of_down * _DOWN
        where += of_across * _ACROSS
        where += np.float32(moved + CANVAS / 2)
    bent = cv2.remap(drawn, columns, rows, cv2.INTER_LINEAR)
    return 255 - np.rint(255 * bent).astype(np.uint8)


def _in_colour(lines: UInt8[np.ndarray, "s s"]) -> UInt8[np.ndarray, "s s 3"]:
    return cv2.merge([lines, lines, lines])


def _smooth_noise(width: float, rng: np.random.Generator) -> Float32[np.ndarray, "256 256"]:
    """Noise of unit variance that changes over `width` pixels, by blurring on a coarser grid."""
    cells = 1 + int(np.ceil(2 * CANVAS / width))
    noise = cv2.GaussianBlur(rng.standard_normal((cells, cells), np.float32), (0, 0), 2)
    unit = np.asarray(noise / max(noise.std(), 1e-6), np.float32)
    return cv2.resize(unit, (CANVAS, CANVAS), interpolation=cv2.INTER_CUBIC)
