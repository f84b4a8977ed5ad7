"""The outline of a TFLite file, by the tables of its FlatBuffer that name inputs and outputs.

https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/schema.fbs
"""

import mmap
import os
import struct
from collections.abc import Iterator

from cache.errors import UserError
from featurize.model_files.outline import MOST_ELEMENTS, Outline, Port, elements

KINDS = ("float32", "float16", "int32", "uint8", "int64", "string", "bool", "int16", "complex64", "int8", "float64")
MOST_ITEMS = 1_000_000  # of a vector


class NoTfliteError(ValueError):
    """The bytes are no TFLite model."""


def tflite_outline(path: str) -> Outline:
    """Raises UserError for what is no TFLite, or declares huge tensors; `OSError`."""
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size < 16:
            raise UserError(f"backbone {path} is no TFLite model: it has less than 16 bytes")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                if data[4:8] != b"TFL3":
                    raise NoTfliteError("it does not say TFL3")
                return _outline(_Bytes(data))
            except (struct.error, IndexError, NoTfliteError, UnicodeDecodeError) as error:
                raise UserError(f"backbone {path} is no TFLite model, or a damaged one ({error})") from None


class _Bytes:
    """A FlatBuffer: tables, whose fields are found by a table of offsets, and vectors."""

    def __init__(self, data: mmap.mmap):
        self.data = data

    def at(self, form: str, position: int) -> int:
        if position < 0:
            raise NoTfliteError("an offset before its beginning")
        value: int = struct.unpack_from(f"<{form}", self.data, position)[0]
        return value

    def table(self, position: int) -> int:
        """Where the table is that the offset at `position` leads to."""
        return position + self.at("I", position)

    def field(self, table: int, number: int) -> int:
        """Where the field of a table is; 0 where it has its default."""
        offsets = table - self.at("i", table)
        slot = 4 + 2 * number
        if slot >= self.at("H", offsets):
            return 0
        place = self.at("H", offsets + slot)
        return table + place if place else 0

    def vector(self, table: int, number: int) -> tuple[int, int]:
        """(how many items, where they begin) of a field that is a vector."""
        place = self.field(table, number)
        if not place:
            return 0, 0
        start = self.table(place)
        count = self.at("I", start)
        if count > MOST_ITEMS:
            raise NoTfliteError(f"a list of {count} items")
        return count, start + 4

    def tables(self, table: int, number: int) -> Iterator[int]:
        """The tables in a vector."""
        count, start = self.vector(table, number)
        return (self.table(start + 4 * index) for index in range(count))

    def numbers(self, table: int, number: int) -> list[int]:
        """The 32-bit integers in a vector."""
        count, start = self.vector(table, number)
        return [self.at("i", start + 4 * index) for index in range(count)]


def _outline(flat: _Bytes) -> Outline:
    model = flat.table(0)
    graph = next(flat.tables(model, 2), 0)
    if not graph:
        raise NoTfliteError("it has no graph")
    tensors = [_port(flat, tensor) for tensor in flat.tables(graph, 0)]
    if any(elements(tensor.shape) > MOST_ELEMENTS for tensor in tensors):
        raise NoTfliteError(f"a tensor of more than {MOST_ELEMENTS} numbers")
    inputs, outputs = flat.numbers(graph, 1), flat.numbers(graph, 2)
    if min((*inputs, *outputs), default=0) < 0:
        raise NoTfliteError("a tensor of a negative number")
    return Outline(tuple(tensors[index] for index in inputs), tuple(tensors[index] for index in outputs))


def _port(flat: _Bytes, tensor: int) -> Port:
    """Of a Tensor: shape 0, type 1, name 3, shape_signature 7, in which free sides are -1."""
    sides = flat.numbers(tensor, 7) or flat.numbers(tensor, 0)
    kind = flat.at("b", place) if (place := flat.field(tensor, 1)) else 0
    count, start = flat.vector(tensor, 3)
    name = flat.data[start : start + count].decode()
    shape = tuple(side if side >= 0 else None for side in sides)
    return Port(name, shape, KINDS[kind] if 0 <= kind < len(KINDS) else f"type {kind}")
