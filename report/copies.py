"""Which pictures of a folder are one picture: byte-identical files, and files that look all but the same.

Rows of features say which pictures may be alike, and pixels whether they are. Rows alone group different pictures of
one scene, pixels alone would have to be compared each with each.

At 24 x 24 pixels a copy of half the size and JPEG quality 60 differs from its original by at most 0.20 of the
contrast; the nearest pictures that a person calls different, by 0.41 or more. `ALIKE` lies between. Measured on all
pictures of four sets of photographs: `python benchmarks/findings.py FOLDER --weights FILE`.
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
from report.neighbours import nearest

log = logging.getLogger("bottleneck")

CANDIDATES = 10  # pictures with the nearest rows, whose pixels are compared
SIDE = 24  # pixels, to which both are stretched
ALIKE = 0.3  # root mean square of the difference of two pixels, as a share of the contrast
LEAST_CONTRAST = 4.0  # steps of 255: below it what differs is how JPEG rounds


def same_pictures(paths: Sequence[str], digests: np.ndarray, rows: Floats) -> Indices:
    """Number the pictures: (n,), equal numbers for copies of one picture.

    digests (n, 32) uint8; rows (n, d) of length 1. Every picture is decoded once, small. One that can no longer be
    read is announced, and is a copy of byte-identical ones alone.
    """
    exact = duplicate_groups(digests)
    first = np.unique(exact, return_index=True)[1]
    numbers, cosines = nearest(rows[first], np.arange(len(first)), np.arange(len(first)), CANDIDATES)
    one, rank = np.nonzero(np.isfinite(cosines))
    other = numbers[one, rank]
    pixels = _pixels([paths[i] for i in first])
    alike = _alike(pixels, one, other)
    links = coo_array((alike[alike], (one[alike], other[alike])), shape=(len(first), len(first)))
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


def _alike(pixels: Floats, one: Indices, other: Indices) -> np.ndarray:
    """Whether pictures (p,) and (p,) of `pixels` (n, SIDE * SIDE, 3) look the same: (p,) bool."""
    contrast = np.maximum(pixels.std(axis=1).mean(axis=1), LEAST_CONTRAST)
    alike = np.empty(len(one), bool)
    for start in range(0, len(one), 1024):
        a, b = one[start : start + 1024], other[start : start + 1024]
        difference = np.sqrt(np.square(pixels[a] - pixels[b]).mean(axis=(1, 2)))
        alike[start : start + 1024] = difference <= ALIKE * np.minimum(contrast[a], contrast[b])
    return alike


def _pixels(paths: Sequence[str]) -> Floats:
    """The pictures at `paths` (n,), small: (n, SIDE * SIDE, 3) float32, NaN where one cannot be read."""
    memory = SharedMemory(THREADS)

    def small(path: str) -> Floats | None:
        try:
            with memory.picture() as room:
                pixels = decode(bytes_of(path, room.file), (SIDE, SIDE), room=room.picture)
        except ImageError as error:
            log.warning("not compared with other pictures: %s: %s", path, error)
            return None
        return pixels.reshape(-1, 3).astype(np.float32)

    result = np.full((len(paths), SIDE * SIDE, 3), np.nan, np.float32)
    for number, pixels in enumerate(in_order(small, paths, ahead=4 * THREADS)):
        if pixels is not None:
            result[number] = pixels
    return result
