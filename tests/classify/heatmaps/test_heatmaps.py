"""Heat maps of a loaded model: an object in a corner is found there, by either way; nothing is computed twice."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.files.onnx_files import conv_net, saved, token_net
from helpers.storage.planted_objects import CORNERS, plant, plant_many
from PIL import Image

import pipeline
from classify.heatmaps.heat_map import HeatMap, colours, overlaid
from classify.heatmaps.make_heatmaps import heatmaps_of
from classify.heatmaps.occlusion import occlusion_map
from featurize.pictures.hidden_parts import HIDDEN, STEPS


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with an object anywhere, and without one; models of two heads that tell them apart; corners."""
    folder = tmp_path_factory.mktemp("planted")
    plant_many(folder / "photos")
    for head in ("logreg", "knn"):
        train(folder, head, backbone="nano")
    for seed, (name, corner) in enumerate(CORNERS.items(), start=5000):
        plant(folder / "corners" / f"{name}.png", seed, corner)
    return folder


def train(folder: Path, head: str, name: str = "", **options: Any) -> None:
    model = str(folder / f"{name or head}.joblib")
    pipeline.train(str(folder / "photos"), head, model=model, cache_dir=str(folder / "cache"), **options)


def loaded(folder: Path, name: str, **options: Any) -> Any:
    return pipeline.load(str(folder / f"{name}.joblib"), cache_dir=str(folder / "cache"), **options)


def quarter(heat: HeatMap) -> str:
    """The quarter of the picture that the largest value is in."""
    row, column = np.unravel_index(heat.values.argmax(), heat.values.shape)
    height, width = heat.values.shape
    return f"{'upper' if 2 * row + 1 < height else 'lower'} {'left' if 2 * column + 1 < width else 'right'}"


def corners(folder: Path) -> list[str]:
    return [str(folder / "corners" / f"{name}.png") for name in CORNERS]


@pytest.mark.parametrize("head", ["logreg", "knn"])
def test_the_maximum_is_where_the_object_is(place: Path, head: str) -> None:
    maps = loaded(place, head).heatmaps(corners(place))
    assert [heat.label for heat in maps] == ["gravel"] * 4
    assert [quarter(heat) for heat in maps] == [heat.place for heat in maps] == list(CORNERS)
    assert [heat.exact for heat in maps] == [head == "logreg"] * 4
    assert all(heat.values.dtype == np.float32 for heat in maps)


@pytest.mark.parametrize(("head", "passes"), [("logreg", 1), ("knn", len(HIDDEN))])
def test_each_picture_passes_the_network_once_for_its_map_and_never_again(
    place: Path, tmp_path: Path, head: str, passes: int
) -> None:
    cache = str(shutil.copytree(place / "cache", tmp_path / "cache"))
    classifier = pipeline.load(str(place / f"{head}.joblib"), cache_dir=cache)
    pictures = [plant(tmp_path / f"{number}.png", 6000 + number, (0, 0)) for number in range(20)]  # two portions
    codes = classifier.answers(pictures, True).codes
    first = heatmaps_of(classifier, pictures, [*codes[:-1], None], use_cache=True)
    assert first.forward_passes == 19 * passes and first.maps[-1] is None
    again = heatmaps_of(pipeline.load(str(place / f"{head}.joblib"), cache_dir=cache), pictures[:19], codes[:19], True)
    assert again.forward_passes == 0
    for one, other in zip(first.maps[:19], again.maps, strict=True):
        assert one is not None and other is not None and (one.values == other.values).all()


def test_without_the_cache_the_maps_are_the_same_and_nothing_is_stored(place: Path, tmp_path: Path) -> None:
    cache = shutil.copytree(place / "cache", tmp_path / "cache")
    classifier = pipeline.load(str(place / "logreg.joblib"), cache_dir=str(cache))
    before = sorted(path for path in cache.rglob("*.h5"))
    kept = classifier.heatmaps(corners(place)[:2])
    alone = classifier.heatmaps(corners(place)[:2], use_cache=False)
    assert sorted(path for path in cache.rglob("*.h5")) == before
    for one, other in zip(kept, alone, strict=True):
        assert np.abs(one.values - other.values).max() < 1e-3 * np.abs(one.values).max()


def test_a_picture_without_label_has_no_map(place: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    classifier = loaded(place, "logreg")
    images = [corners(place)[0], str(tmp_path / "broken.png"), np.zeros((40, 40, 3), np.uint8)]
    heat, broken, black = classifier.heatmaps(images)
    assert heat is not None and broken is None and black is not None
    assert classifier.heatmaps(images[2:], reject=0.9) == [None]


@pytest.mark.parametrize(
    ("head", "options", "grid"),
    [
        ("svm", {"backbone": "nano+nano", "size": "96+128"}, (8, 8)),
        ("ridge", {"backbone": "nano", "pooling": "flatten"}, (6, 6)),
        ("finetune", {"backbone": "nano", "views": 1, "head_params": {"epochs": 1, "verbose": 0}}, (6, 6)),
    ],
)
def test_the_mean_of_an_exact_map_is_the_decision_of_the_model(
    place: Path, head: str, options: dict[str, Any], grid: tuple[int, int]
) -> None:
    train(place, head, "exact", **options)
    classifier = loaded(place, "exact", predict_views=1)
    logs = np.log(classifier.predict_proba(corners(place))) * getattr(classifier.saved.predictor, "temperature", 1.0)
    for heat, decided in zip(classifier.heatmaps(corners(place)), logs, strict=True):
        answer = classifier.classes_.index(heat.label)
        assert heat.exact and heat.values.shape == grid
        assert heat.values.mean() == pytest.approx(decided[answer] - decided[1 - answer], rel=1e-3)


@pytest.mark.parametrize(
    ("head", "options", "reason"),
    [
        ("logreg", {"backbone": "nano", "pooling": "max"}, "pooling max of nano"),
        ("logreg", {"backbone": "nano", "resize": "bilinear", "pooling": "max"}, "pooling max of nano"),
        ("svm", {"backbone": "nano", "head_params": {"kernel": "rbf"}}, "the head svm does not decide by planes"),
        ("knn", {"backbone": "nano+nano", "size": "96+64"}, "the head knn does not decide by planes"),
    ],
)
def test_other_models_have_maps_by_hiding_and_say_why(
    place: Path, head: str, options: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    train(place, head, "hidden", **options)
    with caplog.at_level("INFO", "bottleneck"):
        maps = loaded(place, "hidden").heatmaps(corners(place))
    assert f"heat maps by hiding parts of each picture, because {reason}" in caplog.text
    assert [heat.exact for heat in maps] == [False] * 4
    assert [(heat.label, quarter(heat)) for heat in maps] == [("gravel", name) for name in CORNERS]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_model_file_has_exact_maps_where_it_ends_in_one(place: Path, tmp_path: Path, layout: str) -> None:
    path = saved(conv_net(layout), tmp_path / "net.onnx")
    train(place, "ridge", "file", backbone=path, layer="map", preprocess="scale=1/255 mean=0.5 std=0.5 crop=none")
    classifier = loaded(place, "file")
    probabilities = classifier.predict_proba(corners(place))
    for heat, each in zip(classifier.heatmaps(corners(place)), probabilities, strict=True):
        answer = classifier.classes_.index(heat.label)
        decided = classifier.saved.predictor.temperature * np.log(each[answer] / each[1 - answer])
        assert heat.exact and heat.values.mean() == pytest.approx(decided, rel=1e-3)


def test_a_model_file_of_tokens_has_maps_by_hiding(place: Path, tmp_path: Path) -> None:
    path = saved(token_net(), tmp_path / "net.onnx")
    options = {"layer": "last_hidden_state", "pooling": "cls", "preprocess": "scale=1/255 mean=0.5 std=0.5 crop=none"}
    train(place, "logreg", "tokens", backbone=path, **options)
    (heat,) = loaded(place, "tokens").heatmaps(corners(place)[:1])
    assert not heat.exact and heat.values.shape == (7, 7)


def test_a_keras_file_that_ends_in_numbers_has_maps_by_hiding(place: Path, tmp_path: Path) -> None:
    from featurize.engines.keras_import import import_keras

    keras = import_keras()
    layers = [keras.Input((32, 32, 3)), keras.layers.Conv2D(8, 3, 4, activation="relu", name="map")]
    layers += [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(6, name="numbers")]
    keras.Sequential(layers).save(tmp_path / "own.keras")
    train(place, "ridge", "numbers", backbone=str(tmp_path / "own.keras"), layer="numbers")
    train(place, "ridge", "maps", backbone=str(tmp_path / "own.keras"))
    (hidden,), (exact,) = (loaded(place, name).heatmaps(corners(place)[:1]) for name in ("numbers", "maps"))
    assert not hidden.exact and exact.exact and exact.values.shape == (8, 8)


def test_a_cell_has_the_mean_fall_over_the_patches_that_cover_it() -> None:
    probabilities = np.full(1 + STEPS**2, 0.9)
    probabilities[1] = 0.3  # the patch in the upper left corner
    values = occlusion_map(probabilities)
    assert values[0, 0] == pytest.approx(0.6) and values[0, 1] == pytest.approx(0.3)
    assert values[1, 1] == pytest.approx(0.15) and values[2:].max() == values[:, 2:].max() == 0


def test_low_values_are_transparent_and_brightness_rises_with_the_value() -> None:
    values = np.linspace(-1, 1, 12, dtype=np.float32)[None]
    drawn = np.asarray(colours(HeatMap("a", values, True, (96, 96), "antialias"), (12, 1)), float)[0]
    assert (drawn[:6, 3] == 0).all() and (np.diff(drawn[7:, 3]) > 0).all() and 0 < drawn[-1, 3] < 255
    seen = drawn[7:, :3] @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(seen) > 0).all()  # to be told apart without seeing colours
    nothing = HeatMap("a", -np.ones((3, 3), np.float32), True, (96, 96), "antialias")
    assert not np.asarray(colours(nothing, (30, 20)))[..., 3].any() and nothing.place == "nowhere"


def test_the_map_lies_where_the_network_saw_the_picture(tmp_path: Path) -> None:
    """A picture is turned upright by its EXIF tag; of a crop, what was cut off shows through."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.new("RGB", (400, 200), "grey").save(tmp_path / "turned.jpg", exif=exif)
    data = (tmp_path / "turned.jpg").read_bytes()
    values = np.zeros((2, 2), np.float32)
    values[0] = 1
    drawn = np.asarray(overlaid(data, HeatMap("a", values, True, (96, 96), "antialias"), 300), int)
    assert drawn.shape == (300, 150, 3)
    coloured = np.abs(drawn - 128).max(axis=2) > 20
    assert coloured[:60].all() and not coloured[-60:].any()
    crop = HeatMap("a", np.ones((2, 2), np.float32), True, (96, 96), "bilinear-short96-floor")
    middle = np.abs(np.asarray(overlaid(data, crop, 300), int) - 128).max(axis=2) > 20
    assert middle[80:220].all() and not middle[:70].any() and not middle[-70:].any()
