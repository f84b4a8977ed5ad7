"""Images -> pixels -> feature rows. Each thread takes pictures through all steps, so no step waits for another.

A thread reads, decodes and computes as many pictures as the engine takes at once, then the next ones. Pixels exist
only there; only rows wait to be stored. One decode gives all views of a picture, and their rows come together.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cache.row_key import FeatureSpec
from cache.signatures import no_signatures
from featurize.decoding.decode import Decoded, decode_views
from featurize.decoding.memory_gate import MemoryGate, Reservation
from featurize.engines.engine import Function
from featurize.machine.parallel import THREADS, in_order
from featurize.pictures.find_images import ImageError
from featurize.pictures.sources import Reserve, Source, bytes_of, digest_of

# `featurize.decoding.decode.decode_views`, or its like
Decoder = Callable[[bytes, tuple[int, int], str, Sequence[str], Reserve, int], Decoded]

# One more than there are cores, because one always waits, for the interpreter or for the network. With MobileNetV2 at
# 224 on 2 cores that makes 10% in float32, and nothing in bfloat16.
WORKERS = THREADS + 1

LOST = 1e-3  # share of a row's length: rounding to float16 alone changes it by half of this at most


@dataclass(frozen=True)
class Pace:
    """How far the network may run ahead of the disk.

    batch     pictures that a thread takes at once
    batches   how many of them may be in flight: being computed, or computed and not yet taken from the queue
    commit    pictures whose rows are committed together. With those in flight they never exceed `most`
    """

    batch: int
    batches: int
    commit: int

    @classmethod
    def within(cls, most: int, batch: int) -> "Pace":
        """At most `most` pictures are computed and not committed at any moment; the engine is fastest with `batch`.

        An eighth of them may be computed while the others are written, more where the threads need that.
        """
        batch = min(batch, most)
        batches = max(1, min(max(most // (8 * batch), WORKERS), (most + 1) // (2 * batch)))
        return cls(batch, batches, most + 1 - batch * batches)


@dataclass(frozen=True)
class Picture:
    """One decoded image: the digest of the decoded bytes, and their pixels or the reason why there are none."""

    position: int
    digest: bytes
    decoded: Decoded | None
    reason: str = ""


@dataclass(frozen=True)
class Row:
    """Features (views, d) of the image at `position`, of all its views, or the reason why it has none.

    signature: of the image, without contrast where it could not be decoded. note, changed: as in
    `featurize.decoding.decode.Decoded`.
    """

    position: int
    digest: bytes
    features: np.ndarray | None
    signature: np.ndarray
    reason: str = ""
    note: str = ""
    changed: str = ""


def forward(
    sources: Sequence[Source],
    spec: FeatureSpec,
    size: tuple[int, int],
    views: Callable[[int], Sequence[str]],
    ready: Callable[[], tuple[Function, Pace]],
    rows: deque[Row],
    decoder: Decoder = decode_views,
) -> Generator[int, None, None]:
    """Append the rows of all `sources` to `rows`, as they are computed; yields how many are there to be taken.

    Rows beyond those counts may lie there already. Whoever leaves them has the network at work while it stores others.

    `size` is that of the input, (height, width) in pixels. `views` names those that are wanted of the source at a
    position. `ready` gives what computes rows; it is called once, for the first picture that can be decoded. After
    `close()`, `rows` holds every computed row, even after an exception.
    """
    memory = MemoryGate(WORKERS)

    def look(position: int) -> Picture:
        with memory.picture() as reservation:  # given back once only the pixels are left
            return decoded(position, reservation)

    def decoded(position: int, reservation: Reservation) -> Picture:
        digest = b""
        try:
            data = bytes_of(sources[position], reservation.file)
            digest = digest_of(data)
            return Picture(
                position, digest, decoder(data, size, spec.resize, views(position), reservation.picture, spec.decoder)
            )
        except ImageError as error:
            return Picture(position, digest, None, str(error))

    for first in range(len(sources)):
        picture = look(first)
        if picture.decoded is not None:
            break
        rows.append(_failure(picture))
        yield 1
    else:
        return
    compute, pace = ready()

    def add_batch(start: int) -> int:
        batch = range(start, min(start + pace.batch, len(sources)))
        rows.extend(_rows([picture if i == first else look(i) for i in batch], compute, spec.row_dtype))
        return len(batch)

    batches = range(first, len(sources), pace.batch)
    some = len(batches) > 1
    yield from in_order(add_batch, batches, pace.batches - 1, WORKERS) if some else map(add_batch, batches)


def _rows(pictures: Sequence[Picture], compute: Function, dtype: np.dtype) -> Iterator[Row]:
    good = [(picture, picture.decoded) for picture in pictures if picture.decoded is not None]
    yield from (_failure(picture) for picture in pictures if picture.decoded is None)
    if good:
        pixels = [decoded.pixels for _, decoded in good]
        ends = np.cumsum([len(views) for views in pixels])
        features = np.split(compute(pixels[0] if len(pixels) == 1 else np.concatenate(pixels)), ends[:-1])
        for (picture, decoded), rows in zip(good, features, strict=True):
            stored, reason = as_stored(rows, dtype)
            said = reason, decoded.note, decoded.changed
            yield Row(picture.position, picture.digest, stored, decoded.signature, *said)


def as_stored(rows: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray | None, str]:
    """The rows (views, ...) float32 of a picture as `dtype`; None and the reason where that type cannot hold them.

    In float16 numbers above 65504 are infinite, and below 6e-5 digits are lost: a row that would change by more than
    `LOST` of its length is not stored.
    """
    if not np.isfinite(rows).all():
        return None, "its features are not finite numbers: the network gives NaN or infinity"
    with np.errstate(over="ignore", under="ignore"):
        stored = rows.astype(dtype, copy=False)
    largest = np.abs(rows).max(initial=0)
    advice = f"{dtype} does not hold them: store float32 (--stored float32)"
    if not np.isfinite(stored).all():
        return None, f"its features reach {largest:.6g}, beyond {np.finfo(dtype).max:g}: {advice}"
    if stored.dtype != rows.dtype:
        exact = rows.reshape(len(rows), -1).astype(np.float64)
        changed = np.linalg.norm(stored.reshape(exact.shape) - exact, axis=1)
        if (changed > LOST * np.linalg.norm(exact, axis=1)).any():
            return None, f"its features are {largest:.3g} at most, too small: {advice}"
    return stored, ""


def _failure(picture: Picture) -> Row:
    return Row(picture.position, picture.digest, None, no_signatures(1)[0], picture.reason)
