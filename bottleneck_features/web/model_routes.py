"""The model in place: what it is, a new one, the one before; and whether the service is well."""

import asyncio
import multiprocessing
import sys
from typing import Any

from fastapi import APIRouter

from bottleneck_features.web.served_model import ServedModel
from bottleneck_features.web.service import Service
from bottleneck_features.web.transport.problems import Problem


def router(service: Service) -> APIRouter:
    """The routes."""
    routes = APIRouter()

    @routes.get("/healthz", summary="Whether the service answers")
    async def healthz() -> dict[str, Any]:
        await service.ready()
        return {"status": "ok", "model": service.model.number, "waiting": service.waiting}

    @routes.get("/v1/model", summary="Labels, recipe, digests and scores of the model in place")
    async def about() -> dict[str, Any]:
        await service.ready()
        return service.about()

    @routes.post("/v1/model/reload", summary="Load the model's file anew and put it in place")
    async def reload() -> dict[str, Any]:
        _require_one_process()
        await service.ready()
        return _placed(await asyncio.to_thread(service.reload))

    @routes.post("/v1/model/restore", summary="Put the model before back in place")
    async def restore() -> dict[str, Any]:
        _require_one_process()
        await service.ready()
        return _placed(service.restore())

    return routes


def _placed(model: ServedModel) -> dict[str, Any]:
    return {"number": model.number, "digest": model.digest}


def _require_one_process() -> None:
    """Raise Problem in one of several worker processes: the others would keep their model."""
    if multiprocessing.parent_process() is not None or "gunicorn.arbiter" in sys.modules:
        raise Problem(409, "several processes answer here: send SIGHUP to their parent, which replaces them one by one")
