"""Shards of an enemy: a file is refused with `DamagedShardError`, or its rows are those that its checksums vouch for.

HDF5's own checksums are made right after most changes, so that its parser and our checks meet the changed values.
"""

import io
import json
import zlib
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np
from fuzz.mutations import EDGES, VALUES, changed, changed_json
from helpers.files.hostile_shards import HOSTILE, honest
from helpers.storage.cached_rows import PROVENANCE, SPEC, keys, rows

from cache.shard_file import DamagedShardError, encode_shard, open_shard

FILE = Path("shard.h5")
MASK = 2**32 - 1


def seeds() -> list[bytes]:
    """Shards as they are written, one in HDF5's older format, and those of helpers/files/hostile_shards.py."""
    shards = [
        bytes(encode_shard(rows(count, width), keys(count), SPEC, PROVENANCE))
        for count, width in ((4, 6), (1, 1), (40, 3))
    ]
    return shards + [
        built(make, version) for version in ("latest", "earliest") for make in (honest_one, *HOSTILE.values())
    ]


def honest_one(file: h5py.File, _: str) -> None:
    honest(file)


def built(make: Any, version: str) -> bytes:
    image = io.BytesIO()
    with h5py.File(image, "w", libver=version) as file:
        make(file, "nowhere")
    return image.getvalue()


def check(data: bytes) -> bool:
    """Whether the header of a shard of these bytes is accepted. Raises for what is neither refused nor right."""
    FILE.write_bytes(data)
    try:
        shard = open_shard(str(FILE))
    except DamagedShardError as error:
        assert "\n" not in str(error) and len(error.reason) < 400, error.reason
        return False
    try:
        shard.verify()
    except DamagedShardError:
        return True
    backwards = np.arange(len(shard))[::-1]
    found = np.ascontiguousarray(shard.read(backwards)[::-1])
    assert found.tobytes() == data[shard.offset : shard.offset + found.nbytes]
    for number, checksum in enumerate(shard.checksums.tolist()):
        part = slice(number * shard.block_rows, (number + 1) * shard.block_rows)
        assert zlib.crc32(found[part].tobytes(), zlib.crc32(shard.digests[part].tobytes())) == checksum
    return True


def mutate(data: bytes, random: Random) -> bytes:
    """Another input, from one that was interesting."""
    if random.random() < 0.3:
        data = random.choice(SEEDS[:5])  # whole ones, so that not all changes meet what would be refused anyway
    elif random.random() < 0.1:
        version = random.choice(["latest", "latest", "earliest"])
        data = built(lambda file, _: invented(file, random), version)
        if random.random() < 0.5:
            return data
    for _ in range(random.choice([1, 1, 1, 2, 3, 8])):
        data = changed(data, random, SEEDS)
    return with_right_checksums(data) if random.random() < 0.9 else data


def invented(file: h5py.File, random: Random) -> None:
    """A shard that is right in its checksums, of any shape, and wrong in one of its claims."""
    count = random.randint(1, 40)
    shape = (count, *(random.randint(1, 4) for _ in range(random.randint(1, 3))))
    block_rows = random.choice([1, 2, 7, count, 100])
    features = np.frombuffer(random.randbytes(int(np.prod(shape)) * 4), "<f4").reshape(shape)
    digest = np.frombuffer(random.randbytes(count * 32), np.uint8).reshape(count, 32)
    blocks = [slice(start, start + block_rows) for start in range(0, count, block_rows)]
    checksums = [zlib.crc32(features[block].tobytes(), zlib.crc32(digest[block].tobytes())) for block in blocks]
    arrays = {"features": features, "digest": digest, "crc32": np.array(checksums, "<u4")}
    attributes: dict[str, Any] = {
        "format": 1,
        "spec": SPEC.to_json(),
        "provenance": PROVENANCE,
        "block_rows": block_rows,
        "digest_crc32": zlib.crc32(digest.tobytes()),
    }
    name = random.choice(["", *arrays, *attributes])
    if name in arrays:
        kind = random.choice(["<f4", "<f2", ">f4", "u1", "<u4", "<i8", "S3", "<c8"])
        arrays[name] = random.choice(
            [arrays[name][:-1], arrays[name][:, None], arrays[name].view(np.uint8).astype(kind)]
        )
    elif name in ("spec", "provenance"):
        attributes[name] = changed_json(attributes[name], random)
    elif name:
        attributes[name] = random.choice(
            [*EDGES, -1, 0.5, *(value for value in VALUES if isinstance(value, str | list))]
        )
    for key, array in arrays.items():
        options = random.choice(
            [{}] * 20 + [{"chunks": True}, {"compression": "gzip"}, {"maxshape": (None,) * array.ndim}]
        )
        file.create_dataset(key, data=array, **options)
    for key, value in attributes.items():
        try:
            file.attrs[key] = np.bytes_(json.dumps(value).encode()) if isinstance(value, dict | list) else value
        except (TypeError, ValueError, OverflowError):  # what cannot be stored is left out
            continue


def with_right_checksums(data: bytes) -> bytes:
    """The file with the checksums of HDF5's superblock and object headers as its bytes have them."""
    result = bytearray(data)
    if data[:8] == b"\x89HDF\r\n\x1a\n" and len(data) >= 48 and data[8] in (2, 3):
        result[44:48] = lookup3(result[:44])
    at = result.find(b"OHDR")
    while at >= 0:
        _sum_object_header(result, at)
        at = result.find(b"OHDR", at + 1)
    return bytes(result)


def _sum_object_header(file: bytearray, at: int) -> None:
    """HDF5 File Format Specification 3.0, IV.A.1.b: prefix, messages of chunk 0, checksum; more in other chunks."""
    flags = file[at + 5] if at + 5 < len(file) else 0
    sized = at + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
    start = sized + 2 ** (flags & 3)
    end = start + int.from_bytes(file[sized:start], "little")
    if end + 4 > len(file):
        return
    head = 6 if flags & 4 else 4
    message = start
    while message + head <= end:
        kind, size = file[message], int.from_bytes(file[message + 1 : message + 3], "little")
        if kind == 0x10:  # continued elsewhere
            body = message + head
            offset, length = (int.from_bytes(file[body + i : body + i + 8], "little") for i in (0, 8))
            if file[offset : offset + 4] == b"OCHK" and 8 < length <= len(file) - offset:
                file[offset + length - 4 : offset + length] = lookup3(file[offset : offset + length - 4])
        message += head + size
    file[end : end + 4] = lookup3(file[at:end])


def lookup3(data: bytes | bytearray) -> bytes:
    """Bob Jenkins' hash (lookup3.c, hashlittle beginning with 0), HDF5's checksum of its structures: 4 bytes."""
    a = b = c = (0xDEADBEEF + len(data)) & MASK
    if not data:
        return c.to_bytes(4, "little")
    last = (len(data) - 1) // 12 * 12
    for at in range(0, last + 1, 12):
        first, second, third = (int.from_bytes(data[at + i : at + i + 4], "little") for i in (0, 4, 8))
        a, b, c = a + first & MASK, b + second & MASK, c + third & MASK
        if at < last:
            for bits in (4, 6, 8, 16, 19, 4):
                a, b, c = b, c + b & MASK, (a - c & MASK) ^ _turned(c, bits)
    for bits in (14, 11, 25, 16, 4, 14, 24):
        a, b, c = b, (c ^ b) - _turned(b, bits) & MASK, a
    return b.to_bytes(4, "little")


def _turned(number: int, bits: int) -> int:
    return (number << bits | number >> (32 - bits)) & MASK


SEEDS = seeds()
