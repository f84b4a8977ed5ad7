"""What the page says when the service does not answer, and that what failed is asked again."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers.web.served_page import Open, Served, serving
from playwright.sync_api import Request

from featurize.extract.forward import WORKERS


@pytest.fixture
def nothing(tmp_path: Path) -> Path:
    """A file that is no picture."""
    path = tmp_path / "notes.jpg"
    path.write_bytes(b"hello")
    return path


def test_what_is_no_picture_is_said_beside_the_answers(
    served: Served, opened: Open, surfaces: Path, nothing: Path
) -> None:
    with opened(served, refused=(422,)) as tab:
        tab.choose(nothing, surfaces / "brick" / "brick.0.png")
        assert "no image of a known format" in tab.texts(".card:first-child .error")[0]
        assert tab.page.locator(".retry:visible").count() == 0  # it will not become one
        assert tab.texts(".card:last-child .verdict .label") == ["brick"]


def test_too_large_a_picture_is_said_in_words(model: Path, opened: Open, surfaces: Path) -> None:
    with serving(model, max_body=100_000) as own, opened(own, refused=(413,)) as tab:
        picture = (surfaces / "brick" / "brick.0.png").read_bytes()
        tab.choose({"name": "large.png", "mimeType": "image/png", "buffer": picture + bytes(100_000)})
        assert "more than the service takes" in tab.texts(".card .error")[0]
        assert "100000 bytes" in tab.texts(".card .error")[0]
        assert tab.page.locator(".retry:visible").count() == 0  # it will not become smaller


def test_failures_among_many_pictures_are_counted_and_read_out(
    served: Served, opened: Open, surfaces: Path, nothing: Path
) -> None:
    with opened(served, refused=(422,)) as tab:
        tab.page.select_option("#accept", "")
        tab.choose(*sorted((surfaces / "brick").glob("*.png"))[:3], *[nothing] * 3)
        assert tab.texts("#summary")[0].startswith("3 answered, 3 without answer · 3 brick")
        tab.announced("3 answered, 3 without answer · 3 brick")


def test_too_many_requests_are_asked_again_by_a_button(model: Path, opened: Open, surfaces: Path) -> None:
    with serving(model, max_client=1) as own, opened(own, refused=(429,)) as tab:
        paths = sorted((surfaces / "brick").glob("*.png"))[:3]
        with own.service.client("127.0.0.1"):  # somebody of this address is being answered
            tab.choose(*paths)
            assert all("too many requests" in text and "wait 2 s" in text for text in tab.texts(".card .error"))
        tab.page.locator(".card:first-child .retry").click()
        tab.wait()
        assert tab.texts(".card:first-child .verdict .label") == ["brick"]


def test_a_busy_service_is_asked_again_for_all_pictures(model: Path, opened: Open, surfaces: Path) -> None:
    with serving(model, max_queue=1) as own, opened(own, refused=(503,)) as tab:
        paths = sorted((surfaces / "grass").glob("*.png"))[:2]
        with occupied(own):
            tab.choose(*paths)
            assert all("busy" in text for text in tab.texts(".card .error"))
        while tab.page.locator("#retry-all:visible").count():  # the one place in the line may be taken by the other one
            tab.page.locator("#retry-all").click()
            tab.wait()
        for button in tab.page.locator(".retry:visible").all():
            button.click()
            tab.wait()
        assert tab.texts(".verdict .label") == ["grass"] * 2


@contextmanager
def occupied(served: Served) -> Iterator[None]:
    """Every thread of the service works, and its line is full, until the end of the body."""
    freed, begun = threading.Event(), threading.Barrier(WORKERS + 1)
    pool = served.service._pool

    def work(_: object) -> list[None]:
        begun.wait(60)
        freed.wait(60)
        return [None]

    async def fill() -> None:
        futures = []
        for _ in range(WORKERS):
            futures += pool.put(work, 1, [None])
            while pool.waiting:  # the line has one place, until a thread has taken what is there
                await asyncio.sleep(0)
        await asyncio.to_thread(begun.wait, 60)
        futures += pool.put(lambda _: [None], 1, [None])
        full.set()
        await asyncio.gather(*futures)

    full = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(fill()))
    thread.start()
    assert full.wait(60)
    try:
        yield
    finally:
        freed.set()
        thread.join()


def test_a_service_that_has_gone_is_said(model: Path, opened: Open, surfaces: Path) -> None:
    with serving(model) as own:
        opening = opened(own)
        tab = opening.__enter__()
        tab.page.locator("#model").wait_for()
    tab.choose(surfaces / "brick" / "brick.0.png")
    assert "Is it still running?" in tab.texts(".card .error")[0]
    assert tab.page.locator(".retry").is_visible()
    tab.complaints.clear()
    opening.__exit__(None, None, None)


def test_many_pictures_come_two_at_a_time(served: Served, opened: Open, surfaces: Path) -> None:
    paths = sorted(surfaces.rglob("*.png"))[:20]
    with opened(served) as tab:
        asked, most = set(), 0

        def ends(request: Request) -> None:
            asked.discard(request)

        def begins(request: Request) -> None:
            nonlocal most
            if "/v1/predict" in request.url:
                asked.add(request)
                most = max(most, len(asked))

        tab.page.on("request", begins)
        for event in ("requestfinished", "requestfailed"):
            tab.page.on(event, ends)
        tab.choose(*paths)
        assert most == 2
        assert tab.texts(".file") == [path.name for path in paths]
        assert tab.texts("#summary")[0].startswith("20 pictures")
        tab.page.locator("#clear").click()
        assert tab.page.locator("#pictures").is_hidden()


def test_a_model_without_its_cache_says_that_it_has_no_training_pictures(
    model: Path, opened: Open, surfaces: Path, tmp_path: Path
) -> None:
    with serving(model, cache_dir=str(tmp_path / "empty")) as own, opened(own) as tab:
        tab.choose(surfaces / "brick" / "brick.0.png")
        tab.page.locator(".show-near").click()
        tab.page.locator(".near-words").wait_for()
        assert "without its cache" in tab.texts(".near-words")[0]
        assert tab.page.locator(".neighbours li").count() == 0
