"""How much a service takes on: each limit has a default, and an option of `create_app` by its name."""

from dataclasses import dataclass, fields
from typing import Any, Self

from cache.arguments import Allowed, number, whole
from cache.errors import UserError, did_you_mean

MIB = 2**20
ALLOWED: dict[str, Allowed] = {
    "max_body": whole(1024),
    "max_pixels": whole(1),
    "max_pictures": whole(1),
    "max_queue": whole(1),
    "max_client": whole(1),
    "max_seconds": number(0, open_end=True),
    "max_connections": whole(1),
}


@dataclass(frozen=True)
class Limits:
    """What is refused, and what with.

    max_body         bytes of the body of a request: 413
    max_pixels       pixels of a picture, by its header: 413
    max_pictures     pictures of a request: 413
    max_queue        pictures that wait to be answered, of all requests: 503
    max_client       requests of one address that are being answered: 429
    max_seconds      for an answer, from when the body is there: 503
    max_connections  that are open; one that waits for nothing is closed for a new one
    """

    max_body: int = 64 * MIB
    max_pixels: int = 178_956_970  # of a JPEG; Pillow takes half as many of others
    max_pictures: int = 64
    max_queue: int = 512
    max_client: int = 64
    max_seconds: float = 30.0
    max_connections: int = 12_000

    @classmethod
    def of(cls, options: dict[str, Any]) -> Self:
        """The defaults, changed by options. Raises UserError for another name, and for what is no such number."""
        for name, value in options.items():
            if name not in ALLOWED:
                known = [field.name for field in fields(cls)]
                raise UserError(f"option {name!r}: {did_you_mean(name, known)}limits are {', '.join(known)}")
            if not ALLOWED[name].test(value):
                raise UserError(f"{name}={value!r} is not valid: give {ALLOWED[name].words}")
        return cls(**options)

    @property
    def max_memory(self) -> int:
        """Bytes of all bodies together that are in memory: 503."""
        return 4 * max(self.max_body, 32 * MIB)
