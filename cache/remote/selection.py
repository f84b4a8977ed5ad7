"""What of a cache goes along: specs by backbone or fingerprint, and what went, counted."""

import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from cache.errors import UserError, log
from cache.index import KeyIndex, comparable
from cache.remote.other_side import Objects
from cache.row_key import FeatureSpec
from cache.shard_file import DamagedShardError, Shard
from cache.signatures import BACKBONE

T = TypeVar("T")
R = TypeVar("R")
Progress = Callable[[str, int, int], None]  # stage, done, of how many

FOLDER_NAME = re.compile(r"[A-Za-z0-9_.-]{1,150}-[0-9a-f]{12}")  # of a spec
FINGERPRINT = re.compile(r"[0-9a-f]{4,64}")
IN_FLIGHT = 32  # requests
IN_FLIGHT_BYTES = 256 * 1024**2  # of objects that are in memory at once


@dataclass(frozen=True)
class Selection:
    """Which specs go along: those of `backbone`, "a+b" being two, whose fingerprint begins so. Signatures always do.

    fingerprint: one beginning, or several. Raises UserError for what is no beginning of a fingerprint.
    """

    backbone: str | None = None
    fingerprint: str | tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for each in (self.fingerprint,) if isinstance(self.fingerprint, str) else self.fingerprint or ():
            if not FINGERPRINT.fullmatch(each):
                raise UserError(f"fingerprint {each!r} is none: give 4 to 64 of its digits, see `cache ls --json`")

    def takes(self, spec: FeatureSpec) -> bool:
        """Whether rows of `spec` go along."""
        if spec.backbone == BACKBONE:
            return True
        named = self.backbone is None or spec.backbone in self.backbone.split("+")
        return named and spec.fingerprint.startswith(self.fingerprint or "")


@dataclass
class Transfer:
    """What a push or pull has done, or with `dry_run` would do.

    objects, rows, bytes: what was copied. left: rows that stay where they are, for `most`. fewer: objects fewer there
    after a merge. damaged: "object: reason" of objects that are not what was stored; nothing of them was taken.
    folders: (folder, objects, rows, bytes) of each spec of which something was copied.
    """

    objects: int = 0
    rows: int = 0
    bytes: int = 0
    left: int = 0
    fewer: int = 0
    damaged: list[str] = field(default_factory=list)
    folders: list[tuple[str, int, int, int]] = field(default_factory=list)

    def note_damaged(self, objects: Objects, damage: DamagedShardError) -> None:
        """Announce a damaged object, once."""
        text = f"{objects.address}/{damage}"
        if text not in self.damaged:
            self.damaged.append(text)
            log.warning("passed over, it is not what was stored: %s", text)

    def add(self, folder: str, rows: Sequence[int], sizes: Sequence[int]) -> None:
        """Count objects of `folder`: the rows and bytes of each."""
        if rows:
            self.folders.append((folder, len(rows), sum(rows), sum(sizes)))
            self.objects += len(rows)
            self.rows += sum(rows)
            self.bytes += sum(sizes)


class Covered:
    """The keys of rows that one side has, or will have once what is planned is copied."""

    def __init__(self, shards: Iterable[Shard]):
        self._shards = [*shards]
        self._index = KeyIndex()

    def lacks(self, digests: np.ndarray) -> np.ndarray:
        """Numbers (m,) of those of `digests` (n, 32) that are new, each once, in order."""
        new = np.flatnonzero(self._index.locate(self._shards, digests)[0] < 0)
        return new[np.sort(np.unique(comparable(digests[new]), return_index=True)[1])]

    def holders(self, digests: np.ndarray) -> set[Shard]:
        """The shards that have these rows, one for each."""
        where, _ = self._index.locate(self._shards, digests)
        return {self._shards[index] for index in np.unique(where[where >= 0]).tolist()}

    def add(self, shard: Shard) -> None:
        """Count the rows of `shard` among them."""
        self._shards.append(shard)


def in_parallel(
    function: Callable[[T], R], items: Sequence[T], largest: int, progress: Progress | None = None, stage: str = ""
) -> list[R]:
    """The results of `function` on each item, as many at once as fit in memory where each takes `largest` bytes.

    `progress` is called with `stage`, how many are done, and of how many. After an error no further item is begun.
    """
    if not items:
        return []
    at_once = max(1, min(IN_FLIGHT, len(items), IN_FLIGHT_BYTES // max(1, largest)))
    with ThreadPoolExecutor(at_once) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            for count, future in enumerate(as_completed(futures), 1):
                future.result()
                if progress:
                    progress(stage, count, len(futures))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in futures]
