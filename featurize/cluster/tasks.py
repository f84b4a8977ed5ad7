"""What travels between a run and its workers. Plain values: a worker of another version still understands them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from cache.digest_table import Stamp

if TYPE_CHECKING:  # a worker unpickles tasks before it knows how many cores are its own, see `featurize.cluster.worker`
    from featurize.extract.outcome import Outcome
    from featurize.pictures.sources import Source


@dataclass(frozen=True)
class Job:
    """What all tasks of a run have in common.

    records     of each network, see `featurize.extract.network_extractor.NetworkExtractor.record`
    views       names of the views of each picture
    engine      one of `featurize.spec_options.ENGINES`
    isolate     decode in processes of their own
    cache_dir   absolute path of the cache on the machine of the run
    token       what `cache_dir` holds in its file `FILE`: a worker that reads it there has the same cache
    through     address that workers which do not reach the cache push their rows to; "" where they send them
    there       what that place holds in its file `FILE`: a worker that reads it there has the same place
    has_rows    whether the cache, or what lies at `through`, has rows of these networks already
    shard_rows  rows of one shard at most
    threads     cores of a worker, 0 where it knows better
    versions    of what may change rows; a worker has the same
    """

    records: list[dict[str, Any]]
    views: tuple[str, ...]
    engine: str
    isolate: bool
    cache_dir: str
    token: str
    through: str
    there: str
    has_rows: bool
    shard_rows: int
    threads: int
    versions: dict[str, str]


@dataclass(frozen=True)
class Task:
    """Pictures that one worker computes: their sources, and their digests where known.

    positions: theirs in the run. lost: how often it has cost a worker its life. weights: files that a worker asked
    for, digest -> name from the model's folder on -> bytes.
    """

    number: int
    positions: np.ndarray
    sources: list["Source"]
    digests: list[bytes | None]
    lost: int = 0
    weights: dict[str, dict[str, bytes]] = field(default_factory=dict)


@dataclass
class Answer:
    """What became of a task.

    worker   who did it
    outcome  of its pictures, without their sources
    stamps   of the files whose digest was not known, from before they were read
    reached  whether the rows are in the cache; else they are in `shards`, or
    pushed   to what the job has as `through`
    shards   files of rows: (number of the network, or -1 of signatures; view; bytes of the file)
    is_settled  whether what can be computed of these pictures is; else they have been read, to know their digests
    wanted   digests of weights that the worker lacks: nothing was computed
    failed   why nothing was computed, where another try may do better
    refused  why this worker cannot take part in this run
    messages level and text of its warnings
    """

    number: int
    worker: str
    outcome: "Outcome | None" = None
    stamps: dict[int, Stamp] = field(default_factory=dict)
    reached: bool = True
    pushed: bool = False
    is_settled: bool = True
    shards: list[tuple[int, int, bytes]] = field(default_factory=list)
    wanted: Sequence[str] = ()
    failed: str = ""
    refused: str = ""
    messages: list[tuple[int, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Lost:
    """A task whose workers died."""

    number: int
