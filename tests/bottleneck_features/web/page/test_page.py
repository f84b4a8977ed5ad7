"""What the page shows of pictures, in headless Chromium: answers, decisions, heat maps, what the model is."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.files.heif_files import heic
from helpers.web.served_page import Open, Served, serving
from PIL import Image
from skimage import data as photographs

import pipeline
from featurize.pictures.in_memory import file_of_picture

PHONE = {"width": 390, "height": 844}
SHOWN = 5  # probabilities of a picture


def png(name: str, pixels: np.ndarray) -> dict[str, Any]:
    """A photograph as the browser takes a file."""
    data, _ = file_of_picture(Image.fromarray(pixels), name)
    return {"name": name, "mimeType": "image/bmp", "buffer": data}


# Whether the words of a label begin beside its box, not below.
BESIDE = """label => {
    const words = document.createRange();
    words.selectNodeContents(label.lastChild);
    return words.getBoundingClientRect().top < label.querySelector("input").getBoundingClientRect().bottom;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [{"width": 1280, "height": 900}, PHONE, {"width": 320, "height": 600}])
def test_answers_are_those_of_the_model_in_both_schemes_at_every_width(
    served: Served, opened: Open, model: Path, surfaces: Path, scheme: str, viewport: dict[str, int]
) -> None:
    chosen = [surfaces / name / f"{name}.{number}.png" for number, name in enumerate(("brick", "grass", "gravel"))]
    expected = pipeline.load(str(model)).predict_proba([str(path) for path in chosen], use_cache=False)
    with opened(served, scheme, viewport=viewport) as tab:
        tab.choose(*chosen)
        assert tab.texts(".file") == [path.name for path in chosen]
        assert tab.texts(".verdict .label") == [path.parent.name for path in chosen]
        for card, probabilities in zip(tab.page.locator(".card").all(), expected, strict=True):
            shown = [float(width) for width in card.locator(".fill").evaluate_all(
                "bars => bars.map(bar => bar.getAttribute('width'))"
            )]  # fmt: skip
            np.testing.assert_allclose(shown, 100 * np.sort(probabilities)[::-1], atol=0.01)
        loaded = "images => images.every(image => image.complete && image.naturalWidth > 0)"
        assert tab.page.locator(".card img.picture").evaluate_all(loaded)
        assert tab.page.locator(".of-reject").evaluate(BESIDE)


def test_the_page_says_what_the_model_is(served: Served, opened: Open, model: Path) -> None:
    record = json.loads(model.with_suffix(".json").read_text())
    accuracy, (low, high) = record["metrics"]["accuracy"], record["metrics"]["accuracy_interval"]
    with opened(served) as tab:
        tab.page.locator("#model").wait_for()
        said = " ".join(tab.texts("#facts dd") + tab.texts("#recipe dd") + tab.texts("#made"))
        for words in ("brick, grass, gravel", "nano", "logreg", f"{record['metrics']['n']}", record["created"][:4]):
            assert words in said
        assert [share(value) in said for value in (accuracy, low, high)] == [True] * 3


def share(value: float) -> str:
    return f"{100 * value:.1f}%"


def test_a_picture_unlike_the_training_is_called_unknown_in_words(served: Served, opened: Open, model: Path) -> None:
    coffee = png("coffee.bmp", photographs.coffee())
    assert pipeline.load(str(model)).predict([coffee["buffer"]], reject=0.95).tolist() == [None]
    with opened(served) as tab:
        tab.page.select_option("#accept", "")
        tab.choose(coffee)
        assert tab.texts(".decision strong") == ["Unknown"]
        assert tab.texts(".verdict .label") == ["No label"]
        assert "1 unknown" in tab.texts("#summary")[0]
        tab.announced("coffee.bmp: No label, Unknown")
        tab.page.uncheck("#reject")
        tab.wait()
        assert tab.page.locator(".decision").is_hidden()
        assert tab.texts(".verdict .label")[0] in ("brick", "grass", "gravel")


def test_decisions_that_the_model_cannot_make_are_said_and_left_out(
    served: Served, opened: Open, surfaces: Path
) -> None:
    refusal = served.post("/v1/predict?accept=0.99", (surfaces / "grass" / "grass.0.png").read_bytes())
    assert refusal.status_code == 422
    with opened(served, refused=(422,)) as tab:
        tab.page.select_option("#accept", "0.99")
        tab.choose(*sorted((surfaces / "grass").glob("*.png"))[:4])
        assert tab.texts(".verdict .label") == ["grass"] * 4
        assert refusal.json()["detail"] in tab.texts("#cannot")[0]
        assert tab.page.locator("#accept").input_value() == ""


def test_decisions_are_shown_in_words(served: Served, opened: Open, surfaces: Path) -> None:
    paths = sorted(surfaces.rglob("*.0.png"))
    words = {"accept": "Accepted", "review": "To be reviewed", "unknown": "Unknown"}
    expected = []
    for path in paths:
        (answer,) = served.post("/v1/predict?accept=0.8&reject=0.95", path.read_bytes()).json()["answers"]
        expected.append(words[answer["decision"]])
    with opened(served) as tab:
        tab.page.select_option("#accept", "0.8")
        tab.choose(*paths)
        assert tab.texts(".decision strong") == expected


def test_what_the_browser_cannot_show_is_answered_all_the_same(served: Served, opened: Open) -> None:
    pytest.importorskip("pi_heif")
    with opened(served) as tab:
        tab.choose({"name": "phone.heic", "mimeType": "image/heic", "buffer": heic("grid")})
        assert tab.page.locator(".gone").is_visible() and tab.page.locator("img.picture").is_hidden()
        assert len(tab.texts(".bars li")) == 3
        tab.page.locator(".show-heat").click()
        tab.page.locator("canvas.heat").wait_for()
        width, height = tab.page.locator("canvas.heat").evaluate("canvas => [canvas.width, canvas.height]")
        assert width == height > 0  # what the network sees, a square


def test_the_heat_map_lies_over_the_picture_and_goes_again(served: Served, opened: Open, surfaces: Path) -> None:
    path = surfaces / "grass" / "grass.3.png"
    heat = served.post("/v1/heatmap", path.read_bytes()).json()
    with opened(served) as tab:
        tab.choose(path)
        button = tab.page.locator(".show-heat")
        button.click()
        canvas = tab.page.locator("canvas.heat")
        canvas.wait_for()
        assert button.get_attribute("aria-pressed") == "true"
        assert tab.page.locator("img.picture").is_hidden()
        assert "heat map of grass" in str(canvas.get_attribute("aria-label"))
        assert heat["place"] in tab.texts(".heat-words")[0]
        tab.announced("Where it sees grass")
        button.click()
        assert canvas.is_hidden() and tab.page.locator("img.picture").is_visible()
        assert button.get_attribute("aria-pressed") == "false"


def test_nearest_training_pictures_come_with_label_and_thumbnail(served: Served, opened: Open, surfaces: Path) -> None:
    path = surfaces / "gravel" / "gravel.3.png"
    near = served.post("/v1/nearest?count=6", path.read_bytes()).json()["pictures"]
    with opened(served) as tab:
        tab.choose(path)
        tab.page.locator(".show-near").click()
        tab.page.locator(".neighbours img").last.wait_for()
        assert tab.texts(".neighbours .name") == [one["label"] for one in near]
        assert tab.texts(".neighbours .share") == [f"{one['similarity']:.2f}" for one in near]
        alternatives = tab.page.locator(".neighbours img").evaluate_all("images => images.map(image => image.alt)")
        assert alternatives == [f"Training picture of {one['label']}" for one in near]


def test_names_of_files_are_shown_as_text(served: Served, opened: Open, surfaces: Path) -> None:
    name = "<img src=x onerror=alert(1)>\u202egnp.png"
    with opened(served) as tab:
        tab.choose({"name": name, "mimeType": "image/png", "buffer": (surfaces / "grass/grass.0.png").read_bytes()})
        assert tab.texts(".file") == ["<img src=x onerror=alert(1)>\\u{202e}gnp.png"]
        assert tab.page.locator(".file img").count() == 0


def test_another_model_that_is_put_in_place_is_shown(model: Path, opened: Open, surfaces: Path, tmp_path: Path) -> None:
    """Reasons for the answer of the old model go with it."""
    copies = [
        tmp_path / f"served{path.suffix}" for path in (model, model.with_suffix(".npz"), model.with_suffix(".json"))
    ]
    for path, copy in zip((model, model.with_suffix(".npz"), model.with_suffix(".json")), copies, strict=True):
        shutil.copy(path, copy)
    cache = str(model.parent / "cache")
    with serving(copies[0], cache_dir=cache) as own, opened(own) as tab:
        tab.choose(surfaces / "grass" / "grass.0.png")
        tab.page.locator(".show-heat").click()
        tab.page.locator("canvas.heat").wait_for()
        pipeline.train(
            str(surfaces), backbone="nano", head="ridge", cache_dir=cache, model=str(copies[0]), label_from="innermost"
        )
        own.service.reload()
        tab.page.select_option("#accept", "")
        tab.page.locator("#recipe", has_text="ridge").wait_for()
        assert tab.page.locator("canvas.heat").is_hidden()


def test_answers_of_the_model_before_are_marked_and_left_out_of_the_sum(
    model: Path, opened: Open, surfaces: Path, tmp_path: Path
) -> None:
    for path in (model, model.with_suffix(".npz"), model.with_suffix(".json")):
        shutil.copy(path, tmp_path / f"served{path.suffix}")
    other = {"cache_dir": str(model.parent / "cache"), "model": str(tmp_path / "served.joblib")}
    with serving(tmp_path / "served.joblib", cache_dir=other["cache_dir"]) as own, opened(own) as tab:
        tab.page.select_option("#accept", "")
        tab.page.uncheck("#reject")
        tab.choose(surfaces / "grass" / "grass.0.png")
        assert tab.page.locator(".before:visible").count() == 0
        pipeline.train(str(surfaces), backbone="nano", head="ridge", **other)
        own.service.reload()
        tab.choose(surfaces / "brick" / "brick.0.png")
        tab.page.locator("#summary", has_text="2 pictures · 1 brick · 1 by the model before").wait_for()
        old = tab.page.locator(".card", has=tab.page.locator(".before:visible"))
        assert old.locator(".file").all_text_contents() == ["grass.0.png"]
        assert old.locator(".show-heat:visible, .show-near:visible").count() == 0  # those of the model in place
        old.locator(".retry").click()
        tab.page.locator("#summary", has_text="2 pictures · 1 brick, 1 grass").wait_for()
        assert tab.page.locator(".before:visible, .retry:visible").count() == 0
        assert tab.page.locator(".show-near:visible").count() == 2
