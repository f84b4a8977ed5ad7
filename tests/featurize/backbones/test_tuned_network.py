"""A fine-tuned network as one graph: what its parts give, on either engine, converted once."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SPEC
from helpers.models.fine_tuned import FineTuned, fitted, in_parts

from cache.errors import UserError
from featurize.backbones.tail import Tuned
from featurize.backbones.weights import Weights
from featurize.engines.choose import open_graph
from featurize.engines.converted import FOLDER, delete_useless_graphs, kept_graph
from featurize.extract.network_extractor import NetworkExtractor

BACKBONES = {
    "nano": SPEC | {"layer": "down8"},
    "mobilenet": {"backbone": "mobilenet_v2_035", "weights": "random", "size": 32, "layer": "block_16_project"},
    "the last layer": SPEC,
}


@pytest.fixture(scope="module", params=BACKBONES)
def tuned(request: Any, surfaces: Path, tmp_path_factory: pytest.TempPathFactory) -> FineTuned:
    """A head fitted on maps in float32, their extractor, and the pictures."""
    cache = tmp_path_factory.mktemp("cache")
    return fitted(cache, surfaces, pooling="none", **BACKBONES[request.param])


@pytest.mark.parametrize("engine", ["tensorflow", "openvino"])
def test_decisions_are_those_of_the_parts_one_after_the_other(tuned: FineTuned, tmp_path: Path, engine: str) -> None:
    head, extractor, paths, _ = tuned
    maps = extractor.features(paths)[1]
    resolved = replace(tuned.cut, engine=engine).tuned_by(tuned.tuned)
    whole = NetworkExtractor.open(resolved, str(tmp_path))
    outcome, decisions = whole.features(paths)
    assert outcome.forward_passes == 36
    assert decisions.shape == (36, 3) and decisions.dtype == np.float32
    expected = in_parts(tuned.tuned, head.tail, maps)
    assert np.abs(decisions - expected).max() < 1e-4 * np.abs(expected).max()
    assert whole.store.refresh()[0].provenance["engine"] == engine
    again = NetworkExtractor.open(resolved, str(tmp_path)).features(paths)
    assert again[0].forward_passes == 0 and np.array_equal(again[1], decisions)


@pytest.fixture(scope="module")
def nano(surfaces: Path, tmp_path_factory: pytest.TempPathFactory) -> FineTuned:
    cache = tmp_path_factory.mktemp("nano")
    return fitted(cache, surfaces, **SPEC, layer="down8", pooling="none", stored="float16")


def test_maps_in_float16_give_nearly_the_decisions_of_the_whole(nano: FineTuned, tmp_path: Path) -> None:
    head, extractor, paths, _ = nano
    expected = in_parts(nano.tuned, head.tail, extractor.features(paths)[1])
    decisions = NetworkExtractor.open(nano.cut.tuned_by(nano.tuned), str(tmp_path)).features(paths)[1]
    assert decisions.dtype == np.float32 and np.abs(decisions - expected).max() < 1e-2 * np.abs(expected).max()


def test_decisions_of_one_model_are_not_those_of_another(nano: FineTuned, tmp_path: Path) -> None:
    arrays = {name: getattr(nano.tuned, name) for name in ("tail", "kernel", "bias")}
    rows = {}
    for name in ("none", "tail", "kernel", "bias"):
        changed = Tuned(
            **{each: arrays[each] * np.float32(1.01 if each == name else 1) for each in ("tail", "kernel", "bias")}
        )
        extractor = NetworkExtractor.open(nano.cut.tuned_by(changed), str(tmp_path))
        outcome, rows[name] = extractor.features(nano.paths[:2])
        assert outcome.forward_passes == 2, name
    assert len({extractor.tobytes() for extractor in rows.values()}) == 4


def test_the_shapes_are_in_the_digest() -> None:
    numbers = np.arange(12, dtype=np.float32)
    one = Tuned(numbers[:0], numbers[:6].reshape(3, 2), numbers[6:8])
    other = Tuned(numbers[:0], numbers[:6].reshape(2, 3), numbers[6:8])
    third = Tuned(numbers[:2], numbers[2:6].reshape(2, 2), numbers[6:8])
    assert len({each.digest for each in (one, other, third)}) == 3


def not_again() -> Any:
    raise AssertionError("the network was built again")


def test_a_tuned_network_is_converted_once_and_kept_as_long_as_others(
    nano: FineTuned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = nano.cut.tuned_by(nano.tuned)
    other = nano.cut.tuned_by(Tuned(nano.tuned.tail * 2, nano.tuned.kernel, nano.tuned.bias))
    open_graph(whole, str(tmp_path))
    kept_graph(whole, str(tmp_path), not_again)
    for different in (other, nano.cut):
        with pytest.raises(AssertionError, match="built again"):
            kept_graph(different, str(tmp_path), not_again)
    assert delete_useless_graphs(str(tmp_path)) == 0
    monkeypatch.setattr("featurize.engines.converted.version", lambda library: "0.0.1")  # noqa: ARG005
    assert delete_useless_graphs(str(tmp_path)) == 1 and not list((tmp_path / FOLDER).iterdir())


def test_a_tail_is_built_without_the_backbone_s_own_weights(nano: FineTuned) -> None:
    head, extractor, paths, _ = nano
    maps = extractor.features(paths[:2])[1].astype(np.float32)
    elsewhere = replace(head.tail, weights=Weights("file", "gone.h5"))
    found = nano.tuned.build_tail(elsewhere)(maps, training=False).numpy()
    assert np.allclose(
        found / np.linalg.norm(found, axis=1, keepdims=True) @ nano.tuned.kernel + nano.tuned.bias,
        in_parts(nano.tuned, head.tail, maps),
        atol=1e-5,
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tail": np.zeros(7, np.float32)}, "does not fit nano above down8"),
        ({"kernel": np.zeros((7, 3), np.float32)}, "a model for 7 features, nano has 1280"),
    ],
)
def test_a_model_that_does_not_fit_the_backbone_is_refused(
    nano: FineTuned, tmp_path: Path, change: dict[str, np.ndarray], message: str
) -> None:
    head, _, paths, _ = nano
    arrays = {name: getattr(nano.tuned, name) for name in ("tail", "kernel", "bias")}
    wrong = Tuned(**(arrays | change))
    with pytest.raises(UserError, match=message):
        wrong.build_tail(head.tail)
    with pytest.raises(UserError, match=message):
        NetworkExtractor.open(nano.cut.tuned_by(wrong), str(tmp_path)).features(paths[:1])


def test_verifying_and_listing_a_cache_of_decisions(nano: FineTuned, tmp_path: Path) -> None:
    from cache.upkeep.inventory import listing, verify

    NetworkExtractor.open(nano.cut.tuned_by(nano.tuned), str(tmp_path)).run(nano.paths)
    (found,) = listing(str(tmp_path))["specs"]
    assert found["row_shape"] == [3] and "tuned" in found["folder"]
    assert verify(str(tmp_path)).rows == 36
