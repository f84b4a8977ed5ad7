"""What it costs that photographs lie in object storage: their rows, the time, the requests, the wait for pictures.

    python benchmarks/large_data/object_storage.py FOLDER [--backbone mobilenet_v2] [--failing 0.05] [--latency 0.1]

A server of the S3 protocol on loopback (moto's, a process of its own) holds the photographs of FOLDER. Features are
computed from the folder and from the server, each in a new cache and a process of its own, and from the server once
more. Shown are seconds, pictures a second, requests, bytes, and the share of their time that the threads which decode
and compute wait for the bytes of a picture. The server's own processor time is taken off: on these cores it would not
run. Rows are compared.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

from helpers.storage.object_storage import Server, Storage, running  # noqa: E402

SUFFIXES = (".jpg", ".jpeg", ".png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--failing", type=float, default=0.05, help="share of the requests")
    parser.add_argument("--latency", type=float, default=0.1, help="seconds before each answer")
    parser.add_argument("--most", type=int, default=1200, help="photographs")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        compute(*json.loads(given.only))
        return
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {given.backbone}")
    with tempfile.TemporaryDirectory() as work, running() as server:
        os.environ.update(server.environment)
        photographs = chosen(given.folder, Path(work) / "photos", given.most)
        url = Storage(server).upload(photographs, "photos")
        server.reset()
        run("warming up", [str(photographs), f"{work}/warm", given.backbone], server)
        here = run("folder", [str(photographs), f"{work}/here", given.backbone], server)
        server.reset(given.failing, given.latency)
        there = run("storage", [url, f"{work}/there", given.backbone], server)
        server.reset(given.failing, given.latency)
        run("storage, second run", [url, f"{work}/there", given.backbone], server)
        print(f"largest difference of a row to that of the folder: {difference(here['rows'], there['rows']):.3g}")


def chosen(folder: Path, into: Path, most: int) -> Path:
    """Links to the first `most` photographs of a folder, one in so many where it has more."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    for path in found[:: max(1, len(found) // most)][:most]:
        link = into / path.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path.resolve())
    return into


def run(what: str, words: list[str], server: Server) -> dict[str, Any]:
    """One run in a process of its own; prints its line."""
    process = psutil.Process(server.process.pid)
    before = sum(process.cpu_times()[:2])
    done = subprocess.run(
        [sys.executable, __file__, words[0], "--only", json.dumps(words)], capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    spent = (sum(process.cpu_times()[:2]) - before) / (os.cpu_count() or 1)
    seconds = found["seconds"] - spent
    waited = max(0.0, found["waited"] - spent) / seconds
    counts = server.counts()
    requests = ", ".join(f"{name} {counts[name]}" for name in ("LIST", "HEAD", "GET", "FAILED"))
    print(
        f"{what:20} {found['images']} pictures, computed {found['computed']}, failed {found['failed']}; "
        f"{found['seconds']:.1f} s, of which the server {spent:.1f} s; {found['images'] / seconds:.0f} pictures/s; "
        f"waited {waited:.2f}; {requests}; {counts['bytes'] / 1e6:.1f} MB; {found['peak']:.0f} MB resident",
        flush=True,
    )
    return found


def compute(data: str, cache: str, backbone: str) -> None:
    """Compute features; print what that took, and the rows by the names of the pictures."""
    import resource

    from featurize.extract import forward
    from featurize.open_extractor import open_extractor
    from featurize.pictures.find_images import find_images

    waits: list[float] = []
    look = forward._look

    def timed(read_at: Any, *others: Any) -> Any:
        def read(position: int, reserve: Any) -> bytes:
            start = time.perf_counter()
            try:
                return read_at(position, reserve)
            finally:
                waits.append(time.perf_counter() - start)

        return look(read, *others)

    forward._look = timed  # the only place that asks for bytes
    extractor = open_extractor(cache, backbone=backbone)
    start = time.perf_counter()
    images = find_images(data).images
    outcome = extractor.run(images)
    seconds = time.perf_counter() - start - outcome.startup_seconds
    _, rows = extractor.read(outcome)
    names = [str(images[position])[len(data) + 1 :] for position in outcome.succeeded]
    print(
        json.dumps(
            {
                "images": len(images),
                "computed": outcome.computed,
                "failed": len(outcome.failures),
                "seconds": seconds,
                "waited": sum(waits) / forward.WORKERS,
                "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "rows": {name: row[:64].tolist() for name, row in zip(names, rows, strict=True)},
            }
        )
    )


def difference(here: dict[str, list[float]], there: dict[str, list[float]]) -> float:
    """The largest difference of a number in the beginnings of the rows. Raises `KeyError` for a row that is missing."""
    return max(abs(a - b) for name, row in here.items() for a, b in zip(row, there[name], strict=True))


if __name__ == "__main__":
    main()
