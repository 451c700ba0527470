"""Read .npz files of plain arrays, such as the ViT weights that Google published (AugReg)."""

import io
import math
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from effnet_jax.weights.archive import DAMAGED, Archive
from effnet_jax.weights.errors import WeightsError

KINDS = "fiub"  # numbers and booleans
BFLOAT16 = np.dtype("V2")  # NumPy has no bfloat16 and keeps it as two bytes without a meaning


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays; bfloat16 becomes float32, which holds it exactly. Objects are refused, never unpickled.

    Raises:
        WeightsError: an array that is no plain one, cut off or damaged; by name.
    """
    with Archive(path, compressed=True) as archive:
        return {name.removesuffix(".npy"): _array(path, name, archive.read(name)) for name in archive.names}


def _array(path: Path, name: str, data: bytes) -> np.ndarray:
    stream = io.BytesIO(data)
    try:
        version = npy.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"format {version}")
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, column_major, dtype = read(stream)
    except (*DAMAGED, SyntaxError, TypeError, RecursionError) as error:
        raise WeightsError(f"{path}: {name!r} is no NumPy array ({str(error)[:80]}).") from error
    if dtype != BFLOAT16 and (dtype.kind not in KINDS or dtype.hasobject):
        raise WeightsError(f"{path}: {name!r} holds {dtype}, not plain numbers; it is not read.")
    left = len(data) - stream.tell()
    if not all(type(n) is int and n >= 0 for n in shape) or math.prod(shape) * dtype.itemsize != left:
        raise WeightsError(f"{path}: {name!r} claims shape {shape} of {dtype} in {left} bytes; cut off or damaged.")
    values = np.frombuffer(data, dtype, offset=stream.tell())
    if dtype == BFLOAT16:
        values = (values.view("<u2").astype(np.uint32) << 16).view(np.float32)
    return values.reshape(shape, order="F" if column_major else "C")
