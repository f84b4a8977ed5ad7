"""What happened to each of many images: it has a row, or there is a reason why not."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from cache.spec import DIGEST_BYTES
from featurize.images import Failure
from featurize.sources import Source


@dataclass
class Extraction:
    """The images, what became of them, and what that cost.

    digests          32 bytes for each image, None where it failed
    reasons          position -> one line, for the images without a row
    new              keys of the rows that were computed; byte-identical copies have one
    forward_passes   pictures that went through the network
    seconds          first read to last commit
    startup_seconds  building the network, not contained in `seconds`
    """

    sources: Sequence[Source]
    digests: list[bytes | None]
    reasons: dict[int, str] = field(default_factory=dict)
    new: set[bytes] = field(default_factory=set)
    forward_passes: int = 0
    seconds: float = 0.0
    startup_seconds: float = 0.0

    @property
    def computed(self) -> int:
        """Images whose row was computed; their byte-identical copies do not count."""
        return len(self.new)

    @property
    def failures(self) -> list[Failure]:
        """The images without a row, in order; those that came without a path are called "image 1", from 1."""
        return [Failure(self._name(position), reason) for position, reason in sorted(self.reasons.items())]

    @property
    def succeeded(self) -> list[int]:
        """Positions of the images that have a row."""
        return [position for position, digest in enumerate(self.digests) if digest is not None]

    @property
    def keys(self) -> np.ndarray:
        """Digests of the images that have a row: (n, 32) uint8."""
        return as_keys([digest for digest in self.digests if digest is not None])

    def fail(self, position: int, reason: str) -> None:
        """Note that the image at `position` has no row."""
        self.digests[position] = None
        self.reasons[position] = reason

    def add_cost_of(self, earlier: "Extraction") -> None:
        """Count what an earlier attempt at the same images has computed and cost."""
        self.new |= earlier.new
        self.forward_passes += earlier.forward_passes
        self.seconds += earlier.seconds
        self.startup_seconds += earlier.startup_seconds

    def _name(self, position: int) -> str:
        source = self.sources[position]
        return source if isinstance(source, str) else f"image {position + 1}"


def as_keys(digests: Sequence[bytes]) -> np.ndarray:
    """Digests as an array of keys: (n, 32) uint8."""
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, DIGEST_BYTES)
