"""Photographed or scanned drawings to black on white, as the encoders were trained on. NumPy, SciPy and Pillow only.

The paper is whatever changes slowly over the picture. Each channel is divided by it, which takes away grey or tinted
paper, shadows and vignetting at once; what is left below 1 is ink, of any colour, and noise.
"""

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from PIL import Image
from scipy import ndimage

_LARGEST = 1000  # longest edge that is worked at, pixels: the time grows with its cube
_SMALL = 96  # longest edge at which the paper is first estimated, pixels
_WINDOW = 1 / 6  # of the longest edge: filled areas up to about half of it stay ink
_PAPER_PERCENTILE = 85.0  # of a window's pixels: paper, as long as ink covers less than about four fifths of it
_STROKE_WIDTH = 1 / 12  # of the longest edge: darkness that is wider and holds light is a shadow, not a stroke
_DEEPEST_SHADOW = 0.5  # of the light that a shadow leaves; darker areas are filled with ink
_FOLLOW = 1 / 50  # of the longest edge: how closely the second estimate follows the edges of shadows
_FAINTEST = 0.1  # ink is at least this much darker than its paper, 0..1; less is taken for a blank sheet
_STROKE, _SURE = 2.5, 5.0  # standard deviations of the paper's noise: a stroke's pixels, and one that each stroke has


def clean_sketch(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "_ _ 3"]:
    """Turn a photographed or scanned drawing into black strokes on white.

    The framing stays: crop to the paper first where a table or a hand is in the picture. So does the size, except that
    a picture with an edge of more than 1000 pixels comes back shrunk to that. A drawing that is grey or black on white
    already is returned as it is, and a sheet without ink comes back white.

    Args:
        image: a drawing darker than its paper, in ink of any colour.

    Returns:
        Grey as RGB: antialiased strokes, black where the drawing has its typical ink, on white.
    """
    if _is_clean(image):
        return image
    if max(image.shape) > _LARGEST:
        small = Image.fromarray(image)
        small.thumbnail((_LARGEST, _LARGEST), Image.Resampling.BOX)
        image = np.asarray(small)
    scaled = image.astype(np.float32) / 255
    paper = _slow_paper(image)
    ink = _is_ink(_missing(scaled, paper).max(axis=2))
    if not ink.any():
        return np.full_like(image, 255)
    paper = _close_paper(scaled, ink, paper)
    missing = _missing(scaled, paper)
    colour = missing[ink].mean(axis=0)  # what the ink takes from each channel
    # Read along the ink's colour, channels share the signal and not the noise. 0 is paper, 1 the typical ink.
    darkness = missing @ colour / max(float(colour @ colour), 1e-6)
    brightness = paper.mean(axis=2)
    noise = _spread(darkness * brightness) / brightness  # a camera's noise is the same in shadows, the light is not
    full = float(np.clip(np.percentile(darkness[ink], 60), 0.3, 1.0))
    low = np.minimum(np.maximum(_STROKE * noise, 0.04), 0.6 * full)
    sure = np.minimum(np.maximum(_SURE * noise, 0.4 * full), 0.9 * full)
    strokes = _strokes(darkness > low, darkness > sure)
    alpha = np.where(strokes, np.clip((darkness - low) / (full - low), 0, 1), 0)
    return np.repeat(np.round(255 * (1 - alpha)).astype(np.uint8)[:, :, None], 3, axis=2)


def _is_clean(image: UInt8[np.ndarray, "h w 3"]) -> bool:
    """Whether most pixels are pure white and none is coloured: what programs draw, and no camera sees."""
    coloured = image.max(axis=2).astype(np.int16) - image.min(axis=2)
    return bool((image.min(axis=2) >= 254).mean() > 0.5 and np.percentile(coloured, 99.5) <= 12)


def _missing(scaled: Float32[np.ndarray, "h w 3"], paper: Float32[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 3"]:
    """Share of the paper's light that a pixel lacks: 0 paper, 1 black; below 0 only by noise."""
    return 1 - scaled / paper


def _slow_paper(image: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 3"]:
    """The paper under the drawing, above 0, estimated at a small size where noise averages out.

    Closing takes out what is thinner than a stroke can be and keeps the edges of shadows. It would keep areas that are
    filled with ink, too, so these are told by how dark they are beside a wider surrounding.
    """
    h, w = image.shape[:2]
    factor = min(1.0, _SMALL / max(h, w))
    size = max(1, round(w * factor)), max(1, round(h * factor))
    small = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX), np.float32) / 255
    window, stroke = (max(3, round(share * max(size))) for share in (_WINDOW, _STROKE_WIDTH))
    channels = []
    for c in range(3):
        wide = ndimage.percentile_filter(small[:, :, c], _PAPER_PERCENTILE, size=window, mode="nearest")
        wide = ndimage.gaussian_filter(wide, window / 4, mode="nearest")
        closed = ndimage.grey_closing(small[:, :, c], (stroke, stroke), mode="nearest")
        paper = np.where(closed > _DEEPEST_SHADOW * wide, closed, wide)
        paper = ndimage.gaussian_filter(paper, 1.0, mode="nearest")
        channels.append(np.asarray(Image.fromarray(paper).resize((w, h), Image.Resampling.BICUBIC)))
    return np.maximum(np.stack(channels, axis=2), 1 / 255).astype(np.float32)


def _close_paper(
    scaled: Float32[np.ndarray, "h w 3"], ink: Bool[np.ndarray, "h w"], slow: Float32[np.ndarray, "h w 3"]
) -> Float32[np.ndarray, "h w 3"]:
    """The paper as the mean of the pixels around that are no ink, which follows the edge of a shadow.

    Inside areas filled with ink there are none, and the slow estimate fills in.
    """
    sigma = max(1.5, _FOLLOW * max(ink.shape))
    free = (~ndimage.binary_dilation(ink, iterations=2)).astype(np.float32)
    weight = ndimage.gaussian_filter(free, sigma, mode="nearest") + 0.02
    channels = [
        (ndimage.gaussian_filter(scaled[:, :, c] * free, sigma, mode="nearest") + 0.02 * slow[:, :, c]) / weight
        for c in range(3)
    ]
    return np.maximum(np.stack(channels, axis=2), 1 / 255)


def _is_ink(darkness: Float32[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Pixels that are surely darker than paper and its noise."""
    return darkness > max(float(np.median(darkness)) + 1.5 * _SURE * _spread(darkness), _FAINTEST)


def _spread(values: Float32[np.ndarray, "h w"]) -> float:
    """Standard deviation of the paper's noise, from the lighter half of the pixels, which ink does not reach."""
    return max(float(np.median(values) - np.percentile(values, 15.87)), 0.0)


def _strokes(candidates: Bool[np.ndarray, "h w"], sure: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Connected candidates that hold a sure pixel and are larger than a speck of dust."""
    labels, count = ndimage.label(candidates, structure=np.ones((3, 3), int))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    hits = np.bincount(labels.ravel(), weights=sure.ravel(), minlength=count + 1)
    keep = (sizes >= max(4, candidates.size // 12_000)) & (hits > 0)
    keep[0] = False
    return keep[labels]
