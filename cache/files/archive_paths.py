"""Paths that lead into an archive: "photos.zip/cat/1.jpg" is the member "cat/1.jpg" of the file photos.zip."""

import os

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
