"""Converted networks that a model brings along, in memory: no weights, no TensorFlow and no cache are needed for them.

A graph has one input, pixels (n, height, width, 3) in 0..255, and an output of rows. Where these are means over the
places of a map, or all its numbers in a line, that map (n, h, w, c) is the second output.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256

from cache.errors import UserError
from cache.row_key import FeatureSpec
from featurize.engines.engine import at_work, check_openvino
from featurize.engines.openvino_engine import OpenVinoGraph, check_bf16
from featurize.engines.silent_openvino import import_openvino
from featurize.model_files.graph import check_sizes, frontend_failures, reason_of
from featurize.model_files.ir_outline import NoIrError, read_ir

ROWS, MAPS = 0, 1


@dataclass(frozen=True, eq=False)
class CarriedGraph:
    """A graph as the two files of OpenVINO's IR. wanted: `ROWS` or `MAPS`. name: for messages."""

    name: str
    xml: bytes
    weights: bytes
    wanted: int = ROWS

    @cached_property
    def key(self) -> tuple[str, int]:
        """What tells graphs apart: the digest of both files, and which output is wanted."""
        return sha256(sha256(self.xml).digest() + sha256(self.weights).digest()).hexdigest(), self.wanted

    def before_pooling(self) -> "CarriedGraph":
        """The same network up to the last map."""
        return replace(self, wanted=MAPS)

    @property
    def has_maps(self) -> bool:
        """Whether the graph gives its last map."""
        return len(read_ir(self.xml, len(self.weights)).outputs) > MAPS

    def open(self, spec: FeatureSpec) -> OpenVinoGraph:
        """The network on OpenVINO. Raises UserError, one line, for what is none that this spec can have."""
        _check_installed(self.name)
        check_openvino()
        check_bf16(spec.precision)
        openvino = import_openvino()
        failures: tuple[type[Exception], ...] = (NoIrError, *frontend_failures(openvino))
        try:
            read_ir(self.xml, len(self.weights))  # refuses what is hostile before OpenVINO sees it
            with at_work():
                whole = openvino.Core().read_model(self.xml, self.weights)
        except failures as error:
            raise UserError(f"{self.name} cannot be read by OpenVINO ({reason_of(error)})") from error
        if len(whole.inputs) != 1 or len(whole.outputs) <= self.wanted:
            raise UserError(f"{self.name} has {len(whole.inputs)} inputs and {len(whole.outputs)} outputs")
        model = openvino.Model([whole.output(self.wanted)], whole.get_parameters())
        check_sizes(self.name, model)
        batch, *sides = whole.input(0).partial_shape
        size = tuple(side.get_length() if side.is_static else None for side in sides)
        rows_sides = [*model.output(0).partial_shape][1:]
        if size != (*(spec.size or size[:2]), 3) or not all(side.is_static for side in rows_sides):
            raise UserError(f"{self.name} takes {size}, its spec has {spec.size}")
        return OpenVinoGraph(model, spec.precision, batch.get_length() if batch.is_static else None)


def _check_installed(name: str) -> None:
    try:
        import_openvino()
    except ImportError:
        raise UserError(f"{name} is computed by OpenVINO, which is not installed: pip install openvino") from None
