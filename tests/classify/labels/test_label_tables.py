"""Labels from CSV and Parquet tables."""

import builtins
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from helpers.filled_folders import by_name, fill
from pyarrow import parquet

from cache.errors import UserError
from classify.labels.label_tables import MOST_ROWS
from classify.labels.read_labels import read_labels


def write(path: Path, text: str, encoding: str = "utf-8") -> str:
    path.write_text(text, encoding=encoding)
    return str(path)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_delimiter_and_byte_order_mark_are_recognised(tmp_path, delimiter, encoding):
    data = fill(tmp_path / "set", "x/1.png", "2.png")
    lines = ["path,label,note", 'x/1.png,größer,"a, b; c"', "2.png,klein,"]
    text = "\n".join(line if '"' in line else line.replace(",", delimiter) for line in lines)
    text = text.replace('x/1.png,größer,"', f'x/1.png{delimiter}größer{delimiter}"')
    table = write(tmp_path / "labels.csv", text, encoding)
    assert by_name(read_labels(data, labels=table), data) == {"x/1.png": "größer", "2.png": "klein"}


def test_values_are_text_whatever_they_look_like(tmp_path):
    data = fill(tmp_path, *(f"{i}.png" for i in range(6)))
    table = write(tmp_path / "t.csv", "path,label\n0.png,1\n1.png,01\n2.png,NA\n3.png,None\n4.png,1.0\n5.png,true\n")
    labelled = read_labels(data, labels=table)
    assert labelled.labels == ["1", "01", "NA", "None", "1.0", "true"]


def test_without_data_paths_are_relative_to_the_table(tmp_path, monkeypatch):
    fill(tmp_path / "set", "1.png", "2.png", "unlisted.png")
    write(tmp_path / "set" / "t.csv", "path,label\n1.png,a\n2.png,b\n")
    monkeypatch.chdir(tmp_path)
    labelled = read_labels(None, labels="set/t.csv")
    assert labelled.paths == ["set/1.png", "set/2.png"]
    assert labelled.unlabelled == []
    monkeypatch.chdir(tmp_path / "set")
    assert [Path(path).name for path in read_labels(None, labels="t.csv").paths] == ["1.png", "2.png"]


def test_absolute_and_roundabout_paths_are_the_listed_pictures(tmp_path):
    data = fill(tmp_path / "set", "x/1.png", "x/2.png")
    elsewhere = fill(tmp_path / "elsewhere", "3.png")
    rows = f"path,label\n{data}/x/1.png,a\n./x/../x/2.png,b\n{elsewhere}/3.png,c\n"
    labelled = read_labels(data, labels=write(tmp_path / "t.csv", rows))
    assert labelled.paths == [f"{elsewhere}/3.png", f"{data}/x/1.png", f"{data}/x/2.png"]
    assert labelled.unlabelled == []


@pytest.mark.parametrize("with_data", [True, False])
def test_stems_are_matched_as_in_kaggles_dog_breeds(tmp_path, caplog, with_data):
    data = fill(tmp_path, "train/000bec.png", "train/001.v2.png", "test/fff.png")
    table = write(tmp_path / "labels.csv", "id,breed\n000bec,boston_bull\n001.v2,dingo\n")
    labelled = read_labels(data if with_data else None, labels=table, path_column="id", label_column="breed")
    assert by_name(labelled, data) == {"train/000bec.png": "boston_bull", "train/001.v2.png": "dingo"}
    assert set(labelled.parts) == {"all"}
    assert labelled.unlabelled == ([f"{data}/test/fff.png"] if with_data else [])
    assert ("without label, left out: 1," in caplog.text) == with_data


def test_a_stem_means_the_relative_path_first(tmp_path):
    data = fill(tmp_path, "1.png", "sub/1.png", "2.png")
    labelled = read_labels(data, labels=write(tmp_path / "t.csv", "path,label\n1,a\nsub/1,b\n2,c\n"))
    assert by_name(labelled, data) == {"1.png": "a", "sub/1.png": "b", "2.png": "c"}


@pytest.mark.parametrize("names", [("x/1.png", "y/1.png"), ("1.png", "1.jpg")])
def test_an_ambiguous_stem_is_an_error_that_names_both(tmp_path, names):
    data = fill(tmp_path, *names)
    with pytest.raises(UserError) as error:
        read_labels(data, labels=write(tmp_path / "t.csv", "path,label\n1,a\n"))
    assert all(name in str(error.value) for name in names)


def test_an_empty_label_and_an_unlisted_picture_are_unlabelled(tmp_path, caplog):
    data = fill(tmp_path, "1.png", "2.png", "3.png", "4.png")
    table = write(tmp_path / "t.csv", "path,label\n1.png,a\n2.png,b\n3.png,  \n")
    labelled = read_labels(data, labels=table)
    assert [Path(path).name for path in labelled.unlabelled] == ["3.png", "4.png"]
    assert "without label, left out: 2," in caplog.text
    assert [Path(path).name for path in read_labels(None, labels=table).unlabelled] == ["3.png"]


def test_listed_files_that_are_missing_or_broken_are_failures_once(tmp_path):
    data = fill(tmp_path, "1.png", "2.png")
    (tmp_path / "broken.png").symlink_to("nowhere")
    rows = "path,label\n1.png,a\n2.png,b\ngone.png,a\ngone.png,a\nbroken.png,b\nstem,b\n"
    table = write(tmp_path / "t.csv", rows)
    labelled = read_labels(data, labels=table, max_missing=1)
    reasons = {Path(failure.path).name: failure.reason for failure in labelled.failures}
    assert len(labelled.failures) == 3
    assert reasons["gone.png"] == reasons["stem"] == f"listed in {table} but there is no such file"
    assert reasons["broken.png"] == "link to nothing"


def test_one_file_listed_twice_counts_once_or_contradicts(tmp_path):
    data = fill(tmp_path, "1.png", "2.png")
    same = write(tmp_path / "same.csv", "path,label\n1.png,a\n./1.png,a\n2.png,b\n")
    assert len(read_labels(data, labels=same).paths) == 2
    other = write(tmp_path / "other.csv", "path,label\n1.png,a\n1,b\n2.png,b\n")
    with pytest.raises(UserError, match=r"1\.png' two labels, 'a' and 'b'"):
        read_labels(data, labels=other)


def test_the_folders_split_the_pictures_of_a_table_too(tmp_path):
    data = fill(tmp_path, "train/1.png", "train/2.png", "test/3.png", "test/4.png", "more/5.png")
    rows = "path,label\ntrain/1.png,a\ntrain/2.png,b\ntest/3.png,a\nmore/5.png,a\n"
    table = write(tmp_path / "t.csv", rows)
    labelled = read_labels(data, labels=table)
    assert labelled.parts == ["test", "train", "train"]
    assert [Path(path).name for path in labelled.left_out] == ["5.png"]
    assert [Path(path).name for path in labelled.unlabelled] == ["4.png"]
    assert read_labels(None, labels=table).parts == ["test", "train", "train"]


def test_the_order_of_the_rows_changes_nothing(tmp_path):
    data = fill(tmp_path, "1.png", "2.png", "3.png")
    one = write(tmp_path / "one.csv", "path,label\n3.png,a\n1.png,b\n2.png,a\n")
    two = write(tmp_path / "two.csv", "label,path\nb,1.png\na,2.png\na,3.png\n")
    assert read_labels(data, labels=one) == read_labels(data, labels=two)


def test_a_missing_column_lists_those_that_are_there(tmp_path):
    table = write(tmp_path / "t.csv", "id;breed of dog\n1;a\n")
    with pytest.raises(UserError, match=r"no column 'path'; its columns are 'id', 'breed of dog'"):
        read_labels(None, labels=table)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no column 'path'; its columns are none"),
        (b"path,label,label\n1.png,a,b\n", "column 'label' twice"),
        (b"path,label\n1.png,caf\xe9\n", "not UTF-8"),
        ("path,label\n1.png,a\n".encode("utf-16-le"), "UTF-16 without a byte order mark"),
        (b"\xff\xfea", "not UTF-16"),
        (b"PK\x03\x04...", "is a workbook"),
        (b"path,label\n1.png,cat, black\n", "line 2 .* 3 fields and the header 2"),
        (b'path,label\n1.png,"cat\n2.png,dog\n', "cannot be read as CSV"),
        (b"path,label\n,cat\n", "nothing in the column 'path': 1"),
        (b"path,label\n", "no picture a label"),
        (
            b"path,label\ngone.png,cat\n",
            r"picture is not there: 1 of 1, the first is 'gone\.png' .*--max-missing",
        ),
    ],
)
def test_a_table_that_cannot_be_used_is_one_line(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_labels(None, labels=str(tmp_path / "t.csv"))
    assert "\n" not in str(error.value)


def test_trailing_delimiters_and_blank_lines_do_no_harm(tmp_path):
    data = fill(tmp_path, "1.png", "2.png")
    table = write(tmp_path / "t.csv", "\npath, label\n1.png, a,\n\n2.png, b\n,,\n")
    assert read_labels(data, labels=table).labels == ["a", "b"]


def test_a_missing_table_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"no table of labels .*gone\.csv"):
        read_labels(None, labels=str(tmp_path / "gone.csv"))


def test_parquet_gives_text_and_nothing_for_null(tmp_path):
    data = fill(tmp_path, "1.png", "2.png", "3.png", "4.png")
    frame = pd.DataFrame({"label": pd.array([1, 2, None, 1], dtype="Int64"), "file": ["1", "2.png", "3.png", "4"]})
    frame.to_parquet(tmp_path / "t.parquet")
    labelled = read_labels(data, labels=str(tmp_path / "t.parquet"), path_column="file")
    assert labelled.labels == ["1", "2", "1"]
    assert [Path(path).name for path in labelled.unlabelled] == ["3.png"]
    with pytest.raises(UserError, match="no column 'path'; its columns are 'label', 'file'"):
        read_labels(data, labels=str(tmp_path / "t.parquet"))


def test_a_damaged_parquet_file_is_one_line(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(UserError, match="cannot be read as Parquet") as error:
        read_labels(None, labels=str(tmp_path / "t.parquet"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([2**40, 0], pa.date64()).view(pa.timestamp("s")),  # the year 34,865
        pa.array([2**62, 0], pa.duration("s")),
        pa.array([b"\xff.png", b"b"]).view(pa.string()),
    ],
)
def test_parquet_with_values_that_python_does_not_have_is_one_line(tmp_path, column):
    parquet.write_table(pa.table({"path": ["1.png", "2.png"], "label": column}), tmp_path / "t.parquet")
    with pytest.raises(UserError, match="cannot be read as Parquet") as error:
        read_labels(None, labels=str(tmp_path / "t.parquet"))
    assert "\n" not in str(error.value)


def test_parquet_that_claims_rows_without_end_is_refused_unread(tmp_path):
    column = pa.DictionaryArray.from_arrays(pa.array([0] * (MOST_ROWS + 1), pa.int8()), ["a"])
    parquet.write_table(pa.table({"path": column, "label": column}), tmp_path / "t.parquet")
    assert (tmp_path / "t.parquet").stat().st_size < 100_000
    with pytest.raises(UserError, match=f"rows, more than {MOST_ROWS}"):
        read_labels(None, labels=str(tmp_path / "t.parquet"))


def test_labels_of_bytes_that_are_no_utf8_become_text(tmp_path):
    data = fill(tmp_path, "1.png", "2.png")
    columns = {"path": ["1.png", "2.png"], "label": [b"caf\xe9", b"bar"]}
    parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    assert read_labels(data, labels=str(tmp_path / "t.parquet")).labels == ["caf\\xe9", "bar"]


def test_a_label_with_nul_is_refused(tmp_path):
    table = write(tmp_path / "t.csv", "path,label\n1.png,a\n2.png,a\0\n")
    with pytest.raises(UserError, match="label with a NUL character in it, 'a"):
        read_labels(None, labels=table)


def test_the_columns_of_a_strange_table_are_shown_in_short(tmp_path):
    table = write(tmp_path / "t.csv", "x" * 100_000 + ",label\n1.png,a\n")
    with pytest.raises(UserError, match="no column 'path'") as error:
        read_labels(None, labels=table)
    assert len(str(error.value)) < 1000


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    real_import = builtins.__import__

    def without_pyarrow(name, *args, **kwargs):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    monkeypatch.setattr(builtins, "__import__", without_pyarrow)
    with pytest.raises(UserError, match=r"pip install '\.\[parquet\]'"):
        read_labels(None, labels=str(tmp_path / "t.parquet"))
