"""A server of the S3 protocol on loopback: a process of its own that counts requests, and can be slow or fail.

Run as a module it is that server; it prints its port as it is ready, and ends when its standard input closes.
"""

import argparse
import contextlib
import itertools
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

if TYPE_CHECKING:
    import fsspec
    import pytest

CONTROL = "/-control"  # the path of its own requests, which no bucket can have
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "very-secret-key", "AWS_REGION": "us-east-1"}
FAILED = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"


class Server:
    """The process, as a test sees it."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__).resolve())]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.endpoint = f"http://127.0.0.1:{int(self.process.stdout.readline())}"
        self._buckets = itertools.count()

    @property
    def environment(self) -> dict[str, str]:
        """What drivers go by: endpoint and credentials, and no settings of whoever runs the tests."""
        nowhere = dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), "/nonexistent")
        return {"AWS_ENDPOINT_URL": self.endpoint, **CREDENTIALS, **nowhere}

    def new_bucket(self) -> str:
        """The name of a new empty bucket."""
        name = f"bucket-{next(self._buckets)}"
        self._ask("PUT", f"/{name}")
        return name

    def counts(self) -> Counter[str]:
        """Requests since the last `reset` by kind: LIST, HEAD, GET, PUT, POST, DELETE; those that FAILED.

        And "bytes" of objects that were sent, and how many requests it has answered "at once" at most.
        """
        return Counter(json.loads(self._ask("GET", CONTROL)))

    def reset(self, failing: float = 0, latency: float = 0) -> None:
        """Count anew. A share `failing` of the requests fails from now on, and each waits for `latency` seconds."""
        self._ask("POST", CONTROL, json.dumps({"failing": failing, "latency": latency}).encode())

    def stop(self) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        with urlopen(Request(self.endpoint + path, body, method=method), timeout=60) as answer:
            found: bytes = answer.read()
        return found


class Storage:
    """A bucket of its own for a test, at `url`, such as "s3://bucket-3"."""

    def __init__(self, server: Server):
        self.server = server
        self.url = f"s3://{server.new_bucket()}"

    @property
    def files(self) -> "fsspec.AbstractFileSystem":
        """Its file system, nothing of which is remembered."""
        import fsspec

        return fsspec.filesystem("s3", use_listings_cache=False)

    def upload(self, folder: Path, name: str) -> str:
        """Put the files of a folder, except hidden ones, below `name`: their address."""
        found = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
        for start in range(0, len(found), 100):  # some at a time, not a whole folder of photographs in memory
            some = found[start : start + 100]
            self.files.pipe({f"{self.url}/{name}/{p.relative_to(folder).as_posix()}": p.read_bytes() for p in some})
        return f"{self.url}/{name}"


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """A server, stopped with the context."""
    server = Server()
    try:
        yield server
    finally:
        server.stop()


def storage_in(server: Server, monkeypatch: "pytest.MonkeyPatch") -> Iterator[Storage]:
    """The body of the fixture `storage`: an empty bucket, counts at zero, drivers that find the server."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    storage = Storage(server)
    server.reset()
    yield storage
    server.reset()


class _Counted:
    """A WSGI application in front of another: counts, waits, fails."""

    def __init__(self, application: Callable[..., Iterable[bytes]]):
        self._application = application
        self._lock = threading.Lock()
        self._now = 0
        self._restart({})

    def _restart(self, settings: dict[str, float]) -> None:
        self._counts: Counter[str] = Counter()
        self._failing, self._latency = settings.get("failing", 0), settings.get("latency", 0)
        self._random = Random(0)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if path == CONTROL:
            with self._lock:
                if method == "POST":
                    self._restart(json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))))
                body = json.dumps(self._counts).encode()
            start_response("200 OK", [("Content-Length", str(len(body)))])
            return [body]
        with self._lock:
            self._now += 1
            self._counts["at once"] = max(self._counts["at once"], self._now)
        try:
            return self._answer(environ, start_response)
        finally:
            with self._lock:
                self._now -= 1

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if self._latency:
            time.sleep(self._latency)
        is_object = len(path.strip("/").split("/")) > 1
        with self._lock:
            self._counts["LIST" if method == "GET" and not is_object else method] += 1
            fails = self._random.random() < self._failing
            self._counts["FAILED"] += fails
        if fails:
            start_response("503 Slow Down", [("Content-Length", str(len(FAILED))), ("Content-Type", "application/xml")])
            return [b"" if method == "HEAD" else FAILED]
        answer = self._application(environ, start_response)
        return answer if method != "GET" or not is_object else self._weighed(answer)

    def _weighed(self, answer: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in answer:
            with self._lock:
                self._counts["bytes"] += len(chunk)
            yield chunk
        if close := getattr(answer, "close", None):
            close()


def serve() -> None:
    """Serve on a free port until standard input closes."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    application = _Counted(DomainDispatcherApplication(create_backend_app))
    MotoRequestHandler.log = lambda *_: None  # type: ignore[method-assign]
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=MotoRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    serve()
