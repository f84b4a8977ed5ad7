"""The page of `review` over a million rows, in a process that may take so much memory and no more.

    python benchmarks/scale.py fill
    python benchmarks/large_data/review_page.py [/tmp/scale/1000000-float16] [--gigabytes 4] [--labels 1000]

Shown are seconds from the start of the command to the address and to the last picture, then of each queue, of a label,
of what is said beside the pictures, and of the training that follows; last the largest resident size.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[2]
CLASSES = 100  # the label of a picture is its number modulo these: see benchmarks/scale.py
QUEUES = ("start", "ask", "confirm", "doubt", "unknown", "like", "search")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("/tmp/scale/1000000-float16"))
    parser.add_argument("--gigabytes", type=float, default=4.0, help="limit of the data segment, in 10^9 bytes")
    parser.add_argument("--labels", type=int, default=1000)
    given = parser.parse_args()
    words = ["prlimit", f"--data={int(given.gigabytes * 1e9)}", sys.executable, "-m", "pipeline", "review"]
    words += ["--data", str(given.folder / "photos"), "--cache-dir", str(given.folder / "cache")]
    words += ["--backbone", "nano", "--size", "32", "--stored", "float16", "--port", "0", "--no-browser"]
    with tempfile.TemporaryDirectory() as own:
        started = time.perf_counter()
        process = subprocess.Popen(
            [*words, "--labels", f"{own}/labels.csv"], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout
            url, token = re.findall(r"(http://[^/]+)/#(\S+)", next(line for line in process.stdout if "#" in line))[0]
            shown("the address", started)
            with httpx.Client(base_url=url, headers={"authorization": f"Bearer {token}"}, timeout=600) as page:
                use(page, given.labels, started)
            status = Path(f"/proc/{process.pid}/status").read_text()
            kilobytes = re.findall(r"VmHWM:\s+(\d+)", status)[0]
            print(f"resident {int(kilobytes) / 1e6:.1f} GB", flush=True)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()


def use(page: httpx.Client, labels: int, started: float) -> None:
    """Wait for all pictures, label some, ask for every queue."""

    def state() -> Any:
        return page.get("/v1/state").raise_for_status().json()

    def queue(name: str, **more: Any) -> Any:
        return page.get("/v1/queue", params={"name": name, **more}).raise_for_status().json()

    while (now := state())["pictures"] + now["progress"]["failed"] < now["progress"]["total"]:
        if now["stopped"]:
            sys.exit(now["stopped"])
        time.sleep(1)
    shown(f"all of {now['pictures']} pictures", started)
    drawn = []
    for start in range(0, labels, 500):
        drawn += queue("search", text="", start=start, count=min(500, labels - start))["pictures"]
    said = [{"pictures": [one["picture"]], "label": f"class {int(one['name'][-12:-4]) % CLASSES:03}"} for one in drawn]
    for some in (said[start : start + 500] for start in range(0, len(said), 500)):
        timed(f"{len(some)} labels", lambda some=some: page.post("/v1/labels", json={"said": some}))
    begin = time.perf_counter()
    while (now := state())["learnt"] < now["version"] or now["accuracy"] is None:
        time.sleep(0.2)
    shown(f"training on {now['labelled']} labels, and scores", begin)
    print(f"accuracy {now['accuracy']}")
    for name in QUEUES:
        timed(f"queue {name}", lambda name=name: queue(name, label="class 000", picture=0, text="0001"))
    timed("the side", state)
    timed("a key", lambda: page.post("/v1/labels", json={"said": said[:1]}).raise_for_status())


def timed(what: str, job: Callable[[], Any]) -> None:
    begin = time.perf_counter()
    job()
    shown(what, begin)


def shown(what: str, begin: float) -> None:
    print(f"{what:40} {time.perf_counter() - begin:8.2f} s", flush=True)


if __name__ == "__main__":
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    main()
