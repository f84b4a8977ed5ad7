"""Labels from a table (CSV, Parquet, a DataFrame of pandas): the text of its rows."""

import codecs
import csv
import io
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from cache.errors import UserError
from classify.labels.label_names import label_of
from classify.labels.label_options import AnyTable
from classify.labels.own_split import COLUMNS, FILLERS
from featurize.pictures.unicode_paths import on_disk

if TYPE_CHECKING:
    import pandas as pd

PARQUET_SUFFIXES = {".parquet", ".pq"}
DELIMITERS = ",;\t"
SHOWN_COLUMNS = 20
MOST_ROWS = 2**24  # of a Parquet table: a few bytes can claim any number of them

# Excel's "Unicode text" is UTF-16. UTF-32 first: its mark begins with that of UTF-16.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
SEPARATOR = re.compile(r"""["']?sep=(.)["']?[,;\t]*(?:\r\n|\r|\n|$)""")  # a first line that tells Excel the delimiter

Columns = tuple[list[str], list[str], dict[str, list[str]]]  # paths, labels, what may be a split by its name


@dataclass
class Table:
    """The rows of a table of n rows, as text: paths, labels ("" where there is none) and columns like "split"."""

    name: str  # as messages call it
    folder: str  # where it lies; the current folder for a DataFrame
    paths: list[str]
    labels: list[str]
    splits: dict[str, list[str]] = field(default_factory=dict)  # column -> its n values


def table_name(table: AnyTable | None) -> str:
    """A table as messages call it."""
    return "the DataFrame" if _is_frame(table) else os.fspath(table)  # type: ignore[arg-type]


def read_table(table: AnyTable, path_column: str = "path", label_column: str = "label") -> Table:
    """Read the rows of a table; every value is text, whatever it looks like ("1", "NA").

    table: a pandas DataFrame, or a file. A suffix of Parquet means Parquet and needs pyarrow; anything else is CSV with
    a header line, in UTF-8 (or UTF-16 with a byte order mark), its delimiter `,`, `;` or tab, or as its first line
    `sep=` says. Names of columns are found in any case. White space and quotes around a value are no part of it.

    Raises UserError for a table that cannot be read, or lacks one of the columns or a path.
    """
    name, folder = table_name(table), "."
    if _is_frame(table):
        columns = _frame_columns(table, path_column, label_column, name)
    else:
        name = on_disk(name)
        folder = os.path.dirname(name) or "."
        if not Path(name).is_file():
            raise UserError(f"there is no table of labels {name!r}")
        read = _parquet_columns if Path(name).suffix.lower() in PARQUET_SUFFIXES else _csv_columns
        columns = read(name, path_column, label_column)
    paths, labels, splits = columns
    if without_path := sum(not bare(path) for path in paths):
        raise UserError(f"{name!r} has rows with nothing in the column {path_column!r}: {without_path}")
    if strange := next((label for label in labels if "\0" in label), None):  # numpy drops NUL at the end of a text
        raise UserError(f"{name!r} has a label with a NUL character in it, {strange!r:.80}: take it out")
    labels = [label_of(bare(label)) for label in labels]
    texts = {column: [bare(cell) for cell in cells] for column, cells in splits.items()}
    return Table(name, folder, paths, labels, texts)


def bare(cell: str) -> str:
    """A cell without white space, byte order marks and quotes around it."""
    cell = cell.strip().strip("\ufeff").strip()
    quoted = len(cell) > 1 and cell[0] == cell[-1] and cell[0] in "\"'"
    return cell[1:-1].strip() if quoted else cell


def _csv_columns(table: str, path_column: str, label_column: str) -> Columns:
    text = _csv_text(table)
    told = SEPARATOR.match(text)
    if told:
        text = text[told.end() :]
    delimiters = told[1] if told else DELIMITERS
    try:
        # At most one delimiter makes a header with both columns; else the widest header is worth showing.
        headers = {d: next((cells for _, cells in _csv_lines(text, d, strict=False)), []) for d in delimiters}
        wanted = {_folded(path_column), _folded(label_column)}
        delimiter = max(delimiters, key=lambda d: (wanted <= {*map(_folded, headers[d])}, len(headers[d])))
        header = [*map(bare, headers[delimiter])]
        places = _places(header, path_column, label_column, table)
        columns: list[list[str]] = [[] for _ in places]
        for number, cells in islice(_csv_lines(text, delimiter, strict=True), 1, None):
            if any(cells[len(header) :]):
                raise UserError(
                    f"line {number + bool(told)} of {table!r} has {len(cells)} fields and the header {len(header)}: "
                    "quote values that hold the delimiter"
                )
            for column, place in zip(columns, places, strict=True):
                column.append(cells[place] if place < len(cells) else "")
    except csv.Error as error:
        raise UserError(f"{table!r} cannot be read as CSV: {error}") from None
    return _named(columns, places, header)


def _csv_text(table: str) -> str:
    """The text of a CSV file, without byte order marks."""
    data = Path(table).read_bytes()
    encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8")
    if data.startswith(b"PK\x03\x04"):
        raise UserError(f"{table!r} is a workbook or another archive: save it as CSV in UTF-8")
    if encoding == "utf-8" and b"\0" in data[:4]:
        raise UserError(f"{table!r} looks like UTF-16 without a byte order mark: save it as CSV in UTF-8")
    try:
        return data.decode(encoding).lstrip("\ufeff")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{table!r} is not {encoding.upper()} text ({error.reason} at byte {error.start}): save it as CSV in UTF-8"
        ) from None


def _csv_lines(text: str, delimiter: str, *, strict: bool) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of the lines that hold anything; strict: an open quote is an error."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=strict)
    yield from ((reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells))


def _parquet_columns(table: str, path_column: str, label_column: str) -> Columns:
    try:
        import pyarrow  # type: ignore[import-untyped]
        from pyarrow import parquet
    except ImportError:
        raise UserError(
            f"{table!r}: Parquet needs pyarrow: pip install 'bottleneck-features[parquet]', or give a CSV"
        ) from None
    try:
        with parquet.ParquetFile(table) as file:
            header = file.schema_arrow.names
            places = _places(header, path_column, label_column, table)
            if file.metadata.num_rows > MOST_ROWS:
                raise UserError(f"{table!r} claims to have {file.metadata.num_rows} rows, more than {MOST_ROWS}")
            read = file.read(columns=[header[place] for place in places])
        columns = [read.column(header[place]).to_pylist() for place in places]
    except UserError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        # ValueError and OverflowError: text that is no UTF-8, dates that Python does not have
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{table!r} cannot be read as Parquet: {reason}") from None
    # NaN is the only value that differs from itself.
    texts = [["" if value is None or value != value else _text(value) for value in column] for column in columns]  # noqa: PLR0124
    return _named(texts, places, header)


def _frame_columns(frame: "pd.DataFrame", path_column: str, label_column: str, name: str) -> Columns:
    header = [str(column) for column in frame.columns]
    places = _places(header, path_column, label_column, name)
    columns = [frame.iloc[:, place] for place in places]
    cells = [zip(column.tolist(), column.isna().tolist(), strict=True) for column in columns]
    texts = [["" if missing else _text(value) for value, missing in column] for column in cells]
    return _named(texts, places, header)


def _is_frame(table: Any) -> "TypeGuard[pd.DataFrame]":
    pandas = sys.modules.get("pandas")  # who passes a DataFrame has imported it
    return pandas is not None and isinstance(table, pandas.DataFrame)


def _text(value: Any) -> str:
    """A cell of Parquet or pandas as text: bytes as the file name they are."""
    return os.fsdecode(value) if isinstance(value, bytes | os.PathLike) else str(value)


def _folded(name: str) -> str:
    return label_of(bare(name)).casefold()


def _places(header: list[str], path_column: str, label_column: str, table: str) -> list[int]:
    """Where in the header the column of paths is, that of labels, and those that may be a split."""
    at_path, at_label = (_position(column, header, table) for column in (path_column, label_column))
    splits = [place for place, name in enumerate(header) if place not in (at_path, at_label) and _may_split(name)]
    return [at_path, at_label, *(place for place in splits if header.count(header[place]) == 1)]


def _may_split(name: str) -> bool:
    words = re.findall(r"[^\W\d_]+", _folded(name))
    return any(word in COLUMNS for word in words) and all(word in (*COLUMNS, *FILLERS) for word in words)


def _named(columns: list[list[str]], places: list[int], header: list[str]) -> Columns:
    paths, labels, *splits = columns
    return paths, labels, {header[place]: cells for place, cells in zip(places[2:], splits, strict=True)}


def _position(column: str, header: list[str], table: str) -> int:
    """The place of a column: of this very name, or of the only one that differs in case or white space alone."""
    places = [place for place, name in enumerate(header) if name == column]
    places = places or [place for place, name in enumerate(header) if _folded(name) == _folded(column)]
    if len(places) == 1:
        return places[0]
    shown = ", ".join(f"{name!r:.80}" for name in header[:SHOWN_COLUMNS]) or "none"
    more = f" and {len(header) - SHOWN_COLUMNS} more" if len(header) > SHOWN_COLUMNS else ""
    what = f"has the column {column!r:.80} twice" if places else f"has no column {column!r:.80}"
    raise UserError(f"{table!r} {what}; its columns are {shown}{more}: choose with --path-column and --label-column")
