"""Pictures whose label is probably wrong: a head that was not fitted on a picture is surer of another label.

The rank is the logarithm of the odds between the label given and the best other one, both out of fold: the normalised
margin of Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 70 (2021).
How many planted labels are found: `python benchmarks/findings.py FOLDER --weights FILE`.
"""

import numpy as np

from classify.numerics import Floats
from report.findings import Suspect

MOST = 100
SMALLEST = 1e-12  # probability: keeps odds finite


def suspects(probabilities: Floats, labels: np.ndarray, classes: list[str]) -> list[Suspect]:
    """The pictures whose label is less probable than another, most suspicious first, at most 100.

    probabilities (n, k): out of fold, columns in the order of `classes`; labels (n,), all of them among `classes`.
    """
    everything = np.arange(len(labels))
    number = {label: place for place, label in enumerate(classes)}
    given = np.array([number[label] for label in labels], np.intp)
    of_given = probabilities[everything, given]
    others = probabilities.copy()
    others[everything, given] = -1
    best = others.argmax(axis=1)
    of_best = others[everything, best]
    odds = np.log(np.maximum(of_given, SMALLEST)) - np.log(np.maximum(of_best, SMALLEST))
    order = [i for i in np.argsort(odds, kind="stable")[:MOST].tolist() if odds[i] < 0]
    return [Suspect(i, classes[best[i]], float(of_best[i]), float(of_given[i])) for i in order]
