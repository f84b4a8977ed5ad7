"""Images -> pixels, decoded in threads ahead of the network -> feature rows, batch by batch."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cache.spec import content_digest
from featurize.decode import decode
from featurize.engine import BATCH, Engine
from featurize.images import ImageError
from featurize.parallel import in_order
from featurize.sources import Source, bytes_of


@dataclass(frozen=True)
class Picture:
    """One decoded image: the digest of the very bytes that were decoded, and `pixels` or the reason why not."""

    digest: bytes
    pixels: np.ndarray | None
    reason: str = ""


@dataclass(frozen=True)
class Row:
    """Features (d,) of the image at `position`, or the reason why it has none."""

    position: int
    digest: bytes
    features: np.ndarray | None
    reason: str = ""


def decoded(sources: Sequence[Source], size: tuple[int, int], resize: str, view: str) -> Iterator[Picture]:
    """That view of each source, decoded to `size` (height, width), in order, two batches ahead at most."""

    def one(source: Source) -> Picture:
        digest = b""
        try:
            data = bytes_of(source)
            digest = content_digest(data)
            return Picture(digest, decode(data, size, resize, view))
        except ImageError as error:
            return Picture(digest, None, str(error))

    return in_order(one, sources, ahead=2 * BATCH)


def forward(pictures: Iterable[Picture], ready_engine: Callable[[], Engine]) -> Iterator[list[Row]]:
    """The rows of `pictures`: those of a batch together, as soon as it is full, and each failure at once.

    `ready_engine` is asked once, when the first picture has been decoded.
    """
    batch: list[tuple[int, Picture]] = []
    engine: Engine | None = None
    for position, picture in enumerate(pictures):
        if picture.pixels is None:
            yield [Row(position, picture.digest, None, picture.reason)]
            continue
        engine = engine or ready_engine()
        batch.append((position, picture))
        if len(batch) == BATCH:
            yield _rows(batch, engine)
            batch = []
    if engine and batch:
        yield _rows(batch, engine)


def _rows(batch: list[tuple[int, Picture]], engine: Engine) -> list[Row]:
    features = engine(np.stack([picture.pixels for _, picture in batch if picture.pixels is not None]))
    return [
        Row(position, picture.digest, row)
        if np.isfinite(row).all()
        else Row(position, picture.digest, None, "its features are not finite numbers")
        for (position, picture), row in zip(batch, features, strict=True)
    ]
