"""Whatever goes wrong in an application is answered as a problem; its words name no file of this machine."""

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from bottleneck_features.web.transport.problems import MEDIA_TYPE, Problem
from bottleneck_features.web.transport.query import shortened
from cache.errors import UserError, log


def answer_errors(app: FastAPI) -> None:
    """Have all errors of an application answered as problems."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(UserError, _on_user_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(ClientDisconnect, _on_gone)
    app.add_exception_handler(Exception, _on_error)


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
    return _answer(Problem(422, "; ".join(map(_of_invalid, error.errors()[:5]))))


def _of_invalid(one: dict[str, Any]) -> str:
    name, words = ".".join(map(str, one["loc"][1:])), one["msg"][:100]
    return f"{name}: {shortened(one['input'])} is not valid: {words[:1].lower()}{words[1:]}"


async def _on_gone(_: Request, __: Exception) -> Response:
    return _answer(Problem(499, "the client has gone"))


async def _on_error(_: Request, error: Exception) -> Response:
    log.error("a request failed: %r", error)
    return _answer(Problem(500, "the service has a fault: its log says which"))
