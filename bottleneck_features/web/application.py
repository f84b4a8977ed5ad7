"""The ASGI application: routes around one service, problems for all errors, a guard around everything."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from bottleneck_features.web import model_routes, predict_routes
from bottleneck_features.web.service import Service
from bottleneck_features.web.transport import documentation
from bottleneck_features.web.transport.guard import Guard
from bottleneck_features.web.transport.problems import MEDIA_TYPE, Problem
from cache.errors import UserError, log

# Routes of the page, and of what it shows of a picture, each with `router(service)`.
PAGE = ("bottleneck_features.web.page_routes", "bottleneck_features.web.explanations")


def application(service: Service, token: str | None = None, hosts: Collection[str] = ()) -> Guard:
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
        docs_url=None,  # these load scripts from other hosts
        redoc_url=None,
        separate_input_output_schemas=False,
    )
    for routes in (predict_routes.router(service), model_routes.router(service), *_page(service)):
        app.include_router(routes)
    app.include_router(documentation.router(app))
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(UserError, _on_user_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(ClientDisconnect, _on_gone)
    app.add_exception_handler(Exception, _on_error)
    return Guard(app, service, token, hosts)


def _page(service: Service) -> list[Any]:
    from importlib import import_module

    return [import_module(name).router(service) for name in PAGE if find_spec(name)]


def _answer(problem: Problem) -> Response:
    return Response(problem.body, problem.status, problem.headers, MEDIA_TYPE)


async def _on_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return _answer(error)


async def _on_user_error(_: Request, error: Exception) -> Response:
    """The words of an error may name a file of this machine."""
    log.error("a request cannot be answered: %s", error)
    return _answer(Problem(422, "the model cannot do this: the log of the service says why"))


async def _on_http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    problem = Problem(error.status_code, str(error.detail))
    problem.headers.update(error.headers or {})
    return _answer(problem)


async def _on_invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    said = [f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}"[:200] for one in error.errors()[:5]]
    return _answer(Problem(422, "; ".join(said)))


async def _on_gone(_: Request, __: Exception) -> Response:
    return _answer(Problem(499, "the client has gone"))


async def _on_error(_: Request, error: Exception) -> Response:
    log.error("a request failed: %r", error)
    return _answer(Problem(500, "the service has a fault: its log says which"))
