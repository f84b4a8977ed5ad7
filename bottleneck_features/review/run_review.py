"""The page and what it asks for as one application on this machine, with a token that its address carries."""

import contextlib
import secrets
import sys
import webbrowser
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import uvicorn
from fastapi import APIRouter, FastAPI, Response

from bottleneck_features.review import routes, work_routes
from bottleneck_features.review.session import Session
from bottleneck_features.review.train_and_save import Training
from bottleneck_features.review.work_routes import Adoptable
from bottleneck_features.web.limits import Limits
from bottleneck_features.web.transport.error_answers import answer_errors
from bottleneck_features.web.transport.guard import Guard
from bottleneck_features.web.transport.problems import Problem
from bottleneck_features.web.transport.run_server import SETTINGS, listening
from cache.errors import log

HOST = "127.0.0.1"
FOLDER, INDEX = Path(__file__).parent / "page", "index.html"
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def application(session: Session, training: Training, token: str, adoptable: Adoptable = dict) -> Guard:
    """The application of a session that has been started."""
    app = FastAPI(title="bottleneck-features review", docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(routes.router(session, training.project.cache_dir))
    app.include_router(work_routes.router(session, training, adoptable))
    app.include_router(_page())
    answer_errors(app)
    return _Local(app, Limits().max_connections, token)


class _Local(Guard):
    """With the token, and under a name of this machine: another one may have been made to point here."""

    def _check(self, method: str, path: str, headers: dict[bytes, list[str]]) -> None:
        if any(not self._is_known(host) for host in headers.get(b"host", [])):
            raise Problem(421, "this page is of this machine alone: open the address that was printed")
        super()._check(method, path, headers)


def run_review(
    session: Session, training: Training, adoptable: Adoptable, port: int, browser: bool, opens: Mapping[str, str]
) -> None:
    """Serve the page until Ctrl-C, its address printed, and opened where there is a browser.

    opens: what it shows first, queue and text; by default the page decides. Raises UserError for a port that cannot be
    had.
    """
    token = secrets.token_urlsafe(24)
    with listening(HOST, port) as listener:
        address = f"http://{HOST}:{listener.getsockname()[1]}/#{token}{'&' if opens else ''}{urlencode(opens)}"
        print(f"label at {address} (Ctrl-C ends it; every label is kept as you give it)", flush=True)
        if browser and not _opened(address):
            log.info("no browser could be opened: open the address yourself")
        settings: dict[str, Any] = SETTINGS | {"lifespan": "off"}
        app = application(session, training, token, adoptable)
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises the signal again when it has ended
            uvicorn.Server(uvicorn.Config(app, **settings)).run([listener])


def _page() -> APIRouter:
    """The page at `/` and its few files: read once, nothing else of the disk can be asked for."""
    files = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.suffix in MEDIA_TYPES}
    page = APIRouter()

    @page.get("/")
    async def index() -> Response:
        return Response(files[INDEX], media_type=MEDIA_TYPES[".html"])

    @page.get("/assets/{name}")
    async def asset(name: str) -> Response:
        if name not in files or name == INDEX:
            raise Problem(404, "there is no such file")
        return Response(files[name], media_type=MEDIA_TYPES[Path(name).suffix])

    return page


def _opened(address: str) -> bool:
    if not sys.stdout.isatty():  # nobody sits there
        return False
    try:
        return webbrowser.open(address)
    except webbrowser.Error:
        return False
