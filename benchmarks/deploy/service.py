"""A service under load beside `features` on the same photographs, in turns; then its answers at half that rate.

    python benchmarks/deploy/service.py --data FOLDER [--pictures 1000] [--clients 16] [--rounds 3]
    python benchmarks/deploy/service.py --data FOLDER --minutes 10
    python benchmarks/deploy/service.py --data FOLDER --connections 10000

The clients are one process with sockets that wait for nothing, so that they take little of the processors: they count,
too. Each sends a photograph when the answer to its last one is there. At half the rate they come when they are due,
whether or not others are answered, and an answer takes from then.

--minutes      full load for so long; memory, open files and threads of the service as it goes
--connections  so many that say nothing, and as many again of bodies that stall, while photographs are answered
"""

import argparse
import contextlib
import json
import os
import re
import resource
import selectors
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
SAMPLES = 20  # of a long run
TRAINED = 120  # pictures that the model is trained on: answers do not depend on how many
KINDS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")


@dataclass
class Load:
    """What the clients saw: how many answers, of which status, how long each took."""

    seconds: float = 0.0
    statuses: dict[int, int] = field(default_factory=dict)
    took: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return self.statuses.get(200, 0) / self.seconds

    @property
    def errors(self) -> int:
        return sum(count for status, count in self.statuses.items() if status != 200)

    def percentile(self, share: float) -> float:
        return sorted(self.took)[min(len(self.took) - 1, int(share * len(self.took)))]


class Client:
    """One connection that asks again and again."""

    def __init__(self, port: int):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.out = memoryview(b"")
        self.came = bytearray()
        self.began = 0.0

    def ask(self, request: bytes, began: float) -> None:
        self.out, self.began = memoryview(request), began
        self.came.clear()

    def send(self) -> bool:
        """Send what goes; whether all has gone."""
        with contextlib.suppress(BlockingIOError):
            self.out = self.out[self.socket.send(self.out) :]
        return not self.out

    def receive(self) -> int:
        """The status of the answer once all of it is there, else 0; -1 where the connection is closed."""
        with contextlib.suppress(BlockingIOError):
            chunk = self.socket.recv(65536)
            if not chunk:
                return -1
            self.came += chunk
        head, found, body = bytes(self.came).partition(b"\r\n\r\n")
        if not found:
            return 0
        length = re.search(rb"content-length: (\d+)", head)
        return int(head[9:12]) if length and len(body) >= int(length[1]) else 0


def request_for(data: bytes) -> bytes:
    head = f"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}"
    return head.encode() + b"\r\n\r\n" + data


def load(port: int, paths: list[str], clients: int, rate: float = 0, seconds: float = 0) -> Load:
    """All photographs by so many clients, each once, or again and again for `seconds`; `rate` of them a second."""
    requests = [request_for(Path(path).read_bytes()) for path in paths]
    number = len(requests) if not seconds else sys.maxsize
    selector, idle = selectors.DefaultSelector(), deque(Client(port) for _ in range(clients))
    busy: set[Client] = set()
    found, sent, start = Load(), 0, time.perf_counter()

    def next_ones() -> None:
        nonlocal sent
        while idle and sent < number:
            due = start + sent / rate if rate else time.perf_counter()
            if due > time.perf_counter() or (seconds and time.perf_counter() - start > seconds):
                return
            client = idle.popleft()
            client.ask(requests[sent % len(requests)], due)
            selector.register(client.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, client)
            busy.add(client)
            sent += 1

    while True:
        next_ones()
        over = sent >= number or (seconds and time.perf_counter() - start > seconds)
        if not busy and over:
            break
        for key, events in selector.select(max(0.0, start + sent / rate - time.perf_counter()) if rate and idle else 5):
            client = key.data
            if events & selectors.EVENT_WRITE and client.send():
                selector.modify(client.socket, selectors.EVENT_READ, client)
            status = client.receive() if events & selectors.EVENT_READ else 0
            if status:
                selector.unregister(client.socket)
                busy.discard(client)
                found.took.append(time.perf_counter() - client.began)
                found.statuses[status] = found.statuses.get(status, 0) + 1
                idle.append(client if status > 0 else Client(port))
    found.seconds = time.perf_counter() - start
    return found


def in_process(job: dict[str, Any]) -> Load:
    """`load` in a process of its own, whose time is that of the clients."""
    done = subprocess.run(
        [sys.executable, __file__, "--job", json.dumps(job)], check=True, stdout=subprocess.PIPE, text=True
    )
    said = json.loads(done.stdout)
    return Load(said["seconds"], {int(status): n for status, n in said["statuses"].items()}, said["took"])


@contextlib.contextmanager
def serving(model: str) -> Iterator[tuple[int, int]]:
    """The port and the process of a service."""
    command = [sys.executable, "-m", "pipeline", "serve", "--model", model, "--port", "0"]
    process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    try:
        for line in process.stderr:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                yield int(found[1]), process.pid
                break
        else:
            sys.exit("the service has not started")
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=90)


def features_rate(table: str, backbone: list[str], folder: str) -> float:
    """Photographs a second by `features` into an empty cache, whose converted network is there."""
    with tempfile.TemporaryDirectory(dir=folder) as empty:
        cache = os.path.join(empty, "cache")
        shutil.copytree(os.path.join(folder, "cache"), cache, ignore=shutil.ignore_patterns("*.h5"))
        command = [sys.executable, "-m", "pipeline", "features", "--labels", table, "--cache-dir", cache, *backbone]
        report = os.path.join(folder, "report.json")
        subprocess.run([*command, "--json", report], cwd=REPOSITORY, check=True, capture_output=True)
        said = json.loads(Path(report).read_text())
    return float(said["computed"] / said["seconds"])


def prepare(data: str, pictures: int, folder: str) -> tuple[list[str], str, str]:
    """Paths of photographs, spread over the folder; a table of them; one of those that the model is trained on."""
    every = sorted(str(path) for path in Path(data).resolve().rglob("*") if path.suffix.lower() in KINDS)
    chosen = every[:: max(1, len(every) // pictures)][:pictures]
    tables = []
    for name, paths in (("all.csv", chosen), ("trained.csv", chosen[:: max(1, len(chosen) // TRAINED)])):
        rows = [f'"{path}",{os.path.basename(os.path.dirname(path))}' for path in paths]
        tables.append(os.path.join(folder, name))
        Path(tables[-1]).write_text("\n".join(["path,label", *rows]) + "\n")
    return chosen, tables[0], tables[1]


def trained(table: str, backbone: list[str], folder: str) -> str:
    model = os.path.join(folder, "models", "logreg.joblib")
    words = ["--labels", table, "--model", model, "--cache-dir", os.path.join(folder, "cache"), *backbone]
    subprocess.run([sys.executable, "-m", "pipeline", "train", *words], cwd=REPOSITORY, check=True, capture_output=True)
    return model


def state_of(pid: int) -> tuple[int, int, int]:
    """Resident bytes, open files and threads of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = {name: int(re.search(rf"{name}:\s+(\d+)", status)[1]) for name in ("VmRSS", "Threads")}  # type: ignore[index]
    return found["VmRSS"] * 1024, len(os.listdir(f"/proc/{pid}/fd")), found["Threads"]


def endurance(port: int, pid: int, paths: list[str], clients: int, minutes: float) -> None:
    """Full load; what the service holds as it goes."""
    print("| minute | pictures a second | errors | memory MB | files | threads |\n|---|---|---|---|---|---|")
    for number in range(1, SAMPLES + 1):
        found = in_process({"port": port, "paths": paths, "clients": clients, "seconds": 60 * minutes / SAMPLES})
        memory, files, threads = state_of(pid)
        minute = minutes * number / SAMPLES
        print(
            f"| {minute:.1f} | {found.rate:.1f} | {found.errors} | {memory / 1e6:.0f} | {files} | {threads} |",
            flush=True,
        )


def crowded(port: int, pid: int, paths: list[str], clients: int, connections: int) -> None:
    """Photographs while others say nothing, and while bodies stall."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print("| others | open in the service | pictures a second | errors | p99 ms |\n|---|---|---|---|---|")
    stalled = (
        b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\nContent-Length: 9999999\r\n\r\n"
    )
    for name, said in (("none", None), ("say nothing", b""), ("stalled bodies", stalled + b"x" * 1000)):
        others = [] if said is None else [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
        for one in others if said else ():
            one.sendall(said or b"")
        held = state_of(pid)[1]
        found = in_process({"port": port, "paths": paths, "clients": clients})
        slow = 1000 * found.percentile(0.99)
        print(f"| {len(others)} {name} | {held} | {found.rate:.1f} | {found.errors} | {slow:.0f} |", flush=True)
        for one in others:
            one.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def compared(model: str, paths: list[str], table: str, backbone: list[str], folder: str, given: Any) -> None:
    """`features` and the service in turns; then half the rate of `features`."""
    rates: list[float] = []
    loads: list[Load] = []
    print("| round | features a second | service a second | ratio | errors | p50 ms | p99 ms |")
    print("|---|---|---|---|---|---|---|")
    for number in range(1, given.rounds + 1):
        rates.append(features_rate(table, backbone, folder))
        with serving(model) as (port, _):
            loads.append(in_process({"port": port, "paths": paths, "clients": given.clients}))
        one = loads[-1]
        print(
            f"| {number} | {rates[-1]:.1f} | {one.rate:.1f} | {one.rate / rates[-1]:.3f} | {one.errors} | "
            f"{1000 * one.percentile(0.5):.0f} | {1000 * one.percentile(0.99):.0f} |",
            flush=True,
        )
    ratio = statistics.median(one.rate / rate for one, rate in zip(loads, rates, strict=True))
    rate = statistics.median(rates)
    print(f"\nmedian ratio {ratio:.3f}")
    with serving(model) as (port, _):
        half = in_process({"port": port, "paths": paths, "clients": 64, "rate": rate / 2})
    print(
        f"at half the rate of features, {rate / 2:.1f} a second: {half.errors} errors, "
        f"p50 {1000 * half.percentile(0.5):.0f} ms, p99 {1000 * half.percentile(0.99):.0f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of photographs, in a folder for each class")
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--connections", type=int, default=0)
    parser.add_argument("--backbone", help="by default that of the project")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.job:
        json.dump(vars(load(**json.loads(given.job))), sys.stdout)
        return
    backbone = ["--backbone", given.backbone] if given.backbone else []
    with tempfile.TemporaryDirectory() as folder:
        paths, table, of_training = prepare(given.data, given.pictures, folder)
        model = trained(of_training, backbone, folder)
        print(f"{len(paths)} photographs, {given.clients} clients\n", flush=True)
        if given.minutes or given.connections:
            with serving(model) as (port, pid):
                if given.minutes:
                    endurance(port, pid, paths, given.clients, given.minutes)
                if given.connections:
                    crowded(port, pid, paths, given.clients, given.connections)
            return
        compared(model, paths, table, backbone, folder, given)


if __name__ == "__main__":
    main()
