"""What scores, intervals, thresholds and label sets cost beyond the training itself.

    python benchmarks/cost/beyond_training.py [--rows 20000] [--features 1280] [--classes 20] [--sites 200]

Made-up rows: the mean of a class, a shift of the site, and noise. One training as `train --group-column site --accept
0.98 --coverage 0.9` has it, near-duplicates left out, which are found before. Printed are the seconds of each stage,
and of all but the fit of the head itself.
"""

import argparse
import datetime
import hashlib
import time

import numpy as np

from classify.data.dataset import Dataset
from classify.train import train_head
from featurize.machine.parallel import THREADS


def made_up(rows: int, features: int, classes: int, sites: int) -> Dataset:
    """Rows of so many classes at so many sites."""
    random = np.random.default_rng(0)
    label, site = random.integers(classes, size=rows), random.integers(sites, size=rows)
    middle = random.standard_normal((classes, features)).astype(np.float32)
    shift = random.standard_normal((sites, features)).astype(np.float32)
    values = random.standard_normal((rows, features), dtype=np.float32) * 3 + middle[label] + shift[site]
    digests = [hashlib.sha256(str(number).encode()).digest() for number in range(rows)]
    return Dataset(
        features=values,
        labels=np.array([f"class {number:02}" for number in label]),
        parts=np.full(rows, "all"),
        digests=np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32),
        paths=[f"{number}.jpg" for number in range(rows)],
        groups=np.array([f"site {number:03}" for number in site]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, count in (("rows", 20_000), ("features", 1280), ("classes", 20), ("sites", 200)):
        parser.add_argument(f"--{name}", type=int, default=count)
    parser.add_argument("--head", default="logreg")
    given = parser.parse_args()
    data = made_up(given.rows, given.features, given.classes, given.sites)
    start = time.perf_counter()
    training = train_head(data, given.head, {}, accept=0.98, coverage=0.9)
    report = training.report()
    whole = time.perf_counter() - start
    print(f"{datetime.date.today()}, {given.rows} x {given.features}, {given.classes} classes, {given.sites} sites")
    print(f"{given.head}, {THREADS} cores, accuracy {report['accuracy']:.3f}\n")
    print("\n".join(f"{stage:18} {seconds:7.1f} s" for stage, seconds in training.seconds.items()))
    print(f"{'all':18} {whole:7.1f} s\nbeyond the training {whole - training.seconds['train']:6.1f} s")


if __name__ == "__main__":
    main()
