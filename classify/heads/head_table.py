"""The table of heads, and how one is made from a name and parameters.

To add a head: write a `FeatureHead`, a dataclass of its parameters, and add its entry here.
"""

import ast
import difflib
import pkgutil
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from cache.errors import UserError, log

if TYPE_CHECKING:
    from cache.stored_rows import Rows
    from classify.heads.base import FeatureHead, Validation

CLASS_COPIES = 10  # arrays of a number for each row and class that a fit has at once, in float32
SIGNATURE_BYTES = 2600  # of a picture, while near-duplicates are found


@dataclass(frozen=True)
class HeadEntry:
    """One head of the table. The class is named, not imported: a list of heads must not import scikit-learn.

    estimator: "module:class". summary: one line for people. grid: the values that a search tries.
    copies: memory that training takes, in sizes of the features, these included; measured by
    `benchmarks/cost/memory.py`, one more for a search, rounded up (`training_bytes` has what it takes besides).
    streams: whether it takes `StoredRows`, in bounded memory. maps: whether it takes maps (n, h, w, c), of
    `pooling="none"`, instead of rows (n, d). views: the default number of views of a picture that are fitted on, and of
    those that are averaged in its predictions. quick: whether it is fitted so soon that it may be fitted again.
    """

    estimator: str
    summary: str
    grid: dict[str, list[Any]]
    copies: int
    streams: bool = False
    maps: bool = False
    views: tuple[int, int] = (1, 1)
    quick: bool = True


HEADS: dict[str, HeadEntry] = {
    "logreg": HeadEntry(
        "classify.heads.linear:LogRegHead",
        "logistic regression",
        {"C": [0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0]},
        copies=6,
    ),
    "sgd": HeadEntry(
        "classify.heads.sgd:SGDHead",
        "logistic regression for features beyond memory",
        {"C": [0.3, 1.0, 3.0, 10.0, 30.0, 100.0]},
        copies=5,
        streams=True,
    ),
    "svm": HeadEntry(
        "classify.heads.svm:SVMHead",
        "support vector machine, linear or RBF",
        {"C": [0.05, 0.1, 0.2, 0.5, 1.0, 2.0]},
        copies=10,
    ),
    "dense": HeadEntry(
        "classify.heads.dense.dense_head:DenseClassifier",
        "small Keras network with dropout and early stopping",
        {"hidden": [None, 128], "dropout": [0.2, 0.5], "learning_rate": [1e-4, 3e-4, 1e-3]},
        copies=7,
        streams=True,
        quick=False,
    ),
    "ridge": HeadEntry(
        "classify.heads.linear:RidgeHead",
        "ridge regression classifier, the fastest to train",
        {"alpha": [0.1, 0.3, 1.0, 3.0, 10.0]},
        copies=11,
    ),
    "knn": HeadEntry(
        "classify.heads.neighbours:KNNHead",
        "nearest training pictures by cosine",
        {"n_neighbors": [1, 5, 10, 15, 30], "temperature": [0.03, 0.07, 0.2]},
        copies=6,
    ),
    "centroid": HeadEntry(
        "classify.heads.neighbours:CentroidHead",
        "nearest class mean by cosine",
        {"normalize": ["l2", "standard"]},
        copies=9,
    ),
    "finetune": HeadEntry(
        "classify.heads.finetune.finetune_head:FineTuneHead",
        "the backbone's upper layers, trained from cached maps",
        {"learning_rate": [3e-5, 1e-4, 3e-4], "epochs": [8, 24]},
        copies=4,
        maps=True,
        views=(8, 8),
        quick=False,
    ),
}


def make_head(name: str, params: dict[str, Any] | None = None, seed: int = 0) -> "FeatureHead":
    """A new unfitted estimator of the head `name`, with `params` instead of its defaults.

    Heads that draw random numbers get `random_state=seed` unless `params` has one. Raises UserError for an unknown
    head, an unknown parameter or an invalid value.
    """
    estimator_class: type[FeatureHead] = pkgutil.resolve_name(_entry(name).estimator)
    valid = list(estimator_class().get_params())
    params = dict(params or {})
    for parameter in params:
        if parameter not in valid:
            close = difflib.get_close_matches(parameter.lower(), [known.lower() for known in valid], n=1)
            meant = [f", did you mean {known}?" for known in valid if [known.lower()] == close]
            raise UserError(
                f"the head {name} has no parameter {parameter!r}{''.join(meant)} (it has {', '.join(valid)})"
            )
    if "random_state" in valid:
        params.setdefault("random_state", seed)
    estimator = estimator_class(**params)
    estimator.check_parameters()
    return estimator


def training_bytes(
    name: str, params: dict[str, Any] | None, rows: int, features: int, classes: int, pictures: int
) -> int:
    """Memory that training a head takes, in bytes, from numbers that `benchmarks/cost/memory.py` measures.

    rows: of all views of the `pictures`, of so many features each. Blocks of fixed size, of some 10 MB, are left out.
    """
    in_float32 = 4 * rows * (features * _entry(name).copies + classes * CLASS_COPIES)
    return in_float32 + pictures * SIGNATURE_BYTES + rows**2 * make_head(name, params).pair_bytes


def check_layer(name: str, cut: str | None, layer: str | None, pooling: str | None) -> None:
    """Raise UserError where the head `name` takes rows and is given maps, or the other way round."""
    if not _entry(name).maps:
        if pooling == "none":
            raise UserError(f"pooling none keeps maps, the head {name} takes rows: use POOLING=avg or flatten")
        if cut is not None:
            raise UserError(f"cut {cut!r}: the head {name} trains no layers of the backbone; HEAD=finetune does")
    elif pooling not in (None, "none"):
        raise UserError(f"pooling {pooling!r}: the head {name} takes maps as they are; leave the option out")
    elif cut and layer and cut != layer:
        raise UserError(f"cut {cut!r} contradicts layer {layer!r}: give one of them")


def fit_head(
    estimator: "FeatureHead",
    features: "ArrayLike | Rows",
    labels: ArrayLike,
    groups: ArrayLike | None = None,
    validation: "Validation | None" = None,
) -> "FeatureHead":
    """Fit an estimator of `make_head` on features (n, d), labels and groups of copies (n,), and return it.

    validation: rows and labels that are held out, see `classify.heads.base.FeatureHead.fit`.
    A solver that stopped before it converged is announced in one line.
    """
    estimator.learn(features, labels, groups, validation=validation)
    if not estimator.converged_:
        log.warning("%s did not converge: give a higher max_iter or more regularisation", estimator)
    return estimator


def search_grid(name: str) -> dict[str, list[Any]]:
    """The values that a search tries for each parameter of the head `name`, for `GridSearchCV`.

    Raises UserError for an unknown head.
    """
    return {parameter: list(values) for parameter, values in _entry(name).grid.items()}


# A value may be quoted or bracketed; spaces and commas in it then separate nothing.
PARAMETER = re.compile(
    r"""\s*(?P<key>[A-Za-z_]\w*)=
    (?P<value>"[^"]*"|'[^']*'|\{[^{}]*\}|\[[^\[\]]*\]|\([^()]*\)|[^\s,"'{}\[\]()]+)
    (?:\s*,\s*|\s+|$)""",
    re.VERBOSE,
)


def parse_params(text: str) -> dict[str, Any]:
    """Parameters of a head as written on a command line: `C=1.0 max_iter=500, class_weight=balanced`.

    Separated by spaces or commas. A value that is a Python literal (`0.5`, `None`, `True`, `{'cat': 2}`) becomes what
    it denotes, any other a string. Raises UserError for anything else and for a parameter given twice.
    """
    params: dict[str, Any] = {}
    position = 0
    while text[position:].strip():
        found = PARAMETER.match(text, position)
        if found is None:
            raise UserError(
                f"cannot read head parameters at {text[position:].strip()!r}: "
                "write key=value, parted by spaces or commas, such as C=1.0 class_weight=balanced"
            )
        if found["key"] in params:
            raise UserError(f"the head parameter {found['key']} is given twice: keep one")
        position = found.end()
        try:
            params[found["key"]] = ast.literal_eval(found["value"])
        except (ValueError, SyntaxError, RecursionError, MemoryError):  # the last two of thousands of signs in a row
            params[found["key"]] = found["value"]
    return params


def _entry(name: str) -> HeadEntry:
    if name not in HEADS:
        raise UserError(f"unknown head {name!r}: choose one of {', '.join(HEADS)}")
    return HEADS[name]
