"""The nearest training pictures of a picture in memory, as an answer."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bottleneck_features.web.explain.heatmap import first_time, undecoded
from bottleneck_features.web.explain.training_pictures import TrainingPictures, row_of
from cache.errors import UserError
from featurize.direct_rows import DirectRows

if TYPE_CHECKING:
    from bottleneck_features.web.served_model import ServedModel


@dataclass(frozen=True)
class NearPicture:
    """A training picture. similarity: cosine of the features, 1 for the same picture. thumbnail: whether it has one."""

    digest: str
    label: str | None
    similarity: float
    thumbnail: bool


@dataclass(frozen=True)
class NearAnswer:
    """The training pictures most like a picture, nearest first; `reason` says why there are none.

    same: whether the model was trained on this very file. compared: how many of the `trained_on` were looked at.
    """

    pictures: Sequence[NearPicture]
    reason: str
    same: bool
    compared: int
    trained_on: int


class TrainingLookup:
    """The training pictures of the model in service, looked up when they are first asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: tuple[ServedModel | None, TrainingPictures | str] = (None, "")

    def pictures(self, model: "ServedModel") -> TrainingPictures | str:
        """Those of a model; why there are none, one line. Raises Problem 503 while another thread looks them up."""
        known, found = self._last
        if known is model:
            return found
        with first_time(self._lock, "the training pictures are being looked up"):
            try:
                found = TrainingPictures.of(model.classifier)
            except UserError as error:
                found = str(error)
            self._last = (model, found)
            return found

    def nearest(self, model: "ServedModel", data: bytes, count: int) -> NearAnswer:
        """The training pictures nearest to the bytes of an image file. Raises Problem where it cannot be decoded."""
        found = self.pictures(model)
        if isinstance(found, str):
            return NearAnswer([], found, same=False, compared=0, trained_on=len(model.classifier.saved.trained_on))
        near = found.nearest(row_of(model.classifier, _features(model, data)), count)
        pictures = [NearPicture(one.digest, one.label or None, one.similarity, one.has_file) for one in near]
        return NearAnswer(pictures, "", found.knows(data), len(found.digests), found.total)

    def thumbnail(self, model: "ServedModel", digest: str) -> bytes | None:
        """The thumbnail of a training picture, a WebP; None where there is none."""
        found = self.pictures(model)
        return None if isinstance(found, str) else found.thumbnail(digest)


def _features(model: "ServedModel", data: bytes) -> np.ndarray:
    """The features of a picture as the model's extractor has them. Raises Problem where there are none."""
    classifier, rows = model.classifier, model.direct.rows
    if classifier.of_pixels is not classifier.extractor:  # rows of a fine-tuned model are decisions: its maps are taken
        rows = DirectRows(classifier.extractor, rows.decoder)
    found, (reason,) = rows.compute([rows.decode(data)])
    if reason:
        raise undecoded(reason)
    return np.asarray(found[0])
