"""A training that was cut short, taken up again: all variables and how far it had come, in one file, without pickle."""

import io
import json
import logging
import zipfile
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from cache.atomic import write_atomically
from cache.errors import UserError

if TYPE_CHECKING:
    from distil.training import Training

log = logging.getLogger("bottleneck")


def save_checkpoint(path: str, training: "Training") -> None:
    """Write the training's state to `path` (.npz), whole or not at all."""
    arrays = {
        f"{group}/{number}": np.asarray(variable)
        for group, variables in training.state().items()
        for number, variable in enumerate(variables)
    }
    progress = {"seen": training.seen, "seconds": training.seconds, "curve": training.curve}
    record = json.dumps({"plan": asdict(training.plan), "teacher": _teacher(training)} | progress)
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, record=np.array(record), **arrays)
    write_atomically(path, file.getbuffer())


def load_checkpoint(path: str, training: "Training") -> None:
    """Bring `training` to where the one at `path` was, if there is a file.

    Raises UserError where that was another training.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            record = json.loads(str(stored["record"]))
            planned = record["plan"] | {"samples": training.plan.samples}
            if planned != asdict(training.plan) or record["teacher"][0] != _teacher(training)[0]:
                raise UserError(f"{path} is of another training: choose another --output, or delete its folder")
            for group, variables in training.state().items():
                for number, variable in enumerate(variables):
                    variable.assign(stored[f"{group}/{number}"])
    except FileNotFoundError:
        return
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be taken up ({error}): delete it to begin anew") from error
    training.seen, training.seconds, training.curve = record["seen"], record["seconds"], record["curve"]
    log.info("taken up from %s: %d of %d samples seen", path, training.seen, training.plan.samples)


def _teacher(training: "Training") -> list[str]:
    """The specs that the samples come from, a view each; more may be added while a training is interrupted."""
    return [store.spec.fingerprint for store in training.samples.crops.stores]
