"""Checkpoints of a training: all variables and a record of its progress in one file, without pickle."""

import io
import json
import zipfile
from typing import Any

import numpy as np

from cache.errors import UserError
from cache.files.atomic import write_atomically

Variables = dict[str, list[Any]]  # group -> its variables, in a fixed order


def save_checkpoint(path: str, variables: Variables, record: dict[str, Any]) -> None:
    """Write variables and a record (JSON) to `path` (.npz), whole or not at all."""
    arrays = {
        f"{group}/{number}": np.asarray(variable)
        for group, members in variables.items()
        for number, variable in enumerate(members)
    }
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, record=np.array(json.dumps(record)), **arrays)
    write_atomically(path, file.getbuffer())


def load_checkpoint(path: str, variables: Variables, record: dict[str, Any]) -> dict[str, Any]:
    """Set `variables` to what `path` has and return its record, or `record` where there is no such file.

    Raises UserError where it is damaged, or of another network.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            loaded: dict[str, Any] = json.loads(str(stored["record"]))
            if loaded.keys() != record.keys():
                raise ValueError(f"its record has {', '.join(loaded)}")
            for group, members in variables.items():
                for number, variable in enumerate(members):
                    variable.assign(stored[f"{group}/{number}"])
    except FileNotFoundError:
        return record
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be taken up ({error}): delete it to begin anew") from error
    return loaded
