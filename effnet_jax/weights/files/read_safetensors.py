"""Read .safetensors files: a JSON header that says where each tensor lies, then the numbers.

Written here rather than taken from the safetensors package because that lets a name occur twice and has no bfloat16 for
NumPy; every claim of the header is checked against the size of the file before anything is allocated.
"""

import json
import math
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from effnet_jax.weights.errors import MAX_AXES, WeightsError, listing, possible, shown, some

DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip
MAX_HEADER = 4 * 2**20  # bytes; the format's own limit is 100 MB, real headers have some 50 kB
MAX_TENSORS = 20_000


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
    if len(header) > MAX_TENSORS:
        raise WeightsError(f"{path} names {len(header)} tensors, more than {MAX_TENSORS}; it is not read.")
    tensors: dict[str, np.ndarray] = {}
    problems: list[str] = []
    for name, entry in header.items():
        try:
            tensors[name] = _tensor(name, entry, whole[8 + length :])
        except WeightsError as error:
            problems.append(str(error))
    problems = problems or _gaps([(*header[name]["data_offsets"], name) for name in tensors], size - 8 - length)
    if problems:
        raise WeightsError(f"{path} is not a readable .safetensors file:\n{listing(problems)}")
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise WeightsError(f"{path} is not a readable .safetensors file: its metadata are not texts.")
    return {name: _widened(x) if header[name]["dtype"] == "BF16" else x for name, x in tensors.items()}, metadata


def _gaps(places: list[tuple[int, int, str]], size: int) -> list[str]:
    """Find tensors that overlap or leave bytes between them, which the format forbids."""
    problems, end = [], 0
    for start, stop, name in sorted(places):
        if start != end:
            problems.append(f"{'overlap' if start < end else 'hole'}: {shown(name)} starts at {start}, not at {end}")
        end = stop
    return problems or ([f"hole: the numbers end at {end} of {size} bytes"] if end != size else [])


def _widened(x: np.ndarray) -> np.ndarray:
    return (x.astype(np.uint32) << 16).view(np.float32)


def _parse(path: Path, text: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen = dict(pairs)
        if len(seen) != len(pairs):
            twice = sorted(name for name, n in Counter(name for name, _ in pairs).items() if n > 1)
            raise WeightsError(f"{path} names tensors more than once: {some(twice)}.")
        return seen

    try:
        header = json.loads(text.decode(), object_pairs_hook=unique)
    except WeightsError:
        raise
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise WeightsError(f"{path} is not a readable .safetensors file: bad header ({shown(error)}).") from error
    if not isinstance(header, dict):
        raise WeightsError(f"{path} is not a readable .safetensors file: its header is no table of tensors.")
    return header


def _tensor(name: str, entry: Any, data: np.ndarray) -> np.ndarray:
    try:
        kind, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    except (TypeError, KeyError, ValueError) as error:
        raise WeightsError(f"damaged: {shown(name)}: its entry lacks dtype, shape or data_offsets") from error
    if not isinstance(kind, str) or kind not in DTYPES:
        raise WeightsError(
            f"unknown: {shown(name)}: numbers of type {shown(str(kind)[:40])} are not read; known are "
            + ", ".join(DTYPES)
        )
    whole_numbers = isinstance(shape, list) and len(shape) <= MAX_AXES
    if not whole_numbers or not all(type(n) is int and 0 <= n < 2**63 for n in [*shape, start, end]):
        raise WeightsError(f"damaged: {shown(name)}: its shape or its place is not made of whole numbers")
    dtype = np.dtype(DTYPES[kind])
    if not possible(shape) or not start <= end <= len(data) or end - start != math.prod(shape) * dtype.itemsize:
        raise WeightsError(
            f"damaged: {shown(name)}: claims shape {tuple(shape)} of {kind} in bytes {start} to {end} of {len(data)}"
        )
    return data[start:end].view(dtype).reshape(shape)
