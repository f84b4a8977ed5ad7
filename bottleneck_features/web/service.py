"""The service behind the routes: one model in place, the one before it, and the pool that answers.

Nothing is loaded, and no thread started, before `start`: an application that is created before a fork loads its model
in the child.
"""

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from bottleneck_features.web.limits import Limits
from bottleneck_features.web.pool import RETRY_AFTER, Full, Pool
from bottleneck_features.web.served_model import ServedModel, load_model
from bottleneck_features.web.transport.bodies import Memory
from bottleneck_features.web.transport.problems import Problem
from cache.errors import UserError, log

if TYPE_CHECKING:
    from featurize.decoding.decode import Inputs, NetworkInput
    from featurize.extract.forward import Decoder
    from featurize.pictures.sources import Reserve

Result = TypeVar("Result")


class Service:
    """What the routes use. path: of the model; options: of `pipeline.load`; isolate: decode in other processes."""

    def __init__(self, path: str, limits: Limits, options: dict[str, Any] | None = None, isolate: bool = False):
        self.limits = limits
        self.memory = Memory(limits.max_memory)
        self._path = path
        self._options = options or {}
        self._isolate = isolate
        self._process = 0  # that has started
        self._starting = threading.Lock()
        self._swapping = threading.Lock()
        self._places: tuple[ServedModel | None, ServedModel | None] = (None, None)  # in place, before it
        self._loaded = 0
        self._clients: Counter[str] = Counter()

    def start(self) -> None:
        """Load the model and start the pool, once in each process. Raises UserError as `pipeline.load`."""
        if self._process == os.getpid():
            return
        with self._starting:
            if self._process == os.getpid():
                return
            from featurize.extract.forward import WORKERS

            self._open = ExitStack()
            self._decoder = self._open.enter_context(_decoder(self.limits.max_pixels, self._isolate))
            self._places = (self._load(), None)
            self._pool = Pool(WORKERS, self.limits.max_queue)
            self._open.callback(self._pool.close)
            self._process = os.getpid()

    def close(self) -> None:
        """Answer what waits, then end threads and processes."""
        if self._process == os.getpid():
            self._process = 0
            self._open.close()

    @property
    def model(self) -> ServedModel:
        """The model in place. Raises Problem before there is one."""
        if self._process != os.getpid() or self._places[0] is None:
            raise Problem(503, "the model is being loaded", RETRY_AFTER)
        return self._places[0]

    @property
    def waiting(self) -> int:
        """How many pictures wait to be answered."""
        return self._pool.waiting if self._process == os.getpid() else 0

    def reload(self) -> ServedModel:
        """Load the model's file anew and put it in place, in one step; keep the one before. Raises Problem."""
        with self._in_turn():
            try:
                found = self._load()
            except (UserError, OSError) as error:
                log.error("the model in place stays, the new one cannot be loaded: %s", error)
                raise Problem(
                    409, "the new model cannot be loaded, the log of the service says why: the one in place stays"
                ) from None
            self._places = (found, self._places[0])
            log.info("model %d is in place, digest %s", found.number, found.digest)
            return found

    def restore(self) -> ServedModel:
        """Put the model before back in place, and keep the one that is there. Raises Problem where there is none."""
        with self._in_turn():
            found, before = self._places
            if before is None:
                raise Problem(409, "there is no model before this one: none has been replaced")
            self._places = (before, found)
            log.info("model %d is back in place, digest %s", before.number, before.digest)
            return before

    def about(self) -> dict[str, Any]:
        """The model in place and the one before it, as JSON; no path."""
        before = self._places[1]
        previous = before and {"number": before.number, "digest": before.digest}
        return self.model.about() | {"previous": previous}

    async def answers(self, model: ServedModel, pictures: Sequence[bytes]) -> list[Any]:
        """For each picture what `ServedModel.answers` says. Raises Problem as `ask`."""
        return await self._wait(model.answers, model.direct.batch, pictures)

    async def ask(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """`function(*arguments)` in a thread of the pool, after what waits already.

        Raises what it raises, and Problem 503 where too much waits, or it takes too long.
        """

        def together(items: Sequence[Any]) -> list[Result]:
            return [function(*item) for item in items]

        found: list[Result] = await self._wait(together, 1, [arguments])
        return found[0]

    async def _wait(self, function: Any, most: int, items: Sequence[Any]) -> list[Any]:
        await self.ready()
        try:
            futures = self._pool.put(function, most, items)
        except Full:
            raise Problem(503, "too many pictures wait for an answer: try again", RETRY_AFTER) from None
        try:
            async with asyncio.timeout(self.limits.max_seconds):  # cancels what still waits, as does a client that goes
                return await asyncio.gather(*futures)
        except TimeoutError:
            took = f"no answer within {self.limits.max_seconds:g} s: try again"
            raise Problem(503, took, RETRY_AFTER) from None

    async def ready(self) -> None:
        """Load the model where the server has not told the application to start. Raises Problem."""
        if self._process == os.getpid():
            return
        try:
            await asyncio.to_thread(self.start)
        except (UserError, OSError) as error:
            log.error("the model cannot be loaded: %s", error)
            raise Problem(503, "the model cannot be loaded: the log of the service says why") from None

    @contextmanager
    def client(self, address: str) -> Iterator[None]:
        """Count a request of an address in the body. Raises Problem 429 where it has too many."""
        if self._clients[address] >= self.limits.max_client:
            raise Problem(429, f"{self.limits.max_client} requests of this address are being answered", RETRY_AFTER)
        self._clients[address] += 1
        try:
            yield
        finally:
            self._clients[address] -= 1
            if not self._clients[address]:
                del self._clients[address]

    def _load(self) -> ServedModel:
        found = load_model(self._path, self._loaded + 1, self._options, self._decoder)
        self._loaded = found.number
        return found

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        if not self._swapping.acquire(blocking=False):
            raise Problem(409, "a model is being put in place right now: try again", RETRY_AFTER)
        try:
            yield
        finally:
            self._swapping.release()


@contextmanager
def _decoder(most_pixels: int, isolate: bool) -> "Iterator[Decoder]":
    """`decode_limited`, in this process or isolated."""
    if isolate:
        from featurize.decoding.isolation import isolated_decoder

        with isolated_decoder(most_pixels) as isolated:
            yield isolated
        return
    from featurize.pictures.pixel_limit import decode_limited

    def decoder(data: bytes, inputs: "Collection[NetworkInput]", reserve: "Reserve") -> "Inputs":
        return decode_limited(data, inputs, reserve, most_pixels)

    yield decoder
