"""Which contents a folder of pictures still has: those whose rows `cache gc --data` keeps."""

import logging

from cache.digests import DigestTable
from cache.errors import UserError
from featurize.extract.extractor import silent
from featurize.extract.hashing import digest_sources
from featurize.pictures.find import Failure, find_images

log = logging.getLogger("bottleneck")


def digests_still_there(data: str, table: DigestTable) -> set[bytes]:
    """SHA-256 of all pictures below the folder `data`, and what `table` remembers of those that cannot be read.

    The latter is announced. Raises UserError for a folder without pictures, which may be a disk that is not mounted,
    and where nobody knows what a file or folder held that cannot be read now.
    """
    listing = find_images(data)
    if not listing.images:
        raise UserError(f"there is no picture in {data}: nothing is dropped. Is the disk mounted?")
    digests, reasons = digest_sources(listing.images, table, silent)
    found = {digest for digest in digests if digest}
    unreadable = [Failure(listing.images[position], reason) for position, reason in sorted(reasons.items())]
    unknown = []
    for failure in [*unreadable, *listing.failures]:
        remembered = table.below(failure.path)
        found |= remembered
        if remembered:
            log.warning("%s: %s; what it held before stays in the cache", failure.path, failure.reason)
        else:
            unknown.append(failure)
    if unknown:
        raise UserError(
            f"{unknown[0].path}: {unknown[0].reason}. Nobody knows which rows are of such files "
            f"({len(unknown)} in all): nothing is dropped; make them readable, or take them out of the folder"
        )
    return found
