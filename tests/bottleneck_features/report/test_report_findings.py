"""What a report says, found on real photographs: who was scored and by whom, copies, wrong labels, curves, the map."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SPEC
from PIL import Image

import pipeline
from bottleneck_features.report.collect_findings import collect
from bottleneck_features.report.findings import Findings
from bottleneck_features.report.parts.calibration_curve import calibration
from bottleneck_features.report.parts.learning_curve import learning_curve
from bottleneck_features.report.parts.picture_map import picture_map
from cache.errors import UserError
from classify.data.dataset import dataset_of
from classify.data.view_counts import Views
from classify.labels.read_labels import read_labels
from classify.saved.classifier import Classifier
from featurize.pictures.find_images import Failure

Train = Callable[..., Classifier]


@pytest.fixture
def train(tmp_path: Path, warm_cache: Path) -> Train:
    """Train on a folder with the rows that are cached, and load the model."""
    cache = str(shutil.copytree(warm_cache, tmp_path / "cache"))

    def trained(folder: Path, **options: Any) -> Classifier:
        model = str(tmp_path / "models" / "m.joblib")
        pipeline.train(str(folder), model=model, cache_dir=cache, **SPEC, **options)
        return pipeline.load(model, cache_dir=cache)

    return trained


def found_in(classifier: Classifier, folder: Path) -> Findings:
    images = read_labels(str(folder), for_training=False)
    dataset, cost = dataset_of(classifier.extractor, images, Views(), "logreg", 0.0, None)
    failures = [Failure(**failure) for failure in cost["failures"]]
    return collect(classifier, dataset, failures, data=str(folder), forward_passes=cost["forward_passes"])


def numbers(findings: Findings, *names: str) -> list[int]:
    """The numbers of the pictures whose files have these names."""
    by_name = {Path(picture.path).name: number for number, picture in enumerate(findings.pictures)}
    return [by_name[name] for name in names]


def halved(path: Path, copy: Path) -> None:
    with Image.open(path) as picture:
        picture.convert("RGB").resize((picture.width // 2, picture.height // 2)).save(copy, quality=60)


def test_the_scores_are_those_of_evaluate_and_nothing_passes_the_network(train: Train, photos: Path) -> None:
    classifier = train(photos)
    findings = found_in(classifier, photos)
    evaluated = pipeline.evaluate(str(photos), classifier)
    assert findings.forward_passes == 0
    assert findings.scores.to_json() == {name: evaluated[name] for name in findings.scores.to_json()}
    parts = [picture.part for picture in findings.pictures]
    assert len(parts) == 36 and parts.count("scored") == evaluated["n"]
    assert sum(sum(by_part.values()) for by_part in findings.counts.values()) == 36
    assert findings.scored == f"{evaluated['n'] / 36:.0%} of the pictures"
    assert [rate.name for rate in findings.baselines] == [
        "always the most frequent class",
        "the nearest training picture",
    ]
    assert findings.epochs["loss"] and findings.epochs_of == "a dense head trained for this report"


def test_every_picture_has_an_answer_and_three_neighbours_that_are_trained_on(train: Train, photos: Path) -> None:
    findings = found_in(train(photos), photos)
    for number, picture in enumerate(findings.pictures):
        assert picture.answer == picture.top[0][0]
        assert [p for _, p in picture.top] == sorted((p for _, p in picture.top), reverse=True)
        assert sum(p for _, p in picture.top) == pytest.approx(1)
        near = [other for other, _ in picture.neighbours]
        assert len(near) == 3 and number not in near
        assert {findings.pictures[other].part for other in near} == {"train"}
        assert [cosine for _, cosine in picture.neighbours] == sorted((c for _, c in picture.neighbours), reverse=True)
    assert all(findings.pictures[number].part == "scored" for number in findings.mistakes + findings.uncertain)
    assert all(findings.pictures[number].answer != findings.pictures[number].label for number in findings.mistakes)
    assert findings.map.shape == (36, 2) and findings.map.dtype == np.float32
    assert findings.map.min() == 0 and findings.map.max() == 1


def test_copies_are_found_and_no_neighbours(train: Train, photos: Path) -> None:
    shutil.copy(photos / "brick" / "brick.3.png", photos / "brick" / "same.png")
    halved(photos / "grass" / "grass.5.png", photos / "gravel" / "half.jpg")
    findings = found_in(train(photos), photos)
    exact, near = sorted(findings.near_duplicates, key=lambda copies: copies.kind)
    assert (exact.kind, exact.members, exact.labels_differ) == (
        "exact",
        numbers(findings, "brick.3.png", "same.png"),
        False,
    )
    assert (near.kind, near.members, near.labels_differ) == ("near", numbers(findings, "grass.5.png", "half.jpg"), True)
    for copies in findings.near_duplicates:
        for number in copies.members:
            assert not {other for other, _ in findings.pictures[number].neighbours} & set(copies.members)


def test_copies_in_the_test_folder_straddle(train: Train, surfaces: Path, tmp_path: Path) -> None:
    for part, chosen in (("train", range(8)), ("test", range(8, 12))):
        for name in ("brick", "grass", "gravel"):
            (tmp_path / "own" / part / name).mkdir(parents=True)
            for number in chosen:
                shutil.copy(surfaces / name / f"{name}.{number}.png", tmp_path / "own" / part / name)
    halved(surfaces / "brick" / "brick.0.png", tmp_path / "own" / "test" / "brick" / "half.jpg")
    findings = found_in(train(tmp_path / "own"), tmp_path / "own")
    assert findings.scored == "the folder test"
    (copies,) = findings.near_duplicates
    assert copies.straddles and copies.members == sorted(numbers(findings, "brick.0.png", "half.jpg"))


def test_wrong_labels_are_the_first_suspects(train: Train, photos: Path) -> None:
    for name, number, wrong in (("brick", 2, "grass"), ("grass", 7, "gravel"), ("gravel", 4, "brick")):
        shutil.move(photos / name / f"{name}.{number}.png", photos / wrong / f"{name}.{number}.png")
    findings = found_in(train(photos), photos)
    wrong = numbers(findings, "brick.2.png", "grass.7.png", "gravel.4.png")
    assert {suspect.picture for suspect in findings.suspects[:3]} == set(wrong)
    assert {suspect.suggested for suspect in findings.suspects[:3]} == {"brick", "grass", "gravel"}
    assert all(suspect.given_probability < suspect.probability for suspect in findings.suspects[:3])


def test_a_model_that_was_fitted_on_everything_is_scored_in_folds(train: Train, photos: Path) -> None:
    findings = found_in(train(photos, head="ridge", refit=True), photos)
    assert findings.scored == "5 folds" and findings.scores.n == 36
    assert {picture.part for picture in findings.pictures} == {"scored"}
    assert findings.head == "ridge" and findings.learning_curve[-1].pictures == 29


def test_pictures_of_others_have_no_neighbours_to_show(train: Train, photos: Path, tmp_path: Path) -> None:
    for name in ("brick", "grass"):
        (tmp_path / "others" / name).mkdir(parents=True)
        for number in range(6, 12):
            shutil.move(photos / name / f"{name}.{number}.png", tmp_path / "others" / name)
    findings = found_in(train(photos), tmp_path / "others")
    assert findings.scored == "all pictures, the model being trained on others"
    assert findings.counts["gravel"] == {"train": 0, "scored": 0, "other": 0} and findings.scores.n == 12
    assert not any(picture.neighbours for picture in findings.pictures)
    assert [rate.name for rate in findings.baselines] == ["always the most frequent class"]
    assert findings.epochs == {} and findings.learning_curve == [] and "too few" in findings.advice


def test_a_single_picture_can_be_reported_on(train: Train, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "one" / "brick").mkdir(parents=True)
    shutil.move(photos / "brick" / "brick.0.png", tmp_path / "one" / "brick")
    findings = found_in(train(photos), tmp_path / "one")
    assert findings.scores.n == 1 and findings.suspects == [] and findings.map.shape == (1, 2)


def test_a_label_that_the_model_does_not_know_is_refused(train: Train, photos: Path) -> None:
    classifier = train(photos)
    shutil.copytree(photos / "brick", photos / "wall")
    with pytest.raises(UserError, match="'wall'"):
        found_in(classifier, photos)


def test_a_picture_that_goes_meanwhile_is_reported_from_what_the_cache_knows(train: Train, photos: Path) -> None:
    classifier = train(photos)
    images = read_labels(str(photos), for_training=False)
    dataset, _ = dataset_of(classifier.extractor, images, Views(), "logreg", 0.0, None)
    (photos / "grass" / "grass.1.png").unlink()
    findings = collect(classifier, dataset, [], data=str(photos))
    assert len(findings.pictures) == 36 and findings.near_duplicates == []


def test_the_calibration_curve_is_that_of_its_bins() -> None:
    confidence = np.array([0.55, 0.57, 0.9, 0.95, 1.0])
    curve, error = calibration(confidence, np.array([True, False, True, True, False]))
    assert [(place.n, round(place.confidence, 2), round(place.accuracy, 2)) for place in curve] == [
        (2, 0.56, 0.5),
        (3, 0.95, 0.67),
    ]
    assert error == pytest.approx((2 * 0.06 + 3 * (0.95 - 2 / 3)) / 5)


def test_counts_grow_and_the_last_is_everything(digits: tuple[np.ndarray, np.ndarray]) -> None:
    rows, labels = digits
    splits = [(np.arange(400), np.arange(400, 600))]
    counts, _ = learning_curve(rows, labels.astype(str), np.arange(len(rows)), splits, "logreg", {})
    sizes = [count.pictures for count in counts]
    assert sizes == sorted(sizes) and sizes[-1] == 400 and len(sizes) == 5
    assert all(count.low <= count.accuracy <= count.high for count in counts)
    assert counts[-1].accuracy > counts[0].accuracy


def test_pictures_beyond_those_laid_out_lie_beside_the_nearest(
    digits: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, labels = digits
    monkeypatch.setattr("bottleneck_features.report.parts.picture_map.MOST", 200)
    places = picture_map(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    assert places.shape == (600, 2) and places.min() >= 0 and places.max() <= 1
    distances = np.square(places[:, None] - places).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    assert np.mean(labels[distances.argmin(axis=1)] == labels) > 0.8


@pytest.mark.parametrize("count", [1, 9, 10, 40])
def test_pictures_without_any_difference_have_places(count: int) -> None:
    places = picture_map(np.full((count, 64), 0.125, np.float32))
    assert places.shape == (count, 2) and np.isfinite(places).all()


def test_counts_in_folds_of_different_sizes_are_one_point_each(digits: tuple[np.ndarray, np.ndarray]) -> None:
    rows, labels = digits
    everything = np.arange(103)
    splits = [(np.setdiff1d(everything, test), test) for test in np.array_split(everything, 5)]
    counts = [
        count.pictures
        for count in learning_curve(rows, labels.astype(str), np.arange(len(rows)), splits, "centroid", {})[0]
    ]
    assert counts == sorted(counts) and len(counts) <= 5 and counts[-1] == 82 and counts[-2] < 50


def test_a_class_of_one_picture_spares_the_others_their_judgement(train: Train, photos: Path) -> None:
    shutil.move(photos / "brick" / "brick.2.png", photos / "grass" / "brick.2.png")
    classifier = train(photos, head="svm")
    for picture in sorted((photos / "gravel").iterdir())[1:]:
        picture.unlink()
    findings = found_in(classifier, photos)
    (wrong,) = numbers(findings, "brick.2.png")
    assert findings.suspects[0].picture == wrong


def test_training_pictures_of_one_class_alone_are_no_reason_to_fail(train: Train, photos: Path) -> None:
    classifier = train(photos)
    trained_on = {digest.tobytes() for digest in classifier.saved.trained_on}
    for name in ("grass", "gravel"):
        for picture in (photos / name).iterdir():
            if hashlib.sha256(picture.read_bytes()).digest() in trained_on:
                picture.unlink()
    findings = found_in(classifier, photos)
    assert "pictures of brick rejected" not in [rate.name for rate in findings.unknowns]
    assert findings.trained_on == dict(zip(findings.classes, classifier.saved.record["training_counts"], strict=True))
