"""Files as torch saved them before its zip archives, written here: honest ones, and such as nobody would save."""

from dataclasses import dataclass
from typing import Any

import numpy as np

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
SYSTEM = {"protocol_version": VERSION, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


@dataclass(frozen=True)
class Named:
    """A function or class, "module name"."""

    name: str


@dataclass(frozen=True)
class Call:
    """What a function gives for arguments."""

    function: Any
    arguments: Any


@dataclass(frozen=True)
class Persistent:
    """What a file names instead of holding it."""

    value: Any


EMPTY = Call(Named("collections OrderedDict"), ())


def pickled(value: Any) -> bytes:
    """The pickle of a value that may hold `Named`, `Call` and `Persistent`."""
    return b"\x80\x02" + encoded(value) + b"."


def encoded(value: Any) -> bytes:
    """The operations that put a value on the stack."""
    match value:
        case bytes():  # operations as they are
            found = value
        case None | True | False:
            found = {None: b"N", True: b"\x88", False: b"\x89"}[value]
        case int():
            number = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            found = b"\x8a" + bytes([len(number)]) + number
        case str():
            found = b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()
        case tuple():
            found = b"(" + b"".join(map(encoded, value)) + b"t"
        case list():
            found = b"](" + b"".join(map(encoded, value)) + b"e"
        case dict():
            found = b"}(" + b"".join(encoded(name) + encoded(one) for name, one in value.items()) + b"u"
        case Named(name):
            found = b"c" + name.replace(" ", "\n").encode() + b"\n"
        case Call(function, arguments):
            found = encoded(function) + encoded(arguments) + b"R"
        case Persistent(described):
            found = encoded(described) + b"Q"
        case _:
            raise TypeError(value)
    return found


def storage(key: str, count: Any, kind: str = "torch FloatStorage", view: Any = None) -> Persistent:
    return Persistent(("storage", Named(kind), key, "cpu", count, view))


def tensor(of: Any, size: Any, stride: Any, offset: Any = 0) -> Call:
    return Call(Named("torch._utils _rebuild_tensor_v2"), (of, offset, size, stride, False, EMPTY))


def torch_file(state: Any, numbers: dict[str, np.ndarray], keys: Any = None, system: Any = SYSTEM) -> bytes:
    """The whole file; `numbers` are those of the storages, in that order."""
    parts = [pickled(value) for value in (MAGIC, VERSION, system, state, [*numbers] if keys is None else keys)]
    parts += [array.size.to_bytes(8, "little") + array.tobytes() for array in numbers.values()]
    return b"".join(parts)
