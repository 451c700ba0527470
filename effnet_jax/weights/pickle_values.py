"""What the pickle inside a PyTorch file may make: plain containers, numbers, texts and tensors, checked one by one.

The functions below are all that a file can cause to be called; `CALLS` names them as PyTorch's pickles do.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from effnet_jax.weights.errors import WeightsError

MAX_AXES = 32
STORAGES = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1",
    "BoolStorage": "?",
}  # fmt: skip
PLAIN = (str, int, float, bytes, bool, type(None))  # what may be a key; tuples could be nested too deep to hash
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
    if full not in CALLS and not (module == "torch" and name in STORAGES):
        raise WeightsError(
            f"{where} names {full[:120]}, which is neither a tensor nor a plain container. It is not loaded, because "
            "loading it could run code. Save the state_dict alone with torch.save, and load that."
        )
    return Global(full)


def make_storage(identifier: Any) -> Storage:
    """Read the identifier of a storage: a word, the kind of numbers, a key, a device, a count."""
    word, kind, key, _, count = identifier
    if word != "storage" or type(kind) is not Global or type(key) is not str or type(count) is not int:
        raise ValueError("no storage")
    return Storage(STORAGES[kind.name.removeprefix("torch.")], key, count)


def fill(target: dict, values: list[Any], where: str) -> None:
    """Put keys and values, one after another, into a dict; a key that is there already is refused."""
    for key, value in zip(values[::2], values[1::2], strict=True):
        if type(key) not in PLAIN:
            raise WeightsError(f"{where} has a dict whose key is no text or number; it is not read.")
        if key in target:
            raise WeightsError(f"{where} has the name {str(key)[:120]!r} twice.")
        target[key] = value


def set_state(target: Any, state: Any) -> None:
    """Do what BUILD asks, where it asks for nothing but plain data."""
    if type(target) is Dtype:
        target.text = (state[1] if state[1] in ("<", "|") else ">") + target.text.lstrip("<>|=")
    elif type(target) is not dict:  # an OrderedDict's state is `_metadata`, versions of modules: not needed
        raise ValueError("no state")


def _tensor(where: str, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    """Check that a tensor lies inside its storage, every number once."""
    numbers = [offset, *shape, *strides]
    if type(storage) is not Storage or not all(type(n) is int and 0 <= n < 2**62 for n in numbers):
        raise ValueError("no tensor")
    if len(shape) != len(strides) or len(shape) > MAX_AXES:
        raise ValueError("no tensor")
    used = 0 if 0 in shape else 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    count = 1
    for n in shape:
        count *= n
    if offset + used > storage.count or count > storage.count:
        raise WeightsError(
            f"{where} has a tensor of shape {tuple(shape)} that reaches outside its {storage.count} numbers."
        )
    return Tensor(storage, offset, tuple(shape), tuple(strides))


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
    return tuple(numbers[0]) if len(numbers) == 1 and type(numbers[0]) in (tuple, list) else numbers


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
    if type(text) is not str or encoding != "latin1":
        raise ValueError("no bytes")
    return text.encode("latin1")


CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.Size": _size,
    "numpy.dtype": _dtype,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
    "_codecs.encode": _encode,
}
