"""An exported file is run in its own runtime on real pictures, and compared with what the model itself says of them.

What may differ: in float32 the probabilities of an export and those of the model, of the same pixels in one view, by
`LARGEST`. With weights of fewer bits the labels count: `LEAST_EQUAL` of them must be the same.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.errors import UserError, log
from classify.direct_answers import DirectClassifier
from classify.exports.about import DISTANCE, About
from classify.exports.files.named_outputs import Pixels
from classify.exports.inputs import inputs_of, pixels_of
from classify.exports.one_view import in_one_view, one_view_cost
from classify.exports.proof_pictures import pictures_for
from classify.heads.numerics import Floats
from classify.saved.classifier import Classifier
from classify.scoring.class_scores import share_of
from featurize.extract.forward import Picture
from featurize.pictures.find_images import ImageError
from featurize.pictures.sources import Source, bytes_of

# The path of an exported file and what its inputs take of n pictures -> probabilities (n, k), distances (n,) or None.
Run = Callable[[str, Pixels], tuple[Floats, Floats | None]]

LARGEST = 1e-3
LEAST_EQUAL = 0.98
FEW, MANY = 32, 200  # pictures: to see that two computations are the same, and to measure how far they are apart
AT_ONCE = 16  # whose pixels are in memory together


@dataclass(frozen=True)
class Compared:
    """Of n pictures, each by the model and by its export: probabilities (n, k); distances (n,), None without any."""

    probabilities: tuple[Floats, Floats]
    distances: tuple[Floats, Floats] | None

    @property
    def difference(self) -> float:
        """The largest between two probabilities."""
        return float(np.abs(np.subtract(*self.probabilities)).max())

    @property
    def distance_difference(self) -> float | None:
        """The largest between two distances; None without any."""
        return None if self.distances is None else float(np.abs(np.subtract(*self.distances)).max())

    @property
    def equal(self) -> NDArray[np.bool_]:
        """Whether both give a picture the same label: (n,)."""
        ours, theirs = self.probabilities
        return np.asarray(ours.argmax(axis=1) == theirs.argmax(axis=1))


def prove(path: str, classifier: Classifier, about: About, run: Run, data: str | None = None) -> dict[str, Any]:
    """Compare the export at `path` with `classifier`, and say what it costs that it takes one view of a picture.

    The pictures are some that the model was trained on, else those of the folder `data`, else photographs that come
    with scikit-image.

    Returns
    -------
    dict
        pictures, pictures_from, largest_difference, largest_distance_difference (None without distances),
        equal_labels, equal_labels_interval (95%), other_decisions (how many: accepted, for review, unknown), one_view:
        that of `one_view_cost`, None for a model of one view.

    Raises
    ------
    UserError
        The export says something else than the model, or gives numbers that are none.
    """
    # A network that computes in fewer bits differs by more from the export, which computes in float32.
    exact = about.precision == "float32" and all(
        part.spec.precision == "float32" for part in classifier.of_pixels.parts
    )
    one = in_one_view(classifier)
    where, sources = pictures_for(one, data)
    compared = _compared(path, one, run, sources, FEW if exact else MANY)
    count, name = len(compared.probabilities[0]), f"the export ({about.format}, {about.precision})"
    _check(compared, name, f"{count} {where}", exact, DISTANCE in about.outputs)
    equal, low, high = share_of(compared.equal).tolist()
    if not exact:
        said = f"{equal:.1%} of {count} labels are those of the model (95% interval {low:.1%} to {high:.1%})"
        if equal < LEAST_EQUAL:
            raise UserError(f"{name}: {said}, {LEAST_EQUAL:.0%} are needed: export with another --precision")
        log.info("%s: %s", name, said)
    others = int((_decided(about, compared, 0) != _decided(about, compared, 1)).sum())
    if others:
        log.warning("%s: %d of %d decisions are others: its thresholds are those of the model", name, others, count)
    return {
        "pictures": count,
        "pictures_from": where,
        "largest_difference": compared.difference,
        "largest_distance_difference": compared.distance_difference,
        "equal_labels": equal,
        "equal_labels_interval": [low, high],
        "other_decisions": others,
        "one_view": one_view_cost(classifier, data) if len(classifier.extractor.stores) > 1 else None,
    }


def _decided(about: About, compared: Compared, which: int) -> NDArray[np.intp]:
    """What the model (0) or its export (1) decides of each picture: 2 accepted, 1 for review, 0 unknown: (n,)."""
    probabilities = compared.probabilities[which]
    decided = np.full(len(probabilities), 2)
    if about.accept:
        thresholds = np.array([np.inf if each is None else each for each in about.accept.thresholds])
        decided[probabilities.max(axis=1) < thresholds[probabilities.argmax(axis=1)]] = 1
    if about.reject and compared.distances:
        decided[compared.distances[which] > about.reject.limit] = 0
    return decided


def _check(compared: Compared, name: str, pictures: str, exact: bool, with_distance: bool) -> None:
    """Raise UserError for an export that lacks distances, whose numbers are none or, if `exact`, other ones."""
    if with_distance and compared.distances is None:
        raise UserError(f"{name} gives no distances: pictures unlike those trained on could not be told")
    wrong = [pair for pair in (compared.probabilities, compared.distances) if pair and not _are_numbers(*pair)]
    if wrong:
        raise UserError(f"{name} gives numbers of another shape than the model, or none, on {pictures}")
    largest = max(compared.difference, compared.distance_difference or 0)
    if exact and largest > LARGEST:
        raise UserError(
            f"{name} is not the model: on {pictures} it differs by up to {largest:.2g}, {LARGEST:g} is allowed"
        )


def _are_numbers(ours: Floats, theirs: Floats) -> bool:
    return ours.shape == theirs.shape and bool(np.isfinite(theirs).all())


def _compared(path: str, classifier: Classifier, run: Run, sources: Iterator[Source], most: int) -> Compared:
    """The first `most` of the pictures that can be decoded, by the model and by the export, of the same pixels."""
    direct = DirectClassifier(classifier)
    pictures = list(islice(_decoded(direct, sources), most))
    if not pictures:
        raise UserError(f"{path} cannot be proven, no picture for it can be read: name a folder with --data")
    found, inputs = [], inputs_of(classifier)
    for start in range(0, len(pictures), AT_ONCE):
        some = pictures[start : start + AT_ONCE]
        answers = direct.answers(some)
        found.append((answers.probabilities, answers.distances, *run(path, pixels_of(inputs, some))))
    ours, away, theirs, their_away = zip(*found, strict=True)
    without = away[0] is None or their_away[0] is None
    distances = None if without else (np.concatenate(away), np.concatenate(their_away))
    return Compared((np.concatenate(ours), np.concatenate(theirs)), distances)


def _decoded(direct: DirectClassifier, sources: Iterator[Source]) -> Iterator[Picture]:
    """Those that can be read: of one that is gone or damaged by now, another one takes the place."""
    for source in sources:
        try:
            picture = direct.decode(bytes_of(source))
        except ImageError:
            continue
        if picture.decoded:
            yield picture
