"""What identifies a feature row."""

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from helpers.storage.cached_rows import SPEC
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.row_key import ADDED_LATER, STORED, FeatureSpec, content_digest

CHANGES = {
    "backbone": "mobilenet_v2_035",
    "weights": "sha256:" + "ac" * 32,
    "layer": "block_13_expand_relu",
    "pooling": "max",
    "size": (224, 225),
    "resize": "bilinear",
    "preprocess": "resnet_v2",
    "decoder": 2,
    "view": "mirrored",
    "precision": "float16",
    "stored": "float16",
    "tuned": "sha256:" + "ad" * 32,
}
texts = st.text(max_size=30)
sizes = st.none() | st.tuples(st.integers(1, 5000), st.integers(1, 5000))
specs = st.builds(
    FeatureSpec,
    texts,
    texts,
    texts,
    texts,
    sizes,
    texts,
    texts,
    st.integers(),
    texts,
    texts,
    st.sampled_from(STORED),
    texts,
)


def test_height_and_width_are_not_interchangeable() -> None:
    assert replace(SPEC, size=(160, 120)).fingerprint != replace(SPEC, size=(120, 160)).fingerprint


def test_the_fingerprint_stays_what_it_is() -> None:
    # another value here means that every cache in the world is computed again
    assert SPEC.fingerprint == "8eece23bfa31cc00d7336ba91d9086adfc4894526941284bf590d5da77ab9db1"
    assert SPEC.folder == "mobilenet_v2-out_relu-avg-224-" + SPEC.fingerprint[:12]


@given(specs)
def test_json_brings_back_the_same_spec(spec: FeatureSpec) -> None:
    again = FeatureSpec.from_json(json.loads(json.dumps(spec.to_json())))
    assert again == spec
    assert again.fingerprint == spec.fingerprint
    assert again.differences(spec) == {}


@given(specs, specs)
def test_different_specs_have_different_fingerprints(one: FeatureSpec, other: FeatureSpec) -> None:
    assert (one.fingerprint == other.fingerprint) == (one == other)


@given(specs)
def test_the_folder_is_one_plain_name(spec: FeatureSpec) -> None:
    assert "/" not in spec.folder
    assert spec.folder.isascii()
    assert spec.folder.isprintable()
    assert len(spec.folder) <= 120
    assert spec.folder not in (".", "..")


@pytest.mark.parametrize(
    "change",
    [
        {"backbone": None},
        {"backbone": 7},
        {"weights": b"sha256"},
        {"decoder": "1"},
        {"decoder": True},
        {"decoder": 1.0},
        {"size": 224},
        {"size": "224"},
        {"size": []},
        {"size": [224]},
        {"size": [224, 224, 3]},
        {"size": [224, 224.0]},
        {"size": [True, True]},
        {"size": [0, 224]},
        {"size": [224, -1]},
        {"size": {"height": 224}},
        {"view": ["original"]},
        {"unknown": "field"},
    ],
    ids=repr,
)
def test_a_record_with_an_impossible_field_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="feature spec"):
        FeatureSpec.from_json(SPEC.to_json() | change)


@pytest.mark.parametrize("name", sorted(CHANGES.keys() - ADDED_LATER.keys()))
def test_a_record_without_a_field_is_refused(name: str) -> None:
    fields = SPEC.to_json()
    del fields[name]
    with pytest.raises(ValueError, match="not a feature spec"):
        FeatureSpec.from_json(fields)


@settings(max_examples=50)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_other_json_is_refused(nonsense: Any) -> None:
    with pytest.raises(ValueError, match="not a feature spec"):
        FeatureSpec.from_json(nonsense)


def test_a_long_wrong_value_is_not_repeated_whole() -> None:
    with pytest.raises(ValueError, match="feature spec") as raised:
        FeatureSpec.from_json(SPEC.to_json() | {"backbone": ["x" * 100_000]})
    assert len(str(raised.value)) < 400


@given(st.binary())
def test_the_key_of_content_is_its_sha256(data: bytes) -> None:
    assert content_digest(data) == hashlib.sha256(data).digest()


def test_a_spec_from_before_there_was_a_field_is_the_same_spec() -> None:
    before = {name: value for name, value in SPEC.to_json().items() if name != "stored"}
    assert FeatureSpec.from_json(before) == SPEC
    assert FeatureSpec.from_json(before).fingerprint == SPEC.fingerprint


@given(specs)
def test_rows_of_another_type_are_other_rows(spec: FeatureSpec) -> None:
    other = replace(spec, stored="float16" if spec.stored == "float32" else "float32")
    assert other.fingerprint != spec.fingerprint
    assert {spec.row_dtype.str, other.row_dtype.str} == {"<f4", "<f2"}
