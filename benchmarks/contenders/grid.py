"""The grid of both ways of searching: five values, five folds, and what is fitted on the features."""

from typing import Any

VALUES = [0.1, 0.3, 1.0, 3.0, 10.0]
FOLDS = 5


def search(steps: list[tuple[str, Any]], memory: Any = None) -> Any:
    """GridSearchCV over C of a logistic regression on what `steps` make of paths, brought to length 1."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import Normalizer  # the solver converges soon: it is the features that are compared

    head = [("length", Normalizer()), ("head", LogisticRegression(max_iter=1000))]
    pipeline = Pipeline([*steps, *head], memory=memory)
    return GridSearchCV(pipeline, {"head__C": VALUES}, cv=FOLDS, error_score="raise")
