"""Rows of the former decoder, copied without a forward pass where both decoders give the same pixels."""

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cache.shard_file import DamagedShardError
from cache.store import SHARD_BYTES, FeatureStore
from featurize.decoding.decode import DECODER, DECODERS, NetworkInput
from featurize.decoding.memory_gate import MemoryGate
from featurize.extract.forward import WORKERS, Decoder
from featurize.extract.outcome import Missing, Outcome, Progress
from featurize.machine.parallel import in_order
from featurize.pictures.find_images import ImageError
from featurize.pictures.sources import bytes_of, digest_of

log = logging.getLogger("bottleneck")

# Only the kind of picture matters here, not its pixels: a large JPEG is decoded reduced.
SMALL = NetworkInput((1, 1))


def take_over(
    networks: Sequence[Sequence[FeatureStore]],
    outcome: Outcome,
    missing: Missing,
    decode: Decoder,
    shard_rows: int,
    progress: Progress | None,
) -> int:
    """Commit to the stores of each network, of today's decoder, the rows that missing pictures have of the former one.

    Each such picture is decoded once, to know whether both decoders read it alike. The log says how many rows were
    copied, and how many have to be computed anew. Returns the number of pictures whose rows were copied.
    """
    keys = outcome.digests.keys(missing.first)
    former = [
        [FeatureStore(os.path.dirname(store.folder), replace(store.spec, decoder=DECODERS[-1])) for store in stores]
        for stores in networks
    ]
    candidates = np.zeros(missing.lacking.shape[:2], bool)
    for number, (stores, before) in enumerate(zip(networks, former, strict=True)):
        if stores[0].spec.decoder == DECODER and all(os.path.isdir(store.folder) for store in before):
            there = np.stack([store.contains(keys) for store in before], axis=1)
            lacking = missing.lacking[:, number]
            candidates[:, number] = lacking.any(axis=1) & (there | ~lacking).all(axis=1)
    numbers = np.flatnonzero(candidates.any(axis=1)).tolist()
    if not numbers:
        return 0
    memory = MemoryGate(WORKERS)

    def alike(number: int) -> bool:
        position = int(missing.first[number])
        try:
            with memory.picture() as reservation:
                data = bytes_of(outcome.sources[position], reservation.file)
                if digest_of(data) != outcome.digests[position]:
                    return False
                return not decode(data, [SMALL], reservation.picture)[SMALL].changed
        except ImageError:
            return False  # as it will turn out again

    same = np.zeros(len(missing), bool)
    results = in_order(alike, numbers, 2 * WORKERS, WORKERS)
    for done, (number, is_alike) in enumerate(zip(numbers, results, strict=True), start=1):
        same[number] = is_alike
        if progress:
            progress("rows of the decoder before", done, len(numbers))
    total = 0
    for stores, before, of_network, lacking in zip(
        networks, former, candidates.T, missing.lacking.swapaxes(0, 1), strict=True
    ):
        if not of_network.any():
            continue
        taken = 0
        for store, old, of_view in zip(stores, before, lacking.T, strict=True):
            taken = max(taken, _copy(old, store, keys[of_network & same & of_view], shard_rows))
        log.info(
            "rows of decoder %d: those of %d pictures taken over, those of %d computed anew, which decoder %d reads "
            "otherwise or not at all",
            DECODERS[-1],
            taken,
            of_network.sum() - taken,
            DECODER,
        )
        total += taken
    return total


def _copy(before: FeatureStore, store: FeatureStore, keys: np.ndarray, shard_rows: int) -> int:
    """Copy the rows with `keys` (n, 32); returns how many. A damaged shard is set aside; none of its rows is."""
    if not len(keys):
        return 0
    shape, size = before.row_shape, store.spec.row_dtype.itemsize
    step = min(shard_rows, max(1, SHARD_BYTES // (size * int(np.prod(shape)))))
    copied = 0
    for start in range(0, len(keys), step):
        part = keys[start : start + step]
        try:
            rows = before.read(part)
        except DamagedShardError as error:
            before.set_aside(error)
            continue
        except KeyError:  # another process has dropped them
            continue
        written = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        store.commit(rows, part, {"taken_over": f"from decoder {before.spec.decoder}", "written": written})
        copied += len(part)
    return copied
