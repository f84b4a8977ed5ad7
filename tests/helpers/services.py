"""Services for tests: in a thread of this process, or as the command in a process of its own."""

import contextlib
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from conftest import REPOSITORY

import pipeline
from bottleneck_features.web.service import Service
from bottleneck_features.web.transport.run_server import SETTINGS, listening

PATIENCE = 120  # seconds


class Client(httpx.Client):
    """Asks a service that runs in this process."""

    service: Service
    port: int

    def ask(self, *pictures: bytes, **query: Any) -> dict[str, Any]:
        """The answer to pictures, sent as a form."""
        found = self.post(
            "/v1/predict", files=[("picture", (str(n), one)) for n, one in enumerate(pictures)], params=query
        )
        assert found.status_code == 200, found.text
        said: dict[str, Any] = found.json()
        return said


@contextlib.contextmanager
def serving(model: Path, **options: Any) -> Iterator[Client]:
    """A client of a service in a thread of this process."""
    app = pipeline.create_app(str(model), **options)
    with listening("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(app, **SETTINGS))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            alone = httpx.Limits(max_keepalive_connections=0)  # a kept one may be closed as it is used again
            with Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE, trust_env=False, limits=alone) as client:
                client.service, client.port = app.service, port
                assert client.get("/healthz").status_code == 200
                yield client
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
            assert not thread.is_alive()


class Command:
    """`python -m pipeline serve` or another server, as a process."""

    def __init__(
        self, *words: str, module: str = "pipeline", folder: Path = REPOSITORY, announced: str = r"http://\S+?:(\d+)"
    ):
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *words],
            cwd=folder,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        self.lines: list[str] = []
        self._reading = threading.Thread(target=self._read, args=(announced,))
        self._port = 0
        self._is_there = threading.Event()
        self._reading.start()

    @property
    def port(self) -> int:
        """Where it listens; waits until it says so."""
        assert self._is_there.wait(PATIENCE) and self._port, self.lines
        return self._port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self, number: int = signal.SIGTERM) -> int:
        """The exit status after a signal."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(PATIENCE)
        self._reading.join(PATIENCE)
        return status

    def _read(self, announced: str) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.lines.append(line.rstrip())
            if found := re.search(announced, line):
                self._port = int(found[1])
                self._is_there.set()
        self._is_there.set()


@contextlib.contextmanager
def command(*words: str, **options: Any) -> Iterator[Command]:
    """A server as a process, ended with the context."""
    running = Command(*words, **options)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
        running.stop()
