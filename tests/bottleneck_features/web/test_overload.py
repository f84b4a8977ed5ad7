"""Too much at once: what does not fit is refused and told when to come again, and the others are answered."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from helpers.services import Client, serving


class Gate:
    """The decoder of a service, which waits while it is closed."""

    def __init__(self, client: Client):
        self._decode = client.service._decoder
        self.opened = threading.Event()
        self.arrived = threading.Semaphore(0)

    def __call__(self, *arguments: Any) -> Any:
        self.arrived.release()
        assert self.opened.wait(60)
        return self._decode(*arguments)


@contextmanager
def busy(client: Client, threads: int, picture: bytes) -> Iterator[tuple[Gate, ThreadPoolExecutor, list[Future[Any]]]]:
    """Each thread of the service holds a picture; the gate opens at the end."""
    gate = Gate(client)
    client.service.model.direct.rows.decoder = gate
    with ThreadPoolExecutor(32) as pool:
        held = [pool.submit(client.post, "/v1/predict", content=picture) for _ in range(threads)]
        try:
            for _ in range(threads):
                assert gate.arrived.acquire(timeout=60)
            yield gate, pool, held
        finally:
            gate.opened.set()


def retry(found: Any, status: int) -> bool:
    return found.status_code == status and int(found.headers["retry-after"]) > 0 and found.json()["status"] == status


def threads_of(client: Client) -> int:
    return len(client.service._pool._threads)


def test_a_full_queue_is_503(trained: Path, pictures: list[bytes]) -> None:
    with serving(trained, max_queue=4) as client:
        with busy(client, threads_of(client), pictures[0]) as (_, pool, held):
            files = [("p", one) for one in pictures]
            assert retry(client.post("/v1/predict", files=files[:5]), 503), "more than ever wait"
            waiting = pool.submit(client.post, "/v1/predict", files=files[:4])
            while client.get("/healthz").json()["waiting"] < 4:
                pass
            assert retry(client.post("/v1/predict", content=pictures[1]), 503)
        assert [future.result().status_code for future in (*held, waiting)] == [200] * (len(held) + 1)


def test_too_many_requests_of_one_address_are_429(trained: Path, pictures: list[bytes]) -> None:
    with serving(trained, max_client=3) as client:
        with busy(client, 3, pictures[0]) as (_, _pool, held):
            assert retry(client.post("/v1/predict", content=pictures[1]), 429)
            assert client.get("/healthz").status_code == 200
        assert [future.result().status_code for future in held] == [200] * 3
        assert client.post("/v1/predict", content=pictures[1]).status_code == 200


def test_an_answer_that_takes_too_long_is_503(trained: Path, pictures: list[bytes]) -> None:
    with (
        serving(trained, max_seconds=0.2) as client,
        busy(client, threads_of(client), pictures[0]) as (_, _pool, held),
    ):
        assert retry(client.post("/v1/predict", content=pictures[1]), 503)
        assert all(retry(future.result(), 503) for future in held)
        assert all(job.future.cancelled() for job in client.service._pool._line)


def test_a_client_that_goes_away_is_not_answered(trained: Path, pictures: list[bytes]) -> None:
    with serving(trained) as client:
        with busy(client, threads_of(client), pictures[0]) as (gate, _pool, _held):
            before = client.service.model.direct.rows.forward_passes
            with pytest.raises(Exception, match="timed out"):
                client.post("/v1/predict", files=[("p", one) for one in pictures[:20]], timeout=1)
            while any(not job.future.cancelled() for job in [*client.service._pool._line]):
                pass
            gate.opened.set()
        client.ask(pictures[0])
        rows = client.service.model.direct.rows
        assert rows.forward_passes - before == threads_of(client) + 1, "the 20 of the one who left passed no network"


def test_large_bodies_that_stall_do_not_keep_out_small_ones(trained: Path, pictures: list[bytes]) -> None:
    with serving(trained) as client:
        client.service.memory._most = 3_000_000
        head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000\r\n\r\n"
        stalled = [socket.create_connection(("127.0.0.1", client.port)) for _ in range(2)]
        for one in stalled:
            one.sendall(head + b"x" * 1_400_000)
        while client.service.memory._taken < 2_800_000:
            pass
        client.ask(*pictures)
        assert client.post("/v1/predict", content=b"x" * 1_000_000).status_code == 422, "its kind, not its size"
        answers = []
        for one in stalled:
            one.settimeout(0.2)
            try:
                answers.append(one.recv(1000))
            except TimeoutError:
                answers.append(b"")
        assert sum(b" 503 " in answer for answer in answers) == 1, "the largest that stalls has made room"
        for one in stalled:
            one.close()
    assert client.service.memory._taken == 0
