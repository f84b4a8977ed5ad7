"""What the tests of the cache share: a spec, keys, rows, and a user who may not write."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from cache.spec import FeatureSpec

SPEC = FeatureSpec(
    backbone="mobilenet_v2",
    weights="sha256:" + "ab" * 32,
    layer="out_relu",
    pooling="avg",
    size=(224, 224),
    resize="antialias",
    preprocess="mobilenet_v2",
    decoder=1,
)
OTHER_SPEC = replace(SPEC, pooling="max")
PROVENANCE = {"engine": "tensorflow", "written": "2026-01-01T00:00:00Z"}


def keys(count: int, seed: int = 0) -> np.ndarray:
    """Digests (count, 32) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (count, 32), dtype=np.uint8)


def rows(count: int, width: int = 8, seed: int = 0) -> np.ndarray:
    """Features (count, width) float32."""
    return np.random.default_rng(seed).standard_normal((count, width), dtype=np.float32)


@contextlib.contextmanager
def read_only(folder: str) -> Iterator[None]:
    """`folder` and all in it as somebody sees it who may read but not write; root becomes user 65534 for that."""
    for path, _, names in os.walk(folder):
        for name in names:
            os.chmod(os.path.join(path, name), 0o444)
        os.chmod(path, 0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        if not os.access(folder, os.R_OK, effective_ids=True):
            pytest.skip(f"another user may not enter {folder}")
        yield
    finally:
        if root:
            os.seteuid(0)
        for path, _, _ in os.walk(folder):
            os.chmod(path, 0o755)


@contextlib.contextmanager
def folder_for_all() -> Iterator[str]:
    """A folder that every user may enter, which `tmp_path` is not."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield folder
