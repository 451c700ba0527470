"""A close look at one file: can it be read, how is it stored, what does it show."""

import hashlib
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from effnet_jax.doctor.findings import Finding
from effnet_jax.doctor.listing import PHOTO, SKETCH, DataFile
from effnet_jax.images.decode import DecodeError, PictureFormat, decode_and_inspect

HUGE, TINY = 4096, 64  # pixels on a side
VIEW = 64  # pixels on a side of the views that are compared
SUFFIXES = {"PNG": (".png",), "JPEG": (".jpg", ".jpeg"), "BMP": (".bmp",), "WEBP": (".webp",)}  # the usual one first

_BLANK_RANGE = 8  # of 255: less than this between darkest and lightest is one colour with the noise of a JPEG
_DARK_MEAN = 96  # of 255: sketches are mostly paper, so a mean below this is dark paper
_FAINT_EDGE = 16  # of 255 per pixel: what JPEG leaves around an object is fainter
_OUTSIDE = 0.02  # share of the edges that is left outside of the object's box at each side


@dataclass(frozen=True)
class Look:
    """What one file turned out to be.

    Attributes:
        file: which.
        findings: what is wrong with it by itself.
        readable: whether it holds a picture.
        pixels: digest of size and pixels as a person sees them; equal where the pictures are identical.
        views: of a photo: the whole picture, and its object without the margin, in grey.
    """

    file: DataFile
    findings: tuple[Finding, ...]
    readable: bool = False
    pixels: bytes = b""
    views: UInt8[np.ndarray, "2 v v"] | None = None


def look_at(file: DataFile) -> Look:
    """Read and decode one file and say what is wrong with it by itself."""
    try:
        rgb, encoding = decode_and_inspect(file.read())
    except OSError as error:
        return Look(file, (Finding("unreadable", (file.name,), error.strerror or str(error)),))
    except DecodeError as error:
        detail = "" if error.reason in ("empty", "not an image") else error.detail.partition(": ")[2]
        return Look(file, (Finding(error.reason, (file.name,), detail or _size_of(error)),))
    digest = hashlib.blake2b(f"{rgb.shape}".encode(), digest_size=16)
    digest.update(rgb.tobytes())
    image = Image.fromarray(rgb)
    findings = [Finding(kind, (file.name,), detail) for kind, detail in _remarks(file, image, encoding)]
    return Look(file, tuple(findings), True, digest.digest(), _views(image) if file.role == PHOTO else None)


def _size_of(error: DecodeError) -> str:
    return error.detail.partition(" has ")[2].partition(";")[0]


def _remarks(file: DataFile, image: Image.Image, encoding: PictureFormat) -> list[tuple[str, str]]:
    """Kinds and details, from how the file is stored to what it shows."""
    suffix = "" if file.path is None else file.path.suffix.lower()
    cmyk, (width, height) = encoding.mode == "CMYK", image.size
    size = f"{width} x {height}"
    extremes = np.array(image.getextrema(), int)  # (3, 2)
    blank = np.ptp(extremes, axis=1).max() < _BLANK_RANGE
    colour = "".join(f"{value:02x}" for value in extremes.sum(axis=1) // 2)
    was = " once transparency shows white paper" if encoding.transparent else ""
    dark = file.role == SKETCH and np.asarray(image.convert("L")).mean() < _DARK_MEAN
    remarks = [
        ("wrong extension", suffix and suffix not in SUFFIXES[encoding.format], f"contains {encoding.format}"),
        ("transparent", encoding.transparent, ""),
        ("rotated", encoding.orientation in range(2, 9), f"EXIF orientation {encoding.orientation}"),
        ("animated", encoding.frames > 1, f"{encoding.frames} pictures"),
        ("unusual colours", cmyk or encoding.mode.startswith("I"), "CMYK" if cmyk else "16-bit grey"),
        ("not square", width != height, size),
        ("huge", max(width, height) > HUGE, size),
        ("tiny", min(width, height) < TINY, size),
        ("blank", blank, f"all #{colour}{was}"),
        ("light on dark", dark and not blank, ""),
    ]
    return [(kind, detail) for kind, holds, detail in remarks if holds]


def _views(image: Image.Image) -> UInt8[np.ndarray, "2 v v"]:
    """The whole picture, and the object alone, which stays the same when the margin is cut or widened."""
    grey = image.convert("L")
    grey = grey.reduce(max(1, min(grey.size) // (4 * VIEW)))
    boxes = (0.0, 0.0, float(grey.width), float(grey.height)), _object_box(grey)
    return np.stack([np.asarray(grey.resize((VIEW, VIEW), Image.Resampling.BILINEAR, box=box)) for box in boxes])


def _object_box(grey: Image.Image) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of what holds the edges, all but a few percent of them at either side."""
    small = np.asarray(grey.resize((2 * VIEW, 2 * VIEW), Image.Resampling.BILINEAR)).astype(np.float32)
    edges = np.hypot(*np.gradient(small))  # (2 v, 2 v)
    edges[edges < _FAINT_EDGE] = 0
    sides = []
    for axis, length in ((0, grey.width), (1, grey.height)):
        share = np.concatenate([[0.0], np.cumsum(edges.sum(axis=axis))])
        if share[-1] <= 0:
            sides.append((0.0, float(length)))
            continue
        ends = np.interp([_OUTSIDE, 1 - _OUTSIDE], share / share[-1], np.linspace(0, length, len(share)))
        middle, half = ends.mean(), max(np.ptp(ends) / 2, 1.0)  # two pixels at least
        sides.append((max(0.0, middle - half), min(float(length), middle + half)))
    (left, right), (top, bottom) = sides
    return left, top, right, bottom
