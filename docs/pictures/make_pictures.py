"""The pictures of the documentation: what the demo draws, the report and the page of `review` as a browser shows them,
heat maps.

    .venv/bin/python docs/pictures/make_pictures.py

writes demo.webp, report.webp, review.webp and heatmaps.webp beside this file. All show photographs that come with
scikit-image alone. Needs what `make test` needs (`pip install -e '.[test]'`) and chromium in the PATH; takes some
minutes.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

HERE = Path(__file__).resolve().parent
CLASSES = ("brick", "coins", "fur", "grass", "gravel", "tissue")
# Crops that are put into a wrong folder, (from, number, to), and crops that are written once more as JPEG.
MISPLACED = (("fur", 3, "grass"), ("coins", 7, "brick"), ("grass", 12, "gravel"), ("tissue", 21, "fur"))
COPIED = (("brick", 20), ("gravel", 31), ("coins", 40))
QUARTER, MOSAICS = 192, 5  # side of a crop in a mosaic of four, in pixels; mosaics
WINDOW = {"width": 820, "height": 900}  # of the browser; two of them side by side
GAP = 24
PAGE = {"width": 1200, "height": 800}  # of the browser that shows the page of `review`
STACKS = 9  # that are named there
ENVIRONMENT = os.environ | {"PYTHONPATH": str(HERE.parents[1])}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        run(work, "demo")
        with Image.open(work / "surfaces-right-and-wrong.png") as drawn:
            save(drawn.convert("RGB"), "demo.webp")
        collect(work / "surfaces" / "train", work / "photos")
        run(work, "train", "--data", "photos")
        run(work, "report", "--data", "photos")
        save(beside(windows(work / "report.html", ("header", "#suspects"))), "report.webp")
        labelled(work)
        looked_at(work)


def labelled(work: Path) -> None:
    """The page of `review` on all crops in one folder, after a few stacks were named."""
    (work / "flat").mkdir()
    for path in (work / "surfaces" / "train").rglob("*.png"):
        shutil.copy(path, work / "flat" / f"{path.parent.name}-{path.name}")
    command = [sys.executable, "-m", "pipeline", "review", "--data", "flat", "--backbone", "nano", "--no-browser"]
    with subprocess.Popen(command, cwd=work, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        address = next(word for line in server.stdout for word in line.split() if word.startswith("http"))
        with sync_playwright() as playwright:
            chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            tab = chromium.new_page(viewport=PAGE, color_scheme="light")
            tab.goto(address)
            tab.locator("#computing").wait_for(state="hidden", timeout=600_000)
            tab.locator("[data-queue=ask]").click()
            tab.locator("[data-queue=start]").click()
            for _ in range(STACKS):
                tab.locator("#grid:not([aria-busy], [data-saving])").wait_for()
                name = str(tab.locator(".tile.cursor").get_attribute("aria-label")).partition("-")[0]
                tab.locator("#name").fill(name)
                tab.locator("#name").press("Enter")
            tab.locator(".curve").wait_for(timeout=600_000)
            tab.evaluate("scrollTo(0, 0)")
            tab.wait_for_timeout(1000)
            tab.screenshot(path=str(work / "review.png"))
            chromium.close()
        server.terminate()
    with Image.open(work / "review.png") as picture:
        save(picture.convert("RGB"), "review.webp")


def looked_at(work: Path) -> None:
    """Heat maps of mosaics of four surfaces: the brightest is the quarter that has the label."""
    (work / "mosaics").mkdir()
    for number in range(MOSAICS):
        mosaic = Image.new("RGB", (2 * QUARTER, 2 * QUARTER))
        for quarter in range(4):
            name = CLASSES[(number + quarter) % len(CLASSES)]
            with Image.open(sorted((work / "surfaces" / "test" / name).iterdir())[number]) as crop:
                place = quarter % 2 * QUARTER, quarter // 2 * QUARTER
                mosaic.paste(crop.convert("RGB").resize((QUARTER, QUARTER)), place)
        mosaic.save(work / "mosaics" / f"{number}.png")
    run(work, "predict", "--images", "mosaics", "--heatmap", "maps")
    sheet = Image.new("RGB", (MOSAICS * (2 * QUARTER + GAP) - GAP, 2 * QUARTER), "#ffffff")
    for number, path in enumerate(sorted((work / "maps").iterdir())):
        with Image.open(path) as drawn:
            sheet.paste(drawn, (number * (2 * QUARTER + GAP), 0))
    save(sheet, "heatmaps.webp")


def run(work: Path, *words: str) -> None:
    subprocess.run([sys.executable, "-m", "pipeline", *words], cwd=work, env=ENVIRONMENT, check=True)


def collect(surfaces: Path, photos: Path) -> None:
    """Copy the crops of `CLASSES`, with mistakes in them such as people make."""
    for name in CLASSES:
        shutil.copytree(surfaces / name, photos / name)
    for name, number, wrong in MISPLACED:
        shutil.move(photos / name / f"{number:02}.png", photos / wrong / f"{name}-{number:02}.png")
    for name, number in COPIED:
        with Image.open(photos / name / f"{number:02}.png") as picture:
            picture.convert("RGB").save(photos / name / f"{number:02}-again.jpg", quality=60)


def windows(page: Path, elements: tuple[str, ...]) -> list[Image.Image]:
    """What a browser shows of the page, scrolled to each element in turn."""
    shown = []
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = chromium.new_page(viewport=WINDOW, color_scheme="light")
        tab.goto(page.as_uri())
        for number, element in enumerate(elements):
            for _ in range(3):  # sections get their height when they are first seen
                tab.evaluate("element => document.querySelector(element).scrollIntoView()", element)
                tab.wait_for_timeout(500)
            tab.screenshot(path=f"{folder}/{number}.png")
            with Image.open(f"{folder}/{number}.png") as picture:
                shown.append(picture.convert("RGB"))
        chromium.close()
    return shown


def beside(pictures: list[Image.Image]) -> Image.Image:
    width, height = WINDOW["width"], WINDOW["height"]
    sheet = Image.new("RGB", (len(pictures) * (width + GAP) + GAP, height + 2 * GAP), "#8b949e")
    for number, picture in enumerate(pictures):
        sheet.paste(picture, (GAP + number * (width + GAP), GAP))
    return sheet


def save(picture: Image.Image, name: str) -> None:
    picture.save(HERE / name, quality=80, method=6)
    print(f"{name}: {picture.width} x {picture.height}, {(HERE / name).stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
