"""Labels from a CSV or Parquet table: read its rows, and find the picture that each row means."""

import csv
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from cache.errors import UserError
from featurize.images import SUFFIXES, Failure, Listing, find_images

PARQUET_SUFFIXES = {".parquet", ".pq"}
DELIMITERS = ",;\t"
SHOWN_COLUMNS = 20
MOST_ROWS = 2**24  # of a Parquet table: a few bytes can claim any number of them

Rows = list[tuple[str, str]]


@dataclass
class TableLabels:
    """What a table says about the pictures."""

    labels: dict[str, str]  # path of a picture that is there -> its label
    unlabelled: list[str]  # pictures that are there, in rows with an empty label
    failures: list[Failure]  # listed with a label, but not there


def read_rows(table: str, path_column: str, label_column: str) -> Rows:
    """(path, label) of every row, as text whatever it looks like ("1", "NA"); label "" where there is none.

    A suffix of Parquet means Parquet and needs pyarrow; anything else is CSV: UTF-8, a header line, delimiter
    `,`, `;` or tab. Raises UserError for a table that cannot be read, or lacks one of the columns or a path.
    """
    if not Path(table).is_file():
        raise UserError(f"there is no table of labels {table!r}")
    if Path(table).suffix.lower() in PARQUET_SUFFIXES:
        rows = _parquet_rows(table, path_column, label_column)
    else:
        rows = _csv_rows(table, path_column, label_column)
    without_path = sum(not path for path, _ in rows)
    if without_path:
        raise UserError(f"{table!r} has rows with nothing in the column {path_column!r}: {without_path}")
    if strange := next((label for _, label in rows if "\0" in label), None):  # numpy drops NUL at the end of a text
        raise UserError(f"{table!r} has a label with a NUL character in it, {strange!r:.80}: take it out")
    return [(path, printable(label.strip())) for path, label in rows]


def printable(name: str) -> str:
    """A name that is no UTF-8 as text that can be printed and saved."""
    return os.fsencode(name).decode(errors="backslashreplace")


def match_rows(rows: Rows, table: str, folder: str, listing: Listing | None) -> TableLabels:
    """Find the picture of every row.

    rows: (path, label). A path is absolute or relative to `folder`; one without an image suffix is the stem
    of a picture in `folder`: of its relative path, else of its name alone. listing: the pictures of
    `folder`; None searches the folder only if a row without suffix asks for it.

    Raises UserError where a stem fits several pictures, and where one picture has two labels.
    """
    if listing is None:
        search = not all(_has_image_suffix(path) for path, _ in rows)
        listing = find_images(folder) if search else Listing([], [], Counter())
    pictures = _Pictures(folder, listing)
    labels: dict[str, str] = {}
    empty: list[str] = []
    for value, label in rows:
        paths = pictures.named(value)
        if len(paths) > 1:
            raise UserError(
                f"{value!r:.300} in {table!r} fits {len(paths)} pictures, {paths[0]!r} and {paths[1]!r}: "
                "give the relative path with its suffix"
            )
        path = paths[0]
        if not label:
            empty.append(path)
        elif labels.setdefault(path, label) != label:
            raise UserError(
                f"{table!r} gives {path!r:.300} two labels, {labels[path]!r:.80} and {label!r:.80}: keep one"
            )
    found, broken = set(listing.images), {failure.path: failure for failure in listing.failures}
    there = {path for path in {*labels, *empty} if path in found or Path(path).is_file()}
    reason = f"listed in {table} but there is no such file"
    return TableLabels(
        labels={path: label for path, label in labels.items() if path in there},
        unlabelled=[path for path in empty if path in there and path not in labels],
        failures=[broken.get(path, Failure(path, reason)) for path in labels if path not in there],
    )


class _Pictures:
    """The pictures of a folder, by every way in which a table may name them."""

    def __init__(self, folder: str, listing: Listing) -> None:
        self._folder = folder
        self._by_path: dict[str, str] = {}
        self._by_stem: defaultdict[str, list[str]] = defaultdict(list)
        self._by_name: defaultdict[str, list[str]] = defaultdict(list)
        for path in [*listing.images, *(failure.path for failure in listing.failures)]:
            key = os.path.abspath(path)
            stem = key.rpartition(".")[0]
            self._by_path[key] = path
            self._by_stem[stem].append(path)
            self._by_name[stem.rpartition("/")[2]].append(path)

    def named(self, value: str) -> list[str]:
        """The paths that `value` may mean: as listed, or joined to the folder where the listing has none."""
        path = os.path.join(self._folder, value)
        key = os.path.abspath(path)
        if key in self._by_path:
            return [self._by_path[key]]
        if not _has_image_suffix(value):
            return self._by_stem.get(key) or self._by_name.get(value) or [path]
        return [path]


def _has_image_suffix(path: str) -> bool:
    return path[path.rfind(".") :].lower() in SUFFIXES


def _csv_rows(table: str, path_column: str, label_column: str) -> Rows:
    try:
        # At most one delimiter makes a header with both columns; else the widest header is worth showing.
        wanted = {path_column, label_column}
        headers = {d: [name.strip() for name in _csv_header(table, d)] for d in DELIMITERS}
        delimiter = max(DELIMITERS, key=lambda d: (wanted <= set(headers[d]), len(headers[d])))
        header = headers[delimiter]
        at_path, at_label = (_position(column, header, table) for column in (path_column, label_column))
        rows = []
        for number, cells in islice(_csv_lines(table, delimiter, strict=True), 1, None):
            if any(cells[len(header) :]):
                raise UserError(
                    f"line {number} of {table!r} has {len(cells)} fields and the header {len(header)}: "
                    "quote values that hold the delimiter"
                )
            filled = cells + [""] * (len(header) - len(cells))
            rows.append((filled[at_path], filled[at_label]))
    except UnicodeDecodeError as error:
        raise UserError(f"{table!r} is not UTF-8 text ({error.reason}): save it as CSV in UTF-8") from None
    except csv.Error as error:
        raise UserError(f"{table!r} cannot be read as CSV: {error}") from None
    return rows


def _csv_header(table: str, delimiter: str) -> list[str]:
    return next((cells for _, cells in _csv_lines(table, delimiter, strict=False)), [])


def _csv_lines(table: str, delimiter: str, *, strict: bool) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of the lines that hold anything; strict: an open quote is an error."""
    # "utf-8-sig" is UTF-8 with or without a byte order mark.
    with Path(table).open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True, strict=strict)
        yield from ((reader.line_num, cells) for cells in reader if any(cells))


def _parquet_rows(table: str, path_column: str, label_column: str) -> Rows:
    try:
        import pyarrow  # type: ignore[import-untyped]
        from pyarrow import parquet
    except ImportError:
        raise UserError(
            f"{table!r}: Parquet needs pyarrow: pip install 'bottleneck-features[parquet]', or give a CSV"
        ) from None
    try:
        with parquet.ParquetFile(table) as file:
            names = file.schema_arrow.names
            for column in (path_column, label_column):
                _position(column, names, table)
            if file.metadata.num_rows > MOST_ROWS:
                raise UserError(f"{table!r} claims to have {file.metadata.num_rows} rows, more than {MOST_ROWS}")
            columns = file.read(columns=[path_column, label_column])
        paths, labels = (columns.column(name).to_pylist() for name in (path_column, label_column))
    except UserError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        # ValueError and OverflowError: text that is no UTF-8, dates that Python does not have
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{table!r} cannot be read as Parquet: {reason}") from None
    return [(_text(path), _text(label)) for path, label in zip(paths, labels, strict=True)]


def _text(value: Any) -> str:
    """A Parquet cell as text: bytes as the file name they are, null and NaN as nothing."""
    if isinstance(value, bytes):
        return os.fsdecode(value)
    # NaN is the only value that differs from itself.
    return "" if value is None or value != value else str(value)  # noqa: PLR0124


def _position(column: str, header: list[str], table: str) -> int:
    if header.count(column) == 1:
        return header.index(column)
    shown = ", ".join(f"{name!r:.80}" for name in header[:SHOWN_COLUMNS]) or "none"
    more = f" and {len(header) - SHOWN_COLUMNS} more" if len(header) > SHOWN_COLUMNS else ""
    what = f"has the column {column!r:.80} twice" if column in header else f"has no column {column!r:.80}"
    raise UserError(f"{table!r} {what}; its columns are {shown}{more}: choose with --path-column and --label-column")
