"""Which picture a row of a table means, however its path is written, and rows whose picture is not there."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from helpers.filled_folders import by_name, fill

import classify.labels.label_sources
import classify.labels.row_pictures
import pipeline
from cache.errors import UserError
from classify.labels.read_labels import find_labelled, read_labels
from featurize.pictures.find_images import find_images

NAMES = ("daisy/a.png", "daisy/b.png", "rose/a.png", "rose/c.png")


def flowers(folder: Path) -> str:
    return fill(folder, *NAMES)


def table(path: Path, written: list[str], header: str = "path,label") -> str:
    """A table with the paths written so, the label being the folder of the picture in `NAMES`."""
    lines = [f"{value},{Path(name).parent}" for value, name in zip(written, NAMES, strict=True)]
    path.write_text("\n".join([header, *lines, ""]))
    return str(path)


@pytest.mark.parametrize(
    "spelled",
    [
        "{path} ", "  {path}", "{path}\t", '"{path}"', "'{path}'", '"""{path}"""', " '{path}' ", "./{path}",
        "{path}\u00a0", "\ufeff{path}", "\u200b{path}",
    ],
)  # fmt: skip
def test_what_is_around_a_path_is_no_part_of_it(tmp_path, spelled):
    data = flowers(tmp_path / "set")
    written = [spelled.format(path=name) for name in NAMES]
    written[0] = NAMES[0]  # the reported case: some rows only
    labelled = read_labels(data, labels=table(tmp_path / "t.csv", written))
    assert by_name(labelled, data) == {name: str(Path(name).parent) for name in NAMES}
    assert labelled.failures == []


@pytest.mark.parametrize("place", ["{}", r"C:\photos\{}", r"D:\Users\me\My set\{}", r"\\server\share\{}", r".\{}"])
@pytest.mark.parametrize("with_data", [True, False])
def test_paths_of_windows_are_found(tmp_path, caplog, place, with_data):
    data = flowers(tmp_path / "set")
    where = table(tmp_path / "set" / "t.csv", [place.format(name.replace("/", "\\")) for name in NAMES])
    labelled = read_labels(data if with_data else None, labels=where)
    assert by_name(labelled, data) == {name: str(Path(name).parent) for name in NAMES}
    assert ("which is not here: 4 of them" in caplog.text) == (place not in ("{}", r".\{}"))


@pytest.mark.parametrize("with_data", [True, False])
def test_the_folder_is_listed_once_however_many_rows_are_not_there(tmp_path, monkeypatch, with_data):
    data = flowers(tmp_path)
    where = table(tmp_path / "t.csv", [f"C:\\photos\\{name}".replace("/", "\\") for name in NAMES])
    listed = []
    for module in (classify.labels.label_sources, classify.labels.row_pictures):
        monkeypatch.setattr(module, "find_images", lambda folder: listed.append(folder) or find_images(folder))
    assert len(read_labels(data if with_data else None, labels=where).paths) == 4
    assert len(listed) == 1


def test_they_are_found_by_the_longest_end_that_fits_one_picture(tmp_path):
    data = fill(tmp_path / "set", *NAMES, "old/daisy/a.png")
    where = table(tmp_path / "t.csv", [f"C:\\flowers\\{name}".replace("/", "\\") for name in NAMES])
    assert by_name(read_labels(data, labels=where), data) == {name: str(Path(name).parent) for name in NAMES}
    data = fill(tmp_path / "deep", *(f"2024/{name}" for name in NAMES))
    assert len(read_labels(data, labels=where).paths) == 4
    fill(tmp_path / "deep", *(f"2025/{name}" for name in NAMES))
    with pytest.raises(UserError, match="picture is not there: 4 of 4"):
        read_labels(data, labels=where)


def test_a_picture_that_is_gone_is_no_other_one_of_its_name(tmp_path):
    """C:\\photos\\rose\\b.png is not there: daisy/b.png is another picture, as is b.png."""
    data = fill(tmp_path / "set", *NAMES, "b.png")
    where = Path(table(tmp_path / "t.csv", [f"C:\\photos\\{name}".replace("/", "\\") for name in NAMES]))
    where.write_text(where.read_text() + "C:\\photos\\rose\\b.png,rose\n")
    labelled = read_labels(data, labels=str(where), max_missing=0.5)
    assert by_name(labelled, data) == {name: str(Path(name).parent) for name in NAMES}
    assert len(labelled.failures) == 1
    where.write_text("path,label\n" + "".join(f"{name},{name[:4]}\n" for name in NAMES) + "tulip/b.png,tulip\n")
    assert len(read_labels(data, labels=str(where), max_missing=0.5).paths) == 4


class TestRelative:
    def test_to_the_data_the_table_and_the_current_folder(self, tmp_path, monkeypatch):
        data = flowers(tmp_path / "set")
        fill(tmp_path / "tables", "own.png")
        fill(tmp_path / "here", "current.png")
        monkeypatch.chdir(tmp_path / "here")
        rows = "path,label\ndaisy/a.png,a\nown.png,b\ncurrent.png,c\n"
        (tmp_path / "tables" / "t.csv").write_text(rows)
        labelled = read_labels(data, labels=str(tmp_path / "tables" / "t.csv"))
        assert {Path(path).name: label for path, label in zip(labelled.paths, labelled.labels, strict=True)} == {
            "a.png": "a", "own.png": "b", "current.png": "c"
        }  # fmt: skip

    def test_what_the_data_have_comes_first(self, tmp_path, monkeypatch):
        data = fill(tmp_path / "set", "a.png", "b.png")
        fill(tmp_path, "a.png", "b.png")
        monkeypatch.chdir(tmp_path)
        (tmp_path / "t.csv").write_text("path,label\na.png,a\nb.png,b\n")
        assert by_name(read_labels(data, labels="t.csv"), data) == {"a.png": "a", "b.png": "b"}

    def test_one_picture_in_two_spellings_is_one_picture(self, tmp_path, monkeypatch):
        data = flowers(tmp_path / "set")
        monkeypatch.chdir(tmp_path)
        rows = f"path,label\ndaisy/a.png,x\nset/daisy/a.png,x\n{data}/daisy/a.png,x\ndaisy\\a.png ,x\nrose/a.png,y\n"
        (tmp_path / "t.csv").write_text(rows)
        assert by_name(read_labels(data, labels="t.csv"), data) == {"daisy/a.png": "x", "rose/a.png": "y"}


class TestMissing:
    ROWS = tuple(f"{number}.png" for number in range(20))

    def table(self, folder: Path, gone: int) -> tuple[str, str]:
        data = fill(folder / "set", *self.ROWS[gone:], "unlisted.png")
        lines = [f"{name},{'ab'[number % 2]}" for number, name in enumerate(self.ROWS)]
        (folder / "t.csv").write_text("\n".join(["path,label", *lines]))
        return data, str(folder / "t.csv")

    @pytest.mark.parametrize("gone", [1, 2])
    def test_few_rows_are_said_and_count_as_failures(self, tmp_path, caplog, gone):
        data, where = self.table(tmp_path, gone)
        assert len(read_labels(data, labels=where).failures) == gone
        assert f"picture is not there: {gone} of 20, the first is '0.png' (looked for in" in caplog.text

    @pytest.mark.parametrize("gone", [3, 7, 20])
    def test_many_are_refused_in_one_line(self, tmp_path, gone):
        data, where = self.table(tmp_path, gone)
        for read in (read_labels, find_labelled):
            with pytest.raises(UserError, match=rf"{gone} of 20, the first is '0.png' .*--max-missing") as error:
                read(data, labels=where)
            assert "\n" not in str(error.value)

    def test_unless_so_many_may_be(self, tmp_path):
        data, where = self.table(tmp_path, 7)
        labelled = read_labels(data, labels=where, max_missing=0.5)
        assert (len(labelled.paths), len(labelled.failures)) == (13, 7)

    def test_rows_without_label_count_too(self, tmp_path):
        data = fill(tmp_path / "set", "1.png", "2.png")
        (tmp_path / "t.csv").write_text("path,label\n1.png,a\n2.png,b\ngone.png,\n")
        with pytest.raises(UserError, match="not there: 1 of 3"):
            read_labels(data, labels=str(tmp_path / "t.csv"))

    def test_on_the_command_line(self, photos, tmp_path, run):
        """A third of the paths is wrong: refused; allowed, they count as failed, and --max-failed still holds."""
        paths = sorted(path.relative_to(photos) for path in photos.rglob("*.png"))
        rows = [f"{path if number % 3 else f'not/{path}'},{path.parent}" for number, path in enumerate(paths)]
        (tmp_path / "t.csv").write_text("\n".join(["path,label", *rows]))
        words = ["--data", photos, "--labels", tmp_path / "t.csv", "--backbone", "nano"]
        words += ["--cache-dir", tmp_path / "cache", "--model", tmp_path / "m.joblib"]
        status, _, err = run("train", *words)
        assert (status, err.count("picture is not there: 12 of 36")) == (2, 1)
        status, out, _ = run("train", *words, "--max-missing", "0.4", "--json", tmp_path / "r.json")
        assert status == 0 and "failed 12" in out
        assert json.loads((tmp_path / "r.json").read_text())["failed"] == 12
        assert run("train", *words, "--max-missing", "0.4", "--max-failed", "0.2")[0] == 1


@pytest.mark.parametrize("delimiter", [";", "\t"])
@pytest.mark.parametrize("where", ["", "elsewhere", "new"])
def test_corrected_predictions_are_trained_on_wherever_the_table_lies(
    photos, tmp_path, run, monkeypatch, delimiter, where
):
    monkeypatch.chdir(tmp_path)
    cache = ["--cache-dir", "cache"]
    assert run("train", "--data", "photos", "--backbone", "nano", "--head", "centroid", *cache)[0] == 0
    for name in ("brick", "grass", "gravel"):  # new pictures, in no folder of their class
        for number in range(12):
            fill(tmp_path, f"new/{name}/x.png")
            (photos / name / f"{name}.{number}.png").rename(tmp_path / "new" / f"{name}.{number}.png")
        (tmp_path / "new" / name / "x.png").unlink()
    status, out, _ = run("predict", "--head", "centroid", *cache, "--images", "new")
    rows = list(csv.reader(out.splitlines()))
    assert (status, len(rows)) == (0, 37)
    rows[1][1] = "corrected"
    rows[2][1] = "corrected"
    (tmp_path / where).mkdir(exist_ok=True)
    with (tmp_path / where / "labels.csv").open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)  # as a spreadsheet saves it
    words = ["--labels", str(Path(where) / "labels.csv"), "--backbone", "nano", *cache, "--json", "r.json"]
    for data in (["--data", "new"], []):
        assert run("train", *data, *words)[0] == 0
        report = json.loads(Path("r.json").read_text())
        assert (report["images"], report["failed"]) == (36, 0)
        assert "corrected" in report["classes"]
    monkeypatch.chdir(tmp_path.parent)
    found = read_labels(str(tmp_path / "new"), labels=str(tmp_path / where / "labels.csv"))
    assert found.labels.count("corrected") == 2


class TestDataFrame:
    def test_is_read_as_a_table(self, tmp_path, monkeypatch):
        data = flowers(tmp_path / "set")
        frame = pd.DataFrame({"Path": [*NAMES], "kind": [1, 2, None, 1]}, dtype=object)
        labelled = read_labels(data, labels=frame, label_column="kind")
        assert by_name(labelled, data) == {"daisy/a.png": "1", "daisy/b.png": "2", "rose/c.png": "1"}
        assert len(labelled.unlabelled) == 1
        monkeypatch.chdir(tmp_path / "set")
        assert len(read_labels(None, labels=frame, label_column="kind").paths) == 3

    def test_of_any_types(self, tmp_path):
        data = flowers(tmp_path)
        frame = pd.DataFrame({
            "path": [Path(data) / name for name in NAMES],
            "label": pd.Categorical(["a", "b", "a", None]),
            "split": pd.array(["train", "train", "test", pd.NA], dtype="string"),
        })  # fmt: skip
        assert read_labels(data, labels=frame).parts == ["train", "train", "test"]

    def test_what_is_wrong_is_one_line(self, tmp_path):
        frame = pd.DataFrame({"file": ["a.png"], "label": ["a"]})
        with pytest.raises(UserError, match="'the DataFrame' has no column 'path'; its columns are 'file', 'label'"):
            read_labels(str(tmp_path), labels=frame)
        with pytest.raises(UserError, match="'the DataFrame' whose picture is not there: 1 of 1"):
            read_labels(str(tmp_path), labels=frame, path_column="file")

    def test_is_trained_evaluated_and_reported_on(self, photos, tmp_path):
        paths = sorted(photos.rglob("*.png"))
        frame = pd.DataFrame({"path": map(str, paths), "label": [path.parent.name for path in paths]})
        model, cache = str(tmp_path / "m.joblib"), str(tmp_path / "cache")
        report = pipeline.train(labels=frame, backbone="nano", cache_dir=cache, model=model)
        assert report["images"] == 36
        assert pipeline.evaluate(labels=frame, model=model)["accuracy"] == report["accuracy"]
        assert pipeline.report(labels=frame, model=model, output=str(tmp_path / "r.html")).data == "the DataFrame"

    def test_pandas_is_not_imported_for_a_file(self, tmp_path):
        data = flowers(tmp_path)
        where = table(tmp_path / "t.csv", [*NAMES])
        code = "import sys; from classify.labels.read_labels import read_labels;"
        code += "read_labels(*sys.argv[1:2], labels=sys.argv[2]);"
        code += "print([m for m in ('pandas', 'pyarrow', 'sklearn', 'numpy', 'PIL') if m in sys.modules])"
        done = subprocess.run([sys.executable, "-c", code, data, where], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"
