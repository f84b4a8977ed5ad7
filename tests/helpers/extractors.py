"""Extractors of a cache, what they give, and interruptions on the way."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from conftest import SPEC

from cache.digest_table import DigestTable
from featurize.extract.network_extractor import SHARD_ROWS, NetworkExtractor
from featurize.resolve import resolve


def extractor_in(cache: Path | str, shard_rows: int = SHARD_ROWS, **options: Any) -> NetworkExtractor:
    return NetworkExtractor(resolve(DigestTable(str(cache)), **(SPEC | options)), str(cache), shard_rows)


def alike(rows: np.ndarray, expected: np.ndarray) -> bool:
    """Whether all numbers agree within 1e-5 of the largest."""
    return rows.shape == expected.shape and bool(np.abs(rows - expected).max() < 1e-5 * np.abs(expected).max())


def at(stage: str, number: int, action: Callable[[], Any]) -> Callable[[str, int, int], None]:
    """A progress function that does something at the call with this number, from 1, of a stage."""
    calls = itertools.count(1)

    def progress(here: str, _done: int, _total: int) -> None:
        if here == stage and next(calls) == number:
            action()

    return progress


def interrupt() -> None:
    raise KeyboardInterrupt


def infinite_model(folder: Path) -> str:
    """A saved model whose features of a white picture are not finite."""
    from featurize.engines.keras_import import import_keras

    keras = import_keras()
    images = keras.Input((64, 64, 3))
    mean = keras.layers.AveragePooling2D(64)(images)
    large = keras.layers.DepthwiseConv2D(1, depthwise_initializer=keras.initializers.Constant(1.5e36))(mean)
    path = folder / "infinite.keras"
    keras.Model(images, large).save(path)
    return str(path)
