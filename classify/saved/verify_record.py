"""Whether a model's files are what its record says: checked before anything in them is unpickled.

Who can write the model file can write its record: the record protects against accidents, and only a pinned digest
against people.
"""

import hashlib
import importlib.util
import os
import re
from typing import Any

from cache.errors import UserError, log, not_installed
from cache.joined_rows import read_spec
from classify.saved.model_files import arrays_path, record_path
from classify.saved.record import Files, own_digest, shown, unusable

NONE = "none"
OVERRIDE = "--allow-other-versions (allow_other_versions=True)"


def verify(files: Files, allowed: bool, pin: str | None, no_pickle: bool) -> bytes | None:
    """Check that the files belong together and are the pinned ones; the arguments are those of `persist.load`.

    Returns the arrays that predict; None where the model file has to be unpickled. Raises UserError.
    """
    model = files.model
    if files.record is None:
        missing = f"model {model}: its record {record_path(model)} is missing"
        if not allowed:
            raise UserError(f"{missing}; copy it along with the .joblib file, or pass {OVERRIDE} to do without")
        log.warning("%s: what the model file says of itself is believed, as you asked", missing)
    else:
        check_record(model, files.record, allowed)
        if not files.match_record:
            raise UserError(
                f"model {model} is not the file that {record_path(model)} describes: it has SHA-256 {files.sha256}, "
                f"the record names {files.record['payload']['sha256']}; it was not loaded"
            )
    arrays = find_arrays(files)
    of_arrays = arrays and hashlib.sha256(arrays).hexdigest()
    if pin not in (None, files.sha256, of_arrays):
        beside = f", its arrays {of_arrays}" if arrays else ""
        raise UserError(
            f"model {model} is not the pinned one: it has SHA-256 {files.sha256}{beside}, pinned is {pin}; "
            "it was not loaded"
        )
    if pin != files.sha256 and arrays is not None:
        return arrays
    if no_pickle:
        why = "its pickle is pinned; pin its .npz instead" if arrays else "its head is a pickle and nothing else"
        raise UserError(f"model {model} is not loaded without unpickling it (--no-pickle): {why}")
    return None


def find_arrays(files: Files) -> bytes | None:
    """The arrays that the record names, or without a record those that are there; None without any.

    Arrays that the record names and that are not there are an error: with the model file instead of them, who damages
    them could choose that it is unpickled.
    """
    if files.record is None or "arrays" not in files.record:
        return next(iter(files.arrays.values()), None)
    named = files.record["arrays"]["sha256"]
    if named in files.arrays:
        return files.arrays[named]
    what = f"have SHA-256 {[*files.arrays][-1]}, the record names {named}" if files.arrays else "are missing"
    path = arrays_path(files.model)
    raise UserError(f"model {files.model}: its arrays {path} {what}: copy the file again, or train the model again")


def check_record(model: str, record: dict[str, Any], allow_other_versions: bool) -> None:
    """Check that a record is as it was written.

    Raises UserError naming both values for another fingerprint than that of the spec, and another content than the
    record's own digest tells; with `allow_other_versions` each is a warning.
    """
    named, fingerprint = record["fingerprint"], read_spec(record["spec"]).fingerprint
    digest, own = own_digest(record), record.get("sha256")
    if fingerprint != named:
        what = f"has a record that names fingerprint {shown(named)}, but its spec has {fingerprint}"
        _refuse(model, what, allow_other_versions)
    if digest != own:
        what = f"has a record that was changed: its content has SHA-256 {digest}, it names {shown(own)}"
        _refuse(model, what, allow_other_versions)


def check_versions(model: str, record: dict[str, Any], allow_other_versions: bool) -> None:
    """Check, before a model is unpickled, that this is the scikit-learn that wrote it; arrays need none.

    Raises UserError for another major or minor version; with `allow_other_versions` it is a warning.
    """
    written, here = str(record["versions"].get("scikit-learn", "unknown")), installed_scikit_learn()
    if here == NONE:
        raise not_installed("scikit-learn")
    if written.split(".")[:2] != here.split(".")[:2]:
        _refuse(model, f"was written with scikit-learn {shown(written)}, this is {here}", allow_other_versions)


def _refuse(model: str, what: str, allowed: bool) -> None:
    """Raise UserError for what is wrong with a model, or say it where that is `allowed`."""
    if not allowed:
        advice = f"train it again (its features are cached), or pass {OVERRIDE} to try it all the same"
        raise UserError(f"model {model} {what}: {advice}")
    log.warning("model %s %s: loaded all the same, as you asked", model, what)


def agreed(
    model: str, record: dict[str, Any] | None, about: Any, names: tuple[str, ...], allowed: bool
) -> dict[str, Any]:
    """The record, with what the model file or its arrays say of themselves, which is believed where they differ.

    Raises UserError where they do, unless it is `allowed`; then it is announced.
    """
    if not isinstance(about, dict) or about.keys() != set(names) or unusable(about, names):
        raise UserError(f"model {model} does not say what it is, as every model does: train it again")
    fingerprint = read_spec(about["spec"]).fingerprint
    if record is None:
        return about | {"fingerprint": fingerprint, "versions": {}}
    for name in names:
        if about[name] == record[name]:
            continue
        what, recorded, own = name, record[name], about[name]
        if name == "spec":
            what, recorded, own = "fingerprint", read_spec(recorded).fingerprint, fingerprint
        differs = f"model {model}: its record has {what} {shown(recorded)}, the model itself {shown(own)}"
        if not allowed or name == "payload":
            raise UserError(f"{differs}: train it again")
        log.warning("%s: the latter is believed", differs)
    return record | about | {"fingerprint": fingerprint}


def installed_scikit_learn() -> str:
    """The version of scikit-learn that is installed here; `NONE` where there is none.

    From the name of its folder of metadata where that leaves no doubt: to import `importlib.metadata` takes 25 ms.
    """
    package = importlib.util.find_spec("sklearn")
    if package is None or not package.origin:
        return NONE
    names = os.listdir(os.path.dirname(os.path.dirname(package.origin)))
    found = [match[1] for name in names if (match := re.fullmatch(r"scikit_learn-(.*)\.dist-info", name))]
    if len(found) == 1:
        return found[0]
    from importlib.metadata import version

    return version("scikit-learn")
