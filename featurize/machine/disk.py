"""Free space for rows on the disk, checked before the first one is computed."""

import logging
import math
import os

from cache.errors import UserError
from cache.files.disk_space import free_bytes, readable
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
