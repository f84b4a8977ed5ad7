"""Every head on every cached spec of the same pictures, in the same folds: which of them is worth its time and size?

labelled images -> specs whose rows are all cached -> groups of near-duplicates, folds
    -> each head fitted and scored in each fold -> lines
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import groupby, islice
from typing import Any

import numpy as np

from cache.errors import UserError, log
from classify.comparison.compare_answers import write_answers
from classify.comparison.score_difference import Scorable, score_differences
from classify.data.dataset import Dataset, announce_lost_classes, dataset_of
from classify.data.duplicates import announce_duplicates, near_duplicates
from classify.data.grouping import Grouping, together
from classify.data.single_pictures import without_single
from classify.data.split import duplicate_groups
from classify.data.view_counts import Views
from classify.heads.head_table import HEADS, make_head
from classify.labels.group_record import groups_to_json
from classify.labels.label_options import DEFAULT_SCORING
from classify.labels.read_labels import LabelledImages
from classify.plan_options import Plan
from classify.scoring.metrics import uneven
from classify.scoring.out_of_fold import CrossValidation, FittedFold, Folds, HeldOut, fit_fold, held_out
from classify.scoring.parallel_folds import LOCKED, in_parallel, in_threads, jobs_for
from classify.scoring.scorers import Scoring, announce_unused, check_scoring
from classify.scoring.two_classes import check_positive
from classify.training_parts import groups_needed
from featurize.backbones.weights import BLANK
from featurize.extract.cached_specs import Cached, LeftOut, cached_specs, with_views
from featurize.extract.missing_signatures import signatures_of
from featurize.extract.outcome import Progress, stage_progress
from featurize.spec_options import SpecOptions

# What a line is of: head, backbone, features, spec, views, forward_passes; and what was found.
Line = tuple[dict[str, Any], HeldOut]
# The rows of a spec, what its lines say of them, and what a model's record does.
Opened = tuple[Dataset, dict[str, Any], dict[str, Any]]
ORDER = "accuracy"  # by which the lines are sorted by default
FAILURES = (ValueError, ArithmeticError, MemoryError)  # of a head on these data, also UserError; others are bugs


def compare_heads(
    found: LabelledImages,
    chosen: SpecOptions,
    cache_dir: str,
    heads: Sequence[str] | None = None,
    progress: Progress | None = None,
    *,
    folds: int = 5,
    search: bool = False,
    seed: int = 0,
    scoring: str | None = None,
    positive: str | None = None,
    n_jobs: int | None = None,
    answers: str | None = None,
) -> dict[str, Any]:
    """Cross-validate `heads`, by default all, on the specs in the cache that have the rows of all pictures of `found`.

    chosen: see `featurize.extract.cached_specs.cached_specs`. Under the data's own split the `folds` are those of
    `train` alone: what is chosen by the comparison is then still to be scored. `search` tunes a head in each fold among
    the pictures that it is fitted on there, so that no candidate sees those that are scored. scoring: a scorer of
    scikit-learn that the search goes by, and the order of the lines; by default the search goes by the log loss, and
    the lines by accuracy. positive: the class of two that `scoring` is of, such as f1. Lines that are equal then are in
    the order of their log loss. n_jobs: how many folds run at once, by default one a core. answers: folder for the
    held-out answers of each line, HEAD-FEATURES.predictions.csv.

    Returns the report: images, pictures, failures, folds, classes, baseline_accuracy, uneven (see
    `classify.scoring.metrics.uneven`), scoring (of the search), order (what the lines go by), positive; lines, the best
    first (see `classify.scoring.out_of_fold.HeldOut.to_json`; head, backbone, features, spec, views, score by `order`,
    difference and difference_interval: the score minus that of the first line on the same pictures, with its 95%
    interval, and that in words, see `classify.comparison.score_difference`); not_compared (head, features, reason: what
    failed on these data, or finds nothing in the cache); left_out (features, reason); forward_passes, those of this
    comparison, and seconds. Raises UserError where no spec has all rows, where the pictures cannot be cut into the
    folds, and where no head gives a line.
    """
    started = time.perf_counter()
    requested = [*dict.fromkeys(heads or HEADS)]
    for head in requested:
        make_head(head)  # refuses names that there are not
    pictures = without_single(_to_compare(found), in_folds=True)
    check_positive(pictures.labels, positive, None)
    check_scoring(order := scoring or ORDER, pictures.labels, positive=positive)
    announce_unused(positive, order)
    ordering = Scoring.of(order, positive)
    specs, left_out = cached_specs(cache_dir, pictures.paths, chosen, progress)
    _announce(left_out)
    if not specs:
        raise UserError(
            f"no spec in {cache_dir} has the rows of these {len(pictures.paths)} pictures: `features` computes them, "
            "--cache-dir names another cache"
        )
    succeeded, digests = specs[0].outcome.succeeded, specs[0].outcome.keys
    labels, paths = (np.array(values, dtype=object)[succeeded] for values in (pictures.labels, pictures.paths))
    labels = labels.astype(str)
    announce_lost_classes(pictures.labels, labels)
    exact = duplicate_groups(digests)
    duplicates = near_duplicates(digests, signatures_of(cache_dir, paths.tolist(), digests, progress))
    announce_duplicates(duplicates, exact, paths.tolist())
    names = None if pictures.groups is None else np.array(pictures.groups, dtype=object)[succeeded].astype(str)
    needed = groups_needed(Plan(test_size=1 / max(folds, 2), cv=folds, search=search))
    groups = together(labels, duplicates, exact, names, needed)
    # The same folds for all specs, which part no near-duplicates.
    plan = Folds(
        groups, groups.folds(labels, folds, seed), search, seed, ordering if scoring else DEFAULT_SCORING, n_jobs
    )
    pairs = [
        (head, cached)
        for cached in specs
        for head in requested
        if HEADS[head].maps == (cached.extractor.spec.pooling == "none")
    ]
    found_lines, failed = _lines(pairs, pictures, plan, progress)
    not_compared = _without_rows(requested, {head for head, _ in pairs}) + failed
    if not found_lines:
        raise UserError(f"no head can be compared; the first of {len(not_compared)}: {not_compared[0]['reason']}")
    if answers:
        write_answers(answers, [(_file_name(about), one.answers) for about, one in found_lines], paths.tolist())
    failures = [*found.failures, *specs[0].outcome.failures]
    classes, counts = np.unique(labels, return_counts=True)
    return {
        "images": len(pictures.paths) + len(found.failures),
        "pictures": int(counts.sum()),
        "failures": [asdict(failure) for failure in failures],
        "folds": folds,
        "seed": seed,
        "search": search,
        "scoring": str(plan.scoring),
        "order": order,
        "positive": positive,
        "groups": groups_to_json(pictures),
        "classes": classes.tolist(),
        "baseline_accuracy": float(counts.max() / counts.sum()),
        "uneven": uneven(counts),
        "lines": _ranked(found_lines, groups, ordering),
        "not_compared": not_compared,
        "left_out": [asdict(one) for one in left_out],
        "forward_passes": sum(about["forward_passes"] for about, _ in found_lines),
        "seconds": time.perf_counter() - started,
    }


def _file_name(about: dict[str, Any]) -> str:
    """What the answers of a line are called: its head and its features."""
    return f"{about['head']}-{about['features'].replace(' + ', '+')}"


def _to_compare(found: LabelledImages) -> LabelledImages:
    """The pictures that the folds are made of: all, under the data's own split those of `train`."""
    if not found.has_own_split:
        return found
    chosen = [i for i, part in enumerate(found.parts) if part == "train"]
    log.info("comparing in folds of the train folder: `train` and `evaluate` score what you choose on the others")
    return replace(found.of(chosen), parts=["all"] * len(chosen), left_out=found.left_out)


def _announce(left_out: list[LeftOut]) -> None:
    for reason in dict.fromkeys(one.reason for one in left_out):
        names = [one.features for one in left_out if one.reason == reason]
        log.info("not compared, %s: %s", reason, ", ".join(names))


def _without_rows(requested: list[str], having: set[str]) -> list[dict[str, Any]]:
    """The heads for which the cache has nothing, announced."""
    lines = []
    for head in requested:
        if head not in having:
            reason = "takes rows, and only maps of these pictures are cached: `features` computes rows"
            if HEADS[head].maps:
                reason = f"takes maps, and none of these pictures are cached: `train --head {head}` computes them"
            log.info("not compared, %s: %s", head, reason)
            lines.append({"head": head, "features": None, "reason": reason})
    return lines


def _lines(
    pairs: list[tuple[str, Cached]], pictures: LabelledImages, plan: Folds, progress: Progress | None
) -> tuple[list[Line], list[dict[str, Any]]]:
    """The lines of heads on specs, and those that failed, with the reasons."""
    lines, failed, done = [], [], 0
    fits = len(pairs) * len(plan.splits)
    tell = stage_progress(progress, "compare")
    for (features, _), group in groupby(pairs, key=lambda pair: (pair[1].features, HEADS[pair[0]].views)):
        heads, specs = zip(*group, strict=True)
        for some, opened in _opened(heads, specs[0], pictures):
            before = done

            def fold_done(count: int, before: int = before) -> None:
                tell(before + count, fits)

            fold_done(0)
            for head, line in zip(some, _side_by_side(some, opened, plan, progress, fold_done), strict=True):
                if isinstance(line, Exception):
                    reason = " ".join(str(line).split()) or type(line).__name__
                    log.warning("%s on %s: %s", head, features, reason)
                    failed.append({"head": head, "features": features, "reason": reason})
                else:
                    lines.append(line)
            done += len(some) * len(plan.splits)
    return lines, failed


def _ranked(lines: list[Line], groups: Grouping, order: str | Scoring) -> list[dict[str, Any]]:
    """The lines by their scores, the best first, each with its difference to that one on the same pictures.

    A line whose score is not defined is the last, its score None.
    """
    scorable = [Scorable.of(found.answers) for _, found in lines]
    scores = [one.score(order) for one in scorable]
    sortable = np.where(np.isfinite(scores), scores, -np.inf)
    ranks = sorted(range(len(lines)), key=lambda number: (-sortable[number], lines[number][1].scores.log_loss))
    of_answers = groups.numbers[lines[0][1].answers.rows]
    ranked_answers = [scorable[number] for number in ranks]
    differences = score_differences(order, ranked_answers, ranked_answers[0], of_answers, groups.named)
    ranked = []
    for number, difference in zip(ranks, differences, strict=True):
        about, found = lines[number]
        score = scores[number] if np.isfinite(scores[number]) else None
        ranked.append(about | found.to_json() | {"score": score} | difference.to_json())
    return ranked


def _side_by_side(
    heads: Sequence[str],
    opened: Opened | Exception,
    plan: Folds,
    progress: Progress | None,
    fold_done: Callable[[int], None],
) -> Iterator[Line | Exception]:
    """The line of each head on the same rows, or why there is none; the folds of all heads run side by side."""
    if isinstance(opened, Exception):
        yield from [opened] * len(heads)
        return
    data, about, record = opened
    silent = {"verbose": 0} if HEADS[heads[0]].maps else {}  # a line an epoch is too much of so many fits
    # One that holds Python's lock leaves the other core to a head that does not.
    asked = [head for head in heads if head not in LOCKED] or heads
    jobs = min(jobs_for(head, silent, data.features, data.labels, plan.n_jobs) for head in asked)
    tasks = [(head, number) for head in heads for number in range(len(plan.splits))]
    attempt = partial(_attempt, data, silent, plan, progress if in_threads() else None)
    results = enumerate(in_parallel(attempt, tasks, jobs), start=1)
    for head in heads:
        folds = []
        for done, fold in islice(results, len(plan.splits)):
            fold_done(done)
            folds.append(fold)
        line = _scored(folds, data, head, plan, record)
        yield line if isinstance(line, Exception) else ({"head": head, **about}, line)
        about = about | {"forward_passes": 0}  # the first head has counted them


def _attempt(
    data: Dataset, params: dict[str, Any], plan: Folds, progress: Progress | None, task: tuple[str, int]
) -> FittedFold | Exception:
    head, number = task
    try:
        return fit_fold(data, head, params, plan, progress, number)
    except FAILURES as error:
        return error


def _scored(
    folds: list[FittedFold | Exception], data: Dataset, head: str, plan: Folds, record: dict[str, Any]
) -> HeldOut | Exception:
    fitted = [fold for fold in folds if not isinstance(fold, Exception)]
    try:
        for fold in folds:
            if isinstance(fold, Exception):
                raise fold
        return held_out(CrossValidation.of(fitted), data, head, plan, record)
    except FAILURES as error:
        return error


def _opened(
    heads: Sequence[str], cached: Cached, pictures: LabelledImages
) -> Iterator[tuple[Sequence[str], Opened | Exception]]:
    """Heads and their rows of a spec, read once for all where they fit into memory with the head that takes most."""
    most = max(heads, key=lambda head: HEADS[head].copies)
    opened = _opened_for(most, cached, pictures)
    if not isinstance(opened, Exception) and isinstance(opened[0].features, np.ndarray):
        yield heads, opened
        return
    for head in heads:
        yield [head], opened if head == most else _opened_for(head, cached, pictures)


def _opened_for(head: str, cached: Cached, pictures: LabelledImages) -> Opened | Exception:
    """In the views that `head` is trained on, or why it cannot be."""
    try:
        return _open(head, cached, pictures)
    except FAILURES as error:
        return error


def _open(head: str, cached: Cached, pictures: LabelledImages) -> Opened:
    views = Views.of_training(head, None, None, None)
    if views != Views():  # as it is trained by default, if these views are cached
        several = with_views(cached, views.names(max(views.train, views.predict)))
        cached, views = (several, views) if several else (cached, Views())
    if HEADS[head].maps and cached.weights == BLANK:
        raise UserError("the weights of its backbone are not to be found: say with --weights where they are")
    extractor, spec = cached.extractor, cached.extractor.spec
    data, report = dataset_of(extractor, pictures, views, head, 0.0, None, announce=False)
    if not np.array_equal(data.digests, cached.outcome.keys):
        raise UserError("pictures have changed or gone since the comparison began: run it again")
    about = {"backbone": spec.backbone, "features": cached.features, "spec": spec.to_json(), "views": views.to_json()}
    record = extractor.record() | {"views": views.to_json()}
    return data, about | {"forward_passes": report["forward_passes"]}, record
