"""The heat map of a picture in memory, as an answer."""

import base64
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from bottleneck_features.web.pool import RETRY_AFTER
from bottleneck_features.web.transport.problems import Problem
from cache.errors import UserError, log
from classify.heatmaps.heat_map import colours
from classify.heatmaps.make_heatmaps import heatmap_of
from featurize.decoding.crops import Crop
from featurize.direct_rows import DirectRows
from featurize.extract.forward import Picture
from featurize.extract.network_extractor import ComputingExtractor
from featurize.pictures.pixel_limit import TOO_MANY

if TYPE_CHECKING:
    from bottleneck_features.web.served_model import ServedModel
    from featurize.extract.extractor import Extractor

SIDE = 448  # pixels, about: longest side of a heat map


@dataclass(frozen=True)
class HeatMapAnswer:
    """Where the label of a picture comes from.

    place: where most of it is, such as "upper left" or "centre"; "nowhere" where nothing speaks for the label. exact:
    whether it is the head's own sum over the places of the picture; else the picture was hidden part by part. map: a
    PNG in Base64, transparent where nothing speaks for the label. It covers what the network sees of the picture,
    `seen`, a JPEG in Base64: the upright picture stretched to a square, or where it is not `whole`, cut out of it.
    """

    label: str
    place: str
    exact: bool
    whole: bool
    map: str
    seen: str


class HeatMaps:
    """Heat maps by the model in service. Its network is built for them when the first one is asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ready: ServedModel | None = None

    def of(self, model: "ServedModel", data: bytes) -> HeatMapAnswer:
        """The heat map of the bytes of an image file, for the label that it is given.

        Raises Problem where the picture cannot be decoded, and 503 while another thread makes the first one.
        """
        picture = model.direct.decode(data)
        answers = model.direct.answers([picture])
        if answers.reasons[0]:
            raise undecoded(answers.reasons[0])
        code = int(answers.probabilities[0].argmax())
        if self._ready is model:
            return heatmap(model, data, picture, code)
        with first_time(self._lock, "the network is being prepared for heat maps"):
            found = heatmap(model, data, picture, code)
            self._ready = model
            return found


def heatmap(model: "ServedModel", data: bytes, picture: Picture, code: int) -> HeatMapAnswer:
    """The heat map of the bytes of an image file, decoded as `picture`, for the class with this code.

    Raises Problem where the model's network cannot be had.
    """
    classifier, decoder = model.classifier, model.direct.rows.decoder

    def features(extractor: "Extractor") -> dict[int, np.ndarray]:
        assert isinstance(extractor, ComputingExtractor)
        rows = DirectRows(extractor, decoder)
        found, (reason,) = rows.compute([rows.decode(data)])
        return {} if reason else {0: found[0]}

    try:
        heat = heatmap_of(classifier, code, features)
    except UserError as error:  # it may name files of this machine
        log.error("no heat map: %s", error)
        raise Problem(501, "this model has no heat maps here: the log of the service says why") from None
    if heat is None:
        raise Problem(422, "the picture could not be decoded again")
    seen = Image.fromarray(np.clip(np.rint(picture.decoded[0].pixels[0]), 0, 255).astype(np.uint8))
    large = tuple(side * max(1, round(SIDE / max(seen.size))) for side in seen.size)
    return HeatMapAnswer(
        label=heat.label,
        place=heat.place,
        exact=heat.exact,
        whole=Crop.of(heat.resize) is None,
        map=_base64(colours(heat, (large[0], large[1])), "PNG"),
        seen=_base64(seen.resize((large[0], large[1]), Image.Resampling.BICUBIC), "JPEG"),
    )


@contextmanager
def first_time(lock: threading.Lock, words: str) -> Iterator[None]:
    """What takes long is done by one thread of the pool; the others answer pictures meanwhile. Raises Problem 503."""
    if not lock.acquire(blocking=False):
        raise Problem(503, f"{words}: try again", RETRY_AFTER)
    try:
        yield
    finally:
        lock.release()


def undecoded(reason: str) -> Problem:
    """The problem of a picture that cannot be decoded, for this reason."""
    return Problem(413 if reason.startswith(TOO_MANY) else 422, reason)


def _base64(picture: Image.Image, kind: str) -> str:
    file = io.BytesIO()
    picture.save(file, kind)
    return base64.b64encode(file.getbuffer()).decode()
