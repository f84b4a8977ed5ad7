"""Content digests of many images, reading only those that the table of digests does not know."""

from collections.abc import Callable, Sequence

import numpy as np

from cache.digests import DigestTable, Stamp, take_stamp
from featurize.extract.outcome import Digests
from featurize.machine.parallel import in_order
from featurize.pictures.find_images import ImageError
from featurize.pictures.sources import Source, digest_of

Progress = Callable[[str, int, int], None]  # stage, done, total


def silent(stage: str, done: int, total: int) -> None:
    """The progress of what nobody watches."""


AHEAD = 32
RECORD_EVERY = 2000  # digests remembered at a time: an interrupted first run keeps most of them


def digest_sources(sources: Sequence[Source], table: DigestTable, progress: Progress) -> tuple[Digests, dict[int, str]]:
    """SHA-256 of each source's bytes, None where it cannot be read, and position -> reason of those."""
    known = table.unchanged([source for source in sources if isinstance(source, str)])
    digests = Digests(len(sources))
    for position, source in enumerate(sources):
        digests[position] = known.get(source) if isinstance(source, str) else None
    unknown = np.setdiff1d(np.arange(len(sources)), digests.known, assume_unique=True).tolist()
    reasons: dict[int, str] = {}
    learnt: list[tuple[str, Stamp, bytes]] = []

    def hashed(position: int) -> tuple[Stamp | None, bytes | str]:
        source = sources[position]
        stamp = take_stamp(source) if isinstance(source, str) else None  # before reading, see Stamp
        try:
            return stamp, digest_of(source)
        except ImageError as error:
            return stamp, str(error)

    results = in_order(hashed, unknown, ahead=AHEAD) if len(unknown) > 1 else map(hashed, unknown)
    for done, (position, (stamp, digest)) in enumerate(zip(unknown, results, strict=True), start=1):
        source = sources[position]
        if isinstance(digest, str):
            reasons[position] = digest
        else:
            digests[position] = digest
            if isinstance(source, str) and stamp:
                learnt.append((source, stamp, digest))
        if len(learnt) >= RECORD_EVERY or done == len(unknown):
            table.record(learnt)
            learnt = []
        progress("reading", done, len(unknown))
    return digests, reasons
