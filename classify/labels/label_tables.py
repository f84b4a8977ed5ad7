"""Labels from a table (CSV, Parquet, a DataFrame of pandas): the text of its rows."""

import codecs
import csv
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from cache.errors import UserError, listed, log
from cache.files.path_kinds import is_elsewhere
from classify.labels.label_names import label_of
from classify.labels.label_options import AnyTable
from classify.labels.own_split import COLUMNS, FILLERS
from featurize.pictures.places.paths import contents, is_file
from featurize.pictures.sources import on_disk

if TYPE_CHECKING:
    import pandas as pd

GROUPS = (
    "site", "location", "station", "camera", "trap", "deployment", "plot", "transect", "patient", "subject",
    "individual", "animal", "person", "sequence", "seq", "burst", "event", "video", "clip", "session", "group",
)  # fmt: skip
OF_NAMES = ("id", "ids", "name", "number", "no", "nr", "code", "key")
OF_LOG = ("when", "how")  # columns of a table that grows by a row each time that a picture is labelled
TIMES = ("datetime", "timestamp", "capturetime", "capturedate", "datetaken", "timetaken", "eventtime", "eventstart")

MOST_ROWS = 2**24  # of a Parquet table: a few bytes can claim any number of them

# Excel's "Unicode text" is UTF-16. UTF-32 first: its mark begins with that of UTF-16.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
SEPARATOR = re.compile(r"""["']?sep=(.)["']?[,;\t]*(?:\r\n|\r|\n|$)""")  # a first line that tells Excel the delimiter
WHOLE = re.compile(r"-?\d+\.0", re.ASCII)

Columns = list[tuple[str, list[str]]]  # name and cells: of the paths, of the labels, then what may be a split
Choice = Callable[[list[str]], list[int]]  # the indices in a header of the columns that are wanted


@dataclass
class Table:
    """The rows of a table of n rows, as text: paths, labels ("" where there is none) and columns like "split".

    groups: of the column that is asked for, "" where there is none; None where none is. others: columns whose names say
    that they have groups, such as "site", or times.
    """

    name: str  # as messages call it
    folder: str  # where it lies; the current folder for a DataFrame
    paths: list[str]
    labels: list[str]
    splits: dict[str, list[str]] = field(default_factory=dict)  # column -> its n values
    groups: list[str] | None = None
    others: dict[str, list[str]] = field(default_factory=dict)  # column -> its n values


def table_name(table: AnyTable | None) -> str:
    """A table as messages call it."""
    return "the DataFrame" if _is_frame(table) else os.fspath(table)  # type: ignore[arg-type]


def read_table(
    table: AnyTable, path_column: str = "path", label_column: str = "label", group_column: str | None = None
) -> Table:
    """Read the rows of a table; every value is text, whatever it looks like ("1", "NA").

    table: a pandas DataFrame, or a file. A suffix of Parquet means Parquet and needs pyarrow; anything else is CSV with
    a header line, in UTF-8 (or UTF-16 with a byte order mark), its delimiter `,`, `;` or tab, or as its first line
    `sep=` says. Names of columns are found in any case. White space and quotes around a value are no part of it.
    Where there are columns `when` and `how` the last row of each path counts, see `classify.labelling.label_log`.

    Raises UserError for a table that cannot be read, or lacks one of the columns or a path.
    """
    name, folder = table_name(table), "."
    wanted = (path_column, label_column, *([] if group_column is None else [group_column]))
    if _is_frame(table):
        columns = _frame_columns(table, partial(_choose, name, wanted))
    else:
        name = on_disk(name)
        folder = os.path.dirname(name) or "."
        if not is_file(name):
            raise UserError(f"there is no table of labels {name!r}")
        choose = partial(_choose, name, wanted)
        is_parquet = Path(name).suffix.lower() in (".parquet", ".pq")
        columns = _parquet_columns(name, choose) if is_parquet else _csv_columns(name, choose, {*map(_folded, wanted)})
    (_, paths), (_, labels), *others = columns
    groups = None if group_column is None else [group_name(group) for group in others.pop(0)[1]]
    if without_path := sum(not bare(path) for path in paths):
        raise UserError(f"{name!r} has rows with nothing in the column {path_column!r}: {without_path}")
    if strange := next((label for label in labels if "\0" in label), None):  # numpy drops NUL at the end of a text
        raise UserError(f"{name!r} has a label with a NUL character in it, {strange!r:.80}: take it out")
    labels = [label_of(bare(label)) for label in labels]
    found = Table(name, folder, paths, labels, groups=groups)
    for column, cells in others:
        (found.splits if _may_split(column) else found.others)[column] = [bare(cell) for cell in cells]
    of_log = [found.others.pop(column, None) for column in OF_LOG]
    return found if None in of_log else _last_of_each_path(found, of_log[1] or [])


def _last_of_each_path(table: Table, how: list[str]) -> Table:
    """The last row of each path: of a table that has a row for each time that a picture was labelled."""
    from classify.labelling.label_log import named_together

    rows = {path: row for row, path in enumerate(table.paths)}.values()
    if together := sum(bool(table.labels[row]) and named_together(how[row]) for row in rows):
        log.warning(
            "%s labels in %r were given to many pictures at once, as stacks or in bulk: where these are wrong, "
            "the model learns it, and an accuracy of them is too high (`review` asks for some of them again)",
            f"{together} of {sum(bool(table.labels[row]) for row in rows)}",
            table.name,
        )

    def kept(cells: list[str]) -> list[str]:
        return [cells[row] for row in rows]

    return replace(
        table,
        paths=kept(table.paths),
        labels=kept(table.labels),
        splits={column: kept(cells) for column, cells in table.splits.items()},
        groups=None if table.groups is None else kept(table.groups),
        others={column: kept(cells) for column, cells in table.others.items()},
    )


def bare(cell: str) -> str:
    """A cell without white space, byte order marks and quotes around it."""
    cell = cell.strip().strip("\ufeff").strip()
    quoted = len(cell) > 1 and cell[0] == cell[-1] and cell[0] in "\"'"
    return cell[1:-1].strip() if quoted else cell


def group_name(cell: str) -> str:
    """The group that a cell names: as a label is spelled, but a whole number is without ".0".

    pandas writes 1 as 1.0 where the column has a gap, and the same site of another table would have another name.
    """
    name = label_of(bare(cell))
    return name.removesuffix(".0") if WHOLE.fullmatch(name) else name


def _csv_columns(table: str, choose: Choice, wanted: set[str]) -> Columns:
    text = _csv_text(table)
    named = SEPARATOR.match(text)
    if named:
        text = text[named.end() :]
    delimiters = named[1] if named else ",;\t"
    try:
        # At most one delimiter makes a header with both columns; else the widest header is worth showing.
        headers = {d: next((cells for _, cells in _csv_lines(text, d, strict=False)), []) for d in delimiters}
        delimiter = max(delimiters, key=lambda d: (wanted <= {*map(_folded, headers[d])}, len(headers[d])))
        header = [*map(bare, headers[delimiter])]
        columns: list[tuple[int, list[str]]] = [(index, []) for index in choose(header)]
        for number, cells in islice(_csv_lines(text, delimiter, strict=True), 1, None):
            if any(cells[len(header) :]):
                raise UserError(
                    f"line {number + bool(named)} of {table!r} has {len(cells)} fields and the header {len(header)}: "
                    "quote values that hold the delimiter"
                )
            for index, column in columns:
                column.append(cells[index] if index < len(cells) else "")
    except csv.Error as error:
        raise UserError(f"{table!r} cannot be read as CSV: {error}") from None
    return [(header[index], column) for index, column in columns]


def _csv_text(table: str) -> str:
    """The text of a CSV file, without byte order marks."""
    data = contents(table)
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


def _parquet_columns(table: str, choose: Choice) -> Columns:
    try:
        import pyarrow  # type: ignore[import-untyped]
        from pyarrow import parquet
    except ImportError:
        raise UserError(f"{table!r}: Parquet needs pyarrow: pip install '.[parquet]', or give a CSV") from None
    try:
        with parquet.ParquetFile(io.BytesIO(contents(table)) if is_elsewhere(table) else table) as file:
            header = file.schema_arrow.names
            names = [header[index] for index in choose(header)]
            if file.metadata.num_rows > MOST_ROWS:
                raise UserError(f"{table!r} claims to have {file.metadata.num_rows} rows, more than {MOST_ROWS}")
            read = file.read(columns=[*dict.fromkeys(names)])
        columns = [(name, read.column(name).to_pylist()) for name in names]
    except UserError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        # ValueError and OverflowError: text that is no UTF-8, dates that Python does not have
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{table!r} cannot be read as Parquet: {reason}") from None
    # NaN is the only value that differs from itself.
    return [(name, ["" if cell is None or cell != cell else _text(cell) for cell in cells]) for name, cells in columns]  # noqa: PLR0124


def _frame_columns(frame: "pd.DataFrame", choose: Choice) -> Columns:
    header = [str(column) for column in frame.columns]
    columns = [(header[index], frame.iloc[:, index]) for index in choose(header)]
    cells = [(name, zip(column.tolist(), column.isna().tolist(), strict=True)) for name, column in columns]
    return [(name, ["" if missing else _text(value) for value, missing in column]) for name, column in cells]


def _is_frame(table: Any) -> "TypeGuard[pd.DataFrame]":
    pandas = sys.modules.get("pandas")  # who passes a DataFrame has imported it
    return pandas is not None and isinstance(table, pandas.DataFrame)


def _text(value: Any) -> str:
    """A cell of Parquet or pandas as text: bytes as the file name they are."""
    return os.fsdecode(value) if isinstance(value, bytes | os.PathLike) else str(value)


def _folded(name: str) -> str:
    return label_of(bare(name)).casefold()


def _choose(table: str, wanted: tuple[str, ...], header: list[str]) -> list[int]:
    """The indices of the columns of paths, of labels and of groups, and of those that may be a split, groups, times."""
    has_labels = wanted[0] != wanted[1]  # a table to predict groups by has none, and its paths stand for them
    first = "--path-column and --label-column" if has_labels else "--path-column"
    chosen = [
        _index(column, header, table, "--group-column" if number > 1 else first) for number, column in enumerate(wanted)
    ]
    unique = [index for index, name in enumerate(header) if index not in chosen and header.count(name) == 1]
    useful = (_may_split, names_groups, names_times, OF_LOG.__contains__)
    return chosen + [index for index in unique if any(may(header[index]) for may in useful)]


def _may_split(name: str) -> bool:
    return _made_of(_words(name.casefold()), COLUMNS, FILLERS)


def names_groups(column: str) -> bool:
    """Whether the name of a column says that its values are groups, such as "site" or "deploymentID"."""
    return _made_of(_words(column), GROUPS, OF_NAMES)


def names_times(column: str) -> bool:
    """Whether the name of a column says that its values are times, such as "date_time" or "timestamp"."""
    return "".join(_words(column)).removesuffix("original") in TIMES


def _made_of(words: list[str], needed: tuple[str, ...], fillers: tuple[str, ...]) -> bool:
    return any(word in needed for word in words) and all(word in (*needed, *fillers) for word in words)


def _words(name: str) -> list[str]:
    """The words of a column's name, in lower case: "site_id" and "siteID" are "site" and "id"."""
    return re.findall(r"[^\W\d_]+", _folded(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)))


def _index(column: str, header: list[str], table: str, option: str) -> int:
    """The index of a column: of this very name, or of the only one that differs in case or white space alone."""
    found = [index for index, name in enumerate(header) if name == column]
    found = found or [index for index, name in enumerate(header) if _folded(name) == _folded(column)]
    if len(found) == 1:
        return found[0]
    shown = listed((f"{name!r:.80}" for name in header), 20) or "none"
    what = f"has the column {column!r:.80} twice" if found else f"has no column {column!r:.80}"
    raise UserError(f"{table!r} {what}; its columns are {shown}: choose with {option}")
