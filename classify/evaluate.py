"""Score a saved head on labelled images: which of them are scored, and which of these it knows from its training."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from cache.digest_table import DigestTable
from cache.errors import UserError, listed, log
from cache.signatures import StoredSignatures
from classify.data.dataset import Dataset
from classify.data.duplicates import near_duplicates
from classify.data.grouping import united
from classify.data.split import Indices, leaks
from classify.decisions.saved_answers import required
from classify.decisions.summary import decisions_of
from classify.labels.group_record import announce_unnamed, leaked_of_record
from classify.labels.read_labels import LabelledImages
from classify.plan_options import Plan
from classify.saved.persist import Saved
from classify.scoring.held_out_answers import HeldOutAnswers
from classify.scoring.metrics import Scores
from classify.scoring.out_of_fold import answers_about
from classify.scoring.two_classes import check_positive, positive_report
from classify.train import score_part
from featurize.extract.missing_signatures import stored_signatures
from featurize.extract.outcome import Outcome

SHOWN = 5


@dataclass(frozen=True)
class Scored:
    """Pictures that are scored: rows (m,), indices. The rule is the same in `train`, `evaluate` and the report.

    All pictures of the data's own test part (else validation part) are; without such parts, all but those that the
    model was trained on, byte by byte, which are `left_out`. leaking: (m,) bool, which are near-duplicates of training
    pictures: what the others give stands beside the scores.
    """

    rows: Indices
    leaking: np.ndarray
    left_out: Indices


def scorable(saved: Saved, found: LabelledImages, table: DigestTable, every: bool = False) -> LabelledImages:
    """The labelled images that a model can be scored on, their labels spelled as its classes; before any features.

    Pictures of classes that its training left out, see `classify.data.single_pictures`, are left out and announced.
    Groups that the model was trained with and that nobody names here are announced. Raises UserError for another label
    that the model does not know: of a picture that would be scored, or of `every`.
    """
    announce_unnamed(saved.record, found.groups_by)
    found = found.named_as(saved.record["classes"])
    known, left_out = set(saved.record["classes"]), set(saved.record.get("left_out_classes", []))
    if unscored := [row for row, label in enumerate(found.labels) if label in left_out - known]:
        names = listed(sorted({repr(found.labels[row]) for row in unscored}), SHOWN)
        log.warning("pictures of classes that the training left out are left out: %d (%s)", len(unscored), names)
        found = found.of(sorted({*range(len(found.labels))} - {*unscored}))
    part = next((name for name in ("test", "validation") if name in found.parts), "all")
    unknown = [
        row
        for row, (label, of) in enumerate(zip(found.labels, found.parts, strict=True))
        if label not in known and (every or of == part)
    ]
    if part == "all" and not every:  # what the model was trained on under another label is not scored
        doubtful = Outcome([found.paths[row] for row in unknown])
        doubtful.take_digests(table)
        readable = doubtful.digests.known
        trained = leaks(saved.trained_on, doubtful.keys)
        unknown = [unknown[position] for position in readable[~trained]]
    if unknown:
        raise UserError(
            f"the pictures have the label {found.labels[unknown[0]]!r}, the model knows "
            f"{', '.join(saved.record['classes'])}"
        )
    return found


def check_asked(saved: Saved, plan: Plan) -> None:
    """Raise UserError where the model cannot say what `plan` asks besides scores."""
    check_positive(saved.record["classes"], plan.positive, plan.prevalence)
    if plan.accept is not None or plan.coverage is not None:
        required(saved.answers)


def evaluate_head(
    saved: Saved, data: Dataset, cache_dir: str, plan: Plan
) -> tuple[Scores, HeldOutAnswers, dict[str, Any]]:
    """Scores of the pictures that `scored_of` chooses, the answers about them, and what to report of both.

    The majority-class baseline is that of the scored pictures' training classes as the record counts them. Raises as
    `scored_of`.
    """
    chosen = scored_of(saved, data, cache_dir)
    if left_out := [data.paths[i] for i in chosen.left_out]:
        log.warning("%d pictures were trained on and are left out, the first is %s", len(left_out), left_out[0])
    groups = united(data.duplicates()[0], data.groups)
    part = data.own_test_part() if data.has_own_split else "test"
    answers = answers_about(saved.predictor, data, chosen.rows, groups, part)
    scores, leaked = score_part(answers, saved.record["training_counts"], chosen.leaking, data.paths)
    about = scores.to_json() | leaked.to_json() | positive_report(answers, plan.positive, plan.prevalence)
    about |= {"left_out": len(left_out), "left_out_files": left_out, "cv_accuracy": None, "cv_std": None}
    return scores, answers, about | {"decisions": decisions_of(saved.answers, answers, plan.accept, plan.coverage)}


def groups_scored(saved: Saved, groups: dict[str, Any] | None, answers: HeldOutAnswers) -> dict[str, Any] | None:
    """`groups` of a report, with those of the scored pictures that the model was trained on; announced."""
    if groups is None or answers.names is None:
        return groups
    return groups | leaked_of_record(saved.record, groups["by"], answers.names.tolist())


def scored_of(saved: Saved, data: Dataset, cache_dir: str) -> Scored:
    """Which pictures of `data` are scored. Near-duplicates are found as far as `cache_dir` has the training pictures.

    Raises UserError where the model was trained on every picture that could be scored.
    """
    rows, left_out = np.arange(len(data.labels)), np.empty(0, np.intp)
    if data.has_own_split:
        rows = data.part(data.own_test_part())
        log.info("scoring the %s folder: %d pictures", data.own_test_part(), len(rows))
    trained = leaks(saved.trained_on, data.digests[rows])
    if trained.all():
        raise UserError("nothing to score: the model was trained on every one of these pictures")
    if not data.has_own_split:
        rows, left_out, trained = rows[~trained], rows[trained], trained[~trained]
    return Scored(rows, trained | _near_training_pictures(saved, data, rows, cache_dir), left_out)


def _near_training_pictures(saved: Saved, data: Dataset, rows: Indices, cache_dir: str) -> np.ndarray:
    """Mask (m,) of the `rows` (m,) of `data` that are near-duplicates of training pictures known to the cache."""
    digests = saved.trained_on
    if isinstance(data.signatures, StoredSignatures):
        store = data.signatures.store
        stored = StoredSignatures(store, digests, store.contains(digests))
        _announce_unknown(stored.known, cache_dir)
        ours = data.signatures[rows]
        both_known = np.concatenate([stored.known, ours.known])
        all_digests = np.concatenate([digests, ours.digests])
        found = near_duplicates(all_digests, StoredSignatures(store, all_digests, both_known))
    else:
        signatures, known = stored_signatures(cache_dir, digests)
        if data.signatures is not None:  # those of this very data are there, whatever cache they lie in
            index_of = {digest.tobytes(): index for index, digest in enumerate(data.digests)}
            of_data = leaks(data.digests, digests) & ~known
            signatures[of_data] = data.signatures[[index_of[digest.tobytes()] for digest in digests[of_data]]]
            known |= of_data
        _announce_unknown(known, cache_dir)
        if data.signatures is None:
            return np.zeros(len(rows), bool)
        both = np.concatenate([digests, data.digests[rows]]), np.concatenate([signatures, data.signatures[rows]])
        found = near_duplicates(*both)
    of_training, of_rows = np.split(found, [len(digests)])
    return np.isin(of_rows, of_training)


def _announce_unknown(known: np.ndarray, cache_dir: str) -> None:
    if not known.all():
        log.info(
            "near-duplicates of %d training pictures are not told: their signatures are not in %s",
            int((~known).sum()),
            cache_dir,
        )
