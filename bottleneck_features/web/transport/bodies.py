"""The pictures of a request: read with limits on bytes and time, taken out of what it came in. Nothing goes to a disk.

A body that comes too slowly is ended. Where all bodies together take too much memory, the largest that is still coming
is ended: large ones that stall do not keep out small ones.
"""

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bottleneck_features.web.limits import Limits
from bottleneck_features.web.transport.problems import Problem

if TYPE_CHECKING:
    from starlette.requests import Request

WINDOW, LEAST = 10.0, 64 * 1024  # in each so many seconds so many bytes come, or the rest
MOST_SECONDS = 120.0  # for a whole body
IN_LOOP = 256 * 1024  # bytes that are taken apart at once; more are in a thread, others are answered meanwhile
LONGEST_NAME = 255
RETRY_AFTER = 2
ACCEPTED = "send multipart/form-data, the bytes of a picture (image/* or application/octet-stream), or application/json"


@dataclass(frozen=True)
class Upload:
    """The bytes of an image file, and what the client calls it; "" where it does not say."""

    name: str
    data: bytes


@dataclass(eq=False)
class _Reading:
    """A body that is coming: its bytes so far, what ends it, and whether it was ended for want of memory."""

    size: int = 0
    timeout: asyncio.Timeout | None = None
    is_ended: bool = False


class Memory:
    """At most so many bytes of all bodies together. Of one event loop."""

    def __init__(self, most: int):
        self._most = most
        self._taken = 0
        self._coming: set[_Reading] = set()

    def start(self, reading: _Reading, timeout: asyncio.Timeout) -> None:
        """From now on `reading` may be ended for others."""
        reading.timeout = timeout
        self._coming.add(reading)

    def take(self, reading: _Reading, size: int) -> None:
        """Count bytes that have come. Raises Problem where they are too many and this body is the largest."""
        if self._taken + size > self._most:
            largest = max((one for one in self._coming if not one.is_ended), key=lambda one: one.size, default=reading)
            if largest is reading or largest.timeout is None:
                raise _no_memory()
            largest.is_ended = True
            largest.timeout.reschedule(asyncio.get_running_loop().time())
        self._taken += size
        reading.size += size

    def arrived(self, reading: _Reading) -> None:
        """The body is complete: it is not ended any more."""
        self._coming.discard(reading)

    def give_back(self, reading: _Reading) -> None:
        """The body is gone."""
        self._coming.discard(reading)
        self._taken -= reading.size


@asynccontextmanager
async def uploads_of(request: "Request", limits: Limits, memory: Memory) -> AsyncIterator[list[Upload]]:
    """The pictures of a request, one at least; their memory counts until the end of the context.

    Raises Problem: 408 for a body that is too slow, 413 for too many bytes or pictures, 415 for another kind of body,
    422 for one without pictures, 400 for one that is damaged, 503 where there is no memory for it.
    """
    take_apart = _kind(request, limits)
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > limits.max_body:
        raise _too_large(limits)
    reading = _Reading()
    try:
        data = await _body(request, limits, memory, reading)
        found = take_apart(data) if len(data) <= IN_LOOP else await asyncio.to_thread(take_apart, data)
        del data
        if not found:
            raise Problem(422, "the request has no picture")
        yield found
    finally:
        memory.give_back(reading)


async def _body(request: "Request", limits: Limits, memory: Memory, reading: _Reading) -> bytes:
    clock = asyncio.get_running_loop().time
    chunks: list[bytes] = []
    came, end = 0, clock() + MOST_SECONDS
    try:
        async with asyncio.timeout(WINDOW) as timeout:
            memory.start(reading, timeout)
            async for chunk in request.stream():
                if reading.size + len(chunk) > limits.max_body:
                    raise _too_large(limits)
                memory.take(reading, len(chunk))
                chunks.append(chunk)
                came += len(chunk)
                if came >= LEAST and not reading.is_ended:
                    came = 0
                    timeout.reschedule(min(clock() + WINDOW, end))
    except TimeoutError:
        raise _no_memory() if reading.is_ended else Problem(408, "the body comes too slowly") from None
    memory.arrived(reading)
    return b"".join(chunks)


def _kind(request: "Request", limits: Limits) -> Callable[[bytes], list[Upload]]:
    """What takes the pictures out of the body, by its type. Raises Problem 415."""
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Problem(415, "the body is encoded: send it as it is")
    text = request.headers.get("content-type", "application/octet-stream")
    kind = text.partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return lambda data: _of_form(data, text, limits)
    if kind == "application/json":
        return lambda data: _of_json(data, limits)
    if kind == "application/octet-stream" or kind.startswith("image/"):
        return lambda data: [Upload("", data)] if data else []
    raise Problem(415, f"a body of type {kind[:100]!r}: {ACCEPTED}")


def _of_form(data: bytes, content_type: str, limits: Limits) -> list[Upload]:
    """Each part as a picture."""
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser, parse_options_header

    found: list[Upload] = []
    name, value, disposition = bytearray(), bytearray(), bytearray()
    pieces: list[bytes] = []

    def part_begins() -> None:
        if len(found) >= limits.max_pictures:
            raise _too_many(limits)
        disposition.clear()

    def header_ends() -> None:
        if bytes(name).lower() == b"content-disposition":
            disposition[:] = value
        name.clear()
        value.clear()

    def part_ends() -> None:
        _, options = parse_options_header(bytes(disposition))
        found.append(_upload(options.get(b"filename", b"").decode(errors="replace"), b"".join(pieces)))
        pieces.clear()

    _, parameters = parse_options_header(content_type)
    try:
        parser = MultipartParser(
            parameters.get(b"boundary", b""),
            {
                "on_part_begin": part_begins,
                "on_part_data": lambda data, start, end: pieces.append(data[start:end]),
                "on_part_end": part_ends,
                "on_header_field": lambda data, start, end: name.extend(data[start:end]),
                "on_header_value": lambda data, start, end: value.extend(data[start:end]),
                "on_header_end": header_ends,
            },
        )
        if not parameters.get(b"boundary"):
            raise FormParserError("no boundary")
        parser.write(data)
        parser.finalize()
    except FormParserError:
        raise Problem(400, "the multipart form is damaged") from None
    return found


def _of_json(data: bytes, limits: Limits) -> list[Upload]:
    """The pictures of {"pictures": [...]}: each base64, or {"name": ..., "data": base64}."""
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        raise Problem(400, "the body is no JSON") from None
    pictures = said.get("pictures") if isinstance(said, dict) else None
    if not isinstance(pictures, list):
        raise Problem(422, 'send {"pictures": [{"name": "a.jpg", "data": "BASE64"}]}, or base64 alone as each picture')
    if len(pictures) > limits.max_pictures:
        raise _too_many(limits)
    return [_of_entry(number, entry) for number, entry in enumerate(pictures, start=1)]


def _of_entry(number: int, entry: Any) -> Upload:
    fields = {"data": entry} if isinstance(entry, str) else entry
    if not isinstance(fields, dict) or not fields.keys() <= {"name", "data"}:
        raise Problem(
            422, f"picture {number} is no base64 and no object with name and data: paths and URLs are not read"
        )
    name, data = fields.get("name", ""), fields.get("data")
    if not isinstance(name, str) or not isinstance(data, str):
        raise Problem(422, f"picture {number}: its name and its data are texts")
    try:
        return _upload(name, base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError):
        raise Problem(422, f"picture {number}: its data is no base64") from None


def _upload(name: str, data: bytes) -> Upload:
    return Upload("".join(c if c.isprintable() else "?" for c in name[:LONGEST_NAME]), data)


def _too_many(limits: Limits) -> Problem:
    return Problem(413, f"the request has more than {limits.max_pictures} pictures")


def _no_memory() -> Problem:
    return Problem(503, "too many large bodies at once: try again", RETRY_AFTER)


def _too_large(limits: Limits) -> Problem:
    return Problem(413, f"the body is larger than {limits.max_body} bytes")
