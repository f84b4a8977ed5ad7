"""Read the tensors of a state dict that torch saved before its zip archives, without torch; nothing in it is called.

Five pickles (a magic number, the version, the system, the state dict, the keys of the storages), then for each key a
count and that many raw numbers. A pickle is a program: here it runs on a stack of our own that knows what a state dict
is made with, and every other operation and name is refused. Sizes are compared with the file's before they count.
"""

import io
import os
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from math import prod
from typing import Any, NamedTuple

import numpy as np

from cache.errors import UserError
from cache.row_key import content_digest

OPENING = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # the pickle of the magic number
ARCHIVE = b"PK"  # how a zip archive begins
VERSION = 1001
LARGEST = 128 * 1024**2  # bytes; EfficientNet-Lite2 has 25 million
MOST_OPERATIONS = 100_000  # of a pickle; EfficientNet-Lite2 has 14,000
MOST_AXES = 8

NOT_READ = (OSError, ValueError, TypeError, LookupError)


class Name(Enum):
    """What a pickle may name: marks of ours, not the functions and classes themselves."""

    ORDERED_DICT = "collections OrderedDict"
    TENSOR = "torch._utils _rebuild_tensor_v2"
    FLOATS = "torch FloatStorage"
    LONGS = "torch LongStorage"


DTYPES: dict[Any, np.dtype[Any]] = {Name.FLOATS: np.dtype("<f4"), Name.LONGS: np.dtype("<i8")}


@dataclass(frozen=True)
class Storage:
    """`count` numbers in a row, behind the pickles under the name `key`."""

    dtype: np.dtype[Any]
    key: str
    count: int


class Tensor(NamedTuple):
    """Where the numbers of a tensor are in its storage; `stride` counts numbers, and may be of a transposed tensor."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def read_torch_file(path: str, sha256: str | None = None) -> dict[str, np.ndarray]:
    """The tensors of the state dict at `path` by name, read-only; with a `sha256` (hexadecimal) only of that very file.

    Raises UserError where the file is another one, damaged, or asks for anything but tensors of floats and int64.
    """
    try:
        if (length := os.path.getsize(path)) > LARGEST:
            raise ValueError(f"it has {length} bytes, more than any of these networks")
        with open(path, "rb") as file:
            data = file.read()
        if sha256 and (found := content_digest(data).hex()) != sha256:
            raise ValueError(f"its SHA-256 is {found}, not {sha256}: install its package again")
        return _tensors(data)
    except NOT_READ as error:
        raise UserError(f"weights {path} cannot be used ({' '.join(str(error).split()):.300})") from error


def _tensors(data: bytes) -> dict[str, np.ndarray]:
    if data.startswith(ARCHIVE):
        raise ValueError(
            "a zip archive of a newer torch: save the state dict with _use_new_zipfile_serialization=False"
        )
    file = io.BytesIO(data)
    if file.read(len(OPENING)) != OPENING or _read_pickle(file) != VERSION:
        raise ValueError("it is no file of torch.save")
    if _read_pickle(file)["little_endian"] is not True:
        raise ValueError("its numbers are not little-endian")
    state, keys = _read_pickle(file), _read_pickle(file)
    if type(state) is not dict or not all(type(tensor) is Tensor for tensor in state.values()):
        raise ValueError("it is no state dict: names and tensors, nothing else")
    numbers = _numbers(data, file.tell(), keys, {tensor.storage for tensor in state.values()})
    return {name: _view(numbers[tensor.storage.key], tensor) for name, tensor in state.items()}


def _numbers(data: bytes, start: int, keys: Any, storages: set[Storage]) -> dict[str, np.ndarray]:
    """The numbers of each storage, in the order of `keys` from byte `start` on; views of `data`."""
    if type(keys) is not list or not all(type(key) is str for key in keys):
        raise ValueError("it has no list of storages")
    if sorted(keys) != sorted(storage.key for storage in storages):
        raise ValueError("its storages are not those that its tensors name")
    by_key = {storage.key: storage for storage in storages}
    numbers = {}
    for key in keys:
        dtype, count = by_key[key].dtype, by_key[key].count
        if int.from_bytes(data[start : start + 8], "little", signed=True) != count:
            raise ValueError("a storage has not the count that its tensors name, or the file is cut short")
        start += 8
        if start + count * dtype.itemsize > len(data):
            raise ValueError("the file is cut short")
        numbers[key] = np.frombuffer(data, dtype, count, start)
        start += count * dtype.itemsize
    return numbers


def _view(numbers: np.ndarray, tensor: Tensor) -> np.ndarray:
    strides = tuple(step * numbers.itemsize for step in tensor.stride)
    return np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.size, strides, writeable=False)


# --- the pickles ---


class _Stack(list[Any]):
    """The values of a running pickle, where its marks are, and what it has remembered."""

    def __init__(self) -> None:
        super().__init__()
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def take(self, count: int) -> list[Any]:
        """Remove the last values."""
        if len(self) < count:
            raise ValueError("a pickle that takes more than there is")
        taken = self[len(self) - count :]
        del self[len(self) - count :]
        return taken

    def take_marked(self) -> list[Any]:
        """Remove the values behind the last mark."""
        return self.take(max(0, len(self) - self.marks.pop()))

    def remember(self, index: int) -> None:
        self.memo[index] = self[-1]

    def add_to_list(self, values: list[Any]) -> None:
        if type(self[-1]) is not list:
            raise ValueError("a pickle that appends to what is no list")
        self[-1].extend(values)

    def add_to_dict(self, values: list[Any]) -> None:
        names = values[::2]
        if type(self[-1]) is not dict or not all(type(name) is str for name in names):  # a deep tuple's hash crashes
            raise ValueError("a pickle with names that are no text")
        self[-1].update(zip(names, values[1::2], strict=True))


def _read_pickle(file: io.BytesIO) -> Any:
    stack = _Stack()
    for operation, value, _ in islice(pickletools.genops(file), MOST_OPERATIONS):
        if operation.name == "STOP":
            return stack.pop()
        if operation.name not in OPERATIONS:
            raise ValueError(f"it asks for {operation.name}, which no state dict needs")
        OPERATIONS[operation.name](stack, value)
    raise ValueError(f"a pickle of more than {MOST_OPERATIONS} operations")


def _named(name: str) -> Name:
    known = {one.value: one for one in Name}
    if name not in known:
        raise ValueError(f"it asks for {name!r:.80}, which no state dict needs")
    return known[name]


def _storage(described: Any) -> Storage:
    match described:
        case ("storage", (Name.FLOATS | Name.LONGS) as kind, str(key), str(), int(count), None) if count >= 0:
            return Storage(DTYPES[kind], key, count)
    raise ValueError("a storage that is none of floats or int64")


def _made(function: Any, arguments: Any) -> Any:
    """What a call would give; the two that there are."""
    match function, arguments:
        case Name.ORDERED_DICT, ():
            return {}
        case Name.TENSOR, (Storage() as storage, int(offset), tuple(size), tuple(stride), *_):
            return _checked(Tensor(storage, offset, size, stride))
    raise ValueError("it asks for a call that makes no tensor")


def _checked(tensor: Tensor) -> Tensor:
    """Raise ValueError for a tensor that reaches out of its storage, or has more numbers."""
    storage, offset, size, stride = tensor
    inside = len(size) == len(stride) <= MOST_AXES
    inside = inside and all(type(n) is int and 0 <= n <= storage.count for n in (offset, *size, *stride))
    if inside and 0 not in size:
        last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
        inside = last < storage.count and prod(size) <= storage.count
    if not inside:
        raise ValueError(f"a tensor that reaches out of its storage of {storage.count} numbers")
    return tensor


OPERATIONS: dict[str, Callable[[_Stack, Any], None]] = {
    "PROTO": lambda _stack, _: None,
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE"), _Stack.append),
    "NONE": lambda stack, _: stack.append(None),
    "NEWTRUE": lambda stack, _: stack.append(True),
    "NEWFALSE": lambda stack, _: stack.append(False),
    "EMPTY_TUPLE": lambda stack, _: stack.append(()),
    "EMPTY_LIST": lambda stack, _: stack.append([]),
    "EMPTY_DICT": lambda stack, _: stack.append({}),
    "MARK": lambda stack, _: stack.marks.append(len(stack)),
    "TUPLE": lambda stack, _: stack.append(tuple(stack.take_marked())),
    "TUPLE1": lambda stack, _: stack.append(tuple(stack.take(1))),
    "TUPLE2": lambda stack, _: stack.append(tuple(stack.take(2))),
    "TUPLE3": lambda stack, _: stack.append(tuple(stack.take(3))),
    "APPEND": lambda stack, _: stack.add_to_list(stack.take(1)),
    "APPENDS": lambda stack, _: stack.add_to_list(stack.take_marked()),
    "SETITEM": lambda stack, _: stack.add_to_dict(stack.take(2)),
    "SETITEMS": lambda stack, _: stack.add_to_dict(stack.take_marked()),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), _Stack.remember),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda stack, index: stack.append(stack.memo[index])),
    "GLOBAL": lambda stack, name: stack.append(_named(name)),
    "BINPERSID": lambda stack, _: stack.append(_storage(stack.pop())),
    "REDUCE": lambda stack, _: stack.append(_made(*stack.take(2))),
    "BUILD": lambda stack, _: stack.__delitem__(-1),  # attributes of the state dict, such as its versions
}
