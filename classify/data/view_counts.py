"""How many views of each picture a head is fitted on and predicts with: the field `views` of a model's record."""

from dataclasses import asdict, dataclass
from typing import Any

from cache.errors import UserError
from classify.heads.head_table import HEADS
from featurize.pictures.recipes import canonical, most_views, views_with_original
from featurize.spec_options import DEFAULT_RECIPE

PREDICTING = 4  # default limit of the views that a prediction averages: each is a forward pass


@dataclass(frozen=True)
class Views:
    """`train` views of a picture are fitted on, the probabilities of `predict` averaged. One: the picture itself."""

    recipe: str = DEFAULT_RECIPE
    train: int = 1
    predict: int = 1

    @classmethod
    def checked(cls, recipe: str = DEFAULT_RECIPE, train: int = 1, predict: int | None = None) -> "Views":
        """The views of a request, checked; by default as many predict as are fitted on, up to `PREDICTING`.

        Raises UserError for an unknown recipe, and for numbers that it does not have.
        """
        for count in (train, predict):
            if count is not None:
                views_with_original(recipe, count)
        return cls(canonical(recipe), train, min(train, PREDICTING) if predict is None else predict)

    @classmethod
    def of_training(cls, head: str, recipe: str | None, train: int | None, predict: int | None) -> "Views":
        """The views of a request to train `head`; None is the default of the head and the recipe.

        Raises as `checked`.
        """
        fitted, averaged = HEADS[head].views
        recipe = recipe or DEFAULT_RECIPE
        if train is None:
            train = min(fitted, most_views(recipe))
        if predict is None:
            predict = min(train, max(averaged, PREDICTING))
        return cls.checked(recipe, train, predict)

    @classmethod
    def of_record(cls, record: dict[str, Any]) -> "Views":
        """Those of a record that has been checked; older ones have no such field, and one view."""
        return cls(**record.get("views", {}))

    def names(self, count: int | None = None) -> tuple[str, ...]:
        """The names of `count` views, else of those that predict. Raises UserError for more than there are."""
        return views_with_original(self.recipe, self.predict if count is None else count)

    def to_json(self) -> dict[str, Any]:
        """The field of the record."""
        return asdict(self)


def are_views(value: Any) -> bool:
    """Whether `value` can be the field of a record, which comes from outside."""
    if not isinstance(value, dict) or value.keys() != asdict(Views()).keys():
        return False
    recipe = value["recipe"]
    try:
        return isinstance(recipe, str) and Views.checked(**value) == Views(**value) and value["predict"] is not None
    except UserError:
        return False
