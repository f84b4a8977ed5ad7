"""One person's work on one folder: the labels, and what a head that is fitted on them says, always anew.

A thread computes rows, another one fits: first what all pictures look like, then folds of the labelled ones; a third
one draws the learning curve. Whoever asks gets the last `View`, and never waits for them.
"""

import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bottleneck_features.report.findings import LearningPoint
from bottleneck_features.report.parts.learning_curve import learning_curve
from bottleneck_features.review.growing_gallery import Gallery, Pictures
from cache.errors import log
from classify.data.split import Indices
from classify.heads.numerics import Floats
from classify.labelling.label_log import KEPT, NOTHING, STATES, Entry, LabelLog
from classify.labelling.learner import HEAD, Check, Opinion, calibrated, check, learn


@dataclass(frozen=True, eq=False)
class View:
    """What is known at a moment. version: grows with every change; labels: (n,), "" for none.

    states: (n,), "not sure" and the like, "" where there is none. kept: (n,), whether a person stands by a label that
    was doubted. one_by_one: (n,), whether a person looked at this picture for its label. classes: the names, each with
    its number of pictures, in the order in which they came up. opinion and check may be of labels a moment ago; learnt:
    the version whose labels opinion is of. sureness: (n,), how probable each answer is, calibrated by held-out answers
    where there are some.
    """

    version: int
    pictures: Pictures
    labels: NDArray[np.str_]
    states: NDArray[np.str_]
    kept: NDArray[np.bool_]
    one_by_one: NDArray[np.bool_]
    classes: Mapping[str, int]
    learnt: int = 0
    opinion: Opinion | None = None
    check: Check | None = None
    sureness: Floats | None = None
    curve: tuple[LearningPoint, ...] = ()

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """Which pictures have a label: (n,)."""
        return self.labels != ""

    @property
    def settled(self) -> NDArray[np.bool_]:
        """Of which pictures something was said: (n,)."""
        return self.labelled | self.passed

    @property
    def passed(self) -> NDArray[np.bool_]:
        """Which pictures a person has looked at without giving a label: (n,)."""
        return self.states != ""

    @property
    def confidence(self) -> Floats | None:
        """How probable each answer is (n,), as far as that is known; None without an opinion."""
        if self.opinion is None:
            return None
        return self.opinion.confidence if self.sureness is None else self.sureness


class Session:
    """The labels in `labels` about the pictures of `gallery`, from `start` to `close`."""

    def __init__(self, gallery: Gallery, labels: LabelLog):
        self.gallery = gallery
        self.log = labels
        self.failed = ""  # which part of the work has ended before its time, and why: one line
        self.trained = 0  # version that opinion and check are of
        self._taught = 0
        self._checked: View | None = None  # with the last check, and the labels that it is of; None once it is drawn
        self._lock = threading.Lock()
        self._change = threading.Condition(self._lock)
        self._stopped = threading.Event()
        texts, marks = np.empty(0, str), np.empty(0, bool)
        self._view = View(0, Pictures.none(), texts, texts, marks, marks, {})
        self._numbers: dict[str, int] = {}  # of the pictures by name
        self._named = list(dict.fromkeys(labels.labels.values()))  # classes in the order in which they came up
        self._named_before: list[list[str]] = []  # the same, before each action of this session
        self._threads = [
            threading.Thread(target=self._run, args=(work, words), name=f"review{work.__name__}", daemon=True)
            for work, words in (
                (self._fill, "no more pictures are computed"),
                (self._teach, "labels are kept, but nothing learns from them any more"),
                (self._draw_curve, "no more learning curve is drawn"),
            )
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
            self._put({names[number]: entry for number, entry in entries.items()})

    def put_named(self, entries: Mapping[str, Entry]) -> None:
        """Say something of pictures by their names, also of those that have no row yet. Raises as `LabelLog.put`."""
        with self._change:
            self._put(entries)

    def add_class(self, name: str) -> None:
        """Have a class that no picture has yet; it is forgotten at the end if none gets it."""
        with self._change:
            for names in (self._named, *self._named_before):  # it is no action: no undo takes it away
                if name not in names:
                    names.append(name)
            self._changed(())

    def rename(self, old: str, new: str) -> int:
        """As `LabelLog.rename`; the class keeps its place among the others."""
        with self._change:
            count = self.log.rename(old, new)
            if count:
                self._named_before.append([*self._named])
            for names in (self._named,) if count else (self._named, *self._named_before):  # else it is no action
                renamed = [new if name == old else name for name in names]
                names[:] = dict.fromkeys(name for name in renamed if name)
            self._changed(self.log.last_paths if count else ())
            return count

    def undo(self) -> list[int]:
        """Take the last action back; returns the numbers of its pictures that are shown.

        Of this session's actions also what became of the names: each class gets its place back.
        """
        with self._change:
            names = self.log.undo()
            if names and self._named_before:
                self._named = self._named_before.pop()
            self._changed(names)
            return sorted(self._numbers[name] for name in names if name in self._numbers)

    def wait_until_named(self, version: int, seconds: float) -> View:
        """The view once the head has learnt the labels of a version, or after so many seconds."""
        with self._change:
            self._change.wait_for(lambda: self._view.learnt >= version or self._stopped.is_set(), seconds)
            return self._view

    def wait_until_learnt(self) -> View:
        """The view once the head has learnt all labels that are there, and was checked. For scripts and tests."""
        with self._change:
            self._change.wait_for(lambda: self.trained == self._view.version or self._stopped.is_set())
            return self._view

    def _put(self, entries: Mapping[str, Entry]) -> None:
        self.log.put(entries)
        if entries:
            self._named_before.append([*self._named])
        self._changed(entries)

    def _changed(self, names: Collection[str] | None = None) -> None:
        """Read the labels of these pictures anew, by default of all; the caller holds the lock."""
        pictures, view = self.gallery.pictures, self._view
        if len(view.labels) != len(pictures.names):
            self._numbers = {name: number for number, name in enumerate(pictures.names)}
            names = None
        found = pictures.names if names is None else [name for name in names if name in self._numbers]
        numbers = np.array([self._numbers[name] for name in found], np.intp)
        entries = [self.log.entries.get(name, NOTHING) for name in found]
        before = [np.empty(len(pictures.names), "<U1")] * 2 if names is None else [view.labels, view.states]
        nothing = np.zeros(len(pictures.names), bool)
        kept, one_by_one = ((nothing if names is None else old).copy() for old in (view.kept, view.one_by_one))
        kept[numbers] = [bool(entry.label) and entry.how == KEPT for entry in entries]
        one_by_one[numbers] = [entry.one_by_one for entry in entries]
        labels = with_texts(before[0], numbers, [entry.label for entry in entries])
        shown = ["" if entry.label or entry.how not in STATES else entry.how for entry in entries]
        counted = Counter(entry.label for entry in self.log.entries.values() if entry.label)
        self._named = [*dict.fromkeys([*self._named, *counted])]
        self._view = replace(
            view,
            version=view.version + 1,
            pictures=pictures,
            labels=labels,
            states=with_texts(before[1], numbers, shown),
            kept=kept,
            one_by_one=one_by_one,
            classes={name: counted[name] for name in self._named},
            opinion=view.opinion if view.opinion and len(view.opinion.probabilities) == len(labels) else None,
        )
        self._change.notify_all()

    def _run(self, work: Callable[[], None], words: str) -> None:
        """The work of a thread. What ends it is said here and on the page: nobody else would hear of it."""
        try:
            work()
            return
        except (OSError, ValueError) as error:  # UserError is a ValueError
            reason = str(error)
            log.error("%s: %s", words, reason)
        except Exception as error:  # noqa: BLE001  # said here, or nobody hears of it
            reason = repr(error)
            log.exception("%s", words)
        with self._change:
            self.failed = self.failed or f"{words}: {reason}"
            self._change.notify_all()

    def _fill(self) -> None:
        def more() -> None:
            with self._change:
                self._changed()

        self.gallery.fill(more, self._stopped)

    def _teach(self) -> None:
        opinion: Opinion | None = None
        while view := self._once(lambda: self._view.version != self._taught):
            self._taught = view.version
            opinion, before = learn(view.pictures.rows, view.labels, opinion), self._view.check
            self._publish(view, learnt=view.version, opinion=opinion, sureness=_sureness(opinion, before))
            if self._view.version != view.version:  # the next labels come first
                continue
            found = check(view.pictures.rows, view.labels, view.pictures.groups, view.one_by_one)
            self._publish(view, check=found, sureness=_sureness(opinion, found))
            with self._change:
                self.trained, self._checked = view.version, replace(view, check=found)
                self._change.notify_all()

    def _draw_curve(self) -> None:
        """The learning curve takes many fits, and may be of labels a while ago."""
        while self._once(lambda: self._checked is not None):
            with self._change:
                view, self._checked = self._checked, None
            if view and view.check:
                self._publish(view, curve=_curve(view, view.check))

    def _once(self, ready: Callable[[], bool]) -> View | None:
        """The view, once there is something to do; None at the end."""
        with self._change:
            self._change.wait_for(lambda: self._stopped.is_set() or ready())
            return None if self._stopped.is_set() else self._view

    def _publish(self, of: View, **found: object) -> None:
        with self._change:
            if len(self._view.labels) == len(of.labels):
                self._view = replace(self._view, **found)  # type: ignore[arg-type]
            self._change.notify_all()


def _sureness(opinion: Opinion | None, found: Check | None) -> Floats | None:
    """Here, in the background: whoever gives a label does not wait for it."""
    if not opinion or not found or found.temperature is None:
        return None
    return calibrated(opinion.probabilities, found.temperature).max(axis=1)


def _curve(view: View, found: Check) -> tuple[LearningPoint, ...]:
    """The learning curve, scored on the pictures that were named one by one: nothing without such."""
    splits = [(train, test[view.one_by_one[test]]) for train, test in found.splits if view.one_by_one[test].any()]
    if not splits:
        return ()
    points, _ = learning_curve(view.pictures.rows, view.labels, view.pictures.groups, splits, HEAD, {})
    return tuple(points)


def with_texts(before: NDArray[np.str_], numbers: Indices, texts: Sequence[str]) -> NDArray[np.str_]:
    """A copy of texts (n,) with those at `numbers` (m,) changed, wide enough for all."""
    width = max(before.dtype.itemsize // 4, 1, *map(len, texts))
    changed = before.astype(f"<U{width}")
    changed[numbers] = texts
    return changed
