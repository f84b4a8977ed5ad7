"""Heat maps and nearest training pictures by HTTP: as the model's own, of no file that a request names."""

import base64
import hashlib
import io
import os
import shutil
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from helpers.web.served_page import BYTES, Served, serving
from PIL import Image

import pipeline
from bottleneck_features.web.explain import training_pictures
from bottleneck_features.web.explain.heatmap import HeatMaps
from bottleneck_features.web.explain.training_pictures import TrainingPictures
from bottleneck_features.web.transport.problems import Problem
from cache.digest_table import FILE_NAME
from classify.heads.numerics import unit_rows


@pytest.fixture
def picture(surfaces: Path) -> bytes:
    return (surfaces / "gravel" / "gravel.7.png").read_bytes()


def test_the_nearest_are_those_of_the_model_s_own_rows(served: Served, model: Path, picture: bytes) -> None:
    classifier = pipeline.load(str(model))
    trained_on = classifier.saved.trained_on
    rows = unit_rows(classifier.extractor.store.read(trained_on))
    _, asked = classifier.extractor.without_cache([picture])
    cosines = rows @ unit_rows(asked[0])
    order = np.argsort(-cosines)[:5]
    found = served.post("/v1/nearest?count=5", picture).json()
    assert [one["digest"] for one in found["pictures"]] == [trained_on[number].tobytes().hex() for number in order]
    np.testing.assert_allclose([one["similarity"] for one in found["pictures"]], cosines[order], atol=1e-4)
    assert found["compared"] == found["trained_on"] == len(trained_on)
    assert found["same"] is (hashlib.sha256(picture).digest() in {digest.tobytes() for digest in trained_on})


def test_labels_and_thumbnails_are_those_of_the_files(served: Served, model: Path, picture: bytes) -> None:
    label_of = {
        hashlib.sha256(path.read_bytes()).hexdigest(): path.parent.name
        for path in (model.parent / "pictures").rglob("*.png")
    }
    for one in served.post("/v1/nearest?count=8", picture).json()["pictures"]:
        assert one["label"] == label_of[one["digest"]]
        answer = served.get(f"/v1/training/{one['digest']}/thumbnail")
        assert answer.headers["content-type"] == "image/webp"
        with Image.open(io.BytesIO(answer.content)) as thumbnail:
            assert thumbnail.size == (128, 128)


@pytest.mark.parametrize("digest", ["00" * 32, "zz", "..%2f..%2fetc%2fpasswd", "%2fetc%2fpasswd", "ff" * 3000])
def test_no_file_is_named_by_a_request(served: Served, digest: str) -> None:
    answer = served.get(f"/v1/training/{digest}/thumbnail")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_heat_map_is_the_model_s_own(served: Served, model: Path, picture: bytes) -> None:
    (expected,) = pipeline.load(str(model)).heatmaps([picture], use_cache=False)
    found = served.post("/v1/heatmap", picture).json()
    assert expected and expected.exact
    assert (found["label"], found["place"], found["exact"]) == (expected.label, expected.place, True)
    with Image.open(io.BytesIO(base64.b64decode(found["map"]))) as over:
        assert over.mode == "RGBA"
        strength = np.asarray(over.getchannel("A").resize(expected.values.shape[::-1], Image.Resampling.BOX))
    assert np.corrcoef(strength.ravel(), np.maximum(expected.values, 0).ravel())[0, 1] > 0.8
    with Image.open(io.BytesIO(base64.b64decode(found["seen"]))) as seen:
        assert seen.size == over.size


@pytest.mark.parametrize("path", ["/v1/heatmap", "/v1/nearest"])
def test_what_cannot_be_explained_is_a_problem(served: Served, picture: bytes, path: str) -> None:
    nothing = served.post(path, b"hello")
    assert (nothing.status_code, nothing.headers["content-type"]) == (422, "application/problem+json")
    assert "no image of a known format" in nothing.json()["detail"]
    several = {"pictures": [base64.b64encode(picture).decode()] * 2}
    assert httpx.post(served.url + path, json=several, timeout=60).status_code == 413
    assert httpx.get(served.url + path).status_code == 405
    from_elsewhere = BYTES | {"origin": "http://elsewhere.example"}
    assert httpx.post(served.url + path, content=picture, headers=from_elsewhere).status_code == 403


def test_while_the_first_map_is_made_what_is_no_picture_is_called_so(served: Served, picture: bytes) -> None:
    heatmaps = HeatMaps()
    with heatmaps._lock:  # as a thread that makes the first one holds it
        for data, status in ((b"hello", 422), (picture, 503)):
            with pytest.raises(Problem) as caught:
                heatmaps.of(served.service.model, data)
            assert caught.value.status == status


@pytest.fixture
def copied(model: Path, tmp_path: Path) -> Path:
    """A copy of the model, its cache and its pictures, where they were trained on as well."""
    folder = Path(shutil.copytree(model.parent / "pictures", tmp_path / "pictures"))
    cache = Path(shutil.copytree(model.parent / "cache", tmp_path / "cache"))
    (cache / FILE_NAME).unlink()  # it knows the files that these are copies of
    pipeline.train(str(folder), backbone="nano", cache_dir=str(cache), model=str(tmp_path / "copied.joblib"))
    return tmp_path / "copied.joblib"


def test_a_file_that_has_changed_or_gone_has_no_thumbnail(copied: Path) -> None:
    found = TrainingPictures.of(pipeline.load(str(copied)))
    (first, (path, _)), (second, (other, _)) = list(found.files.items())[:2]
    assert found.thumbnail(first.hex()) and found.thumbnail(second.hex())
    shutil.copy(other, path)
    os.unlink(other)
    assert found.thumbnail(first.hex()) is None
    assert found.thumbnail(second.hex()) is None
    again = TrainingPictures.of(pipeline.load(str(copied)))
    assert {first, second}.isdisjoint(again.files)
    assert len(again.digests) == len(found.digests)  # they still are compared


@pytest.mark.parametrize("place", ["outside", "relative", "\\\\elsewhere\\share", 7, None])
def test_a_record_that_names_another_place_is_not_followed(copied: Path, tmp_path: Path, place: object) -> None:
    """A record comes with the model, from anybody: what it names is looked into only where the cache knows it."""
    outside = Path(shutil.copytree(tmp_path / "pictures", tmp_path / "elsewhere" / "outside"))
    classifier = pipeline.load(str(copied))
    classifier.saved.record["data"]["folder"] = str(outside) if place == "outside" else place
    found = TrainingPictures.of(classifier)
    assert {label for _, label in found.files.values()} == {""}
    assert not any(path.startswith(str(outside)) for path, _ in found.files.values())
    assert [one.label for one in found.nearest(found.units[0], 2)] == ["", ""]


def test_labels_of_a_table_are_found(surfaces: Path, warm_cache: Path, tmp_path: Path) -> None:
    cache = str(shutil.copytree(warm_cache, tmp_path / "cache"))
    folder = Path(shutil.copytree(surfaces, tmp_path / "pictures"))
    rows = [f"pictures/{path.parent.name}/{path.name},{path.parent.name.upper()}" for path in folder.rglob("*.png")]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *rows]))
    model = str(tmp_path / "table.joblib")
    pipeline.train(labels=str(tmp_path / "labels.csv"), backbone="nano", cache_dir=cache, model=model)
    found = TrainingPictures.of(pipeline.load(model))
    assert {label for _, label in found.files.values()} == {"BRICK", "GRASS", "GRAVEL"}
    assert len(found.files) == found.total


def test_of_many_pictures_some_are_compared(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = pipeline.load(str(copied))
    width = classifier.extractor.store.row_shape[0]
    monkeypatch.setattr(training_pictures, "MOST_BYTES", 10 * 4 * width)
    found = TrainingPictures.of(classifier)
    assert found.units.shape == (10, width)
    assert found.total == len(classifier.saved.trained_on) > 10
    assert (TrainingPictures.of(classifier).digests == found.digests).all()


@pytest.mark.parametrize(
    ("options", "exact"),
    [
        ({"views": 3, "predict_views": 3}, True),
        ({"backbone": "nano+nano", "size": "96+64", "head": "svm"}, True),
        ({"head": "knn"}, False),
        ({"head": "finetune", "head_params": {"epochs": 1}}, True),
    ],
)
def test_models_of_every_kind_are_explained(
    surfaces: Path, tmp_path: Path, options: dict[str, Any], exact: bool
) -> None:
    """A training picture is nearest to itself, however its rows lie in the cache."""
    model = str(tmp_path / "model.joblib")
    pipeline.train(str(surfaces), model=model, **{"backbone": "nano", "cache_dir": str(tmp_path / "cache")} | options)
    trained_on = {digest.tobytes() for digest in pipeline.load(model).saved.trained_on}
    path, digest = next(
        (path, digest)
        for path in sorted(surfaces.rglob("*.png"))
        if (digest := hashlib.sha256(path.read_bytes()).digest()) in trained_on
    )
    with serving(Path(model)) as served:
        found = served.post("/v1/nearest?count=1", path.read_bytes()).json()
        assert found["same"] is True
        assert found["pictures"][0]["digest"] == digest.hex()
        assert found["pictures"][0]["similarity"] == pytest.approx(1, abs=1e-3)
        heat = served.post("/v1/heatmap", path.read_bytes()).json()
        assert (heat["exact"], heat["whole"]) == (exact, True)
