"""Pull from a web server that lists its folders: read only, without ranges, and failing now and then."""

import logging
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from helpers.storage.cached_rows import SPEC, filled, keys, rows

from cache.remote.other_side import StorageError
from cache.remote.pull import pull
from cache.remote.push import push
from cache.store import FeatureStore


class FailingOnce(SimpleHTTPRequestHandler):
    """Each address fails the first time that it is asked for."""

    asked: set[tuple[str, str]]

    def send_head(self):  # type: ignore[no-untyped-def]
        asked = (self.command, self.path)
        if asked not in self.asked:
            self.asked.add(asked)
            self.send_error(503)
            return None
        return super().send_head()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def page(tmp_path: Path) -> Iterator[str]:
    """The address of the folder `nas` as pages."""
    (tmp_path / "nas").mkdir()
    FailingOnce.asked = set()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(FailingOnce, directory=str(tmp_path / "nas")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_rows_are_pulled_from_pages(tmp_path: Path, page: str, caplog: pytest.LogCaptureFixture) -> None:
    push(str(filled(tmp_path / "a", 3, 2).folder.rpartition("/")[0]), str(tmp_path / "nas"))
    with caplog.at_level(logging.INFO, "bottleneck"):
        assert pull(str(tmp_path / "b"), page).rows == 5
    assert (FeatureStore(str(tmp_path / "b"), SPEC).read(keys(5)) == rows(5)).all()
    assert any("asked again, after an error" in message for message in caplog.messages)


def test_pages_cannot_be_pushed_to(tmp_path: Path, page: str) -> None:
    filled(tmp_path / "a", 3)
    with pytest.raises(StorageError, match=page):
        push(str(tmp_path / "a"), page)
