"""Image files to the RGB that a person sees, without JAX."""

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

T = TypeVar("T")

FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
"""What Pillow may try. Its other readers are left out: some of them start programs."""

MAX_PIXELS = 89_478_485
"""Pixels in the largest picture that is opened: the size from which Pillow itself warns of a decompression bomb."""

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PNG_BIT_DEPTH = 24  # the byte of a PNG file that holds its bits per channel


class DecodeError(ValueError):
    """A file that holds no picture we can read.

    Args:
        reason: one of "empty", "not an image", "too large", "damaged".
        detail: the file and what was wrong with it.
    """

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


@dataclass(frozen=True)
class PictureFormat:
    """How a picture is stored.

    Attributes:
        format: "PNG", "JPEG", "BMP" or "WEBP", by the contents.
        mode: Pillow's name of the pixel format, such as "RGB", "P" or "I;16".
        transparent: whether any pixel lets the paper show through.
        orientation: of EXIF, 1..8; 1 is upright.
        frames: pictures in the file; more than 1 is an animation.
    """

    format: str
    mode: str
    transparent: bool
    orientation: int
    frames: int


def decode_rgb(file: bytes | str | os.PathLike[str]) -> UInt8[np.ndarray, "h w 3"]:
    """Decode a picture to 8-bit RGB as a person sees it.

    Transparent parts show white paper, the EXIF orientation is applied, 16-bit grey is scaled (not cut), and palette,
    1-bit, grey and CMYK files become RGB.

    Args:
        file: the bytes of a PNG, JPEG, WebP or BMP file, or its path. The contents decide, not the extension.

    Returns:
        A new array. Of an animation, the first picture.

    Raises:
        DecodeError: the file is empty, no picture, cut off or damaged, or larger than `MAX_PIXELS`.
    """
    data, name = _read(file)
    return _with_pillow(data, name, lambda image: np.array(_upright(_flatten(image), _orientation(image))))


def rgb_of_pillow(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    """Give the RGB of a Pillow image as a person sees it, as `decode_rgb` does for a file.

    Args:
        image: of any mode. In mode I, values up to 255 are 8-bit grey and larger ones 16-bit.

    Raises:
        DecodeError: its file is damaged, or its mode has no RGB.
    """
    try:
        grey = image.mode == "I" and np.max(np.asarray(image), initial=0) <= 255
        return np.array(_upright(image.convert("RGB") if grey else _flatten(image), _orientation(image)))
    except MemoryError:
        raise
    except Exception as error:  # a file that Pillow opened is read only here, see _with_pillow
        size = f"{image.width} x {image.height}"
        raise DecodeError("damaged", f"a Pillow image of {size} pixels, mode {image.mode}: {error}") from error


def decode_and_inspect(file: bytes | str | os.PathLike[str]) -> tuple[UInt8[np.ndarray, "h w 3"], PictureFormat]:
    """Decode a picture as `decode_rgb` does, and tell how it was stored.

    Raises:
        DecodeError: as `decode_rgb`.
    """
    data, name = _read(file)

    def use(image: Image.Image) -> tuple[np.ndarray, PictureFormat]:
        stored = PictureFormat(
            format=image.format or "",
            mode=image.mode,
            transparent=_shows_paper(image),
            orientation=_orientation(image),
            frames=getattr(image, "n_frames", 1),
        )
        return np.array(_upright(_flatten(image), stored.orientation)), stored

    return _with_pillow(data, name, use)


def plain_encoding(file: bytes | str | os.PathLike[str]) -> bytes:
    """The same picture as a file that every decoder shows alike: 8-bit RGB or grey, upright, opaque, PNG or JPEG.

    A file that is like this already is returned byte for byte; any other becomes a PNG of `decode_rgb`.

    Raises:
        DecodeError: as `decode_rgb`. A file that is returned as it is was not decoded, only looked at.
    """
    data, name = _read(file)
    if _with_pillow(data, name, lambda image: _is_plain(image, data), load=False):
        return data
    return encode_png(decode_rgb(data))


def encode_png(image: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """Encode RGB as PNG (fast rather than smallest)."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="PNG", compress_level=3)
    return stream.getvalue()


def _read(file: bytes | str | os.PathLike[str]) -> tuple[bytes, str]:
    if isinstance(file, bytes | bytearray | memoryview):
        data, name = bytes(file), f"{len(file)} bytes"
    else:
        data, name = Path(file).read_bytes(), str(file)
    if not data:
        raise DecodeError("empty", f"{name} holds no bytes")
    return data, name


def _with_pillow(data: bytes, name: str, use: Callable[[Image.Image], T], load: bool = True) -> T:
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DecodeError("too large", f"{name} has {image.width} x {image.height} pixels; shrink it")
            if load:
                image.load()
            return use(image)
    except (DecodeError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DecodeError("too large", f"{name}: {error}; shrink it") from error
    except UnidentifiedImageError as error:
        raise DecodeError("not an image", f"{name} is not a PNG, JPEG, WebP or BMP picture") from error
    except Exception as error:  # Pillow's readers raise OSError, SyntaxError, ValueError, struct.error, zlib.error ...
        raise DecodeError("damaged", f"{name}: {error}") from error


def _flatten(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _from_16_bits(image)
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(paper, colours).convert("RGB")
    return image.convert("RGB")


def _shows_paper(image: Image.Image) -> bool:
    if not image.has_transparency_data:
        return False
    if image.mode.startswith("I"):
        return bool((np.asarray(image) == image.info.get("transparency")).any())
    return bool((np.asarray(image.convert("RGBA"))[..., 3] < 255).any())


def _from_16_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.uint32).clip(0, 65535)  # (h, w)
    grey = ((values * 255 + 32767) // 65535).astype(np.uint8)
    transparent = image.info.get("transparency")
    if transparent is not None:
        grey[values == transparent] = 255
    return Image.fromarray(grey).convert("RGB")


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # viewers ignore EXIF data they cannot read, and so do we: the pixels are fine
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _is_plain(image: Image.Image, data: bytes) -> bool:
    if image.format not in ("PNG", "JPEG") or image.mode not in ("RGB", "L") or image.has_transparency_data:
        return False
    if getattr(image, "is_animated", False) or _orientation(image) != 1:
        return False
    return image.format == "JPEG" or data[_PNG_BIT_DEPTH] == 8
