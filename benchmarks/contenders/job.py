"""What a contender is given and what it answers; nothing here but the standard library, for other environments' sake.

    python benchmarks/contenders/NAME.py JOB.json ANSWER.json

Seconds are measured by the contender, from files to features, its network built and warmed up before; the time of the
whole process and its peak memory by the one who starts it.
"""

import csv
import json
import os
import sys
from dataclasses import dataclass
from typing import Any

VALUES = [0.1, 0.3, 1.0, 3.0, 10.0]  # of the grid search
FOLDS = 5


@dataclass(frozen=True)
class Job:
    """The pictures of `table` (CSV: path, label; absolute paths) and the network to take.

    weights    file of Keras' weights without top; None: those that the backbone brings, or Keras downloads
    resize     what this project does to the pictures: the others have their own ways
    cache_dir  where this project keeps features and graphs; the model files are in it too
    pictures   how many to predict, one call each
    data, label_pattern, limit   for `prepare`, which writes `table`: as on the command line; 0 is no limit
    """

    table: str
    backbone: str
    cache_dir: str
    weights: str | None = None
    engine: str = "auto"
    precision: str = "float32"
    resize: str = "antialias"
    pictures: int = 1
    data: str | None = None
    label_pattern: str | None = None
    limit: int = 0

    @property
    def paths(self) -> list[str]:
        return [row["path"] for row in self._rows()]

    @property
    def labels(self) -> list[str]:
        return [row["label"] for row in self._rows()]

    @property
    def spec(self) -> dict[str, Any]:
        """Keyword arguments of `pipeline.features`; the precision only if it is not the default."""
        spec = {"backbone": self.backbone, "weights": self.weights, "engine": self.engine, "resize": self.resize}
        return spec | ({"precision": self.precision} if self.precision != "float32" else {})

    def _rows(self) -> list[dict[str, str]]:
        with open(self.table, encoding="utf-8", errors="surrogateescape", newline="") as file:
            return list(csv.DictReader(file))


def read_job() -> Job:
    with open(sys.argv[1], encoding="utf-8") as file:
        return Job(**json.load(file))


def answer(job: Job, features: Any = None, **figures: float | str | list[float]) -> None:
    """Write the figures, and the features (n, d) where there are any into the cache folder, to compare them by."""
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        json.dump(figures, file)
    if features is not None:
        import numpy as np

        np.save(os.path.join(job.cache_dir, "features.npy"), features)


def grid_search(steps: list[tuple[str, Any]], memory: Any = None) -> Any:
    """GridSearchCV over C of a logistic regression on what `steps` make of paths, brought to length 1."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import Normalizer  # the solver converges soon: it is the features that are compared

    head = [("length", Normalizer()), ("head", LogisticRegression(max_iter=1000))]
    pipeline = Pipeline([*steps, *head], memory=memory)
    return GridSearchCV(pipeline, {"head__C": VALUES}, cv=FOLDS, error_score="raise")
