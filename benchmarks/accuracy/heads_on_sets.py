"""Accuracy of every head on rows on the four tutorial data sets, as a Markdown table.

    python benchmarks/accuracy/heads_on_sets.py FOLDER --weights FILE

FOLDER holds `alpaca`, `arctic_wildlife`, `cats_dogs` and `flowers`. Sets with their own split are scored on it, the
others by 5-fold cross-validation; every head reads the same cached features.
"""

import argparse
import datetime
import os
import tempfile
from typing import Any

import pipeline
from classify.heads.head_table import HEADS

SETS: dict[str, dict[str, Any]] = {
    "alpaca": {"cv": 5},
    "arctic_wildlife": {},
    "cats_dogs": {"cv": 5, "label_pattern": r"(?P<label>cat|dog)\.\d+\.jpg"},
    "flowers": {},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--size", type=int)
    parser.add_argument("--weights")
    parser.add_argument("--cache-dir", default=".features")
    given = parser.parse_args()
    spec = {"backbone": given.backbone, "size": given.size, "weights": given.weights, "cache_dir": given.cache_dir}
    print(f"{given.backbone}, {datetime.date.today()}: accuracy (seconds of training and scoring, folds included)\n")
    print(f"| head | {' | '.join(SETS)} | mean |")
    print("|---" * (len(SETS) + 2) + "|")
    for head in [name for name, row in HEADS.items() if not row.maps]:
        accuracies, cells = [], []
        for name, options in SETS.items():
            with tempfile.TemporaryDirectory() as models:
                model = os.path.join(models, f"{head}.joblib")
                report = pipeline.train(os.path.join(given.folder, name), head, model=model, **spec, **options)
            accuracies.append(report["cv_accuracy"] or report["accuracy"])
            cells.append(f"{accuracies[-1]:.3f} ({sum(report['stage_seconds'].values()):.1f} s)")
        print(f"| `{head}` | {' | '.join(cells)} | {sum(accuracies) / len(accuracies):.4f} |", flush=True)


if __name__ == "__main__":
    main()
