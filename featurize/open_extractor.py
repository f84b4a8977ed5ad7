"""From the options that people give to the extractor of their spec. Imports nothing heavy."""

from typing import TYPE_CHECKING, Unpack

from cache.arguments import checked_arguments
from featurize.spec_options import DEFAULT_CACHE, SpecOptions

if TYPE_CHECKING:
    from featurize.extract.extractor import Extractor


@checked_arguments
def open_extractor(
    cache_dir: str = DEFAULT_CACHE, shard_rows: int | None = None, **spec: Unpack[SpecOptions]
) -> "Extractor":
    """The extractor of a spec: its rows in the cache, and the network that computes those that are missing."""
    from cache.store import SHARD_ROWS
    from featurize.extract.joined_extractor import open_parts
    from featurize.extract.writable import open_table
    from featurize.joined_options import resolve_parts

    parts = resolve_parts(open_table(cache_dir), spec)
    return open_parts(parts, cache_dir, SHARD_ROWS if shard_rows is None else shard_rows)
