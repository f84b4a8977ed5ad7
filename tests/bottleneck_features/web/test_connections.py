"""Slow connections end, large bodies are refused, thousands keep nobody out, what is in flight is answered."""

import json
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from helpers.services import PATIENCE, Client, command, serving

from bottleneck_features.web.transport import bodies, connections

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX")
HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"


@contextmanager
def connected(port: int, sent: bytes = b"") -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as one:
        one.sendall(sent)
        yield one


def answer(one: socket.socket) -> tuple[int, dict[str, object]]:
    """Status and problem of a raw answer, after which the connection is closed."""
    with one.makefile("rb") as file:
        said = file.read()
    head, _, body = said.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


@pytest.fixture
def hasty(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A service that waits for little: what it takes minutes for is there at once."""
    monkeypatch.setattr(connections, "IDLE_SECONDS", 1)
    monkeypatch.setattr(bodies, "WINDOW", 1)
    with serving(trained, max_body=100_000, max_connections=40) as client:
        yield client


def test_slow_requests_end(hasty: Client, pictures: list[bytes]) -> None:
    with connected(hasty.port) as silent, connected(hasty.port, b"GET /healthz HTT") as slow:
        assert silent.recv(100) == b"", "closed without a word"
        assert answer(slow)[0] == 408
    with connected(hasty.port, HEAD + b"Content-Length: 90000\r\n\r\n" + b"x" * 70_000) as stalled:
        said = stalled.recv(1000)
        assert b" 408 " in said, "though the first piece came in time"
    with connected(hasty.port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n") as kept:
        assert b" 200 " in kept.recv(1000)
        while kept.recv(1000):
            pass
    hasty.ask(pictures[0])


def test_huge_bodies_are_refused_by_their_header_and_by_their_bytes(hasty: Client, pictures: list[bytes]) -> None:
    with connected(hasty.port, HEAD + b"Content-Length: 1073741824\r\n\r\n") as declared:
        assert b" 413 " in declared.recv(1000)
    with connected(hasty.port, HEAD + b"Content-Length: 99999999999999999999999999\r\n\r\n") as absurd:
        assert absurd.recv(1000)[9:12] in (b"400", b"413")
    sent = 0
    with connected(hasty.port, HEAD + b"Transfer-Encoding: chunked\r\n\r\n") as endless, pytest.raises(OSError):
        while sent < 2**30:
            endless.sendall(b"100000\r\n" + b"x" * 2**20 + b"\r\n")
            sent += 2**20
    assert 0 < sent < 2**27, "it does not listen to all of it"
    assert hasty.service.memory._taken == 0
    hasty.ask(pictures[0])


@pytest.mark.parametrize(
    ("status", "sent"),
    [
        (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        (400, b"NO HTTP\r\n\r\n"),
        (431, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 600_000),
        (431, b"GET /" + b"x" * 600_000),
        (400, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 1000 + b"\r\n"),
    ],
)
def test_what_is_no_request_is_a_problem(client: Client, status: int, sent: bytes) -> None:
    with connected(client.port) as one:
        threading.Thread(target=lambda: one.sendall(sent), daemon=True).start()
        said = b""
        try:
            while chunk := one.recv(1000):
                said += chunk
        except ConnectionResetError:  # it does not read on
            pass
    if said:
        assert int(said.split()[1]) == status and b"application/problem+json" in said
    assert client.get("/healthz").status_code == 200


def test_more_connections_than_may_be_close_those_that_wait(hasty: Client, pictures: list[bytes]) -> None:
    stalled = HEAD + b"Content-Length: 90000\r\n\r\n"
    others = [socket.create_connection(("127.0.0.1", hasty.port)) for _ in range(200)]
    for one in others[::2]:
        one.send(stalled)
    for _ in range(3):
        hasty.ask(pictures[0])
    with connected(hasty.port, HEAD + b"Content-Length: %d\r\n\r\n" % len(pictures[0]) + pictures[0]) as new:
        assert b" 200 " in new.recv(1000)
    for one in others:
        one.close()


def test_ten_thousand_connections_keep_nobody_out_and_the_end_is_graceful(trained: Path, pictures: list[bytes]) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = min(10_000, (hard if hard != resource.RLIM_INFINITY else 20_000) - 500)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    words = ("serve", "--model", str(trained), "--port", "0")
    others = []
    try:
        with (
            command(*words) as service,
            httpx.Client(base_url=service.url, timeout=PATIENCE, trust_env=False) as client,
        ):
            for number in range(most):
                others.append(socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE))
                if number % 3 == 0:
                    others[-1].send(HEAD + b"Content-Length: 90000\r\n\r\nx")
                if number % 1000 == 0:
                    assert client.post("/v1/predict", content=pictures[0]).status_code == 200
            assert client.post("/v1/predict", content=pictures[0]).status_code == 200
            for one in others:
                one.close()
            others.clear()
            half = len(pictures[0]) // 2
            others += [socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE) for _ in range(8)]
            head = HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(pictures[0])
            for one in others:
                one.sendall(head)
                assert b" 100 " in one.recv(1000), "its body is waited for"
                one.sendall(pictures[0][:half])
            service.process.send_signal(signal.SIGTERM)
            for one in others:
                one.sendall(pictures[0][half:])
            assert all(b" 200 " in one.recv(1000) for one in others), "what is in flight is answered"
            assert service.stop(0) == 0
            assert service.lines[-1].startswith("stopped") and "Traceback" not in "".join(service.lines)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for one in others:
            one.close()
