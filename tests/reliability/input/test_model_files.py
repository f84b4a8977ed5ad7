"""Points 11 and 12: a model file that is not what its record says is refused before anything is unpickled; one that is
predicts in a new process as it did before it was saved."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import sklearn
from conftest import REPOSITORY, SPEC
from reliability.conftest import Count, Figure
from reliability.harness.payloads import PAYLOADS

import pipeline
from cache.errors import UserError
from classify.heads.head_table import make_head
from classify.saved import renamed
from classify.saved.persist import Saved, load, save
from classify.saved.record import own_digest

HEADS: dict[str, tuple[str, dict[str, Any]]] = {
    "logreg": ("logreg", {}),
    "svm": ("svm", {}),
    "rbf": ("svm", {"kernel": "rbf"}),
    "dense": ("dense", {"epochs": 5}),
    "hidden": ("dense", {"epochs": 5, "hidden": 16, "batch_norm": True}),
    "ridge": ("ridge", {}),
    "knn": ("knn", {}),
    "centroid": ("centroid", {}),
}
WITHIN = {"dense": 1e-6, "hidden": 1e-6}  # all others are equal in every bit


@pytest.fixture(scope="module")
def folder(photographs: Callable[[int], Path], warm_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of each head, trained on real features, NAME.joblib, and what it said before it was saved, NAME.npy."""
    here = tmp_path_factory.mktemp("models")
    shutil.copytree(warm_cache, here / "cache")
    images = photographs(60)
    pipeline.train(str(images), model=str(here / "asked.joblib"), cache_dir=str(here / "cache"), **SPEC)
    classifier = pipeline.load(str(here / "asked.joblib"))
    paths = sorted(map(str, images.glob("*/*")))
    outcome, rows = classifier.extractor.features(paths)
    labels = np.array([Path(paths[i]).parent.name for i in outcome.succeeded])
    for name, (head, params) in HEADS.items():
        estimator = make_head(head, params, 0).fit(rows, labels)
        np.save(here / f"{name}.npy", estimator.predict_proba(rows))
        counts = np.unique(labels, return_counts=True)[1].tolist()
        record = {"head": head, "head_params": params, "training_counts": counts, **classifier.extractor.record()}
        save(str(here / f"{name}.joblib"), estimator, outcome.keys, record)
    np.save(here / "rows.npy", rows)
    (here / "picture.jpg").write_bytes(Path(paths[0]).read_bytes())
    return here


@pytest.fixture
def own(folder: Path, tmp_path: Path) -> Callable[[str], str]:
    """own(name): a copy of that model, to be changed."""

    def copied(name: str) -> str:
        for suffix in (".joblib", ".json", ".npz"):
            if (file := folder / (name + suffix)).exists():
                shutil.copy(file, tmp_path)
        return str(tmp_path / f"{name}.joblib")

    return copied


def refusal(call: Callable[[], Any]) -> str:
    """The one line with which something is refused."""
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and message.isprintable() and len(message) < 1000
    return message


# ---- 11: what is not what its record says


def test_no_payload_of_another_digest_is_unpickled(
    own: Callable[[str], str], run: Callable[..., Any], folder: Path, tmp_path: Path, figure: Figure
) -> None:
    assert len(PAYLOADS) >= 20
    ran = 0
    for name, write in PAYLOADS.items():
        for head in ("logreg", "knn"):  # with arrays and without
            mark, model = tmp_path / f"{name}-{head}", own(head)
            write(model, mark)
            for options in ({}, {"allow_other_versions": True}, {"no_pickle": True}, {"sha256": "ab" * 32}):
                assert "was not loaded" in refusal(lambda model=model, options=options: load(model, **options)), name
            status, _, err = run("predict", "--model", model, folder / "picture.jpg")
            assert status == 2 and err.count("\n") == 1 and err.startswith("error: "), (name, err)
            assert not mark.exists(), name
        with contextlib.suppress(RecursionError):
            joblib.load(model)  # so that this test can fail
        assert mark.exists(), name
        ran += 1
    figure(11, f"{ran} malicious model files: 0 unpickled (joblib.load runs all {ran})")


def content(saved: Saved, rows: np.ndarray) -> tuple[Any, ...]:
    """All that a loaded model is."""
    said = saved.predictor.predict_proba(rows).tobytes()
    return json.dumps(saved.record, sort_keys=True), saved.trained_on.tobytes(), said


def test_no_flipped_bit_and_no_cut_loads_silently(
    own: Callable[[str], str], folder: Path, seed: int, count: Count, figure: Figure, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(seed)
    rows = np.load(folder / "rows.npy")[:5]
    unpickled: list[bytes] = []
    original = renamed.unpickle

    def watched(data: bytes) -> Any:
        unpickled.append(data)
        return original(data)

    monkeypatch.setattr("classify.saved.persist.unpickle", watched)
    flips = cuts = refused = same = 0
    files = [(head, suffix) for head in ("logreg", "knn", "dense") for suffix in (".joblib", ".json", ".npz")]
    files.remove(("knn", ".npz"))
    expected = {head: content(load(str(folder / f"{head}.joblib")), rows) for head in ("logreg", "knn", "dense")}
    unpickled.clear()
    for number in range(count(6000, 600)):
        head, suffix = files[number % len(files)]
        model = own(head)
        path = Path(model).with_suffix(suffix)
        whole = path.read_bytes()
        genuine = Path(model).read_bytes()
        data = bytearray(whole)
        if number // len(files) % 6 == 5:
            data = data[: int(random.integers(0, len(data)))]
            cuts += 1
        else:
            data[int(random.integers(0, len(data)))] ^= 1 << int(random.integers(0, 8))
            flips += 1
        path.write_bytes(data)
        try:
            found = load(model)
        except UserError as error:
            assert "\n" not in str(error)
            refused += 1
        else:
            assert content(found, rows) == expected[head], (path, number)
            same += 1
        assert all(one == genuine for one in unpickled)
        unpickled.clear()
    assert refused + same == flips + cuts and refused > 0.99 * (flips + cuts)
    figure(
        11, f"{flips:,} flipped bits and {cuts:,} cuts in .joblib, .json and .npz: 0 silent loads, {refused:,} refused"
    )


def test_without_the_record_a_flipped_bit_would_be_silent(own: Callable[[str], str]) -> None:
    """So that the test before can fail: a flipped bit of a coefficient is a model like any other."""
    model = own("logreg")
    kernel = joblib.load(model)["estimator"].coef_
    data = bytearray(Path(model).read_bytes())
    data[data.index(kernel.tobytes()) + 7] ^= 1
    Path(model).write_bytes(data)
    assert not np.array_equal(joblib.load(model)["estimator"].coef_, kernel)
    refusal(lambda: load(model))


def by_hand(model: str, **fields: Any) -> None:
    """Change the record as somebody with an editor does."""
    path = Path(model).with_suffix(".json")
    path.write_text(json.dumps(json.loads(path.read_text()) | fields, indent=2))


@pytest.mark.parametrize("head", HEADS)
def test_another_version_fingerprint_or_no_record_is_an_error_that_can_be_overridden(
    head: str, own: Callable[[str], str], folder: Path, figure: Figure, caplog: pytest.LogCaptureFixture
) -> None:
    rows, expected = np.load(folder / "rows.npy"), np.load(folder / f"{head}.npy")
    record = json.loads((folder / f"{head}.json").read_text())
    major, minor, *_ = map(int, sklearn.__version__.split(".")[:2])
    versions = [f"{major + 1}.{minor}.0", f"{major}.{minor - 1}.0", "1.2.0"]
    cases: list[tuple[dict[str, Any], list[str]]] = [
        (_of_version(record, version), [version, sklearn.__version__]) for version in versions
    ]
    cases.append(({"fingerprint": "ab" * 32}, ["ab" * 32, record["fingerprint"]]))
    cases.append(({"spec": record["spec"] | {"pooling": "max"}}, [record["fingerprint"]]))
    for fields, named in cases:
        model = own(head)
        by_hand(model, **fields)
        if "versions" in fields and "arrays" in record:  # these need no scikit-learn
            found = load(model)
            assert np.abs(found.predictor.predict_proba(rows) - expected).max() <= WITHIN.get(head, 0)
            message = refusal(lambda found=found: found.estimator)
        else:
            message = refusal(lambda model=model: load(model))
        assert all(value in message for value in named), message
        assert "--allow-other-versions" in message and "allow_other_versions=True" in message
        caplog.clear()
        found = load(model, allow_other_versions=True)
        assert np.abs(found.predictor.predict_proba(rows) - expected).max() <= WITHIN.get(head, 0)
        assert found.estimator is not None and len(caplog.records) >= 1
        assert found.spec.fingerprint == record["fingerprint"]
    model = own(head)
    os.unlink(Path(model).with_suffix(".json"))
    assert str(Path(model).with_suffix(".json")) in refusal(lambda: load(model))
    found = load(model, allow_other_versions=True)
    assert np.abs(found.predictor.predict_proba(rows) - expected).max() <= WITHIN.get(head, 0)
    if head == "logreg":
        what = "another scikit-learn where it unpickles, another fingerprint, a missing record"
        figure(11, f"{what}: an error with both values, 1 override")


def _of_version(record: dict[str, Any], version: str) -> dict[str, Any]:
    """The fields that a record has of another scikit-learn, its digest among them."""
    versions = {"versions": record["versions"] | {"scikit-learn": version}}
    return versions | {"sha256": own_digest(record | versions)}


def test_the_command_says_the_same_and_loads_when_told_so(
    own: Callable[[str], str], run: Callable[..., Any], folder: Path
) -> None:
    model = own("knn")
    by_hand(model, **_of_version(json.loads((folder / "knn.json").read_text()), "1.2.0"))
    status, _, err = run("predict", "--model", model, folder / "picture.jpg")
    assert status == 2 and err.count("\n") == 1 and "1.2.0" in err and sklearn.__version__ in err
    status, _, err = run("predict", "--model", model, folder / "picture.jpg", "--allow-other-versions")
    assert status == 0 and "1.2.0" in err


def test_a_record_that_was_rewritten_with_care_does_not_pass_for_another_model(own: Callable[[str], str]) -> None:
    """Somebody who makes the record's own digest right as well: the model file says what it is."""
    model = own("svm")
    path = Path(model).with_suffix(".json")
    record = json.loads(path.read_text())
    for fields in ({"classes": record["classes"][::-1]}, {"cache_dir": "/others"}, {"head": "logreg"}):
        changed = record | fields
        path.write_text(json.dumps(changed | {"sha256": own_digest(changed)}))
        assert "its record has" in refusal(lambda: load(model))


# ---- 12: what is


def test_a_new_process_predicts_as_before_it_was_saved(folder: Path, tmp_path: Path, figure: Figure) -> None:
    code = """
import sys, numpy, pipeline
folder, out, *names = sys.argv[1:]
rows = numpy.load(folder + "/rows.npy")
for name in names:
    saved = pipeline.load(f"{folder}/{name}.joblib").saved
    assert saved.predictor.predict_proba(rows).tobytes() == saved.predictor.predict_proba(rows).tobytes()
    numpy.save(f"{out}/{name}.npy", [saved.predictor.predict_proba(rows), saved.estimator.predict_proba(rows)])
"""
    command = [sys.executable, "-c", code, str(folder), str(tmp_path), *HEADS]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    worst = {}
    for name in HEADS:
        expected, found = np.load(folder / f"{name}.npy"), np.load(tmp_path / f"{name}.npy")
        worst[name] = np.abs(found - expected).max()
        assert worst[name] <= WITHIN.get(name, 0), (name, worst)
    dense = max(worst[name] for name in WITHIN)
    rows = len(np.load(folder / "rows.npy"))
    figure(
        12,
        f"{rows} pictures in a new process, {len(HEADS) - len(WITHIN)} heads: probabilities equal in every bit; "
        f"dense: at most {dense:.1g} apart",
    )
