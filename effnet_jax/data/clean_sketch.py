"""Photographed or scanned drawings to black on white, as the encoders were trained on. NumPy, SciPy and Pillow only.

The paper is whatever changes slowly over the picture. Each channel is divided by it, which takes away grey or tinted
paper, shadows and vignetting at once; what is left below 1 is ink, of any colour, and noise.
"""

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image
from scipy import ndimage

_SMALL = 96  # longest edge at which the paper is estimated, pixels
_WINDOW = 1 / 6  # of the picture's longest edge: filled areas up to about half of it stay ink
_PAPER_PERCENTILE = 85.0  # of a window's pixels: paper, as long as ink covers less than about four fifths of it
_FAINTEST = 0.1  # ink at least this much darker than its paper, 0..1; less is taken for a blank sheet
_NOISE = 4.0  # standard deviations of the paper's noise that stay white


def clean_sketch(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Turn a photographed or scanned drawing into black strokes on white.

    The size and the framing stay: crop to the paper first where a table or a hand is in the picture. A drawing that is
    black on white already comes back nearly as it was; a sheet without ink comes back white.

    Args:
        image: a drawing darker than its paper, in ink of any colour.

    Returns:
        Grey as RGB, antialiased strokes from black (the drawing's typical ink) to white (paper).
    """
    scaled = image.astype(np.float32) / 255
    darkness = 1 - np.min(np.clip(scaled / _paper(image), 0, 1), axis=2)  # (h, w), 0 paper .. 1 black
    noise_level, noise = _noise(darkness)
    candidates = darkness[darkness > max(noise_level + 2 * _NOISE * noise, _FAINTEST)]
    if not candidates.size:
        return np.full_like(image, 255)
    ink = float(np.percentile(candidates, 75))
    low = min(max(noise_level + _NOISE * noise, 0.04), 0.6 * ink)
    alpha = np.clip((darkness - low) / (ink - low), 0, 1)
    alpha = np.where(_strokes(alpha), alpha, 0)
    grey = np.round(255 * (1 - alpha)).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _paper(image: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 3"]:
    """Each channel of the paper under the drawing, above 0, estimated at a small size where noise averages out."""
    h, w = image.shape[:2]
    factor = min(1.0, _SMALL / max(h, w))
    size = max(1, round(w * factor)), max(1, round(h * factor))
    small = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX), np.float32) / 255
    window = max(3, round(_WINDOW * max(size)))
    channels = []
    for c in range(3):
        paper = ndimage.percentile_filter(small[:, :, c], _PAPER_PERCENTILE, size=window, mode="nearest")
        paper = ndimage.gaussian_filter(paper, window / 4, mode="nearest")
        channels.append(np.asarray(Image.fromarray(paper).resize((w, h), Image.Resampling.BICUBIC)))
    return np.maximum(np.stack(channels, axis=2), 1 / 255).astype(np.float32)


def _noise(darkness: Float32[np.ndarray, "h w"]) -> tuple[float, float]:
    """Median and standard deviation of the paper's darkness, read from its lighter half, which ink does not reach."""
    median = float(np.median(darkness))
    below = median - float(np.percentile(darkness, 15.87))  # one standard deviation of a normal distribution
    return median, max(below, 0.0)


def _strokes(alpha: Float32[np.ndarray, "h w"]) -> np.ndarray:
    """Pixels of connected strokes: each has a dark pixel, and more pixels than a speck of dust."""
    labels, count = ndimage.label(alpha > 0, structure=np.ones((3, 3), int))
    if not count:
        return labels > 0
    numbers = np.arange(1, count + 1)
    sizes = ndimage.sum_labels(np.ones_like(alpha), labels, numbers)
    darkest = ndimage.maximum(alpha, labels, numbers)
    smallest = max(3, alpha.size // 60_000)
    keep = np.concatenate([[False], (sizes >= smallest) & (darkest >= 0.5)])
    return keep[labels]
