"""The outline of an OpenVINO IR: `model.xml`, and the weights in `model.bin` beside it. XML with a DTD is refused."""

import os
from typing import Any
from xml.parsers import expat

from cache.errors import UserError
from featurize.model_files.outline import MOST_ELEMENTS, Outline, Port, elements

LARGEST = 256 * 1024**2  # bytes of the XML; that of a large network has some 10 MB
BITS = {"f64": 64, "f32": 32, "f16": 16, "bf16": 16, "i64": 64, "u64": 64, "i32": 32, "u32": 32, "i16": 16, "u16": 16,
        "i8": 8, "u8": 8, "boolean": 8}  # fmt: skip
KINDS = {"f64": "float64", "f32": "float32", "f16": "float16", "bf16": "bfloat16", "u8": "uint8", "i8": "int8",
         "i64": "int64", "i32": "int32"}  # fmt: skip


class NoIrError(ValueError):
    """The text is no OpenVINO IR."""


def ir_outline(path: str) -> Outline:
    """Raises UserError for what is no IR, lacks its weights, or declares more than they hold; `OSError`."""
    if os.path.getsize(path) > LARGEST:
        raise UserError(f"backbone {path} is larger than {LARGEST // 1024**2} MiB: it is no OpenVINO IR")
    weights = os.path.splitext(path)[0] + ".bin"
    if not os.path.isfile(weights):
        raise UserError(f"backbone {path}: its weights {weights} are not there: copy them beside it")
    with open(path, "rb") as file:
        try:
            outline = read_ir(file.read(), os.path.getsize(weights))
        except NoIrError as error:
            raise UserError(f"backbone {path} is no OpenVINO IR, or a damaged one ({error})") from None
    return Outline(outline.inputs, outline.outputs, (os.path.basename(weights),))


def read_ir(text: bytes, held: int) -> Outline:
    """The outline of the XML of an IR whose weights have `held` bytes, without further files.

    Raises NoIrError for what is no IR, and for one that declares more than they hold.
    """
    reader = _Reader(held)
    try:
        reader.parser.Parse(text, True)
        return reader.outline()
    except (expat.ExpatError, ValueError, KeyError, RecursionError) as error:
        raise NoIrError(str(error)) from None


class _Reader:
    """Handlers of expat that keep the layers of the outermost network; bodies of loops have layers of their own."""

    def __init__(self, held: int):
        self._held = held
        self._place: list[str] = []
        self._layer: dict[str, Any] = {}
        self._layers: dict[str, dict[str, Any]] = {}
        self._edges: dict[str, tuple[str, str]] = {}  # id of a layer -> id and port of what it takes first
        self.parser = expat.ParserCreate()
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self._dim = ""

    @staticmethod
    def _refuse(*_: Any) -> None:
        raise NoIrError("it has a DOCTYPE")

    def _start(self, tag: str, given: dict[str, str]) -> None:
        self._place.append(tag)
        if len(self._place) > 200:
            raise NoIrError("more than 200 elements in each other")
        if tag == "data" and "offset" in given:
            self._check_constant(given)
        if self._place == ["net", "layers", "layer"]:
            self._layer = given | {"ports": {}}
            self._layers[given["id"]] = self._layer
        elif self._place == ["net", "layers", "layer", "output", "port"]:
            self._layer["ports"][given["id"]] = given | {"dims": []}
        elif self._place == ["net", "edges", "edge"]:
            self._edges[given["to-layer"]] = given["from-layer"], given["from-port"]
        self._dim = ""

    def _text(self, text: str) -> None:
        if self._place[-1] == "dim":
            self._dim += text

    def _end(self, _: str) -> None:
        if self._place == ["net", "layers", "layer", "output", "port", "dim"]:
            side = int(self._dim)
            [*self._layer["ports"].values()][-1]["dims"].append(side if side >= 0 else None)
        self._place.pop()

    def _check_constant(self, given: dict[str, str]) -> None:
        offset, size = int(given["offset"]), int(given["size"])
        sides = [int(side) for side in given.get("shape", "").split(",") if side.strip()]
        count = 1
        for side in sides:
            count *= side
        if offset < 0 or size < 0 or offset + size > self._held:
            raise NoIrError(f"a constant ends at byte {offset + size} of {self._held}")
        if min(sides, default=0) < 0 or count > MOST_ELEMENTS or count * BITS.get(given["element_type"], 0) > 8 * size:
            raise NoIrError(f"a constant of {given.get('shape')} in {size} bytes")

    def outline(self) -> Outline:
        """Raises KeyError for edges that lead nowhere."""
        inputs, outputs = [], []
        for key, layer in self._layers.items():
            if layer.get("type") == "Parameter":
                (port,) = layer["ports"].values()
                inputs.append(_port(layer, port))
            elif layer.get("type") == "Result":
                source, port_id = self._edges[key]
                outputs.append(_port(self._layers[source], self._layers[source]["ports"][port_id]))
        if any(elements(port.shape) > MOST_ELEMENTS for one in self._layers.values() for port in _ports(one)):
            raise NoIrError(f"a tensor of more than {MOST_ELEMENTS} numbers")
        return Outline(tuple(inputs), tuple(outputs))


def _ports(layer: dict[str, Any]) -> list[Port]:
    return [_port(layer, port) for port in layer["ports"].values()]


def _port(layer: dict[str, Any], port: dict[str, Any]) -> Port:
    """The first of a tensor's names, between commas; of a tensor without one, that of its layer."""
    names = port.get("names", "").replace("\\,", "\0").split(",")
    kind = port.get("precision", "").lower()
    kind = {"fp32": "f32", "fp16": "f16", "fp64": "f64"}.get(kind, kind)
    return Port(names[0].replace("\0", ",") or layer.get("name", ""), tuple(port["dims"]), KINDS.get(kind, kind))
