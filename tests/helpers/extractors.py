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
