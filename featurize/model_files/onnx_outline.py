"""The outline of an ONNX file, read from its protobuf by the field numbers of onnx.proto; no library is needed.

The file is mapped, not read: weights in it are skipped. https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from cache.errors import UserError
from featurize.model_files.outline import MOST_ELEMENTS, Outline, Port, Shape

NEWEST_OPSET = 28  # OpenVINO reads newer ones without a word, as the newest that it knows
MOST_FIELDS = 5_000_000  # large networks have some 100,000
DEEPEST = 32  # graphs in graphs

# Message -> number of a field -> the message in it. Tensors are in all of these, and external files in tensors.
NESTED = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
# Numbers of TensorProto.DataType -> name, bytes of a number. Types of fewer bits than 8 count as one.
KINDS = {
    1: ("float32", 4), 2: ("uint8", 1), 3: ("int8", 1), 4: ("uint16", 2), 5: ("int16", 2), 6: ("int32", 4),
    7: ("int64", 8), 8: ("string", 1), 9: ("bool", 1), 10: ("float16", 2), 11: ("float64", 8), 12: ("uint32", 4),
    13: ("uint64", 8), 16: ("bfloat16", 2),
}  # fmt: skip
NUMBERS_IN = (4, 5, 6, 7, 9, 10, 11)  # fields of TensorProto that hold numbers


class NoOnnxError(ValueError):
    """The bytes are no ONNX model."""


@dataclass
class _Found:
    """What a walk over the file gathers."""

    external: list[dict[str, str]] = field(default_factory=list)
    opset: int = 0
    fields: int = 0


def onnx_outline(path: str) -> Outline:
    """Raises UserError for what is no ONNX, has too new an opset, or reaches out of its folder; `OSError`."""
    with open(path, "rb") as file:
        if not os.fstat(file.fileno()).st_size:
            raise UserError(f"backbone {path} is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                outline, found = _outline(data)
            except (NoOnnxError, UnicodeDecodeError) as error:
                raise UserError(f"backbone {path} is no ONNX model, or a damaged one ({error})") from None
    if found.opset > NEWEST_OPSET:
        raise UserError(
            f"backbone {path} has opset {found.opset}, up to {NEWEST_OPSET} is read: export it with an older one"
        )
    folder = os.path.dirname(os.path.abspath(path))
    for tensor in found.external:
        _check_external(path, folder, tensor)
    external = {os.path.normpath(tensor["location"]) for tensor in found.external}
    return Outline(outline.inputs, outline.outputs, tuple(sorted(external)))


def _outline(data: mmap.mmap) -> tuple[Outline, _Found]:
    found = _Found()
    whole = 0, len(data)
    graphs = [span for number, _, span in _fields(data, whole, found) if number == 7 and span]
    if len(graphs) != 1:
        raise NoOnnxError("it has no graph")
    for number, _, span in _fields(data, whole, found):
        if number == 8 and span:
            opset = {key: value for key, value, _ in _fields(data, span, found)}
            domain = b"".join(data[slice(*part)] for key, _, part in _fields(data, span, found) if key == 1 and part)
            if domain in (b"", b"ai.onnx"):
                found.opset = max(found.opset, opset.get(2, 0))
    _walk(data, whole, "model", found, 0)
    constants: set[str] = set()
    inputs: list[Port] = []
    outputs: list[Port] = []
    for number, _, span in _fields(data, graphs[0], found):
        if span and number == 5:  # before version 4 of the format, weights are listed among the inputs
            constants.update(_text(data, part) for key, _, part in _fields(data, span, found) if key == 8 and part)
        elif span and number in (11, 12):
            (inputs if number == 11 else outputs).append(_port(data, span, found))
    return Outline(tuple(port for port in inputs if port.name not in constants), tuple(outputs)), found


Span = tuple[int, int]


def _fields(data: mmap.mmap, span: Span, found: _Found) -> Iterator[tuple[int, int, Span | None]]:
    """(number, value, where its bytes are) of each field of a message; bytes have no value, numbers no place."""
    position, end = span
    while position < end:
        found.fields += 1
        if found.fields > MOST_FIELDS:
            raise NoOnnxError(f"more than {MOST_FIELDS} parts")
        tag, position = _varint(data, position, end)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, position = _varint(data, position, end)
            yield number, value, None
            continue
        if wire == 2:
            length, position = _varint(data, position, end)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise NoOnnxError(f"a field of kind {wire}")
        if not number or length > end - position:
            raise NoOnnxError("it ends in the middle")
        yield number, 0, (position, position + length)
        position += length


def _varint(data: mmap.mmap, position: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while position < end and shift < 70:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise NoOnnxError("it ends in the middle")


def _text(data: mmap.mmap, span: Span) -> str:
    return data[slice(*span)].decode()


def _walk(data: mmap.mmap, span: Span, message: str, found: _Found, depth: int) -> None:
    """Check every tensor below a message, and gather those that lie in other files."""
    if depth > 4 * DEEPEST:
        raise NoOnnxError(f"graphs in graphs, more than {DEEPEST} deep")
    for number, _, inner in _fields(data, span, found):
        if inner and (kind := NESTED[message].get(number)):
            if kind == "tensor":
                _check_tensor(data, inner, found)
            else:
                _walk(data, inner, kind, found, depth + 1)


def _check_tensor(data: mmap.mmap, span: Span, found: _Found) -> None:
    count, kind, held, name, external = 1, 0, 0, "", {}
    for number, value, inner in _fields(data, span, found):
        if number == 1:
            for side in _packed(data, inner, found) if inner else [value]:
                count *= side
                if count > MOST_ELEMENTS:
                    raise NoOnnxError(f"a tensor declares more than {MOST_ELEMENTS} numbers")
        elif number == 2:
            kind = value
        elif number == 8 and inner:
            name = _text(data, inner)
        elif number == 13 and inner:
            pair = {key: _text(data, part) for key, _, part in _fields(data, inner, found) if part}
            external[pair.get(1, "")] = pair.get(2, "")
        elif number in NUMBERS_IN:
            held += inner[1] - inner[0] if inner else 8
    if external:
        size = count * KINDS.get(kind, ("", 0))[1]
        found.external.append({"name": name, "bytes": str(size)} | external)
    elif kind != 8 and count > 8 * held:  # packed numbers take a byte, and small types less
        raise NoOnnxError(f"tensor {name!r} declares {count} numbers and holds {held} bytes")


def _packed(data: mmap.mmap, span: Span, found: _Found) -> Iterator[int]:
    position, end = span
    while position < end:
        found.fields += 1
        value, position = _varint(data, position, end)
        yield value


def _port(data: mmap.mmap, span: Span, found: _Found) -> Port:
    """A ValueInfoProto: name 1, type 2 -> tensor_type 1 -> elem_type 1, shape 2 -> dim 1 -> dim_value 1."""
    name, kind = "", 0
    shape: Shape = None
    for number, _, inner in _fields(data, span, found):
        if number == 1 and inner:
            name = _text(data, inner)
        for tensor in _inside(data, inner, found, 1) if number == 2 and inner else ():
            for key, value, part in _fields(data, tensor, found):
                if key == 1:
                    kind = value
                elif key == 2 and part:
                    shape = tuple(_side(data, dim, found) for dim in _inside(data, part, found, 1))
    return Port(name, shape, KINDS.get(kind, (f"type {kind}", 0))[0] if kind else "")


def _inside(data: mmap.mmap, span: Span, found: _Found, wanted: int) -> list[Span]:
    return [inner for number, _, inner in _fields(data, span, found) if number == wanted and inner]


def _side(data: mmap.mmap, span: Span, found: _Found) -> int | None:
    values = [value for number, value, inner in _fields(data, span, found) if number == 1 and inner is None]
    return values[0] if values and 0 < values[0] < 2**63 else None


def _check_external(path: str, folder: str, tensor: dict[str, str]) -> None:
    """Raise UserError where a tensor does not lie in a file of the model's folder, or not wholly."""
    location, name = tensor.get("location", ""), tensor["name"]
    what = f"backbone {path}: its tensor {name!r} is in {location!r}"
    parts = location.replace("\\", "/").split("/")
    if not location or "\0" in location or os.path.isabs(location) or ":" in parts[0] or ".." in parts:
        raise UserError(f"{what}, which leads out of the model's folder: it is refused")
    file = os.path.join(folder, location)
    real, home = os.path.realpath(file), os.path.realpath(folder)
    if not real.startswith(os.path.join(home, "")):
        raise UserError(
            f"{what}, a link that leads out of the model's folder: copy the folder with its links resolved (cp -rL)"
        )
    if not os.path.isfile(file):
        raise UserError(f"{what}, and there is no such file: copy it beside the model")
    try:
        offset, length = int(tensor.get("offset", 0)), int(tensor.get("length", tensor["bytes"]))
    except ValueError:
        raise UserError(f"{what}, at no place that is a number: it is refused") from None
    if offset < 0 or length < int(tensor["bytes"]) or offset + length > os.path.getsize(file):
        raise UserError(f"{what}, which ends before the tensor does: copy it again")
