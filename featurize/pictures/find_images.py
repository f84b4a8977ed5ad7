"""Find the images in a folder, and account for everything else that lies there.

Only names and file types are looked at here; whether a file really holds a picture shows when it is decoded.
"""

import os
import stat
from collections import Counter, deque
from dataclasses import dataclass

from cache.errors import UserError
from cache.files.path_kinds import archive_member, is_url

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff", ".mpo")
).union((".heic", ".heif", ".hif", ".avif"))

# What network storage, Windows, macOS and Linux put beside people's files: thumbnails, deleted files, what a disk check
# found. Hidden folders such as `.Trash-1000` are passed over by their dot.
SYSTEM_FOLDERS = frozenset(
    ("@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "~snapshot", "$recycle.bin")
).union(("recycler", "system volume information", "lost+found", "__macosx"))

# Folders that link to each other twice at each of 40 levels have 2^40 paths, and no loop.
MOST_PATHS = 16  # to one folder, that are followed

SINGULAR = {"._ files": "._ file", "link loops": "link loop", "system folders": "system folder"}


class ImageError(ValueError):
    """One image cannot be used; the message is one line with the reason. The others can still be."""


@dataclass(frozen=True)
class Failure:
    """A file that should have been an image and is none, with one line of reason."""

    path: str
    reason: str


@dataclass
class Listing:
    """What a folder holds: images and failures, each in one stable order, and a count of everything else."""

    images: list[str]
    failures: list[Failure]
    passed_over: Counter[str]


def find_images(folder: str) -> Listing:
    """List every image below `folder`, known by its suffix (`SUFFIXES`, in any case).

    The order is that of the bytes of the path below `folder`: the same on every machine, whatever the locale
    and the file system. Paths are `folder` joined with the path below it, never resolved. Links to files and
    folders are followed, except back into a folder on the way to them, and by `MOST_PATHS` paths to one folder: the
    others, which are the deepest, are failures. Hidden files and folders, `SYSTEM_FOLDERS` with all that is in them,
    and everything with another suffix are passed over and counted. What has an image's name and is no regular
    file (FIFO, socket, device, folder, link to nothing) and folders that cannot be read are failures; none of
    them is opened.

    `folder` may also be a ZIP or TAR archive, a folder in one ("photos.zip/cats"), or an address of object storage:
    names are judged alike there, and links are failures.

    Raises UserError where `folder` is missing, no folder or not readable.
    """
    if is_url(folder):
        from featurize.pictures.places.addresses import list_address

        return list_address(folder)
    if (place := archive_member(folder)) and not os.path.isdir(folder):
        from featurize.pictures.places.archives import list_archive

        return list_archive(*place)
    _require_folder(folder)
    listing = Listing([], [], Counter())
    # (folder, device and inode of each folder on the way to it), level by level; no recursion, because folders nest
    # deeper than Python calls do.
    waiting: deque[tuple[str, frozenset[tuple[int, int]]]] = deque([(folder, frozenset())])
    paths: Counter[tuple[int, int]] = Counter()
    while waiting:
        path, ancestors = waiting.popleft()
        try:
            status = os.stat(path)
            identity = (status.st_dev, status.st_ino)
            if identity in ancestors:
                listing.passed_over["link loops"] += 1
                continue
            paths[identity] += 1
            if paths[identity] > MOST_PATHS:
                listing.failures.append(Failure(path, f"folder that {MOST_PATHS} other paths lead to already"))
                continue
            with os.scandir(path) as entries:
                below = [entry.path for entry in entries if _is_folder_to_visit(entry, listing)]
            for name in sorted(below, key=os.fsencode):  # so that the same ones are left out everywhere
                waiting.append((name, ancestors | {identity}))
        except OSError as error:
            if path == folder:
                raise UserError(f"cannot read the folder {folder!r}: {error.strerror}") from error
            listing.failures.append(Failure(path, f"folder that cannot be read: {error.strerror}"))
    listing.images.sort(key=os.fsencode)
    listing.failures.sort(key=lambda failure: os.fsencode(failure.path))
    return listing


def describe_passed_over(counter: Counter[str]) -> str:
    """`Listing.passed_over` as a short phrase: "passed over 6 files (3 .txt, 2 hidden, 1 ._ file)"."""
    total = counter.total()
    if not total:
        return "passed over no files"
    ranked = sorted(counter.items(), key=lambda item: (-item[1], item[0]))
    parts = [f"{n} {SINGULAR.get(kind, kind) if n == 1 else kind}" for kind, n in ranked[:5]]
    if len(ranked) > 5:
        parts.append(f"{sum(n for _, n in ranked[5:])} of other kinds")
    return f"passed over {total} file{'s' if total > 1 else ''} ({', '.join(parts)})"


def _require_folder(folder: str) -> None:
    try:
        mode = os.stat(folder).st_mode
    except FileNotFoundError as error:
        raise UserError(f"no such folder: {folder!r}") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read the folder {folder!r}: {reason}") from error
    if not stat.S_ISDIR(mode):
        from featurize.pictures.places.archives import refuse_compressed

        refuse_compressed(folder)
        what = "file" if stat.S_ISREG(mode) else _kind(mode)
        raise UserError(f"{folder!r} is a {what}, not a folder of images")


def _is_folder_to_visit(entry: os.DirEntry[str], listing: Listing) -> bool:
    """Whether an entry is a folder to look into; everything else is put where it belongs."""
    name = entry.name
    if name.startswith("."):
        listing.passed_over["._ files" if name.startswith("._") else "hidden"] += 1
        return False
    suffix = suffix_of(name)
    if suffix in SUFFIXES:
        reason = _why_no_file(entry)
        if reason is None:
            listing.images.append(entry.path)
        else:
            listing.failures.append(Failure(entry.path, reason))
        return False
    try:
        if entry.is_dir():
            if name.lower() not in SYSTEM_FOLDERS:
                return True
            listing.passed_over["system folders"] += 1
            return False
    except OSError:  # a link in a loop: neither folder nor image
        pass
    listing.passed_over[kind_of_suffix(suffix)] += 1
    return False


def suffix_of(name: str) -> str:
    """The suffix of a file's name with its dot, in lower case; "" for a name without one."""
    stem, dot, ending = name.rpartition(".")
    return (dot + ending).lower() if dot and stem else ""


def kind_of_suffix(suffix: str) -> str:
    """What `Listing.passed_over` calls a file with this suffix."""
    if len(suffix) < 2:
        return "no suffix"
    # What follows the last dot of "minutes. Final version" is no suffix, and must not end up on a terminal.
    return suffix if len(suffix) < 12 and suffix.isascii() and suffix[1:].isalnum() else "other suffix"


def _why_no_file(entry: os.DirEntry[str]) -> str | None:
    try:
        # `is_file` costs no system call for what the folder itself calls a file; `stat` would, 100,000 times.
        if entry.is_file():
            return None
        mode = entry.stat().st_mode
    except FileNotFoundError:
        return "link to nothing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return f"{_kind(mode)} with an image's name"


def _kind(mode: int) -> str:
    kinds = {stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket", stat.S_IFDIR: "folder"}
    return kinds.get(stat.S_IFMT(mode), "device")
