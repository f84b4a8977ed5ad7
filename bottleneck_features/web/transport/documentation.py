"""The description of the API as a page without scripts: nothing is loaded from another host."""

import json
from collections.abc import Iterator
from html import escape
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import HTMLResponse, Response

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: 0 auto; padding: 1rem }
h2 code, dt code { font-size: 1.05em }
pre { overflow-x: auto; padding: .75rem; border: 1px solid; border-radius: .4rem }
table { border-collapse: collapse } th, td { text-align: left; padding: .2rem .8rem .2rem 0; vertical-align: top }
"""


def router(app: FastAPI) -> APIRouter:
    """GET /docs and its style sheet; /openapi.json is FastAPI's own."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/docs")
    async def page() -> HTMLResponse:
        return HTMLResponse(_page(app.openapi()))

    @routes.get("/docs/style.css")
    async def style() -> Response:
        return Response(STYLE, media_type="text/css")

    return routes


def _page(described: dict[str, Any]) -> str:
    title = escape(described["info"]["title"])
    return "\n".join(
        (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}: API</title>',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<link rel="stylesheet" href="/docs/style.css"></head><body><main>',
            f"<h1>{title} {escape(described['info']['version'])}</h1>",
            '<p>For programs: <a href="/openapi.json">openapi.json</a>. Errors are JSON problems (RFC 9457).</p>',
            *(
                line
                for path, methods in described["paths"].items()
                for method, operation in methods.items()
                for line in _operation(method.upper(), path, operation)
            ),
            "</main></body></html>",
        )
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"<h2><code>{method} {escape(path)}</code></h2><p>{escape(operation.get('summary', ''))}.</p>"
    parameters = operation.get("parameters", [])
    if parameters:
        yield "<h3>Parameters</h3><table><tr><th>name</th><th>where</th><th>what</th></tr>"
        for one in parameters:
            cells = f"<code>{escape(one['name'])}</code>", escape(one["in"]), escape(one.get("description", ""))
            yield "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
        yield "</table>"
    if content := operation.get("requestBody", {}).get("content"):
        yield "<h3>Body</h3>"
        yield from _content(content)
    yield "<h3>Answers</h3>"
    for status, answer in operation.get("responses", {}).items():
        yield f"<p><strong>{escape(status)}</strong> {escape(answer.get('description', ''))}</p>"
        if status == "200":
            yield from _content(answer.get("content", {}))


def _content(content: dict[str, Any]) -> Iterator[str]:
    for kind, media in content.items():
        yield f"<p><code>{escape(kind)}</code></p>"
        if schema := media.get("schema"):
            yield f"<pre>{escape(json.dumps(schema, indent=2))}</pre>"
