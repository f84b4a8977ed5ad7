"""Where a model's labelled pictures came from: what its record keeps of it, and the options that find them again."""

import os
from collections.abc import Mapping
from typing import Any, cast

from classify.labels.label_options import LabelOptions
from featurize.pictures.places.paths import real

Source = dict[str, Any]


def source_of(data: Any, options: Mapping[str, Any]) -> Source:
    """Where labelled pictures come from, for a model's record: folder, table and what else decides their labels.

    None where unused. Paths are absolute, links resolved. A table in memory is named by its type.
    """
    table = options.get("labels")
    named = table if table is None else type(table).__name__
    columns = {name: options.get(name, name[: -len("_column")]) for name in ("path_column", "label_column")}
    parts = {name: options.get(name) for name in ("train_folder", "validation_folder", "test_folder")}
    return {
        "folder": None if data is None else real(data),
        "table": real(os.fspath(table)) if isinstance(table, str | os.PathLike) else named,
        **{name: None if table is None else column for name, column in columns.items()},
        "label_pattern": options.get("label_pattern"),
        "label_from": options.get("label_from"),
        **{name: [names] if isinstance(names, str) else [*(names or ())] or None for name, names in parts.items()},
    }


def label_options_of(source: Source) -> LabelOptions:
    """The options by which labels were found, of what `source_of` has kept, also in an older version."""
    given = {name: value for name, value in source.items() if name not in ("folder", "table") and value is not None}
    known = {name: value for name, value in given.items() if name in LabelOptions.__annotations__}
    return cast(LabelOptions, known | ({} if source.get("table") is None else {"labels": source["table"]}))
