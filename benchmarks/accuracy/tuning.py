"""What was tried for the defaults of fine-tuning, in turns on the same folds, as a Markdown table.

    python benchmarks/accuracy/tuning.py FOLDER [--first block6a_project_bn] [--cuts block6c_add block6e_add]

FOLDER holds `alpaca`, `arctic_wildlife`, `cats_dogs` and `flowers`, or those of `--sets`. Of sets with a test folder
that folder is left out. Of the others a fifth is, but `better.py` scores all of their pictures, in folds:
what is chosen by these lines has been chosen on some of what is scored there. Cross-validation in 3 folds. Every view
of every picture passes the network once, up to `--first`, which is cached; maps at the cuts are computed from these.
Results are in docs/fine-tuning-figures.md.

A cell is accuracy, log loss. Seconds are those of the processor, all cores together, for all folds and sets.
"""

import argparse
import datetime
import os
import resource
from dataclasses import replace
from typing import Any

import numpy as np
from heads_on_sets import SETS

import pipeline
from classify.data.duplicates import near_duplicates
from classify.data.split import duplicate_groups, enough_groups, folds, holdout
from classify.heads.finetune.finetune_head import FineTuneHead
from classify.labels.read_labels import read_labels
from classify.scoring.metrics import score
from featurize.backbones.network import output_of, trained_backbone
from featurize.backbones.tail import Tail, pooled_features
from featurize.engines.keras_import import import_keras
from featurize.extract.missing_signatures import signatures_of

VIEWS, FOLDS = 8, 3
AVERAGED = 1, 4, 8  # views in a prediction: all lines are scored with each
LINES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "the start alone": {"epochs": 1, "learning_rate": 1e-9, "validation_fraction": 0.0},
    "float32": {"precision": "float32"},
    "24 epochs, rate 1e-4": {"epochs": 24, "learning_rate": 1e-4},
    "all trained on, 6 epochs, rate 3e-4": {"epochs": 6, "learning_rate": 3e-4, "validation_fraction": 0.0},
    "all trained on, 12 epochs, rate 1e-4": {"epochs": 12, "learning_rate": 1e-4, "validation_fraction": 0.0},
    "all trained on, 12 epochs, rate 3e-4": {"epochs": 12, "learning_rate": 3e-4, "validation_fraction": 0.0},
    "2 views to train on": {"views": 2},
    "start from C=100": {"C": 100.0},
    "batch normalisation learns": {"batch_norm": True},
}

Data = tuple[np.ndarray, np.ndarray, np.ndarray]  # maps (n, views, h, w, c), labels (n,), groups (n,)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--backbone", default="efficientnet_lite2")
    parser.add_argument("--weights")
    parser.add_argument("--first", help="a layer below the cuts, by default the first cut")
    parser.add_argument("--cuts", nargs="+", default=["block6c_add"])
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--lines", nargs="+", type=int, default=list(range(len(LINES))), help="numbers, from 0")
    parser.add_argument("--every", type=int, default=1, help="take every so manyth picture of the sets without a split")
    parser.add_argument("--cache-dir", default=".features")
    given = parser.parse_args()
    print(f"{given.backbone}, {datetime.date.today()}: accuracy, log loss, both in {FOLDS} folds of training parts\n")
    print(f"| cut | line | averaged | {' | '.join(given.sets)} | mean | CPU s |\n{'|---' * (len(given.sets) + 5)}|")
    sets: list[Data] = []
    for name in given.sets:
        tail, data = _training_part(given, name)
        sets.append(data)
    for cut in given.cuts:
        at_cut = [(_maps_above(tail, cut, maps), labels, groups) for maps, labels, groups in sets]
        for line in given.lines:
            name, options = list(LINES.items())[line]
            started = _processor_seconds()
            above = replace(tail, layer=cut)
            found = np.array([_cross_validated(above, *data, options) for data in at_cut])  # (sets, AVERAGED, 2)
            took = _processor_seconds() - started
            for averaged, scores in zip(AVERAGED, found.swapaxes(0, 1), strict=True):
                cells = [f"{accuracy:.4f}, {loss:.3f}" for accuracy, loss in [*scores, scores.mean(axis=0)]]
                print(f"| {cut} | {name} | {averaged} | {' | '.join(cells)} | {took:.0f} |", flush=True)


def _training_part(given: Any, name: str) -> tuple[Tail, Data]:
    """The tail above the layer that is cached, and the pictures that are looked at."""
    found = read_labels(os.path.join(given.folder, name), **{k: v for k, v in SETS[name].items() if k != "cv"})
    every = given.every if "all" in found.parts else 1
    paths, labels, parts = (list(some)[::every] for some in (found.paths, found.labels, found.parts))
    extractor = pipeline.open_extractor(
        given.cache_dir, backbone=given.backbone, weights=given.weights, layer=given.first or given.cuts[0],
        pooling="none", stored="float16", views=VIEWS,
    )  # fmt: skip
    outcome, maps = extractor.features(paths)
    kept = outcome.succeeded
    y, part = np.array(labels)[kept], np.array(parts)[kept]
    exact = duplicate_groups(outcome.keys)
    signatures = signatures_of(given.cache_dir, [paths[i] for i in kept], outcome.keys)
    groups = enough_groups(y, near_duplicates(outcome.keys, signatures), exact, FOLDS + 1)
    rows = np.flatnonzero(part == "train") if "train" in part else holdout(y, groups, 0.2, 0)[0]
    return extractor.tail(), (maps[rows], y[rows], groups[rows])


def _maps_above(tail: Tail, cut: str, maps: np.ndarray) -> np.ndarray:
    """The maps at `cut`, float16, of maps (n, views, h, w, c) at that of `tail`."""
    if cut == tail.layer:
        return maps
    _, layers = trained_backbone(tail.network, tail.weights, tail.size)
    between = import_keras().Model(output_of(layers[tail.layer]), output_of(layers[cut]))
    found = pooled_features(between, maps.reshape(-1, *maps.shape[2:])).astype(np.float16)
    return found.reshape(*maps.shape[:2], *found.shape[1:])


def _cross_validated(
    tail: Tail, maps: np.ndarray, labels: np.ndarray, groups: np.ndarray, options: dict[str, Any]
) -> np.ndarray:
    """Mean accuracy and log loss over the folds, for each number of averaged views: (AVERAGED, 2)."""
    params = {"views": VIEWS} | options
    views = params.pop("views")
    scores = np.zeros((len(AVERAGED), 2))
    for train, test in folds(labels, groups, FOLDS, 0):
        head = FineTuneHead(tail, random_state=0, verbose=0, **params)
        head.fit(maps[train][:, :views], labels[train], groups[train])
        counts = [int((labels[train] == name).sum()) for name in head.classes_]
        each = np.array([head.predict_proba(maps[test][:, view]) for view in range(VIEWS)])
        for number, averaged in enumerate(AVERAGED):
            found = each[:averaged].mean(axis=0)
            predicted = head.classes_[found.argmax(axis=1)]
            scored = score(labels[test], predicted, found, head.classes_, training_counts=counts)
            scores[number] += scored.accuracy / FOLDS, scored.log_loss / FOLDS
    return scores


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
