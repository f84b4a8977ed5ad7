"""Where it looked, in the report: maps of the shown pictures alone, by keyboard and pointer, and without weights."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.storage.planted_objects import plant_many
from playwright.sync_api import Browser, Page

import pipeline
from bottleneck_features.report.findings import Findings

OPACITIES = "images => images.map(image => Number(getComputedStyle(image).opacity))"
BOXES = """cards => cards.map(card => {
    const [thumb, heat] = card.querySelectorAll("img");
    const box = (image) => {
        const scale = Math.min(image.clientWidth / image.naturalWidth, image.clientHeight / image.naturalHeight);
        return [image.naturalWidth * scale, image.naturalHeight * scale];
    };
    return [...box(thumb), ...box(heat)];
})"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, two of them in the wrong folder; a model whose maps are exact, and one whose maps are not."""
    folder = tmp_path_factory.mktemp("place")
    plant_many(folder / "photos", 18)
    os.rename(folder / "photos" / "gravel" / "3.png", folder / "photos" / "nothing" / "x3.png")
    os.rename(folder / "photos" / "nothing" / "5.png", folder / "photos" / "gravel" / "x5.png")
    for head in ("logreg", "knn"):
        model = str(folder / f"{head}.joblib")
        pipeline.train(
            str(folder / "photos"), head, model=model, cache_dir=str(folder / "cache"), backbone="nano", refit=True
        )
    return folder


def reported(place: Path, head: str, page: Path, **options: bool) -> Findings:
    model = str(place / f"{head}.joblib")
    return pipeline.report(str(place / "photos"), model, str(page), cache_dir=str(place / "cache"), **options)


@pytest.fixture(scope="module")
def page_of_maps(place: Path) -> tuple[Findings, Path]:
    return reported(place, "logreg", place / "page.html"), place / "page.html"


@pytest.fixture
def page(page_of_maps: tuple[Findings, Path], browser: Browser) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 1000, "height": 900})
    complaints: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.goto(page_of_maps[1].as_uri())
    yield opened
    assert not complaints
    opened.close()


def test_mistakes_and_uncertain_pictures_have_a_map_each_for_their_answer(
    page_of_maps: tuple[Findings, Path], place: Path, tmp_path: Path
) -> None:
    findings, file = page_of_maps
    shown = {*findings.mistakes, *findings.uncertain}
    assert findings.mistakes and set(findings.heatmaps) == shown and findings.forward_passes == len(shown) < 36
    assert all(heat.label == findings.pictures[number].answer for number, heat in findings.heatmaps.items())
    assert file.stat().st_size < 5e6 and "heat maps" in findings.seconds
    assert reported(place, "logreg", tmp_path / "again.html").forward_passes == 0
    without = reported(place, "logreg", tmp_path / "without.html", heatmaps=False)
    assert not without.heatmaps and "They were not asked for." in (tmp_path / "without.html").read_text()


def test_a_report_by_hiding_says_so(place: Path, tmp_path: Path) -> None:
    findings = reported(place, "knn", tmp_path / "page.html")
    assert findings.forward_passes == 36 * len(findings.heatmaps) and not any(
        heat.exact for heat in findings.heatmaps.values()
    )
    text = (tmp_path / "page.html").read_text()
    assert "with that part hidden" in text and "own sum" not in text


def test_the_maps_show_by_keyboard_and_under_the_pointer(page: Page) -> None:
    for section in ("mistakes", "uncertain"):
        heats = page.locator(f"#{section} .heat")
        assert heats.count() and set(heats.evaluate_all(OPACITIES)) == {0}
        look = page.locator(f"#{section} .look").first
        look.hover()
        assert heats.evaluate_all(OPACITIES)[0] == 1
        page.mouse.move(0, 0)
        box = page.locator(f"#{section} .looks input")
        box.focus()
        page.keyboard.press("Space")
        assert set(heats.evaluate_all(OPACITIES)) == {1}
        page.keyboard.press("Space")
        assert set(heats.evaluate_all(OPACITIES)) == {0}


def test_each_map_lies_exactly_over_its_picture_and_is_told_in_words(page: Page) -> None:
    for width, height, over, down in page.locator(".look").evaluate_all(BOXES):
        assert abs(width - over) <= 1 and abs(height - down) <= 1
    words = page.locator("#uncertain .heat").evaluate_all("images => images.map(image => image.alt)")
    assert all(text.startswith("Most of the answer comes from: ") and text[-1] != " " for text in words)


def test_without_weights_the_report_is_there_and_says_what_it_lacks(
    place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A backbone of the user's own whose file is gone: its rows are cached, its maps are not."""
    from featurize.engines.keras_import import import_keras

    keras = import_keras()
    layers = [keras.Input((32, 32, 3)), keras.layers.Conv2D(8, 3, 4, activation="relu", name="map")]
    keras.Sequential(layers).save(tmp_path / "own.keras")
    model, output, photos = str(tmp_path / "m.joblib"), tmp_path / "page.html", str(place / "photos")
    pipeline.train(photos, model=model, cache_dir=str(tmp_path / "cache"), backbone=str(tmp_path / "own.keras"))
    os.remove(tmp_path / "own.keras")
    findings = pipeline.report(photos, model, str(output), cache_dir=str(tmp_path / "cache"))
    assert not findings.heatmaps and findings.forward_passes == 0 and findings.uncertain
    assert "the report has no heat maps: weights" in caplog.text
    assert "No maps show where it looked. They are left out: weights" in output.read_text()
