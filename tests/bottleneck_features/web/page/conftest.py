"""A service of a model of three surfaces, and its page in a browser that may ask for nothing else."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from helpers.web.served_page import Open, Opened, Served, serving
from playwright.sync_api import Browser

import pipeline

WAIT = 120_000  # milliseconds: on a machine that does much else


@pytest.fixture(scope="session")
def model(surfaces: Path, warm_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of three surfaces; its cache is a copy of the warm one, its own folder of pictures too."""
    folder = tmp_path_factory.mktemp("served")
    cache = Path(shutil.copytree(warm_cache, folder / "cache"))
    pictures = Path(shutil.copytree(surfaces, folder / "pictures"))
    saved = folder / "surfaces.joblib"
    pipeline.train(str(pictures), backbone="nano", cache_dir=str(cache), model=str(saved))
    pipeline.load(str(saved)).heatmaps([str(pictures / "grass" / "grass.0.png")])  # its network is converted once
    return saved


@pytest.fixture(scope="session")
def served(model: Path) -> Iterator[Served]:
    with serving(model) as found:
        yield found


@pytest.fixture
def opened(browser: Browser) -> Open:
    """Open the page of a service: it asks this host alone, breaks no policy, and is no wider than the window.

    refused: statuses that the browser notes in its console.
    """

    @contextmanager
    def open_page(
        served: Served, scheme: Any = "light", refused: tuple[int, ...] = (), **options: Any
    ) -> Iterator[Opened]:
        context = browser.new_context(color_scheme=scheme, **options)
        context.set_default_timeout(WAIT)
        page = context.new_page()
        found = Opened(page)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: found.complaints.append(message.text))
        page.on("pageerror", lambda error: found.complaints.append(str(error)))
        page.goto(served.url)
        yield found
        elsewhere = [url for url in asked if not url.startswith((served.url + "/", f"blob:{served.url}/"))]
        assert elsewhere == []
        known = tuple(f"Failed to load resource: the server responded with a status of {status}" for status in refused)
        assert [text for text in found.complaints if not text.startswith(known or "\0")] == []
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        context.close()

    return open_page
