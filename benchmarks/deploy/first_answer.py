"""How soon a new process answers its first picture: from a model or a bundle, in Python and by HTTP.

    python benchmarks/deploy/first_answer.py models/logreg.zip --python serving/bin/python

Each line is the median of `--times` new processes, from their start to the answer, and the processor's time of it.
The first process, which may compile Python's files, is not counted.
"""

import argparse
import contextlib
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from PIL import Image

IN_PYTHON = "import sys, pipeline; pipeline.load(sys.argv[1]).predict_proba(sys.argv[2], use_cache=False)"
LONGEST = 120.0  # seconds that an answer may take


def in_python(python: str, model: str, picture: Path) -> None:
    """Load the model and predict, in a process of its own."""
    subprocess.run([python, "-c", IN_PYTHON, model, picture], cwd=picture.parent, check=True, capture_output=True)


def by_http(python: str, model: str, picture: Path) -> None:
    """Start the service, and ask until it answers."""
    port, until = 8765, time.perf_counter() + LONGEST
    command = [python, "-m", "pipeline", "serve", "--model", model, "--port", str(port)]
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/predict", picture.read_bytes())
    request.add_header("Content-Type", "image/png")
    with subprocess.Popen(command, cwd=picture.parent, stderr=subprocess.DEVNULL) as server:
        try:
            while time.perf_counter() < until and server.poll() is None:
                with contextlib.suppress(urllib.error.URLError, ConnectionError):
                    urllib.request.urlopen(request, timeout=LONGEST).read()
                    return
                time.sleep(0.005)
            raise SystemExit(f"no answer from {' '.join(command)}")
        finally:
            server.terminate()


def measured(ask: Callable[[str, str, Path], None], times: int, python: str, model: str, picture: Path) -> str:
    """Median seconds, and those of the processor, of some calls of `ask`."""
    ask(python, model, picture)
    seconds, of_processor = [], []
    for _ in range(times):
        start, before = time.perf_counter(), _processor()
        ask(python, model, picture)
        seconds.append(time.perf_counter() - start)
        of_processor.append(_processor() - before)
    return f"{statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f}), " + (
        f"processor {statistics.median(of_processor):.2f} s"
    )


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure both ways."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--python", default=sys.executable, help="of the environment to measure in")
    parser.add_argument("--times", type=int, default=7)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder, "picture.png")
        Image.effect_noise((640, 480), 80).convert("RGB").save(picture)
        python, model = os.path.abspath(asked.python), os.path.abspath(asked.model)
        for name, ask in (("load and predict", in_python), ("serve and ask", by_http)):
            print(f"{name}: {measured(ask, asked.times, python, model, picture)}", flush=True)


if __name__ == "__main__":
    main()
