"""Rows of several specs side by side. The rows stay in the folders of their specs; here is only how they are joined."""

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from cache.row_key import FeatureSpec
from cache.shard_file import DamagedShardError
from cache.store import FeatureStore

JOINING = 1  # version of `unit_length` and of the order of the parts


@dataclass(frozen=True)
class JoinedSpec:
    """What identifies a joined row: two or more specs of rows (d,), in the order of their parts of the row.

    Raises `ValueError` for fewer parts, for the same one twice, and for maps, which have no common shape.
    """

    parts: tuple[FeatureSpec, ...]

    def __post_init__(self) -> None:
        if len(set(self.parts)) < max(2, len(self.parts)) or any(part.pooling == "none" for part in self.parts):
            raise ValueError(f"not specs to be joined: {self.parts!r:.200}")

    def to_json(self) -> dict[str, Any]:
        """The version of the joining and the parts as JSON types."""
        return {"joined": JOINING, "parts": [part.to_json() for part in self.parts]}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "JoinedSpec":
        """The inverse of `to_json`. Raises `ValueError` for anything else, and for another version."""
        if fields.keys() != {"joined", "parts"} or not isinstance(fields["parts"], list):
            raise ValueError(f"not a joined spec: {fields!r:.200}")
        if type(fields["joined"]) is not int or fields["joined"] != JOINING:
            raise ValueError(f"not a way of joining that this version has: {fields['joined']!r:.200}")
        return cls(tuple(map(FeatureSpec.from_json, fields["parts"])))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the version of the joining and the parts' fingerprints."""
        text = json.dumps({"joined": JOINING, "parts": [part.fingerprint for part in self.parts]}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def backbone(self) -> str:
        """The parts' backbones as people name them together: "nano+mobilenet_v2"."""
        return "+".join(part.backbone for part in self.parts)

    @property
    def pooling(self) -> str:
        """The parts' ways of pooling in the same manner; never "none"."""
        return "+".join(part.pooling for part in self.parts)

    @property
    def row_dtype(self) -> np.dtype:
        """Little-endian float32, however the parts' numbers are stored."""
        return np.dtype("<f4")


Spec = FeatureSpec | JoinedSpec


def read_spec(fields: Any) -> Spec:
    """The inverse of `to_json` of either kind of spec. Raises `ValueError` for anything else."""
    kind = JoinedSpec if isinstance(fields, dict) and "joined" in fields else FeatureSpec
    return kind.from_json(fields)


class JoinedStore:
    """Reads like a `FeatureStore`: an image has a row where it has one in each of `parts`.

    Rows are (n, d) float32, d the sum of the parts'. Rows are stored in the parts alone.
    """

    def __init__(self, parts: list[FeatureStore]):
        self.parts = parts
        self.spec = JoinedSpec(tuple(store.spec for store in parts))

    @property
    def folder(self) -> str:
        """The folders of the parts, for messages."""
        return " + ".join(store.folder for store in self.parts)

    @property
    def row_shape(self) -> tuple[int, ...]:
        """(d,); d counts nothing for a part that has no row."""
        return (sum(store.row_shape[0] for store in self.parts),)

    def contains(self, digests: np.ndarray) -> np.ndarray:
        """Which of `digests` (n, 32) have a row in every part: (n,) bool."""
        return np.logical_and.reduce([store.contains(digests) for store in self.parts])

    def blocks(self, digests: np.ndarray) -> np.ndarray:
        """As `FeatureStore.blocks`, of the first part: rows are stored in much the same order in the others."""
        return self.parts[0].blocks(digests)

    def read(self, digests: np.ndarray) -> np.ndarray:
        """The rows of `digests` (n, 32), in that order: (n, d). Raises as `FeatureStore.read`."""
        rows = np.empty((len(digests), *self.row_shape), self.spec.row_dtype)
        start = 0
        for store in self.parts:
            found = unit_length(store.read(digests))
            rows[:, start : (start := start + found.shape[1])] = found
        return rows

    def set_aside(self, damage: DamagedShardError) -> None:
        """As `FeatureStore.set_aside`, of the part whose shard it is."""
        for store in self.parts:
            if os.path.dirname(damage.path) == store.folder:
                store.set_aside(damage)


Store = FeatureStore | JoinedStore


def unit_length(rows: np.ndarray) -> np.ndarray:
    """Rows (..., d) float32 of length 1, so that all parts have the same scale; zeros stay zeros."""
    rows = rows.astype(np.float32)
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    rows /= np.where(length > 0, length, 1)
    return rows
