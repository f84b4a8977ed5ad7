"""Tables, folders and file names that say what pictures show: labels for pictures that are there, or one line.

The pattern of `--label-pattern` is the operator's own word and not changed at random into one that takes for ever.
"""

import csv
import io
import os
import shutil
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
from fuzz.mutations import WORDS, changed, pack, unpack
from pyarrow import parquet

from cache.errors import UserError
from classify.labels.read_labels import read_labels

KINDS = (b"csv", b"parquet", b"pattern", b"folders")
PARTS = ("kind", "table", "path column", "label column", "pattern", "names")
NAMES = [
    b"cat/cat.1.jpg",
    b"cat/cat.2.JPG",
    b"dog/dog.1.png",
    b"dog/sub/dog.2.webp",
    b"train/dog/a.jpg",
    b"test/dog/b.jpg",
]
PATTERNS = [
    rb"(?P<label>cat|dog)\.\d+",
    rb"(?P<label>[^.]+)",
    rb"(?P<label>.)(?P<n>\d)?",
    rb"^(?P<label>\w{1,9}).*\.jpg$",
]
PIECES = [
    b"(",
    b")",
    b"[",
    b"]",
    b"{9}",
    b"{4294967296}",
    b"?",
    b"|",
    b".",
    b"(?P<label>",
    b"\\",
    b"(?i)",
    b"\\N",
    b"(?P=label)",
]


def seeds() -> list[bytes]:
    """A table in each form, and folders that name the classes, with and without a split of their own."""
    rows = {"path": [name.decode() for name in NAMES], "label": ["cat", "cat", "dog", "dog", "", "dog"]}
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(rows)
    writer.writerows(zip(*rows.values(), strict=True))
    plain = text.getvalue().encode()
    tables = [plain, plain.replace(b",", b";"), b"\xef\xbb\xbf" + plain.replace(b"\r\n", b"\n").replace(b".jpg", b"")]
    inputs = [(b"csv", table) for table in tables]
    inputs += [(b"parquet", _parquet(pa.table(rows, metadata=None), name)) for name in ("none", "snappy")]
    inputs += [(b"pattern", b""), (b"folders", b"")]
    return [
        pack([kind, table, b"path", b"label", PATTERNS[0], b"\0".join(NAMES[:count])])
        for kind, table in inputs
        for count in (4, 6)
    ]


def _parquet(table: Any, compression: str) -> bytes:
    image = io.BytesIO()
    parquet.write_table(table, image, compression=compression)
    return image.getvalue()


def check(data: bytes) -> bool:
    """Whether labels are found. Raises for labels that cannot be right, and anything but one line of refusal."""
    kind, table, path_column, label_column, pattern, names = unpack(data, len(PARTS))
    _make_folder(names)
    options: dict[str, str] = {}
    if kind in KINDS[:2]:
        options = {"path_column": os.fsdecode(path_column), "label_column": os.fsdecode(label_column)}
        options["labels"] = "table.parquet" if kind == b"parquet" else "table.csv"
        with open(options["labels"], "wb") as file:
            file.write(table)
    elif kind == b"pattern":
        options["label_pattern"] = os.fsdecode(pattern)
    try:
        found = read_labels("photos", **options, for_training=len(data) % 2 == 0)  # type: ignore[arg-type]
    except UserError as error:
        assert len(str(error)) < 20_000, "a message of many pages"
        return False
    assert len(found.paths) == len(found.labels) == len(found.parts) > 0
    assert all(os.path.isfile(path) for path in found.paths)
    assert all(label and label.encode() for label in found.labels), "a label that cannot be printed"
    assert np.array(found.labels, dtype=object).astype(str).tolist() == found.labels, "labels that numpy changes"
    return True


def _make_folder(names: bytes) -> None:
    """Pictures of these names in `photos`; names that no file system takes are left out."""
    if os.path.exists("names") and Path("names").read_bytes() == names:
        return
    shutil.rmtree("photos", ignore_errors=True)
    os.mkdir("photos")
    for name in names.split(b"\0")[:20]:
        path = os.path.join(b"photos", os.path.normpath(b"/" + name).lstrip(b"/"))
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "xb"):
                pass
        except OSError:
            continue
    Path("names").write_bytes(names)


def mutate(data: bytes, random: Random) -> bytes:
    """Another input, from one that was interesting."""
    others = [unpack(seed, len(PARTS)) for seed in SEEDS]
    parts = unpack(data if random.random() < 0.5 else random.choice(SEEDS), len(PARTS))
    if random.random() < 0.2:
        parts[0] = random.choice(KINDS)
        parts[1] = _invented(random) if parts[0] == b"parquet" else random.choice(others)[1]
    for _ in range(random.choice([1, 1, 2, 4])):
        at = {b"pattern": 4, b"folders": 5}.get(parts[0], random.choice([1, 1, 1, 1, 2, 3]))
        if random.random() < 0.1:
            at = 5
        if at == 4:
            begin = random.randrange(len(parts[4]) + 1)
            parts[4] = random.choice([parts[4], *PATTERNS])[:begin] + random.choice(PIECES) + parts[4][begin:]
        elif at == 1 and parts[0] == b"csv" and random.random() < 0.5:
            cells = parts[1].split(b",")
            cells[random.randrange(len(cells))] = random.choice([*WORDS, *NAMES, b'"' + b"x" * 140_000 + b'"'])
            parts[1] = b",".join(cells)
        else:
            parts[at] = changed(parts[at], random, [other[at] for other in others])
    return pack(parts)


def _invented(random: Random) -> bytes:
    """A Parquet table of other types, lengths and values than those of a table of labels."""
    kinds: list[Any] = [
        pa.string(), pa.large_string(), pa.binary(), pa.int64(), pa.float32(), pa.bool_(), pa.null(),
        pa.decimal128(9, 2), pa.timestamp("ns"), pa.timestamp("s", "Mars/Base"), pa.date64(), pa.duration("s"),
        pa.time64("ns"), pa.list_(pa.int8()), pa.dictionary(pa.int8(), pa.string()), pa.struct([("a", pa.int8())]),
        pa.map_(pa.string(), pa.int8()),
    ]  # fmt: skip
    columns = {}
    for name in random.choice([["path", "label"], ["path", "label", "path"], ["label"], ["path", "label", "x"]]):
        kind = random.choice([pa.string(), *kinds])
        fixed = pa.types.is_primitive(kind) or pa.types.is_decimal(kind)
        try:
            if fixed:
                buffer = pa.py_buffer(random.randbytes(64))
                columns[name] = pa.Array.from_buffers(kind, 4, [None, buffer])
            else:
                columns[name] = pa.array([os.fsdecode(random.choice(NAMES)) for _ in range(4)], kind)
        except (pa.ArrowException, ValueError, TypeError, NotImplementedError):
            columns[name] = pa.array(["cat/cat.1.jpg", None, "dog/dog.1.png", random.choice(["", "\0", "a\0"])])
    try:
        return _parquet(pa.table(list(columns.values()), list(columns)), random.choice(["none", "gzip", "zstd"]))
    except (pa.ArrowException, ValueError):
        return b""


SEEDS = seeds()
