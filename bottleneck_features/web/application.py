"""The ASGI application: routes around one service, problems for all errors, a guard around everything."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from fastapi import Depends, FastAPI

from bottleneck_features.web import model_routes, predict_routes
from bottleneck_features.web.service import Service
from bottleneck_features.web.transport import documentation
from bottleneck_features.web.transport.error_answers import answer_errors
from bottleneck_features.web.transport.guard import Guard
from bottleneck_features.web.transport.query import check_query

# Routes of the page, and of what it shows of a picture, each with `router(service)`.
PAGE = ("bottleneck_features.web.page_routes", "bottleneck_features.web.explanations")


def application(service: Service, token: str | None = None, hosts: Collection[str] = ()) -> "Application":
    """The application. Its service starts with it, in the process that serves."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(service.start)
        try:
            yield
        finally:
            await asyncio.to_thread(service.close)

    app = FastAPI(
        title="bottleneck-features",
        summary="What a trained model says of pictures.",
        version=version("bottleneck-features"),
        lifespan=lifespan,
        dependencies=[Depends(check_query)],
        docs_url=None,  # these load scripts from other hosts
        redoc_url=None,
        separate_input_output_schemas=False,
    )
    for routes in (predict_routes.router(service), model_routes.router(service), *_page(service)):
        app.include_router(routes)
    app.include_router(documentation.router(app))
    answer_errors(app)
    return Application(app, service, token, hosts)


class Application(Guard):
    """The guarded application. service: what its routes use."""

    def __init__(self, app: FastAPI, service: Service, token: str | None, hosts: Collection[str]):
        super().__init__(app, service.limits.max_connections, token, hosts)
        self.service = service


def _page(service: Service) -> list[Any]:
    from importlib import import_module

    return [import_module(name).router(service) for name in PAGE if find_spec(name)]
