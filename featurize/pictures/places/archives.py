"""Pictures in ZIP and TAR archives, read where they lie. Nothing is unpacked onto a disk.

Archives come from outside. Names that lead elsewhere, links and devices are failures and never followed; the size that
an archive states for a member is a limit, and it is checked before anything is decompressed.
"""

import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache

from cache.errors import UserError
from cache.files.path_kinds import UNREADABLE
from featurize.pictures.find_images import ImageError, Listing
from featurize.pictures.places.names import Entry, listing_of, outside_names

TAR_BLOCK = 512
TWICE = "several members have this name: which one is meant is not known"

_DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, OSError, EOFError, ValueError,
    NotImplementedError, RuntimeError, OverflowError,
)  # fmt: skip


@dataclass
class Index:
    """The members of an archive by name.

    reasons: of those that cannot be read, one line each. damage: why the archive cannot be read to its end.
    """

    sizes: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    damage: str = ""
    zip: zipfile.ZipFile | None = None
    infos: dict[str, zipfile.ZipInfo] = field(default_factory=dict)  # of a ZIP
    offsets: dict[str, int] = field(default_factory=dict)  # of a TAR: where the bytes begin


def list_archive(archive: str, inside: str) -> Listing:
    """As `find_images`, of the members below the folder `inside` of an archive, "" for all of them.

    Raises UserError for what is no archive, and where it has no such folder.
    """
    index = _index_of(archive)
    prefix = f"{inside}/" if inside else ""
    entries = [
        Entry(name[len(prefix) :], f"{archive}/{name}", index.reasons.get(name, ""))
        for name in index.sizes
        if name.startswith(prefix)
    ]
    if inside and not entries:
        raise UserError(f"there is no folder {inside!r} in {archive!r}")
    listing = listing_of(entries)
    if index.damage:
        from featurize.pictures.find_images import Failure

        listing.failures.append(Failure(archive, index.damage))
    return listing


def only_folder(archive: str) -> str:
    """The folder that all members of an archive lie in, if there are folders with members in it; else ""."""
    names = [name for name in _index_of(archive).sizes if not outside_names(name)]
    counts = Counter(name.partition("/")[0] for name in names if not name.startswith(("__MACOSX/", ".")))
    if len(counts) != 1:
        return ""
    (folder,) = counts
    return folder if any(name.count("/") > 1 for name in names if name.startswith(f"{folder}/")) else ""


def has_member(archive: str, name: str) -> bool:
    """Whether there is a member of this name that can be read."""
    index = _index_of(archive)
    return name in index.sizes and name not in index.reasons


def member_size(archive: str, name: str) -> int:
    """The size of a member in bytes, as the archive states it. Raises ImageError where it cannot be read."""
    try:
        index = _index_of(archive)
    except UserError as error:
        raise ImageError(f"cannot be read: {error}") from None
    if name not in index.sizes:
        raise ImageError("cannot be read: there is no such member in the archive")
    if reason := index.reasons.get(name):
        raise ImageError(reason)
    return index.sizes[name]


def read_member(archive: str, name: str) -> bytes:
    """The bytes of a member, never more than `member_size`. Raises ImageError where it cannot be read."""
    size = member_size(archive, name)
    index = _index_of(archive)
    try:
        if index.zip is None:
            with open(archive, "rb") as file:
                file.seek(index.offsets[name])
                data = file.read(size)
        else:
            with index.zip.open(index.infos[name]) as member:
                data = member.read(size)
                if member.read(1):  # only now is the checksum compared
                    raise ImageError(f"more bytes than its size of {size} says")
    except ImageError:
        raise
    except _DAMAGED as error:
        raise ImageError(f"cannot be read from the archive: {_line(error)}") from None
    if len(data) != size:
        raise ImageError(f"damaged archive: {len(data)} of its {size} bytes are there")
    return data


def refuse_compressed(path: str) -> None:
    """Raise UserError for an archive of which no member can be read without all before it."""
    if path.lower().endswith(UNREADABLE) and os.path.isfile(path):
        raise UserError(
            f"{path!r} is compressed as a whole, so no picture can be read without all before it: unpack it, or pack "
            "the pictures into a .zip or a plain .tar"
        )


def _index_of(archive: str) -> Index:
    try:
        status = os.stat(archive)
    except OSError as error:
        raise UserError(f"cannot read the archive {archive!r}: {error.strerror}") from error
    # A forked process would share the position in the file.
    return _indexed(archive, (status.st_size, status.st_mtime_ns, status.st_ino, os.getpid()))


@lru_cache(maxsize=16)
def _indexed(archive: str, _: tuple[int, ...]) -> Index:
    try:
        return _zip_index(archive) if archive.lower().endswith(".zip") else _tar_index(archive)
    except _DAMAGED as error:
        kind = archive[-3:].upper()
        raise UserError(f"{archive!r} cannot be read as a {kind} archive: {_line(error)}") from None


def _zip_index(archive: str) -> Index:
    index = Index(zip=zipfile.ZipFile(archive))
    assert index.zip
    for info in index.zip.infolist():
        if info.is_dir():
            continue
        reason = ""
        if info.flag_bits & 1:
            reason = "encrypted: unpack the archive with its password first"
        elif stat.S_ISLNK(info.external_attr >> 16):
            reason = "a link, which is not followed"
        _add(index, info.filename, info.file_size, reason)
        index.infos[info.filename] = info
    return index


def _tar_index(archive: str) -> Index:
    index = Index()
    with tarfile.open(archive, "r:") as tar:
        try:
            while member := tar.next():
                tar.members = []  # type: ignore[attr-defined]  # tarfile keeps them all
                if member.isdir():
                    continue
                reason = ""
                if member.issym() or member.islnk():
                    reason = "a link, which is not followed"
                elif not member.isreg() or member.issparse():
                    reason = "no plain file of an archive"
                name = member.name.removeprefix("./")
                _add(index, name, member.size, reason)
                index.offsets[name] = member.offset_data
            with open(archive, "rb") as file:  # a damaged header ends the iteration as the end does
                file.seek(tar.offset)
                if file.read(TAR_BLOCK).strip(b"\0"):
                    index.damage = f"damaged archive: what follows byte {tar.offset} cannot be read"
        except _DAMAGED as error:
            if not index.sizes:
                raise
            index.damage = f"damaged archive: {_line(error)}"
    return index


def _add(index: Index, name: str, size: int, reason: str) -> None:
    if name in index.sizes:
        reason = TWICE
    index.sizes[name] = size
    if reason := reason or outside_names(name):
        index.reasons[name] = reason


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
