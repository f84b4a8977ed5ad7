"""How often 95% intervals hold the truth at new sites, and how much a split that parts sites flatters: Markdown tables.

    python benchmarks/accuracy/intervals.py [--draws 500] [--splits 50]

Nothing is read: pictures are drawn. A site is what its pictures share, a camera, a patient, a day. Results are in
docs/explanation/intervals.md.
"""

import argparse
import datetime
import warnings
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta

from classify.data.grouping import Grouping
from classify.heads.head_table import fit_head, make_head
from classify.heads.numerics import Floats
from classify.scoring.class_scores import class_scores, share_of
from classify.scoring.intervals import wilson_interval

SHARED = 0.16  # correlation of two answers about one site
RECALLS = np.array([0.95, 0.9, 0.9, 0.85, 0.75])  # of five classes, over all sites
MIX = np.array([0.4, 0.25, 0.2, 0.1, 0.05])  # their shares of the pictures
SCORES = "accuracy", "balanced_accuracy", "macro_f1", "recall", "precision", "f1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=500, help="draws of each line of the first two tables")
    parser.add_argument("--splits", type=int, default=50, help="draws of the last table")
    given = parser.parse_args()
    print(f"{datetime.date.today()}, {given.draws} draws a line\n\naccuracy 0.85, correlation within a site {SHARED}\n")
    print(f"| sites | pictures of each | Wilson, by pictures | percentile bootstrap | what is shown |\n{'|---' * 5}|")
    for sites, size, uneven in [(40, 30, 0), (20, 30, 0), (12, 30, 0), (8, 30, 0), (4, 30, 0), (40, 30, 1), (8, 30, 1)]:
        found = coverage(sites, size, given.draws, uneven=uneven)
        print(f"| {sites} | {size}{', uneven' if uneven else ''} | {cells(found)} |", flush=True)
    print(f"\nfive classes, {' '.join(f'{share:.0%}' for share in MIX)} of the pictures\n")
    print(f"| pictures | {' | '.join(name.replace('_', ' ') for name in SCORES)} |\n{'|---' * 7}|")
    for sites, size in [(40, 30), (8, 30), (300, 1), (60, 1)]:
        found = class_coverage(sites, size, given.draws)
        name = f"{sites} sites of {size}" if size > 1 else f"{sites}, no sites"
        print(f"| {name} | {cells(found)} |", flush=True)
    print(f"\nfeatures shared within a site, logreg, {given.splits} draws\n")
    print(f"| split | accuracy shown | at new sites | flatters by |\n{'|---' * 4}|")
    plain, grouped, truth = flattery(given.splits)
    for name, shown in (("by pictures", plain), ("by sites", grouped)):
        print(f"| {name} | {shown:.3f} | {truth:.3f} | {100 * (shown - truth):+.1f} points |")


def cells(shares: Floats) -> str:
    return " | ".join(f"{share:.1%}" for share in shares)


def coverage(sites: int, size: int, draws: int, mean: float = 0.85, uneven: float = 0.0, seed: int = 0) -> Floats:
    """How many of the intervals hold the mean (3,): Wilson's by pictures, a percentile bootstrap's, and what is shown.

    The share of right answers of a site is drawn from a beta distribution with this mean. uneven: the coefficient of
    variation of the sites' numbers of pictures.
    """
    random, held = np.random.default_rng(seed), []
    for _ in range(draws):
        sizes = site_sizes(random, sites, size, uneven)
        right = random.binomial(sizes, random.beta(*shape_of(mean), sites))
        site = np.repeat(np.arange(sites), sizes)
        drawn = random.multinomial(sites, np.full(sites, 1 / sites), size=1000)
        wrong = np.concatenate([np.arange(of) >= hits for of, hits in zip(sizes, right, strict=True)])
        ends = [
            wilson_interval(int(right.sum()), len(site)),
            np.quantile((drawn @ right) / (drawn @ sizes), [0.025, 0.975]),
            share_of(~wrong, site)[1:],
        ]
        held.append([low <= mean <= high for low, high in ends])
    return np.mean(held, axis=0)


def site_sizes(random: np.random.Generator, sites: int, size: int, uneven: float) -> np.ndarray:
    if not uneven:
        return np.full(sites, size)
    return 1 + random.poisson(random.gamma(1 / uneven**2, (size - 1) * uneven**2, sites))


def shape_of(mean: float | Floats) -> tuple[Floats, Floats]:
    """The parameters of a beta distribution of this mean whose draws make two answers correlate by `SHARED`."""
    both = 1 / SHARED - 1
    return np.multiply(mean, both), np.multiply(1 - np.asarray(mean), both)


def class_coverage(sites: int, size: int, draws: int, seed: int = 0) -> Floats:
    """How many of the intervals of each of `SCORES` hold the truth (6,), of those of classes the mean.

    A site is as difficult for all classes. Wrong answers are as many of each other class. Without sites, size being 1,
    intervals are by pictures.
    """
    k, random = len(MIX), np.random.default_rng(seed)
    answers = np.where(np.eye(k, dtype=bool), RECALLS[:, None], ((1 - RECALLS) / (k - 1))[:, None]) * MIX[:, None]
    precision = np.diag(answers) / answers.sum(axis=0)
    f1 = 2 * np.diag(answers) / (answers.sum(axis=0) + MIX)
    truths = [np.trace(answers), RECALLS.mean(), f1.mean(), RECALLS, precision, f1]
    held = []
    for _ in range(draws):
        site = np.repeat(np.arange(sites), size)
        truth = random.choice(k, len(site), p=MIX)
        recalls = beta.ppf(random.random(sites)[:, None], *shape_of(RECALLS)) if size > 1 else RECALLS[None]
        right = random.random(len(site)) < recalls[site if size > 1 else 0, truth]
        predicted = np.where(right, truth, (truth + random.integers(1, k, len(site))) % k)
        found = class_scores(truth, predicted, k, site if size > 1 else None)
        ends = [getattr(found, name)[1:] for name in SCORES]
        held.append([np.mean((low <= t) & (t <= high)) for (low, high), t in zip(ends, truths, strict=True)])
    return np.mean(held, axis=0)


@dataclass(frozen=True)
class World:
    """Sites whose pictures share part of their features: a picture is its class, its site's own shift, and noise."""

    classes: int = 4
    width: int = 32
    class_spread: float = 0.45
    site_spread: float = 1.0
    noise: float = 0.6

    def draw(self, random: np.random.Generator, means: Floats, sites: int, size: int) -> tuple[Floats, ...]:
        """(rows (n, width) float32, labels (n,), sites (n,)): every site has mostly one class, as sites do."""
        site = np.repeat(np.arange(sites), size)
        usual = np.arange(sites) % self.classes
        labels = np.where(random.random(len(site)) < 0.8, usual[site], random.integers(0, self.classes, len(site)))
        shift = random.normal(0, self.site_spread, (sites, self.width))
        rows = means[labels] + shift[site] + random.normal(0, self.noise, (len(site), self.width))
        return rows.astype(np.float32), np.array([f"class {label}" for label in labels]), site


def flattery(draws: int, sites: int = 40, size: int = 30, world: World | None = None, seed: int = 0) -> Floats:
    """Mean accuracy (3,) that five folds by pictures and five folds by sites show, and that of new sites.

    The truth is measured on 100 new sites, after training on as many pictures as in a fold by sites.
    """
    world, found = world or World(), []
    for draw in range(draws):
        random = np.random.default_rng([seed, draw])
        means = random.normal(0, world.class_spread, (world.classes, world.width))
        rows, labels, site = world.draw(random, means, sites, size)
        each, whole = Grouping(np.arange(len(site))), Grouping(site, named=True)
        new, new_labels, _ = world.draw(random, means, 100, size)
        right: dict[str, list[np.ndarray]] = {"by pictures": [], "by sites": [], "new": []}
        for name, grouping in (("by pictures", each), ("by sites", whole)):
            for train, test in grouping.folds(labels, 5, seed=draw):
                head = fit_head(make_head("logreg"), rows[train], labels[train], grouping.numbers[train])
                right[name].append(head.predict(rows[test]) == labels[test])
                if grouping.named:
                    right["new"].append(head.predict(new) == new_labels)
        found.append([np.concatenate(of).mean() for of in right.values()])
    return np.mean(found, axis=0)


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of solvers that stop early
    main()
