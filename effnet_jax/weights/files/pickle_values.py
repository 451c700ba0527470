"""What the pickle inside a PyTorch file may make: plain containers, numbers, texts and tensors, checked one by one.

The functions below are all that a file can cause to be called; `CALLS` names them as PyTorch's pickles do.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from effnet_jax.weights.errors import MAX_AXES, WeightsError, possible, shown

MAX_ENCODED = 4096  # bytes of a scalar or a short text
STORAGES = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1",
    "BoolStorage": "?",
}  # fmt: skip
PLAIN = (str, int, float, bytes, bool, type(None))  # what may be a key; tuples could be nested too deep to hash
DTYPES = tuple(f"torch.{name}" for name in (
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool",
))  # fmt: skip
NEW_STORAGES = ("torch._utils._rebuild_tensor_v3", "torch.storage.UntypedStorage")  # of float8 and unsigned numbers
SCALARS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1")


class Global(NamedTuple):
    """A name that the pickle mentions; nothing is looked up."""

    name: str


class Storage(NamedTuple):
    """A run of numbers in the file."""

    dtype: str
    key: str
    count: int


class Tensor(NamedTuple):
    """A tensor that lies in a storage; not read yet."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Dtype:
    """NumPy dtype of a scalar, as a text."""

    def __init__(self, text: str):
        self.text = text


def make_global(module: str, name: str, where: str) -> Global:
    """Note a name that a pickle mentions, if it is one of those that are known.

    Raises:
        WeightsError: it is not.
    """
    full = f"{module}.{name}"
    if full in NEW_STORAGES:
        raise WeightsError(
            f"{where} has numbers of a kind that is not read here, such as float8; save the tensors as .float()."
        )
    if full not in CALLS and full not in DTYPES and not (module == "torch" and name in STORAGES):
        raise WeightsError(
            f"{where} names {shown(full)}, which is neither a tensor nor a plain container. It is not loaded, because "
            "loading it could run code. Save the state_dict alone with torch.save, and load that."
        )
    return Global(full)


def make_storage(identifier: Any) -> Storage:
    """Read the identifier of a storage: a word, the kind of numbers, a key, a device, a count."""
    word, kind, key, _, count = identifier
    if word != "storage" or type(kind) is not Global or type(key) is not str or type(count) is not int or count < 0:
        raise ValueError("no storage")
    return Storage(STORAGES[kind.name.removeprefix("torch.")], key, count)


def fill(target: dict, values: list[Any], where: str) -> None:
    """Put keys and values, one after another, into a dict; a key that is there already is refused."""
    for key, value in zip(values[::2], values[1::2], strict=True):
        if type(key) not in PLAIN:
            raise WeightsError(
                f"{where} has a dict whose key is no text or number but a {type(key).__name__}; it is not read. "
                "Save the state_dict alone with torch.save."
            )
        if key in target:
            raise WeightsError(f"{where} has the name {shown(key)!r} twice.")
        target[key] = value


def set_state(target: Any, state: Any) -> None:
    """Do what BUILD asks, where it asks for nothing but plain data."""
    if type(target) is Dtype:
        target.text = (state[1] if state[1] in ("<", "|") else ">") + target.text.lstrip("<>|=")
    elif type(target) is not dict:  # an OrderedDict's state is `_metadata`, versions of modules: not needed
        raise ValueError("no state")


def _tensor(where: str, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    """Check that a tensor lies inside its storage, every number once."""
    if type(storage) is not Storage or not _short(shape) or not _short(strides) or len(shape) != len(strides):
        raise ValueError("no tensor")
    if not all(type(n) is int and 0 <= n < 2**62 for n in (offset, *shape, *strides)) or not possible(shape):
        raise ValueError("no tensor")
    # The stride of an axis that is not stepped along says nothing, and may be anything.
    strides = tuple(s if n > 1 and 0 not in shape else 0 for n, s in zip(shape, strides, strict=True))
    used = 0 if 0 in shape else 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if offset + used > storage.count:
        raise WeightsError(
            f"{where} has a tensor of shape {tuple(shape)} that reaches outside its {storage.count} numbers."
        )
    repeats = used and any(n > 1 and s == 0 for n, s in zip(shape, strides, strict=True))
    if repeats or math.prod(shape) > storage.count:
        raise WeightsError(
            f"{where} has a tensor of shape {tuple(shape)} that repeats numbers (expand); save it as .contiguous()."
        )
    return Tensor(storage, offset, tuple(shape), strides)


def _short(value: Any) -> bool:
    return type(value) in (tuple, list) and len(value) <= MAX_AXES


def _parameter(where: str, data: Any, *_: Any) -> Tensor:
    if type(data) is not Tensor:
        raise ValueError("no tensor")
    return data


def _ordered_dict(where: str, pairs: Any = ()) -> dict:
    target: dict = {}
    for key, value in pairs:
        fill(target, [key, value], where)
    return target


def _size(where: str, *numbers: Any) -> tuple[Any, ...]:
    size = numbers[0] if len(numbers) == 1 and type(numbers[0]) in (tuple, list) else numbers
    if not _short(size):
        raise ValueError("no size")
    return tuple(size)


def _set(where: str, values: Any = ()) -> Any:
    """Read a set as the list that it was made of."""
    if type(values) not in (tuple, list):
        raise ValueError("no set")
    return values


def _device(where: str, kind: Any, *_: Any) -> str:
    if type(kind) is not str:
        raise ValueError("no device")
    return kind


def _dtype(where: str, text: Any, *_: Any) -> Dtype:
    if type(text) is not str or text.lstrip("<>|=") not in SCALARS:
        raise ValueError("no dtype")
    return Dtype(text)


def _scalar(where: str, dtype: Any, data: Any) -> int | float | bool:
    if type(dtype) is not Dtype or type(data) is not bytes or len(data) > 8:
        raise ValueError("no scalar")
    return np.frombuffer(data, np.dtype(dtype.text), 1)[0].item()


def _encode(where: str, text: Any, encoding: Any = "latin1") -> bytes:
    """Bytes as protocol 2 writes them."""
    if type(text) is not str or len(text) > MAX_ENCODED or encoding != "latin1":
        raise ValueError("no bytes")
    return text.encode("latin1")


CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.Size": _size,
    "torch.device": _device,
    **{f"{module}.{name}": _set for module in ("builtins", "__builtin__") for name in ("set", "frozenset")},
    "numpy.dtype": _dtype,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
    "_codecs.encode": _encode,
}
