"""Fuzzing: each target in a process of its own, for some time, with inputs made from real ones.

    python tests/fuzz/run.py --seconds 600 [--seed 1] [TARGET ...]     what `make fuzz` does
    python tests/fuzz/run.py TARGET FILE                               one input again, such as a finding

A target is a module of this folder: SEEDS, real inputs; `mutate`, another input from an interesting one; `check`,
which raises for whatever should not be. The engine is libFuzzer, by way of Atheris, whose wheels bring it along for
Python 3.11 to 3.13: inputs that reach new branches of our code are kept and changed further, and a crash, a hang or a
hunger for memory inside a C library ends the child with its input saved. Hypothesis, which the other tests use, has no
feedback from coverage, and dies with the library. `tests/project/test_fuzz.py` runs the same targets for a moment
without Atheris.
"""

import argparse
import importlib.util
import logging
import mmap
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from types import ModuleType

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
TARGETS = ("shard_reader", "saved_models", "label_readers", "command_lines")
OURS = ["cache", "classify", "commands", "featurize", "pipeline"]
FINDINGS = REPOSITORY / ".fuzz"
MOST_FINDINGS = 10  # of one target: most of them will be the same
LIMITS = ["-timeout=300", "-report_slow_units=300", "-rss_limit_mb=6000", "-max_len=1000000"]
MEMORY = "/dev/shm"  # where there is one: files that live for a millisecond are no work for a disk
NUMBER = 8  # bytes of a number that child and parent share


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzz the project.")
    parser.add_argument("words", nargs="*", help=f"targets, of {', '.join(TARGETS)}; or one target and a file")
    parser.add_argument("--seconds", type=int, default=600, help="time for each target")
    parser.add_argument("--seed", type=int, default=1, help="of everything random")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    chosen, options = parser.parse_known_args()
    if chosen.child:
        work(chosen.child, options)
    elif len(chosen.words) == 2 and chosen.words[1] not in TARGETS:
        print("past the first checks:", again(chosen.words[0], Path(chosen.words[1])))
    else:
        unknown = set(chosen.words) - set(TARGETS)
        if unknown:
            parser.error(f"{unknown.pop()} is no target: choose of {', '.join(TARGETS)}")
        if importlib.util.find_spec("atheris") is None:
            parser.error("atheris is not installed here: `make fuzz` installs it")
        found = sum(fuzz(target, chosen.seconds, chosen.seed) for target in chosen.words or TARGETS)
        sys.exit(1 if found else 0)


def fuzz(target: str, seconds: int, seed: int) -> int:
    """Fuzz one target for `seconds`, going on after findings. Returns how many there were."""
    FINDINGS.mkdir(exist_ok=True)
    before = set(FINDINGS.iterdir())
    start = time.monotonic()
    inputs = past = rounds = failed = 0
    while (left := seconds - int(time.monotonic() - start)) > 0 and rounds < MOST_FINDINGS:
        folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=MEMORY if Path(MEMORY).is_dir() else None))
        (folder / "numbers").write_bytes(bytes(2 * NUMBER))
        command = [sys.executable, __file__, "--child", target, f"-max_total_time={left}", f"-seed={seed + rounds}"]
        with (folder / "log").open("wb") as log:
            ended = subprocess.run(
                [*command, f"-artifact_prefix={FINDINGS}/{target}-", *LIMITS, "corpus"],
                cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False,
            )  # fmt: skip
        numbers = (folder / "numbers").read_bytes()
        inputs += int.from_bytes(numbers[:NUMBER], "little")
        past += int.from_bytes(numbers[NUMBER:], "little")
        if ended.returncode:
            failed += 1
            print("\n".join((folder / "log").read_text(errors="replace").splitlines()[-40:]))
        shutil.rmtree(folder)
        rounds += 1
    found = sorted(set(FINDINGS.iterdir()) - before)
    took = time.monotonic() - start
    print(
        f"{target}: {inputs:,} inputs in {took:.0f} s, {inputs / took:.0f} a second, "
        f"{past:,} past the first checks, {failed} findings",
        flush=True,
    )
    for path in found:
        print(f"  again: {sys.executable} tests/fuzz/run.py {target} {path}", flush=True)
    return failed


def work(target: str, options: list[str]) -> None:
    """Be the child: give the present folder to libFuzzer. Does not return."""
    import atheris

    with atheris.instrument_imports(include=OURS, enable_loader_override=False):
        module = load(target)
    if target == "command_lines":
        module.prepare()  # takes seconds, which no input is to be blamed for
    corpus = Path("corpus")
    corpus.mkdir()
    for number, seed in enumerate(module.SEEDS):
        (corpus / str(number)).write_bytes(seed)
    with open("numbers", "r+b") as file:
        numbers = memoryview(mmap.mmap(file.fileno(), 2 * NUMBER)).cast("Q")

    def one(data: bytes) -> None:
        numbers[0] += 1
        numbers[1] += module.check(data)

    def change(data: bytes, most: int, seed: int) -> bytes:
        changed: bytes = module.mutate(bytes(data), Random(seed))
        return changed[:most]

    atheris.Setup([sys.argv[0], *options], one, custom_mutator=change)
    atheris.Fuzz()


def again(target: str, path: Path) -> bool:
    """Run one input, in a folder that is thrown away afterwards."""
    data = path.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        past: bool = load(target).check(data)
        os.chdir(HERE)
    return past


def load(target: str) -> ModuleType:
    sys.path[:0] = [str(REPOSITORY), str(HERE.parent)]
    logging.getLogger().addHandler(logging.NullHandler())  # or all that the targets announce goes to stderr
    return importlib.import_module(f"fuzz.{target}")


if __name__ == "__main__":
    main()
