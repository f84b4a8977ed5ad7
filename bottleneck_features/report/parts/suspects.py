"""Pictures whose label may be wrong: a head that was not fitted on a picture is surer of another label.

The rank is the logarithm of the odds between the label given and the best other one, both out of fold: the normalised
margin of Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 70 (2021).
How many labels are wrong is estimated as there. How many planted labels are found, and how many of those that are
called probably wrong are planted: `python benchmarks/accuracy/findings.py FOLDER --weights FILE`.
"""

import numpy as np

from bottleneck_features.report.findings import Rate, Suspect
from classify.data.split import Indices, Split
from classify.heads.calibrated import fit_temperature
from classify.heads.numerics import Floats, probabilities

MOST = 100
SMALLEST = 1e-12  # probability: keeps odds finite
CUT_OFF = 0.05  # a label that is less probable is called probably wrong; others among the suspects are uncertain


def suspects(given: Floats, labels: np.ndarray, classes: list[str], splits: list[Split]) -> list[Suspect]:
    """The pictures whose label is less probable than another, most suspicious first, at most 100.

    given (n, k): probabilities out of fold, columns in the order of `classes`; labels (n,), all of them among
    `classes`; splits: the folds that they are of. The order is that of `given`; what is shown, and held against
    `CUT_OFF`, are the probabilities of `calibrated`.
    """
    codes = _codes(labels, classes)
    everything = np.arange(len(labels))
    others = given.copy()
    others[everything, codes] = -1
    best = others.argmax(axis=1)
    odds = np.log(np.maximum(given[everything, codes], SMALLEST)) - np.log(
        np.maximum(given[everything, best], SMALLEST)
    )
    shown = calibrated(given, codes, splits)
    return [
        Suspect(
            picture=i,
            suggested=classes[best[i]],
            probability=float(shown[i, best[i]]),
            given_probability=float(shown[i, codes[i]]),
            probably_wrong=bool(shown[i, codes[i]] < CUT_OFF),
        )
        for i in np.argsort(odds, kind="stable")[:MOST].tolist()
        if odds[i] < 0
    ]


def wrong_labels(
    given: Floats, labels: np.ndarray, classes: list[str], splits: list[Split], groups: Indices | None = None
) -> Rate | None:
    """How many labels are estimated to be wrong, of the pictures that are judged; None where none is.

    Confident learning counts a picture where another label than its own is at least as probable as that label is on
    average of the pictures that have it. The interval is that of other pictures of the same kind, or of other groups
    where people named some: groups (n,). Labels that the heads themselves get surely wrong are counted, too.
    """
    judged = np.asarray(given.any(axis=1))
    if not judged.any():
        return None
    codes = _codes(labels, classes)
    found = calibrated(given, codes, splits)
    own = np.where(judged, found[np.arange(len(codes)), codes], 0)
    pictures = np.bincount(codes[judged], minlength=len(classes))
    average = np.bincount(codes, weights=own, minlength=len(classes)) / np.maximum(pictures, 1)
    confident = np.where((found >= average) & (pictures > 0) & judged[:, None], found, -1)
    wrong = (confident.max(axis=1) >= 0) & (confident.argmax(axis=1) != codes)
    return Rate.of("labels estimated to be wrong", wrong[judged], None if groups is None else groups[judged])


def calibrated(given: Floats, codes: np.ndarray, splits: list[Split]) -> Floats:
    """Probabilities (n, k) of each fold with the temperature that suits the other folds; rows of zeros stay.

    codes: (n,), the column of the label of each picture.
    """
    decisions = np.log(np.maximum(given, SMALLEST))
    judged = np.flatnonzero(given.any(axis=1))
    found = given.copy()
    for _, test in splits:
        others = np.setdiff1d(judged, test)
        found[test] = probabilities(decisions[test], fit_temperature(decisions[others], codes[others]))
    return found


def _codes(labels: np.ndarray, classes: list[str]) -> np.ndarray:
    code_of = {label: code for code, label in enumerate(classes)}
    return np.array([code_of[label] for label in labels], np.intp)
