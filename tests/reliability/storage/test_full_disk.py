"""Point 3: a full disk, or a file that may not grow, at many positions: one line, nothing harmed, and on it goes."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.other_user import folder_for_all, read_only
from reliability.conftest import Count, Figure
from reliability.harness.command import Command
from reliability.harness.crashes import Workshop, require_nothing_lost, rows_in, spread
from reliability.harness.work import KEYS

import pipeline
from classify.saved.persist import load

EVERYTHING = set(range(len(KEYS)))
PAGE = 4096
Disk = Callable[[int], Path]

# A command line under `ulimit -f`, in bytes: no file may become larger.
LIMITED = "import os, resource, sys; n = int(sys.argv[1]); resource.setrlimit(resource.RLIMIT_FSIZE, (n, n)); os.execv(sys.executable, sys.argv[2:])"  # noqa: E501


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    """disk(bytes): a small disk of that size, which what is on it survives."""
    place = tmp_path_factory.mktemp("disk")
    words = ["mount", "-t", "tmpfs", "-o", f"size={PAGE}", "tmpfs", place]
    mounted = subprocess.run(words, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system may be mounted here: {mounted.stderr.strip()}")

    def resized(size: int) -> Path:
        subprocess.run(["mount", "-o", f"remount,size={size // PAGE * PAGE}", place], check=True)
        return place

    yield resized
    subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    opened = Workshop(tmp_path_factory.mktemp("shop"), "models")
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def empty(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "disk" in request.fixturenames:
        for path in request.getfixturevalue("disk")(2**24).iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def used(folder: Path) -> int:
    """Bytes that the files below a folder take on a disk of pages."""
    return sum(-(-path.stat().st_size // PAGE) for path in folder.rglob("*") if path.is_file()) * PAGE


def one_line(text: str, folder: Path) -> bool:
    return text.count("\n") == 1 and str(folder) in text and ("No space left" in text or "File too large" in text)


def test_a_disk_that_fills_while_rows_are_stored(shop: Workshop, disk: Disk, count: Count, figure: Figure) -> None:
    kept = []
    assert shop.run("extract", shop.folder / "all").status == 0
    sizes = spread(range(PAGE, used(shop.folder / "all"), PAGE), count(34, 4))
    for size in sizes:
        cache = disk(size) / "cache"
        end = shop.run("extract", cache)
        assert end.status == 1 and one_line(end.errors, cache), end
        assert not list(cache.rglob("*.tmp"))
        kept.append(len(rows_in(cache)))
        disk(2**24)
        require_nothing_lost(shop, cache, end)
        shutil.rmtree(cache)
    assert kept == sorted(kept) and {0, 30} <= set(kept)
    figure(
        3, f"rows, disk full at {len(sizes)} positions: one line with the path, 0 to {max(kept)} rows kept, no orphans"
    )


def test_a_disk_without_room_for_a_compaction(shop: Workshop, disk: Disk, count: Count, figure: Figure) -> None:
    assert shop.run("extract", shop.folder / "whole").status == 0
    full = used(shop.folder / "whole")
    sizes = spread(range(full, full + 30 * PAGE, PAGE), count(20, 2))
    for size in sizes:
        cache = Path(shutil.copytree(shop.folder / "whole", disk(2**24) / "cache"))
        disk(size)
        end = shop.run("compact", cache)
        assert end.status == 1 and one_line(end.errors, cache), (size, end)
        assert rows_in(cache) == EVERYTHING and not list(cache.rglob("*.tmp"))
        disk(2**24)
        assert shop.run("compact", cache).status == 0 and rows_in(cache) == EVERYTHING
        shutil.rmtree(cache)
    figure(3, f"compaction, disk full at {len(sizes)} positions: every row kept")


def test_a_disk_without_room_for_an_export(shop: Workshop, disk: Disk, count: Count, figure: Figure) -> None:
    cache = shop.folder / "to export"
    assert shop.run("extract", cache).status == 0
    sizes = spread(range(PAGE, 60 * PAGE, PAGE), count(20, 2))
    for size in sizes:
        output = disk(size) / "e.h5"
        end = shop.run("export", cache, output)
        assert end.status == 1 and one_line(end.errors, output), (size, end)
        assert list(output.parent.iterdir()) == []
    assert shop.run("export", cache, disk(2**24) / "e.h5").status == 0
    figure(3, f"export, disk full at {len(sizes)} positions: one line, nothing left behind")


@pytest.mark.parametrize("limit", ["disk", "file"])
def test_no_room_for_a_model(
    shop: Workshop, disk: Disk, count: Count, figure: Figure, limit: str, tmp_path: Path
) -> None:
    """By a full disk, or where no file may grow: the old model loads."""
    assert shop.run("save_model", tmp_path / "m.joblib", 0).status == 0
    sizes = range(used(tmp_path), used(tmp_path) + 2 * PAGE, PAGE) if limit == "disk" else range(300, 2300, 100)
    sizes = spread(sizes, count(20, 2))
    for size in sizes:
        folder = Path(shutil.copytree(tmp_path, disk(2**24) / "models"))
        disk(size if limit == "disk" else 2**24)
        work = ("save_model",) if limit == "disk" else ("limited", size, "save_model")
        end = shop.run(*work, folder / "m.joblib", 1)
        assert end.status == 1 and one_line(end.errors, folder), (size, end)
        assert not list(folder.glob("*.tmp"))
        disk(2**24)
        assert load(str(folder / "m.joblib")).predictor.predict([[1, 0]]) == ["no"]
        assert shop.run("save_model", folder / "m.joblib", 1).status == 0
        assert load(str(folder / "m.joblib")).predictor.predict([[1, 0]]) == ["yes"]
        shutil.rmtree(folder)
    what = "disk full" if limit == "disk" else "file too large"
    figure(3, f"a model, {what} at {len(sizes)} positions: the old one loads")


# ---- the real command


def failed(done: subprocess.CompletedProcess[str], folder: Path) -> bool:
    """Whether it ended with 1 and one line of error, which names something in this folder; 2 where it did not begin."""
    errors = [line for line in done.stderr.splitlines() if line.startswith(("error: ", "Traceback"))]
    assert len(errors) == 1 and str(folder) in errors[0], done
    refused = done.returncode == 2 and "too little disk" in errors[0]
    return refused or (done.returncode == 1 and ("No space left" in errors[0] or "File too large" in errors[0]))


def test_the_command_on_a_disk_that_fills(
    command: Command, disk: Disk, tmp_path: Path, count: Count, figure: Figure
) -> None:
    by_one = Command(command.data, command.prepared, command.pictures, shard_rows=1)
    by_one.run(by_one.features(undisturbed := by_one.cache(tmp_path / "undisturbed")))
    full = used(undisturbed)
    sizes = spread(range(full - 30 * PAGE, full, PAGE), count(20, 1))
    kept = []
    for size in sizes:
        cache = by_one.cache(disk(2**25) / "cache")
        disk(size)
        done = subprocess.run(by_one.features(cache), capture_output=True, text=True, check=False)
        assert failed(done, cache), (size, done)
        assert not list(cache.rglob("*.tmp"))
        kept.append(by_one.rows(cache))
        disk(2**25)
        assert by_one.report(cache)["computed"] == command.pictures - kept[-1]
        shutil.rmtree(cache)
        cache.with_name("cache.json").unlink()
    assert max(kept) > 0
    figure(3, f"`features`, disk full at {len(sizes)} positions: one line, exit 1 or, before it begins, 2, "
              f"up to {max(kept)} rows kept, the next run computes the rest")  # fmt: skip


def test_the_command_where_files_may_not_grow(command: Command, tmp_path: Path, count: Count, figure: Figure) -> None:
    cache = command.cache(tmp_path / "cache")
    command.report(cache)
    model, old = tmp_path / "m.joblib", ("--data", command.data, "--backbone", "nano", "--cache-dir", cache)
    fresh = command.cache(tmp_path / "fresh")
    jobs: list[tuple[int, Path, list[str]]] = [
        (20_000, fresh, command.features(fresh)),
        (200, tmp_path, command.features(cache, "--json", tmp_path / "report.json")),
    ]
    if full := count(1, 0):
        command.run(command.words("train", *old, "--model", model))
        largest = max(path.stat().st_size for path in tmp_path.glob("m.*"))
        jobs += [
            (100, fresh, command.features(fresh)),
            *((most, tmp_path, command.words("train", *old, "--model", model)) for most in (0, 1_000, largest - 1)),
            (50_000, cache, command.words("cache", "gc", "--cache-dir", cache)),
            (50_000, tmp_path, command.words("cache", "export", *old, "--output", tmp_path / "e.h5")),
        ]
    for most, folder, words in jobs:
        limited = [sys.executable, "-c", LIMITED, str(most), *words]
        done = subprocess.run(limited, capture_output=True, text=True, check=False)
        assert failed(done, folder), (most, words, done)
        assert not list(tmp_path.rglob("*.tmp"))
        assert command.rows(cache) == command.pictures
    assert command.rows(fresh) == 0 and command.report(fresh)["computed"] == command.pictures
    if full:
        command.run(command.words("evaluate", "--data", command.data, "--cache-dir", cache, "--model", model))
    figure(3, f"{len(jobs)} commands where files may not grow: one line, exit 1, nothing left behind, old model loads")


def test_a_network_that_cannot_be_kept_is_used_all_the_same(
    command: Command, disk: Disk, count: Count, figure: Figure
) -> None:
    if not count(1, 0):
        pytest.skip("imports TensorFlow: with --full")
    cache = disk(2**20) / "cache"
    done = subprocess.run(command.features(cache), capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stderr.count("is not kept") == 1, done
    assert command.rows(cache) == command.pictures
    assert not list((cache / "graphs").iterdir())
    figure(3, "no room for the converted network: announced, and used all the same")


# ---- found before the work begins


@pytest.mark.parametrize("where", ["a folder", "below a file", "a device"])
def test_a_place_that_cannot_be_written_is_found_before_anything_is_computed(
    run: Callable[..., tuple[int, str, str]], command: Command, tmp_path: Path, where: str
) -> None:
    (tmp_path / "m.joblib").mkdir()
    (tmp_path / "file").touch()
    places = {
        "a folder": tmp_path / "m.joblib",
        "below a file": tmp_path / "file" / "m.joblib",
        "a device": Path("/dev/null"),
    }
    place = places[where]
    cache = command.cache(tmp_path / "cache")
    on_data = ("--data", command.data, "--backbone", "nano", "--cache-dir", cache)
    for words in (("features", "--json"), ("train", "--model"))[: 1 if where == "a device" else 2]:
        status, out, err = run(words[0], *on_data, words[1], place)
        assert (status, out, err.count("\n")) == (1, "", 1) and err.startswith("error: ") and str(place) in err
        assert command.rows(cache) == 0
    assert place.is_dir() or not place.is_file()


def test_a_folder_that_may_not_be_written_is_found_before_anything_is_computed(
    tmp_path: Path,
) -> None:
    with folder_for_all() as folder:
        (Path(folder) / "models").mkdir()
        with read_only(f"{folder}/models"), pytest.raises(PermissionError) as raised:
            pipeline.train("nowhere", model=f"{folder}/models/m.joblib", cache_dir=str(tmp_path / "none"))
        assert str(raised.value.filename).startswith(f"{folder}/models/m.")
    assert not (tmp_path / "none").exists()


def test_a_folder_that_is_missing_is_made(
    run: Callable[..., tuple[int, str, str]], warm_cache: Path, surfaces: Path, tmp_path: Path
) -> None:
    report = tmp_path / "a" / "b" / "r.json"
    assert (
        run("features", "--data", surfaces, "--backbone", "nano", "--cache-dir", warm_cache, "--json", report)[0] == 0
    )
    assert report.is_file()
