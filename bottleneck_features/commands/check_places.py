"""What a command writes, looked at before any work."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from cache.files.atomic import require_writable
from classify.data.surfaces import FOLDER
from featurize.outputs import Named, check_outputs, inputs_of
from pipeline import DEFAULT_CACHE


def check_places(
    outputs: Sequence[Named], chosen: Mapping[str, Any], reads: Sequence[Named] = (), writes: Sequence[Named] = ()
) -> None:
    """Refuse `outputs` that cannot be written, or that would destroy what the command reads or `writes` besides.

    `chosen`: its options, whose files are read, as are `reads`. Raises `OSError`, UserError as `check_outputs`.
    """
    for _, path in outputs:
        require_writable(path)
    inputs = [*inputs_of(chosen), *reads]
    cache_dir = chosen.get("cache_dir") or DEFAULT_CACHE
    check_outputs([*writes, *outputs], inputs, data=_folder_of(chosen), cache_dir=cache_dir)


def _folder_of(chosen: Mapping[str, Any]) -> str:
    """The folder in which a command looks for pictures."""
    if chosen.get("data"):
        return str(chosen["data"])
    return os.path.dirname(chosen["labels"]) or "." if chosen.get("labels") else FOLDER
