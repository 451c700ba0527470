"""Interpret the pickle inside a PyTorch file without executing anything.

A pickle is a program for a small stack machine, and Python's own machine calls whatever the program names. This one
knows plain containers, numbers, texts and the tensors of PyTorch; a name outside that list is refused, not looked up.
It only reads: it imports nothing and calls nothing that a file names.
"""

import struct
from collections.abc import Callable
from typing import Any

from effnet_jax.weights.errors import WeightsError
from effnet_jax.weights.files.pickle_values import CALLS, Global, fill, make_global, make_storage, set_state

MAX_PICKLE = 2**19  # bytes; a checkpoint of two ViT-L with their optimiser has some 200 kB


class _Mark:
    """Bottom of a run of values on the stack."""


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
        self.data, self.where, self.place, self.made = data, where, 0, 0
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
                stack.append(self._number(_SCALARS[code]))
            elif code in _TEXTS:
                form, decode = _TEXTS[code]
                stack.append(decode(self._take(self._number(form))))
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

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

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

    def put(self, form: str) -> None:
        self.memo[self._number(form)] = self.stack[-1]

    def get(self, form: str) -> None:
        self.stack.append(self.memo[self._number(form)])

    def skip(self, count: int) -> None:
        self._take(count)

    def memoize(self) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def integer(self) -> None:
        size = self._take(1)[0]
        if size > 8:  # longer ones can be made to collide in a dict
            raise WeightsError(f"{self.where} has a whole number of {size} bytes; it is not read.")
        self.stack.append(int.from_bytes(self._take(size), "little", signed=True))

    def name_of_global(self) -> None:
        module = self._line()
        self._global(module, self._line())

    def name_from_stack(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if type(name) is not str or type(module) is not str:
            raise ValueError("no name")
        self._global(module, name)

    def _global(self, module: str, name: str) -> None:
        self.stack.append(make_global(module, name, self.where))

    def tuple_of(self, count: int) -> None:
        if len(self.stack) < count:
            raise ValueError("too few values")
        self.stack[-count:] = [tuple(self.stack[-count:])]

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
        fill(self._top(dict), [key, value], self.where)

    def set_items(self) -> None:
        values = self._since_mark()
        fill(self._top(dict), values, self.where)

    def _top(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            raise TypeError(f"no {kind.__name__}")
        return self.stack[-1]

    def persistent(self) -> None:
        self.stack.append(make_storage(self.stack.pop()))

    def call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if type(function) is not Global or type(arguments) is not tuple or function.name not in CALLS:
            raise ValueError("no call")
        value = CALLS[function.name](self.where, *arguments)
        self.made += len(value) if type(value) in (dict, bytes) else 0
        if self.made > len(self.data):  # the same pairs or texts again and again
            raise WeightsError(f"{self.where}: its list of contents would grow beyond its own size; it is not read.")
        self.stack.append(value)

    def build(self) -> None:
        state = self.stack.pop()
        set_state(self.stack[-1], state)


_SCALARS = {0x4A: "<i", 0x4B: "<B", 0x4D: "<H", 0x47: ">d"}  # BININT, 1, 2, BINFLOAT
_TEXTS: dict[int, tuple[str, Callable[[bytes], Any]]] = {
    0x58: ("<I", bytes.decode), 0x8C: ("<B", bytes.decode), 0x8D: ("<Q", bytes.decode),  # unicode
    0x42: ("<I", bytes), 0x43: ("<B", bytes), 0x8E: ("<Q", bytes),  # bytes
    0x55: ("<B", lambda b: b.decode("latin1")), 0x54: ("<I", lambda b: b.decode("latin1")),  # Python 2's texts
}  # fmt: skip
_INSTRUCTIONS: dict[int, Callable[[_Machine], None]] = {
    0x80: lambda m: m.skip(1),  # PROTO
    0x95: lambda m: m.skip(8),  # FRAME
    0x71: lambda m: m.put("<B"),
    0x72: lambda m: m.put("<I"),
    0x94: _Machine.memoize,
    0x68: lambda m: m.get("<B"),
    0x6A: lambda m: m.get("<I"),
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
    0x91: _Machine.tuple_since_mark,  # FROZENSET
    0x51: _Machine.persistent,
    0x52: _Machine.call,
    0x62: _Machine.build,
}
