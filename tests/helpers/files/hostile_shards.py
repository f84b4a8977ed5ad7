"""Shard files made by an enemy: right in their checksums, wrong in what they say."""

import json
import zlib
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
from helpers.storage.cached_rows import OTHER_SPEC, PROVENANCE, SPEC, keys, rows

FEATURES, DIGESTS = rows(4, 6), keys(4)


def honest(file: h5py.File, *without: str, **attributes: Any) -> None:
    """A valid shard, but for some parts left out and attributes that are replaced."""
    arrays = {
        "features": FEATURES,
        "digest": DIGESTS,
        "crc32": np.array([zlib.crc32(FEATURES.tobytes(), zlib.crc32(DIGESTS.tobytes()))], "<u4"),
    }
    plain = {
        "format": 1,
        "spec": np.bytes_(json.dumps(SPEC.to_json())),
        "provenance": np.bytes_(json.dumps(PROVENANCE)),
        "block_rows": 100,
        "digest_crc32": zlib.crc32(DIGESTS.tobytes()),
    }
    for name, array in arrays.items():
        if name not in without:
            file.create_dataset(name, data=array)
    for name, value in (plain | attributes).items():
        if name not in without:
            file.attrs[name] = value


def linked(file: h5py.File, trap: str) -> None:
    honest(file, "features")
    file["features"] = h5py.ExternalLink(trap, "features")


def soft_linked(file: h5py.File, _: str) -> None:
    honest(file, "features")
    file["elsewhere"] = FEATURES
    file["features"] = h5py.SoftLink("/elsewhere")


def linked_keys(file: h5py.File, trap: str) -> None:
    honest(file, "digest")
    file["digest"] = h5py.ExternalLink(trap, "digest")


def external(file: h5py.File, trap: str) -> None:
    honest(file, "features")
    file.create_dataset("features", FEATURES.shape, "<f4", external=[(trap, 0, h5py.h5f.UNLIMITED)])


def virtual(file: h5py.File, trap: str) -> None:
    honest(file, "features")
    layout = h5py.VirtualLayout(FEATURES.shape, "<f4")
    layout[:] = h5py.VirtualSource(trap, "features", FEATURES.shape)
    file.create_virtual_dataset("features", layout)


def endless_virtual(file: h5py.File, trap: str) -> None:
    honest(file, "features")
    layout = h5py.VirtualLayout((4, 6), "<f4", maxshape=(None, 6))
    source = h5py.VirtualSource(trap, "features", (4, 6), maxshape=(None, 6))
    layout[: h5py.h5s.UNLIMITED] = source[: h5py.h5s.UNLIMITED]
    file.create_virtual_dataset("features", layout)


def compressed(file: h5py.File, _: str) -> None:
    honest(file, "features")
    bomb = file.create_dataset("features", (4, 2**26), "<f4", chunks=(1, 2**22), compression="gzip")
    bomb[0, : 2**22] = 0


def declared_40_terabytes(file: h5py.File, _: str) -> None:
    honest(file, "features", "digest")
    file.create_dataset("features", (10**10, 1000), "<f4")
    file.create_dataset("digest", (10**10, 32), "u1")


def chunks_of_40_terabytes(file: h5py.File, _: str) -> None:
    honest(file, "features")
    file.create_dataset("features", (10**10, 1000), "<f4", chunks=(1, 1000))


def compact(file: h5py.File, _: str) -> None:
    honest(file, "features")
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.COMPACT)
    space = h5py.h5s.create_simple(FEATURES.shape)
    h5py.h5d.create(file.id, b"features", h5py.h5t.IEEE_F32LE, space, properties)


def replaced(name: str, data: Any) -> Callable[[h5py.File, str], None]:
    def make(file: h5py.File, _: str) -> None:
        honest(file, name)
        file.create_dataset(name, data=data)

    return make


def with_group(file: h5py.File, _: str) -> None:
    honest(file, "features")
    file.create_group("features")


def without(name: str) -> Callable[[h5py.File, str], None]:
    return lambda file, _: honest(file, name)


def attribute(name: str, value: Any) -> Callable[[h5py.File, str], None]:
    return lambda file, _: honest(file, **{name: value})


DEEP = np.bytes_("[" * 20_000)


HOSTILE: dict[str, Callable[[h5py.File, str], None]] = {
    "external link": linked,
    "external link for the keys": linked_keys,
    "soft link": soft_linked,
    "external storage": external,
    "virtual dataset": virtual,
    "virtual dataset without end": endless_virtual,
    "compressed bomb": compressed,
    "40 TB declared": declared_40_terabytes,
    "40 TB in chunks": chunks_of_40_terabytes,
    "compact layout": compact,
    "features a group": with_group,
    "features float64": replaced("features", FEATURES.astype("<f8")),
    "features big-endian": replaced("features", FEATURES.astype(">f4")),
    "features a single number": replaced("features", np.float32(1)),
    "features without content": replaced("features", h5py.Empty("<f4")),
    "features of no rows": replaced("features", np.zeros((0, 6), "<f4")),
    "features of no width": replaced("features", np.zeros((4, 0), "<f4")),
    "more features than keys": replaced("features", rows(5, 6)),
    "features of texts": replaced("features", np.array([b"abc", b"def"], dtype=object)),
    "keys of 31 bytes": replaced("digest", DIGESTS[:, :31]),
    "keys of signed bytes": replaced("digest", DIGESTS.view(np.int8)),
    "too few checksums": replaced("crc32", np.zeros(0, "<u4")),
    "too many checksums": replaced("crc32", np.zeros(2, "<u4")),
    "wrong checksum": replaced("crc32", np.zeros(1, "<u4")),
    **{f"no {name}": without(name) for name in ("features", "digest", "crc32")},
    **{f"no {name}": without(name) for name in ("format", "spec", "provenance", "block_rows", "digest_crc32")},
    "format of tomorrow": attribute("format", 2),
    "format a text of variable length": attribute("format", "1"),
    "format an array": attribute("format", np.ones(1000, int)),
    "format a fraction": attribute("format", 1.0),
    "format empty": attribute("format", h5py.Empty("i8")),
    "spec of variable length": attribute("spec", json.dumps(SPEC.to_json())),
    "spec no JSON": attribute("spec", np.bytes_("{")),
    "spec no spec": attribute("spec", np.bytes_("{}")),
    "spec of another": attribute("spec", np.bytes_(json.dumps(OTHER_SPEC.to_json()))),
    "spec no UTF-8": attribute("spec", np.bytes_(b"\xff\xfe\xfd")),
    "spec too deep": attribute("spec", DEEP),
    "spec an array": attribute("spec", np.array([b"a", b"b"])),
    "provenance of variable length": attribute("provenance", json.dumps(PROVENANCE)),
    "provenance a list": attribute("provenance", np.bytes_("[1]")),
    "provenance too deep": attribute("provenance", DEEP),
    "blocks of no rows": attribute("block_rows", 0),
    "blocks of negative rows": attribute("block_rows", -1),
    "blocks beyond all memory": attribute("block_rows", 2**62),
    "keys with a wrong checksum": attribute("digest_crc32", 0),
    "checksum a text of variable length": attribute("digest_crc32", "0"),
}
