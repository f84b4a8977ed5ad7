"""Point 1: killed, or told of an error, at any system call that writes, renames or flushes."""

import logging
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from reliability.conftest import Count, Figure
from reliability.harness.command import Command
from reliability.harness.crashes import (
    CALLS,
    Call,
    Workshop,
    calls_in,
    failing,
    killing,
    needs_strace,
    require_nothing_lost,
    rows_in,
    spread,
    workshop,
)
from reliability.harness.work import KEYS, ROWS, SHARD

from cache.errors import UserError
from cache.upkeep.inventory import verify
from classify.saved.persist import load

SIGKILL = -9
EVERYTHING = set(range(len(KEYS)))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    with workshop(tmp_path_factory.mktemp("shop")) as opened:
        yield opened


@pytest.fixture(scope="module")
def model_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    with workshop(tmp_path_factory.mktemp("models"), "models") as opened:
        yield opened


@pytest.fixture
def folder(shop: Workshop) -> Iterator[Path]:
    """A folder of the workshop, for one test."""
    path = shop.folder / "here"
    path.mkdir()
    yield path
    shutil.rmtree(path)


def test_killed_at_any_call_of_a_run_no_committed_row_is_lost(
    shop: Workshop, folder: Path, count: Count, figure: Figure
) -> None:
    points = shop.calls("extract", folder / "undisturbed")
    kinds = Counter(call.name for call in points)
    assert len(points) >= 100 and {"write", "fsync", "rename", "mkdir", "openat", "flock"} <= kinds.keys()
    assert len(rows_in(folder / "undisturbed")) == len(KEYS)
    chosen = spread(points, count(len(points), 16))
    lost_work = []
    for number, call in enumerate(chosen):
        cache = folder / str(number)
        end = shop.run("extract", cache, strace=killing(call))
        assert end.status == SIGKILL, (call, end)
        lost_work.append(len(end.said("computed") - rows_in(cache)))
        require_nothing_lost(shop, cache, end)
        shutil.rmtree(cache, ignore_errors=True)
    assert max(lost_work) <= SHARD
    text = ", ".join(f"{kinds[name]} {name}" for name in sorted(kinds))
    figure(1, f"{len(chosen)} of {len(points)} crash points of a run over four shards ({text}): 0 committed rows lost")


def test_killed_at_any_call_of_a_compaction_every_row_is_there(
    shop: Workshop, folder: Path, count: Count, figure: Figure
) -> None:
    assert shop.run("extract", folder / "whole").status == 0
    shutil.copytree(folder / "whole", folder / "undisturbed")
    points = shop.calls("compact", folder / "undisturbed")
    assert {"write", "fsync", "rename", "unlink"} <= {call.name for call in points}
    chosen = spread(points, count(len(points), 8))
    for number, call in enumerate(chosen):
        cache = Path(shutil.copytree(folder / "whole", folder / str(number)))
        assert shop.run("compact", cache, strace=killing(call)).status == SIGKILL, call
        assert rows_in(cache) == EVERYTHING
        assert shop.run("compact", cache).status == 0
        assert rows_in(cache) == EVERYTHING and verify(str(cache)).rows == len(KEYS)  # each once
        assert not list(cache.rglob("*.tmp"))
        shutil.rmtree(cache)
    figure(1, f"{len(chosen)} of {len(points)} crash points of a compaction: every row there")


def test_killed_at_any_call_of_commits_that_merge_no_committed_row_is_lost(
    shop: Workshop, folder: Path, count: Count, figure: Figure
) -> None:
    points = shop.calls("extract_singly", folder / "undisturbed")
    assert len(shards_in(folder / "undisturbed")) == 2, "eight rows in one shard, and the last one"
    first = next(number for number, call in enumerate(points) if call.name == "unlink")
    assert points[first].text.count(".h5") == 1 and len([call for call in points if call.name == "unlink"]) == 8
    of_merge = points[first - 12 : first + 9]  # the end of the merged shard's way to the disk, and the old ones' end
    chosen = spread(points, count(len(points), 6)) + spread(of_merge, count(len(of_merge), 8))
    killed = 0
    for number, call in enumerate(chosen):
        cache = folder / str(number)
        end = shop.run("extract_singly", cache, strace=killing(call))
        if end.status == 0:  # within one tick of its clock a folder looks unchanged: it is listed once less
            assert end.said("committed") == rows_in(cache) == EVERYTHING, (call, end)
            continue
        killed += 1
        assert end.status == SIGKILL, (call, end)
        present = rows_in(cache)
        assert end.said("committed") <= present and len(end.said("computed") - present) <= 1, call
        again = shop.run("extract", cache)
        assert again.said("computed") == EVERYTHING - present and rows_in(cache) == EVERYTHING
        assert shop.run("compact", cache).status == 0
        assert rows_in(cache) == EVERYTHING and verify(str(cache)).rows == len(KEYS)  # each once
        assert not list(cache.rglob("*.damaged"))
        shutil.rmtree(cache)
    assert killed > 0.8 * len(chosen)
    figure(1, f"{killed} crash points of commits that merge small shards: 0 committed rows lost")


@pytest.mark.parametrize("over_another", [True, False])
def test_killed_at_any_call_while_a_model_is_saved_the_old_or_the_new_one_loads(
    model_shop: Workshop, count: Count, figure: Figure, over_another: bool
) -> None:
    shop, folder = model_shop, Path(tempfile.mkdtemp(dir=model_shop.folder))
    (folder / "before").mkdir()
    if over_another:
        assert shop.run("save_model", folder / "before" / "m.joblib", 0).status == 0
    shutil.copytree(folder / "before", folder / "undisturbed")
    points = shop.calls("save_model", folder / "undisturbed" / "m.joblib", 1)
    chosen = spread(points, count(len(points), 5))
    found = Counter()
    for number, call in enumerate(chosen):
        place = Path(shutil.copytree(folder / "before", folder / str(number)))
        assert shop.run("save_model", place / "m.joblib", 1, strace=killing(call)).status == SIGKILL, call
        found[opinion(place / "m.joblib")] += 1
        assert shop.run("save_model", place / "m.joblib", 1).status == 0
        assert opinion(place / "m.joblib") == "new"
        shutil.rmtree(place)
    assert set(found) == ({"old", "new"} if over_another else {"none", "new"})
    kept = f"the old one loads {found['old']} times" if over_another else f"none is there {found['none']} times"
    figure(1, f"{len(chosen)} crash points of saving a model: {kept}, the new one {found['new']} times")


def shards_in(cache: Path) -> list[Path]:
    """All shards of a cache."""
    return sorted(cache.rglob("*.h5"))


def opinion(path: Path) -> str:
    """Which of the two models of `save_model` is there, in its arrays and in its pickle alike."""
    logging.getLogger("bottleneck").setLevel(logging.ERROR)  # arrays may be those of the other one, announced
    try:
        saved = load(str(path))
    except UserError as error:
        assert "no such file" in str(error).lower() or "record" in str(error)
        return "none"
    finally:
        logging.getLogger("bottleneck").setLevel(logging.NOTSET)
    (first,) = saved.predictor.predict(np.array([[1, 0]], np.float32))
    assert [first] == list(saved.estimator.predict(np.array([[1, 0]], np.float32)))
    return {"no": "old", "yes": "new"}[str(first)]


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_an_error_at_any_call_is_one_line_with_a_path_and_nothing_is_lost(
    shop: Workshop, folder: Path, count: Count, figure: Figure, error: str
) -> None:
    points = [call for call in shop.calls("extract", folder / "undisturbed") if str(folder) in call.text]
    chosen = spread(points, count(len(points), 8))
    ended = 0
    for number, call in enumerate(chosen):
        cache = folder / str(number)
        end = shop.run("extract", cache, strace=failing(call, error))
        said = end.errors.splitlines()
        # A merge that fails costs no row: it is said, and the run is done.
        put_off = [line for line in said if "are not merged now" in line]
        assert (end.status, len(said) - len(put_off)) in ((0, 0), (1, 1)) and len(put_off) < 2, (call, end)
        assert call.name in ("close", "flock") or all(str(folder) in line for line in said), (call, said)
        ended += end.status
        if call.name != "unlink":
            assert not list(cache.rglob("*.tmp")), call
        require_nothing_lost(shop, cache, end)
        shutil.rmtree(cache)
    assert ended > len(chosen) / 2
    figure(1, f"{error} at {len(chosen)} calls: one line with a path ({ended} times) or no harm, nothing lost")


def test_the_sweep_finds_what_a_file_that_is_written_in_place_loses(
    shop: Workshop, folder: Path, count: Count, figure: Figure
) -> None:
    points = [call for call in shop.calls("append_in_place", folder / "undisturbed.h5") if call.name != "openat"]
    chosen = spread(points, count(len(points), 10))
    harmed = 0
    for number, call in enumerate(chosen):
        path = folder / f"{number}.h5"
        end = shop.run("append_in_place", path, strace=killing(call))
        assert end.status == SIGKILL, call
        harmed += not has_all(path, sorted(end.said("committed")))
    assert harmed > 0
    figure(1, f"the same sweep over one HDF5 file that grows: flushed rows lost at {harmed} of {len(chosen)} points")


def has_all(path: Path, rows: list[int]) -> bool:
    """Whether a plain HDF5 file can be opened and has these rows."""
    if not rows:
        return True
    try:
        with h5py.File(path) as file:
            return bool(np.array_equal(file["features"][:][rows], ROWS[rows]))
    except (OSError, KeyError, IndexError, RuntimeError):
        return False


# ---- the real command


@pytest.fixture(scope="module")
def points(command: Command, tmp_path_factory: pytest.TempPathFactory) -> list[Call]:
    """The calls that change the cache in an undisturbed `features`, in its main thread."""
    needs_strace()
    folder = tmp_path_factory.mktemp("undisturbed")
    trace = folder / "trace"
    words = ["strace", "-f", "-y", "-s", "0", "-o", str(trace), "-e", f"trace={','.join(CALLS)}"]
    cache = command.cache(folder / "undisturbed")
    done = subprocess.run([*words, *command.features(cache)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    changing = set(CALLS) - {"openat", "close", "flock"}
    return [call for call in calls_in(trace) if str(cache) in call.text and call.name in changing]


def test_the_command_killed_at_its_calls_loses_nothing_and_goes_on(
    command: Command, points: list[Call], tmp_path: Path, count: Count, figure: Figure
) -> None:
    chosen = spread(points, count(30, 1))
    for number, call in enumerate(chosen):
        cache = command.cache(tmp_path / str(number))
        words = ["strace", "-f", *killing(call), *command.features(cache)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == SIGKILL, (call, done)
        present = command.rows(cache)
        report = command.report(cache)
        assert report["computed"] == report["forward_passes"] == command.pictures - present, call
        assert report["cached"] == present and command.rows(cache) == command.pictures
        command.run(command.words("cache", "verify", "--cache-dir", cache))
    figure(1, f"{len(chosen)} crash points of `python -m pipeline features` ({len(points)} calls): 0 rows lost")


def test_an_error_at_a_call_of_the_command_is_one_line_and_exit_1(
    command: Command, points: list[Call], tmp_path: Path, count: Count, figure: Figure
) -> None:
    done_for_rows = [call for call in points if "sqlite" not in call.text and "EEXIST" not in call.text]
    chosen = spread(done_for_rows, count(20, 1))
    for number, call in enumerate(chosen):
        cache = command.cache(tmp_path / str(number))
        words = ["strace", "-f", *failing(call, ("EIO", "ENOSPC")[number % 2])]
        done = subprocess.run([*words, *command.features(cache)], capture_output=True, text=True, check=False)
        errors = [line for line in done.stderr.splitlines() if line.startswith(("error: ", "Traceback"))]
        assert done.returncode == len(errors) == 1 and str(cache) in errors[0], (call, done)
        present = command.rows(cache)
        assert command.report(cache)["computed"] == command.pictures - present
        assert not list(cache.rglob("*.tmp"))
    figure(1, f"EIO or ENOSPC at {len(chosen)} calls of the command: exit 1 and one line with the path, each time")
