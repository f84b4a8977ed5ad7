"""Train and save, from the page: what the commands `train` and `report` do with the labels given so far."""

import os
import secrets
import shlex
import tempfile
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bottleneck_features.review.session import Session
from cache.errors import UserError, log
from featurize.spec_options import DEFAULT_CACHE, SpecOptions

FOLDS = 5
NEEDED = ("accuracy", "accuracy_interval", "classes", "model", "left_out_classes")


@dataclass(frozen=True)
class Project:
    """What is labelled, and where to. data: the folder; labels: the table; model: where `train` saves."""

    data: str
    labels: str
    cache_dir: str
    model: str
    spec: SpecOptions = field(default_factory=SpecOptions)

    @property
    def command(self) -> str:
        """What trains the same on a command line."""
        words = ["train", "--data", self.data, "--labels", self.labels, "--model", self.model]
        for name, value in {"cache_dir": self.cache_dir, **self.spec}.items():
            if value and (name, value) != ("cache_dir", DEFAULT_CACHE):
                option = f"--{name.replace('_', '-')}"
                words += [option] if value is True else [option, str(value)]
        return f"python -m pipeline {shlex.join(words)}"


@dataclass(frozen=True)
class Job:
    """How a training stands. stage: "" before the first one. of: labels that it was trained on; together: how many of
    them were given to many pictures at once. report: its address.
    """

    stage: str = ""
    running: bool = False
    error: str = ""
    of: int = 0
    together: int = 0
    result: dict[str, Any] | None = None
    report: str = ""


class Training:
    """At most one training at a time, in a thread of its own. job: the last one."""

    def __init__(self, session: Session, project: Project):
        self.project = project
        self.job = Job()
        self._session = session
        self._lock = threading.Lock()
        self._page: bytes | None = None
        self._thread = threading.Thread()

    def start(self) -> None:
        """Begin; raises UserError while one runs."""
        with self._lock:
            if self.job.running:
                raise UserError("a training is running: wait for its end")
            entries = self._session.log.entries.values()
            together = sum(bool(entry.label) and not entry.one_by_one for entry in entries)
            self.job = Job("training", running=True, of=len(self._session.log.labels), together=together)
            self._thread = threading.Thread(target=self._run, name="review-train", daemon=True)
            self._thread.start()

    def page(self, key: str) -> bytes | None:
        """The report, for who knows its address."""
        known = self.job.report.rpartition("/")[2]
        return self._page if known and secrets.compare_digest(known.encode(), key.encode()) else None

    def _run(self) -> None:
        import pipeline

        project = self.project
        try:
            trained = pipeline.train(
                project.data, model=project.model, labels=project.labels, cache_dir=project.cache_dir, **project.spec
            )
            if trained["accuracy"] is None:
                raise UserError(f"{trained['failed']} of {trained['images']} pictures failed: nothing is trained")
            result = {name: trained[name] for name in NEEDED} | {"tested": held_out(trained)}
            self.job = replace(self.job, stage="report", result=result)
            self._page = self._report()
            self.job = replace(self.job, running=False, report=f"/report/{secrets.token_urlsafe(24)}")
        except (OSError, ValueError) as error:  # UserError is a ValueError
            log.error("the training ends: %s", error)
            self.job = replace(self.job, running=False, error=str(error))

    def _report(self) -> bytes:
        import pipeline

        with tempfile.TemporaryDirectory() as folder:
            output = os.path.join(folder, "report.html")
            pipeline.report(self.project.data, self.project.model, output, labels=self.project.labels)
            return Path(output).read_bytes()


def held_out(trained: dict[str, Any]) -> int:
    """The pictures that the accuracy is of."""
    return int(sum(map(sum, trained["confusion_matrix"])))
