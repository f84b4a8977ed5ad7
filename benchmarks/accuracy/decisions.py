"""Do accepted answers keep their promise, and do label sets hold the truth? Three Markdown tables.

    python benchmarks/accuracy/decisions.py FOLDER

FOLDER holds `alpaca`, `arctic_wildlife`, `cats_dogs` and `flowers`. All pictures of a set are pooled and split at
random 50 times (`--splits`), four fifths to train on. Thresholds and limits come from answers out of 5 folds of these.

First table: over the splits, the share of test pictures that is accepted, that share relative to the most that any
threshold accepts whose bound holds by itself, the same of thresholds that are tested from the strictest down until one
fails, the precision of all accepted ones, the splits that are significantly below the target (binomial test, 5%), those
that are refused, and the coverage and mean size of label sets.

Second table: how often the precision is below the target in truth. Answers are drawn from all answers of a set, which
are then the truth; in the last lines each answer is right with the probability of the target exactly, whatever its
confidence, which is the worst curve.

Third table: sites, whose pictures share a shift of their features. Precision and coverage in truth, on pictures of 300
new sites, where the sites were named and where they were not.
"""

import argparse
import datetime
import os
from dataclasses import dataclass

import numpy as np
from heads_on_sets import SETS

import pipeline
from classify.data.duplicates import near_duplicates
from classify.data.grouping import Grouping
from classify.decisions.lower_bounds import counted
from classify.decisions.prediction_sets import PredictionSets
from classify.decisions.saved_answers import SavedAnswers
from classify.decisions.thresholds import Acceptance, Curve
from classify.heads.head_table import fit_head, make_head
from classify.labels.read_labels import read_labels
from classify.scoring.held_out_answers import HeldOutAnswers
from featurize.extract.missing_signatures import signatures_of

TARGET, COVERAGE = 0.98, 0.9


@dataclass(frozen=True)
class Data:
    """Rows (n, d), labels (n,) and what must not part."""

    rows: np.ndarray
    labels: np.ndarray
    grouping: Grouping


@dataclass(frozen=True)
class Split:
    """Answers out of fold of the training pictures, and those to the test pictures by the head fitted on all."""

    training: HeldOutAnswers
    test: HeldOutAnswers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--cache-dir", default=".features")
    parser.add_argument("--backbone", default="efficientnet_lite2")
    parser.add_argument("--splits", type=int, default=50)
    given = parser.parse_args()
    print(f"{given.backbone}, logreg, {given.splits} splits, {datetime.date.today()}\n")
    header = ["set", "accepted", "of the most", "in sequence", "precision", "below", "refused"]
    header += ["coverage", "size", "empty"]
    print(f"| {' | '.join(header)} |\n{'|---' * len(header)}|")
    splits = {}
    for name in SETS:
        data = read(os.path.join(given.folder, name), name, given)
        splits[name] = [split_of(data, seed) for seed in range(given.splits)]
        print(f"| {name} | {' | '.join(line_of(splits[name]))} |", flush=True)
    print("\n| curve | answers | target | accepted | broken | below by 0.005 |\n|---|---|---|---|---|---|")
    for name in ("alpaca", "flowers"):
        pool = [SavedAnswers.of(split.training) for split in splits[name]]
        confidence = np.concatenate([answers.confidence for answers in pool])
        right = np.concatenate([answers.right for answers in pool])
        for count, target in ((300, 0.95), (500, 0.98), (2000, 0.98), (2000, 0.99)):
            print(
                f"| {name} | {count} | {target} | {' | '.join(broken(confidence, right, count, target))} |", flush=True
            )
    random = np.random.default_rng(0)
    for count in (300, 2000):
        worst = broken(random.random(200_000), random.random(200_000) < TARGET, count, TARGET)
        print(f"| worst | {count} | {TARGET} | {' | '.join(worst)} |", flush=True)
    print("\n| sites | named | target | accepted | broken | refused | coverage |\n|---|---|---|---|---|---|---|")
    for count in (20, 40, 100):
        for named in (True, False):
            print(f"| {count} | {'yes' if named else 'no'} | {' | '.join(at_new_sites(count, named))} |", flush=True)


def read(folder: str, name: str, given: argparse.Namespace) -> Data:
    found = read_labels(folder, **{key: value for key, value in SETS[name].items() if key != "cv"})
    extractor = pipeline.open_extractor(given.cache_dir, backbone=given.backbone)
    outcome, rows = extractor.features(found.paths)
    paths = [found.paths[i] for i in outcome.succeeded]
    signatures = signatures_of(extractor.cache_dir, paths, outcome.keys)
    labels = np.array(found.labels)[outcome.succeeded]
    return Data(np.asarray(rows), labels, Grouping(near_duplicates(outcome.keys, signatures)))


def split_of(data: Data, seed: int) -> Split:
    train, test = data.grouping.holdout(data.labels, 0.2, seed)
    return Split(out_of_fold(data, train, seed), answers_to(data, train, test, seed))


def out_of_fold(data: Data, rows: np.ndarray, seed: int) -> HeldOutAnswers:
    folds = data.grouping.of(rows).folds(data.labels[rows], 5, seed)
    parts = [answers_to(data, rows[train], rows[test], seed) for train, test in folds]
    order = np.argsort(np.concatenate([part.rows for part in parts]))
    columns = ("rows", "parts", "truth", "probabilities", "groups")
    joined = {name: np.concatenate([getattr(part, name) for part in parts])[order] for name in columns}
    return HeldOutAnswers(parts[0].classes, **joined)


def answers_to(data: Data, train: np.ndarray, test: np.ndarray, seed: int) -> HeldOutAnswers:
    groups = data.grouping.numbers
    head = fit_head(make_head("logreg", {}, seed), data.rows[train], data.labels[train], groups[train])
    truth = np.searchsorted(head.classes_, data.labels[test])
    classes, parts = [str(name) for name in head.classes_], np.full(len(test), "held out")
    return HeldOutAnswers(classes, test, parts, truth, head.predict_proba(data.rows[test]), groups[test])


def line_of(splits: list[Split]) -> list[str]:
    from scipy.stats import binom

    shares, most, sequence, covered = [], [], [], []
    right, accepted, below, refused = 0, 0, 0, 0
    for split in splits:
        kept, test = SavedAnswers.of(split.training), split.test
        acceptance = Acceptance.of(kept, test.classes, TARGET)
        taken = acceptance.accepts(test.predicted, test.confidence)
        shares.append(taken.mean())
        most.append((test.confidence >= lowest(acceptance)[test.predicted]).mean())
        sequence.append((test.confidence >= lowest(acceptance, in_sequence=True)[test.predicted]).mean())
        hits, number = int(test.right[taken].sum()), int(taken.sum())
        right, accepted = right + hits, accepted + number
        below += bool(number) and binom.cdf(hits, number, TARGET) < 0.05
        refused += acceptance.refused is not None
        sets = PredictionSets.of(kept, len(test.classes), COVERAGE)
        inside = sets.members(test.probabilities)
        covered.append([*sets.measured(test.probabilities, test.truth).values(), (inside.sum(axis=1) == 0).sum()])
    _, coverage, size, empty = np.mean(covered, axis=0)
    n = len(splits)
    of_most = (f"{np.mean(each) / np.mean(most):.3f}" if any(most) else "-" for each in (shares, sequence))
    numbers = f"{np.mean(shares):.3f}", *of_most, f"{right / accepted:.4f}" if accepted else "-"
    return [*numbers, f"{below} of {n}", f"{refused} of {n}", f"{coverage:.3f}", f"{size:.2f}", f"{empty:.0f}"]


def lowest(acceptance: Acceptance, in_sequence: bool = False) -> np.ndarray:
    """The lowest threshold of each class whose bound holds by itself, of all that there are.

    in_sequence: of those alone before the first failure, from the strictest that can hold.
    """
    answers, codes = acceptance.answers, range(len(acceptance.classes))
    of = [answers.predicted == code if acceptance.by_class else answers.predicted >= 0 for code in codes]
    found = []
    for chosen in map(answers.chosen, of):
        order = np.argsort(-chosen.confidence)
        sure = chosen.confidence[order]
        ends = np.append(sure[1:] < sure[:-1], True).nonzero()[0] + 1
        found_right = counted(chosen.right[order], chosen.groups[order], ends)
        holds = found_right.lower() >= acceptance.target
        if in_sequence:
            possible = found_right.independent >= acceptance.needed
            holds[possible] = np.logical_and.accumulate(holds[possible])
        found.append(sure[ends[holds][-1] - 1] if holds.any() else np.inf)
    return np.array(found)


def broken(confidence: np.ndarray, right: np.ndarray, count: int, target: float, draws: int = 1000) -> list[str]:
    """Accepted share, and how often the precision among all these answers is below `target`, and by 0.005."""
    random = np.random.default_rng(0)
    shares, precisions = [], []
    for _ in range(draws):
        drawn = random.integers(len(confidence), size=count)
        each = np.arange(count)
        truth = np.where(right[drawn], 0, 1)
        held = SavedAnswers(confidence[drawn], confidence[drawn], np.zeros_like(truth), truth, each, each)
        taken = confidence >= Curve.of(held).threshold(target)
        shares.append(taken.mean())
        precisions.append(right[taken].mean() if taken.any() else 1.0)
    below, far = np.mean(np.array(precisions) < target), np.mean(np.array(precisions) < target - 0.005)
    return [f"{np.mean(shares):.3f}", f"{below:.3f}", f"{far:.3f}"]


def at_new_sites(count: int, named: bool, draws: int = 100, target: float = 0.95) -> list[str]:
    """Accepted share, how often precision at new sites is below `target`, refusals, and the coverage of sets there."""
    shares, below, refused, covered = [], [], 0, []
    for draw in range(draws):
        random = np.random.default_rng(draw)
        means = random.normal(size=(3, 16))
        rows, labels, sites = pictures_of_sites(random, means, count, 30)
        groups = sites if named else np.arange(len(sites))
        data = Data(rows, labels, Grouping(groups, named))
        kept = SavedAnswers.of(out_of_fold(data, np.arange(len(rows)), draw))
        new_rows, truth, _ = pictures_of_sites(random, means, 300, 30)
        head = fit_head(make_head("logreg", {}, draw), rows, labels, groups)
        probabilities = head.predict_proba(new_rows)
        acceptance = Acceptance.of(kept, ["0", "1", "2"], target)
        predicted = probabilities.argmax(axis=1)
        taken = acceptance.accepts(predicted, probabilities.max(axis=1))
        shares.append(taken.mean())
        refused += acceptance.refused is not None
        below.append(taken.any() and (predicted == truth)[taken].mean() < target)
        sets = PredictionSets.of(kept, 3, COVERAGE)
        covered.append(sets.measured(probabilities, truth)["coverage"])
    return [
        f"{target}",
        f"{np.mean(shares):.3f}",
        f"{np.mean(below):.2f}",
        f"{refused / draws:.2f}",
        f"{np.mean(covered):.3f}",
    ]


def pictures_of_sites(
    random: np.random.Generator, means: np.ndarray, sites: int, each: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows (n, 16) float32, labels (n,) and sites (n,): class, a shift that a site's pictures share, and noise."""
    site = np.repeat(np.arange(sites), each)
    labels = random.integers(3, size=len(site))
    shifts = 1.2 * random.normal(size=(sites, 16))
    rows = means[labels] + shifts[site] + 0.6 * random.normal(size=(len(site), 16))
    return rows.astype(np.float32), labels, site


if __name__ == "__main__":
    main()
