"""A sketch to search with, in whatever form it comes. No JAX."""

import os

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from effnet_jax.images.decode import DecodeError, decode_rgb, rgb_of_pillow

Picture = UInt8[np.ndarray, "_ _ 3"] | bytes | str | os.PathLike[str] | Image.Image


def read_picture(picture: Picture, *, clean: bool = False) -> UInt8[np.ndarray, "h w 3"]:
    """Give RGB as a person sees it, whatever form the picture comes in.

    Args:
        picture: what to read.
        clean: turn a photographed or scanned drawing into black on white.

    Raises:
        DecodeError: no picture that can be read.
        ValueError: an array that is not 8-bit RGB, or a picture without pixels.
    """
    if isinstance(picture, Image.Image):
        picture = rgb_of_pillow(picture)
    if not isinstance(picture, np.ndarray):
        picture = decode_rgb(picture)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"a picture as an array must be uint8 (h, w, 3), not {picture.dtype} {picture.shape}.")
    if not picture.size:
        raise ValueError(f"a picture without pixels cannot be searched with, its shape is {picture.shape}.")
    if clean:
        from effnet_jax.images.clean_sketch import clean_sketch

        picture = clean_sketch(picture)
    return picture


def reason_of(error: DecodeError | OSError) -> str:
    """Say in a few words why a file could not be read."""
    return error.reason if isinstance(error, DecodeError) else error.strerror or str(error)
