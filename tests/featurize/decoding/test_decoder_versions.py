"""Rows and models of decoder 2: used as they are, taken over where both decoders agree, announced where they do not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from conftest import SPEC
from helpers.files.picture_files import bmp32, write_png
from PIL import Image

import pipeline
from featurize import resolve
from featurize.decoding.decode import DECODER
from featurize.extract import decoder_takeover as takeover
from featurize.extract import network_extractor as extract
from featurize.extract.cached_specs import cached_specs

BACKBONE: Any = {"backbone": "nano"}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two classes of four ordinary pictures, and two of the kinds that decoder 2 reads otherwise."""
    for name, photograph in {"coffee": skimage.data.coffee(), "cat": skimage.data.chelsea()}.items():
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        for number in range(4):
            part = Image.fromarray(photograph[20 * number :, 30 * number :])
            part.save(folder / f"{number}.{('jpg', 'png')[number % 2]}")
    (tmp_path / "data" / "coffee" / "twelve.png").write_bytes(write_png(skimage.data.coffee()[:90, :120] * 16.0))
    (tmp_path / "data" / "cat" / "unused.bmp").write_bytes(bmp32(0))
    return tmp_path / "data"


@pytest.fixture
def cache(tmp_path: Path) -> str:
    return str(tmp_path / "cache")


def as_decoder_2(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this version writes is of decoder 2, as a former version wrote it."""
    for module in (resolve, extract, takeover):
        monkeypatch.setattr(module, "DECODER", 2)


def test_rows_of_decoder_2_are_taken_over_without_a_pass_where_nothing_changed(
    pictures: Path, cache: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        as_decoder_2(monkeypatch)
        before = pipeline.features(str(pictures), cache_dir=cache, **BACKBONE)
    assert before["forward_passes"] == 10
    with caplog.at_level("INFO", "bottleneck"):
        after = pipeline.features(str(pictures), cache_dir=cache, **BACKBONE)
    assert (after["forward_passes"], after["computed"], after["cached"], after["failed"]) == (2, 2, 8, 0)
    assert "rows of decoder 2: those of 8 pictures taken over, those of 2 computed anew" in caplog.text
    assert after["features"] != before["features"]
    again = pipeline.features(str(pictures), cache_dir=cache, **BACKBONE)
    assert (again["forward_passes"], again["cached"]) == (0, 10)


@pytest.mark.parametrize("isolate", [False, True])
def test_what_is_taken_over_is_what_would_be_computed(pictures: Path, tmp_path: Path, isolate: bool) -> None:
    paths = [str(path) for path in sorted(pictures.glob("*/*"))]
    caches = [str(tmp_path / name) for name in ("old", "new")]
    with pytest.MonkeyPatch.context() as monkeypatch:
        as_decoder_2(monkeypatch)
        pipeline.open_extractor(caches[0], **SPEC).run(paths)
    (_, taken), (_, computed) = (
        pipeline.open_extractor(cache, isolate=isolate, **SPEC).features(paths) for cache in caches
    )
    assert np.abs(taken - computed).max() < 1e-4


def test_views_are_taken_over_too(pictures: Path, cache: str) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        as_decoder_2(monkeypatch)
        pipeline.features(str(pictures), cache_dir=cache, views=3, **BACKBONE)
    assert pipeline.features(str(pictures), cache_dir=cache, views=3, **BACKBONE)["forward_passes"] == 2 * 3


def test_a_model_of_decoder_2_predicts_with_decoder_2(
    pictures: Path, tmp_path: Path, cache: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = str(tmp_path / "model.joblib")
    with pytest.MonkeyPatch.context() as monkeypatch:
        as_decoder_2(monkeypatch)
        pipeline.train(str(pictures), model=model, cache_dir=cache, test_size=0.3, **BACKBONE)
        classifier = pipeline.load(model)
        expected = classifier.predict_proba(str(pictures), use_cache=False)
    classifier = pipeline.load(model, cache_dir=cache)
    assert classifier.extractor.spec.decoder == 2
    assert np.allclose(classifier.predict_proba(str(pictures)), expected, atol=1e-5)
    with caplog.at_level("WARNING", "bottleneck"):
        assert np.allclose(classifier.predict_proba(str(pictures), use_cache=False), expected, atol=1e-5)
    assert "2 pictures were read as decoder 2 did" in caplog.text
    assert f"decoder {DECODER} reads them otherwise (16-bit colours: 1, alpha channel 0 everywhere: 1)" in caplog.text


def test_unusual_pictures_are_announced_once_and_reported(
    pictures: Path, cache: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "bottleneck"):
        report = pipeline.features(str(pictures), cache_dir=cache, **BACKBONE)
    twelve, unused = str(pictures / "coffee" / "twelve.png"), str(pictures / "cat" / "unused.bmp")
    notes = {note["path"]: note["note"] for note in report["notes"]}
    assert notes[unused] == "alpha channel 0 everywhere: not used"
    assert notes[twelve].startswith("read as 12-bit numbers")
    assert len(notes) == 2
    assert f"{unused}: alpha channel 0 everywhere: not used" in caplog.text
    assert pipeline.features(str(pictures), cache_dir=cache, **BACKBONE)["notes"] == []


def test_compare_says_what_to_do_with_rows_of_decoder_2(pictures: Path, cache: str) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        as_decoder_2(monkeypatch)
        pipeline.features(str(pictures), cache_dir=cache, **BACKBONE)
    found, left_out = cached_specs(cache, [str(path) for path in pictures.glob("*/*")], {})
    assert found == []
    assert left_out[0].reason == "decoder 2, this version has 3: `features` takes its rows over"
