"""Which kind of place a path names: a file, a member of an archive, or an address of object storage.

"photos.zip/cat/1.jpg" is the member "cat/1.jpg" of the file photos.zip.
"""

import os
import re

# Scheme -> the extra with its driver. "memory" and "file" belong to fsspec itself.
EXTRAS = {
    "s3": "storage", "gs": "gcs", "gcs": "gcs", "az": "azure", "abfs": "azure", "http": "storage", "https": "storage",
    "memory": "storage",
}  # fmt: skip
_SCHEME = re.compile(r"([a-z][a-z0-9]+)://", re.IGNORECASE)

SUFFIXES = (".zip", ".tar")
# Of these no member can be read without everything before it, or not at all.
UNREADABLE = (
    ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz", ".tar.zst", ".tzst", ".7z", ".rar",
)  # fmt: skip


def archive_member(path: str) -> tuple[str, str] | None:
    """(archive, name in it) where `path` is an archive, whose name in itself is "", or leads into one; else None.

    Only regular files are archives: a folder may be called photos.zip.
    """
    lower = path.lower()
    for suffix in SUFFIXES:
        start = lower.find(suffix)
        while start >= 0:
            end = start + len(suffix)
            is_whole_name = end == len(path) or path[end] in (os.sep, os.altsep)
            if is_whole_name and os.path.isfile(path[:end]):
                return path[:end], path[end + 1 :].replace(os.sep, "/").strip("/")
            start = lower.find(suffix, end)
    return None


def is_url(path: str) -> bool:
    """Whether a path is an address of object storage, such as "s3://bucket/photos"."""
    found = _SCHEME.match(path)
    return found is not None and found[1].lower() in EXTRAS


def is_web(url: str) -> bool:
    """Whether an address is of a server of the web, whose listings are pages and whose answers have no sure end."""
    return url.partition(":")[0].lower() in ("http", "https")


def is_elsewhere(path: str) -> bool:
    """Whether a path is an address or leads into an archive: nothing that the system opens."""
    return is_url(path) or (archive_member(path) or ("", ""))[1] != ""
