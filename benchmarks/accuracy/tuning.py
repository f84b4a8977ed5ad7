"""What was tried for the defaults of fine-tuning, in turns on the same folds, as a Markdown table.

    python benchmarks/accuracy/tuning.py FOLDER --weights FILE

FOLDER holds `alpaca`, `arctic_wildlife`, `cats_dogs` and `flowers`, or those of `--sets`. Of sets with a test folder
that folder is left out. Of the others a fifth is, but `better.py` scores all of their pictures, in folds:
what is chosen by these lines has been chosen on some of what is scored there. Cross-validation in 3 folds; every view
of every picture passes the network once for all lines.
"""

import argparse
import datetime
import os
import tempfile
from typing import Any

import numpy as np
from heads_on_sets import SETS

import pipeline
from classify.data.duplicates import near_duplicates
from classify.data.split import duplicate_groups, enough_groups, folds, holdout
from classify.heads.finetune.finetune_head import FineTuneHead
from classify.labels.read_labels import read_labels
from classify.scoring.metrics import score
from featurize.extract.missing_signatures import signatures_of

VIEWS, FOLDS = 8, 3
AVERAGED = 1, 4, 8  # views in a prediction: all lines are scored with each
LINES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "2 views to train on, 12 epochs": {"views": 2, "epochs": 12, "patience": 6},
    "12 epochs": {"epochs": 12, "patience": 6},
    "40 epochs": {"epochs": 40, "patience": 20},
    "rate 3e-5": {"learning_rate": 3e-5},
    "rate 3e-4": {"learning_rate": 3e-4},
    "start from C=100": {"C": 100.0},
    "batch normalisation learns": {"batch_norm": True},
    "nothing held out": {"validation_fraction": 0.0},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--weights", help="of MobileNetV2 1.0 at 224")
    parser.add_argument("--cuts", nargs="+", default=["block_12_add"])
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--lines", nargs="+", type=int, default=list(range(len(LINES))), help="numbers, from 0")
    given = parser.parse_args()
    print(f"mobilenet_v2, {datetime.date.today()}: accuracy, log loss, both in {FOLDS} folds of training parts\n")
    print(f"| cut | line | averaged | {' | '.join(given.sets)} | mean |\n{'|---' * (len(given.sets) + 4)}|")
    with tempfile.TemporaryDirectory() as cache:
        for cut in given.cuts:
            data = [_training_part(given.folder, name, cut, given.weights, cache) for name in given.sets]
            for line in given.lines:
                name, options = list(LINES.items())[line]
                found = np.array([_cross_validated(*part, **options) for part in data])  # (sets, AVERAGED, 2)
                for averaged, scores in zip(AVERAGED, found.swapaxes(0, 1), strict=True):
                    cells = [f"{accuracy:.4f}, {loss:.3f}" for accuracy, loss in [*scores, scores.mean(axis=0)]]
                    print(f"| {cut} | {name} | {averaged} | {' | '.join(cells)} |", flush=True)


def _training_part(
    folder: str, name: str, cut: str, weights: str | None, cache: str
) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
    """(tail, maps (n, views, h, w, c), labels (n,), groups (n,)) of the pictures that are looked at."""
    found = read_labels(os.path.join(folder, name), **{k: v for k, v in SETS[name].items() if k != "cv"})
    extractor = pipeline.open_extractor(
        cache, weights=weights, layer=cut, pooling="none", stored="float16", views=VIEWS
    )
    outcome, maps = extractor.features(found.paths)
    kept = outcome.succeeded
    labels, parts = np.array(found.labels)[kept], np.array(found.parts)[kept]
    exact = duplicate_groups(outcome.keys)
    signatures = signatures_of(cache, [found.paths[i] for i in kept], outcome.keys)
    groups = enough_groups(labels, near_duplicates(outcome.keys, signatures), exact, FOLDS + 1)
    rows = np.flatnonzero(parts == "train") if "train" in parts else holdout(labels, groups, 0.2, 0)[0]
    return extractor.tail(), maps[rows], labels[rows], groups[rows]


def _cross_validated(
    tail: Any,
    maps: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    views: int = VIEWS,
    **params: Any,
) -> np.ndarray:
    """Mean accuracy and log loss over the folds, for each number of averaged views: (AVERAGED, 2)."""
    scores = np.zeros((len(AVERAGED), 2))
    for train, test in folds(labels, groups, FOLDS, 0):
        head = FineTuneHead(tail, random_state=0, verbose=0, **params)
        head.fit(maps[train][:, :views], labels[train], groups[train])
        counts = [int((labels[train] == name).sum()) for name in head.classes_]
        for number, averaged in enumerate(AVERAGED):
            found = head.predict_proba(maps[test][:, :averaged])
            predicted = head.classes_[found.argmax(axis=1)]
            each = score(labels[test], predicted, found, head.classes_, training_counts=counts)
            scores[number] += each.accuracy / FOLDS, each.log_loss / FOLDS
    return scores


if __name__ == "__main__":
    main()
