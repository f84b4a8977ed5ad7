"""Choose the cut of a backbone for fine-tuning, by the disk and memory that its maps take, and by a short trial."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

import featurize.machine.memory
from cache.errors import UserError, log
from cache.files.disk_space import free_bytes, readable
from classify.data.duplicates import near_duplicates
from classify.data.grouping import together
from classify.data.split import Indices, paired
from classify.heads.finetune.finetune_head import FineTuneHead
from classify.heads.finetune.linear_start import DEFAULT_C
from classify.labels.read_labels import LabelledImages
from featurize.backbones.cuts import MEASURED, Cut, candidate_cuts
from featurize.backbones.tail import Tail
from featurize.extract.missing_signatures import signatures_of
from featurize.extract.network_extractor import NetworkExtractor
from featurize.extract.outcome import Progress
from featurize.extract.writable import open_table
from featurize.resolve import Resolved, resolve
from featurize.spec_options import DEFAULT_BACKBONE, SpecOptions

AUTO = "auto"
PICTURES = 240  # of a trial, at most
EPOCHS = 4
DISK, MEMORY = 0.25, 0.33  # shares of what is free that the maps of all pictures may take


def spec_at_cut(
    spec: SpecOptions,
    cut: str | None,
    found: LabelledImages,
    cache_dir: str,
    seed: int,
    progress: Progress | None = None,
) -> SpecOptions:
    """The options of the maps at `cut`, or at the layer of `spec`; else at the one that was measured for the backbone.

    Where there is none, and for "auto", a cut is chosen by a trial. The trial sees no picture of the data's own test
    part. Without one it may see pictures that are scored afterwards.
    """
    spec = {**spec, "pooling": "none", "stored": spec.get("stored", "float16")}
    measured = MEASURED.get(spec.get("backbone", DEFAULT_BACKBONE), AUTO)
    cut = cut or spec.get("layer") or measured
    if cut == AUTO:
        resolved = resolve(open_table(cache_dir), **(spec | {"layer": None}))
        if "all" in found.parts:
            log.info("the trial for a cut may see pictures that are scored afterwards; --cut NAME rules that out")
        usable = [i for i, part in enumerate(found.parts) if part in ("all", "train")]
        names = None if found.groups is None else [found.groups[i] for i in usable]
        paths, labels = [found.paths[i] for i in usable], [found.labels[i] for i in usable]
        cut = choose_cut(resolved, paths, labels, cache_dir, seed, progress, names)
    return {**spec, "layer": cut}


def choose_cut(
    resolved: Resolved,
    pictures: Sequence[str],
    labels: Sequence[str],
    cache_dir: str,
    seed: int,
    progress: Progress | None = None,
    names: Sequence[str] | None = None,
) -> str:
    """The layer of the backbone that `resolved` names to cut at, for fine-tuning on `pictures` with `labels`.

    names: of each picture the group that people named, which the trial does not part; None where nobody did.

    Each of some cuts whose maps fit is tried: trained for a few epochs on two thirds of a sample of the pictures, and
    scored by its log loss on the others. The latest is taken unless the loss of an earlier one is clearly lower. The
    maps of the sample are cached, so that those of the cut that is taken are not computed again. Raises UserError where
    no cut fits.
    """
    views = len(resolved.views)
    most = min(DISK * free_bytes(cache_dir), MEMORY * featurize.machine.memory.free_memory()) / (views * len(pictures))
    cuts = candidate_cuts(resolved, most)
    if not cuts:
        raise UserError(
            f"no place to cut {resolved.network} was found whose maps take less than {readable(most)} a view: "
            "name one with --cut (LAYER=), or take fewer views"
        )
    several = _several(np.asarray(labels), np.arange(len(labels)))
    sample = several[_sample(np.asarray(labels)[several], seed)]
    log.info("choosing a cut by a trial on %d pictures; --cut NAME spares it", len(sample))
    chosen, best = cuts[0], None
    for cut in cuts:
        of_sample = None if names is None else np.asarray(names)[sample]
        shown, of_class = [pictures[i] for i in sample], np.asarray(labels)[sample]
        losses = _trial(cut, resolved, shown, of_class, of_sample, cache_dir, seed, progress)
        log.info(
            "cut %s: %s for all pictures, %.0f%% of the network above it, log loss %.3f",
            cut.layer,
            readable(cut.row_bytes * views * len(pictures)),
            100 * cut.share_above,
            losses.mean(),
        )
        if best is None or _clearly_lower(losses, best):
            chosen, best = cut, losses
    log.info("cut: %s", chosen.layer)
    return chosen.layer


def _clearly_lower(losses: np.ndarray, others: np.ndarray) -> bool:
    """Whether losses (n,) of some pictures are lower than other losses of the same, by more than a standard error."""
    difference = others - losses
    return bool(difference.mean() > difference.std(ddof=1) / np.sqrt(len(difference)))


def _several(labels: np.ndarray, groups: Indices) -> Indices:
    """Indices of the pictures whose classes have two different ones or more. Raises UserError without two classes."""
    usable = np.flatnonzero(paired(labels, groups))
    if len(np.unique(labels[usable])) < 2:
        raise UserError(
            "a trial of cuts needs two classes with 2 different pictures each: add pictures, or name a cut with --cut"
        )
    return usable


def _sample(labels: np.ndarray, seed: int) -> np.ndarray:
    """Indices of at most `PICTURES` pictures, of every class in proportion, but 3 at least."""
    random = np.random.default_rng(seed)
    share = min(1.0, PICTURES / len(labels))
    members = [random.permutation(np.flatnonzero(labels == name)) for name in np.unique(labels)]
    return np.sort(np.concatenate([some[: max(3, round(share * len(some)))] for some in members]))


def _trial(
    cut: Cut,
    resolved: Resolved,
    pictures: list[str],
    labels: np.ndarray,
    names: np.ndarray | None,
    cache_dir: str,
    seed: int,
    progress: Progress | None,
) -> np.ndarray:
    """The log loss (m,) of each picture that was held out."""
    spec = replace(resolved.spec, layer=cut.layer, pooling="none")
    extractor = NetworkExtractor.open(replace(resolved, spec=spec, views=resolved.views[:1]), cache_dir)
    outcome, maps = extractor.features(pictures, progress)
    if not len(maps):
        first = outcome.failures[0]
        raise UserError(f"no picture can be used for a trial of cuts, the first is {first.path}: {first.reason}")
    labels, kept = labels[outcome.succeeded], [pictures[i] for i in outcome.succeeded]
    duplicates = near_duplicates(outcome.keys, signatures_of(cache_dir, kept, outcome.keys, progress))
    names = None if names is None else names[outcome.succeeded]
    grouping = together(labels, duplicates, np.arange(len(labels)), names, 2)
    usable = _several(labels, np.arange(len(labels)) if grouping.named else grouping.numbers)
    labels, grouping, maps = labels[usable], grouping.of(usable), maps[usable]
    if not (
        splits := [grouping.holdout(labels, 1 / 3, seed)]
        if not grouping.named
        else grouping.inner_folds(labels, 3, seed)
    ):
        raise UserError("a trial of cuts needs 2 groups that can be held out: add groups, or name a cut with --cut")
    train, test = splits[0]
    head = FineTuneHead(
        # One start for all cuts, which are compared.
        Tail.of(spec, resolved.weights),
        C=DEFAULT_C,
        epochs=EPOCHS,
        validation_fraction=0,
        random_state=seed,
        verbose=0,
    )
    found = head.fit(maps[train], labels[train], grouping.numbers[train]).predict_proba(maps[test])
    true = found[np.arange(len(test)), np.searchsorted(head.classes_, labels[test])]
    losses: np.ndarray = -np.log(np.maximum(true, 1e-12))
    return losses
