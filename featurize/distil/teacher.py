"""The targets of the student: the teacher's cached map of every crop, and its pooled features."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cache.errors import UserError
from cache.row_key import DIGEST_BYTES
from cache.store import FeatureStore
from featurize.backbones.network import build_tail
from featurize.extract.network_extractor import NetworkExtractor
from featurize.extract.outcome import Progress
from featurize.pictures.find_images import Failure
from featurize.pictures.recipes import views_of
from featurize.resolve import Resolved


@dataclass(frozen=True)
class Crops:
    """Crops of photographs, and the cached rows that the teacher gave for them.

    `stores` has one store for each of `views`, with a row for each of `digests` (n, 32) uint8, those of `paths`.
    The photographs are sorted by their digests, which is as good as a random order.
    """

    paths: list[str]
    digests: np.ndarray
    views: list[str]
    stores: list[FeatureStore]
    failures: list[Failure]
    forward_passes: int


def crops_with_rows(
    paths: Sequence[str], teacher: Resolved, recipe: str, count: int, cache_dir: str, progress: Progress
) -> Crops:
    """The first `count` crops of each photograph, the teacher's rows computed where the cache lacks them.

    Rows are flattened maps of the teacher's layer, in float16. Byte-identical photographs count once; one that fails
    is left out, and named in `failures`.
    """
    views = views_of(recipe, count)
    spec = replace(teacher.spec, pooling="flatten", stored="float16")
    extractor = NetworkExtractor(replace(teacher, spec=spec, views=tuple(views)), cache_dir)
    outcome = extractor.run(paths, progress)
    pairs = zip(outcome.digests, paths, strict=True)
    found = dict(sorted((digest, path) for digest, path in pairs if digest is not None))
    return Crops(
        paths=list(found.values()),
        digests=np.frombuffer(b"".join(found), np.uint8).reshape(-1, DIGEST_BYTES),
        views=views,
        stores=extractor.stores,
        failures=outcome.failures,
        forward_passes=outcome.forward_passes,
    )


def pooling_teacher(teacher: Resolved) -> tuple[tuple[int, int, int], int, Callable[[np.ndarray], np.ndarray]]:
    """(shape of a cached map, number of the teacher's features, function from rows of maps to those features).

    The function takes (n, values) float16 and gives (n, features) float32.
    """
    import tensorflow as tf

    size = teacher.spec.size
    if size is None:
        raise UserError(f"{teacher.network} takes images of any size: give --size, such as --size 224")
    tail = build_tail(teacher.network, teacher.weights, size, teacher.spec.layer or None)
    shape = tail.input_shape[1:]
    if len(shape) != 3 or None in shape:
        raise UserError(f"layer {teacher.spec.layer} of {teacher.network} gives no map of fixed size, but {shape}")

    @tf.function(reduce_retracing=True)
    def pooled(maps: Any) -> Any:
        return tf.reduce_mean(tail(tf.cast(maps, tf.float32), training=False), axis=(1, 2))

    return shape, tail.output_shape[-1], lambda rows: pooled(rows.reshape(-1, *shape)).numpy()
