"""How soon the page of `review` answers: 100 thumbnails, a key while the head is trained, and what the head then says.

    python benchmarks/cost/review.py FOLDER [--pictures 20000] [--classes 20] [--labels 1000]

FOLDER holds 100 photographs or more, for the thumbnails. Rows are drawn around a centre for each class, as hard to tell
apart as flowers are by `efficientnet_lite2`. Printed are seconds, medians of `ROUNDS`, and seconds of processors: on a
machine that does nothing else the first are at most the second.
"""

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bottleneck_features.review.growing_gallery import Pictures
from bottleneck_features.review.queue_pages import NAMES, Request, queue_page
from bottleneck_features.review.session import Session
from bottleneck_features.review.side import side_of
from cache.row_key import content_digest
from classify.heads.numerics import unit_rows
from classify.labelling.ask import Pool
from classify.labelling.label_log import Entry, open_log
from classify.labelling.learner import learn
from featurize.pictures.find_images import find_images
from featurize.pictures.kept_thumbnails import thumbnails_of

ROUNDS, FEATURES, SHOWN, KEYS, BATCH = 5, 1280, 100, 50, 10


class Given:
    """A gallery whose pictures are there."""

    def __init__(self, pictures: Pictures):
        self.pictures = pictures
        self.done = self.total = len(pictures.names)
        self.failures: dict[str, str] = {}

    def fill(self, changed: Callable[[], None], stopped: threading.Event) -> None:
        del stopped
        changed()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--labels", type=int, default=1000)
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n\n| what | s | s of processors |\n|---|---|---|")
    thumbnails(given.folder)
    rows, truth = drawn(given.pictures, given.classes)
    groups = np.arange(len(rows))
    pool = measured("principal components, once", lambda: Pool.of(rows, groups), rounds=1)
    labels = np.where(groups < given.labels, truth, "")
    before = learn(rows, np.where(groups < given.labels - BATCH, truth, ""))
    measured(f"first training, on {given.labels} labels, {len(rows)} pictures ranked", lambda: learn(rows, labels))
    measured(f"the same after {BATCH} labels more", lambda: learn(rows, labels, before))
    names = [f"{number}.jpg" for number in groups]
    pictures = Pictures(names, rows, np.zeros((len(rows), 32), np.uint8), groups, pool)
    with tempfile.TemporaryDirectory() as folder, open_log(os.path.join(folder, "labels.csv")) as log:
        session = Session(Given(pictures), log)  # type: ignore[arg-type]
        session.start()
        session._threads[0].join()
        session.put({number: Entry(str(truth[number])) for number in range(given.labels)})
        session.wait_until_learnt()
        for name in NAMES:
            request = Request(name, label="0", true="0", answer="1", picture=0)
            measured(f"queue {name}", lambda request=request: queue_page(session.view, request))
        measured("side", lambda: side_of(session))
        keys(session, truth, given.labels)
        session.close()


def thumbnails(folder: str) -> None:
    paths = find_images(folder).images[:SHOWN]
    digests = [content_digest(Path(path).read_bytes()) for path in paths]
    with tempfile.TemporaryDirectory() as cache:
        measured(f"{len(paths)} thumbnails, first view", lambda: thumbnails_of(cache, digests, paths), rounds=1)
        measured(f"{len(paths)} thumbnails, later", lambda: thumbnails_of(cache, digests, paths))


def keys(session: Session, truth: np.ndarray, first: int) -> None:
    """A label a time, while the head learns those before."""
    seconds = []
    for number in range(first, first + KEYS):
        start = time.perf_counter()
        session.put({number: Entry(str(truth[number]))})
        seconds.append(time.perf_counter() - start)
    print(f"| a key while training runs, median | {statistics.median(seconds):.4f} | |")
    print(f"| a key while training runs, slowest of {KEYS} | {max(seconds):.4f} | |")


def drawn(pictures: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    truth = random.integers(classes, size=pictures)
    centres = random.gamma(0.3, size=(classes, FEATURES))
    rows = centres[truth] + random.gamma(0.3, 1.5, size=(pictures, FEATURES))
    return unit_rows(rows.astype(np.float32)), truth.astype(str)


def measured(what: str, job: Callable[[], Any], rounds: int = ROUNDS) -> Any:
    seconds, cpu = [], []
    for _ in range(rounds):
        start, own = time.perf_counter(), time.process_time()
        found = job()
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - own)
    print(f"| {what} | {statistics.median(seconds):.3f} | {statistics.median(cpu):.3f} |", flush=True)
    return found


if __name__ == "__main__":
    main()
