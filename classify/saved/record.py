"""The JSON record beside a model file, which says what the model is; and the bytes of a model's files.

A record is data from outside: nothing in it is opened, created or believed before its kind is checked. Whether it
describes the files is checked by `classify.saved.verify_record`.
"""

import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import featurize.machine.memory
from cache.errors import UserError
from cache.files.disk_space import readable
from cache.files.system_calls import AT_ONCE
from cache.joined_rows import JoinedSpec, read_spec
from classify.data.view_counts import Views, are_views
from classify.labels.group_record import is_group_record
from classify.saved.model_files import arrays_path, record_path, with_next

FORMAT = 2
LARGEST = 16 * 1024**2  # bytes: room for a hundred thousand classes

# Fields of the record that the model file and the arrays repeat; `payload` is in the arrays alone.
ABOUT = ("head", "classes", "training_counts", "spec", "weights", "cache_dir")


def is_sha256(value: Any) -> bool:
    """Whether `value` is a SHA-256 as 64 hexadecimal digits in lower case."""
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value


def _is_file(value: Any) -> bool:
    return isinstance(value, dict) and is_sha256(value.get("sha256")) and type(value.get("bytes")) is int


def _is_spec(value: Any) -> bool:
    try:
        return bool(read_spec(value))
    except ValueError:
        return False


def _is_weights(value: Any) -> bool:
    """A place of weights, or of joined backbones a list of these."""
    places = value if isinstance(value, list) else [value]
    return all(
        isinstance(place, dict)
        and place.keys() == {"kind", "path"}
        and place["kind"] in ("file", "imagenet", "packaged", "random")
        and _is_path(place["path"])
        for place in places
    )


# What each field has to be. All but the last two are also in the model file itself, see `classify.saved.persist`.
NEEDED: dict[str, Callable[[Any], bool]] = {
    "head": lambda value: isinstance(value, str),
    "classes": lambda value: isinstance(value, list) and all(isinstance(name, str) for name in value),
    "training_counts": lambda value: isinstance(value, list) and all(type(n) is int and n >= 0 for n in value),
    "spec": _is_spec,
    "weights": _is_weights,
    "cache_dir": _is_path,
    "payload": _is_file,
    "fingerprint": lambda value: isinstance(value, str),
    "versions": lambda value: isinstance(value, dict),
}


@dataclass(frozen=True)
class Files:
    """The files of a model, each read once; all that is known of them is that the fields of the record can be used.

    record: the one that describes the model file, else the one that is there; None without one. arrays: SHA-256 ->
    bytes of the `.npz` files that may belong to it.
    """

    model: str
    data: bytes
    sha256: str
    record: dict[str, Any] | None
    arrays: dict[str, bytes]

    @property
    def match_record(self) -> bool:
        """Whether the record is there and describes the model file."""
        return self.record is not None and self.record["payload"]["sha256"] == self.sha256


def read_files(model: str, data: bytes) -> Files:
    """The record and the arrays beside a model file that holds `data`. Raises UserError for those that are no such."""
    digest = hashlib.sha256(data).hexdigest()
    # The next ones first: if they are gone by then, they have become the present ones.
    records = [record for path in with_next(record_path(model)) if (record := read_record(path))]
    fitting = [record for record in records if record["payload"]["sha256"] == digest]
    record = next(iter(fitting + records[-1:]), None)
    arrays = {}
    paths = with_next(arrays_path(model)) if record else (arrays_path(model),)
    for path in paths if record is None or "arrays" in record else ():
        try:
            found = read_regular(path)
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise UserError(f"model {model}: its arrays {path} cannot be read: {reason_of(error)}") from None
        arrays[hashlib.sha256(found).hexdigest()] = found
    return Files(model, data, digest, record, arrays)


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


def read_record(path: str) -> dict[str, Any] | None:
    """The record at `path`, every field of the right kind; None where there is no such file.

    Raises UserError for anything else: bounded in time and memory, whatever lies there.
    """
    try:
        text = read_regular(path, LARGEST)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    return record_of(text, path)


def record_of(text: bytes, path: str) -> dict[str, Any]:
    """The record in a JSON text, called `path` in messages. Raises UserError as `read_record`."""
    try:
        record = parse(text)
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, error) from None
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
    for name in ("left_out_classes", "group_names"):  # older models have none
        if not NEEDED["classes"](record.get(name, [])):
            wrong = name
    if not is_group_record(record.get("groups")):
        wrong = "groups"
    if wrong:
        raise UserError(f"the record {path} is damaged: {wrong!r} is missing or has no usable value")
    return record


def _unreadable(path: str, error: Exception) -> UserError:
    return UserError(f"the record {path} cannot be read ({error}): train the model again")


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


def read_regular(path: str, most: int | None = None) -> bytes:
    """The bytes of a regular file of at most `most` bytes, by default half of the free memory.

    Raises FileNotFoundError, and ValueError or another OSError for anything else. A FIFO or a device is not waited for.
    """
    with open(path, "rb", buffering=0, opener=lambda name, flags: os.open(name, flags | AT_ONCE)) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a regular file")
        if status.st_size > LARGEST:
            most = most or featurize.machine.memory.free_memory() // 2
            if status.st_size > most:
                raise ValueError(f"{readable(status.st_size)}, more than {readable(most)}")
        return file.read()


def reason_of(error: Exception) -> str:
    """Why a file cannot be used, in one line."""
    return getattr(error, "strerror", None) or shown(" ".join(str(error).split()))


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
