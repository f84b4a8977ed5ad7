"""The signatures of pictures, read from the cache; those that it lacks are made once, by decoding."""

import logging
from collections.abc import Sequence

import numpy as np

import featurize.machine.memory
from cache.files.disk_space import readable
from cache.index import comparable
from cache.shard_file import DamagedShardError
from cache.signatures import SIDE, Signatures, StoredSignatures, no_signatures, signature_store
from cache.store import FeatureStore
from featurize.decoding.decode import decode_views
from featurize.decoding.memory_gate import MemoryGate
from featurize.extract.outcome import Progress
from featurize.extract.writable import can_be_written
from featurize.machine.parallel import THREADS, in_order
from featurize.pictures.find_images import ImageError
from featurize.pictures.sources import Source, bytes_of, digest_of

log = logging.getLogger("bottleneck")

SIGNATURE_BYTES = SIDE * SIDE * 3
MOST_BYTES = 128 * 1024**2  # of signatures in memory: of more pictures, 77,672, they are read where they are needed
BYTES_TO_COMPARE = 400  # of a picture while near-duplicates are looked for, besides its signature
COMMITTED_TOGETHER = 2048
PROVENANCE = {"made": "after the features of these pictures"}


def signatures_of(
    cache_dir: str, sources: Sequence[Source], digests: np.ndarray, progress: Progress | None = None
) -> Signatures | None:
    """The signatures (n, SIDE, SIDE, 3) uint8 of pictures with `digests` (n, 32), in that order.

    A run that computes features stores them. Rows of older versions have none: these are made here, which is announced,
    and stored where the cache can be written. A picture that can no longer be read, or holds other bytes by now, is
    announced; its signature has no contrast. Of so many that they take more than `MOST_BYTES` they stay in the cache.
    None, announced, where what tells them apart does not fit into memory, or where they cannot be kept in the cache.
    """
    if (
        needed := BYTES_TO_COMPARE * len(digests) + min(2 * SIGNATURE_BYTES * len(digests), MOST_BYTES)
    ) > featurize.machine.memory.free_memory():
        _announce_none(len(digests), f"takes {readable(needed)} of memory that is not free")
        return None
    _, first, content = np.unique(comparable(digests), return_index=True, return_inverse=True)
    first = first.astype(np.intp)
    store = signature_store(cache_dir)
    keep = can_be_written(cache_dir) and can_be_written(store.folder)
    if len(first) * SIGNATURE_BYTES > MOST_BYTES:
        known = store.contains(digests[first])
        if not keep and not known.all():
            _announce_none(len(digests), f"takes signatures that cannot be kept in {cache_dir}")
            return None
        _complete(store, sources, digests, first, known, None, progress)
        return StoredSignatures(store, digests, known[content.reshape(-1)])
    found, known = stored_signatures(cache_dir, digests[first])
    _complete(store if keep else None, sources, digests, first, known, found, progress)
    return found[content.reshape(-1)]


def _announce_none(count: int, why: str) -> None:
    log.warning(
        "near-duplicates are not looked for among %d pictures, which %s: only byte-identical ones are kept together",
        count,
        why,
    )


def _complete(
    store: FeatureStore | None,
    sources: Sequence[Source],
    digests: np.ndarray,
    first: np.ndarray,
    known: np.ndarray,
    found: np.ndarray | None,
    progress: Progress | None,
) -> None:
    """Make the signatures of the pictures `first` (m,) that are not `known` (m,), some at a time; note which are now.

    They are put into `store` and into `found` (m, SIDE, SIDE, 3), as far as these are given.
    """
    missing = np.flatnonzero(~known)
    if len(missing):
        log.info("signatures of %d pictures are made, once: near-duplicates are told by them", len(missing))
    for start in range(0, len(missing), COMMITTED_TOGETHER):
        some = missing[start : start + COMMITTED_TOGETHER]
        made = _made([sources[i] for i in first[some]], digests[first[some]])
        there = np.array([signature is not None for signature in made])
        good, signatures = some[there], np.array([signature for signature in made if signature is not None])
        if len(good):
            known[good] = True
            if found is not None:
                found[good] = signatures
            if store is not None:
                store.commit(signatures, digests[first[good]], PROVENANCE)
        if progress:
            progress("signatures", start + len(some), len(missing))


def _made(sources: Sequence[Source], digests: np.ndarray) -> list[np.ndarray | None]:
    """The signature of each picture; None, announced, where it cannot be made."""
    memory = MemoryGate(THREADS)

    def made(number: int) -> np.ndarray | None:
        source = sources[number]
        try:
            with memory.picture() as reservation:
                data = bytes_of(source, reservation.file)
                if digest_of(data) != digests[number].tobytes():
                    raise ImageError("it has changed since it was read")
                return decode_views(data, (SIDE, SIDE), reserve=reservation.picture).signature
        except ImageError as error:
            log.warning("not compared with other pictures: %s: %s", source, error)
            return None

    return list(in_order(made, range(len(sources)), ahead=4 * THREADS))


def stored_signatures(cache_dir: str, digests: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cached signatures (n, SIDE, SIDE, 3) uint8 of `digests` (n, 32), and a mask (n,) of those that are cached.

    The others have no contrast.
    """
    store = signature_store(cache_dir)
    while True:
        known = store.contains(digests)
        found = no_signatures(len(digests))
        try:
            if known.any():
                found[known] = store.read(digests[known])
            return found, known
        except DamagedShardError as error:
            store.set_aside(error)
        except KeyError:
            pass  # another process has dropped them: look again
