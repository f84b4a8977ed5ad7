"""One person's work on one folder: the labels, and what a head that is fitted on them says, always anew.

A thread computes rows, another one fits: first what all pictures look like, then folds of the labelled ones; a third
one draws the learning curve. Whoever asks gets the last `View`, and never waits for them.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bottleneck_features.report.findings import LearningPoint
from bottleneck_features.report.parts.learning_curve import learning_curve
from bottleneck_features.review.gallery import Gallery, Pictures
from cache.errors import log
from classify.labelling.label_log import Entry, LabelLog
from classify.labelling.learner import HEAD, Check, Opinion, check, learn


@dataclass(frozen=True, eq=False)
class View:
    """What is known at a moment. version: grows with every change; labels: (n,), "" for none.

    states: (n,), "not sure" and the like, "" where there is none. opinion and check may be of labels a moment ago.
    """

    version: int
    pictures: Pictures
    labels: NDArray[np.str_]
    states: NDArray[np.str_]
    opinion: Opinion | None = None
    check: Check | None = None
    curve: tuple[LearningPoint, ...] = ()

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """Which pictures have a label: (n,)."""
        return self.labels != ""

    @property
    def settled(self) -> NDArray[np.bool_]:
        """Which pictures a person has looked at: (n,)."""
        return self.labelled | (self.states != "")


class Session:
    """The labels in `labels` about the pictures of `gallery`, from `start` to `close`."""

    def __init__(self, gallery: Gallery, labels: LabelLog):
        self.gallery = gallery
        self.log = labels
        self.failed = ""  # why no more pictures come, one line
        self.trained = 0  # version that opinion and check are of
        self._taught = self._drawn = 0
        self._lock = threading.Lock()
        self._change = threading.Condition(self._lock)
        self._stopped = threading.Event()
        self._view = View(0, Pictures.none(), np.empty(0, str), np.empty(0, str))
        self._threads = [
            threading.Thread(target=self._fill, name="review-features", daemon=True),
            threading.Thread(target=self._teach, name="review-training", daemon=True),
            threading.Thread(target=self._draw_curve, name="review-curve", daemon=True),
        ]

    def start(self) -> None:
        """Begin to compute rows and to learn."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End the threads; rows that are computed are kept."""
        self._stopped.set()
        with self._change:
            self._change.notify_all()
        for thread in self._threads:
            thread.join()

    @property
    def view(self) -> View:
        """What is known now."""
        return self._view

    def put(self, entries: Mapping[int, Entry]) -> None:
        """Say something of pictures by their numbers. Raises IndexError, and as `LabelLog.put`."""
        with self._change:
            names = self._view.pictures.names
            if not all(0 <= number < len(names) for number in entries):
                raise IndexError(f"no picture has one of the numbers {[*entries][:5]}")
            self.log.put({names[number]: entry for number, entry in entries.items()})
            self._changed()

    def rename(self, old: str, new: str) -> int:
        """As `LabelLog.rename`."""
        with self._change:
            count = self.log.rename(old, new)
            self._changed()
            return count

    def undo(self) -> list[int]:
        """Take the last action back; returns the numbers of its pictures that are shown."""
        with self._change:
            names = {*self.log.undo()}
            self._changed()
            return [number for number, name in enumerate(self._view.pictures.names) if name in names]

    def wait_until_learnt(self) -> View:
        """The view once the head has learnt all labels that are there, and was checked. For scripts and tests."""
        with self._change:
            self._change.wait_for(lambda: self.trained == self._view.version or self._stopped.is_set())
            return self._view

    def _changed(self) -> None:
        """Read the labels anew; the caller holds the lock."""
        pictures, entries = self.gallery.pictures, self.log.entries
        found = [entries.get(name) for name in pictures.names]
        labels = np.array([entry.label if entry else "" for entry in found], dtype=np.str_)
        states = np.array([entry.how if entry and not entry.label else "" for entry in found], dtype=np.str_)
        view = self._view
        kept = view.opinion if view.opinion and len(view.opinion.probabilities) == len(labels) else None
        self._view = replace(
            view, version=view.version + 1, pictures=pictures, labels=labels, states=states, opinion=kept
        )
        self._change.notify_all()

    def _fill(self) -> None:
        def more() -> None:
            with self._change:
                self._changed()

        try:
            self.gallery.fill(more, self._stopped)
        except (OSError, ValueError) as error:  # UserError is a ValueError
            self.failed = str(error)
            log.error("no more pictures are computed: %s", error)

    def _teach(self) -> None:
        while view := self._once(lambda: self._view.version != self._taught):
            self._taught = view.version
            self._publish(view, opinion=learn(view.pictures.rows, view.labels))
            if self._view.version != view.version:  # the next labels come first
                continue
            self._publish(view, check=check(view.pictures.rows, view.labels, view.pictures.groups))
            with self._change:
                self.trained = view.version
                self._change.notify_all()

    def _draw_curve(self) -> None:
        """The learning curve takes many fits, and may be of labels a while ago."""
        while view := self._once(lambda: self.trained != self._drawn):
            self._drawn = self.trained
            pictures, found = view.pictures, view.check
            if found:
                points, _ = learning_curve(pictures.rows, view.labels, pictures.groups, found.splits, HEAD, {})
                self._publish(view, curve=tuple(points))

    def _once(self, ready: Callable[[], bool]) -> View | None:
        """The view, once there is something to do; None at the end."""
        with self._change:
            self._change.wait_for(lambda: self._stopped.is_set() or ready())
            return None if self._stopped.is_set() else self._view

    def _publish(self, of: View, **found: object) -> None:
        with self._change:
            if len(self._view.labels) == len(of.labels):
                self._view = replace(self._view, **found)  # type: ignore[arg-type]


def of_classes(labels: Sequence[str]) -> dict[str, int]:
    """How many pictures each class has, the most frequent first."""
    names, counts = np.unique([label for label in labels if label], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {str(names[number]): int(counts[number]) for number in order}
