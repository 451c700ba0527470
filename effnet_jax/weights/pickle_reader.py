"""Interpret the pickle inside a PyTorch file without executing anything.

A pickle is a program for a small stack machine, and Python's own machine calls whatever the program names. This one
knows plain containers, numbers, texts and the tensors of PyTorch; a name outside that list is refused, not looked up.
It only reads: it imports nothing and calls nothing that a file names.
"""

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from effnet_jax.weights.errors import WeightsError

MAX_PICKLE = 2**20  # bytes; a checkpoint of two ViT-L with their optimiser has some 200 kB
MAX_AXES = 32
STORAGES = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1",
    "BoolStorage": "?",
}  # fmt: skip
PLAIN = (str, int, float, bytes, bool, type(None))  # what may be a key; tuples could be nested too deep to hash


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


class _Mark:
    """Bottom of a run of values on the stack."""


class _Dtype:
    """NumPy dtype of a scalar, as a text."""

    def __init__(self, text: str):
        self.text = text


def interpret(data: bytes, where: str) -> Any:
    """Give the value that a pickle describes: dicts, lists, tuples, texts, numbers and `Tensor`s.

    Args:
        data: the pickle, protocols 2 to 5.
        where: file, for messages.

    Raises:
        WeightsError: names or instructions that go beyond plain data, by name; a pickle that is damaged or too long.
    """
    if len(data) > MAX_PICKLE:
        raise WeightsError(f"{where}: its list of contents has {len(data)} bytes, more than {MAX_PICKLE}; not read.")
    try:
        return _Machine(data, where).run()
    except WeightsError:
        raise
    except (IndexError, KeyError, TypeError, ValueError, AttributeError, struct.error, OverflowError) as error:
        raise WeightsError(f"{where}: its list of contents (data.pkl) is damaged ({type(error).__name__}).") from error


class _Machine:
    """The stack machine; one method an instruction, by its byte in `_INSTRUCTIONS`."""

    def __init__(self, data: bytes, where: str):
        self.data, self.where, self.place = data, where, 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.constants = {
            0x4E: lambda: None, 0x88: lambda: True, 0x89: lambda: False, 0x7D: dict, 0x5D: list, 0x29: tuple,
            0x8F: list, 0x28: _Mark,
        }  # fmt: skip

    def run(self) -> Any:
        data, stack = self.data, self.stack
        while True:
            code = data[self.place]
            self.place += 1
            if code == 0x2E:  # STOP
                return stack.pop()
            if code in self.constants:
                stack.append(self.constants[code]())
            elif code in _SCALARS:
                form, size = _SCALARS[code]
                stack.append(struct.unpack(form, self._take(size))[0])
            elif code in _TEXTS:
                form, size, decode = _TEXTS[code]
                stack.append(decode(self._take(struct.unpack(form, self._take(size))[0])))
            elif code in _INSTRUCTIONS:
                _INSTRUCTIONS[code](self)
            else:
                raise WeightsError(
                    f"{self.where} uses the pickle instruction {bytes([code])!r}, which is not read here."
                )

    def _take(self, count: int) -> bytes:
        if count > len(self.data) - self.place:
            raise WeightsError(f"{self.where}: its list of contents (data.pkl) is cut off.")
        self.place += count
        return self.data[self.place - count : self.place]

    def _line(self) -> str:
        end = self.data.index(b"\n", self.place)
        text = self.data[self.place : end].decode()
        self.place = end + 1
        return text

    def _since_mark(self) -> list[Any]:
        for i in range(len(self.stack) - 1, -1, -1):
            if isinstance(self.stack[i], _Mark):
                values = self.stack[i + 1 :]
                del self.stack[i:]
                return values
        raise ValueError("no mark")

    def put(self, form: str, size: int) -> None:
        self.memo[struct.unpack(form, self._take(size))[0]] = self.stack[-1]

    def get(self, form: str, size: int) -> None:
        self.stack.append(self.memo[struct.unpack(form, self._take(size))[0]])

    def skip(self, count: int) -> None:
        self._take(count)

    def memoize(self) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def integer(self) -> None:
        self.stack.append(int.from_bytes(self._take(self._take(1)[0]), "little", signed=True))

    def name_of_global(self) -> None:
        module = self._line()
        self._global(module, self._line())

    def name_from_stack(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self._global(str(module), str(name))

    def _global(self, module: str, name: str) -> None:
        full = f"{module}.{name}"
        if full not in _CALLS and not (module == "torch" and name in STORAGES):
            raise WeightsError(
                f"{self.where} names {full[:120]}, which is neither a tensor nor a plain container. It is not loaded, "
                "because loading it could run code. Save the state_dict alone with torch.save, and load that."
            )
        self.stack.append(Global(full))

    def tuple_of(self, count: int) -> None:
        if len(self.stack) < count:
            raise ValueError("too few values")
        values = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        self.stack.append(tuple(values))

    def tuple_since_mark(self) -> None:
        self.stack.append(tuple(self._since_mark()))

    def append(self) -> None:
        value = self.stack.pop()
        self._top(list).append(value)

    def appends(self) -> None:
        values = self._since_mark()
        self._top(list).extend(values)

    def set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._fill(self._top(dict), [key, value])

    def set_items(self) -> None:
        values = self._since_mark()
        self._fill(self._top(dict), values)

    def _fill(self, target: dict, values: list[Any]) -> None:
        for key, value in zip(values[::2], values[1::2], strict=True):
            if type(key) not in PLAIN:
                raise WeightsError(f"{self.where} has a dict whose key is no text or number; it is not read.")
            if key in target:
                raise WeightsError(f"{self.where} has the name {str(key)[:120]!r} twice.")
            target[key] = value

    def _top(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            raise TypeError(f"no {kind.__name__}")
        return self.stack[-1]

    def persistent(self) -> None:
        word, kind, key, _, count = self.stack.pop()
        if word != "storage" or type(kind) is not Global or type(key) is not str or type(count) is not int:
            raise ValueError("no storage")
        self.stack.append(Storage(STORAGES[kind.name.removeprefix("torch.")], key, count))

    def call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if type(function) is not Global or type(arguments) is not tuple or function.name not in _CALLS:
            raise ValueError("no call")
        self.stack.append(_CALLS[function.name](self, *arguments))

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if type(target) is _Dtype:
            target.text = ("<" if state[1] == "<" else "|" if state[1] == "|" else ">") + target.text.lstrip("<>|=")
        elif type(target) is not dict:  # an OrderedDict's state is `_metadata`, versions of modules: not needed
            raise ValueError("no state")

    def tensor(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
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
                f"{self.where} has a tensor of shape {tuple(shape)} that reaches outside its {storage.count} numbers."
            )
        return Tensor(storage, offset, tuple(shape), tuple(strides))

    def parameter(self, data: Any, *_: Any) -> Tensor:
        if type(data) is not Tensor:
            raise ValueError("no tensor")
        return data

    def ordered_dict(self, pairs: Any = ()) -> dict:
        target: dict = {}
        for key, value in pairs:
            self._fill(target, [key, value])
        return target

    def dtype(self, text: Any, *_: Any) -> _Dtype:
        if type(text) is not str or text.lstrip("<>|=") not in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1"):
            raise ValueError("no dtype")
        return _Dtype(text)

    def scalar(self, dtype: Any, data: Any) -> int | float | bool:
        if type(dtype) is not _Dtype or type(data) is not bytes or len(data) > 8:
            raise ValueError("no scalar")
        return np.frombuffer(data, np.dtype(dtype.text), 1)[0].item()

    def encode(self, text: Any, encoding: Any = "latin1") -> bytes:
        """Bytes as protocol 2 writes them."""
        if type(text) is not str or encoding != "latin1":
            raise ValueError("no bytes")
        return text.encode("latin1")


def _size(self: _Machine, *numbers: Any) -> tuple[Any, ...]:
    return tuple(numbers[0]) if len(numbers) == 1 and type(numbers[0]) in (tuple, list) else numbers


_CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _Machine.ordered_dict,
    "torch._utils._rebuild_tensor_v2": _Machine.tensor,
    "torch._utils._rebuild_parameter": _Machine.parameter,
    "torch.Size": _size,
    "numpy.dtype": _Machine.dtype,
    "numpy.core.multiarray.scalar": _Machine.scalar,
    "numpy._core.multiarray.scalar": _Machine.scalar,
    "_codecs.encode": _Machine.encode,
}
_SCALARS = {0x4A: ("<i", 4), 0x4B: ("<B", 1), 0x4D: ("<H", 2), 0x47: (">d", 8)}  # BININT, 1, 2, BINFLOAT
_TEXTS: dict[int, tuple[str, int, Callable[[bytes], Any]]] = {
    0x58: ("<I", 4, bytes.decode), 0x8C: ("<B", 1, bytes.decode), 0x8D: ("<Q", 8, bytes.decode),  # unicode
    0x42: ("<I", 4, bytes), 0x43: ("<B", 1, bytes), 0x8E: ("<Q", 8, bytes),  # bytes
    0x55: ("<B", 1, lambda b: b.decode("latin1")), 0x54: ("<I", 4, lambda b: b.decode("latin1")),  # Python 2's texts
}  # fmt: skip
_INSTRUCTIONS: dict[int, Callable[[_Machine], None]] = {
    0x80: lambda m: m.skip(1),  # PROTO
    0x95: lambda m: m.skip(8),  # FRAME
    0x71: lambda m: m.put("<B", 1),
    0x72: lambda m: m.put("<I", 4),
    0x94: _Machine.memoize,
    0x68: lambda m: m.get("<B", 1),
    0x6A: lambda m: m.get("<I", 4),
    0x8A: _Machine.integer,
    0x63: _Machine.name_of_global,
    0x93: _Machine.name_from_stack,
    0x85: lambda m: m.tuple_of(1),
    0x86: lambda m: m.tuple_of(2),
    0x87: lambda m: m.tuple_of(3),
    0x74: _Machine.tuple_since_mark,
    0x61: _Machine.append,
    0x65: _Machine.appends,
    0x73: _Machine.set_item,
    0x75: _Machine.set_items,
    0x90: _Machine.appends,  # ADDITEMS: a set is read as a list
    0x51: _Machine.persistent,
    0x52: _Machine.call,
    0x62: _Machine.build,
}
