"""What of a cache may be written: a shared folder or one in a container may only be read."""

import os

from cache.digest_table import DigestTable, ReadOnlyTable


def can_be_written(path: str) -> bool:
    """Whether the file or folder at `path` may be written, or created where it is not there yet."""
    path = os.path.abspath(path)
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def open_table(cache_dir: str) -> DigestTable:
    """The table of digests in `cache_dir`; where it cannot be written, one that nothing is recorded in."""
    table = DigestTable(cache_dir)
    return table if can_be_written(cache_dir) and can_be_written(table.path) else ReadOnlyTable(cache_dir)
