"""Why a model says what it says of a picture: routes of heat maps and of the nearest training pictures."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from fastapi import APIRouter, Query, Request, Response

from bottleneck_features.web.api_texts import PREDICT_BODY, problems
from bottleneck_features.web.explain.heatmap import HeatMapAnswer, HeatMaps
from bottleneck_features.web.explain.nearest import NearAnswer, TrainingLookup
from bottleneck_features.web.predict_routes import asked, unless_gone
from bottleneck_features.web.transport.problems import Problem

if TYPE_CHECKING:
    from bottleneck_features.web.service import Service

Result = TypeVar("Result")

KEPT = "private, max-age=86400, immutable"  # a digest names the same picture for ever


def router(service: "Service") -> APIRouter:
    """The routes of heat maps and of training pictures."""
    routes, heatmaps, training = APIRouter(), HeatMaps(), TrainingLookup()
    body = {"requestBody": {"required": True, "content": {"image/*": PREDICT_BODY["content"]["image/*"]}}}
    refusals = problems(400, 401, 403, 408, 413, 415, 422, 429, 503)

    @routes.post(
        "/v1/heatmap",
        summary="Where in a picture its label comes from",
        responses=refusals | problems(501),
        openapi_extra=body,
    )
    async def heatmap_of_picture(request: Request) -> HeatMapAnswer:
        return await _of_picture(service, request, heatmaps.of)

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
        return await _of_picture(service, request, training.nearest, count)

    @routes.get(
        "/v1/training/{digest}/thumbnail",
        summary="A small WebP of a training picture, by the digest that /v1/nearest gives",
        response_class=Response,
        responses=problems(401, 403, 404, 503),
    )
    async def thumbnail_of_training_picture(digest: str) -> Response:
        await service.ready()
        found = await service.ask(training.thumbnail, service.model, digest)
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
