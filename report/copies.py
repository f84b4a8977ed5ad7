"""Which pictures of a folder are one picture: byte-identical files, and files that look all but the same.

Rows of features do not tell: half the size and JPEG quality 60 may leave a cosine of 0.65. Pixels do: at 24 x 24 such a
copy differs from its original by at most 0.20 of the contrast, and the nearest pictures that a person calls different
by 0.41 or more (all pictures of four sets of photographs). `ALIKE` lies between. Whether planted copies are found, and
no others: `python benchmarks/findings.py FOLDER --weights FILE`.
"""

import logging
from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from classify.numerics import Floats
from classify.split import Indices, duplicate_groups
from featurize.decode import decode
from featurize.images import ImageError
from featurize.parallel import THREADS, in_order
from featurize.room import SharedMemory
from featurize.sources import bytes_of
from report.findings import Copies

log = logging.getLogger("bottleneck")

SIDE = 24  # pixels, to which all are stretched
COARSE = 8  # pixels, which are means of the others: their difference is never the larger one
ALIKE = 0.3  # root mean square of the difference of two pixels, as a share of the contrast
LEAST_CONTRAST = 4.0  # steps of 255: below it what differs is how JPEG rounds
BLOCK = 1024  # pictures on each side of a block of products


def same_pictures(paths: Sequence[str], digests: np.ndarray) -> Indices:
    """Number the pictures: (n,), equal numbers for copies of one picture.

    digests (n, 32) uint8. Every picture is decoded once, small. One that can no longer be read is announced, and is a
    copy of byte-identical ones alone.
    """
    exact = duplicate_groups(digests)
    first = np.unique(exact, return_index=True)[1]
    one, other = _alike(_pixels([paths[i] for i in first]))
    links = coo_array((np.ones(len(one), bool), (one, other)), shape=(len(first), len(first)))
    return connected_components(links, directed=False)[1].astype(np.intp)[exact]


def copies_of(
    groups: Indices, digests: np.ndarray, labels: np.ndarray, folders: np.ndarray, parts: np.ndarray
) -> list[Copies]:
    """The groups of two and more, in the order of their first members.

    groups, labels, folders (of the data's own split) and parts ("train", "scored", "other"): (n,).
    """
    exact = duplicate_groups(digests)
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    found = [
        Copies(
            kind="exact" if len(set(exact[some])) == 1 else "near",
            members=some.tolist(),
            straddles=len(set(folders[some])) > 1 or {"train", "scored"} <= set(parts[some]),
            labels_differ=len(set(labels[some])) > 1,
        )
        for some in members
        if len(some) > 1
    ]
    return sorted(found, key=lambda copies: copies.members[0])


def _alike(pixels: Floats) -> tuple[Indices, Indices]:
    """Numbers (p,), (p,) of the pictures, of `pixels` (n, SIDE, SIDE, 3), that look the same."""
    n, block = len(pixels), SIDE // COARSE
    most = ALIKE * np.maximum(pixels.std(axis=(1, 2)).mean(axis=1), LEAST_CONTRAST)
    coarse = pixels.reshape(n, COARSE, block, COARSE, block, 3).mean(axis=(2, 4)).reshape(n, -1) - 128
    squares = np.square(coarse).mean(axis=1)
    found = [np.empty((2, 0), np.intp)]
    for start in range(0, n, BLOCK):
        rows = slice(start, start + BLOCK)
        for begin in range(start, n, BLOCK):
            columns = slice(begin, begin + BLOCK)
            distances = (
                squares[rows, None] + squares[columns] - coarse[rows] @ coarse[columns].T * (2 / coarse.shape[1])
            )
            near = distances <= np.square(np.minimum(most[rows, None], most[columns])) * 1.01  # for rounding
            one, other = np.nonzero(near)
            pairs = np.stack([one + start, other + begin])[:, one + start < other + begin]
            found += np.array_split(pairs, range(BLOCK, pairs.shape[1], BLOCK), axis=1)
    one, other = np.concatenate([some[:, _differ(pixels, *some) <= most[some].min(axis=0)] for some in found], axis=1)
    return one, other


def _differ(pixels: Floats, one: Indices, other: Indices) -> Floats:
    """The root mean square of the differences of the pixels of pictures (p,) and (p,): (p,)."""
    return np.sqrt(np.square(pixels[one] - pixels[other]).mean(axis=(1, 2, 3)))


def _pixels(paths: Sequence[str]) -> Floats:
    """The pictures at `paths` (n,), small: (n, SIDE, SIDE, 3) float32, NaN where one cannot be read."""
    memory = SharedMemory(THREADS)

    def small(path: str) -> Floats | None:
        try:
            with memory.picture() as room:
                pixels = decode(bytes_of(path, room.file), (SIDE, SIDE), room=room.picture)
        except ImageError as error:
            log.warning("not compared with other pictures: %s: %s", path, error)
            return None
        return pixels.astype(np.float32)

    result = np.full((len(paths), SIDE, SIDE, 3), np.nan, np.float32)
    for number, pixels in enumerate(in_order(small, paths, ahead=4 * THREADS)):
        if pixels is not None:
            result[number] = pixels
    return result
