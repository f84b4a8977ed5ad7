"""One immutable HDF5 shard: feature rows, their keys, and checksums of both.

Layout (all contiguous, little-endian, no filters, so a row is one read at a known offset):

    features  (n, ...) float32   the rows
    digest    (n, 32)  uint8     SHA-256 of each row's image
    crc32     (b,)     uint32    of each block of `block_rows` rows, seeded with the block's digests
    attributes: format, spec (JSON), provenance (JSON), block_rows, digest_crc32

HDF5's own fletcher32 filter also finds flipped bits, but reads at 40% of the speed of a plain array; CRC-32 of
blocks that are still in the processor's cache costs a third of that. The attributes are covered by the
checksums of HDF5's version 2 object headers (`libver="latest"`) because they have a fixed length: strings of
variable length lie in HDF5's global heap, which has no checksum, and one flipped bit there can make HDF5 loop
for ever.
"""

import io
import json
import os
import zlib
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from cache.spec import FeatureSpec

FORMAT = 1
DIGEST_BYTES = 32
BLOCK_BYTES = 256 * 1024


class DamagedShardError(Exception):
    """A shard whose content is not what was committed. `path` names it, the message says what is wrong."""

    def __init__(self, path: str, reason: str):
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


def encode_shard(rows: np.ndarray, digests: np.ndarray, spec: FeatureSpec, provenance: dict[str, Any]) -> memoryview:
    """The bytes of a shard with `rows` (n, ...) float32 and `digests` (n, 32) uint8."""
    rows = np.ascontiguousarray(rows, dtype="<f4")
    digests = np.ascontiguousarray(digests, dtype=np.uint8)
    block_rows = max(1, BLOCK_BYTES // max(1, rows[0].nbytes))
    checksums = [
        _checksum(rows[start : start + block_rows], digests[start : start + block_rows])
        for start in range(0, len(rows), block_rows)
    ]
    image = io.BytesIO()
    with h5py.File(image, "w", libver="latest") as file:
        file.create_dataset("features", data=rows)
        file.create_dataset("digest", data=digests)
        file.create_dataset("crc32", data=np.array(checksums, dtype="<u4"))
        file.attrs["format"] = FORMAT
        file.attrs["spec"] = np.bytes_(json.dumps(spec.to_json()))
        file.attrs["provenance"] = np.bytes_(json.dumps(provenance))
        file.attrs["block_rows"] = block_rows
        file.attrs["digest_crc32"] = zlib.crc32(digests.data)
    return image.getbuffer()


def _checksum(rows: np.ndarray, digests: np.ndarray) -> int:
    return zlib.crc32(rows.data, zlib.crc32(digests.data))


@dataclass(frozen=True, eq=False)
class Shard:
    """A committed shard, opened: everything but the rows is in memory.

    digests (n, 32) uint8; row_shape = the shape of one row; offset = where the rows start in the file, in bytes.
    """

    path: str
    spec: FeatureSpec
    provenance: dict[str, Any]
    digests: np.ndarray
    row_shape: tuple[int, ...]
    offset: int
    block_rows: int
    checksums: np.ndarray

    def __len__(self) -> int:
        return len(self.digests)

    def read(self, wanted: np.ndarray) -> np.ndarray:
        """The rows numbered `wanted` (m,), in that order: (m, ...) float32.

        Only the blocks that hold a wanted row are read, each checked. Raises `DamagedShardError`.
        """
        result = np.empty((len(wanted), *self.row_shape), dtype="<f4")
        order = np.argsort(wanted, kind="stable")
        blocks = wanted[order] // self.block_rows
        starts = np.flatnonzero(np.diff(blocks, prepend=-1))
        with open(self.path, "rb", buffering=0) as file:
            for start, stop in zip(starts, [*starts[1:], len(order)], strict=True):
                first, rows = self._read_block(file.fileno(), int(blocks[start]))
                targets = order[start:stop]
                result[targets] = rows[wanted[targets] - first]
        return result

    def verify(self) -> None:
        """Read and check every row. Raises `DamagedShardError`."""
        with open(self.path, "rb", buffering=0) as file:
            for block in range(len(self.checksums)):
                self._read_block(file.fileno(), block)

    def _read_block(self, file: int, block: int) -> tuple[int, np.ndarray]:
        first = block * self.block_rows
        digests = self.digests[first : first + self.block_rows]
        rows = np.empty((len(digests), *self.row_shape), dtype="<f4")
        row_bytes = rows.nbytes // len(digests)
        if os.preadv(file, [rows.data.cast("B")], self.offset + first * row_bytes) != rows.nbytes:
            raise DamagedShardError(self.path, "the file is shorter than its rows")
        if _checksum(rows, digests) != self.checksums[block]:
            raise DamagedShardError(self.path, f"checksum of rows {first} to {first + len(digests) - 1} is wrong")
        return first, rows


def open_shard(path: str, spec: FeatureSpec | None = None) -> Shard:
    """Open the shard at `path`, checking everything but the rows; with `spec`, also that it belongs to it.

    Raises `DamagedShardError`: not HDF5, cut short, another format, keys that fail their checksum, or data that
    HDF5 would fetch from elsewhere (external, virtual, compressed) or that the file is too small to hold.
    """
    try:
        with h5py.File(path, "r") as file:
            found = _read_header(path, file, os.path.getsize(path))
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, OverflowError, AttributeError) as error:
        # h5py reports damage by any of these, depending on which of HDF5's structures is hit
        raise DamagedShardError(path, f"not a readable shard ({' '.join(str(error).split())[:200]})") from error
    if spec is not None and found.spec != spec:
        raise DamagedShardError(path, f"belongs to another spec ({found.spec.folder})")
    return found


def _read_header(path: str, file: h5py.File, file_bytes: int) -> Shard:
    if int(file.attrs["format"]) != FORMAT:
        raise ValueError(f"shard format {file.attrs['format']}, this version reads {FORMAT}")
    features = _plain(file, "features", "<f4", file_bytes)
    digest_set = _plain(file, "digest", "u1", file_bytes)
    checksum_set = _plain(file, "crc32", "<u4", file_bytes)
    block_rows = int(file.attrs["block_rows"])
    count = features.shape[0]
    if digest_set.shape != (count, DIGEST_BYTES) or count == 0 or features.size == 0 or block_rows < 1:
        raise ValueError(f"{features.shape} rows with keys of shape {digest_set.shape}")
    if checksum_set.shape != (-(-count // block_rows),):
        raise ValueError(f"{checksum_set.shape} checksums for {count} rows")
    digests = digest_set[:]
    if zlib.crc32(digests.data) != file.attrs["digest_crc32"]:
        raise ValueError("the checksum of the keys is wrong")
    return Shard(
        path=path,
        spec=FeatureSpec.from_json(json.loads(_fixed_text(file, "spec"))),
        provenance=json.loads(_fixed_text(file, "provenance")),
        digests=digests,
        row_shape=features.shape[1:],
        offset=features.id.get_offset(),
        block_rows=block_rows,
        checksums=checksum_set[:],
    )


def _fixed_text(file: h5py.File, name: str) -> bytes:
    kind = file.attrs.get_id(name).get_type()
    if not isinstance(kind, h5py.h5t.TypeStringID) or kind.is_variable_str():
        raise ValueError(f"attribute {name} is not a string of fixed length")
    return bytes(file.attrs[name])


def _plain(file: h5py.File, name: str, dtype: str, file_bytes: int) -> h5py.Dataset:
    """The dataset `name`, only if its bytes lie in this very file, whole and uncompressed."""
    link = file.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        raise ValueError(f"{name} is a link to elsewhere")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype != np.dtype(dtype):
        raise ValueError(f"{name} is not a dataset of {dtype}")
    properties = dataset.id.get_create_plist()
    if properties.get_layout() != h5py.h5d.CONTIGUOUS or properties.get_external_count():
        raise ValueError(f"{name} is not stored in one piece in this file")
    offset = dataset.id.get_offset()
    if offset is None or offset + dataset.size * dataset.dtype.itemsize > file_bytes:
        raise ValueError(f"{name} is larger than the file")
    return dataset
