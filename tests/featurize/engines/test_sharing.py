"""Extractors share what is compiled: once a graph and shape, also from several threads; each run counts its own."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SPEC

import featurize.engines.choose
import featurize.engines.openvino_engine
import featurize.engines.tensorflow_engine
import pipeline
from featurize.engines.choose import MOST_ENGINES, shared_engine

THREADS = 6


@pytest.fixture
def paths(surfaces: Path) -> list[str]:
    return sorted(str(path) for path in surfaces.glob("*/*.png"))


@pytest.fixture(autouse=True)
def _no_engines_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(featurize.engines.choose, "_places", {})


def at_once(function: Callable[[int], Any], count: int = THREADS) -> list[Any]:
    """`function` of 0 to `count` - 1, each in a thread of its own, which start together."""
    together = threading.Barrier(count)
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda number: (together.wait(), function(number))[1], range(count)))


@pytest.mark.parametrize("engine", ["openvino", "tensorflow"])
def test_each_shape_of_a_graph_is_compiled_once_for_all_extractors_and_threads(
    warm_cache: Path, paths: list[str], monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    pytest.importorskip(engine)
    compiled: Counter[tuple[int, ...]] = Counter()
    opened: list[str] = []
    open_graph = featurize.engines.choose.open_graph
    monkeypatch.setattr(featurize.engines.choose, "open_graph", lambda *a: opened.append("") or open_graph(*a))
    if engine == "openvino":
        compile_ = featurize.engines.openvino_engine.OpenVinoGraph.compile
        counting: Any = lambda self, *key: compiled.update([key]) or compile_(self, *key)  # noqa: E731
        monkeypatch.setattr(featurize.engines.openvino_engine.OpenVinoGraph, "compile", counting)
    else:
        frozen = featurize.engines.tensorflow_engine._frozen
        monkeypatch.setattr(
            featurize.engines.tensorflow_engine, "_frozen", lambda *a: compiled.update([(*a[1], a[2])]) or frozen(*a)
        )
    others = ({}, {"stored": "float16"}, {"resize": "nearest"})  # rows of their own by the same network
    opened_here = [pipeline.open_extractor(str(warm_cache), engine=engine, **SPEC, **other) for other in others]
    at_once(lambda number: opened_here[number % 3].without_cache(paths[number : number + 9]))
    assert len(opened) == 1
    assert compiled and set(compiled.values()) == {1}


def test_each_of_several_runs_at_once_counts_its_own_pictures(warm_cache: Path, paths: list[str]) -> None:
    extractor = pipeline.open_extractor(str(warm_cache), **SPEC)
    passes = at_once(lambda number: extractor.without_cache(paths[: 8 + number])[0].forward_passes)
    assert passes == [8, 9, 10, 11, 12, 13] and extractor.forward_passes == sum(passes)


def test_each_of_several_predictions_at_once_counts_its_own_pictures(
    warm_cache: Path, surfaces: Path, paths: list[str], tmp_path: Path
) -> None:
    pipeline.train(str(surfaces), model=str(tmp_path / "m.joblib"), cache_dir=str(warm_cache), **SPEC)
    classifier = pipeline.load(str(tmp_path / "m.joblib"), cache_dir=str(warm_cache))

    def passes(number: int) -> int:
        return classifier.probabilities(paths[:8], use_cache=bool(number % 2))[0].forward_passes

    assert at_once(passes) == [8, 0] * 3


def test_a_network_that_is_being_built_holds_up_no_other(
    warm_cache: Path, paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    warm, cold = (pipeline.open_extractor(str(warm_cache), **SPEC, size=size) for size in (96, 64))
    rows = warm.without_cache(paths[:2])[1]
    inside, leave = threading.Event(), threading.Event()
    open_graph = featurize.engines.choose.open_graph

    def slowly(*arguments: Any) -> Any:
        inside.set()
        assert leave.wait(300)
        return open_graph(*arguments)

    monkeypatch.setattr(featurize.engines.choose, "open_graph", slowly)
    with ThreadPoolExecutor(1) as pool:
        building = pool.submit(cold.without_cache, paths[:2])
        inside.wait()
        again = pipeline.open_extractor(str(warm_cache), **SPEC).without_cache(paths[:2])[1]
        assert np.array_equal(warm.without_cache(paths[:2])[1], rows) and np.array_equal(again, rows)
        assert not building.done()
        leave.set()
        assert building.result()[0].forward_passes == 2


class Size:
    """What a `Resolved` is to `shared_engine`, and the graph that it gives."""

    engine, batch, row_shape = "auto", 1, (1,)

    def __init__(self, size: int):
        self.size = self.network_fields = (size,)


def test_an_engine_that_could_not_be_built_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    size: Any = Size(96)
    with monkeypatch.context() as patch:
        patch.setattr(featurize.engines.choose, "open_graph", lambda *_: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            shared_engine(size, "")
    monkeypatch.setattr(featurize.engines.choose, "open_graph", lambda checked, _: checked)
    assert shared_engine(size, "") is shared_engine(size, "")


def test_the_engine_asked_for_last_is_kept_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[int] = []
    monkeypatch.setattr(featurize.engines.choose, "open_graph", lambda size, _: built.extend(size.size) or size)
    first, second, *_, last = sizes = [*range(MOST_ENGINES + 1)]
    for size in (*sizes[:-1], first, last, first, second):
        shared_engine(Size(size), "")  # type: ignore[arg-type]
    assert built == [*sizes, second]
