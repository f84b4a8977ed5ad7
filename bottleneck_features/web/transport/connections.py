"""Connections that cost little: uvicorn waits for ever for a request that never comes, this does not.

A connection on which no request comes is closed, and so is one on which an answer is not taken. Where as many are open
as may be, the one that waits longest for a request makes room for a new one, then one whose body is still coming.
"""

import asyncio
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from bottleneck_features.web.transport.problems import MEDIA_TYPE, Problem, title

if TYPE_CHECKING:
    _Base: Any = object
else:
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as _Base
    except ImportError:  # on Windows, where httptools is not asked for
        from uvicorn.protocols.http.h11_impl import H11Protocol as _Base

IDLE_SECONDS = 20  # for a request to begin and its headers to end, from the connection or the answer before
REQUEST_SECONDS = 300  # for a request to be read and its answer to be taken
MOST_HEADERS = 64 * 1024  # bytes of headers; also of what may come between two pieces of a body
MOST_FIELDS = 200
MOST_DISCARDED = 16 * 2**20  # bytes of a body that is refused, so that its client reads why
SPARE_FILES = 256  # for everything but connections


class Connection(_Base):
    """What uvicorn makes for each connection: `Config(http=Connection)`."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._timer: asyncio.TimerHandle | None = None
        self._is_active = False  # a request is being read or answered
        self._came = 0  # bytes since the last request, or the last piece of a body
        # Those without a request, longest first: of all connections of this server.
        self._idle: dict[Connection, None] = self.server_state.__dict__.setdefault("idle", {})

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Start to wait for a request; make room where too many are open."""
        super().connection_made(transport)
        self._idle[self] = None
        self._wait(IDLE_SECONDS)
        if len(self.connections) > getattr(self.app, "max_connections", sys.maxsize) or (
            len(self.connections) > _most_files() - SPARE_FILES
        ):
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        self._idle.pop(self, None)
        if self._timer:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Take what has come; refuse too much of it."""
        self._came += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        self._see()
        is_discarding = self.cycle is not None and self.cycle.response_complete and self.cycle.more_body
        if self._came > (MOST_DISCARDED if is_discarding else MOST_HEADERS + len(data)):
            self.refuse(Problem(431, "the headers are too large"), is_silent=self._is_active or is_discarding)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        if not self.transport.is_closing():
            self._see()
            self._wait(REQUEST_SECONDS if self._is_active else IDLE_SECONDS)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Refuse too many, also after a body."""
        if len(self.headers) >= MOST_FIELDS:
            raise ValueError("too many headers")
        super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """Count anew with each piece of a body."""
        self._came = 0
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, and close."""
        self.refuse(Problem(400, msg))

    def refuse(self, problem: Problem, is_silent: bool = False) -> None:
        """Close; say why before, unless an answer is under way."""
        if not is_silent:
            body = problem.body
            lines = (
                f"HTTP/1.1 {problem.status} {title(problem.status)}",
                f"content-type: {MEDIA_TYPE}",
                f"content-length: {len(body)}",
                *(f"{name}: {value}" for name, value in problem.headers.items()),
                "connection: close\r\n\r\n",
            )
            self.transport.write("\r\n".join(lines).encode() + body)
        self.transport.close()

    def _see(self) -> None:
        """Note whether a request has begun or ended."""
        is_active = self.cycle is not None and not self.cycle.response_complete
        if is_active == self._is_active:
            return
        self._is_active, self._came = is_active, 0
        if is_active:
            self._idle.pop(self, None)
            self._wait(REQUEST_SECONDS)
        else:
            self._idle[self] = None

    def _wait(self, seconds: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, self._too_late)

    def _too_late(self) -> None:
        if self._is_active:
            self.transport.abort()
        else:
            self.refuse(Problem(408, "no request came"), is_silent=not self._came)

    def _make_room(self) -> None:
        oldest = next(iter(self._idle), self)
        if oldest is self:  # no other is idle
            coming = (one for one in self.connections if one is not self and one.is_coming)
            oldest = next(coming, self)
        if oldest is self:
            self.refuse(Problem(503, "too many connections: try again", 2))
        else:
            oldest.transport.abort()
            self._idle.pop(oldest, None)

    @property
    def is_coming(self) -> bool:
        """Whether the body of a request is still coming."""
        return self._is_active and bool(self.cycle.more_body) and not self.cycle.response_started


@lru_cache(maxsize=1)
def _most_files() -> int:
    """How many files this process may have open, which is raised to what the system allows."""
    if sys.platform == "win32":
        return sys.maxsize
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard
