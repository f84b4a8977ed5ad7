"""A run on many workers: what is known is looked up here, all else is handed out, and what they answer is noted."""

import os
import tempfile
from collections.abc import Generator
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np

from cache.errors import UserError, log
from cache.remote.objects import with_stamps
from cache.remote.other_side import open_objects
from cache.remote.pull import pull
from cache.remote.remote_spec import folders, require_other_place
from cache.shard_file import open_shard
from cache.signatures import FOLDER as SIGNATURES
from cache.store import FeatureStore
from featurize.cluster.active_cluster import active_through
from featurize.cluster.cache_token import token_of, token_there
from featurize.cluster.task_queue import TRIES, TaskQueue
from featurize.cluster.tasks import Answer, Job, Lost, Task
from featurize.cluster.versions import engine_versions, project_versions
from featurize.cluster.worker import run_task
from featurize.cluster.workers import Workers, is_loss
from featurize.engines.engine import Cost
from featurize.extract.former_default import mention_former_default
from featurize.extract.network_extractor import ComputingExtractor
from featurize.extract.outcome import Missing, Outcome, Progress
from featurize.extract.pending_rows import MANY, PendingRows, alone
from featurize.model_files.find_files import files_of
from featurize.resolve import identity

MOST_LOST = 30  # workers one after the other without a single answer


def fill(
    extractor: ComputingExtractor, workers: Workers, outcome: Outcome, cost: Cost, progress: Progress | None
) -> bool:
    """Have all rows that `outcome.sources` lack computed and stored by `workers`, and note what became of each.

    False where nothing was done, because that is not worth their while, or the network cannot travel. Raises UserError
    where a worker is refused, or lacks what it needs, and where all of them die; with an address through which rows go,
    see `pushing_through`, also where that cannot be written, or does not have what was pushed to it.
    """
    if any(part.resolved.tuned or part.resolved.graph for part in extractor.parts):
        log.info("this network does not travel to workers: its rows are computed here")
        return False
    outcome.sources = sources = with_stamps(outcome.sources)
    known = extractor.table.unchanged([source for source in sources if isinstance(source, str)])
    for position, source in enumerate(sources):
        outcome.digests[position] = known.get(source) if isinstance(source, str) else None
    unread = np.setdiff1d(np.arange(len(sources)), outcome.digests.known, assume_unique=True)
    missing = extractor.lacking(outcome, outcome.digests.known)
    through, has_rows_there = active_through(), False
    if through and (len(unread) or missing):
        has_rows_there = _pull(extractor, outcome, through)
        missing = extractor.lacking(outcome, outcome.digests.known)
    todo = np.sort(np.concatenate([unread, missing.first]).astype(np.int64))
    if len(todo) <= (0 if through else MANY):  # of pictures that nobody has read yet, rows may be there
        return False
    mention_former_default(extractor.parts[0].spec, extractor.cache_dir, outcome.keys)
    run = _Run(extractor, workers, outcome, cost, progress, len(todo))
    lacking = np.ones((len(todo), len(extractor.parts), len(extractor.stores)), bool)
    everything = Missing(todo, {}, lacking)
    try:
        with alone(extractor.parts, everything):
            job = run.job(through, has_rows_there)
            certain = missing if job.has_rows else everything  # of what is not read yet, rows may be there
            if certain:
                PendingRows(extractor.parts, extractor.cache_dir, outcome, certain).require_room()
            while len(todo):
                run.hand_out(job, todo)
                if through:
                    _pull(extractor, outcome, through)
                # what was only read; and copies of pictures that have changed meanwhile, or failed
                left = extractor.lacking(outcome, outcome.digests.known).first
                if lost := int(run.pushed[left].sum()):
                    raise UserError(
                        f"rows of {lost} pictures that workers have pushed do not come back from {through}: run again, "
                        "they alone are computed again"
                    )
                run.settle(np.setdiff1d(todo, left))
                todo = left[~run.settled[left]]
    except KeyboardInterrupt as interruption:
        next_run = "the next run with the same --through" if through else "the next run"
        interruption.add_note(f"{outcome.new.sum()} new rows are kept, {next_run} goes on from there")
        raise
    return True


class _Run:
    """What a run knows of its workers and their answers.

    settled (n,): pictures of which nothing more is to come. pushed (n,): those of them whose rows were pushed.
    """

    def __init__(
        self,
        extractor: ComputingExtractor,
        workers: Workers,
        outcome: Outcome,
        cost: Cost,
        progress: Progress | None,
        total: int,
    ):
        self._extractor, self._workers = extractor, workers
        self._outcome, self._cost, self._progress, self._total = outcome, cost, progress, total
        self.settled = np.zeros(len(outcome.sources), bool)
        self.pushed = np.zeros(len(outcome.sources), bool)
        self._told: set[str] = set()
        self._starting = 0.0
        self._names = workers.names()

    def job(self, through: str, has_rows_there: bool) -> Job:
        """What all tasks have in common. Opens the networks, to know their versions and to convert them only once."""
        there = token_there(open_objects(through)) if through else ""
        parts = self._extractor.parts
        first = parts[0].resolved
        for part in parts:
            part.opened(self._cost)
        return Job(
            records=[part.record() for part in parts],
            views=first.views,
            engine=first.engine,
            isolate=first.isolate,
            cache_dir=os.path.abspath(self._extractor.cache_dir),
            token=token_of(self._extractor.cache_dir),
            through=through,
            there=there,
            has_rows=has_rows_there or any(store.refresh() for part in parts for store in part.stores),
            shard_rows=parts[0].shard_rows,
            threads=self._workers.threads,
            versions=project_versions() | engine_versions(parts),
        )

    def hand_out(self, job: Job, positions: np.ndarray) -> None:
        """Have the pictures at `positions` (m,) computed."""
        queue = TaskQueue(self._outcome.sources, self._outcome.digests, positions, self._workers.count())
        with closing(self._answers(job, queue)) as answers:  # whatever ends the loop, no more tasks are handed out
            for task, answer in answers:
                self._tell(answer)
                if answer.refused:
                    raise UserError(answer.refused)
                if answer.wanted:
                    queue.again(self._with_weights(task, answer))
                elif answer.failed or answer.outcome is None:
                    self._say(f"worker {answer.worker} cannot compute a task ({answer.failed}): it is tried again")
                    self._lost(queue, task, 1, answer.failed)
                else:
                    self._take(queue, task, answer, answer.outcome)

    def _answers(self, job: Job, queue: TaskQueue) -> Generator[tuple[Task, Answer], None, None]:
        """The answers to all tasks of the queue, also to those that come to it meanwhile."""
        lost = 0
        while queue:
            self._workers.wait()
            queue.workers = count = self._workers.count()
            try:
                for answer in self._workers.answers(partial(run_task, job), queue.tasks(), 2 * count + 2):
                    if self._told_workers() > 2 * count:  # more than there are tasks on their way
                        queue.pause()
                    if isinstance(answer, Lost):
                        lost += 1
                        self._lost(queue, queue.answered(answer.number), self._workers.tries)
                    else:
                        lost = 0
                        seconds = answer.outcome.seconds if answer.outcome else 0.0
                        yield queue.answered(answer.number, seconds), answer
            except ModuleNotFoundError as error:
                raise UserError(
                    f"a worker lacks {error.name}: install this project there, with pip install ."
                ) from None
            except Exception as error:
                if not is_loss(error):
                    raise
                lost += 1
                log.info("a worker has died: its task is given to another one")
                for task in queue.lost_all():
                    self._lost(queue, task, 1)
            if lost > MOST_LOST:
                raise UserError(f"{lost} workers in a row have died without an answer: look at their own logs")

    def _lost(self, queue: TaskQueue, task: Task, times: int, reason: str = "") -> None:
        if not queue.lost(task, times):
            position = int(task.positions[0])
            reason = reason or f"the process that computes it dies each time, {TRIES} times"
            self._outcome.fail(position, reason)
            self.settle(task.positions)

    def _take(self, queue: TaskQueue, task: Task, answer: Answer, found: Outcome) -> None:
        """Note what became of a task's pictures, and commit the rows that came along."""
        parts = self._extractor.parts
        for number, view, image in answer.shards:
            _adopt(parts[0].signatures if number < 0 else parts[number].stores[view], image, parts[0].shard_rows)
        self._outcome.put(task.positions, found)
        startup = max(0.0, found.startup_seconds - self._starting)  # they start side by side
        self._starting += startup
        self._cost.add(found.forward_passes, startup)
        places = task.positions.tolist()
        learnt = []
        for number, seen in answer.stamps.items():
            stamp, digest = queue.stamps.get(places[number]), found.digests[number]
            if stamp and digest and stamp[:4] == seen[:4]:  # else what lies there is another file, on another disk
                learnt.append((str(self._outcome.sources[places[number]]), stamp, digest))
        self._extractor.table.record(learnt)
        if answer.is_settled:
            self.settle(task.positions)
            self.pushed[task.positions] = answer.pushed
        if answer.reached:
            _merge_small(self._extractor)

    def settle(self, positions: np.ndarray) -> None:
        self.settled[positions] = True
        if self._progress:
            self._progress("features", int(self.settled.sum()), max(self._total, int(self.settled.sum())))

    def _with_weights(self, task: Task, answer: Answer) -> Task:
        """The task with the weights that its worker lacks."""
        shipped = {}
        for part in self._extractor.parts:
            weights, digest = part.resolved.weights, part.spec.weights
            if digest in answer.wanted:
                path = weights.path
                if digest in task.weights or digest != identity(weights, self._extractor.table):
                    raise UserError(f"worker {answer.worker} lacks the weights {path}: put them at this path there")
                folder = Path(path).parent
                shipped[digest] = {name: (folder / name).read_bytes() for name in files_of(path)}
                self._say(f"weights {path} are sent to worker {answer.worker}")
        return Task(task.number, task.positions, task.sources, task.digests, task.lost, shipped)

    def _tell(self, answer: Answer) -> None:
        """Say what a worker has logged, and once where rows go."""
        if answer.outcome:
            place = "commit rows to" if answer.reached else "cannot reach, and send their rows to,"
            place = f"push their rows to {active_through()}, for they cannot reach" if answer.pushed else place
            self._say(f"workers {place} the cache {self._extractor.cache_dir}")
        for level, text in answer.messages:
            if text not in self._told:
                self._told.add(text)
                log.log(level, "worker %s: %s", answer.worker, text)

    def _say(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            log.info("%s", text)

    def _told_workers(self) -> int:
        """How many workers are known by name; who has joined or left is told."""
        names = self._workers.names()
        joined, gone = len(names - self._names), len(self._names - names)
        if joined or gone:
            log.info("%d workers: %d joined, %d lost", len(names), joined, gone)
            self._names = names
        return len(names)


def _pull(extractor: ComputingExtractor, outcome: Outcome, address: str) -> bool:
    """Pull the rows that pictures lack which have been read by now. False where there are none of these networks."""
    there = open_objects(address)
    require_other_place(extractor.cache_dir, there)
    specs = [store.spec for part in extractor.parts for store in part.stores]
    if not {spec.folder for spec in specs}.intersection(folders(there)):
        return False
    lacking = extractor.lacking(outcome, outcome.digests.known)
    if lacking:
        fingerprints = tuple(spec.fingerprint for spec in specs)
        done = pull(extractor.cache_dir, address, fingerprint=fingerprints, keys=outcome.digests.keys(lacking.first))
        _merge_small(extractor)
        log.info(
            "%d rows are pulled from %s",
            sum(rows for folder, _, rows, _ in done.folders if not folder.startswith(SIGNATURES)),
            address,
        )
    return True


def _merge_small(extractor: ComputingExtractor) -> None:
    for part in extractor.parts:
        for store in (part.signatures, *part.stores):
            with store.lock():
                store.merge_small(part.shard_rows)


def _adopt(store: FeatureStore, image: bytes, shard_rows: int) -> None:
    """Commit the rows of a shard that was written elsewhere. Raises DamagedShardError where it is not whole."""
    with tempfile.TemporaryDirectory(prefix="bottleneck-") as folder:
        path = os.path.join(folder, "shard.h5")
        with open(path, "wb") as file:
            file.write(image)
        shard = open_shard(path, store.spec)
        shard.verify()
        store.commit(shard.read(np.arange(len(shard))), shard.digests, shard.provenance, shard_rows)
