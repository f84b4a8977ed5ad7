"""What a caller may choose of how a head is trained and scored. Imports nothing heavy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from classify.labels.label_options import DEFAULT_SCORING, LabelOptions, Options


class PositiveOptions(TypedDict, total=False):
    """Scores of one class of two, see `classify.scoring.two_classes`.

    positive: the class that is looked for; its `f1`, `precision`, `recall` and so on may be the `scoring` of a search.
    prevalence: its share among the pictures to come, such as 0.01; precision is then that of such pictures.
    """

    positive: str | None
    prevalence: float | None


class ScoreOptions(LabelOptions, PositiveOptions, total=False):
    """Where labels come from, and how a model is scored with them."""


class PlanOptions(PositiveOptions, total=False):
    """How a head is trained and scored: keyword arguments of `pipeline.train`, with the defaults of `Plan`.

    test_size: the share that is held out where the data bring no split. seed: of splits and heads. cv: folds of a
    cross-validation besides. search: tune the head, by `scoring`, a scorer of scikit-learn. refit: fit the head that is
    saved once more, on all pictures, after it was scored. accept: the share of accepted answers that are to be right,
    such as 0.98. coverage: the share of label sets that are to hold the label, such as 0.9. positive, prevalence: see
    `PositiveOptions`.
    """

    test_size: float
    seed: int
    cv: int
    search: bool
    scoring: str
    refit: bool
    accept: float | None
    coverage: float | None


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
    positive: str | None = None
    prevalence: float | None = None


def split_positive(options: ScoreOptions, classes: Sequence[str]) -> tuple[dict[str, Any], LabelOptions]:
    """(positive and prevalence, None where they are not given; where labels come from).

    Raises UserError as `classify.scoring.two_classes.check_positive`.
    """
    from classify.scoring.two_classes import check_positive  # imports much

    rest: Any = {name: value for name, value in options.items() if name not in PositiveOptions.__annotations__}
    asked: Any = {name: options.get(name) for name in PositiveOptions.__annotations__}
    check_positive(classes, **asked)
    return asked, rest


def split_plan(options: Mapping[str, Any]) -> tuple[Plan, dict[str, Any]]:
    """(the plan among `options`, the others)."""
    names = PlanOptions.__annotations__
    plan = Plan(**{name: value for name, value in options.items() if name in names})
    return plan, {name: value for name, value in options.items() if name not in names}
