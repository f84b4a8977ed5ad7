"""Photographs of three surfaces that only the test can name, a session on them, and its page in a browser."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from helpers.review.reviewed_page import Opened, Reviewed, reviewing, surface_of, tab
from playwright.sync_api import Browser

from classify.labelling.label_log import Entry

REFUSED = "Failed to load resource: the server responded with a status of "
Open = Callable[..., AbstractContextManager[Opened]]


@pytest.fixture
def flat(surfaces: Path, tmp_path: Path) -> Path:
    """All photographs in one folder: the first word of a name is what it shows."""
    folder = tmp_path / "flat"
    folder.mkdir()
    for picture in surfaces.rglob("*.png"):
        shutil.copy(picture, folder)
    return folder


@pytest.fixture
def review_cache(warm_cache: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(warm_cache, tmp_path / "cache"))


@pytest.fixture
def reviewed(flat: Path, review_cache: Path, tmp_path: Path) -> Iterator[Reviewed]:
    """A page of which no picture has a label."""
    with reviewing(flat, tmp_path / "labels.csv", review_cache, backbone="nano") as found:
        yield found


@pytest.fixture(scope="session")
def shared_reviewed(surfaces: Path, warm_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reviewed]:
    """One for tests that change nothing."""
    folder = tmp_path_factory.mktemp("reviewed")
    cache = Path(shutil.copytree(warm_cache, folder / "cache"))
    with reviewing(surfaces, folder / "labels.csv", cache, backbone="nano") as found:
        yield found


@pytest.fixture
def taught(reviewed: Reviewed) -> Reviewed:
    """The same with 18 right labels, and what is learnt of them checked."""
    names = reviewed.session.view.pictures.names
    reviewed.session.put({number: Entry(surface_of(names[number]), how="asked") for number in range(18)})
    reviewed.session.wait_until_learnt()
    return reviewed


@pytest.fixture
def opened(browser: Browser) -> Open:
    """Open a page: it asks this host alone, breaks no policy, and is no wider than the window.

    refused: statuses that the browser notes in its console. at: what the address says besides the token.
    """

    @contextmanager
    def open_page(reviewed: Reviewed, refused: tuple[int, ...] = (), at: str = "", **options: Any) -> Iterator[Opened]:
        with tab(browser, reviewed.address + at, **options) as found:
            asked: list[str] = []
            found.page.on("request", lambda request: asked.append(request.url))
            yield found
            found.ready()  # whoever leaves before that is asked
            assert [url for url in asked if not url.startswith((f"{reviewed.url}/", f"blob:{reviewed.url}/"))] == []
            known = tuple(f"{REFUSED}{status}" for status in refused)
            assert [text for text in found.complaints if not text.startswith(known or "\0")] == []
            assert found.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0

    return open_page
