"""Every head on every cached spec of the same pictures, in the same folds: which of them is worth its time and size?

labelled images -> specs whose rows are all cached -> groups of near-duplicates, folds
    -> each head fitted and scored in each fold -> lines
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np

from cache.errors import UserError
from classify.dataset import dataset_of
from classify.duplicates import announce_duplicates, near_duplicates
from classify.heads import HEADS, make_head
from classify.held_out import Folds, held_out
from classify.labels import LabelledImages
from classify.split import duplicate_groups, enough_groups, folds
from classify.train import groups_needed, told
from classify.view_counts import Views
from featurize.cached import Cached, LeftOut, cached_specs, with_views
from featurize.hashing import Progress
from featurize.meter import Meter, metering
from featurize.options import SpecOptions
from featurize.signatures import signatures_of
from featurize.weights import BLANK

log = logging.getLogger("bottleneck")

FAILURES = (ValueError, ArithmeticError, MemoryError)  # of a head on these data, UserError among them; others are bugs


def compare_heads(
    found: LabelledImages,
    chosen: SpecOptions,
    cache_dir: str,
    heads: Sequence[str] | None = None,
    *,
    count: int = 5,
    search: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Cross-validate `heads`, by default all, on the specs in the cache that have the rows of all pictures of `found`.

    chosen: see `featurize.cached.cached_specs`. Under the data's own split the `count` folds are those of `train`
    alone: what is chosen by the comparison is then still to be scored. `search` tunes a head in each fold among the
    pictures that it is fitted on there, so that no candidate sees those that are scored.

    Returns the report: images, pictures, failures, folds, classes, baseline_accuracy; lines (see
    `classify.held_out.HeldOut.to_json`; head, backbone, features, spec, views), the best first; not_compared (head,
    features, reason: what failed on these data, or finds nothing in the cache); left_out (features, reason);
    forward_passes, those of this comparison, and seconds. Raises UserError where no spec has all
    rows, where the pictures cannot be cut into the folds, and where no head gives a line.
    """
    started = time.perf_counter()
    with metering(Meter()) as meter:
        report = _compared(found, chosen, cache_dir, heads, count, search, seed, progress)
    return report | {"forward_passes": meter.forward_passes, "seconds": time.perf_counter() - started}


def _compared(
    found: LabelledImages,
    chosen: SpecOptions,
    cache_dir: str,
    heads: Sequence[str] | None,
    count: int,
    search: bool,
    seed: int,
    progress: Progress | None,
) -> dict[str, Any]:
    """The report without its cost."""
    asked = [*dict.fromkeys(heads or HEADS)]
    for head in asked:
        make_head(head)  # refuses names that there are not
    pictures = _to_compare(found)
    specs, left_out = cached_specs(cache_dir, pictures.paths, chosen, progress)
    _announce(left_out)
    if not specs:
        raise UserError(
            f"no spec in {cache_dir} has the rows of these {len(pictures.paths)} pictures: `features` computes them, "
            "--cache-dir names another cache"
        )
    plan = _plan(specs[0], pictures, cache_dir, count, search, seed, progress)
    pairs = [(head, cached) for cached in specs for head in asked if HEADS[head].maps == _has_maps(cached)]
    lines, failed = _lines(pairs, pictures, plan, progress)
    not_compared = _without_rows(asked, {head for head, _ in pairs}) + failed
    if not lines:
        raise UserError(f"no head can be compared; the first of {len(not_compared)}: {not_compared[0]['reason']}")
    failures = [*found.failures, *specs[0].extraction.failures]
    labels, counts = np.unique(_labels(specs[0], pictures), return_counts=True)
    return {
        "images": len(pictures.paths) + len(found.failures),
        "pictures": int(counts.sum()),
        "failures": [asdict(failure) for failure in failures],
        "folds": count,
        "seed": seed,
        "search": search,
        "classes": labels.tolist(),
        "baseline_accuracy": float(counts.max() / counts.sum()),
        "lines": lines,
        "not_compared": not_compared,
        "left_out": [asdict(one) for one in left_out],
    }


def _to_compare(found: LabelledImages) -> LabelledImages:
    """The pictures that the folds are made of: all, under the data's own split those of `train`."""
    if not found.has_own_split:
        return found
    chosen = [i for i, part in enumerate(found.parts) if part == "train"]
    log.info("comparing in folds of the train folder: `train` and `evaluate` score what you choose on the others")
    paths, labels = [found.paths[i] for i in chosen], [found.labels[i] for i in chosen]
    return replace(found, paths=paths, labels=labels, parts=["all"] * len(chosen))


def _announce(left_out: list[LeftOut]) -> None:
    for reason in dict.fromkeys(one.reason for one in left_out):
        names = [one.features for one in left_out if one.reason == reason]
        log.info("not compared, %s: %s", reason, ", ".join(names))


def _labels(cached: Cached, pictures: LabelledImages) -> np.ndarray:
    return np.array(pictures.labels, dtype=object)[cached.extraction.succeeded].astype(str)


def _plan(
    cached: Cached,
    pictures: LabelledImages,
    cache_dir: str,
    count: int,
    search: bool,
    seed: int,
    progress: Progress | None,
) -> Folds:
    """The same folds for all specs, which part no near-duplicates."""
    digests, labels = cached.extraction.keys, _labels(cached, pictures)
    paths = [pictures.paths[i] for i in cached.extraction.succeeded]
    exact = duplicate_groups(digests)
    duplicates = near_duplicates(digests, signatures_of(cache_dir, paths, digests, progress))
    announce_duplicates(duplicates, exact, paths)
    groups = enough_groups(labels, duplicates, exact, groups_needed(1 / max(count, 2), count, search))
    return Folds(groups, folds(labels, groups, count, seed), search, seed)


def _has_maps(cached: Cached) -> bool:
    return cached.extractor.spec.pooling == "none"


def _without_rows(asked: list[str], having: set[str]) -> list[dict[str, Any]]:
    """The heads for which the cache has nothing, announced."""
    lines = []
    for head in asked:
        if head not in having:
            reason = "takes rows, and only maps of these pictures are cached: `features` computes rows"
            if HEADS[head].maps:
                reason = f"takes maps, and none of these pictures are cached: `train --head {head}` computes them"
            log.info("not compared, %s: %s", head, reason)
            lines.append({"head": head, "features": None, "reason": reason})
    return lines


def _lines(
    pairs: list[tuple[str, Cached]], pictures: LabelledImages, plan: Folds, progress: Progress | None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The lines of heads on specs, the best first, and those that failed, with the reasons."""
    lines, failed = [], []
    count = len(plan.splits)
    tell = told(progress, "compare")
    for number, (head, cached) in enumerate(pairs):
        fold_done = partial(_shifted, tell, number * count, len(pairs) * count)
        fold_done(0)
        try:
            lines.append(_line(head, cached, pictures, plan, fold_done, told(progress, "search")))
        except FAILURES as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            log.warning("%s on %s: %s", head, cached.features, reason)
            failed.append({"head": head, "features": cached.features, "reason": reason})
    return sorted(lines, key=lambda line: (-line["accuracy"], line["log_loss"])), failed


def _line(
    head: str,
    cached: Cached,
    pictures: LabelledImages,
    plan: Folds,
    fold_done: Callable[[int], None],
    search_told: Callable[[int, int], None],
) -> dict[str, Any]:
    views = Views.of_training(head, None, None, None)
    if views != Views():  # as it is trained by default, if these views are cached
        several = with_views(cached, views.names(max(views.train, views.predict)))
        cached, views = (several, views) if several else (cached, Views())
    if HEADS[head].maps and cached.weights == BLANK:
        raise UserError("the weights of its backbone are not to be found: say with --weights where they are")
    extractor = cached.extractor
    data, _ = dataset_of(extractor, pictures, views, head, 0.0, None)
    if not np.array_equal(data.digests, cached.extraction.keys):
        raise UserError("pictures have changed or gone since the comparison began: run it again")
    record = extractor.record() | {"views": views.to_json()}
    found = held_out(data, head, plan, record, fold_done, search_told)
    spec = extractor.spec
    about = {"head": head, "backbone": spec.backbone, "features": cached.features, "spec": spec.to_json()}
    return about | {"views": views.to_json()} | found.to_json()


def _shifted(tell: Callable[[int, int], None], before: int, total: int, done: int) -> None:
    tell(before + done, total)
