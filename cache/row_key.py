"""What identifies a feature row: the content of the image and the spec of the computation.

Labels, paths and times are no part of it: relabel, move or touch a picture and nothing is computed again.
Change one byte of it, or one field of the spec, and its row is computed again.
"""

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

DIGEST_BYTES = 32  # SHA-256
OWN_MODEL = "own_model"
MODEL_FILE = "model_file"
ORIGINAL_VIEW = "original"
STORED = ("float32", "float16")  # types of features; signatures of pictures are uint8
PRECISIONS = ("float32", "bf16", "mixed_bfloat16")
# field -> what it was before there was such a field: caches stay valid
ADDED_LATER = {"stored": "float32", "tuned": ""}


@dataclass(frozen=True)
class FeatureSpec:
    """Everything that decides the numbers of a feature row, beside the image itself.

    What changes them by no more than rounding (engine, library versions, batch size) is provenance, kept in
    each shard, not in the key.

    backbone    name in the table of backbones, or `own_model` for a saved Keras model, `model_file` for one of ONNX,
                OpenVINO or TFLite (its digest is in `weights`, so its name and place do not matter)
    weights     `sha256:<hex>` of the weights file, of a model file with all files that its weights are in, or the
                identity of a random initialisation
    layer       name of the layer whose output is taken, of a model file that of a tensor; "" = the last feature map of
                an own model
    pooling     avg, max or flatten: how a map becomes a row (d,); none keeps it in its shape. Of tokens: cls is the
                first one, mean[5:] the mean of all but the first five
    size        (height, width) of the input in pixels; None = an own model's own size
    resize      how pictures are brought to that size, see `featurize.decoding.decode` and `featurize.decoding.crops`
    preprocess  module of Keras Applications whose `preprocess_input` is applied, or "none"; of a model file its
                numbers, see `featurize.model_files.recipe`
    decoder     version of the decoder
    view        which rendering of the picture; "original" is the picture itself
    precision   of the forward pass: float32; bf16 as OpenVINO computes in it; mixed_bfloat16 as Keras does. Rows of
                these two differ by more than rounding
    stored      type of the numbers in the cache, float32 or float16 (half the disk, three digits); uint8 of signatures
    tuned       `sha256:<hex>` of what replaces the network above `layer`, "" where nothing does: rows are then the
                decisions (k,) of a fine-tuned model; `weights` stays the digest of the backbone's own
    """

    backbone: str
    weights: str
    layer: str
    pooling: str
    size: tuple[int, int] | None
    resize: str
    preprocess: str
    decoder: int
    view: str = ORIGINAL_VIEW
    precision: str = "float32"
    stored: str = "float32"
    tuned: str = ""

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types, `size` as a list."""
        fields = dataclasses.asdict(self)
        return fields | {"size": list(self.size) if self.size else None}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "FeatureSpec":
        """The inverse of `to_json`. Raises `ValueError` for missing, unknown or ill-typed fields."""
        expected = {field.name: field.type for field in dataclasses.fields(cls)}
        if not isinstance(fields, dict) or set(fields := ADDED_LATER | fields) != set(expected):
            raise ValueError(f"not a feature spec: {fields!r:.200}")
        size = fields["size"]
        sides = isinstance(size, list) and [type(side) for side in size] == [int, int] and min(size) > 0
        if size is not None and not sides:
            raise ValueError(f"not a size in a feature spec: {size!r:.200}")
        for name, kind in expected.items():
            if name != "size" and type(fields[name]) is not kind:
                raise ValueError(f"not a value for {name} in a feature spec: {fields[name]!r:.200}")
        if fields["stored"] not in (*STORED, "uint8"):
            raise ValueError(f"not a type of rows in a feature spec: {fields['stored']!r:.200}")
        return cls(**(fields | {"size": tuple(size) if size else None}))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the canonical JSON of all fields, without those of `ADDED_LATER` at their value there."""
        fields = {name: value for name, value in self.to_json().items() if ADDED_LATER.get(name) != value}
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def row_dtype(self) -> np.dtype:
        """Type of the stored numbers, little-endian."""
        return np.dtype(self.stored).newbyteorder("<")

    @property
    def parts(self) -> tuple["FeatureSpec"]:
        """This spec: of a joined one (`cache.joined_rows.JoinedSpec`) there are several."""
        return (self,)

    @property
    def folder(self) -> str:
        """Name of the spec's folder in the cache: what people recognise first, then what makes it unique."""
        size = "native" if self.size is None else "x".join(str(side) for side in dict.fromkeys(self.size))
        words = [self.backbone, self.layer, self.pooling, size]
        words.append("" if self.view == ORIGINAL_VIEW else self.view)
        words.append("" if self.precision == "float32" else self.precision)
        words.append("tuned" if self.tuned else "")
        readable = "-".join(filter(None, words))
        return f"{re.sub(r'[^A-Za-z0-9_.-]', '_', readable)[:100]}-{self.fingerprint[:12]}"

    def differences(self, other: "FeatureSpec") -> dict[str, tuple[Any, Any]]:
        """Field -> (value here, value in `other`) for every field that differs."""
        mine, theirs = self.to_json(), other.to_json()
        return {name: (mine[name], theirs[name]) for name in mine if mine[name] != theirs[name]}


def content_digest(data: bytes) -> bytes:
    """SHA-256 of an image file's bytes: 32 bytes."""
    return hashlib.sha256(data).digest()
