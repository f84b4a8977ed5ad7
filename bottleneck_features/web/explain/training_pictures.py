"""Which pictures of its training a model sees as most like a new one: their rows from the cache, their files on disk.

digests that the model names -> rows in the cache -> the nearest by cosine
                             -> files that the cache's table knows -> thumbnails, labels

A picture is named by its digest, never by a path, and only digests that the model names itself are answered.
"""

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast

import numpy as np

from cache.errors import UserError, log
from cache.row_key import content_digest
from cache.shard_file import DamagedShardError
from classify.heads.numerics import Floats, unit_rows
from classify.labels.read_labels import find_labelled
from classify.saved.classifier import Classifier
from classify.saved.data_source import label_options_of
from featurize.decoding.decode import decode_within
from featurize.outputs import is_below
from featurize.pictures.find_images import ImageError
from featurize.pictures.sources import read

MOST_BYTES = 128 * 2**20  # of the rows that are kept: 26,214 pictures of 1,280 features; of more some are drawn
CHUNK = 256  # pictures whose rows are read together: maps are large
SIDE, QUALITY = 240, 60  # of a thumbnail: longest side in pixels, of WebP


@dataclass(frozen=True)
class Neighbour:
    """A training picture near a new one. label: "" where it is not known; has_file: whether it has a thumbnail."""

    digest: str
    similarity: float
    label: str
    has_file: bool


@dataclass(frozen=True, eq=False)
class TrainingPictures:
    """Training pictures whose rows the cache holds.

    digests: (m, 32) uint8. units: (m, d) float32, rows of length 1. total: how many the model was trained on. files:
    digest -> path and label of those that are still where they were.
    """

    digests: np.ndarray
    units: Floats = field(repr=False)
    total: int
    files: Mapping[bytes, tuple[str, str]] = field(repr=False)

    @classmethod
    def of(cls, classifier: Classifier) -> "TrainingPictures":
        """Those of a model, from its cache. Raises UserError where the cache has none of them."""
        trained_on = classifier.saved.trained_on
        if not len(trained_on):
            raise UserError("this model does not say which pictures it was trained on")
        try:
            cached = trained_on[classifier.extractor.store.contains(trained_on)]
            if not len(cached):
                raise UserError("the training pictures are not here: the model was loaded without its cache")
            chosen = _drawn(cached, _width(classifier, cached))
            units = np.concatenate([unit_rows(rows) for rows in _rows(classifier, chosen)])
        except (KeyError, OSError, DamagedShardError) as error:
            log.error("the rows of the training pictures cannot be read: %s", error)
            raise UserError(
                "the rows of the training pictures cannot be read: the log of the service says why"
            ) from error
        return cls(chosen, units, len(trained_on), _files(classifier))

    def nearest(self, row: Floats, count: int) -> list[Neighbour]:
        """The `count` nearest ones to a row (d,), nearest first, by cosine similarity from -1 to 1."""
        cosines = self.units @ unit_rows(row.astype(np.float32))
        order = np.argsort(-cosines, kind="stable")[:count]
        return [self._neighbour(self.digests[number].tobytes(), float(cosines[number])) for number in order]

    def knows(self, data: bytes) -> bool:
        """Whether an image file is, byte for byte, one of them."""
        return bool((self.digests == np.frombuffer(content_digest(data), np.uint8)).all(axis=1).any())

    def thumbnail(self, digest: str) -> bytes | None:
        """A small WebP of the training picture with this hexadecimal digest; None where its file is not there.

        A file that has changed since is not the picture that the model was trained on: None as well.
        """
        try:
            key = bytes.fromhex(digest)
        except ValueError:
            return None
        if key not in self.files:
            return None
        try:
            data = read(self.files[key][0])
            if content_digest(data) != key:
                return None
            picture = decode_within(data, SIDE)
        except ImageError:
            return None
        file = io.BytesIO()
        picture.save(file, "WEBP", quality=QUALITY, method=4)
        return file.getvalue()

    def _neighbour(self, digest: bytes, similarity: float) -> Neighbour:
        _, label = self.files.get(digest, ("", ""))
        return Neighbour(digest.hex(), similarity, label, digest in self.files)


def row_of(classifier: Classifier, features: np.ndarray) -> Floats:
    """The row (d,) that stands for one picture, from its features as the model's extractor gives them.

    Of several views (M, d) the first, which is the picture as it is; of a map (h, w, c) the mean over its places.
    """
    first = features[0] if len(classifier.extractor.stores) > 1 else features
    return cast(Floats, _pooled(first[None])[0])


def _pooled(rows: np.ndarray) -> Floats:
    """Rows (n, d) float32; of maps (n, h, w, c) the means over their places."""
    places = tuple(range(1, rows.ndim - 1))
    return cast(Floats, rows.mean(axis=places, dtype=np.float32) if places else rows.astype(np.float32))


def _rows(classifier: Classifier, digests: np.ndarray) -> Iterator[Floats]:
    """The rows (n, d) of pictures with these digests, as they are, some at a time."""
    for start in range(0, len(digests), CHUNK):
        yield _pooled(classifier.extractor.store.read(digests[start : start + CHUNK]))


def _width(classifier: Classifier, digests: np.ndarray) -> int:
    return int(next(_rows(classifier, digests[:1])).shape[1])


def _drawn(digests: np.ndarray, width: int) -> np.ndarray:
    """As many of the pictures as fit into `MOST_BYTES`, always the same ones."""
    most = max(1, MOST_BYTES // (4 * width))
    if len(digests) <= most:
        return digests
    return digests[np.sort(np.random.RandomState(0).permutation(len(digests))[:most])]


def _files(classifier: Classifier) -> dict[bytes, tuple[str, str]]:
    """Digest -> path and label of the training pictures whose files the cache knows, and which are unchanged there."""
    known = classifier.extractor.table.holding([digest.tobytes() for digest in classifier.saved.trained_on])
    real = cache(os.path.realpath)  # of each folder once: records name places with all links resolved
    resolved = {path: os.path.join(real(os.path.dirname(path)), os.path.basename(path)) for path in known}
    try:
        labels = _labels(classifier, [*resolved.values()])
    except UserError:  # the folder or the table has gone
        labels = {}
    named = sorted(known, key=lambda path: resolved[path] in labels)  # of copies the last one stays: one with a label
    return {known[path]: (path, labels.get(resolved[path], "")) for path in named}


def _labels(classifier: Classifier, known: Sequence[str]) -> dict[str, str]:
    """Path -> label of the pictures of the place that the record names; none where it names none that is known here.

    A record comes from outside and might name any folder, also of another machine. It is looked into only where the
    cache, which is this machine's own, has `known` training pictures below it.
    """
    source: Any = classifier.saved.record.get("data")
    if not isinstance(source, dict):
        return {}
    folder, table = (source.get(name) for name in ("folder", "table"))
    if table is not None and not (isinstance(table, str) and os.path.isabs(table)):
        return {}  # a table in memory is named by its type
    root = folder if folder is not None else os.path.dirname(table or "")
    if not isinstance(root, str) or not any(path.startswith(os.path.join(root, "")) for path in known):
        return {}
    if table is not None and not is_below(table, os.path.dirname(root)):
        return {}
    images = find_labelled(folder, **label_options_of(source)).named_as(classifier.classes_)
    return dict(zip(images.paths, images.labels, strict=True))
