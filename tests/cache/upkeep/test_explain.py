"""`cache explain`: why a file is cached or not."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.storage.cached_rows import PROVENANCE, SPEC, rows

from cache.row_key import FeatureSpec
from cache.store import FeatureStore
from cache.upkeep.explain import explain

CONTENT, OLD_CONTENT = b"an image", b"the image as it was"
DIGEST, OLD_DIGEST = hashlib.sha256(CONTENT).digest(), hashlib.sha256(OLD_CONTENT).digest()


def cached(folder: Path, digest: bytes, spec: FeatureSpec) -> str:
    store = FeatureStore(str(folder), spec)
    store.commit(rows(1), np.frombuffer(digest, np.uint8)[None], PROVENANCE)
    return store.folder


def ask(folder: Path, last_known: bytes | None = DIGEST) -> tuple[bool, str]:
    lines = explain("photos/cat.jpg", DIGEST, last_known, SPEC, str(folder))
    assert lines[0].startswith(("photos/cat.jpg: cached in ", "photos/cat.jpg: not cached in "))
    return lines[0].startswith("photos/cat.jpg: cached in "), "\n".join(lines)


def test_a_cached_file_is_named_with_the_folder_of_its_row(tmp_path: Path) -> None:
    folder = cached(tmp_path, DIGEST, SPEC)
    cached(tmp_path, DIGEST, replace(SPEC, pooling="max"))
    assert ask(tmp_path) == (True, f"photos/cat.jpg: cached in {folder}")


def test_asking_about_an_empty_cache_creates_nothing(tmp_path: Path) -> None:
    found, text = ask(tmp_path / "cache", None)
    assert not found
    assert f"(SHA-256 {DIGEST.hex()}) is not in the cache under any spec" in text
    assert list(tmp_path.iterdir()) == []


def test_without_a_word_on_the_weights_those_of_any_row_will_do(tmp_path: Path) -> None:
    folder, left_open = cached(tmp_path, DIGEST, SPEC), replace(SPEC, weights="")
    assert explain("cat.jpg", DIGEST, None, left_open, str(tmp_path)) == [f"cat.jpg: cached in {folder}"]
    first, second, third = explain("cat.jpg", DIGEST, None, replace(left_open, pooling="max"), str(tmp_path))
    assert first == f"cat.jpg: not cached in {tmp_path} as mobilenet_v2-out_relu-max-224" and folder in second
    assert third.strip() == "pooling differs: cached 'avg', asked for 'max'"


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("backbone", "vgg16", "backbone differs: cached 'vgg16', asked for 'mobilenet_v2'"),
        ("weights", "random", f"weights differs: cached 'random', asked for '{SPEC.weights}'"),
        ("layer", "", "layer differs: cached '', asked for 'out_relu'"),
        ("pooling", "flatten", "pooling differs: cached 'flatten', asked for 'avg'"),
        ("size", (160, 120), "size differs: cached 160x120, asked for 224x224"),
        ("size", None, "size differs: cached None, asked for 224x224"),
        ("resize", "bilinear", "resize differs: cached 'bilinear', asked for 'antialias'"),
        ("preprocess", "none", "preprocess differs: cached 'none', asked for 'mobilenet_v2'"),
        ("decoder", 7, "decoder differs: cached 7, asked for 1"),
        ("view", "mirrored", "view differs: cached 'mirrored', asked for 'original'"),
        ("precision", "float16", "precision differs: cached 'float16', asked for 'float32'"),
    ],
)
def test_the_field_that_differs_is_named_with_both_values(tmp_path: Path, name: str, value: Any, line: str) -> None:
    folder = cached(tmp_path, DIGEST, replace(SPEC, **{name: value}))
    found, text = ask(tmp_path)
    assert not found
    assert folder in text
    assert [each.strip() for each in text.splitlines() if "differs:" in each] == [line]


def test_every_spec_that_the_content_is_cached_under_is_listed(tmp_path: Path) -> None:
    cached(tmp_path, DIGEST, replace(SPEC, pooling="max"))
    cached(tmp_path, DIGEST, replace(SPEC, view="mirrored", decoder=2))
    cached(tmp_path, OLD_DIGEST, replace(SPEC, resize="nearest"))
    text = ask(tmp_path)[1]
    assert text.count("its content is cached in") == 2
    assert text.count("differs:") == 3
    assert "resize" not in text


def test_changed_bytes_are_told_from_a_missing_row(tmp_path: Path) -> None:
    cached(tmp_path, OLD_DIGEST, SPEC)
    text = ask(tmp_path, OLD_DIGEST)[1]
    assert f"its bytes have changed: SHA-256 was {OLD_DIGEST.hex()}, is {DIGEST.hex()}" in text
    assert "the row of its old content is still there" in text
    assert "bytes have changed" not in ask(tmp_path, DIGEST)[1]


def test_changed_bytes_of_a_file_that_never_had_a_row(tmp_path: Path) -> None:
    assert "its old content is not cached either" in ask(tmp_path, OLD_DIGEST)[1]
