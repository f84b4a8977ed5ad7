"""Speed: this project beside other ways from files to features, on the same files and weights, in turns.

    make bench DATA=photos WEIGHTS=file.h5
    python benchmarks/bench.py --data photos --weights file.h5

Without data: the photographs of `classify.data.surfaces`, with `nano`; nothing is downloaded. Every measurement is a
process of its own, one of `contenders/`; all of them in turns, for as many rounds as asked for. Whoever fails is left
out with the reason and the rest goes on. The tables are printed; `--record` writes them into docs/benchmarks.md as
well, the raw figures into results.json and the picture into speed.svg.
"""

import argparse
import datetime
import importlib.util
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from bench_report import record, tables

HERE = os.path.dirname(os.path.abspath(__file__))
REPOSITORY = os.path.dirname(HERE)
PEERS = os.path.join(HERE, ".venv", "bin", "python")  # of `make bench-peers`
LIBRARIES = ("tensorflow", "keras", "openvino", "numpy", "pillow", "scikit-learn")
PATIENCE = 1800  # seconds for one process
WARM_PREDICTIONS = 31

Figures = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One measurement: which script, on which table of pictures, with what of a `Job`; in which cache of the round.

    The cache "prepared" is that of contenders/prepare.py, with rows of all pictures and graphs; others begin empty.
    """

    name: str
    script: str
    table: str = "all"
    options: dict[str, Any] = field(default_factory=dict)
    cache: str = ""
    python: str = sys.executable


class LeftOutError(Exception):
    """A contender cannot run here; the message is the reason."""


def main() -> None:
    given = _arguments()
    peers = given.peers or (PEERS if os.path.exists(PEERS) else "")
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        results = measure_all(given, runs(peers), work)
    print(tables(results))
    if given.record:
        record(results)


def runs(peers: str = "") -> list[Run]:
    """One round. `peers`: the Python of the environment of the other projects."""
    engines = ["openvino", "tensorflow"] if importlib.util.find_spec("openvino") else ["tensorflow"]
    half = {"engine": "openvino", "precision": "bf16"}
    chosen = [
        Run("tutorials", "tutorials"),
        *(Run(engine, "ours", options={"engine": engine}) for engine in engines),
        Run("openvino_bf16", "ours", options=half),
        *(Run(f"bound_{engine}", "bound", options={"engine": engine}, cache="prepared") for engine in engines),
        Run("bound_openvino_bf16", "bound", options=half, cache="prepared"),
        Run("tf_data", "tf_data"),
        Run("one_by_one", "one_by_one", "slow"),
        Run("again", "ours", cache=engines[0]),
        Run("more", "ours", "more", cache=engines[0]),
        Run("grid", "grid_ours", "grid"),
        Run("grid_memory", "grid_memory", "grid"),
        Run("predict_cold", "predict_ours", cache="prepared"),
        Run("predict_cold_tutorials", "predict_tutorials", cache="prepared"),
        Run("predict_warm", "predict_ours", options={"pictures": WARM_PREDICTIONS}, cache="prepared"),
        Run("predict_warm_tutorials", "predict_tutorials", options={"pictures": WARM_PREDICTIONS}, cache="prepared"),
    ]
    if peers:
        chosen.append(Run("thingsvision", "with_thingsvision", "slow", python=peers))
        chosen.append(Run("embetter", "with_embetter", "slow", python=peers))
    return chosen


def measure_all(given: argparse.Namespace, chosen: list[Run], work: str) -> Figures:
    """The raw figures of all rounds: what results.json holds."""
    backbone = given.backbone or ("mobilenet_v2" if given.data else "nano")
    spec = {"backbone": backbone, "weights": os.path.abspath(given.weights) if given.weights else None}
    prepared = os.path.join(work, "prepared")
    os.mkdir(prepared)
    here = machine()
    _say("preparing")
    asked = {"data": given.data, "label_pattern": given.label_pattern, "limit": given.limit}
    counts = measure(Run("prepare", "prepare", options=spec | asked), os.path.join(prepared, "all.csv"), prepared)
    results: Figures = {
        "command": _command(given),
        "date": str(datetime.date.today()),
        "machine": here,
        "versions": {name: found for name in LIBRARIES if (found := _version(name))},
        "data": os.path.basename(os.path.abspath(given.data)) if given.data else "surfaces",
        "backbone": backbone,
        "pictures": counts["all"],
        "rounds": given.rounds,
        "runs": [],
        "left_out": {} if any(run.name == "thingsvision" for run in chosen) else {"peers": "not installed"},
    }
    for number in range(1, given.rounds + 1):
        for run in chosen:
            if run.name.removeprefix("bound_") in results["left_out"] or run.name in results["left_out"]:
                continue
            cache = prepared if run.cache == "prepared" else os.path.join(work, str(number), run.cache or run.name)
            os.makedirs(cache, exist_ok=True)
            full = Run(run.name, run.script, run.table, spec | run.options, run.cache, run.python)
            try:
                figures = measure(full, os.path.join(prepared, f"{run.table}.csv"), cache)
            except LeftOutError as reason:
                results["left_out"][run.name] = str(reason)
                _say(f"round {number}/{given.rounds}  {run.name}: left out, {reason}")
                continue
            results["runs"].append({"round": number, "name": run.name, "pictures": counts[run.table], **figures})
            seconds = figures.get("seconds", figures["process_seconds"])
            _say(f"round {number}/{given.rounds}  {run.name}: {seconds:.2f} s, {figures['peak_mb']:.0f} MB")
    return results


def measure(run: Run, table: str, cache: str) -> Figures:
    """One process: its own figures, its whole time in seconds, its peak memory in MB (resident, of the kernel's count).

    Raises LeftOutError with the last line that it wrote on stderr.
    """
    with tempfile.TemporaryDirectory() as folder:
        job, result, errors = (os.path.join(folder, name) for name in ("job.json", "answer.json", "stderr"))
        with open(job, "w", encoding="utf-8") as file:
            json.dump({"table": table, "cache_dir": cache, **run.options}, file)
        script = os.path.join(HERE, "contenders", f"{run.script}.py")
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONPATH": REPOSITORY}
        if run.python != sys.executable:
            del environment["PYTHONPATH"]  # another environment: nothing of this project there
        with open(errors, "wb") as stderr:
            start = time.perf_counter()
            process = subprocess.Popen(
                [run.python, script, job, result], stdout=subprocess.DEVNULL, stderr=stderr, env=environment
            )
            clock = threading.Timer(PATIENCE, process.kill)
            clock.daemon = True  # Ctrl-C does not wait for it
            clock.start()
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - start
            clock.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode or not os.path.exists(result):
            with open(errors, encoding="utf-8", errors="replace") as file:
                lines = file.read().strip().splitlines() or [f"exit status {process.returncode}"]
            raise LeftOutError(lines[-1][:300])
        with open(result, encoding="utf-8") as file:
            figures = json.load(file)
    unit = 1 if sys.platform == "darwin" else 1024  # bytes of ru_maxrss
    return figures | {"process_seconds": seconds, "peak_mb": usage.ru_maxrss * unit / 1e6}


def machine() -> Figures:
    """What it was measured on."""
    processor = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
        processor = names[0] if names else processor
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": processor,
        "cores": cores,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load_at_start": os.getloadavg()[0],
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of labelled photographs [those that come with scikit-image]")
    parser.add_argument("--label-pattern", help="label in the file names, as of `pipeline train`")
    parser.add_argument("--backbone", help="[mobilenet_v2; without data nano]")
    parser.add_argument("--weights", help="weights file without top [those of Keras]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=int, default=0, help="so many of the photographs, for a trial")
    parser.add_argument("--peers", help=f"Python with thingsvision and embetter [{os.path.relpath(PEERS)} if there]")
    parser.add_argument("--record", action="store_true", help="write results.json, speed.svg, docs/benchmarks.md")
    return parser.parse_args()


def _command(given: argparse.Namespace) -> str:
    """The command that gives these figures; files without their folders."""
    words = ["make", "bench"]
    for variable in ("data", "backbone", "weights"):
        if value := getattr(given, variable):
            words.append(f"{variable.upper()}={shlex.quote(os.path.basename(os.path.abspath(value)))}")
    rest = [f"--label-pattern {shlex.quote(given.label_pattern)}"] if given.label_pattern else []
    rest += [f"--limit {given.limit}"] if given.limit else []
    return " ".join([*words, *([f'ARGS="{" ".join(rest)}"'] if rest else [])])


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
