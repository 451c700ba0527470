"""Read .npz files of plain arrays, such as the ViT weights that Google published (AugReg)."""

import math
import re
from pathlib import Path

import numpy as np

from effnet_jax.weights.errors import WeightsError, possible, shown
from effnet_jax.weights.files.checked_zip import checked_zip

MAGIC = b"\x93NUMPY"
# The header is a Python literal; this is the one form that NumPy writes for plain arrays, so nothing is evaluated.
HEADER = re.compile(
    rb"\{'descr': '([<|=]\w{2,3})', 'fortran_order': (True|False), 'shape': \(([0-9, ]{0,400})\), \} *\n?"
)
KINDS = "fiub"  # numbers and booleans
BFLOAT16 = np.dtype("V2")  # NumPy has no bfloat16 and keeps it as two bytes without a meaning


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays; bfloat16 becomes float32, which holds it exactly. Objects are refused, never unpickled.

    Raises:
        WeightsError: an array that is no plain one, cut off or damaged; by name.
    """
    with checked_zip(path, compressed=True) as archive:
        return {name.removesuffix(".npy"): _array(path, name, archive.read(name)) for name in archive.names}


def _array(path: Path, name: str, data: bytes) -> np.ndarray:
    wide = {b"\1\0": 2, b"\2\0": 4}.get(data[6:8])  # bytes of the header's length, by version
    if data[:6] != MAGIC or wide is None:
        raise WeightsError(f"{path}: {shown(name)!r} is no NumPy array.")
    start = 8 + wide + int.from_bytes(data[8 : 8 + wide], "little")
    found = HEADER.fullmatch(data[8 + wide : start])
    if found is None:
        text = data[8 + wide : min(start, 8 + wide + 80)].decode("latin1").strip()
        raise WeightsError(f"{path}: {shown(name)!r} is no plain array of numbers ({shown(text)}); it is not read.")
    try:
        dtype = np.dtype(found[1].decode())
    except TypeError:
        dtype = np.dtype(object)
    if dtype != BFLOAT16 and dtype.kind not in KINDS:
        raise WeightsError(f"{path}: {shown(name)!r} holds {found[1].decode()}, not plain numbers; it is not read.")
    shape = tuple(int(number[:20]) for number in found[3].decode().replace(" ", "").split(",") if number)
    left = len(data) - start
    if not possible(shape) or math.prod(shape) * dtype.itemsize != left:
        raise WeightsError(
            f"{path}: {shown(name)!r} claims shape {shape} of {dtype} in {left} bytes; cut off or damaged."
        )
    values = np.frombuffer(data, dtype, offset=start) if left else np.empty(0, dtype)
    if dtype == BFLOAT16:
        values = (values.view("<u2").astype(np.uint32) << 16).view(np.float32)
    return values.reshape(shape, order="F" if found[2] == b"True" else "C")
