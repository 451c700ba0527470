"""Read .safetensors files: a JSON header that says where each tensor lies, then the numbers.

Written here rather than taken from the safetensors package because that lets a name occur twice and has no bfloat16 for
NumPy; every claim of the header is checked against the size of the file before anything is allocated.
"""

import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np

from effnet_jax.weights.errors import WeightsError

DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip
MAX_HEADER = 16 * 2**20  # bytes; the format's own limit is 100 MB, real headers have some 50 kB
MAX_AXES = 32


def read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read all tensors and the metadata; bfloat16 becomes float32, which holds it exactly.

    Raises:
        WeightsError: not a whole, well-formed safetensors file; says what is wrong with it.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))[0]
            if size < 8 or length > min(size - 8, MAX_HEADER):
                raise WeightsError(
                    f"{path} is not a readable .safetensors file: its header claims {length} bytes of a file of {size} "
                    f"(at most {MAX_HEADER} are read); fetch it again."
                )
            header = _parse(path, file.read(length))
        whole = np.memmap(path, np.uint8, "r") if size > 8 + length else np.empty(0, np.uint8)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error
    metadata = header.pop("__metadata__", {})
    problems: list[str] = []
    tensors = {name: _tensor(name, entry, whole[8 + length :], problems) for name, entry in header.items()}
    if problems:
        raise WeightsError(f"{path} is not a readable .safetensors file:\n" + "\n".join(f"  {p}" for p in problems))
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise WeightsError(f"{path} is not a readable .safetensors file: its metadata are not texts.")
    return tensors, metadata


def _parse(path: Path, text: bytes) -> dict[str, Any]:
    twice: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen = dict(pairs)
        if len(seen) != len(pairs):
            names = [name for name, _ in pairs]
            twice.extend(sorted({name for name in names if names.count(name) > 1}) if len(names) < 10**4 else ["many"])
        return seen

    try:
        header = json.loads(text.decode(), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise WeightsError(f"{path} is not a readable .safetensors file: bad header ({str(error)[:80]}).") from error
    if twice:
        raise WeightsError(f"{path} names tensors more than once: {', '.join(twice)}.")
    if not isinstance(header, dict):
        raise WeightsError(f"{path} is not a readable .safetensors file: its header is no table of tensors.")
    return header


def _tensor(name: str, entry: Any, data: np.ndarray, problems: list[str]) -> np.ndarray:
    nothing = np.empty(0, np.float32)
    try:
        kind, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    except (TypeError, KeyError, ValueError):
        problems.append(f"{name}: its entry lacks dtype, shape or data_offsets")
        return nothing
    if not isinstance(kind, str) or kind not in DTYPES:
        problems.append(f"{name}: numbers of type {str(kind)[:40]} are not read; known are {', '.join(DTYPES)}")
        return nothing
    whole_numbers = isinstance(shape, list) and len(shape) <= MAX_AXES
    if not whole_numbers or not all(type(n) is int and 0 <= n < 2**63 for n in [*shape, start, end]):
        problems.append(f"{name}: its shape or its place is not made of whole numbers")
        return nothing
    dtype = np.dtype(DTYPES[kind])
    if not start <= end <= len(data) or end - start != math.prod(shape) * dtype.itemsize:
        problems.append(
            f"{name}: claims shape {tuple(shape)} of {kind} in bytes {start} to {end} of {len(data)}; damaged"
        )
        return nothing
    value = data[start:end].view(dtype).reshape(shape)
    return (value.astype(np.uint32) << 16).view(np.float32) if kind == "BF16" else value
