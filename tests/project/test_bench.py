"""The benchmark on few real pictures: the ways compared do the same work, and their work is counted rightly.

Times are not looked at, but for their being there.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import h5py
import numpy as np
import pytest
from conftest import REPOSITORY

import pipeline
from classify.scoring.held_out_answers import HeldOutAnswers

sys.path.insert(0, str(REPOSITORY / "benchmarks"))
sys.path.insert(1, str(REPOSITORY / "benchmarks" / "accuracy"))
import bench
import bench_report
import decisions
import engines

PICTURES = 15  # five of each surface: as many as there are folds
NANO: dict[str, Any] = {"backbone": "nano", "weights": None}


@pytest.fixture(scope="module")
def prepared(surfaces: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that contenders/prepare.py leaves, for `PICTURES` pictures of three surfaces."""
    folder = tmp_path_factory.mktemp("prepared")
    run = bench.Run("prepare", "prepare", options=NANO | {"data": str(surfaces), "limit": PICTURES})
    counts = bench.measure(run, str(folder / "all.csv"), str(folder))
    assert {name: counts[name] for name in ("all", "more", "grid", "slow")} == {
        "all": PICTURES, "more": PICTURES + 1, "grid": PICTURES, "slow": PICTURES
    }  # fmt: skip
    yield folder


def measured(script: str, prepared: Path, cache: Path, table: str = "all", **options: Any) -> bench.Figures:
    cache.mkdir(exist_ok=True)
    return bench.measure(bench.Run(script, script, options=NANO | options), str(prepared / f"{table}.csv"), str(cache))


def rows_of(prepared: Path, folder: Path, resize: str) -> np.ndarray:
    """This project's features of the prepared pictures, in the order of the table."""
    spec = {"backbone": "nano", "resize": resize, "engine": "tensorflow"}
    pipeline.export(None, str(folder / "rows.h5"), labels=str(prepared / "all.csv"), cache_dir=str(folder), **spec)
    with h5py.File(folder / "rows.h5") as file:
        return file["features"][:]


@pytest.mark.parametrize(("script", "resize"), [("tutorials", "nearest"), ("tf_data", "bilinear")])
def test_the_other_ways_give_this_projects_features(prepared: Path, tmp_path: Path, script: str, resize: str) -> None:
    figures = measured(script, prepared, tmp_path / "other")
    assert figures["forward_passes"] == PICTURES
    assert min(figures[name] for name in ("seconds", "process_seconds", "peak_mb")) > 0
    theirs = np.load(tmp_path / "other" / "features.npy")
    assert engines.smallest_cosine(theirs, rows_of(prepared, tmp_path, resize)) > 0.99999


@pytest.mark.parametrize("engine", ["openvino", "tensorflow"])
def test_the_bound_is_of_decoding_and_forward_pass(prepared: Path, engine: str) -> None:
    pytest.importorskip(engine)
    figures = measured("bound", prepared, prepared, engine=engine)
    assert figures["seconds"] == figures["decode_seconds"] + figures["forward_seconds"]
    assert min(figures["decode_seconds"], figures["forward_seconds"]) > 0


def test_forward_passes_of_a_grid_search(prepared: Path, tmp_path: Path) -> None:
    ours = measured("grid_ours", prepared, tmp_path / "ours", "grid")
    assert ours["forward_passes"] == PICTURES
    others = measured("grid_memory", prepared, tmp_path / "others", "grid")
    # 5 training parts, kept; 5 held-out parts for each of 5 values, not kept; all pictures for the best value.
    assert others["forward_passes"] == 5 * PICTURES * 4 // 5 + 5 * PICTURES + PICTURES


@pytest.mark.parametrize("script", ["predict_ours", "predict_tutorials"])
def test_predictions_are_made_one_by_one(prepared: Path, script: str) -> None:
    figures = measured(script, prepared, prepared, pictures=3)
    assert len(figures["milliseconds"]) == 3
    assert figures["labels"] == ["brick"] * 3  # the first three, which the head was fitted on


def test_who_fails_is_left_out_with_the_reason_and_the_rest_goes_on(surfaces: Path, tmp_path: Path) -> None:
    given = argparse.Namespace(data=str(surfaces), label_pattern=None, backbone="nano", weights=None, rounds=2, limit=6)
    chosen = [
        bench.Run("openvino_bf16", "ours", options={"precision": "of 7 bits"}),
        bench.Run("again", "ours", cache="kept"),
        bench.Run("more", "ours", "more", cache="kept"),
    ]
    results = bench.measure_all(given, chosen, str(tmp_path))
    assert "of 7 bits" in results["left_out"]["openvino_bf16"] or "precision" in results["left_out"]["openvino_bf16"]
    done = [(run["round"], run["name"], run["forward_passes"]) for run in results["runs"]]
    assert done == [(1, "again", 6), (1, "more", 1), (2, "again", 6), (2, "more", 1)]
    assert results["command"] == f'make bench DATA={surfaces.name} BACKBONE=nano ARGS="--limit 6"'
    assert results["left_out"]["openvino_bf16"] in bench_report.tables(results)


def test_ratios_are_taken_within_a_round() -> None:
    def run(number: int, name: str, seconds: float) -> dict[str, Any]:
        figures = {"process_seconds": 2 * seconds, "peak_mb": 100, "forward_passes": 12}
        return {"round": number, "name": name, "pictures": 12, "seconds": seconds, **figures}

    runs = [run(1, "tutorials", 12.0), run(2, "tutorials", 6.0), run(3, "tutorials", 3.0)]
    runs += [run(1, "openvino", 3.0), run(2, "openvino", 1.0), run(3, "openvino", 1.0)]
    machine = {"cores": 2, "processor": "one", "load_at_start": 0.1}
    about = {"command": "make bench", "date": "2026-11-22", "machine": machine, "versions": {}, "backbone": "nano"}
    results = about | {"pictures": 12, "rounds": 3, "runs": runs, "left_out": {}}
    table = bench_report.tables(results)
    assert "| this project, OpenVINO | 12 | 4.00 | - | 2.0 | 100 |" in table
    assert "| the tutorials' way | 2 | 1.00 | - | 12.0 | 100 |" in table


def test_the_page_shows_what_is_recorded() -> None:
    results = json.loads((REPOSITORY / "benchmarks" / "results.json").read_text())
    page = (REPOSITORY / "docs" / "benchmarks.md").read_text()
    assert bench_report.with_section(page, results) == page
    assert results["command"] in page
    drawn = (REPOSITORY / "benchmarks" / "speed.svg").read_text()
    assert bench_report.picture(results) == drawn
    assert ElementTree.fromstring(drawn).tag == "{http://www.w3.org/2000/svg}svg"


def test_both_engines_give_the_same_features_and_labels(surfaces: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    cells = engines.compare(str(surfaces), {"cv": 3}, {"backbone": "nano"}, str(tmp_path), half=False)
    assert cells[0] == "36"
    assert float(cells[1]) >= 0.99999
    assert cells[2] == "0"
    assert cells[4:] == ["-"] * 3


def test_other_labels_counts_each_picture_once(digits: tuple[np.ndarray, np.ndarray]) -> None:
    features, labels = digits
    assert engines.other_labels(features, features, labels) == 0
    another = features.copy()
    number = int(np.flatnonzero(labels == labels[0])[1])
    another[number] = features[np.flatnonzero(labels != labels[0])[0]]
    assert engines.other_labels(features, another, labels) == 1
    assert engines.smallest_cosine(features, features) == pytest.approx(1)
    assert engines.smallest_cosine(features, another) < 0.95


def test_a_set_of_which_nothing_is_accepted_has_a_line() -> None:
    random = np.random.default_rng(0)

    def guesses(n: int) -> HeldOutAnswers:
        each, truth = np.arange(n), random.integers(0, 2, n)
        return HeldOutAnswers(["a", "b"], each, np.full(n, "test"), truth, random.dirichlet([1, 1], n), each)

    line = decisions.line_of([decisions.Split(guesses(30), guesses(10)) for _ in range(2)])
    assert line[:4] == ["0.000", "-", "-", "-"] and line[5] == "2 of 2"
