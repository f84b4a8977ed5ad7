"""What a caller may choose of how a head is trained and scored. Imports nothing heavy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from classify.labels.label_options import DEFAULT_SCORING, LabelOptions, Options
from featurize.spec_options import ClusterOptions


class PositiveOptions(TypedDict, total=False):
    """Scores of one class of two, see `classify.scoring.two_classes`.

    positive: the class that is looked for; its `f1`, `precision`, `recall` and so on may be the `scoring` of a search.
    prevalence: its share among the pictures to come, such as 0.01; precision is then that of such pictures.
    """

    positive: str | None
    prevalence: float | None


class DecisionOptions(TypedDict, total=False):
    """Which answers may be accepted, see `classify.decisions`.

    accept: the share of accepted answers that are to be right, such as 0.98. coverage: the share of label sets that are
    to hold the label, such as 0.9.
    """

    accept: float | None
    coverage: float | None


class EvaluateOptions(LabelOptions, ClusterOptions, PositiveOptions, DecisionOptions, total=False):
    """Where labels come from, who computes, and what is asked of a model besides its scores."""


class ReportOptions(LabelOptions, ClusterOptions, PositiveOptions, total=False):
    """Where labels come from, and what a report shows.

    heatmaps: whether mistakes and uncertain pictures show where their answer comes from (by default they do), for which
    they pass the network once more.
    """

    heatmaps: bool


class PlanOptions(PositiveOptions, DecisionOptions, total=False):
    """How a head is trained and scored: keyword arguments of `pipeline.train`, with the defaults of `Plan`.

    test_size: the share that is held out where the data bring no split. seed: of splits and heads. cv: folds of a
    cross-validation besides. search: tune the head, by `scoring`, a scorer of scikit-learn. refit: fit the head that is
    saved once more, on all pictures, after it was scored. n_jobs: how many folds run at once, None for one a core; what
    they give does not depend on it.
    """

    test_size: float
    seed: int
    cv: int
    search: bool
    scoring: str
    refit: bool
    n_jobs: int | None


class TrainOptions(Options, PlanOptions, total=False):
    """What decides the features, where labels come from, and how a head is trained and scored."""


class CompareOptions(Options, total=False):
    """What is compared and how: keyword arguments of `pipeline.compare`, see `classify.comparison.compare_heads`.

    folds: 5, of the cross-validation. search: tune each head inside each fold. scoring: a scorer of scikit-learn that
    the search goes by, and the order of the lines. positive: the class of two that it is of, such as "f1". seed,
    n_jobs: as in `PlanOptions`. answers: folder for tables of the held-out answers, one of each line.
    """

    folds: int
    search: bool
    scoring: str | None
    positive: str | None
    seed: int
    n_jobs: int | None
    answers: str | None


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
    positive: str | None = None
    prevalence: float | None = None
    n_jobs: int | None = None


def split_plan(options: Mapping[str, Any]) -> tuple[Plan, Any]:
    """(the plan among `options`, of which an evaluation has a part; the others)."""
    names = PlanOptions.__annotations__
    plan = Plan(**{name: value for name, value in options.items() if name in names})
    return plan, {name: value for name, value in options.items() if name not in names}


def split_comparison(options: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """(what `CompareOptions` adds to `Options`, the others)."""
    own = CompareOptions.__annotations__.keys() - Options.__annotations__.keys()
    chosen = {name: value for name, value in options.items() if name in own}
    return chosen, {name: value for name, value in options.items() if name not in own}
