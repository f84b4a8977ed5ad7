"""The page to label on, served in a thread of the test's process, and opened in a browser."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from playwright.sync_api import Page

import pipeline
from bottleneck_features.review.folders import adoptable
from bottleneck_features.review.review_folder import OF_FOLDER, open_session
from bottleneck_features.review.run_review import application
from bottleneck_features.review.session import Session
from bottleneck_features.review.train_and_save import Project, Training
from bottleneck_features.web.transport.run_server import SETTINGS
from classify.labelling.label_log import open_log
from classify.labels.read_labels import find_labelled

TOKEN = "a token"


def surface_of(name: str) -> str:
    """What a picture of the flat folder shows, by the first word of its name."""
    return name.partition(".")[0]


@dataclass(frozen=True)
class Reviewed:
    """Where the page answers, and the session behind it."""

    url: str
    session: Session
    training: Training

    @property
    def address(self) -> str:
        return f"{self.url}/#{TOKEN}"

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """The answer to a request with the token; headers given as None are left out."""
        headers = {"authorization": f"Bearer {TOKEN}"} | options.pop("headers", {})
        kept = {name: value for name, value in headers.items() if value is not None}
        return httpx.request(method, f"{self.url}{path}", headers=kept, timeout=300, **options)


@contextmanager
def reviewing(data: Path, labels: Path, cache: Path, model: Path | None = None, **spec: Any) -> Iterator[Reviewed]:
    """A session whose pictures are all there, and its page. spec: of `open_extractor`."""
    found = find_labelled(str(data))
    project = Project(str(data), str(labels), str(cache), str(model or labels.with_suffix(".joblib")), {**spec})
    extractor = pipeline.open_extractor(str(cache), **spec)
    with open_log(str(labels)) as table, contextlib.ExitStack() as stack:
        session = open_session(found, str(data), extractor, table)
        stack.callback(session.close)
        session._threads[0].join()  # all pictures are there
        training = Training(session, project)
        app = application(session, training, TOKEN, lambda: adoptable(table, found, str(data), OF_FOLDER))
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        server = uvicorn.Server(uvicorn.Config(app, **SETTINGS | {"lifespan": "off"}))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        stack.callback(thread.join)
        stack.callback(setattr, server, "should_exit", True)
        yield Reviewed(f"http://127.0.0.1:{listener.getsockname()[1]}", session, training)


@dataclass
class Opened:
    """The page in a tab, and what the browser complains of."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def queue(self, name: str) -> None:
        """Open a queue by its tab, and wait until its pictures are there."""
        self.page.locator(f"[data-queue={name}]").click()
        self.ready()
        self.page.locator("#grid").focus()

    def all_called(self) -> None:
        """Open `Confirm` with all that the model calls the first class, however unsure it is."""
        self.queue("confirm")
        self.page.locator("#least").focus()
        self.press("Home")
        self.page.locator("label[for=least] output", has_text="0%").wait_for()
        self.ready()
        self.page.locator("#grid").focus()

    def ready(self) -> None:
        """Wait until the queue is loaded and no label is on its way."""
        self.page.locator("#grid:not([aria-busy], [data-saving])").wait_for(state="attached")

    def tiles(self, selector: str = ".tile") -> list[str]:
        """What is said of each picture to those who hear the page."""
        return [str(one.get_attribute("aria-label")) for one in self.page.locator(selector).all()]

    def announced(self, words: str) -> None:
        """Wait until those who hear the page are told these words; what was said until then is heard only once."""
        said = self.page.locator("#announce p", has_text=words).first
        said.wait_for(state="attached")
        said.evaluate("said => { while (said.previousSibling) said.previousSibling.remove(); said.remove(); }")


@contextmanager
def tab(browser: Any, address: str, **options: Any) -> Iterator[Opened]:
    """The page in a context of its own."""
    context = browser.new_context(**options)
    context.set_default_timeout(60_000)
    page = context.new_page()
    opened = Opened(page)
    page.on("pageerror", lambda error: opened.complaints.append(str(error)))
    page.on("console", lambda message: message.type == "error" and opened.complaints.append(message.text))
    page.goto(address)
    page.locator(".tile, #empty:not([hidden])").first.wait_for()
    opened.ready()
    try:
        yield opened
    finally:
        context.close()
