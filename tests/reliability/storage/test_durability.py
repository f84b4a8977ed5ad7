"""Point 4: what the kernel sees of every file that the commands leave: flushed, renamed, its folder flushed."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from reliability.conftest import Count, Figure
from reliability.harness.command import Command
from reliability.harness.crashes import needs_strace

OPENING = "openat,open,creat,rename,renameat,renameat2,fsync,fdatasync,mkdir,mkdirat,unlink,unlinkat"
NO_DATA = re.compile(r"\.lock$|/digests\.sqlite(-journal)?$")  # locks; a table that only saves time
UNFINISHED = " <unfinished ...>"


def traced(words: list[str], folder: Path) -> list[tuple[str, str]]:
    """(name, arguments and result) of the calls of a command line, in the order in which they were done."""
    trace = folder / "calls.trace"
    options = ["-f", "-y", "-s", "4096", "--seccomp-bpf", "-o", str(trace), "-e", f"trace={OPENING}"]
    done = subprocess.run(["strace", *options, *words], capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done
    begun: dict[str, str] = {}
    calls = []
    for line in trace.read_text(errors="surrogateescape").splitlines():
        thread, _, text = line.partition(" ")
        text = text.strip()
        if text.endswith(UNFINISHED):
            begun[thread] = text.removesuffix(UNFINISHED)
            continue
        if resumed := re.match(r"<\.\.\. \w+ resumed>(.*)", text):
            text = begun.pop(thread) + resumed[1]
        if (call := re.match(r"(\w+)\((.*)\)\s+= (\d+.*)", text)) and str(folder) in text:
            calls.append((call[1], f"{call[2]} = {call[3]}"))
    return calls


def complaints(calls: list[tuple[str, str]], folder: Path) -> Iterator[str]:
    """What is not as it has to be, in words; `folder` is the one that all new files are below."""
    dirty: dict[str, bool] = {}  # path of a new file -> whether it is yet to be flushed
    folders: dict[str, str] = {}  # folder that is yet to be flushed -> why
    for name, text in calls:
        paths = re.findall(rf'"({re.escape(str(folder))}[^"]*)"', text)
        if name == "openat" and re.search(r"O_WRONLY|O_RDWR", text):
            path = opened[1] if (opened := re.search(r"<([^<>]*)>$", text)) else ""  # a device has no such name
            if NO_DATA.search(path) or not path.startswith(str(folder)):
                continue
            if ".tmp" not in path:
                yield f"{path} is opened for writing under its final name"
            dirty[path] = True
        elif name in ("fsync", "fdatasync"):
            path = re.search(r"<([^<>]*)>", text)[1]  # type: ignore[index]
            dirty.pop(path, None)
            folders.pop(path, None)
        elif name.startswith("rename"):
            old, new = paths
            for path in dirty:
                if path == old or path.startswith(old + "/"):
                    yield f"{path} is renamed before it is flushed"
            folders[os.path.dirname(new)] = f"{new} was put there"
        elif name.startswith("unlink"):
            dirty.pop(paths[0] if paths else "", None)
        elif name.startswith("mkdir") and not paths[0].endswith(".tmp"):
            folders[os.path.dirname(paths[0])] = f"{paths[0]} was made there"
    yield from (f"{path} is never flushed" for path in dirty)
    yield from (f"{path} is never flushed: {why}" for path, why in folders.items())


def renamed(calls: list[tuple[str, str]]) -> list[str]:
    """The final names of all that was put in place."""
    return [re.findall(r'"([^"]*)"', text)[-1] for name, text in calls if name.startswith("rename")]


def test_every_file_that_the_commands_leave_is_flushed_renamed_and_its_folder_flushed(
    command: Command, tmp_path: Path, count: Count, figure: Figure
) -> None:
    needs_strace()
    cache, model = command.cache(tmp_path / "cache"), tmp_path / "new" / "models" / "m.joblib"
    labelled = ("--data", command.data, "--cache-dir", cache)
    train = command.words("train", *labelled, "--backbone", "nano", "--model", model, "--json", tmp_path / "t.json")
    commands = {
        "features": command.features(cache, "--json", tmp_path / "new" / "f.json"),
        "gc": command.words("cache", "gc", "--cache-dir", cache, "--shard-rows", 20),
        "export": command.words("cache", "export", *labelled, "--backbone", "nano", "--output", tmp_path / "e.h5"),
        "train": train,
        "evaluate": command.words("evaluate", *labelled, "--model", model),
    }
    if count(1, 0):
        commands["conversion of the network"] = command.features(tmp_path / "another cache")
    for what, words in commands.items():
        calls = traced(words, tmp_path)
        assert list(complaints(calls, tmp_path)) == [], what
        names = [os.path.basename(name) for name in renamed(calls)]
        shards = sum(name.endswith(".h5") for name in names)
        if what == "features":
            assert shards >= 4 and {"spec.json", "f.json"} <= set(names)
        elif what == "train":
            tables = {"m.classes.csv", "m.confusion.csv"}
            assert {"m.joblib", "m.npz", "m.json.next", "m.json", "t.json", *tables} <= set(names)
        elif what == "evaluate":
            assert {"m.evaluation.json", "m.evaluation.classes.csv"} <= set(names)
        else:
            assert names
        figure(4, f"{what}: {len(names)} files, each flushed, renamed, its folder flushed")


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("open('a.json', 'w').write('{}')", "under its final name"),
        ("open('a.tmp', 'w').write('{}'); import os; os.rename('a.tmp', 'a')", "renamed before it is flushed"),
        ("f = open('a.tmp', 'w'); import os; os.fsync(f); os.rename('a.tmp', 'a')", "was put there"),
        ("import os; os.mkdir('folder')", "was made there"),
    ],
)
def test_what_is_done_otherwise_is_noticed(tmp_path: Path, code: str, complaint: str) -> None:
    needs_strace()
    code = re.sub(r"'(a|a\.tmp|a\.json|folder)'", rf"'{tmp_path}/\1'", code)
    assert any(complaint in text for text in complaints(traced([sys.executable, "-c", code], tmp_path), tmp_path))
