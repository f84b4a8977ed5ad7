"""Shards as objects: what they are called, their heads read from afar, and their bytes checked before they are kept."""

import hashlib
import io
import os
import re

import numpy as np
from isal.isal_zlib import crc32

from cache.remote.other_side import Objects
from cache.row_key import FeatureSpec
from cache.shard_file import DamagedShardError, Shard, read_header

HEAD_BYTES = 72 * 1024  # of a shard of 2048 rows everything but the rows
MOST_PIECES = 16  # of a head: shards of earlier versions have theirs in two places
MOST_BYTES = 2**30  # of an object: no shard is larger

_NAME = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]{0,150}?)(?:-([0-9a-f]{64}))?\.h5")


def shard_stem(name: str) -> str | None:
    """What names a shard here and there: its file's name without digest and suffix; None if it is no shard's name.

    Nothing that a name may hold leads out of a folder.
    """
    found = _NAME.fullmatch(name)
    return found[1] if found else None


def stem_of(shard: Shard) -> str:
    """`shard_stem` of a shard in a cache; a file with another kind of name has one made of it."""
    name = os.path.basename(shard.path)
    return shard_stem(name) or hashlib.sha256(os.fsencode(name)).hexdigest()[:32]


def object_name(stem: str, data: bytes) -> str:
    """The name of a shard's object: it has the SHA-256 of the bytes, so whoever lists it can check what it reads."""
    return f"{stem}-{hashlib.sha256(data).hexdigest()}.h5"


def read_whole(objects: Objects, path: str, size: int, spec: FeatureSpec) -> tuple[bytes, Shard, np.ndarray]:
    """The bytes of a shard's object, the shard, and its rows, all of it checked. Raises as `read_head`."""
    _require_size(path, size)
    data = objects.read(path, 0, size)
    return data, *check_bytes(path, data, spec)


def _require_size(path: str, size: int) -> None:
    if size > MOST_BYTES:
        raise DamagedShardError(path, f"{size} bytes are more than a shard has")


def read_head(objects: Objects, path: str, size: int, spec: FeatureSpec | None) -> Shard:
    """Everything but the rows of the shard at `path`, an object of `size` bytes: one request, more for a large head.

    Raises `DamagedShardError`, also where it belongs to another spec than `spec`; FileNotFoundError, StorageError.
    """
    _require_size(path, size)
    pieces = _Pieces(size)
    start, stop = 0, HEAD_BYTES
    for _ in range(MOST_PIECES):
        stop = min(stop, size)
        data = objects.read(path, start, stop)
        if len(data) != stop - start:
            raise DamagedShardError(path, f"it ends before its {size} bytes")
        pieces.add(start, data)
        try:
            return _of_spec(read_header(path, size, pieces), spec)
        except DamagedShardError:
            if pieces.missing is None:
                raise
            start, stop = pieces.missing
            stop = max(stop, start + HEAD_BYTES)
    raise DamagedShardError(path, "its head lies in too many places")


def check_bytes(path: str, data: bytes, spec: FeatureSpec | None) -> tuple[Shard, np.ndarray]:
    """A shard from all of its bytes, and its rows (n, ...), every one checked.

    The SHA-256 that its name may have is checked as well. Raises `DamagedShardError`.
    """
    if has_digest(path, data) is False:
        raise DamagedShardError(path, f"its {len(data)} bytes have another SHA-256 than its name says")
    shard = _of_spec(read_header(path, len(data), io.BytesIO(data)), spec)
    count = len(shard) * shard.row_bytes // shard.spec.row_dtype.itemsize
    rows = np.frombuffer(data, shard.spec.row_dtype, count, shard.offset).reshape(len(shard), *shard.row_shape)
    for block, checksum in enumerate(shard.checksums.tolist()):
        part = slice(block * shard.block_rows, (block + 1) * shard.block_rows)
        if crc32(rows[part], crc32(shard.digests[part])) != checksum:
            raise DamagedShardError(path, f"checksum of rows from {part.start} on is wrong")
    return shard, rows


def has_digest(path: str, data: bytes) -> bool | None:
    """Whether the bytes are those of the SHA-256 in an object's name; None where it has none."""
    name = _NAME.fullmatch(path.rpartition("/")[2])
    return hashlib.sha256(data).hexdigest() == name[2] if name and name[2] else None


def _of_spec(shard: Shard, spec: FeatureSpec | None) -> Shard:
    if spec is not None and shard.spec != spec:
        raise DamagedShardError(shard.path, f"belongs to another spec ({shard.spec.folder})")
    return shard


class _Pieces(io.RawIOBase):
    """A file of which some pieces are in memory. A read of another one fails, and `missing` says which it was."""

    def __init__(self, size: int):
        self._size = size
        self._position = 0
        self._pieces: list[tuple[int, bytes]] = []
        self.missing: tuple[int, int] | None = None

    def add(self, start: int, data: bytes) -> None:
        self._pieces.append((start, data))
        self.missing = None

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        wanted = memoryview(buffer).cast("B")
        first = self._position
        stop = min(first + len(wanted), self._size)
        while self._position < stop:
            part = self._at(self._position, stop)
            begin = self._position - first
            wanted[begin : begin + len(part)] = part
            self._position += len(part)
        return max(0, stop - first)

    def _at(self, start: int, stop: int) -> bytes:
        for begin, data in self._pieces:
            if begin <= start < begin + len(data):
                return data[start - begin : stop - begin]
        self.missing = (start, stop)
        raise OSError(f"bytes {start} to {stop} are not here yet")
