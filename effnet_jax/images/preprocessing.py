"""What is done to every image before an encoder sees it. Free of JAX, so that decoding processes start quickly."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, get_args

import numpy as np
from jaxtyping import Float32, UInt8

from effnet_jax.config import Resample

FILTERS = get_args(Resample)  # of Pillow, which is imported where it is used: a step needs none of it
SOURCE_SCALE = {"a0": 1.0, "a1": 1.2, "a2": 1.2}  # edge of the resized source over the edge that the encoder sees


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How pixels become numbers: stored with the checkpoint, used by training, evaluation and search alike.

    Args:
        image_size: edge of the square image that the encoder sees, pixels.
        mean: subtracted from RGB values in [0, 1]. The paper subtracts nothing.
        std: divides what is left, above 0. The paper divides by nothing.
        resample: Pillow filter of the resizes, "bilinear" (paper) or "bicubic"; both with antialiasing.

    Raises:
        ValueError: a field out of its range; all of them in one message.
    """

    image_size: int = 224
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    resample: str = "bilinear"

    def __post_init__(self):
        problems = []
        if type(self.image_size) is not int or self.image_size < 1:
            problems.append(f"image_size={self.image_size!r} must be a whole number above 0")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if not isinstance(values, tuple) or len(values) != 3 or not all(map(_is_number, values)):
                problems.append(f"{name}={values!r} needs three finite numbers, one per channel")
            elif name == "std" and min(values) <= 0:
                problems.append(f"std={values!r} must be above 0 in each channel")
        if self.resample not in FILTERS:
            problems.append(f"resample={self.resample!r} is not known; choose one of {', '.join(FILTERS)}")
        if problems:
            raise ValueError("Preprocessing: " + "; ".join(problems))

    def to_dict(self) -> dict[str, Any]:
        """Give a plain dict, ready for JSON; `from_dict` reads it back."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocessing":
        """Read what `to_dict` wrote. Strict: a stored model must not be fed by guessed defaults.

        Raises:
            ValueError: fields that are unknown, missing or out of range, by name.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        unknown, missing = sorted(set(values) - known), sorted(known - set(values))
        if unknown or missing:
            raise ValueError(
                f"Preprocessing: unknown fields {unknown}, missing fields {missing}; it has {sorted(known)}"
            )
        fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return cls(**fields)


def source_size(view: str, image_size: int) -> int:
    """Edge of the resized image that a view starts from, pixels: 224 for A0 and 268 for A1 and A2 at 224.

    Args:
        view: "a0", "a1" or "a2".
        image_size: edge that the encoder sees, pixels.

    Raises:
        ValueError: a view that does not exist.
    """
    if view not in SOURCE_SCALE:
        raise ValueError(f"The view {view!r} is not known; choose one of {', '.join(SOURCE_SCALE)}")
    return int(image_size * SOURCE_SCALE[view])


def resize(image: UInt8[np.ndarray, "h w 3"], size: int, resample: str = "bilinear") -> UInt8[np.ndarray, "s s 3"]:
    """Resize to a square; the aspect ratio is not kept (view A0 and the source of A1).

    Pillow's own resize, in 8 bits and with antialiasing, since the paper's pixels come from it.

    Args:
        image: RGB, any size.
        size: edge of the result, pixels.
        resample: "bilinear" or "bicubic".

    Returns:
        A new array that owns its memory.

    Source: torchvision's Resize((size, size)) on a PIL image; byte for byte the same.
    """
    if resample not in FILTERS:
        raise ValueError(f"resample={resample!r} is not known; choose one of {', '.join(FILTERS)}")
    from PIL import Image

    return np.array(Image.fromarray(image).resize((size, size), Image.Resampling[resample.upper()]))


def normalise(images: UInt8[Any, "*b h w 3"], preprocessing: Preprocessing) -> Float32[Any, "*b h w 3"]:
    """Scale 8-bit pixels to [0, 1], subtract the mean and divide by the standard deviation.

    Written with array operators only: a NumPy array gives a NumPy array, a JAX array (also under jit) a JAX array.
    """
    return standardise(images.astype(np.float32) / np.float32(255), preprocessing)


def standardise(scaled: Float32[Any, "*b h w 3"], preprocessing: Preprocessing) -> Float32[Any, "*b h w 3"]:
    """Subtract the mean from values in [0, 1] and divide by the standard deviation."""
    if any(preprocessing.mean):
        scaled = scaled - np.asarray(preprocessing.mean, np.float32)
    if any(std != 1 for std in preprocessing.std):
        scaled = scaled / np.asarray(preprocessing.std, np.float32)
    return scaled


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
