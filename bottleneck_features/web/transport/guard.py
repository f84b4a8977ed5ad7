"""Who may ask, and the headers of every answer: around the application, before anything of a request is read.

A page of another site that is open on this machine can send requests here, and by a name that it lets point at
127.0.0.1 it could read the answers (DNS rebinding). So a name of the host must be known, and what a browser says of
where a request comes from must be this site. With a token none of this is enough to ask: it is needed as well.
"""

import hmac
import ipaddress
import re
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

from bottleneck_features.web.transport.problems import MEDIA_TYPE, Problem

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

API = "/v1/"
LOCAL_NAMES = frozenset({"localhost"})
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
HERE = frozenset({"same-origin", "none"})  # of Sec-Fetch-Site; "none": typed by the user

# As for the report: nothing is fetched from elsewhere, nothing runs but what this host serves as a file.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    b"content-security-policy": PAGE_POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"permissions-policy": b"camera=(self), microphone=(), geolocation=()",
    b"cache-control": b"no-store",
}


class Guard:
    """An ASGI application around another one.

    max_connections: that may be open at once. token: without it nothing of `API` is answered. hosts: names beside
    `LOCAL_NAMES` under which the service is reached.
    """

    def __init__(self, app: Application, max_connections: int, token: str | None = None, hosts: Collection[str] = ()):
        self.max_connections = max_connections
        self._app = app
        self._token = token
        self._hosts = LOCAL_NAMES | {name.lower().removesuffix(".") for name in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or handle one event of the application's life."""
        if scope["type"] != "http":
            await self._app(scope, receive, _shortened(send))
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                added = [(name, value) for name, value in HEADERS.items() if name not in given]
                message["headers"] = [*message["headers"], *added]
            elif head:
                message["body"] = b""
            await send(message)

        head = scope["method"] == "HEAD"
        try:
            self._check(scope["method"], scope["path"], _named(scope["headers"]))
        except Problem as problem:
            await send_problem(problem, with_headers)
            return
        # What answers GET answers HEAD, which monitors and load balancers ask.
        await self._app({**scope, "method": "GET"} if head else scope, receive, with_headers)

    def _check(self, method: str, path: str, headers: dict[bytes, list[str]]) -> None:
        """Raise Problem for what may not ask."""
        hosts = headers.get(b"host", [])
        if len(hosts) != 1:
            raise Problem(400, "the request has no Host, or several")
        if not (self._token or self._is_known(hosts[0])):
            raise Problem(421, "no service of this name is here: use its address, or name it with --allow-host")
        api, origins = path.startswith(API), headers.get(b"origin", [])
        elsewhere = not HERE.issuperset(headers.get(b"sec-fetch-site", []))
        if (api or method not in SAFE) and (elsewhere or any(_authority(origin) != hosts[0] for origin in origins)):
            raise Problem(403, "a page of another site may not ask this service")
        if api and self._token and not self._has_token(headers.get(b"authorization", [])):
            problem = Problem(401, "send the token of this service: Authorization: Bearer TOKEN")
            problem.headers["www-authenticate"] = "Bearer"
            raise problem

    def _is_known(self, host: str) -> bool:
        """Whether a host is an address, which cannot be made to point elsewhere, or a known name."""
        found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(:\d{1,5})?", host)
        name = found[1].lower().strip("[]") if found else ""
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.removesuffix(".") in self._hosts
        return True

    def _has_token(self, sent: list[str]) -> bool:
        kind, _, token = sent[0].partition(" ") if len(sent) == 1 else ("", "", "")
        right = hmac.compare_digest(token.strip().encode(), (self._token or "").encode())
        return kind.lower() == "bearer" and right


def _named(headers: list[tuple[bytes, bytes]]) -> dict[bytes, list[str]]:
    found: dict[bytes, list[str]] = {}
    for name, value in headers:
        found.setdefault(name, []).append(value.decode("latin-1"))
    return found


def _authority(origin: str) -> str:
    """The host and port of an origin, as a Host header has them; "null" is that of no host."""
    return origin.partition("://")[2]


def _shortened(send: Send) -> Send:
    """Of why an application does not start, the line and not the traceback."""

    async def shortened(message: Message) -> None:
        if "message" in message:
            message["message"] = message["message"].strip().rpartition("\n")[2]
        await send(message)

    return shortened


async def send_problem(problem: Problem, send: Send) -> None:
    """Answer a request with a problem."""
    body = problem.body
    headers = {"content-type": MEDIA_TYPE, "content-length": str(len(body))} | problem.headers
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
