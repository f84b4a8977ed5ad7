"""Saved models of an enemy: `load` refuses with one line, or gives a head that predicts probabilities.

The record's digest of the plain arrays is made right after most changes, never that of the pickle: whoever can change
both the record and the pickle that it vouches for runs code, as docs/reference/files.md says. A pickle that is not the
record's must not even be opened, so some inputs hold one that leaves a trace.
"""

import hashlib
import io
import json
import lzma
import math
import pickle
import tokenize
import warnings
import zipfile
import zlib
from pathlib import Path
from random import Random
from typing import Any

import joblib
import numpy as np
from fuzz.mutations import VALUES, changed, changed_json, pack, to_bytes, unpack
from helpers.models.model_records import RECORD
from sklearn.datasets import load_iris

from cache.errors import UserError
from classify.heads.finetune.finetune_head import FineTuneHead
from classify.heads.finetune.tuned_head import TunedHead
from classify.heads.head_table import make_head
from classify.saved.persist import load, save
from classify.scoring.outliers import OutlierDetector

FILES = ("m.json", "m.npz", "m.joblib", "m.json.next")
TRACE = Path("unpickled")
NOT_READ = (
    ValueError, EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError,
    tokenize.TokenError,
)  # fmt: skip


class Bomb:
    """Its pickle creates the file `TRACE` when it is loaded."""

    def __reduce__(self) -> Any:
        return open, (str(TRACE), "w")


def seeds() -> list[bytes]:
    """Two heads with plain arrays, one without, a fine-tuned one, and one whose pickle is another than the record's."""
    rows, labels = load_iris(return_X_y=True)
    inputs = []
    for name, params in (("logreg", {}), ("logreg", {"normalize": "standard"}), ("knn", {})):
        head = make_head(name, params).fit(rows.astype(np.float32), labels.astype(str))
        record = RECORD | {"head": name, "training_counts": [50, 50, 50]}
        known = OutlierDetector.of(rows.astype(np.float32), np.arange(150))
        save("m.joblib", head, np.zeros((150, 32), np.uint8), record, known)
        inputs.append([Path(file).read_bytes() if Path(file).exists() else b"" for file in FILES])
    tuned = FineTuneHead()
    tuned.classes_ = head.classes_
    tuned.tail_, tuned.kernel_, tuned.bias_ = (np.ones(shape, np.float32) for shape in (9, (4, 3), 3))
    maps = {"spec": RECORD["spec"] | {"pooling": "none"}, "training_counts": [50, 50, 50]}
    save("m.joblib", tuned, np.zeros((150, 32), np.uint8), RECORD | maps)
    inputs.append([Path(file).read_bytes() if Path(file).exists() else b"" for file in FILES])
    bomb = io.BytesIO()
    joblib.dump(Bomb(), bomb)
    inputs.append([*inputs[0][:2], bomb.getvalue(), inputs[0][0]])
    return [pack(parts) for parts in inputs]


def check(data: bytes) -> bool:
    """Whether the model is loaded. Raises for anything but a head that predicts, or one line of refusal."""
    parts = unpack(data, len(FILES))
    for name, content in zip(FILES, parts, strict=True):
        if content:
            Path(name).write_bytes(content)
        else:
            Path(name).unlink(missing_ok=True)
    try:
        saved = load(FILES[2])
    except UserError as error:
        assert "\n" not in str(error), str(error)
        return False
    finally:
        assert not TRACE.exists(), "a pickle was opened that is not the one of the record"
    if isinstance(saved.predictor, TunedHead):  # its network is not here
        probabilities = saved.predictor.of_decisions(np.ones((2, len(saved.predictor.tuned.bias)), np.float32))
    else:
        rows = np.ones((2, saved.predictor.n_features_in_), np.float32)
        probabilities = saved.predictor.predict_proba(rows)
        if saved.outliers is not None:
            assert np.isfinite(saved.outliers.distances_of(rows)).all()
    assert probabilities.shape == (2, len(saved.record["classes"])), probabilities.shape
    finite = probabilities[np.isfinite(probabilities).all(axis=1)]  # huge numbers in the arrays make it NaN: no label
    assert np.allclose(finite.sum(axis=1), 1), probabilities
    assert saved.trained_on.shape[1:] == (32,) and saved.trained_on.dtype == np.uint8
    return True


def mutate(data: bytes, random: Random) -> bytes:
    """Another input, from one that was interesting."""
    others = [unpack(seed, len(FILES)) for seed in SEEDS]
    parts = unpack(data if random.random() < 0.5 else random.choice(SEEDS), len(FILES))
    for _ in range(random.choice([1, 1, 2, 4])):
        at = random.choice([0, 0, 0, 1, 1, 1, 1, 2, 3])
        donor = random.choice(others)
        if random.random() < 0.05:
            parts[at] = donor[random.choice([at, 0, 3])]
        elif at in (0, 3) and random.random() < 0.8:
            parts[at] = _with(parts[at] or donor[0], lambda record: changed_json(record, random))
        elif at == 1 and random.random() < 0.9:
            parts[1] = _changed_archive(parts[1] or donor[1], random)
        else:
            parts[at] = changed(parts[at], random, [donor[at] or donor[0]])
    if random.random() < 0.5:
        parts[1] = _agreeing(parts[1], parts[0])
    if random.random() < 0.9:
        parts[0] = _with(parts[0], lambda record: _sealed(record, parts[1]))
    return pack(parts)


def _with(record: bytes, change: Any) -> bytes:
    try:
        return to_bytes(change(json.loads(record)))
    except (ValueError, RecursionError):
        return record


def _agreeing(archive: bytes, record: bytes) -> bytes:
    """The arrays, what they say of themselves being what the record says."""
    try:
        members, fields = _members(archive), json.loads(record)
        about = json.loads(np.load(io.BytesIO(members["about.npy"])).tobytes())
        told = {name: fields.get(name) for name in about}
    except (*NOT_READ, KeyError, TypeError, AttributeError, MemoryError):
        return archive
    image = io.BytesIO()
    np.save(image, np.frombuffer(to_bytes(told), np.uint8))
    return _archive([*(members | {"about.npy": image.getvalue()}).items()])


def _sealed(record: Any, archive: bytes) -> Any:
    """The record with the right digest of the arrays and, where it has one, of itself."""
    if not isinstance(record, dict):
        return record
    if isinstance(record.get("arrays"), dict):
        record["arrays"] |= {"sha256": hashlib.sha256(archive).hexdigest(), "bytes": len(archive)}
    if "sha256" in record:
        del record["sha256"]
        canonical = json.dumps(record, sort_keys=True, separators=(",", ":"))
        record["sha256"] = hashlib.sha256(canonical.encode()).hexdigest()
    return record


def _members(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {info.filename: opened.read(info) for info in opened.infolist()}


def _archive(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    image = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(image, "w", method) as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, content in members:
            archive.writestr(name, content)
    return image.getvalue()


def _changed_archive(data: bytes, random: Random) -> bytes:
    """The npz archive with one member changed, right in its own checksums."""
    try:
        members = list(_members(data).items())
        at = random.randrange(len(members))
    except NOT_READ:
        return changed(data, random, SEEDS)
    name, content = members[at]
    match random.randrange(7):
        case 0:
            del members[at]
        case 1:
            members[at] = (random.choice(["0", "x.npy", "kernel1.npy", "kernel9.npy", "mean.npy", "kernel0"]), content)
        case 2:
            members[at] = (name, random.choice(members)[1])
        case 3:
            members[at] = (name, _array_file(random))
        case 4:
            members.append((random.choice(["mean.npy", "scale.npy", "kernel1.npy", "bias1.npy", name]), content))
        case _:
            members[at] = (name, changed(content, random, [other for _, other in members]))
    method = random.choice([zipfile.ZIP_STORED] * 5 + [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    archive = _archive(members, method)
    return archive if random.random() < 0.8 else changed(archive, random, [data])


def _array_file(random: Random) -> bytes:
    """An .npy file of any type and shape, some with a header that promises what does not follow."""
    shape = random.choice([(), (0,), (1,), (3,), (4, 3), (3, 4), (150, 32), (1, 1, 1)])
    kind = random.choice(["<f8", "<f4", "<i8", "?", "<U7", "S3", "<c16", "O", "V4", "<M8[s]", "u1"])
    if random.random() < 0.5 and kind != "O":
        image = io.BytesIO()
        filled = bytes([random.choice([0, 255])]) * math.prod(shape) * np.dtype(kind).itemsize
        np.save(image, np.ndarray(shape, kind, filled))
        return image.getvalue()
    claims: dict[str, Any] = {"descr": kind, "fortran_order": False, "shape": shape}
    name = random.choice(list(claims))
    claims[name] = random.choice([*VALUES[:8], (2**31,), (2**40, 2**20), (-1,), "f8,f8", [("a", "<f8")], "O" * 9])
    header = repr(claims).encode(errors="replace") + b"\n"
    body = pickle.dumps(Bomb()) if kind == "O" else random.randbytes(64)
    return b"\x93NUMPY\x01\x00" + len(header[:65535]).to_bytes(2, "little") + header[:65535] + body


SEEDS = seeds()
