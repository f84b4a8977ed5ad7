"""The training data of the student: crops as pixels, with the teacher's maps and pooled features of the same crops.

Maps are read from the cache in runs of photographs; batches mix several runs. Pixels and pooled features are computed
once and kept in plain array files beside the student.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cache.errors import UserError
from cache.row_key import content_digest
from featurize.decoding.decode import DECODER, decode
from featurize.distil.teacher import Crops
from featurize.extract.outcome import Progress
from featurize.machine.parallel import in_order
from featurize.pictures.find_images import ImageError
from featurize.pictures.sources import read

RUN = 512  # photographs of one view that are read at a time
MIXED = 8  # runs in memory, from which batches are drawn
HELD_OUT = 400  # photographs that the student is measured on, and never trained on

Run = tuple[int, slice, bool]  # number of the view, photographs, whether they are mirrored


class Batch(NamedTuple):
    """pixels (n, side, side, 3) uint8, the teacher's maps (n, h, w, c) float16 and its features (n, d) float16."""

    pixels: np.ndarray
    maps: np.ndarray
    features: np.ndarray


@dataclass(frozen=True)
class Samples:
    """pixels (views, photographs, side, side, 3) uint8, features (views, photographs, d) float16, both on disk."""

    crops: Crops
    map_shape: tuple[int, int, int]
    pixels: np.ndarray
    features: np.ndarray

    @property
    def held_out(self) -> int:
        """How many photographs, the first ones, are held out."""
        return min(HELD_OUT, len(self.crops.paths) // 10)

    def read(self, view: int, photographs: slice) -> Batch:
        """Consecutive photographs in one view. Raises `DamagedShardError`."""
        rows = self.crops.stores[view].read(self.crops.digests[photographs])
        return Batch(
            self.pixels[view, photographs], rows.reshape(-1, *self.map_shape), self.features[view, photographs]
        )

    def batches(self, size: int, random: np.random.Generator) -> Iterator[Batch]:
        """Yield batches of `size` without end: every crop once in a random order, then again in another one.

        Half of the crops, at random, are mirrored together with their maps.
        """
        for mixed in in_order(self._read_mirrored, self._groups(random), ahead=1):
            order = random.permutation(len(mixed.pixels))
            for start in range(0, len(order) - size + 1, size):
                chosen = order[start : start + size]
                yield Batch(*(array[chosen] for array in mixed))

    def _groups(self, random: np.random.Generator) -> Iterator[list[Run]]:
        starts = range(self.held_out, len(self.crops.paths), RUN)
        runs = [(view, slice(start, start + RUN)) for view in range(len(self.crops.views)) for start in starts]
        while True:
            random.shuffle(runs)
            for first in range(0, len(runs), MIXED):
                yield [(*run, bool(random.integers(2))) for run in runs[first : first + MIXED]]

    def _read_mirrored(self, runs: list[Run]) -> Batch:
        parts = []
        for view, photographs, mirrored in runs:
            part = self.read(view, photographs)
            if mirrored:
                part = part._replace(pixels=part.pixels[:, :, ::-1], maps=part.maps[:, :, ::-1])
            parts.append(part)
        return Batch(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def prepare(
    crops: Crops,
    side: int,
    map_shape: tuple[int, int, int],
    dimension: int,
    pooled: Callable[[np.ndarray], np.ndarray],
    folder: str,
    progress: Progress,
) -> Samples:
    """The samples of `crops`, their pixels and pooled features kept in `folder`."""
    views, count = len(crops.views), len(crops.paths)

    def fill_pixels(pixels: np.ndarray) -> None:
        for view, name in enumerate(crops.views):

            def crop(number: int, name: str = name) -> np.ndarray:
                return decode(_unchanged(crops, number), (side, side), view=name)

            for number, decoded in enumerate(in_order(crop, range(count), ahead=64)):
                pixels[view, number] = decoded
                progress("crops", view * count + number + 1, views * count)

    def fill_features(features: np.ndarray) -> None:
        for view, store in enumerate(crops.stores):
            for start in range(0, count, RUN):
                features[view, start : start + RUN] = pooled(store.read(crops.digests[start : start + RUN]))
                progress("targets", view * count + min(count, start + RUN), views * count)

    identity = hashlib.sha256(crops.digests.tobytes())
    identity.update(f"{DECODER} {side} {[store.spec.fingerprint for store in crops.stores]}".encode())
    name = os.path.join(folder, identity.hexdigest()[:12])
    return Samples(
        crops,
        map_shape,
        _array_file(f"{name}-pixels.npy", (views, count, side, side, 3), np.uint8, fill_pixels),
        _array_file(f"{name}-features.npy", (views, count, dimension), np.float16, fill_features),
    )


def _unchanged(crops: Crops, number: int) -> bytes:
    """The bytes of a photograph that the teacher saw. Raises UserError where its file has changed or is gone."""
    path = crops.paths[number]
    try:
        data = read(path)
    except ImageError as error:
        raise UserError(f"{path}: {error}, since the teacher saw it: run again") from error
    if content_digest(data) != crops.digests[number].tobytes():
        raise UserError(f"{path} has changed since the teacher saw it: run again, it alone is computed again")
    return data


def _array_file(path: str, shape: tuple[int, ...], dtype: type, fill: Callable[[np.ndarray], None]) -> np.ndarray:
    """The array kept at `path`, made by `fill` where it is not there yet; present under that name only when whole."""
    if not os.path.exists(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        array = np.lib.format.open_memmap(path + ".tmp", mode="w+", dtype=dtype, shape=shape)
        _allocate(path + ".tmp")
        try:
            fill(array)
        except BaseException:  # the file is as large as all pixels, and the next run may need another one
            os.unlink(path + ".tmp")
            raise
        array.flush()
        os.replace(path + ".tmp", path)
    return np.load(path, mmap_mode="r")


def _allocate(path: str) -> None:
    """Reserve disk space for a sparse file: a full disk is an `OSError` now, and does not end the process later."""
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    with open(path, "r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, os.path.getsize(path))
        except OSError as error:
            os.unlink(path)
            raise OSError(error.errno, error.strerror, path) from error
