"""Groups from the command line and from make to the report, the record and what `evaluate` says of a leak."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import REPOSITORY

import pipeline

SITES = 4  # every class is at each, 3 pictures


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of `surfaces`: 4 sites with 9 pictures, 3 of each class."""
    names = [(kind, number) for kind in ("brick", "grass", "gravel") for number in range(12)]
    frame = pd.DataFrame(
        {
            "filename": [f"{kind}/{kind}.{number}.png" for kind, number in names],
            "species": [kind for kind, _ in names],
            "site": [f"S{number % SITES}" for _, number in names],
        }
    )
    path = tmp_path_factory.mktemp("table") / "table.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.fixture
def words(surfaces: Path, table: Path, warm_cache: Path, tmp_path: Path) -> list[object]:
    columns = ["--path-column", "filename", "--label-column", "species"]
    cache = shutil.copytree(warm_cache, tmp_path / "words")
    return ["--data", surfaces, "--labels", table, *columns, "--backbone", "nano", "--cache-dir", cache]


def sites_of(paths: list[str]) -> set[int]:
    return {int(Path(path).stem.split(".")[1]) % SITES for path in paths}


def test_training_keeps_sites_together_and_evaluating_tells_known_ones(
    run: Callable[..., tuple[int, str, str]], words: list[object], table: Path, tmp_path: Path
) -> None:
    model, report = tmp_path / "m.joblib", tmp_path / "report.json"
    words = [*words, "--model", model, "--json", report]
    status, _, err = run("train", *words, "--group-column", "site", "--test-size", 0.25)
    assert status == 0 and "groups: 4 by column 'site', 9 pictures each, such as 'S0'" in err
    assert "keeps its pictures together" not in err
    found = json.loads(report.read_text())
    names = ["S0", "S1", "S2", "S3"]
    empty = {"alone": 0, "leaked_groups": [], "leaked_pictures": 0}
    assert found["groups"] == {"by": "column:site", "count": 4, "names": names} | empty
    record = json.loads(model.with_suffix(".json").read_text())
    assert record["groups"]["by"] == "column:site" and record["groups"]["count"] == 3
    assert "groups" not in record["metrics"]
    (held_out,) = {*names} - {*record["groups"]["names"]}
    predictions = pd.read_csv(model.with_suffix(".predictions.csv"))
    assert set(predictions["group"]) == {held_out} and len(predictions) == 9

    shared = [word for word in words if word not in ("--backbone", "nano")]
    status, _, err = run("evaluate", *shared, "--group-by", "column:site")
    assert status == 0 and "whose groups are trained on" not in err
    assert json.loads(report.read_text())["groups"]["leaked_pictures"] == 0
    # Other pictures, of a site that is known and of one that is not: those left out before, with other names of sites.
    frame = pd.read_csv(table)
    of_site = frame["site"] == held_out
    frame.loc[of_site, "site"] = [record["groups"]["names"][0]] * 5 + ["S9"] * 4
    frame[of_site].to_csv(tmp_path / "new.csv", index=False)
    shared[shared.index("--labels") + 1] = tmp_path / "new.csv"
    status, _, err = run("evaluate", *shared, "--group-column", "site")
    assert status == 0
    assert f"whose groups are trained on: 5 (groups: 1, such as {record['groups']['names'][0]!r})" in err
    found = json.loads(report.read_text())["groups"]
    assert (found["leaked_groups"], found["leaked_pictures"]) == (record["groups"]["names"][:1], 5)


def test_who_forgets_the_groups_of_a_model_is_told(
    run: Callable[..., tuple[int, str, str]], words: list[object], tmp_path: Path
) -> None:
    words = [*words, "--model", tmp_path / "m.joblib"]
    assert run("train", *words, "--head", "centroid", "--group-column", "site", "--test-size", 0.25)[0] == 0
    words = [word for word in words if word not in ("--backbone", "nano")]
    page = ["--output", tmp_path / "report.html", "--no-heatmaps"]
    for command, more in (("evaluate", []), ("report", page)):
        lines = run(command, *words, *more)[2].splitlines()
        told = (
            "warning: the model was trained with groups by column 'site': give --group-column site, else pictures of "
            "one group may stand on both sides and intervals are too narrow"
        )
        assert lines.count(told) == 1, command
    status, _, err = run("evaluate", *words, "--group-pattern", r"(?P<group>\d)\.png", "--json", tmp_path / "e.json")
    assert status == 0 and "give --group-column" not in err
    assert "cannot be told: its groups are by 'column:site', these by 'pattern:(?P<group>" in err
    assert json.loads((tmp_path / "e.json").read_text())["groups"]["leaked_pictures"] is None


def test_a_split_of_the_datas_own_that_parts_groups_is_announced(
    run: Callable[..., tuple[int, str, str]], surfaces: Path, warm_cache: Path, tmp_path: Path
) -> None:
    for part, numbers in (("train", range(8)), ("test", range(6, 10))):
        for kind in ("brick", "grass"):
            for number in numbers:
                folder = tmp_path / "set" / part / kind / f"site{number % 8}"
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copy(surfaces / kind / f"{kind}.{number + (part == 'test')}.png", folder)
    report, cache = tmp_path / "report.json", shutil.copytree(warm_cache, tmp_path / "cache")
    words = ["--data", tmp_path / "set", "--backbone", "nano", "--cache-dir", cache, "--json", report]
    words += ["--label-from", "outermost", "--group-by", "folder"]
    status, _, err = run("train", *words, "--model", tmp_path / "m.joblib")
    assert status == 0 and "whose groups are trained on: 8 (groups: 4, such as 'site0')" in err
    assert json.loads(report.read_text())["groups"]["leaked_groups"] == ["site0", "site1", "site6", "site7"]


def test_comparing_says_by_what(run: Callable[..., tuple[int, str, str]], words: list[object], tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    words = [*words, "--heads", "logreg centroid", "--folds", 4, "--json", report]
    pattern = r"(?P<group>\d)\.png"
    status, _, err = run("compare", *words, "--group-pattern", pattern, "--output", tmp_path / "a.svg")
    assert status == 0 and "groups: 10 by pattern" in err
    assert json.loads(report.read_text())["groups"]["by"] == f"pattern:{pattern}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--group-column", "sites"], "its columns are 'filename', 'species', 'site': choose with --group-column"),
        (["--group-column", "site", "--group-by", "folder"], "--group-column and --group-by both name groups"),
        (["--group-pattern", "x", "--group-column", "site"], "--group-column and --group-pattern both name groups"),
        (["--group-by", "time:soon"], "groups 'time:soon': give a number of seconds above 0, such as time:60"),
        (["--group-by", "time:60"], "no picture is in a group: none has a capture time in its EXIF"),
        (["--group-by", "pattern:(?P<group>zzz)"], "no picture is in a group: --group-pattern"),
        (["--group-by", "column:species"], "class 'brick' is in 1 group"),
    ],
)
def test_wrong_groups_are_refused_in_one_line_before_any_work(
    run: Callable[..., tuple[int, str, str]], words: list[object], tmp_path: Path, options: list[str], message: str
) -> None:
    status, out, err = run("train", *words, "--model", tmp_path / "m.joblib", *options)
    assert (status, out) == (2, "") and message in err.splitlines()[-1]
    assert not (tmp_path / "m.joblib").exists()


def test_a_column_of_sites_is_mentioned_where_nobody_asks_for_groups(
    run: Callable[..., tuple[int, str, str]], words: list[object], tmp_path: Path
) -> None:
    status, _, err = run("train", *words, "--model", tmp_path / "m.joblib", "--head", "centroid")
    assert status == 0
    assert "the table has a column 'site': --group-column site keeps its pictures together" in err.splitlines()


def test_features_take_the_same_options(run: Callable[..., tuple[int, str, str]], words: list[object]) -> None:
    status, out, _ = run("features", *words, "--group-column", "site")
    assert status == 0 and "images 36" in out


def test_from_python_a_mapping_does_the_same(surfaces: Path, warm_cache: Path, tmp_path: Path) -> None:
    sites = {f"{path.parent.name}/{path.name}": int(path.stem.split(".")[1]) % SITES for path in surfaces.glob("*/*")}
    options: dict[str, Any] = {"backbone": "nano", "cache_dir": str(warm_cache), "model": str(tmp_path / "m.joblib")}
    found = pipeline.train(str(surfaces), "centroid", groups=sites, test_size=0.25, cv=4, **options)
    assert found["groups"]["names"] == ["0", "1", "2", "3"] and len(found["cv_scores"]) == 4
    held_out = pd.read_csv(tmp_path / "m.predictions.csv")
    for _, part in held_out.groupby("part"):
        assert len(sites_of(part["path"].tolist())) == 1 == part["group"].nunique() and len(part) == 9


def test_make_hands_groups_to_every_command(tmp_path: Path) -> None:
    """Also where the shell is bash, which has a variable of that name for itself."""
    recorder = tmp_path / ".venv" / "bin" / "python"
    recorder.parent.mkdir(parents=True)
    recorder.write_text('#!/bin/sh\nfor word; do printf "%s\\n" "$word" >> words; done\n')
    recorder.chmod(0o755)
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    bash = shutil.which("bash") or "/bin/sh"
    pattern = r"pattern:(?P<group>site \d+)"
    inherited = {name: value for name, value in os.environ.items() if name not in ("GROUPS", "GROUP_BY", "MAKEFLAGS")}
    for target in ("train", "compare", "evaluate", "report", "predict"):
        for given in ([], [f"GROUPS={pattern}"]):
            command = ["make", "-o", ".venv/.installed", f"SHELL={bash}", target, *given]
            subprocess.run(command, cwd=tmp_path, env=inherited, check=True, capture_output=True)
            said = (tmp_path / "words").read_text().splitlines()
            (tmp_path / "words").unlink()
            assert ("--group-by" in said) == bool(given), target
            if given:
                assert said[said.index("--group-by") + 1] == pattern
