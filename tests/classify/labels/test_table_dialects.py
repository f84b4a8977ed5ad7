"""Every dialect in which a program writes a table gives the same rows."""

import codecs
import csv
import io
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.errors import UserError
from classify.labels.label_names import label_of
from classify.labels.label_tables import read_table

# Cells that a dialect may trip over, beside any text that can be seen. Quotes and white space around a cell are no
# part of it, so none are made there.
TRICKY = st.sampled_from(
    [
        "a.jpg",
        "größer",
        "a, b; c",
        'say "cheese" twice',
        "two\nlines",
        "sep=;",
        "NA",
        "01",
        "it's",
        "ключ",
        "\U0001f98a",
    ]
)
CELLS = (TRICKY | st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1)).filter(
    lambda cell: cell == cell.strip("\"' \ufeff") and cell[0] not in "\"'"
)
ENCODINGS = {"utf-8": 0, "utf-8-sig": 1, "doubled": 2, "utf-16": 1, "utf-16-be": 1, "utf-32": 1}


@st.composite
def dialects(draw):
    """(how a table is encoded, the arguments of `csv.writer`, whether a first line names the delimiter)."""
    told = draw(st.booleans())
    writer = {
        "delimiter": draw(st.sampled_from(",;\t|" if told else ",;\t")),
        "quoting": draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])),
        "lineterminator": draw(st.sampled_from(["\n", "\r\n"])),
    }
    return draw(st.sampled_from([*ENCODINGS])), writer, told


def encoded(rows: list[list[str]], encoding: str, writer: dict[str, object], told: bool) -> bytes:
    text = io.StringIO()
    if told:
        text.write(f"sep={writer['delimiter']}{writer['lineterminator']}")
    csv.writer(text, **writer).writerows(rows)
    marked = {"doubled": "\ufeff\ufeff", "utf-16-be": "\ufeff"}.get(encoding, "") + text.getvalue()
    return marked.encode("utf-8" if encoding == "doubled" else encoding)


@settings(max_examples=50)
@given(
    rows=st.lists(st.tuples(CELLS, CELLS | st.just(""), st.text("ab ,;")), min_size=1),
    header=st.permutations(["path", "label", "note"]),
    spelled=st.sampled_from([str, str.upper, str.title, " {} ".format]),
    dialect=dialects(),
)
def test_rows_come_back_whatever_the_dialect(tmp_path_factory, rows, header, spelled, dialect):
    path = tmp_path_factory.mktemp("dialects") / "t.csv"
    cells = [dict(zip(("path", "label", "note"), row, strict=True)) for row in rows]
    lines = [[spelled(name) for name in header], *([row[name] for name in header] for row in cells)]
    path.write_bytes(encoded(lines, *dialect))
    table = read_table(str(path))
    assert table.paths == [row["path"] for row in cells]
    assert table.labels == [label_of(row["label"]) for row in cells]
    assert (table.name, table.folder, table.splits) == (str(path), str(path.parent), {})


@settings(max_examples=50)
@given(rows=st.lists(st.tuples(CELLS, CELLS), min_size=1))
def test_csv_parquet_and_dataframe_give_the_same_rows(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("same")
    frame = pd.DataFrame(rows, columns=["path", "label"])
    frame.to_csv(folder / "t.csv", index=False)
    frame.to_parquet(folder / "t.parquet")
    tables = [read_table(table) for table in (frame, folder / "t.csv", folder / "t.parquet")]
    assert tables[0].paths == tables[1].paths == tables[2].paths == [path for path, _ in rows]
    assert tables[0].labels == tables[1].labels == tables[2].labels


@given(
    st.binary()
    | st.lists(st.sampled_from([b"path,label\n", b"sep=", b"\xef\xbb\xbf", b"a,b\n", b'"', b"\r"])).map(b"".join)
)
def test_any_bytes_are_a_table_or_one_line(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("bytes") / "t.csv"
    path.write_bytes(data)
    try:
        table = read_table(str(path))
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert len(table.paths) == len(table.labels) and all(table.paths)


@pytest.mark.parametrize(
    "first", ["sep=;\n", "sep=;\r\n", '"sep=;"\n', "sep=;;;\n", "\ufeffsep=;\n", "\ufeff\ufeffsep=;\n"]
)
def test_the_first_line_of_excel_names_the_delimiter(tmp_path, first):
    (tmp_path / "t.csv").write_text(first + "path;label\ra,b.jpg;x\r")
    table = read_table(tmp_path / "t.csv")
    assert (table.paths, table.labels) == (["a,b.jpg"], ["x"])


def test_lines_are_counted_with_it(tmp_path):
    (tmp_path / "t.csv").write_text("sep=,\npath,label\na.jpg,x\nb.jpg,x,y\n")
    with pytest.raises(UserError, match="line 4 of"):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize(
    "header", ["Path,LABEL", " path , Label", "'path','label'", "\ufeff\ufeffpath,label", '"""path""",label']
)
def test_columns_are_found_in_any_case(tmp_path, header):
    (tmp_path / "t.csv").write_text(f"{header}\na.jpg,x\n")
    assert read_table(tmp_path / "t.csv").labels == ["x"]


def test_a_column_of_the_very_name_comes_first(tmp_path):
    (tmp_path / "t.csv").write_text("Path,path,label\na.jpg,b.jpg,x\n")
    assert read_table(tmp_path / "t.csv").paths == ["b.jpg"]
    (tmp_path / "t.csv").write_text("Path,PATH,label\na.jpg,b.jpg,x\n")
    with pytest.raises(UserError, match="column 'path' twice; its columns are 'Path', 'PATH', 'label'"):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize("encoding", ["cp1252", "cp1251", "shift-jis"])
def test_another_encoding_is_named_as_the_reason(tmp_path, encoding):
    text = {"cp1252": "größer", "cp1251": "ключ", "shift-jis": "犬"}[encoding]
    (tmp_path / "t.csv").write_bytes(f"path,label\na.jpg,{text}\n".encode(encoding))
    with pytest.raises(UserError, match=r"is not UTF-8 text .* at byte .*: save it as CSV in UTF-8"):
        read_table(tmp_path / "t.csv")


def test_excels_unicode_text_is_read(tmp_path):
    (tmp_path / "t.txt").write_bytes(codecs.BOM_UTF16_LE + "path\tlabel\r\nö/a.jpg\tgrößer\r\n".encode("utf-16-le"))
    table = read_table(tmp_path / "t.txt")
    assert (table.paths, table.labels) == (["ö/a.jpg"], ["größer"])


def test_the_table_itself_is_found_in_either_form(tmp_path):
    Path(tmp_path / "e\u0301.csv").write_text("path,label\na.jpg,x\n")
    assert read_table(tmp_path / "\u00e9.csv").name == str(tmp_path / "e\u0301.csv")
