"""Free space for rows on the disk, checked before the first one is computed."""

import logging
import math
import os
import shutil

from cache.errors import UserError
from cache.row_key import DIGEST_BYTES

log = logging.getLogger("bottleneck")

OVERHEAD = 1.05  # checksums, and what the file system keeps for itself


def require_room(folder: str, rows: int, shape: tuple[int, ...], number_bytes: int, others: int = 0) -> int:
    """Announce the size of `rows` rows of that shape in `folder`, which need not exist yet.

    Returns their bytes, added to `others`, those of other rows to come. Raises UserError where the disk has too little
    room for all.
    """
    expected = rows * (number_bytes * math.prod(shape) + DIGEST_BYTES)
    text = f"{rows} rows of {' x '.join(map(str, shape))} numbers, about {readable(expected)}"
    log.info("to compute: %s in %s", text, folder)
    free = max(0, free_bytes(folder) - others * OVERHEAD)
    if expected * OVERHEAD > free:
        besides = f", {readable(others)} of other rows taken off," if others else ""
        raise UserError(
            f"too little disk: {text}, but {readable(free)}{besides} are free for {os.path.abspath(folder)}; "
            "choose another --cache-dir or smaller features (--pooling avg, --stored float16)"
        )
    return others + expected


def free_bytes(folder: str) -> int:
    """What is free on the disk of a folder, which need not exist yet."""
    existing = os.path.abspath(folder)
    while not os.path.isdir(existing):
        existing = os.path.dirname(existing)
    return shutil.disk_usage(existing).free


def readable(count: float) -> str:
    """A number of bytes with three digits and a unit: "5.15 KB"."""
    unit = "bytes"
    for larger in ("KB", "MB", "GB", "TB"):
        if count < 999.5:
            break
        count, unit = count / 1000, larger
    return f"{count:.3g} {unit}"
