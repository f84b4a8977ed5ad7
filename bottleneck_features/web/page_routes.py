"""The page at `/` and its few files: read once, served from memory, nothing else of the disk can be asked for."""

from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import APIRouter, Response

from bottleneck_features.web.transport.problems import Problem

if TYPE_CHECKING:
    from bottleneck_features.web.service import Service

FOLDER = Path(__file__).parent / "page"
INDEX = "index.html"
MEDIA_TYPES = {
    INDEX: "text/html; charset=utf-8",
    "app.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    **dict.fromkeys(
        ("app.js", "api.js", "card.js", "model.js", "wording.js"),
        "text/javascript; charset=utf-8",
    ),
}


def router(_: "Service") -> APIRouter:
    """The routes of the page. Its files hold nothing of the model: what it is, the page asks `/v1/model`."""
    files = {name: (FOLDER / name).read_bytes() for name in MEDIA_TYPES}
    routes = APIRouter(include_in_schema=False)

    @routes.get("/")
    async def page() -> Response:
        return _file(files, INDEX)

    @routes.get("/assets/{name}")
    async def asset(name: str) -> Response:
        if name == INDEX:
            raise _missing()
        return _file(files, name)

    return routes


def _file(files: dict[str, bytes], name: str) -> Response:
    if name not in files:
        raise _missing()
    return Response(files[name], media_type=MEDIA_TYPES[name])


def _missing() -> Problem:
    return Problem(404, "there is no such file")
