"""uvicorn around an application: in this process, or in several that share a socket."""

import asyncio
import contextlib
import functools
import ipaddress
import signal
import socket
from typing import Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from bottleneck_features.web.create_app import create_app
from bottleneck_features.web.service import Service
from bottleneck_features.web.transport.connections import IDLE_SECONDS, Connection
from bottleneck_features.web.transport.problems import Problem
from cache.errors import AT_ONCE, UserError, log

GRACE = 60  # seconds in which what is in flight at the end is answered
STOPPED = "stopped: what was in flight is answered"
HANG_UP = getattr(signal, "SIGHUP", None)  # Windows has none
# For `uvicorn.Config`. Nothing is logged of requests, and no header names the software.
SETTINGS: dict[str, Any] = {
    "http": Connection,
    "ws": "none",
    "lifespan": "on",
    "log_config": None,
    "log_level": "error",
    "access_log": False,
    "server_header": False,
    "proxy_headers": False,
    "timeout_keep_alive": IDLE_SECONDS,
    "timeout_graceful_shutdown": GRACE,
}


def run_server(model: str, host: str, port: int, workers: int, options: dict[str, Any]) -> int:
    """Serve until SIGINT or SIGTERM, then answer what is in flight; the exit status. options: of `create_app`.

    SIGHUP puts the model's file in place anew. Raises UserError for a model that cannot be loaded, and for an address
    that cannot be had.
    """
    log.addFilter(_at_once)
    if not (_is_loopback(host) or options.get("token")):
        log.warning("anybody who reaches %s may ask this service: give --token to prevent that", host)
    if workers > 1:
        factory = functools.partial(create_app, model, **options)
        factory()  # for what it refuses
        config = uvicorn.Config(factory, factory=True, workers=workers, **SETTINGS)
        with listening(host, port) as listener:
            _announce(model, host, listener)
            processes = Multiprocess(config, [listener])
            processes.run()
        if any(process.exitcode == STARTUP_FAILURE for process in processes.processes):
            return 1
        log.info(STOPPED)
        return 0
    app = create_app(model, **options)
    app.service.start()
    server = _Server(uvicorn.Config(app, **SETTINGS), app.service)
    with listening(host, port) as listener:
        _announce(model, host, listener)
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises the signal again when it has ended
            server.run([listener])
    log.info(STOPPED)
    return 0


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, service: Service):
        super().__init__(config)
        self._service = service
        self._reloading: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn; and hear SIGHUP."""
        await super().startup(sockets)
        if HANG_UP:
            asyncio.get_running_loop().add_signal_handler(HANG_UP, self._on_hang_up)

    def _on_hang_up(self) -> None:
        if self._reloading is None or self._reloading.done():
            self._reloading = asyncio.ensure_future(self._reload())

    async def _reload(self) -> None:
        with contextlib.suppress(Problem):  # the log says why
            await asyncio.to_thread(self._service.reload)


def listening(host: str, port: int) -> socket.socket:
    """A socket at the address, for the processes that inherit it too."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        listener = socket.create_server(address[:2], family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise UserError(f"cannot listen at {host}, port {port}: {getattr(error, 'strerror', None) or error}") from None
    listener.set_inheritable(True)
    return listener


def _announce(model: str, host: str, listener: socket.socket) -> None:
    name = f"[{host}]" if ":" in host else host
    log.info("%s answers at http://%s:%d (the API: /docs); Ctrl-C ends it", model, name, listener.getsockname()[1])


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _at_once(record: Any) -> bool:
    """A service does not end: its warnings do not wait for the end."""
    vars(record).update(AT_ONCE)
    return True
