"""What happened to each of many images: it has a row, or there is a reason why not."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

import numpy as np

from cache.digest_table import DigestTable, Stamp, take_stamp
from cache.files.path_kinds import is_url
from cache.index import comparable
from cache.row_key import DIGEST_BYTES
from cache.store import FeatureStore
from featurize.machine.parallel import in_order
from featurize.pictures.find_images import Failure, ImageError
from featurize.pictures.places.read_ahead import ReadAt, reading_ahead
from featurize.pictures.sources import Source, digest_of, within_limit

Progress = Callable[[str, int, int], None]  # how far a run is: stage, done, total


def stage_progress(progress: Progress | None, stage: str) -> Callable[[int, int], None]:
    """`progress` for one stage: a function (done, total)."""
    return partial(progress, stage) if progress else lambda *_: None


AHEAD = 32
RECORD_EVERY = 2000  # digests remembered at a time: an interrupted first run keeps most of them


class Digests:
    """SHA-256 digests of n images, None for an image without one: 33 bytes each, a third of a list's."""

    def __init__(self, count: int):
        self._bytes = bytearray(DIGEST_BYTES * count)
        self._known = bytearray(count)

    def __len__(self) -> int:
        return len(self._known)

    def __getitem__(self, position: int) -> bytes | None:
        if not self._known[position]:
            return None
        return bytes(self._bytes[DIGEST_BYTES * position : DIGEST_BYTES * (position + 1)])

    def __setitem__(self, position: int, digest: bytes | None) -> None:
        self._known[position] = digest is not None
        if digest is not None:
            if len(digest) != DIGEST_BYTES:
                raise ValueError(f"a digest of {len(digest)} bytes")
            self._bytes[DIGEST_BYTES * position : DIGEST_BYTES * (position + 1)] = digest

    def __iter__(self) -> Iterator[bytes | None]:
        return map(self.__getitem__, range(len(self)))

    @property
    def known(self) -> np.ndarray:
        """Positions (m,) of the images that have one."""
        return np.flatnonzero(np.frombuffer(self._known, bool))

    def keys(self, positions: np.ndarray | list[int]) -> np.ndarray:
        """The digests at `positions` (m,): (m, 32) uint8."""
        return np.frombuffer(self._bytes, np.uint8).reshape(-1, DIGEST_BYTES)[positions]


@dataclass
class Outcome:
    """The images, what became of them, and what that cost.

    views            rows that each image has
    unread           position -> stamp, of objects of storage that are read only when they are decoded
    digests          of each image, None where it failed
    reasons          position -> one line, for the images without a row
    notes            position -> one line on an unusual picture, of those that were decoded in this run
    changed          position -> the kind of picture that decoder 2 reads otherwise than today's, of the same pictures
    new              (n, views) bool: rows that were computed; of byte-identical copies one
    forward_passes   rows that came out of the network
    seconds          first read to last commit
    startup_seconds  building the network, not contained in `seconds`
    """

    sources: Sequence[Source]
    views: int = 1
    digests: Digests = field(init=False)
    reasons: dict[int, str] = field(default_factory=dict)
    notes: dict[int, str] = field(default_factory=dict)
    changed: dict[int, str] = field(default_factory=dict)
    new: np.ndarray = field(init=False)
    unread: dict[int, Stamp | None] = field(default_factory=dict)
    forward_passes: int = 0
    seconds: float = 0.0
    startup_seconds: float = 0.0

    def __post_init__(self) -> None:
        self.digests = Digests(len(self.sources))
        self.new = np.zeros((len(self.sources), self.views), bool)

    @property
    def computed(self) -> int:
        """Images of which a row was computed; their byte-identical copies do not count."""
        return int(self.new.any(axis=1).sum())

    @property
    def failures(self) -> list[Failure]:
        """The images without a row, in order; those that came without a path are called "image 1", from 1."""
        return [Failure(self.name(position), reason) for position, reason in sorted(self.reasons.items())]

    @property
    def succeeded(self) -> list[int]:
        """Positions of the images that have a row."""
        positions: list[int] = self.digests.known.tolist()
        return positions

    @property
    def keys(self) -> np.ndarray:
        """Digests of the images that have a row: (n, 32) uint8."""
        return self.digests.keys(self.digests.known)

    def take_digests(self, table: DigestTable, progress: Progress | None = None, leave_objects: bool = False) -> None:
        """Take the SHA-256 of each image's bytes; only files are read that `table` does not know as they are.

        What cannot be read has failed. leave_objects: objects of storage that `table` does not know are left `unread`,
        because to read them twice would cost twice.
        """
        if objects := [n for n, source in enumerate(self.sources) if isinstance(source, str) and is_url(source)]:
            from cache.remote.objects import with_stamps

            self.sources = with_stamps(self.sources)
        known = table.unchanged([source for source in self.sources if isinstance(source, str)])
        for position, source in enumerate(self.sources):
            self.digests[position] = known.get(source) if isinstance(source, str) else None
        unknown = np.setdiff1d(np.arange(len(self.sources)), self.digests.known, assume_unique=True).tolist()
        if leave_objects and objects:
            self.unread = {n: take_stamp(self._path(n)) for n in objects if self.digests[n] is None}
            unknown = [n for n in unknown if n not in self.unread]
        with reading_ahead([self.sources[n] for n in unknown]) as read_at:
            self._hash(unknown, read_at, table, progress)

    def _hash(self, unknown: list[int], read_at: ReadAt, table: DigestTable, progress: Progress | None) -> None:
        learnt: list[tuple[str, Stamp, bytes]] = []

        def hashed(number: int) -> tuple[Stamp | None, bytes | str]:
            source = self.sources[unknown[number]]
            stamp = take_stamp(source) if isinstance(source, str) else None  # before reading, see Stamp
            try:
                is_object = isinstance(source, str) and is_url(source)
                return stamp, digest_of(read_at(number, within_limit) if is_object else source)
            except ImageError as error:
                return stamp, str(error)

        numbers = range(len(unknown))
        results = in_order(hashed, numbers, ahead=AHEAD) if len(unknown) > 1 else map(hashed, numbers)
        for done, (position, (stamp, digest)) in enumerate(zip(unknown, results, strict=True), start=1):
            source = self.sources[position]
            if isinstance(digest, str):
                self.fail(position, digest)
            else:
                self.digests[position] = digest
                if isinstance(source, str) and stamp:
                    learnt.append((source, stamp, digest))
            if len(learnt) >= RECORD_EVERY or done == len(unknown):
                table.record(learnt)
                learnt = []
            if progress:
                progress("reading", done, len(unknown))

    def record_read(self, table: DigestTable) -> None:
        """Record the digests of those `unread` objects that have been read by now."""
        read = {position: digest for position in self.unread if (digest := self.digests[position])}
        stamps = {position: self.unread.pop(position) for position in read}
        table.record([(self._path(n), stamp, read[n]) for n, stamp in stamps.items() if stamp])

    def _path(self, position: int) -> str:
        source = self.sources[position]
        assert isinstance(source, str)
        return source

    def note(self, position: int, note: str, changed: str) -> None:
        """Note what was decided about the image at `position`; "" is nothing."""
        if note:
            self.notes[position] = note
        if changed:
            self.changed[position] = changed

    def fail(self, position: int, reason: str) -> None:
        """Note that the image at `position` has no row."""
        self.digests[position] = None
        self.reasons[position] = reason

    def put(self, positions: np.ndarray, part: "Outcome") -> None:
        """Note what became of the images at `positions` (m,), which are those of `part`, and add its cost."""
        for number, position in enumerate(positions.tolist()):
            self.digests[position] = part.digests[number]
            if number in part.reasons:
                self.reasons[position] = part.reasons[number]
            self.note(position, part.notes.get(number, ""), part.changed.get(number, ""))
        self.new[positions] = part.new
        self._add_cost(part)

    def add(self, other: "Outcome") -> None:
        """Add the rows that another run computed for the same images, its notes and its cost."""
        self.new |= other.new
        self.notes = other.notes | self.notes
        self.changed = other.changed | self.changed
        self._add_cost(other)

    def _add_cost(self, other: "Outcome") -> None:
        self.forward_passes += other.forward_passes
        self.seconds += other.seconds
        self.startup_seconds += other.startup_seconds

    def name(self, position: int) -> str:
        """The path of an image, or "image 1", counted from 1."""
        source = self.sources[position]
        return source if isinstance(source, str) else f"image {position + 1}"


@dataclass(frozen=True)
class Missing:
    """Contents that lack rows: `first` (m,) is the position of one image of each, `copies` those of its other images.

    `lacking` (m, networks, views) says which views of each have no row by which network.
    """

    first: np.ndarray
    copies: dict[int, list[int]]
    lacking: np.ndarray

    @classmethod
    def of(cls, positions: np.ndarray, keys: np.ndarray, lacking: np.ndarray) -> "Missing":
        """Of images at `positions` (n,) that have `keys` (n, 32), in ascending order, and lack some of `lacking`."""
        _, index, inverse, counts = np.unique(
            comparable(keys), return_index=True, return_inverse=True, return_counts=True
        )
        copies: dict[int, list[int]] = {}
        for number in np.flatnonzero(counts[inverse] > 1):
            first = index[inverse[number]]
            if number != first:
                copies.setdefault(int(positions[first]), []).append(int(positions[number]))
        order = np.sort(index)
        return cls(positions[order], copies, lacking[order])

    def __len__(self) -> int:
        return len(self.first)

    def wants(self, _digest: bytes) -> bool:
        """Whether the picture that was just read, and has this digest, is to be computed."""
        return True

    def groups(self) -> Iterator[tuple[np.ndarray, "Missing"]]:
        """Contents that lack rows by the same networks: a mask (networks,) of these, and what lacks rows by them."""
        by_network = self.lacking.any(axis=2)
        for mask in np.unique(by_network, axis=0)[::-1]:
            which = (by_network == mask).all(axis=1)
            first = self.first[which]
            copies = {position: self.copies[position] for position in first.tolist() if position in self.copies}
            yield mask, replace(self, first=first, copies=copies, lacking=self.lacking[which][:, mask])

    @property
    def positions(self) -> np.ndarray:
        """The positions of all images of these contents."""
        others = [position for group in self.copies.values() for position in group]
        return np.sort(np.concatenate([self.first, np.array(others, np.int64)]))


class Stored(Protocol):
    """A network with a store for the rows of each view."""

    stores: list[FeatureStore]


@dataclass(frozen=True)
class Unread(Missing):
    """Pictures of storage that are read, hashed and decoded at once, because to read them twice would cost twice.

    Nobody has read them yet: each may turn out to be a copy of another, or to have its rows in `stores`.
    """

    stores: list[FeatureStore] = field(default_factory=list)
    _taken: set[bytes] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def at(cls, positions: np.ndarray, parts: Sequence[Stored]) -> "Unread":
        """Those at `positions` (m,), to be computed by all networks of `parts`, in all views."""
        lacking = np.ones((len(positions), len(parts), len(parts[0].stores)), bool)
        # stores of its own: those of the parts are in use by the thread that commits
        stores = [FeatureStore(os.path.dirname(each.folder), each.spec) for part in parts for each in part.stores]
        return cls(positions, {}, lacking, stores)

    def wants(self, digest: bytes) -> bool:
        """Whether this picture is the first of its content, and has no row yet.

        One that has some rows and lacks others is read again for these: no network computes a row twice.
        """
        key = np.frombuffer(digest, np.uint8)[None]
        with self._lock:
            if digest in self._taken:
                return False
            self._taken.add(digest)
            return not any(store.contains(key)[0] for store in self.stores)
