"""Predictions of a fine-tuned model: from what is cached, else by one pass of one graph; whatever the arrays hold."""

import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY, SPEC
from helpers.models.fine_tuned import FineTuned, fitted, in_parts, save_model, with_arrays

import pipeline
from cache.errors import UserError
from cache.stored_rows import StoredRows
from classify.data.dataset import Dataset
from classify.evaluate import evaluate_head
from classify.heads.finetune.tuned_head import TunedHead
from classify.heads.numerics import probabilities
from classify.plan_options import Plan
from classify.saved.npz import read_arrays, write_arrays
from classify.saved.persist import load as load_saved
from classify.saved.tuned_classifier import TunedClassifier
from featurize.extract.extractor import Extractor

CUT: dict[str, Any] = SPEC | {"layer": "down8", "pooling": "none", "stored": "float16"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def trained(surfaces: Path, folder: Path) -> FineTuned:
    """A head fitted on 24 of the 36 pictures, whose maps are in folder/cache; saved as folder/m.joblib."""
    some = folder / "photos"
    for path in sorted(surfaces.glob("*/*.png")):
        if int(path.name.split(".")[1]) < 8:
            (some / path.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, some / path.parent.name)
    found = fitted(folder / "cache", some, **CUT)
    save_model(str(folder / "m.joblib"), found.head, found.extractor, found.paths)
    return found


@pytest.fixture
def model(trained: FineTuned, folder: Path, tmp_path: Path) -> str:
    """A copy of the saved model, with the cache of its maps beside it."""
    assert len(trained.paths) == 24
    for name in ("m.joblib", "m.json", "m.npz"):
        shutil.copy(folder / name, tmp_path)
    shutil.copytree(folder / "cache", tmp_path / "cache")
    return str(tmp_path / "m.joblib")


@pytest.fixture
def others(surfaces: Path) -> list[str]:
    """12 pictures that nobody has seen."""
    return sorted(str(path) for path in surfaces.glob("*/*.png") if int(path.name.split(".")[1]) >= 8)


@pytest.fixture(scope="module")
def expected(trained: FineTuned, surfaces: Path, folder: Path) -> dict[str, np.ndarray]:
    """The probabilities of all 36 pictures, from maps in float32, tail, pooling and hyperplanes one by one."""
    paths = sorted(str(path) for path in surfaces.glob("*/*.png"))
    full = pipeline.open_extractor(str(folder / "full"), **(CUT | {"stored": "float32"}))
    found = probabilities(in_parts(trained.tuned, trained.head.tail, full.features(paths)[1]))
    return dict(zip(paths, found, strict=True))


def opened(model: str, **options: Any) -> TunedClassifier:
    classifier = pipeline.load(model, cache_dir=str(Path(model).parent / "cache"), **options)
    assert isinstance(classifier, TunedClassifier)
    return classifier


@pytest.mark.parametrize("engine", ["openvino", "tensorflow"])
def test_a_new_picture_passes_one_graph_once(
    model: str, others: list[str], expected: dict[str, np.ndarray], engine: str
) -> None:
    classifier = opened(model, engine=engine)
    outcome, found = classifier.probabilities(others, use_cache=True)
    assert (outcome.forward_passes, outcome.computed) == (12, 12)
    assert classifier.extractor.forward_passes == 0
    assert np.abs(found - [expected[path] for path in others]).max() < 1e-4
    again, same = classifier.probabilities(others)
    assert (again.forward_passes, again.computed) == (0, 0) and np.array_equal(same, found)


def test_pictures_whose_maps_are_cached_pass_the_tail_alone(
    model: str, trained: FineTuned, others: list[str], expected: dict[str, np.ndarray]
) -> None:
    classifier = opened(model)
    asked = [others[0], *trained.paths[:3], "gone.png", others[1]]
    outcome, found = classifier.probabilities(asked)
    assert outcome.forward_passes == 2 and outcome.new.reshape(6, -1).any(axis=1).tolist() == [1, 0, 0, 0, 0, 1]
    assert [failure.path for failure in outcome.failures] == ["gone.png"] and np.isnan(found[4]).all()
    known = {hashlib.sha256(Path(path).read_bytes()).digest(): row for path, row in expected.items()}
    for path, row in zip(asked, found, strict=True):
        if path != "gone.png":
            assert np.abs(row - known[hashlib.sha256(Path(path).read_bytes()).digest()]).max() < 1e-2
    assert np.allclose(found.sum(axis=1)[[0, 1, 2, 3, 5]], 1)


def test_predictions_are_means_over_views(model: str, trained: FineTuned, others: list[str]) -> None:
    one, two = opened(model), opened(model, predict_views=2)
    assert one.predict_proba(others[:2], use_cache=True).shape == (2, 3) and one.whole.forward_passes == 2
    asked = [others[0], trained.paths[0], "gone.png", others[2]]
    outcome, found = two.probabilities(asked, use_cache=True)
    assert outcome.forward_passes == 1 + 2 + 2  # of the training picture only the map of itself is cached
    assert outcome.new[:, 1].tolist() == [1, 1, 0, 1] and np.isnan(found[2]).all()
    views = two.whole.stored(outcome.keys)
    assert np.allclose(found[[0, 1, 3]], [probabilities(picture).mean(axis=0) for picture in views])
    assert two.extractor.run(trained.paths[:1]).computed == 1  # the map of its other view
    again, same = two.probabilities(asked)
    assert again.forward_passes == 0 and np.array_equal(same, found, equal_nan=True)


def test_without_the_cache_everything_passes_the_one_graph(
    model: str, trained: FineTuned, expected: dict[str, np.ndarray], others: list[str]
) -> None:
    classifier = opened(model)
    found = classifier.predict_proba([*others[:2], trained.paths[0]], use_cache=False)
    assert classifier.whole.forward_passes == 3 and classifier.extractor.forward_passes == 0
    assert np.abs(found[:2] - [expected[path] for path in others[:2]]).max() < 1e-4
    assert not classifier.whole.store.refresh()
    assert classifier.predict_proba([], use_cache=False).shape == classifier.predict_proba([]).shape == (0, 3)
    assert np.isnan(classifier.predict_proba(["gone.png"], use_cache=False)).all()


def test_maps_of_many_pictures_are_not_in_memory_together(
    model: str, trained: FineTuned, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = opened(model).predict_proba(trained.paths)
    asked: list[int] = []
    read = Extractor.read

    def counting(extractor: Extractor, outcome: Any, progress: Any = None) -> Any:
        asked.append(len(outcome.sources))
        return read(extractor, outcome, progress)

    monkeypatch.setattr(Extractor, "read", counting)
    monkeypatch.setattr("classify.saved.tuned_classifier.PICTURES", 7)
    assert np.allclose(opened(model).predict_proba(trained.paths, use_cache=True), expected, atol=1e-6)
    assert asked == [7, 7, 7, 3, 0]


def test_pipeline_predict_sees_no_difference(model: str, others: list[str], tmp_path: Path) -> None:
    labels = pipeline.predict(others, model, cache_dir=str(tmp_path / "cache"))
    assert np.mean([label == Path(path).parent.name for label, path in zip(labels, others, strict=True)]) > 0.8
    table = pipeline.top_k(others[0], model, 2, cache_dir=str(tmp_path / "cache"))
    assert table["rank"].tolist() == [1, 2] and table["label"][0] == labels[0]
    assert pipeline.predict(Path(others[0]).read_bytes(), model, cache_dir=str(tmp_path / "cache")) == labels[:1]


WARM = """
import json, sys
import pipeline
model = pipeline.load({model!r}, cache_dir={cache!r})
outcome, found = model.probabilities({paths!r}, use_cache=True)
print(json.dumps([outcome.forward_passes, found.tolist(), sorted({{name.split(".")[0] for name in sys.modules}})]))
"""


def in_a_new_process(model: str, paths: list[str]) -> tuple[int, Any, set[str]]:
    code = WARM.format(model=model, cache=str(Path(model).parent / "cache"), paths=paths)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=REPOSITORY)
    passes, found, modules = json.loads(done.stdout.splitlines()[-1])
    return passes, np.array(found), set(modules)


def test_one_that_has_computed_can_be_pickled(model: str, others: list[str]) -> None:
    classifier = opened(model)
    found = classifier.predict_proba(others[:2], use_cache=False)
    copy = pickle.loads(pickle.dumps(classifier))  # noqa: S301
    assert np.array_equal(copy.predict_proba(others[:2], use_cache=False), found)


def test_a_kept_graph_needs_no_tensorflow_and_kept_decisions_no_engine(model: str, others: list[str]) -> None:
    passes, first, modules = in_a_new_process(model, others[:2])  # converts
    assert passes == 2 and "tensorflow" in modules
    passes, found, modules = in_a_new_process(model, others[2:3])
    assert passes == 1 and "openvino" in modules and not modules & {"tensorflow", "keras", "sklearn", "joblib"}
    passes, found, modules = in_a_new_process(model, others[:2])
    assert passes == 0 and np.array_equal(found, first)
    assert not modules & {"tensorflow", "keras", "openvino", "sklearn", "joblib"}


def test_evaluation_goes_by_the_maps(model: str, trained: FineTuned, others: list[str], tmp_path: Path) -> None:
    classifier = opened(model)
    paths = [*trained.paths, *others]
    outcome, maps = classifier.extractor.features(paths)
    labels = np.array([Path(path).parent.name for path in paths])
    data = Dataset(maps, labels, np.full(len(paths), "all"), outcome.keys, paths)
    scores, _, about = evaluate_head(classifier.saved, data, classifier.extractor.cache_dir, Plan())
    left_out = about["left_out_files"]
    assert scores.accuracy > 0.8 and len(left_out) >= 24
    photos = tmp_path / "photos"
    for path in others:
        (photos / Path(path).parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, photos / Path(path).parent.name)
    report = pipeline.evaluate(str(photos), opened(model))
    assert report["images"] == 12 and report["accuracy"] > 0.8


def test_maps_that_stay_on_the_disk_and_views_of_pictures(trained: FineTuned) -> None:
    head, extractor, paths, _ = trained
    outcome, maps = extractor.features(paths)
    placed = head.arrays()
    expected = placed.predict_proba(maps)
    stored = StoredRows(extractor.store, outcome.keys, memory=8 * 5 * 4 * maps[0].size)
    assert np.allclose(placed.predict_proba(stored), expected, atol=1e-6)
    assert placed.predict(stored).tolist() == placed.classes_[expected.argmax(axis=1)].tolist()
    views = np.stack([maps, maps[::-1]], axis=1)
    assert np.allclose(placed.predict_proba(views), (expected + expected[::-1]) / 2, atol=1e-6)
    decisions = np.stack(
        [in_parts(trained.tuned, head.tail, maps), in_parts(trained.tuned, head.tail, maps[::-1])], axis=1
    )
    assert np.allclose(placed.of_decisions(decisions), (expected + expected[::-1]) / 2, atol=1e-6)
    for wrong in (maps[:, 0], maps[:0], maps[:, :5], np.where(maps == maps.max(), np.nan, maps)):
        with pytest.raises(ValueError, match="give maps"):
            placed.predict_proba(wrong)
    with pytest.raises(ValueError, match="where the tail belongs"):
        TunedHead(head.classes_, trained.tuned).predict_proba(maps)


def test_a_cache_that_cannot_be_written_serves(
    model: str, others: list[str], trained: FineTuned, tmp_path: Path
) -> None:
    from featurize.extract.network_extractor import NetworkExtractor

    classifier = opened(model)
    first = classifier.predict_proba([others[0], trained.paths[0]], use_cache=True)
    whole = trained.cut.tuned_by(trained.tuned)
    classifier.whole = NetworkExtractor(whole, str(tmp_path / "cache"), when_missing="compute")
    before = len(classifier.whole.store.refresh())
    outcome, found = classifier.probabilities([others[0], trained.paths[0], others[1]])
    assert outcome.forward_passes == 1 and np.allclose(found[:2], first, atol=1e-6)
    assert not np.isnan(found).any() and len(classifier.whole.store.refresh()) == before


def test_pictures_are_decoded_in_isolation_where_asked(model: str, others: list[str]) -> None:
    found = opened(model, isolate=True).predict_proba(others[:2])
    assert np.array_equal(found, opened(model).predict_proba(others[:2], use_cache=False))


# ---- saved


def digest_of(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_nothing_is_unpickled_to_predict(model: str, others: list[str]) -> None:
    arrays = model.replace(".joblib", ".npz")
    plain = opened(model, no_pickle=True).predict_proba(others[:2])
    for pin in (digest_of(arrays), digest_of(model)):
        assert np.array_equal(opened(model, sha256=pin).predict_proba(others[:2]), plain)
    with pytest.raises(UserError, match="not the pinned one"):
        opened(model, sha256="0" * 64)
    with pytest.raises(UserError, match="pickle"):
        opened(model, sha256=digest_of(model), no_pickle=True)


def test_the_estimator_is_there_for_who_asks(model: str, trained: FineTuned) -> None:
    saved = opened(model).saved
    estimator = saved.estimator
    assert np.array_equal(estimator.tail_, trained.tuned.tail)
    maps = trained.extractor.features(trained.paths)[1]
    assert np.allclose(estimator.predict_proba(maps), saved.predictor.predict_proba(maps), atol=1e-6)


def test_a_tail_of_a_hundred_megabytes_is_saved_and_loaded(tmp_path: Path, trained: FineTuned) -> None:
    head, extractor, paths, _ = trained
    large = with_arrays(np.ones(26 * 10**6, np.float32), head.kernel_, head.bias_, like=head)
    save_model(str(tmp_path / "large.joblib"), large, extractor, paths[:3])
    assert np.array_equal(load_saved(str(tmp_path / "large.joblib")).predictor.tuned.tail, large.tail_)


WRONG = {
    "a tail that is not finite": {"tail": np.array([0, np.nan], np.float32)},
    "a tail in float64": {"tail": np.zeros(5)},
    "a tail of whole numbers": {"tail": np.zeros(5, np.int64)},
    "a tail of two dimensions": {"tail": np.zeros((5, 1), np.float32)},
    "a kernel for other classes": {"kernel": np.zeros((1280, 4), np.float32)},
    "a kernel of one dimension": {"kernel": np.zeros(1280, np.float32)},
    "a kernel for no features": {"kernel": np.zeros((0, 3), np.float32)},
    "a bias for other classes": {"bias": np.zeros(2, np.float32)},
    "an infinite bias": {"bias": np.array([0, np.inf, 0], np.float32)},
    "classes that are there twice": {"classes": np.array(["brick", "grass", "grass"])},
    "classes of no dimension": {"classes": np.str_("brick")},
    "one class": {
        "classes": np.array(["brick"]), "kernel": np.zeros((1280, 1), np.float32), "bias": np.zeros(1, np.float32)
    },
    "an array more": {"kernel0": np.zeros((1280, 3), np.float32)},
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_arrays_that_cannot_be_those_of_a_head_are_refused(trained: FineTuned, name: str) -> None:
    named = read_arrays(bytes(write_arrays(trained.head.arrays().to_arrays())))
    assert np.array_equal(TunedHead.from_arrays(named).tuned.tail, trained.tuned.tail)
    with pytest.raises(ValueError, match=r"shape|finite|arrays"):
        TunedHead.from_arrays(named | WRONG[name])
    for missing in named:
        with pytest.raises(ValueError, match="not the arrays"):
            TunedHead.from_arrays({each: array for each, array in named.items() if each != missing})


def test_a_tail_of_another_length_is_an_error_of_one_line(
    trained: FineTuned, tmp_path: Path, others: list[str]
) -> None:
    head, extractor, paths, _ = trained
    short = with_arrays(head.tail_[:-1], head.kernel_, head.bias_, like=head)
    save_model(str(tmp_path / "short.joblib"), short, extractor, paths)
    for picture in (others[0], paths[0]):  # by the graph, and by the tail
        with pytest.raises(UserError, match="does not fit nano above down8") as caught:
            pipeline.predict(picture, str(tmp_path / "short.joblib"))
        assert "\n" not in str(caught.value)


def test_a_head_of_rows_under_a_spec_of_maps_is_refused(trained: FineTuned, tmp_path: Path) -> None:
    from classify.heads.linear import LogRegHead

    _, extractor, paths, _ = trained
    maps = extractor.features(paths)[1]
    labels = [Path(path).parent.name for path in paths]
    head = LogRegHead().fit(maps.astype(np.float32).mean(axis=(1, 2)), labels)
    save_model(str(tmp_path / "rows.joblib"), head, extractor, paths)
    with pytest.raises(UserError, match="takes rows, those of its spec are maps"):
        pipeline.load(str(tmp_path / "rows.joblib"))


def test_a_head_of_maps_under_a_spec_of_rows_is_refused(trained: FineTuned, tmp_path: Path) -> None:
    head, extractor, paths, _ = trained
    rows = pipeline.open_extractor(extractor.cache_dir, **(CUT | {"pooling": "avg"}))
    save_model(str(tmp_path / "maps.joblib"), head, rows, paths)
    with pytest.raises(UserError, match="takes maps, those of its spec are rows"):
        pipeline.load(str(tmp_path / "maps.joblib"))
