"""A service in a thread of the test's process, and its page in a browser."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from playwright.sync_api import Page

import pipeline
from bottleneck_features.web.service import Service
from bottleneck_features.web.transport.connections import Connection

BYTES = {"content-type": "application/octet-stream"}


@dataclass(frozen=True)
class Served:
    """Where a service answers, and the service itself."""

    url: str
    service: Service

    def post(self, path: str, data: bytes, **options: Any) -> httpx.Response:
        """The answer to a picture."""
        return httpx.post(f"{self.url}{path}", content=data, headers=BYTES, timeout=300, **options)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", timeout=300)


@contextmanager
def serving(model: Path, **options: Any) -> Iterator[Served]:
    """A service of the model, in a thread of this process. options: of `pipeline.create_app`."""
    app = pipeline.create_app(str(model), **{"max_seconds": 300} | options)  # on a machine that does much else
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, http=Connection, lifespan="on", log_config=None, access_log=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            assert httpx.get(f"{url}/healthz", timeout=120).status_code == 200  # waits in the socket until it answers
            yield Served(url, app.service)
        finally:
            server.should_exit = True
            thread.join()


@dataclass
class Opened:
    """The page in a tab, and what the browser complains of."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def choose(self, *files: Any) -> None:
        """Choose files, and wait until each has an answer or an error."""
        self.page.set_input_files("#choose", [*files])
        self.wait()

    def wait(self) -> None:
        """Wait until nothing is asked any more."""
        self.page.locator(".card[aria-busy=true]").first.wait_for(state="detached")

    def texts(self, selector: str) -> list[str]:
        return [text.strip() for text in self.page.locator(selector).all_text_contents()]

    def announced(self, words: str) -> None:
        """Wait until those who hear the page are told something with these words."""
        self.page.locator("#announce", has_text=words).wait_for(state="attached")


Open = Callable[..., AbstractContextManager[Opened]]
