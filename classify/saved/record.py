"""The JSON record beside a model file: what the model is. It is read and checked before anything else.

Who can write the model file can write its record: the record protects against accidents, and only a pinned digest
(`classify.saved.persist.load`) against people. A record is data from outside all the same: nothing in it is opened,
created or believed before its kind is checked.
"""

import hashlib
import importlib.util
import json
import logging
import math
import os
import re
import stat
from collections.abc import Callable
from typing import Any

import featurize.machine.memory
from cache.errors import UserError
from cache.joined_rows import JoinedSpec, read_spec
from classify.data.view_counts import Views, are_views
from featurize.machine.disk import readable

log = logging.getLogger("bottleneck")

FORMAT = 2
NEXT = ".next"  # of a model that is being saved
LARGEST = 16 * 1024**2  # bytes: room for a hundred thousand classes
WEIGHTS = ("file", "imagenet", "packaged", "random")  # kinds of `featurize.backbones.weights.Weights`
METADATA = re.compile(r"scikit_learn-.*\.dist-info")

# Fields of the record that the model file and the arrays repeat; `payload` is in the arrays alone.
ABOUT = ("head", "classes", "training_counts", "spec", "weights", "cache_dir")

OVERRIDE = "--allow-other-versions (allow_other_versions=True)"


def is_sha256(value: Any) -> bool:
    """Whether `value` is a SHA-256 as 64 hexadecimal digits in lower case."""
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value


def _is_file(value: Any) -> bool:
    return isinstance(value, dict) and is_sha256(value.get("sha256")) and type(value.get("bytes")) is int


def _is_spec(value: Any) -> bool:
    try:
        read_spec(value)
    except ValueError:
        return False
    return True


def _is_place(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"kind", "path"}
        and value["kind"] in WEIGHTS
        and _is_path(value["path"])
    )


# What each field has to be. All but the last two are also in the model file itself, see `classify.saved.persist`.
NEEDED: dict[str, Callable[[Any], bool]] = {
    "head": lambda value: isinstance(value, str),
    "classes": lambda value: isinstance(value, list) and all(isinstance(name, str) for name in value),
    "training_counts": lambda value: isinstance(value, list) and all(type(n) is int and n >= 0 for n in value),
    "spec": _is_spec,
    "weights": lambda value: all(map(_is_place, value)) if isinstance(value, list) else _is_place(value),
    "cache_dir": _is_path,
    "payload": _is_file,
    "fingerprint": lambda value: isinstance(value, str),
    "versions": lambda value: isinstance(value, dict),
}


def record_path(model: str) -> str:
    """Path of the JSON record of the model file `model`. Raises UserError unless it ends in `.joblib`."""
    stem, suffix = os.path.splitext(model)
    if suffix != ".joblib":
        raise UserError(f"model {model}: the name of a model file ends in .joblib")
    return stem + ".json"


def sealed(record: dict[str, Any]) -> bytes:
    """The record as JSON text, with the digest of its own content. Raises UserError where that is too large to read."""
    fields = json.loads(json.dumps(record, allow_nan=False, default=_plain))  # as it will be read
    text = json.dumps(fields | {"sha256": own_digest(fields)}, indent=2).encode()
    if len(text) > LARGEST:
        raise UserError(
            f"the record of a model of {len(fields['classes'])} classes takes {readable(len(text))}, too much"
        )
    return text


def own_digest(record: dict[str, Any]) -> str:
    """SHA-256 (hex) of the canonical JSON of all fields but `sha256` itself."""
    fields = {name: value for name, value in record.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def find_record(model: str, digest: str, allowed: bool) -> dict[str, Any] | None:
    """The checked record, of the next one and the present one, that describes the file with this SHA-256.

    None where there is none at all and that is allowed.
    """
    path = record_path(model)
    # The next one first: if it is gone by then, it has become the present one.
    found = [record for record in (read_record(path + NEXT), read_record(path)) if record]
    if not found:
        missing = f"model {model}: its record {path} is missing"
        if not allowed:
            raise UserError(f"{missing}; copy it along with the .joblib file, or pass {OVERRIDE} to do without")
        log.warning("%s: what the model file says of itself is believed, as you asked", missing)
        return None
    record = next((record for record in found if record["payload"]["sha256"] == digest), found[-1])
    check_record(model, record, allowed)
    if record["payload"]["sha256"] != digest:
        raise UserError(
            f"model {model} is not the file that {path} describes: it has SHA-256 {digest}, the record names "
            f"{record['payload']['sha256']}; it was not loaded"
        )
    return record


def read_record(path: str) -> dict[str, Any] | None:
    """The record at `path`, every field of the right kind; None where there is no such file.

    Raises UserError for anything else: bounded in time and memory, whatever lies there.
    """
    try:
        data = read_regular(path, LARGEST)
        record = parse(data)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"the record {path} cannot be read ({error}): train the model again") from None
    if not isinstance(record, dict) or "format" not in record:
        raise UserError(f"the record {path} is not that of a model: train the model again")
    if record["format"] != FORMAT:
        raise UserError(
            f"the record {path} has format {shown(record['format'])}, this version reads {FORMAT}: "
            "train the model again (its features are cached)"
        )
    wrong = unusable(record, NEEDED) or ("views" if not are_views(record.get("views", Views().to_json())) else None)
    if not wrong and not _is_file(record.get("arrays", record["payload"])):  # some heads have none
        wrong = "arrays"
    if wrong:
        raise UserError(f"the record {path} is damaged: {wrong!r} is missing or has no usable value")
    return record


def parse(data: bytes) -> Any:
    """What JSON text holds. Raises ValueError, also for keys that are there twice and numbers that are not finite."""
    return json.loads(
        data.decode(), object_pairs_hook=_each_once, parse_float=_finite, parse_constant=_finite
    )  # fmt: skip


def unusable(record: Any, names: Any) -> str | None:
    """The first of the fields `names` that a record lacks or that is of the wrong kind."""
    for name in names:
        if name not in record or not NEEDED[name](record[name]):
            return str(name)
    if len(record["training_counts"]) != len(record["classes"]):
        return "training_counts"
    spec, weights = read_spec(record["spec"]), record["weights"]  # of joined backbones a list, one for each
    several = len(weights) if isinstance(weights, list) else None
    return None if several == (len(spec.parts) if isinstance(spec, JoinedSpec) else None) else "weights"


def check_record(model: str, record: dict[str, Any], allow_other_versions: bool) -> None:
    """Check that a record is of this scikit-learn, and as it was written.

    Raises UserError naming both values for another major or minor version of scikit-learn, a fingerprint that is not
    that of the spec, and another content than the record's own digest tells; with `allow_other_versions` each is a
    warning.
    """
    written, here = str(record["versions"].get("scikit-learn", "unknown")), installed_scikit_learn()
    fingerprint = read_spec(record["spec"]).fingerprint
    found = []
    if written.split(".")[:2] != here.split(".")[:2]:
        found.append(f"was written with scikit-learn {shown(written)}, this is {here}")
    if fingerprint != record["fingerprint"]:
        found.append(
            f"has a record that names fingerprint {shown(record['fingerprint'])}, but its spec has {fingerprint}"
        )
    if (digest := own_digest(record)) != record.get("sha256"):
        found.append(
            f"has a record that was changed: its content has SHA-256 {digest}, it names {shown(record.get('sha256'))}"
        )
    for what in found:
        if not allow_other_versions:
            advice = f"train it again (its features are cached), or pass {OVERRIDE} to try it all the same"
            raise UserError(f"model {model} {what}: {advice}")
        log.warning("model %s %s: loaded all the same, as you asked", model, what)


def agreed(
    model: str, record: dict[str, Any] | None, about: Any, names: tuple[str, ...], allowed: bool
) -> dict[str, Any]:
    """The record, proven by what the model file or its arrays say of themselves, which is believed where they differ.

    Raises UserError where they do, unless it is `allowed`; then it is announced.
    """
    if not isinstance(about, dict) or about.keys() != set(names) or unusable(about, names):
        raise UserError(f"model {model} does not say what it is, as every model does: train it again")
    spec = read_spec(about["spec"])
    if record is None:
        return about | {"fingerprint": spec.fingerprint, "versions": {}}
    for name in names:
        if about[name] == record[name]:
            continue
        what = (name, record[name], about[name])
        if name == "spec":
            what = ("fingerprint", read_spec(record[name]).fingerprint, spec.fingerprint)
        differs = f"model {model}: its record has {what[0]} {shown(what[1])}, the model itself {shown(what[2])}"
        if not allowed or name == "payload":
            raise UserError(f"{differs}: train it again")
        log.warning("%s: the latter is believed", differs)
    return record | about | {"fingerprint": spec.fingerprint}


def installed_scikit_learn() -> str:
    """The version of scikit-learn that is installed here; "none" where there is none.

    From the name of its folder of metadata where that leaves no doubt: to import `importlib.metadata` takes 25 ms.
    """
    package = importlib.util.find_spec("sklearn")
    if package is None or not package.origin:
        return "none"
    names = os.listdir(os.path.dirname(os.path.dirname(package.origin)))
    found = [name[len("scikit_learn-") : -len(".dist-info")] for name in names if METADATA.fullmatch(name)]
    if len(found) == 1:
        return found[0]
    from importlib.metadata import version

    return version("scikit-learn")


def read_regular(path: str, most: int | None = None) -> bytes:
    """The bytes of a regular file of at most `most` bytes, by default half of the free memory.

    Raises FileNotFoundError, and ValueError or another OSError for anything else. A FIFO or a device is not waited for.
    """
    with open(path, "rb", buffering=0, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a regular file")
        if status.st_size > LARGEST:
            most = most or featurize.machine.memory.free_memory() // 2
            if status.st_size > most:
                raise ValueError(f"{readable(status.st_size)}, more than {readable(most)}")
        return file.readall() or b""


def shown(value: Any) -> str:
    """A value from outside for a message: one short line that a terminal does not take for commands."""
    text = str(value)[:200]
    return text if text.isprintable() and text else repr(text)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a key is there twice")
    return fields


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text[:20]} is no finite number")
    return number


def _plain(value: Any) -> Any:
    """What JSON has for a parameter that it does not know: numpy's numbers as numbers, other objects in words."""
    return value.item() if hasattr(value, "dtype") and not getattr(value, "ndim", 0) else repr(value)
