"""One immutable HDF5 shard: feature rows, their keys, and checksums of both.

Layout (all contiguous, little-endian, no filters, so a row is one read at a known offset):

    attributes: format, spec (JSON), provenance (JSON), block_rows, digest_crc32
    digest    (n, 32)  uint8     SHA-256 of each row's image
    crc32     (b,)     uint32    of each block of `block_rows` rows, seeded with the block's digests
    features  (n, ...) float32   the rows; float16 where the spec says so

The rows come last, so one read of the file's beginning has everything else: from object storage that is one request.
Files of earlier versions begin with the rows; they read the same.

HDF5's own fletcher32 filter also finds flipped bits, but reads at 40% of the speed of a plain array; CRC-32 of
blocks that are still in the processor's cache, by ISA-L at ten times zlib's speed, costs next to nothing. The
attributes are covered by the checksums of HDF5's version 2 object headers (`libver="latest"`) because they have a fixed
length: strings of variable length lie in HDF5's global heap, which has no checksum, and one flipped bit there can make
HDF5 loop for ever.
"""

import contextlib
import errno
import io
import json
import math
import os
import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import h5py
import numpy as np
from isal.isal_zlib import crc32  # the numbers of zlib's, at ten times its speed

from cache.errors import log
from cache.files.plain_file import descriptor_of_plain
from cache.files.system_calls import read_at
from cache.row_key import DIGEST_BYTES, FeatureSpec

FORMAT = 1
BLOCK_BYTES = 256 * 1024
READ_BYTES = 1024**2  # of one read: they are checked while they are in the processor's cache
MOST_ROWS = 2**24  # a damaged or sparse file may claim more than its rows
MOST_BLOCK_BYTES = 2**30


class DamagedShardError(Exception):
    """A shard whose content is not what was committed. `path` names it, the message says what is wrong.

    rows_lost: how many rows no other shard has; None where nobody has looked, or the shard's keys cannot be read.
    """

    def __init__(self, path: str, reason: str):
        super().__init__(path, reason)  # as they came, so that it can be pickled
        self.path = path
        self.reason = reason
        self.rows_lost: int | None = None

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class UnreadableShardError(DamagedShardError):
    """A shard that the system failed to read twice. Its content may be whole, so it stays where it is."""


# Errors of a disk or a server that fails, not of permissions or of a file that is gone.
FAILING = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENXIO, errno.ENODEV, errno.EHOSTDOWN}
FAILING |= {getattr(errno, "EREMOTEIO", errno.EIO)}  # Linux


def encode_shard(rows: np.ndarray, digests: np.ndarray, spec: FeatureSpec, provenance: dict[str, Any]) -> memoryview:
    """The bytes of a shard with `rows` (n, ...) and `digests` (n, 32) uint8, n at least 1."""
    rows = np.ascontiguousarray(rows, dtype=spec.row_dtype)
    digests = np.ascontiguousarray(digests, dtype=np.uint8)
    block_rows = max(1, BLOCK_BYTES // rows[0].nbytes)
    checksums = [
        crc32(rows[start : start + block_rows], crc32(digests[start : start + block_rows]))
        for start in range(0, len(rows), block_rows)
    ]
    image = io.BytesIO()
    with h5py.File(image, "w", libver="latest") as file:
        file.attrs["format"] = FORMAT
        file.attrs["spec"] = np.bytes_(json.dumps(spec.to_json()))
        file.attrs["provenance"] = np.bytes_(json.dumps(provenance))
        file.attrs["block_rows"] = block_rows
        file.attrs["digest_crc32"] = crc32(digests)
        file.create_dataset("digest", data=digests)
        file.create_dataset("crc32", data=np.array(checksums, dtype="<u4"))
        file.create_dataset("features", data=rows)
    return image.getbuffer()


@dataclass(frozen=True, eq=False)
class Shard:
    """A committed shard, opened: everything but the rows is in memory.

    digests (n, 32) uint8; row_shape = the shape of one row; offset = where the rows start in the file, in bytes.
    """

    path: str
    file_bytes: int
    spec: FeatureSpec
    provenance: dict[str, Any]
    digests: np.ndarray
    row_shape: tuple[int, ...]
    offset: int
    block_rows: int
    checksums: np.ndarray

    def __len__(self) -> int:
        return len(self.digests)

    @cached_property
    def row_bytes(self) -> int:
        """Size of one row in bytes."""
        return self.spec.row_dtype.itemsize * math.prod(self.row_shape)

    @cached_property
    def origin(self) -> str:
        """What its rows were computed with: the provenance, but for the time, and the shape of a row, as JSON."""
        provenance = {name: value for name, value in self.provenance.items() if name != "written"}
        return json.dumps([provenance, self.row_shape], sort_keys=True)

    def read(self, wanted: np.ndarray) -> np.ndarray:
        """The rows numbered `wanted` (m,), in that order: (m, ...) as they are stored. As `read_into`."""
        rows = np.empty((len(wanted), *self.row_shape), self.spec.row_dtype)
        self.read_into(rows, np.arange(len(wanted)), wanted)
        return rows

    def read_into(self, rows: np.ndarray, positions: np.ndarray, wanted: np.ndarray) -> None:
        """Set rows[positions] to the rows of the shard numbered `wanted`, both (m,).

        Only blocks with a wanted row are read, and each is checked. A block that is wanted whole and in order is read
        straight into `rows`. Raises `DamagedShardError`, also where the rows have another shape than those of
        `rows`, and `OSError` where the file is gone.
        """
        if rows.shape[1:] != self.row_shape:
            raise DamagedShardError(self.path, f"rows of shape {self.row_shape} among rows of {rows.shape[1:]}")
        order = np.argsort(wanted, kind="stable")
        wanted, positions = wanted[order], positions[order]
        block_of = wanted // self.block_rows
        bounds = np.flatnonzero(np.diff(block_of, prepend=-1, append=-1))
        starts, stops = bounds[:-1], bounds[1:]
        blocks = block_of[starts]
        lengths = np.minimum(self.block_rows, len(self) - blocks * self.block_rows)
        broken = (np.diff(wanted, prepend=wanted[:1]) != 1) | (np.diff(positions, prepend=positions[:1]) != 1)
        breaks = np.cumsum(broken)  # equal at two indices: rows in between follow each other
        whole = (stops - starts == lengths) & (breaks[starts] == breaks[stops - 1])
        scratch = np.empty((min(self.block_rows, len(self)), *self.row_shape), self.spec.row_dtype)
        columns = (blocks, lengths, starts, stops, positions[starts], whole)
        straight: list[tuple[int, int, int]] = []  # (first block, position, rows) of successive whole blocks
        with _open(self.path) as file:
            for block, count, start, stop, position, is_whole in zip(*(each.tolist() for each in columns), strict=True):
                if not is_whole:
                    self._read_blocks(file, block, scratch[:count])
                    rows[positions[start:stop]] = scratch[wanted[start:stop] - block * self.block_rows]
                    continue
                first, begun, length = straight[-1] if straight else (block, position, 0)
                follows = (block - first) * self.block_rows == position - begun == length
                if straight and follows and length * self.row_bytes < READ_BYTES:
                    straight[-1] = (first, begun, length + count)
                else:
                    straight.append((block, position, count))
            for block, position, count in straight:
                self._read_blocks(file, block, rows[position : position + count])

    def verify(self) -> None:
        """Read and check every row. Raises `DamagedShardError`, and `OSError` where the file is gone."""
        scratch = np.empty((min(self.block_rows, len(self)), *self.row_shape), self.spec.row_dtype)
        with _open(self.path) as file:
            for block in range(len(self.checksums)):
                count = min(self.block_rows, len(self) - block * self.block_rows)
                self._read_blocks(file, block, scratch[:count])

    @cached_property
    def _expected(self) -> list[tuple[int, int]]:
        """Of each block the checksum of its keys, with which that of its rows begins, and the checksum of both."""
        starts = range(0, len(self), self.block_rows)
        # zlib's, for so few bytes, keeps the interpreter's lock: giving it away and waiting for it takes longer
        seeds = [zlib.crc32(self.digests[start : start + self.block_rows].data) for start in starts]
        return list(zip(seeds, self.checksums.tolist(), strict=True))

    def _read_blocks(self, file: io.FileIO, block: int, rows: np.ndarray) -> None:
        """Fill `rows`, contiguous and as many as some blocks have, the first of them being number `block`.

        After a failure the file is opened and read once more. Raises UnreadableShardError where the system fails
        again, or the second read gives other bytes than the first; DamagedShardError where both give the same wrong
        bytes.
        """
        try:
            self._read_once(file.fileno(), block, rows)
        except DamagedShardError as first:
            before = crc32(rows)
            with _open(self.path) as again:
                try:
                    self._read_once(again.fileno(), block, rows)
                except DamagedShardError as second:
                    twice_alike = type(second) is type(first) and crc32(rows) == before
                    if twice_alike or isinstance(second, UnreadableShardError):
                        raise
                    raise UnreadableShardError(self.path, f"{first.reason}; then {second.reason}") from second
            log.info("%s: read again, after an error (%s)", self.path, first.reason)

    def _read_once(self, file: int, block: int, rows: np.ndarray) -> None:
        first = block * self.block_rows
        offset = self.offset + first * self.row_bytes
        try:
            count = read_at(file, rows.data, offset)
            while count < rows.nbytes:  # a read may end early, for a signal
                more = read_at(file, rows.data.cast("B")[count:], offset + count)
                if not more:
                    raise DamagedShardError(self.path, "the file is shorter than its rows")
                count += more
        except OSError as error:
            raise UnreadableShardError(self.path, f"cannot be read ({error.strerror})") from error
        for start in range(0, len(rows), self.block_rows):
            part = rows[start : start + self.block_rows]
            seed, checksum = self._expected[block + start // self.block_rows]
            if crc32(part, seed) != checksum:
                begin = first + start
                raise DamagedShardError(self.path, f"checksum of rows {begin} to {begin + len(part) - 1} is wrong")


def open_shard(path: str, spec: FeatureSpec | None = None) -> Shard:
    """Open the shard at `path`, checking everything but the rows; with `spec`, also that it belongs to it.

    Raises `DamagedShardError`: not HDF5, cut short, another format, keys that fail their checksum, or data that
    HDF5 would fetch from elsewhere (external, virtual, compressed) or that the file is too small to hold.
    Raises `UnreadableShardError` where the system fails to read it, and `OSError` where the file is missing or cannot
    be opened: that says nothing about its content. Each is raised when it happens twice.
    """
    try:
        return _open_shard(path, spec)
    except DamagedShardError as first:
        try:
            found = _open_shard(path, spec)
        except DamagedShardError as second:
            if isinstance(first, UnreadableShardError) and not isinstance(second, UnreadableShardError):
                raise UnreadableShardError(path, f"{first.reason}; then {second.reason}") from second
            raise
        log.info("%s: read again, after an error (%s)", path, first.reason)
        return found


def _open_shard(path: str, spec: FeatureSpec | None) -> Shard:
    # opened here, not by HDF5: its errors do not tell damage from a lack of permission or of file descriptors
    with _open(path) as raw:
        try:
            found = read_header(path, os.fstat(raw.fileno()).st_size, raw)
        except DamagedShardError as error:
            failed = raw.failed or getattr(error.__cause__, "errno", None) or 0
            if failed in FAILING:
                raise UnreadableShardError(path, f"cannot be read ({os.strerror(failed)})") from error
            raise
    if spec is not None and found.spec != spec:
        raise DamagedShardError(path, f"belongs to another spec ({found.spec.folder})")
    return found


class _Watched(io.FileIO):
    """A file that keeps the errno of a failed read: HDF5 replaces it by an error of its own."""

    failed = 0

    def readinto(self, buffer: Any) -> int | None:
        try:
            return super().readinto(buffer)
        except OSError as error:
            self.failed = error.errno or errno.EIO
            raise


def _open(path: str, again: bool = True) -> _Watched:
    try:
        return _Watched(descriptor_of_plain(path))
    except ValueError as error:
        raise DamagedShardError(path, str(error)) from error
    except OSError as error:
        if error.errno in FAILING:
            if again:
                return _open(path, again=False)
            raise UnreadableShardError(path, f"cannot be opened ({error.strerror})") from error
        raise


def read_header(path: str, file_bytes: int, raw: Any) -> Shard:
    """Everything but the rows of a shard of `file_bytes` bytes, read through `raw`, a binary file that is unbuffered.

    `path` is what the shard is called. Raises `DamagedShardError`.
    """
    try:
        with contextlib.closing(_open_hdf5(path, raw)) as file:
            return _read_header(path, file_bytes, file, raw)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, OverflowError, AttributeError) as error:
        # h5py reports damage by any of these, depending on which of HDF5's structures is hit
        raise DamagedShardError(path, f"not a readable shard ({' '.join(str(error).split())[:200]})") from error


def _open_hdf5(path: str, raw: Any) -> h5py.h5f.FileID:
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fileobj_driver(h5py.h5fd.fileobj_driver, raw)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)  # to close it is to close all that was opened in it
    return h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDONLY, access)


def _read_header(path: str, file_bytes: int, file: h5py.h5f.FileID, raw: Any) -> Shard:
    # h5py's low-level calls: half the time of its objects, which counts with hundreds of shards
    if (version := _number(file, b"format")) != FORMAT:
        raise ValueError(f"shard format {version}, this version reads {FORMAT}")
    spec = FeatureSpec.from_json(json.loads(_text(file, b"spec")))
    shape, offset = _plain(file, b"features", spec.row_dtype.str, file_bytes)
    digest_shape, digest_offset = _plain(file, b"digest", "u1", file_bytes)
    checksum_shape, checksum_offset = _plain(file, b"crc32", "<u4", file_bytes)
    block_rows = _number(file, b"block_rows")
    if 0 in shape or digest_shape != (shape[0], DIGEST_BYTES) or block_rows < 1:
        raise ValueError(f"{shape} rows with keys of shape {digest_shape}")
    if shape[0] > MOST_ROWS or block_rows * math.prod(shape[1:]) * 4 > MOST_BLOCK_BYTES:
        raise ValueError(f"{shape} rows in blocks of {block_rows}, too many for one shard")
    if checksum_shape != (-(-shape[0] // block_rows),):
        raise ValueError(f"{checksum_shape} checksums for {shape[0]} rows")
    digests = _array(raw, digest_shape, digest_offset, "u1")
    if crc32(digests) != _number(file, b"digest_crc32"):
        raise ValueError("the checksum of the keys is wrong")
    provenance = json.loads(_text(file, b"provenance"))
    if not isinstance(provenance, dict):
        raise ValueError("its provenance is not a record")
    return Shard(
        path=path,
        file_bytes=file_bytes,
        spec=spec,
        provenance=provenance,
        digests=digests,
        row_shape=shape[1:],
        offset=offset,
        block_rows=block_rows,
        checksums=_array(raw, checksum_shape, checksum_offset, "<u4"),
    )


def _number(file: h5py.h5f.FileID, name: bytes) -> int:
    return int(_attribute(file, name, h5py.h5t.TypeIntegerID))


def _text(file: h5py.h5f.FileID, name: bytes) -> bytes:
    return bytes(_attribute(file, name, h5py.h5t.TypeStringID))


def _attribute(file: h5py.h5f.FileID, name: bytes, kind: Any) -> Any:
    """The value of a single number or string of fixed length; no other type is read, see the top of this file."""
    attribute = h5py.h5a.open(file, name)
    stored = attribute.get_type()
    if not isinstance(stored, kind) or (kind is h5py.h5t.TypeStringID and stored.is_variable_str()):
        raise ValueError(f"attribute {name.decode()} has another type")
    if attribute.shape != () or attribute.get_storage_size() != stored.get_size():
        raise ValueError(f"attribute {name.decode()} is not a single value")
    value = np.empty((), attribute.dtype)
    attribute.read(value)
    return value[()]


def _plain(file: h5py.h5f.FileID, name: bytes, dtype: str, file_bytes: int) -> tuple[tuple[int, ...], int]:
    """(shape, offset in the file) of a dataset, only if its bytes lie in this very file, whole and uncompressed."""
    if file.links.get_info(name).type != h5py.h5l.TYPE_HARD:
        raise ValueError(f"{name.decode()} is a link to elsewhere")
    dataset = h5py.h5d.open(file, name)
    properties = dataset.get_create_plist()
    if properties.get_layout() != h5py.h5d.CONTIGUOUS or properties.get_external_count():
        raise ValueError(f"{name.decode()} is not stored in one piece in this file")
    shape, offset = dataset.shape, dataset.get_offset()
    if dataset.dtype != np.dtype(dtype) or not shape:
        raise ValueError(f"{name.decode()} is not an array of {dtype}")
    if offset is None or offset + math.prod(shape) * dataset.dtype.itemsize > file_bytes:
        raise ValueError(f"{name.decode()} is larger than the file")
    return shape, offset


def _array(file: Any, shape: tuple[int, ...], offset: int, dtype: str) -> np.ndarray:
    file.seek(offset)
    return np.frombuffer(file.read(math.prod(shape) * np.dtype(dtype).itemsize), dtype).reshape(shape)
