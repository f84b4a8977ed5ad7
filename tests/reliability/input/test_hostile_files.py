"""Point 7: a hostile file gives features or one line of reason, in bounded time and memory, by the real command."""

import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import SPEC
from helpers.files.hostile import make_all
from reliability.conftest import Figure
from reliability.harness.real_run import Run, converted, run

import pipeline

GIGABYTE = 10**9
Expected = tuple[Path, dict[str, bool | None]]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest, seed: int) -> Expected:
    """A folder of hostile files, and which of them have features."""
    folder = tmp_path_factory.mktemp("hostile")
    return folder, make_all(folder, seed, request.config.getoption("--full"))


@pytest.mark.parametrize("isolate", [False, True], ids=["here", "isolate"])
def test_each_hostile_file_gives_features_or_one_line_of_reason(
    tmp_path: Path,
    warm_cache: Path,
    photographs: Callable[[int], Path],
    expected: Expected,
    request: pytest.FixtureRequest,
    figure: Figure,
    isolate: bool,
) -> None:
    good = photographs(20)
    shutil.copytree(good, tmp_path / "photos", symlinks=True)
    (tmp_path / "photos" / "hostile").symlink_to(expected[0])
    for number, other in enumerate(others(request)):
        (tmp_path / "photos" / f"others{number}").symlink_to(other)
    arguments = ("--backbone", "nano", "--cache-dir", "cache", *(["--isolate"] if isolate else []))

    converted(warm_cache, tmp_path / "cache")
    plain = run(tmp_path, "features", "--data", str(good), *arguments)
    assert (plain.status, plain.report["failed"]) == (0, 0), plain.err
    converted(warm_cache, tmp_path / "cache")
    hostile = run(tmp_path, "features", "--data", "photos", "--max-failed", "1", *arguments)

    assert hostile.status == 0, hostile.err
    assert_each_is_told_once(hostile, tmp_path, expected[1])
    noted = [note["path"] for note in hostile.report["notes"]]
    unusual = [line for line in hostile.lines if not line.startswith(KNOWN) and " pictures: " not in line]
    assert all(any(path in line for path in noted) for line in unusual), unusual
    more = hostile.peak_of_all - plain.peak_of_all if isolate else hostile.peak - plain.peak
    assert more <= GIGABYTE
    tried, failed = hostile.report["images"] - 20, hostile.report["failed"]
    figure(
        7,
        f"{tried} hostile files{' with --isolate' if isolate else ''}: {failed} with one line of reason, "
        f"{tried - failed} with features, peak memory {more / 1e6:+.0f} MB",
    )


# What the command says on stderr of any folder.
KNOWN = ("passed over ", "engine: ", "to compute: ", "reading: ", "features: ")


def assert_each_is_told_once(hostile: Run, folder: Path, expected: dict[str, bool | None]) -> None:
    reasons = {failure["path"]: failure["reason"] for failure in hostile.report["failures"]}
    assert len(reasons) == hostile.report["failed"] == len(hostile.report["failures"])
    for path, reason in reasons.items():
        assert reason and reason.isprintable() and len(reason) < 300, path
        assert os.fsdecode(hostile.out).count(f"{path} ") <= 1
    found = {name: f"photos/hostile/{name}" not in reasons for name in expected}
    wrong = {name: found[name] for name, good in expected.items() if good is not None and found[name] != good}
    assert not wrong, {name: reasons.get(f"photos/hostile/{name}") for name in wrong}
    assert len(expected) >= 60
    assert Counter(found.values()).keys() == {True, False}
    images = [str(path) for path in folder.glob("photos/*/*") if path.is_file() and path.suffix != ".md"]
    with_rows = [path for path in images if os.path.relpath(path, folder) not in reasons]
    outcome, rows = pipeline.open_extractor(str(folder / "cache"), **SPEC).features(with_rows)
    assert outcome.forward_passes == 0
    assert len(rows) == len(with_rows) == hostile.report["images"] - hostile.report["failed"]
    assert np.isfinite(rows).all()


def others(request: pytest.FixtureRequest) -> list[Path]:
    """Folders of hostile files beside those that are made here."""
    given = request.config.getoption("--hostile")
    shared = Path(os.environ.get("BOTTLENECK_SHARED", "")) / "images" / "hostile"
    return [folder.resolve() for folder in (given, shared) if folder and folder.is_dir()]
