"""Rows that stay on the disk: indexed like an array, and read a chunk at a time."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from cache.errors import UserError
from cache.joined_rows import Store
from cache.shard_file import DamagedShardError, UnreadableShardError

# A chunk takes this part of the memory: about six arrays of its size exist at once. They are the last chunk and its
# copy in the library that trains, the next chunk, and temporary arrays of its normalisation.
PARTS = 8


@dataclass(frozen=True, eq=False)
class StoredRows:
    """The rows of `digests` (n, 32) in `store`, read in chunks of about an eighth of `memory` (bytes).

    `rows[chosen]` (indices, a mask or a slice) and `rows.map(change)` are such rows again; nothing is read for them.
    `read` and `chunks` do. Each row is checked whenever it is read.
    """

    store: Store
    digests: np.ndarray
    memory: int
    changes: tuple[Callable[[np.ndarray], np.ndarray], ...] = ()

    def __len__(self) -> int:
        return len(self.digests)

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, d), as of an array."""
        return len(self), *self.store.row_shape

    @property
    def nbytes(self) -> int:
        """Bytes that all rows take as they are stored."""
        return math.prod(self.shape) * self.store.spec.row_dtype.itemsize

    @property
    def rows_at_once(self) -> int:
        """How many rows a chunk has; it has more by up to a block of the store (256 KiB), and at least one block."""
        return max(1, self.memory // PARTS // (4 * math.prod(self.store.row_shape) or 1))

    def __getitem__(self, chosen: Any) -> "StoredRows":
        chosen = chosen[0] if isinstance(chosen, tuple) else chosen  # rows[chosen, ...], as scikit-learn has it
        return replace(self, digests=self.digests[chosen])

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError(f"{len(self)} rows stay on the disk: read them in chunks")

    def map(self, change: Callable[[np.ndarray], np.ndarray]) -> "StoredRows":
        """The rows after `change`, a function of (m, d) that treats each row by itself; applied at each read."""
        return replace(self, changes=(*self.changes, change))

    def read(self, chosen: Any = slice(None)) -> np.ndarray:
        """The rows numbered `chosen` as float32 (m, d), in memory at once.

        A shard that turns out damaged is set aside. Raises UserError then, and where rows are gone: the next run
        computes these again.
        """
        try:
            rows = self.store.read(self.digests[chosen]).astype(np.float32, copy=False)
        except DamagedShardError as error:
            self.store.set_aside(error)
            damaged = str(error) if isinstance(error, UnreadableShardError) else f"{error.path} is damaged"
            raise UserError(f"{damaged}: run again, its rows alone are computed again") from error
        except KeyError as error:
            raise UserError(f"rows have gone from {self.store.folder}: run again, they are computed again") from error
        for change in self.changes:
            rows = change(rows)
        return rows

    def chunks(self, random: np.random.RandomState | None = None) -> Iterator[np.ndarray]:
        """Numbers of rows for `read`, chunk by chunk: in all, every row once.

        A chunk has whole blocks of the store, so each block is read once. Chunks follow the order of the store; with
        `random` blocks are shuffled at each call.
        """
        if not len(self):
            return
        order = np.argsort(self._blocks, kind="stable")
        bounds = np.flatnonzero(np.diff(self._blocks[order], prepend=-2, append=-2))
        blocks = [order[start:stop] for start, stop in pairwise(bounds.tolist())]
        if random is not None:
            blocks = [blocks[number] for number in random.permutation(len(blocks))]
        sizes = np.array([len(block) for block in blocks])
        # Chunks of one size, but for a block: a last one of a few rows would make a poor step of training.
        count = -(-len(self) // self.rows_at_once)
        chunk_of = (np.cumsum(sizes) - sizes) * count // len(self)
        for first, last in pairwise(np.flatnonzero(np.diff(chunk_of, prepend=-1, append=-1)).tolist()):
            yield np.concatenate(blocks[first:last])

    def apply(self, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """The results (m, ...) of `function` on chunks (m, d), in the order of the rows.

        Raises ValueError where there is no row.
        """
        result: np.ndarray | None = None
        for chosen in self.chunks():
            part = function(self.read(chosen))
            if result is None:
                result = np.empty((len(self), *part.shape[1:]), part.dtype)
            result[chosen] = part
        if result is None:
            raise ValueError("there are no rows")
        return result

    @cached_property
    def _blocks(self) -> np.ndarray:
        """After a compaction these numbers are stale: blocks are then read more than once, and the rows stay right."""
        return self.store.blocks(self.digests)


Rows = np.ndarray | StoredRows
