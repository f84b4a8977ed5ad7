"""POST /v1/predict: pictures in, what the model says of each out."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import numpy as np
from fastapi import APIRouter, Query, Request, Response

from bottleneck_features.web.api_texts import PREDICT_BODY, PREDICT_RESPONSES
from bottleneck_features.web.served_model import Answer, ServedModel
from bottleneck_features.web.service import Service
from bottleneck_features.web.transport.bodies import Upload, uploads_of
from bottleneck_features.web.transport.problems import Problem
from cache.errors import UserError
from featurize.pictures.pixel_limit import TOO_MANY

if TYPE_CHECKING:
    from classify.decisions.thresholds import Acceptance

Result = TypeVar("Result")
TopK = Annotated[int, Query(ge=1, description="So many labels of each picture, the most probable first.")]


def router(service: Service) -> APIRouter:
    """The route."""
    routes = APIRouter()

    @routes.post(
        "/v1/predict",
        summary="Label pictures",
        response_class=Response,
        responses=PREDICT_RESPONSES,
        openapi_extra={"requestBody": PREDICT_BODY},
    )
    async def predict(
        request: Request,
        top_k: TopK = 1,
        reject: Annotated[
            float | None,
            Query(gt=0, lt=1, description="Keep this share of known pictures; no label for what is unlike."),
        ] = None,
        accept: Annotated[
            float | None,
            Query(gt=0, lt=1, description="Accept answers of which this share is right, review the others."),
        ] = None,
    ) -> Response:
        async with asked(request, service) as uploads:
            model = service.model
            limit, acceptance = await _decisions(service, model, reject, accept)
            answers = await unless_gone(request, service.answers(model, [upload.data for upload in uploads]))
            described = [
                describe(model, upload, answer, top_k, limit, acceptance)
                for upload, answer in zip(uploads, answers, strict=True)
            ]
            if all(answer.reason for answer in answers):
                raise _unanswered(described, answers)
        said = {"model": {"number": model.number, "digest": model.digest}, "answers": described}
        return Response(json.dumps(said), media_type="application/json")

    return routes


async def _decisions(
    service: Service, model: ServedModel, reject: float | None, accept: float | None
) -> "tuple[float | None, Acceptance | None]":
    """The distance beyond which a picture is unknown, and which answers may be accepted. Raises Problem."""
    try:
        limit = None if reject is None else model.limit(reject)
        if accept is None:
            return limit, None
        return limit, model.acceptances.get(accept) or await service.ask(model.acceptance, accept)
    except UserError as error:  # what the model does not support; these words name no file
        raise Problem(422, str(error)) from None


@asynccontextmanager
async def asked(request: Request, service: Service) -> AsyncIterator[list[Upload]]:
    """The pictures of a request, its client counted while it is answered. Raises Problem."""
    await service.ready()
    async with uploads_of(request, service.limits, service.memory) as uploads:
        with service.client(request.client.host if request.client else ""):
            yield uploads


async def unless_gone(request: Request, answer: Awaitable[Result]) -> Result:
    """The answer, unless the client goes away before: then what waits in its name is given up. Its body must be read.

    Raises Problem 499 then, which nobody reads.
    """
    answering, leaving = asyncio.ensure_future(answer), asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise Problem(499, "the client has gone")
        return answering.result()
    finally:
        answering.cancel()
        leaving.cancel()


def describe(
    model: ServedModel, upload: Upload, answer: Answer, k: int, limit: float | None, acceptance: "Acceptance | None"
) -> dict[str, Any]:
    """What the model says of a picture, as JSON. limit: the distance beyond which it is unknown."""
    said: dict[str, Any] = {"name": upload.name, "label": None, "probability": None, "margin": None, "labels": []}
    if answer.reason:
        return said | {"reason": answer.reason}
    probabilities = answer.probabilities
    order = np.argsort(-probabilities, kind="stable")
    labels = [{"label": model.classes[code], "probability": float(probabilities[code])} for code in order[:k]]
    unknown = limit is not None and answer.distance is not None and answer.distance > limit
    if unknown:
        said |= {"reason": "unlike the training pictures", "would_be_labels": labels}
    else:
        margin = float(probabilities[order[0]] - probabilities[order[1]]) if len(order) > 1 else None
        said |= labels[0] | {"margin": margin, "labels": labels}
    if limit is not None:
        said |= {"distance": answer.distance, "distance_limit": limit}
    if acceptance is not None:
        accepted = acceptance.accepts(order[:1], probabilities[order[:1]])[0]
        said["decision"] = "unknown" if unknown else "accept" if accepted else "review"
    return said


def _unanswered(described: list[dict[str, Any]], answers: list[Answer]) -> Problem:
    """The problem of a request none of whose pictures has an answer."""
    reasons = [{"name": one["name"], "reason": one["reason"]} for one in described]
    status = 413 if all(answer.reason.startswith(TOO_MANY) for answer in answers) else 422
    return Problem(status, answers[0].reason if len(answers) == 1 else "no picture can be read", pictures=reasons)
