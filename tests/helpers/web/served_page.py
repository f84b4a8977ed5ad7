"""A service in a thread of the test's process, and its page in a browser."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from helpers import services
from playwright.sync_api import Page

from bottleneck_features.web.service import Service

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
    with services.serving(model, **{"max_seconds": 300} | options) as client:  # on a machine that does much else
        yield Served(f"http://127.0.0.1:{client.port}", client.service)


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
        """Wait until those who hear the page are told these words; what was said until then is heard only once."""
        said = self.page.locator("#announce p", has_text=words).first
        said.wait_for(state="attached")
        said.evaluate("said => { while (said.previousSibling) said.previousSibling.remove(); said.remove(); }")


Open = Callable[..., AbstractContextManager[Opened]]
