"""Decode in separate processes: a hostile picture ends its process, and only that picture fails.

The parent trusts no answer: it hashes the bytes itself, and accepts only pixels of the size it asked for, or a line of
text. This is no sandbox. A picture that takes over the process may do what the user may, within limits on memory, time
and the size of files.
"""

import sys

from cache.errors import UserError

if sys.platform == "win32":
    raise UserError("a process of Windows has no limits of memory and time: leave out --isolate (isolate=)")

import json
import os
import select
import signal
import subprocess
import time
from collections import deque
from collections.abc import Collection
from contextlib import closing

import numpy as np

from cache.signatures import no_signatures
from featurize.decoding.decode import Decoded, Inputs, NetworkInput
from featurize.decoding.decode_worker import ANSWER, MEMORY, PIXELS, READY, REASON, REQUEST
from featurize.pictures.find_images import ImageError
from featurize.pictures.sources import MOST, Reserve, within_limit

MEMORY_LIMIT = 2 * 10**9  # bytes of addresses: the interpreter and one picture
SECONDS = 60  # for one picture
GRACE = 5  # seconds after which the parent ends what has not ended itself
LONGEST_REASON = 1000  # bytes; also of note and changed of one input
MOST_ASKED = 6  # times that one picture may ask for memory: a file that is mended is decoded again
START = "import sys; sys.path[:] = sys.argv[4:]; from featurize.decoding.decode_worker import main; main()"


def isolated_decoder(most_pixels: int = 0) -> "closing[IsolatedDecoder]":
    """A context: `decode_inputs` as a function that decodes in other processes, which end with the context.

    most_pixels: pictures of more are refused, see `featurize.pictures.pixel_limit`; by default as many as Pillow takes.
    """
    return closing(IsolatedDecoder(most_pixels))


class IsolatedDecoder:
    """Called as `decode_inputs` is, by several threads, with one process for each concurrent call."""

    def __init__(self, most_pixels: int = 0) -> None:
        self._most_pixels = most_pixels
        self._workers: list[_Worker] = []
        self._idle: deque[_Worker] = deque()

    def __call__(self, data: bytes, inputs: Collection[NetworkInput], reserve: Reserve = within_limit) -> Inputs:
        """As `decode_inputs`; raises ImageError also for what ends the process or takes over `SECONDS`."""
        try:
            worker = self._idle.pop()
        except IndexError:
            worker = _Worker(self._most_pixels)
            self._workers.append(worker)
        try:
            result = worker.decode(data, inputs, reserve)
        except ImageError:  # where it stands now nobody knows; the next picture gets another one
            worker.end()
            self._workers.remove(worker)
            raise
        self._idle.append(worker)
        if isinstance(result, str):
            raise ImageError(result)
        return result

    def close(self) -> None:
        """End all processes."""
        for worker in self._workers:
            worker.end()


class _Worker:
    """One process. What it does wrong is an ImageError."""

    def __init__(self, most_pixels: int) -> None:
        paths = [os.path.abspath(path) for path in sys.path]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", START, str(MEMORY_LIMIT), str(SECONDS), str(most_pixels), *paths],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # each thread more is 40 MB of addresses
            start_new_session=True,  # Ctrl-C is for the parent
        )
        assert self._process.stdin and self._process.stdout
        self._requests, self._answers = self._process.stdin.fileno(), self._process.stdout.fileno()
        for end in (self._requests, self._answers):
            os.set_blocking(end, False)
        try:
            if self._answer() != (READY, 0):
                raise ImageError("it says nonsense")
        except ImageError as error:
            self.end()
            raise UserError(
                f"cannot decode in a process of its own ({error}): leave out --isolate (isolate=)"
            ) from None

    def decode(self, data: bytes, inputs: Collection[NetworkInput], reserve: Reserve) -> Inputs | str:
        """The picture, or the reason why there are none. After an ImageError the process is of no more use."""
        described = json.dumps(list(inputs)).encode()
        self._send(REQUEST.pack(len(data), len(described)) + described)
        self._send(data)
        kind, count = self._answer()
        for _ in range(MOST_ASKED * len(inputs)):
            if kind != MEMORY:
                break
            reserve(max(count, min(count + len(data), MOST)))  # it has the file as well
            self._send(b"\1")
            kind, count = self._answer()
        if kind == REASON and count <= LONGEST_REASON:
            return _printable(self._text(count))
        arrays = [array for wanted in inputs for array in _room_for(wanted)]
        texts = count - sum(array.nbytes for array in arrays)
        if kind != PIXELS or not 2 * len(inputs) - 1 <= texts <= LONGEST_REASON * len(inputs):
            raise ImageError(f"the decoder answered {kind!r}, {count}")
        for array in arrays:
            self._take(array)
        said = [_printable(text) for text in self._text(texts).split("\0", 2 * len(inputs) - 1)]
        said += [""] * (2 * len(inputs) - len(said))
        decoded = map(Decoded, arrays[::2], arrays[1::2], said[::2], said[1::2])
        return dict(zip(inputs, decoded, strict=True))

    def end(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()

    def _answer(self) -> tuple[bytes, int]:
        header = self._take(np.empty(ANSWER.size, np.uint8))
        kind, count = ANSWER.unpack(header.tobytes())
        return kind, count

    def _text(self, count: int) -> str:
        return self._take(np.empty(count, np.uint8)).tobytes().decode(errors="replace")

    def _take(self, into: np.ndarray) -> np.ndarray:
        """`into`, filled with what the process says next."""
        view = into.reshape(-1).view(np.uint8).data
        deadline = time.monotonic() + SECONDS + GRACE
        while view:
            self._wait(self._answers, select.POLLIN, deadline)
            count = os.readv(self._answers, [view])
            if not count:
                raise ImageError(self._cause_of_death())
            view = view[count:]
        return into

    def _send(self, data: bytes) -> None:
        view = memoryview(data)
        deadline = time.monotonic() + SECONDS + GRACE
        while view:
            self._wait(self._requests, select.POLLOUT, deadline)
            try:
                view = view[os.write(self._requests, view) :]
            except BrokenPipeError:
                raise ImageError(self._cause_of_death()) from None

    def _wait(self, end: int, event: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(end, event)
        if not poll.poll(max(0, (deadline - time.monotonic()) * 1000)):
            raise ImageError(f"decoding it takes more than {SECONDS} s")

    def _cause_of_death(self) -> str:
        try:
            status = self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            return "the decoder fell silent on it"
        if status == -signal.SIGALRM:
            return f"decoding it takes more than {SECONDS} s"
        return f"the decoder died on it ({f'signal {-status}' if status < 0 else f'exit status {status}'})"


def _room_for(wanted: NetworkInput) -> tuple[np.ndarray, np.ndarray]:
    """Arrays for the pixels and the signature of an input."""
    shape = (len(wanted.views), *wanted.size, 3)
    return np.empty(shape, np.float32 if wanted.resize == "bilinear" else np.uint8), no_signatures(1)[0]


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
