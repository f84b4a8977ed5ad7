"""Why a model says what it says of a picture: a heat map, and the nearest pictures of its training."""

import base64
import io
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from PIL import Image

from bottleneck_features.web.api_texts import PREDICT_BODY, problems
from bottleneck_features.web.predict_routes import asked, unless_gone
from bottleneck_features.web.training_pictures import TrainingPictures, row_of
from bottleneck_features.web.transport.problems import Problem
from cache.errors import UserError, log
from featurize.decoding.crops import Crop
from featurize.direct_rows import DirectRows
from featurize.extract.network_extractor import ComputingExtractor

if TYPE_CHECKING:
    from bottleneck_features.web.served_model import ServedModel
    from bottleneck_features.web.service import Service
    from featurize.extract.extractor import Extractor

Result = TypeVar("Result")

SIDE = 448  # pixels, about: longest side of a heat map
KEPT = "private, max-age=86400, immutable"  # a digest names the same picture for ever


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


class Explanations:
    """The training pictures of the model in service, looked up when they are first asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: tuple[ServedModel | None, TrainingPictures | str] = (None, "")

    def training_pictures(self, model: "ServedModel") -> TrainingPictures | str:
        """Those of a model; why there are none, one line. Threads that ask meanwhile wait."""
        with self._lock:
            known, found = self._last
            if known is not model:
                try:
                    found = TrainingPictures.of(model.classifier)
                except UserError as error:
                    found = str(error)
                self._last = (model, found)
            return found

    def nearest(self, model: "ServedModel", data: bytes, count: int) -> NearAnswer:
        """The training pictures nearest to the bytes of an image file. Raises Problem where it cannot be decoded."""
        found = self.training_pictures(model)
        if isinstance(found, str):
            return NearAnswer([], found, same=False, compared=0, trained_on=len(model.classifier.saved.trained_on))
        near = found.nearest(row_of(model.classifier, _features(model, data)), count)
        pictures = [NearPicture(one.digest, one.label or None, one.similarity, one.has_file) for one in near]
        return NearAnswer(pictures, "", found.knows(data), len(found.digests), found.total)

    def thumbnail(self, model: "ServedModel", digest: str) -> bytes | None:
        """The thumbnail of a training picture, a WebP; None where there is none."""
        found = self.training_pictures(model)
        return None if isinstance(found, str) else found.thumbnail(digest)


def heatmap(model: "ServedModel", data: bytes) -> HeatMapAnswer:
    """The heat map of the bytes of an image file, for the label that it is given.

    Raises Problem where the picture cannot be decoded, and where the model's network cannot be had.
    """
    from classify.heatmaps.heat_map import colours
    from classify.heatmaps.make_heatmaps import heatmap_of

    classifier, decoder = model.classifier, model.direct.rows.decoder
    picture = model.direct.decode(data)
    answers = model.direct.answers([picture])
    if answers.reasons[0]:
        raise Problem(422, answers.reasons[0])

    def features(extractor: "Extractor") -> dict[int, np.ndarray]:
        assert isinstance(extractor, ComputingExtractor)
        rows = DirectRows(extractor, decoder)
        found, (reason,) = rows.compute([rows.decode(data)])
        return {} if reason else {0: found[0]}

    try:
        heat = heatmap_of(classifier, int(answers.probabilities[0].argmax()), features)
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


def router(service: "Service") -> APIRouter:
    """The routes of heat maps and of training pictures."""
    routes, explanations = APIRouter(), Explanations()
    body = {"requestBody": {"required": True, "content": {"image/*": PREDICT_BODY["content"]["image/*"]}}}
    refusals = problems(400, 401, 403, 408, 413, 415, 422, 429, 503)

    @routes.post(
        "/v1/heatmap",
        summary="Where in a picture its label comes from",
        responses=refusals | problems(501),
        openapi_extra=body,
    )
    async def heatmap_of_picture(request: Request) -> HeatMapAnswer:
        return await _of_picture(service, request, heatmap)

    @routes.post(
        "/v1/nearest",
        summary="The training pictures most like a picture",
        responses=refusals,
        openapi_extra=body,
    )
    async def nearest_training_pictures(
        request: Request,
        count: Annotated[int, Query(ge=1, le=24, description="So many, the nearest first.")] = 6,
    ) -> NearAnswer:
        return await _of_picture(service, request, explanations.nearest, count)

    @routes.get(
        "/v1/training/{digest}/thumbnail",
        summary="A small WebP of a training picture, by the digest that /v1/nearest gives",
        response_class=Response,
        responses=problems(401, 403, 404, 503),
    )
    async def thumbnail_of_training_picture(digest: str) -> Response:
        await service.ready()
        found = await service.ask(explanations.thumbnail, service.model, digest)
        if found is None:
            raise Problem(404, "no training picture of this digest is here")
        return Response(found, media_type="image/webp", headers={"cache-control": KEPT})

    return routes


async def _of_picture(service: "Service", request: Request, function: Callable[..., Result], *arguments: Any) -> Result:
    """`function(model, data, *arguments)` of the one picture of a request. Raises Problem for several."""
    async with asked(request, service) as uploads:
        if len(uploads) > 1:
            raise Problem(413, f"{len(uploads)} pictures: send one")
        return await unless_gone(request, service.ask(function, service.model, uploads[0].data, *arguments))


def _features(model: "ServedModel", data: bytes) -> np.ndarray:
    """The features of a picture as the model's extractor has them. Raises Problem where there are none."""
    classifier, rows = model.classifier, model.direct.rows
    if classifier.of_pixels is not classifier.extractor:  # rows of a fine-tuned model are decisions: its maps are taken
        rows = DirectRows(classifier.extractor, rows.decoder)
    found, (reason,) = rows.compute([rows.decode(data)])
    if reason:
        raise Problem(422, reason)
    return np.asarray(found[0])


def _base64(picture: Image.Image, kind: str) -> str:
    file = io.BytesIO()
    picture.save(file, kind)
    return base64.b64encode(file.getbuffer()).decode()
