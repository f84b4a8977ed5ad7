"""Point 10: one bad image never stops the others; too many end with a non-zero exit, and what is computed is kept."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import SPEC
from reliability.conftest import Count, Figure
from reliability.harness.real_run import Run, converted, run

import pipeline
from featurize.pictures.find_images import find_images

ARGUMENTS = ("--backbone", "nano", "--cache-dir", "cache", "--data", "photos")


@pytest.fixture
def damaged(
    tmp_path: Path, warm_cache: Path, photographs: Callable[[int], Path], count: Count, seed: int
) -> tuple[Path, str, int]:
    """(working folder, path of the one bad image in its photos/, how many there are)."""
    shutil.copytree(photographs(count(1000, 100)), tmp_path / "photos")
    converted(warm_cache, tmp_path / "cache")
    paths = find_images(str(tmp_path / "photos")).images
    bad = Path(np.random.default_rng(seed).choice(paths))
    bad.write_bytes(bad.read_bytes()[: bad.stat().st_size // 2])
    return tmp_path, str(bad.relative_to(tmp_path)), len(paths)


def assert_named(done: Run, bad: str, number: int) -> str:
    """That the report and stdout name the one bad image; returns the reason."""
    (failure,) = done.report["failures"]
    assert failure["path"] == bad
    assert "truncated" in failure["reason"]
    assert (done.report["images"], done.report["failed"]) == (number, 1)
    assert f"  {bad}  {failure['reason']}\n" in done.out.decode()
    return str(failure["reason"])


def test_one_bad_image_among_many(damaged: tuple[Path, str, int], figure: Figure) -> None:
    folder, bad, number = damaged
    done = run(folder, "features", *ARGUMENTS)
    assert done.status == 0, done.err
    assert_named(done, bad, number)
    assert done.report["computed"] == done.report["forward_passes"] == number - 1
    good = [path for path in find_images(str(folder / "photos")).images if not path.endswith(bad)]
    outcome, rows = pipeline.open_extractor(str(folder / "cache"), **SPEC).features(good)
    assert (len(rows), outcome.forward_passes) == (number - 1, 0)
    assert np.isfinite(rows).all()

    again = run(folder, "features", *ARGUMENTS)
    assert (again.status, again.report["computed"], again.report["cached"]) == (0, 0, number - 1)
    assert_named(again, bad, number)

    strict = run(folder, "features", *ARGUMENTS, "--max-failed", "0")
    assert strict.status == 1
    assert_named(strict, bad, number)
    (error,) = [line for line in strict.lines if line.startswith("error: ")]
    assert error == f"error: 1 of {number} images failed, more than --max-failed 0 allows"
    figure(10, f"1 bad image among {number:,}: {done.report['computed']} rows, the failure counted and named")


@pytest.mark.parametrize("isolate", [False, True], ids=["here", "isolate"])
def test_too_many_bad_images_end_with_an_error_and_the_rest_is_kept(
    damaged: tuple[Path, str, int], figure: Figure, isolate: bool
) -> None:
    folder, _, number = damaged
    paths = find_images(str(folder / "photos")).images
    for path in paths[: number // 5]:
        Path(path).write_bytes(b"no picture")
    options = ["--isolate"] if isolate else []
    done = run(folder, "features", *ARGUMENTS, "--max-failed", "0.1", *options)
    failed = done.report["failed"]
    assert done.status == 1
    assert number // 5 <= failed <= number // 5 + 1
    assert done.lines[-1] == f"error: {failed} of {number} images failed, more than --max-failed 0.1 allows"
    again = run(folder, "features", *ARGUMENTS, "--max-failed", "0.3")
    assert (again.status, again.report["computed"], again.report["cached"]) == (0, 0, number - failed)
    trained = run(folder, "train", *ARGUMENTS, "--max-failed", "0.1")
    assert (trained.status, trained.report["accuracy"]) == (1, None)
    assert not list(folder.glob("models/*"))
    if not isolate:
        figure(10, f"{failed} among {number:,} with --max-failed 0.1: exit status 1, all other rows kept, no model")


def test_the_other_commands_name_it_and_go_on(damaged: tuple[Path, str, int]) -> None:
    folder, bad, number = damaged
    trained = run(folder, "train", *ARGUMENTS)
    assert trained.status == 0, trained.err
    reason = assert_named(trained, bad, number)

    for path in find_images(str(folder / "photos")).images:
        with open(path, "ab") as file:
            file.write(b"\0")  # other bytes, the same picture: scored, and a near-duplicate of one that was trained on
    evaluated = run(folder, "evaluate", "--data", "photos")
    assert evaluated.status == 0, evaluated.err
    assert_named(evaluated, bad, number)
    assert sum(map(sum, evaluated.report["confusion_matrix"])) == number - 1
    without = evaluated.report["without_leaked"]
    assert without["n"] == number - 1 - evaluated.report["leaked"] > 0

    predicted = run(folder, "predict", "--images", "photos", report=False)
    assert predicted.status == 0, predicted.err
    (warning,) = [line for line in predicted.lines if line.startswith("warning: ")]
    assert warning.startswith(f"warning: no prediction for {bad}: {reason.split('(')[0]}")
    lines = predicted.out.decode().splitlines()
    assert len(lines) == 1 + number
    assert [line for line in lines if line.endswith(",,,")] == [f"{bad},,,"]
    strict = run(folder, "predict", "--images", "photos", "--max-failed", "0", report=False)
    assert (strict.status, strict.out) == (1, predicted.out)
