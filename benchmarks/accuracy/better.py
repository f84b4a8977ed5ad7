"""Frozen, with views, fine-tuned: accuracy on the four tutorial data sets and what it takes, as a Markdown table.

    python benchmarks/accuracy/better.py FOLDER --weights FILE

FOLDER holds `alpaca`, `arctic_wildlife`, `cats_dogs` and `flowers`. Sets with their own split are scored on it, the
others by 5-fold cross-validation. Passes are those through the network, or through its lower part, in the order of the
table: what a line above has computed is cached. Seconds are those of one training and its scores, without passes.
"""

import argparse
import datetime
import os
import tempfile
from typing import Any

from heads_on_sets import SETS

import pipeline

WAYS: dict[str, dict[str, Any]] = {
    "`logreg`": {"head": "logreg"},
    "`logreg`, `VIEWS=4`": {"head": "logreg", "views": 4},
    "`logreg`, `VIEWS=8`, 4 averaged": {"head": "logreg", "views": 8, "predict_views": 4},
    "`finetune`, one view": {"head": "finetune", "views": 1},
    "`finetune`": {"head": "finetune"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--weights", help="of MobileNetV2 1.0 at 224")
    parser.add_argument("--cut", default="block_12_add")
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--ways", nargs="+", type=int, default=list(range(len(WAYS))), help="numbers of lines, from 0")
    given = parser.parse_args()
    print(f"mobilenet_v2, cut {given.cut}, {datetime.date.today()}: accuracy (seconds of a training; passes)\n")
    print(f"| head | {' | '.join(given.sets)} | mean |")
    print("|---" * (len(given.sets) + 2) + "|")
    with tempfile.TemporaryDirectory() as folder:
        for way, options in [list(WAYS.items())[number] for number in given.ways]:
            accuracies, cells = [], []
            for name in given.sets:
                report = pipeline.train(
                    os.path.join(given.folder, name),
                    model=os.path.join(folder, "model.joblib"),
                    weights=given.weights,
                    cache_dir=os.path.join(folder, "cache"),
                    **({"cut": given.cut} if options["head"] == "finetune" else {}),
                    **options,
                    **SETS[name],
                )
                accuracies.append(report["cv_accuracy"] or report["accuracy"])
                seconds = report["stage_seconds"]["train"] + report["stage_seconds"]["score"]
                cells.append(f"{accuracies[-1]:.4f} ({seconds:.1f} s; {report['forward_passes']})")
            print(f"| {way} | {' | '.join(cells)} | {sum(accuracies) / len(accuracies):.4f} |", flush=True)


if __name__ == "__main__":
    main()
