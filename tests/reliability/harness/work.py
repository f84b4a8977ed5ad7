"""What is done in processes that are killed. As a program: a process that forks for every line on its stdin.

A line is [function, arguments, file for stdout, file for stderr]; the answers are the fork's number, once it is stopped
(SIGCONT lets it go), and its wait status.
"""

import json
import os
import resource
import signal
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
from helpers.storage.cached_rows import PROVENANCE, SPEC, keys, rows

from cache.store import FeatureStore

COUNT = 40
KEYS, ROWS = keys(COUNT), rows(COUNT, 1500)
SHARD = 10
MERGED = 9  # single rows from which a commit has made a larger shard


def extract(cache: str, start: str = "0", stop: str = str(COUNT)) -> None:
    """As `features`: look what is missing, compute it, commit a shard at a time; every step is reported."""
    store = FeatureStore(cache, SPEC)
    wanted = np.arange(int(start), int(stop))
    with store.lock(".run"):
        missing = wanted[~store.contains(KEYS[wanted])]
        for first in range(0, len(missing), SHARD):
            batch = missing[first : first + SHARD]
            say("computed", batch)
            store.commit(ROWS[batch], KEYS[batch], PROVENANCE)
            say("committed", batch)


def extract_singly(cache: str) -> None:
    """As predictions that are stored: rows come one at a time, and small shards are merged by the commits."""
    store = FeatureStore(cache, SPEC)
    for row in np.flatnonzero(~store.contains(KEYS))[:MERGED]:
        say("computed", np.array([row]))
        store.commit(ROWS[[row]], KEYS[[row]], PROVENANCE)
        say("committed", np.array([row]))


def compact(cache: str) -> None:
    """As `cache gc`."""
    from cache.upkeep.inventory import collect_garbage

    collect_garbage(cache, 25)


def export(cache: str, output: str) -> None:
    """As `cache export`."""
    from cache.upkeep.plain_export import export_rows

    store = FeatureStore(cache, SPEC)
    export_rows(store, KEYS, [f"{row}.jpg" for row in range(COUNT)], None, output)


def limited(most: str, name: str, *arguments: str) -> None:
    """Do that work where no file may become larger than `most` bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(most), int(most)))
    globals()[name](*arguments)


def append_in_place(path: str) -> None:
    """How not to do it: one HDF5 file that grows, with HDF5's own checksums, flushed after every batch."""
    with h5py.File(path, "a", libver="latest") as file:
        if "features" not in file:
            file.create_dataset("features", (0, 1500), "<f4", maxshape=(None, 1500), chunks=(1, 1500))
        stored = file["features"]
        for first in range(len(stored), COUNT, SHARD):
            stored.resize(first + SHARD, axis=0)
            stored[first:] = ROWS[first : first + SHARD]
            file.flush()
            os.fsync(file.id.get_vfd_handle())
            say("committed", np.arange(first, first + SHARD))


def save_model(path: str, inverted: str, quiet: bool = False) -> None:
    """Fit a head and save it; `inverted` "1" gives it the opposite opinion."""
    from helpers.models.model_records import RECORD

    from classify.heads.head_table import make_head
    from classify.saved.persist import save

    names = np.array(["no", "yes"])[(np.arange(COUNT) + int(inverted)) % 2]
    features = np.repeat([[1.0, 0.0], [0.0, 1.0]], COUNT // 2, axis=0)[np.arange(COUNT).reshape(2, -1).T.ravel()]
    head = make_head("logreg", {}, 0).fit(features.astype(np.float32), names)
    save(path, head, KEYS, RECORD | {"training_counts": [COUNT // 2] * 2})
    if not quiet:
        say("saved", np.array([int(inverted)]))


def say(what: str, numbers: np.ndarray) -> None:
    os.write(1, f"{what} {json.dumps(numbers.tolist(), separators=(',', ':'))}\n".encode())


def main() -> None:
    """Fork and work, line by line."""
    import cache.files.atomic

    if sys.argv[1:]:  # a model is to be saved: what that imports is imported here, once
        with tempfile.TemporaryDirectory() as folder:
            save_model(f"{folder}/m.joblib", "0", quiet=True)
    cache.files.atomic.PIECE = 16 * 1024  # several writes for each shard: torn files are crash points as well
    for line in sys.stdin:
        name, arguments, log, errors = json.loads(line)
        worker = os.fork()
        if worker == 0:
            for number, path in ((1, log), (2, errors)):
                Path(path).write_bytes(b"")
                os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), number)
            os.kill(os.getpid(), signal.SIGSTOP)
            try:
                globals()[name](*arguments)
            except OSError as error:
                os.write(2, f"{error.strerror}: {error.filename}\n".encode())
                os._exit(1)
            os._exit(0)
        os.waitpid(worker, os.WUNTRACED)
        print(worker, flush=True)
        print(os.waitpid(worker, 0)[1], flush=True)


if __name__ == "__main__":
    main()
