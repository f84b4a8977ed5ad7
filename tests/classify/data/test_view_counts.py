"""How many views a head is fitted on and predicts with, where not all of it is told."""

from typing import Any

import pytest

from cache.errors import UserError
from classify.data.view_counts import Views


@pytest.mark.parametrize(
    ("head", "given", "expected"),
    [
        ("logreg", {}, (1, 1)),
        ("logreg", {"train": 3}, (3, 3)),
        ("logreg", {"train": 8}, (8, 4)),
        ("logreg", {"train": 2, "predict": 6}, (2, 6)),
        ("finetune", {}, (8, 8)),
        ("finetune", {"train": 8}, (8, 8)),
        ("finetune", {"train": 1}, (1, 1)),
        ("finetune", {"train": 12}, (12, 8)),
        ("finetune", {"recipe": "crops"}, (8, 8)),
        ("finetune", {"recipe": "flip"}, (2, 2)),
        ("finetune", {"predict": 1}, (8, 1)),
    ],
)
def test_what_is_not_told_suits_the_head_and_the_recipe(
    head: str, given: dict[str, Any], expected: tuple[int, int]
) -> None:
    views = Views.of_training(head, **({"recipe": None, "train": None, "predict": None} | given))
    assert (views.train, views.predict) == expected


def test_more_than_a_recipe_has_is_refused_where_it_is_asked_for() -> None:
    with pytest.raises(UserError, match="recipe flip has one view"):
        Views.of_training("finetune", "flip", 8, None)
