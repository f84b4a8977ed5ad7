"""One Parquet file for other engines: a row for each picture, with its path, label and features."""

import json
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from cache.errors import UserError
from cache.files.atomic import replacing
from cache.files.system_calls import sync
from cache.joined_rows import Store
from cache.upkeep.plain_export import rows_at_once, texts_of

SUFFIXES = (".parquet", ".pq")
MARK = b"bottleneck-features"  # in the metadata of the file: the spec as JSON


def import_pyarrow() -> Any:
    """The module `pyarrow` with its `parquet`. Raises UserError where it is not installed."""
    try:
        import pyarrow  # type: ignore[import-untyped]
        import pyarrow.parquet  # type: ignore[import-untyped]
    except ImportError:
        raise UserError("Parquet needs pyarrow: pip install '.[parquet]', or name a .h5 file") from None
    return pyarrow


def export_parquet(
    store: Store, digests: np.ndarray, paths: Sequence[str], labels: Sequence[str] | None, output: str
) -> None:
    """Write a table of `path`, `label` and `features` to `output`, whole or not at all, a group of rows at a time.

    `features` is a list of d float32; rows of several dimensions lie in it in C order, their shape and the spec stand
    in the metadata of the file. Without labels that column is left out. Paths and labels are text, or bytes (the
    column then is binary) where one of them is no UTF-8. Raises as `cache.upkeep.plain_export.export_rows`, and
    UserError where pyarrow is not installed.
    """
    pa = import_pyarrow()
    texts = {name.removesuffix("s"): values for name, values in texts_of(digests, paths, labels).items()}
    shape = store.read(digests[:1]).shape[1:]
    width = math.prod(shape)
    columns = {name: pa.string() if _all_text(values) else pa.binary() for name, values in texts.items()}
    about = {MARK: json.dumps({"spec": store.spec.to_json(), "row_shape": shape}).encode()}
    schema = pa.schema([*columns.items(), ("features", pa.list_(pa.float32(), width))], about)
    options = {
        "use_dictionary": [*columns],
        "compression": dict.fromkeys(columns, "zstd"),
        "write_statistics": False,
    }
    with replacing(output) as temporary, open(temporary, "xb") as file:
        with pa.parquet.ParquetWriter(file, schema, **options) as writer:
            step = rows_at_once(shape)
            for start in range(0, len(digests), step):
                part = slice(start, start + step)
                rows = store.read(digests[part]).astype(np.float32, copy=False).reshape(-1)
                values = [
                    pa.array([_encoded(text, kind, pa) for text in texts[name][part]], kind)
                    for name, kind in columns.items()
                ]
                group = [*values, pa.FixedSizeListArray.from_arrays(pa.array(rows), width)]
                writer.write_table(pa.table(group, schema))
        file.flush()
        sync(file.fileno())


def _all_text(values: Sequence[str]) -> bool:
    try:
        for value in values:
            value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _encoded(text: str, kind: Any, pa: Any) -> str | bytes:
    return text if kind == pa.string() else os.fsencode(text)


def is_parquet_export(path: str) -> bool:
    """Whether a file is such a table. False where pyarrow is not installed."""
    try:
        with open(path, "rb") as file:
            if file.read(4) != b"PAR1":
                return False
        return MARK in (import_pyarrow().parquet.read_schema(path).metadata or {})
    except (OSError, ValueError, UserError):  # pyarrow's own errors are these
        return False
