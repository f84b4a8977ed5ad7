"""The page and what it asks for as one application on this machine, with a token that its address carries."""

import secrets
import sys
import webbrowser
from typing import Any

import uvicorn
from fastapi import FastAPI

from bottleneck_features.review import routes
from bottleneck_features.review.session import Session
from bottleneck_features.web.limits import Limits
from bottleneck_features.web.transport.error_answers import answer_errors
from bottleneck_features.web.transport.guard import Guard
from bottleneck_features.web.transport.run_server import SETTINGS, listening
from cache.errors import log

HOST = "127.0.0.1"


def application(session: Session, cache_dir: str, token: str) -> Guard:
    """The application of a session that has been started."""
    app = FastAPI(title="bottleneck-features review", docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(routes.router(session, cache_dir))
    answer_errors(app)
    return Guard(app, Limits().max_connections, token)


def run_review(session: Session, cache_dir: str, port: int, browser: bool) -> None:
    """Serve the page until Ctrl-C, its address printed, and opened where there is a browser.

    Raises UserError for a port that cannot be had.
    """
    token = secrets.token_urlsafe(24)
    with listening(HOST, port) as listener:
        address = f"http://{HOST}:{listener.getsockname()[1]}/#{token}"
        print(f"label at {address} (Ctrl-C ends it; every label is kept as you give it)", flush=True)
        if browser and not _opened(address):
            log.info("no browser could be opened: open the address yourself")
        settings: dict[str, Any] = SETTINGS | {"lifespan": "off"}
        uvicorn.Server(uvicorn.Config(application(session, cache_dir, token), **settings)).run([listener])


def _opened(address: str) -> bool:
    if not sys.stdout.isatty():  # nobody sits there
        return False
    try:
        return webbrowser.open(address)
    except webbrowser.Error:
        return False
