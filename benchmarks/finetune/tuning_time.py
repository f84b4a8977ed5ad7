"""Seconds of one warm fine-tuning, and how many cores it uses.

    python benchmarks/finetune/tuning_time.py FOLDER [--cut LAYER] [--beside CHECKOUT]

FOLDER is labelled pictures, such as `flowers`, whose `train` has 500. The maps are computed first; then every training
is a process of its own: its start, the import of TensorFlow, both runs, scores and saving are in the time.
`--beside` trains with the code of another checkout of this repository as well, in turns, from the same cache.
Cores are seconds of the processor a second; what other programs do meanwhile lowers them.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile

TRAIN = """
import json, resource, sys, time
started = time.perf_counter()
import pipeline
folder, cache, model, backbone, cut, params = sys.argv[1:]
options = ({"cut": cut} if cut else {}) | {"head_params": json.loads(params)}
report = pipeline.train(folder, "finetune", backbone=backbone, cache_dir=cache, model=model, **options)
seconds = time.perf_counter() - started
used = resource.getrusage(resource.RUSAGE_SELF)
processor = used.ru_utime + used.ru_stime
epochs = len(report["history"]["loss"])
print(json.dumps([seconds, processor, epochs, report["accuracy"], report["log_loss"], report["forward_passes"]]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--backbone", default="efficientnet_lite2")
    parser.add_argument("--cut", default="")
    parser.add_argument("--params", default="{}", help="parameters of the head, as JSON")
    parser.add_argument("--cache-dir", help="one that has the maps already, else a new one")
    parser.add_argument("--beside", help="another checkout of this repository")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    checkouts = [here] + ([os.path.abspath(given.beside)] if given.beside else [])
    print(f"{given.backbone}, {os.path.basename(given.folder)}, {datetime.date.today()}, {os.cpu_count()} cores\n")
    print("| code | round | s | processor s | cores | epochs of the first run | accuracy, log loss |")
    print("|---" * 7 + "|")
    with tempfile.TemporaryDirectory() as folder:
        arguments = (
            os.path.abspath(given.folder), os.path.abspath(given.cache_dir or os.path.join(folder, "cache")),
            os.path.join(folder, "model.joblib"), given.backbone, given.cut,
        )  # fmt: skip
        trained(here, *arguments, json.dumps({"epochs": 1, "validation_fraction": 0}))  # computes the maps
        for turn in range(given.rounds):
            for checkout in checkouts:
                seconds, processor, epochs, accuracy, loss, passes = trained(checkout, *arguments, given.params)
                assert passes == 0, "not warm"
                cells = f"{seconds:.0f} | {processor:.0f} | {processor / seconds:.2f} | {epochs}"
                print(f"| {checkout} | {turn + 1} | {cells} | {accuracy:.3f}, {loss:.3f} |", flush=True)


def trained(checkout: str, *arguments: str) -> list[float]:
    """What `TRAIN` prints, run with the code of a checkout."""
    environment = os.environ | {"PYTHONPATH": checkout}
    run = subprocess.run(
        [sys.executable, "-c", TRAIN, *arguments], env=environment, cwd=checkout, stdout=subprocess.PIPE, check=True
    )
    found: list[float] = json.loads(run.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
