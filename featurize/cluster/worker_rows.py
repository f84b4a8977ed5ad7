"""A task's rows: the network kept warm from task to task, the weights found or asked for, shards committed alone."""

import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cache.digest_table import ReadOnlyTable, take_stamp
from cache.remote.other_side import StorageError
from cache.remote.push import push
from cache.unlocked_store import UnlockedStore
from featurize.cluster.cache_token import reaches, require_token
from featurize.cluster.tasks import Answer, Job, Task
from featurize.cluster.versions import check_versions, engine_versions, project_versions
from featurize.cluster.worker import name
from featurize.engines.engine import Cost
from featurize.extract.joined_extractor import JoinedExtractor
from featurize.extract.network_extractor import ComputingExtractor, NetworkExtractor
from featurize.extract.outcome import Outcome, Unread
from featurize.reopen import reopen
from featurize.resolve import Resolved

MOST_KEPT = 4  # extractors of a worker process, as `featurize.engines.choose` keeps engines


def compute_task(job: Job, task: Task) -> Answer:
    """Compute the rows of a task's pictures; what it has cost is in the outcome of the answer.

    Raises UserError where this worker has other versions or weights than the run, or another place at its address;
    StorageError where rows cannot be pushed.
    """
    check_versions(project_versions(), job.versions)
    networks = _networks(job, task.weights)
    if wanted := [each.spec.weights for each in networks if _lacks_weights(each)]:
        return Answer(task.number, name(), wanted=wanted)
    reached = reaches(job.cache_dir, job.token)
    if pushes := bool(job.through) and not reached:
        require_token(job.through, job.there)
    with _cache_of(job, reached) as cache_dir:
        extractor = _extractor(job, networks, cache_dir, keep=reached)
        check_versions(engine_versions(extractor.parts), job.versions)
        unread = [number for number, digest in enumerate(task.digests) if digest is None]
        files = {number: source for number in unread if isinstance(source := task.sources[number], str)}
        stamps = {number: stamp for number, path in files.items() if (stamp := take_stamp(path))}
        answer = Answer(task.number, name(), stamps=stamps, reached=reached, pushed=pushes)
        outcome = Outcome(task.sources, len(extractor.stores))
        if unread and job.has_rows and (job.through or not reached):  # the run looks which of them have a row
            outcome.take_digests(ReadOnlyTable(cache_dir))
            answer.is_settled = False
        else:
            for number, digest in enumerate(task.digests):
                outcome.digests[number] = digest
            _compute(extractor, outcome, np.array(unread, np.int64))
        outcome.sources = [""] * len(task.sources)  # the run has them
        answer.outcome = outcome
        if pushes:
            _push(cache_dir, job.through)
        elif not reached:
            answer.shards = [*_shards(extractor)]
    return answer


def _compute(extractor: ComputingExtractor, outcome: Outcome, unread: np.ndarray) -> None:
    """Compute and commit what the pictures lack; those at `unread` (m,), without a digest, are read only once."""
    start, cost = time.perf_counter(), Cost()
    if len(unread):
        parts = [*extractor.parts]
        extractor.store_rows(outcome, cost, parts, Unread.at(unread, parts), lambda *_: None)
    extractor.fill(outcome, cost, extractor.lacking(outcome, outcome.digests.known))
    outcome.new[list(outcome.reasons)] = False
    outcome.forward_passes, outcome.startup_seconds = cost.forward_passes, cost.startup_seconds
    outcome.seconds = time.perf_counter() - start - cost.startup_seconds


_kept: dict[str, ComputingExtractor] = {}
_opened: dict[str, list[Resolved]] = {}


def _key(job: Job) -> str:
    return json.dumps([job.records, job.views, job.engine, job.isolate, job.cache_dir, job.shard_rows])


def _networks(job: Job, shipped: dict[str, dict[str, bytes]]) -> list[Resolved]:
    """The networks of a job, with their weights on this machine, which may be among `shipped`."""
    folder = _shipped_weights()
    for digest, files in shipped.items():
        for file, content in files.items():
            path = Path(folder, digest.replace(":", "-"), file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    key = _key(job)
    if key not in _opened or shipped:
        nowhere = ReadOnlyTable(folder)  # the run's own table is for its machine alone
        _opened[key] = [_network(job, record, nowhere, folder) for record in job.records]
    return _opened[key]


def _network(job: Job, record: dict[str, Any], table: ReadOnlyTable, folder: str) -> Resolved:
    beside = os.path.join(folder, record["spec"]["weights"].replace(":", "-"))
    return reopen(record, table, None, job.engine, job.isolate, job.views, beside)


def _lacks_weights(network: Resolved) -> bool:
    return network.weights.kind != "random" and not os.path.exists(network.weights.path)


def _extractor(job: Job, networks: list[Resolved], cache_dir: str, keep: bool) -> ComputingExtractor:
    """The extractor of a job, which commits without locks; kept for its next tasks, with its networks."""
    key = _key(job)
    if keep and key in _kept:
        return _kept[key]
    parts = []
    for network in networks:
        part = NetworkExtractor(network, cache_dir, job.shard_rows, "compute")  # the run remembers the weights
        part.stores = [UnlockedStore.of(store) for store in part.stores]
        part.signatures = UnlockedStore.of(part.signatures)
        part.table = ReadOnlyTable(_shipped_weights())
        parts.append(part)
    extractor = parts[0] if len(parts) == 1 else JoinedExtractor(parts)
    if keep:
        if len(_kept) >= MOST_KEPT:
            del _kept[next(iter(_kept))]
        _kept[key] = extractor
    return extractor


@contextmanager
def _cache_of(job: Job, reached: bool) -> Iterator[str]:
    """The cache of the run, or where that is out of reach a folder for this task."""
    if reached:
        yield job.cache_dir
        return
    with tempfile.TemporaryDirectory(prefix="bottleneck-") as folder:
        yield folder


def _push(cache_dir: str, address: str) -> None:
    """Push the rows of a task, which are new there. Raises StorageError."""
    try:
        damaged = push(cache_dir, address, compare=False).damaged
    except OSError as error:
        raise StorageError(f"{address} cannot be written: {error.strerror or error}") from error
    if damaged:
        raise StorageError(f"rows for {address} are damaged: {damaged[0]}")


def _shards(extractor: ComputingExtractor) -> Iterator[tuple[int, int, bytes]]:
    """The files with the rows of a task: network, view and bytes; first those of signatures, of network -1."""
    places = [(-1, 0, extractor.parts[0].signatures)]
    places += [(n, view, store) for n, part in enumerate(extractor.parts) for view, store in enumerate(part.stores)]
    for number, view, store in places:
        for shard in store.refresh():
            with open(shard.path, "rb") as file:
                yield number, view, file.read()


_folders: list[tempfile.TemporaryDirectory[str]] = []


def _shipped_weights() -> str:
    """The folder of this process for weights that a run has sent; it goes with the process."""
    if not _folders:
        _folders.append(tempfile.TemporaryDirectory(prefix="bottleneck-weights-"))
    return _folders[0].name
