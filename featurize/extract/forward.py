"""Images -> pixels -> feature rows. Each thread takes pictures through all steps, so no step waits for another.

A thread reads, decodes and computes as many pictures as the engine takes at once, then the next ones. Pixels exist
only there; only rows wait to be stored. One decode gives all views of a picture for all networks, and their rows come
together.
"""

from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from cache.signatures import no_signatures
from featurize.decoding.decode import Decoded, Inputs, NetworkInput, decode_inputs
from featurize.decoding.memory_gate import MemoryGate, Reservation
from featurize.engines.engine import Function
from featurize.extract.outcome import Missing, Outcome, Progress
from featurize.machine.parallel import THREADS, in_order
from featurize.pictures.find_images import ImageError
from featurize.pictures.sources import Reserve, Source, bytes_of, digest_of

# `featurize.decoding.decode.decode_inputs`, or its like
Decoder = Callable[[bytes, Collection[NetworkInput], Reserve], Inputs]

Network = tuple[Function, np.dtype]  # computes rows; what they are stored as

# One more than there are cores, because one always waits, for the interpreter or for the network. With MobileNetV2 at
# 224 on 2 cores that makes 10% in float32, and nothing in bfloat16.
WORKERS = THREADS + 1

# Pictures that a thread decodes, then takes through one network after the other. To change between two networks with
# each picture costs 12% of the time that joined backbones take (2 cores, float32); of one network nothing is lost.
AT_ONCE = 16

LOST = 1e-3  # share of a row's length: rounding to float16 alone changes it by half of this at most


@dataclass(frozen=True)
class Pace:
    """How far the network may run ahead of the disk.

    least     pictures that the engine computes fastest together
    batch     pictures that a thread takes at once, a multiple of `least`; fewer towards the end, so that all threads
              end together
    batches   how many of them may be in flight: being computed, or computed and not yet taken from the queue
    commit    pictures whose rows are committed together. With those in flight they never exceed `most`
    """

    least: int
    batch: int
    batches: int
    commit: int

    @classmethod
    def within(cls, most: int, batch: int, views: int = 1) -> "Pace":
        """At most `most` rows are computed and not committed at any moment; the engine is fastest with `batch` rows.

        An eighth of them may be computed while the others are written, more where the threads need that. A picture has
        a row for each of its `views`: what may be lost, and waits in memory, is the same however many there are.
        """
        most, least = max(1, most // views), max(1, batch // views)
        least = min(least, most)
        at_once = min(max(1, AT_ONCE // views), most // (2 * WORKERS))  # all threads have some
        batch = max(1, at_once // least) * least
        batches = max(1, min(max(most // (8 * batch), WORKERS), (most + 1) // (2 * batch)))
        return cls(least, batch, batches, most + 1 - batch * batches)

    def cut(self, numbers: range) -> list[range]:
        """The pictures of these numbers as batches."""
        batches = []
        while numbers:
            left = len(numbers) // (2 * WORKERS)
            size = max(self.least, min(self.batch, left // self.least * self.least))
            batches.append(numbers[:size])
            numbers = numbers[size:]
        return batches


@dataclass(frozen=True)
class Picture:
    """One image: the digest of the decoded bytes, and what was decoded for each network, or the reason why nothing.

    Neither of one whose row is not wanted.
    """

    position: int
    digest: bytes
    decoded: Sequence[Decoded] = ()
    reason: str = ""


@dataclass(frozen=True)
class Row:
    """Features (views, d) of the image at `position` by each network: of all its views, or None for the reason given.

    There are none of an image that could not be decoded, or whose row is not wanted. signature: of the image, without
    contrast then. note, changed: as in `featurize.decoding.decode.Decoded`.
    """

    position: int
    digest: bytes
    features: Sequence[np.ndarray | None]
    signature: np.ndarray
    reason: str = ""
    note: str = ""
    changed: str = ""


def compute(
    outcome: Outcome,
    missing: Missing,
    inputs: Sequence[NetworkInput],
    ready: Callable[[], tuple[Sequence[Network], Pace]],
    keep: Callable[[int, Row], None],
    decoder: Decoder,
    progress: Progress | None = None,
) -> np.ndarray:
    """Call `keep` with position and row of each picture of `missing`: by each network, of all views that lack a row.

    `inputs`: what each network takes, in all views; `ready` as for `forward`. Failures are noted in `outcome`. Whatever
    ends the run, what is computed by then is kept. Returns positions (m,) of images that have changed since they were
    hashed, and of their former copies: they may still lack a row.
    """
    ready_rows: deque[Row] = deque()
    left: list[int] = []
    done = 0

    def lacking_inputs(number: int, digest: bytes) -> list[NetworkInput]:
        if not missing.wants(digest):
            return []
        return [
            each._replace(views=tuple(each.views[view] for view in np.flatnonzero(views)))
            for each, views in zip(inputs, missing.lacking[number], strict=True)
        ]

    def take(row: Row) -> None:
        position = int(missing.first[row.position])
        copies = missing.copies.get(position, [])
        if outcome.digests[position] != row.digest:  # the file has changed since it was hashed, or cannot be read
            left.extend(copies if row.reason else [position, *copies])
            copies = []
        computed = any(features is not None for features in row.features)
        if computed or not row.reason:
            outcome.digests[position] = row.digest
        if computed:
            keep(position, row)
        if row.reason:
            for failed in (position, *copies):
                outcome.fail(failed, row.reason)
        else:
            outcome.note(position, row.note, row.changed)

    sources = [outcome.sources[position] for position in missing.first]
    try:
        with closing(forward(sources, lacking_inputs, ready, ready_rows, decoder)) as steps:
            for count in steps:
                for _ in range(count):
                    take(ready_rows.popleft())
                done += count
                if progress:
                    progress("features", done, len(missing))
    finally:
        while ready_rows:
            take(ready_rows.popleft())
    return np.array(sorted(left), np.int64)


def forward(
    sources: Sequence[Source],
    inputs: Callable[[int, bytes], Sequence[NetworkInput]],
    ready: Callable[[], tuple[Sequence[Network], Pace]],
    rows: deque[Row],
    decoder: Decoder = decode_inputs,
) -> Generator[int, None, None]:
    """Append the rows of all `sources` to `rows`, as they are computed; yields how many are there to be taken.

    Rows beyond those counts may lie there already. Whoever leaves them has the network at work while it stores others.

    `inputs` gives what each network takes of the source at a position, which has this digest; nothing where its row is
    not wanted, and it is not decoded then. `ready` gives the networks; it is called once,
    for the first picture that can be decoded. After `close()`, `rows` holds every computed row, even after an
    exception.
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
            if not (asked := inputs(position, digest)):
                return Picture(position, digest)
            found = decoder(data, dict.fromkeys(asked), reservation.picture)
            return Picture(position, digest, [found[wanted] for wanted in asked])
        except ImageError as error:
            return Picture(position, digest, reason=str(error))

    for first in range(len(sources)):
        picture = look(first)
        if picture.decoded:
            break
        rows.append(_failure(picture))
        yield 1
    else:
        return
    networks, pace = ready()

    def add_batch(batch: range) -> int:
        rows.extend(rows_of([picture if i == first else look(i) for i in batch], networks))
        return len(batch)

    batches = pace.cut(range(first, len(sources)))
    some = len(batches) > 1
    yield from in_order(add_batch, batches, pace.batches - 1, WORKERS) if some else map(add_batch, batches)


def rows_of(pictures: Sequence[Picture], networks: Sequence[Network]) -> Iterator[Row]:
    """The rows of decoded pictures, and those of the others with their reasons; computed in the calling thread."""
    good = [picture for picture in pictures if picture.decoded]
    yield from (_failure(picture) for picture in pictures if not picture.decoded)
    if not good:
        return
    of_networks = []
    for number, (compute, dtype) in enumerate(networks):
        pixels = [picture.decoded[number].pixels for picture in good]
        ends = np.cumsum([len(views) for views in pixels])
        features = np.split(compute(pixels[0] if len(pixels) == 1 else np.concatenate(pixels)), ends[:-1])
        of_networks.append([as_stored(rows, dtype) for rows in features])
    for picture, *stored in zip(good, *of_networks, strict=True):
        first = picture.decoded[0]
        reason = next((reason for _, reason in stored if reason), "")
        features = [rows for rows, _ in stored]
        yield Row(picture.position, picture.digest, features, first.signature, reason, first.note, first.changed)


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
    return Row(picture.position, picture.digest, (), no_signatures(1)[0], picture.reason)
