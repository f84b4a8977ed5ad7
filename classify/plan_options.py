"""What a caller may choose of how a head is trained and scored. Imports nothing heavy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from classify.labels.label_options import DEFAULT_SCORING, Options


class PlanOptions(TypedDict, total=False):
    """How a head is trained and scored: keyword arguments of `pipeline.train`, with the defaults of `Plan`.

    test_size: the share that is held out where the data bring no split. seed: of splits and heads. cv: folds of a
    cross-validation besides. search: tune the head, by `scoring`, a scorer of scikit-learn. refit: fit the head that is
    saved once more, on all pictures, after it was scored. accept: the share of accepted answers that are to be right,
    such as 0.98. coverage: the share of label sets that are to hold the label, such as 0.9. n_jobs: how many folds run
    at once, None for one a core; what they give does not depend on it.
    """

    test_size: float
    seed: int
    cv: int
    search: bool
    scoring: str
    refit: bool
    accept: float | None
    coverage: float | None
    n_jobs: int | None


class TrainOptions(Options, PlanOptions, total=False):
    """What decides the features, where labels come from, and how a head is trained and scored."""


@dataclass(frozen=True)
class Plan:
    """`PlanOptions`, each with its default."""

    test_size: float = 0.2
    seed: int = 0
    cv: int = 0
    search: bool = False
    scoring: str = DEFAULT_SCORING
    refit: bool = False
    accept: float | None = None
    coverage: float | None = None
    n_jobs: int | None = None


def split_plan(options: Mapping[str, Any]) -> tuple[Plan, dict[str, Any]]:
    """(the plan among `options`, the others)."""
    names = PlanOptions.__annotations__
    plan = Plan(**{name: value for name, value in options.items() if name in names})
    return plan, {name: value for name, value in options.items() if name not in names}
