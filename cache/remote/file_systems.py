"""Addresses of object storage, and the drivers that answer them. Credentials are the drivers' own business."""

import re
from typing import TYPE_CHECKING

from cache.errors import UserError

if TYPE_CHECKING:
    from fsspec.spec import AbstractFileSystem

# Scheme -> the extra with its driver. "memory" and "file" belong to fsspec itself.
EXTRAS = {
    "s3": "storage", "gs": "gcs", "gcs": "gcs", "az": "azure", "abfs": "azure", "http": "storage", "https": "storage",
    "memory": "storage",
}  # fmt: skip
_SCHEME = re.compile(r"([a-z][a-z0-9]+)://", re.IGNORECASE)


def is_url(path: str) -> bool:
    """Whether a path is an address of object storage, such as "s3://bucket/photos"."""
    found = _SCHEME.match(path)
    return found is not None and found[1].lower() in EXTRAS


def file_system(url: str) -> "tuple[AbstractFileSystem, str]":
    """The file system of an address, and the address as that file system calls it.

    Raises UserError where the driver is not installed, naming the extra that brings it.
    """
    scheme = url.partition(":")[0].lower()
    try:
        import fsspec

        return fsspec.core.url_to_fs(url)
    except ImportError as error:
        missing = f"{scheme}:// takes a driver that is not installed here ({error.name or error})"
        raise UserError(f"{missing}: pip install '.[{EXTRAS[scheme]}]'") from None
