"""The report as a browser shows it: one file, no request, no error; sorting, filtering, hovering; any name at all."""

import base64
import io
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import SPEC
from helpers.report_findings import findings_of, looking_for, many_classes, renamed
from PIL import Image
from playwright.sync_api import Browser, Page

import pipeline
from bottleneck_features.report.findings import DuplicateGroup, Findings, Suspect
from bottleneck_features.report.page.page import render, write_report

HOSTILE = {
    "brick": "<img src=x onerror=\"document.title='ran'\">",
    "grass": "'\"&</script><script>document.title='ran'</script>\u202egnp",
    "gravel": "g" * 300,
}
PHONE = {"width": 390, "height": 844}
SECTIONS = ["data", "accuracy", "classes", "decisions", "learning", "mistakes", "uncertain", "map"]
SECTIONS += ["copies", "suspects", "unknowns", "made"]

# What sticks out of a page that is wider than its window, and lies in nothing that scrolls by itself.
WIDER = """() => {
    const clips = (element) => getComputedStyle(element).overflowX !== "visible";
    const inside = (element) => element !== document.body && (clips(element) || inside(element.parentElement));
    const out = (element) => element.getBoundingClientRect().right > innerWidth && !inside(element);
    const all = document.documentElement.scrollWidth > innerWidth ? document.querySelectorAll("body *") : [];
    return Array.from(all).filter(out).map((element) => element.outerHTML.slice(0, 200));
}"""

Open = Callable[..., AbstractContextManager[Page]]


@pytest.fixture(scope="module")
def findings(surfaces: Path, warm_cache: Path) -> Findings:
    """Of photographs of three surfaces, with some copies, suspects and mistakes whatever the network says of them."""
    paths = sorted(str(path) for path in surfaces.rglob("*.png"))
    rows = pipeline.Featurizer(cache_dir=str(warm_cache), **SPEC).fit_transform(paths)
    found = findings_of(str(surfaces), paths, [Path(path).parent.name for path in paths], rows)
    return replace(found, mistakes=found.mistakes or found.uncertain[:5])


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Open:
    """Open the report of findings; it may ask for nothing, complain of nothing, and be no wider than the window."""

    @contextmanager
    def open_page(findings: Findings, scheme: str = "light", script: bool = True, **options: object) -> Iterator[Page]:
        file = tmp_path / "report.html"
        write_report(findings, str(file))
        context = browser.new_context(color_scheme=scheme, java_script_enabled=script, **options)
        page = context.new_page()
        requests: list[str] = []
        complaints: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(file.as_uri())
        yield page
        assert {url for url in requests if not url.startswith("data:")} == {file.as_uri()}
        assert complaints == []
        if script:
            assert page.evaluate(WIDER) == []
        context.close()

    return open_page


def column(page: Page, table: str, place: int) -> list[str]:
    return page.eval_on_selector_all(
        f"#{table} tbody tr", f"rows => rows.map(row => row.cells[{place}].textContent.trim())"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [{"width": 1280, "height": 900}, PHONE, {"width": 320, "height": 600}])
def test_every_section_is_there_in_both_schemes_at_every_width(findings, opened, scheme, viewport):
    with opened(findings, scheme, viewport=viewport) as page:
        assert page.locator("h1").count() == 1
        assert page.locator("main section").count() == page.locator("main h2").count() == len(SECTIONS)
        assert page.locator("img:not([src])").count() == 0
        loaded = "images => images.every(image => image.complete && image.naturalWidth > 0)"
        assert page.eval_on_selector_all("img", loaded)
        links = page.eval_on_selector_all("nav a", "links => links.map(link => link.getAttribute('href'))")
        assert links == [f"#{name}" for name in SECTIONS]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(findings, opened, scheme):
    """A contrast of 4.5 at least, as WCAG 2.2 asks of normal text (1.4.3)."""
    with opened(findings, scheme) as page:
        colours = page.evaluate(
            "names => names.map(name => getComputedStyle(document.documentElement).getPropertyValue(name).trim())",
            ["--ink", "--quiet", "--accent", "--wrong", "--paper", "--panel", "--wrong-soft"],
        )
    *texts, paper, panel, soft = (luminance(colour) for colour in colours)
    for text in texts:
        assert min(contrast(text, paper), contrast(text, panel)) >= 4.5
    assert contrast(texts[-1], soft) >= 4.5


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.2)."""
    values = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def contrast(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


def test_tables_sort_by_number_and_by_name(findings, opened):
    support = np.array([2, 10, 9])  # as text "10" would come first
    found = replace(findings, scores=replace(findings.scores, support=support))
    with opened(found) as page:
        names = column(page, "per-class", 0)
        button = page.locator("#per-class th", has_text="Scored").locator("button")
        button.click()
        assert column(page, "per-class", 2) == ["10", "9", "2"]
        assert page.locator("#per-class th[aria-sort=descending]").count() == 1
        button.press("Enter")
        assert column(page, "per-class", 2) == ["2", "9", "10"]
        page.locator("#per-class th", has_text="Class").locator("button").click()
        assert column(page, "per-class", 0) == sorted(names)


@pytest.mark.parametrize("gallery", ["mistakes-list", "uncertain-list", "suspects-list", "copies-list"])
def test_galleries_show_one_class(findings, opened, gallery):
    copies = [DuplicateGroup("near", [0, 1], True, False), DuplicateGroup("exact", [12, 13], False, False)]
    suspects = [Suspect(0, "grass", 0.96, 0.04, True), Suspect(20, "gravel", 0.8, 0.2, False)]
    with opened(replace(findings, near_duplicates=copies, suspects=suspects)) as page:
        cards = page.locator(f"#{gallery} > li")
        codes = [str(card.get_attribute("data-classes")).split() for card in cards.all()]
        choice = page.locator(f".filter[data-list={gallery}] select")
        wanted = codes[0][0]
        choice.select_option(wanted)
        visible = [card.is_visible() for card in cards.all()]
        assert visible == [wanted in code for code in codes]
        assert page.locator(f".filter[data-list={gallery}] output").text_content() == f"{sum(visible)} of {len(codes)}"
        choice.select_option("")
        assert all(card.is_visible() for card in cards.all())


def test_each_gallery_says_how_a_picture_of_it_is_opened_to_be_labelled(findings):
    copies = [DuplicateGroup("near", [0, 1], True, False)]
    page = render(replace(findings, near_duplicates=copies, suspects=[Suspect(0, "grass", 0.96, 0.04, True)]))
    for section in ("mistakes", "uncertain", "copies", "suspects"):
        text = page.partition(f'<section id="{section}">')[2].partition("</section>")[0]
        assert "python -m pipeline review --data FOLDER --adopt" in text and "--search FILE" in text, section


@pytest.mark.parametrize("tap", [False, True])
def test_the_map_shows_picture_and_label_of_the_dot_under_the_pointer(findings, opened, tap):
    phone = {"viewport": PHONE, "has_touch": True, "is_mobile": True}
    with opened(findings, **(phone if tap else {})) as page:
        dot = page.locator(".map circle").nth(7)
        dot.scroll_into_view_if_needed()
        box = dot.bounding_box()
        assert box
        place = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        (page.touchscreen.tap if tap else page.mouse.move)(*place)
        tip = page.locator(".tip")
        assert tip.is_visible()
        text = tip.inner_text()
        near = [p for p in findings.pictures if os.path.relpath(p.path, findings.data) in text]
        assert len(near) == 1 and near[0].label in text
        assert str(tip.locator("img").get_attribute("src")).startswith("data:image/webp;base64,")
        assert page.evaluate("document.querySelector('.tip img').naturalWidth") > 0


def test_the_map_is_walked_with_the_arrow_keys(findings, opened):
    with opened(findings) as page:
        page.locator(".map").focus()
        seen = set()
        for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "ArrowUp", "ArrowDown"):
            page.keyboard.press(key)
            assert page.locator(".map .here").count() == 1
            seen.add(page.locator(".tip").inner_text())
        assert len(seen) >= 2
        page.keyboard.press("Escape")
        assert page.locator(".tip").is_hidden()


def test_the_map_picks_out_a_class_and_wrong_answers(findings, opened):
    with opened(findings) as page:
        page.locator("#map-controls select").select_option("1")
        assert page.locator(".map circle:not(.faded)").count() == 12
        page.locator("#map-controls input").check()
        wrong = [p for p in findings.pictures if p.label == findings.classes[1] and p.answer != p.label]
        assert page.locator(".map circle:not(.faded)").count() == len(wrong)


def test_names_are_shown_and_never_run(findings, opened):
    path = f"{findings.data}/\udcff\u202e{'l' * 300}\"><script>document.title='ran'</script>.png"
    pictures = [replace(findings.pictures[0], path=path), *findings.pictures[1:]]
    renamed_ones = renamed(replace(findings, pictures=pictures), HOSTILE)
    strange = replace(renamed_ones, failures=[(path, "<b>damaged</b>")], advice="<i>no</i>")
    with opened(strange, viewport=PHONE) as page:
        assert "ran" not in page.title()
        assert page.locator("main b, main i, main section script, img[onerror]").count() == 0
        shown = str(page.locator("main").text_content())
        assert "\u202e" not in shown
        assert HOSTILE["brick"] in shown and "\\u202egnp" in shown and "\\xff\\u202e" in shown
        page.locator("#mistakes-list > li").first.wait_for()
        page.locator(".map").focus()
        page.keyboard.press("ArrowRight")
        assert page.locator(".tip").is_visible()


def test_nothing_that_slips_into_the_page_would_run(findings, browser, tmp_path):
    """What the Content-Security-Policy is for: markup that had got past the escaping."""
    slipped = "<script>document.title='ran'</script><img src=x onerror=\"document.title='ran'\">"
    page = browser.new_page()
    html = render(findings).replace("</main>", slipped + "</main>")
    without = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    titles = []
    for number, text in enumerate((html, without)):
        file = tmp_path / f"{number}.html"
        file.write_text(text, encoding="utf-8")
        page.goto(file.as_uri())
        titles.append(page.title())
    assert titles[0].startswith("What the classifier learnt")
    assert titles[1] == "ran"
    page.close()


def test_the_file_names_no_other_file_and_no_address(findings):
    html = render(findings)
    outside = re.sub(r"data:image/webp;base64,[A-Za-z0-9+/=]+", "", html)
    assert not re.search(r"https?:|//[a-z]|url\(|@import|\sstyle=", outside)
    assert set(re.findall(r'(?:src|href)="([^"]*)"', outside)) <= {"", "data:,", *(f"#{name}" for name in SECTIONS)}
    assert "default-src &#39;none&#39;; img-src data:;" in html


def test_each_picture_is_in_the_file_once(findings):
    html = render(findings)
    uris = re.findall(r"data:image/webp;base64,[A-Za-z0-9+/=]+", html)
    assert len(uris) == len(set(uris)) == len(findings.pictures)
    assert all(max(pixels(uri).size) <= 240 for uri in uris)


def pixels(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_files_that_are_gone_or_damaged_by_now_are_said_so(findings, opened, tmp_path):
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(Path(findings.pictures[1].path).read_bytes()[:200])
    first, second, *others = findings.pictures
    pictures = [replace(first, path=str(tmp_path / "gone.png")), replace(second, path=str(damaged)), *others]
    lost = replace(findings, pictures=pictures, mistakes=[0, 1, 2])
    with opened(lost) as page:
        assert page.locator("#mistakes-list > li > .gone").count() == 2
        assert "2 pictures that could not be opened" in page.locator("#made").inner_text()


def test_without_a_script_pictures_and_numbers_are_there(findings, opened):
    with opened(findings, script=False) as page:
        assert page.locator("#uncertain-list > li").count() == len(findings.uncertain)
        assert page.locator("img[src]").count() >= 12
        assert page.locator(".filter:visible").count() == 0


def test_a_report_of_nothing_special_is_calm(findings, opened):
    bare = replace(
        findings,
        failures=[],
        baselines=[],
        calibration=[],
        epochs={},
        learning_curve=[],
        mistakes=[],
        uncertain=[],
        near_duplicates=[],
        suspects=[],
        unknowns=[],
        seconds={},
    )
    with opened(bare) as page:
        assert page.locator("main h2").count() == len(SECTIONS)
        text = page.locator("main").inner_text()
    for sentence in (
        "Every file could be used",
        "No label stands out",
        "No two pictures are near-duplicates",
        "No learning curve",
    ):
        assert sentence in text


def test_120_classes_stay_readable(findings, opened):
    found = many_classes(findings, 120)
    for viewport in ({"width": 1280, "height": 900}, PHONE):
        with opened(found, viewport=viewport) as page:
            assert page.locator("table.matrix").count() == 0
            assert page.locator("#overview rect").count() == 240
            assert page.locator("#pairs tbody tr").count() == 30
            page.locator("#overview").scroll_into_view_if_needed()
            page.locator("#overview rect.miss").nth(3).hover()
            said = page.locator("#overview-text").inner_text()
            assert re.fullmatch(r"(.*), answered (?!\1)(.*): 1 \(25\.0%\)", said)
            page.locator("#map-controls select").select_option("5")
            assert page.locator(".map .chosen").count() == 4
            assert page.locator("#per-class tbody tr").count() == 120


def test_two_classes_have_a_table_of_four_cells(findings, opened):
    with opened(many_classes(findings, 2)) as page:
        assert page.locator("table.matrix tbody td").all_inner_texts() == ["3", "1", "1", "3"]


@pytest.mark.parametrize("script", [True, False])
def test_the_matrix_shows_shares_of_each_class_by_the_keyboard_alone(findings, opened, script):
    with opened(many_classes(findings, 2), script=script) as page:
        page.locator(".choice input").first.focus()
        page.keyboard.press("ArrowDown")
        assert page.locator("table.matrix tbody td").all_inner_texts() == ["75.0%", "25.0%", "25.0%", "75.0%"]


@pytest.mark.parametrize("viewport", [{"width": 1280, "height": 900}, PHONE])
def test_one_class_of_two_has_its_scores_and_curves(findings, opened, viewport):
    found = looking_for(findings, 0.01)
    with opened(found, viewport=viewport) as page:
        section = page.locator("#accuracy")
        assert section.locator("svg[aria-label^='ROC curve'], svg[aria-label^='Precision by recall']").count() == 2
        text = section.inner_text()
        assert found.classes[1] in text and "1.0% are of it" in text
        for value, *_ in found.positive.values.values():
            assert f"{100 * value:.1f}%" in text
    with opened(looking_for(findings, None), viewport=viewport) as page:
        assert "are of it" not in page.locator("#accuracy").inner_text()


def test_intervals_over_groups_are_said_to_be(findings, opened):
    grouped = replace(findings.scores, interval_method="bootstrap over groups", interval_groups=40)
    with opened(replace(findings, scores=grouped)) as page:
        text = page.locator("#accuracy").inner_text()
    assert "The intervals are 95%, over 40 groups." in text


def test_the_report_is_written_whole_or_not_at_all(findings, tmp_path):
    target = tmp_path / "report.html"
    target.write_text("before", encoding="utf-8")
    broken = replace(findings, map=findings.map[:3])
    with pytest.raises(IndexError):
        write_report(broken, str(target))
    assert target.read_text(encoding="utf-8") == "before"
    assert os.listdir(tmp_path) == ["report.html"]
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write_report(findings, str(tmp_path / "folder"))


def test_the_same_findings_give_the_same_file(findings):
    assert render(findings) == render(findings)


def test_what_the_script_reads_is_json(findings):
    block = re.search(r'<script type="application/json" id="findings">(.*?)</script>', render(findings), re.DOTALL)
    assert block
    data = json.loads(block[1])
    assert len(data["points"]) == len(findings.pictures)
    assert data["classes"] == findings.classes
