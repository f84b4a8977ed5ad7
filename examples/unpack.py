"""Zip and tar archives from elsewhere -> files below one folder, and nothing else.

An archive can name any path, bring links that lead out of the folder, or hold a thousand times its own size. What is
unpacked is regular files and folders; anything else, and more than was allowed, is an error.
"""

import io
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO, Any

from cache.errors import UserError

MOST_FILES = 200_000
MOST_HEADER = 2**20  # bytes that tarfile may read at once: names and comments of any length would fill the memory
PIECE = 2**18
# What the readers of both formats raise for damage.
DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError
)  # fmt: skip

Member = tuple[str, str, int, Any]  # name, "file", "folder" or what else it is, bytes it says to have, where it is


def unpack(archive: str, folder: str, only: str = "", *, most_bytes: int, most_files: int = MOST_FILES) -> int:
    """Write the files that lie below `only` in an archive to `folder`, which must not exist yet.

    Returns how many. Raises UserError, in one line, for an archive that is damaged or of another format, for a path
    that leads out of the folder, for links and devices, for a name that occurs twice, and for more than `most_bytes`
    or `most_files` in all of it; what was written by then is the caller's to remove.
    """
    os.makedirs(folder)
    wanted, left, count = PurePosixPath(only).parts, most_bytes, 0
    try:
        with _opened(archive) as (members, content):
            for number, (name, kind, size, member) in enumerate(members):
                left -= size
                if left < 0 or number >= most_files:
                    raise UserError(f"{archive} unpacks to more than {most_bytes} bytes or {most_files} files")
                parts = _safe_parts(archive, name)
                if parts[: len(wanted)] != wanted or kind == "folder":
                    continue
                if kind != "file":
                    raise UserError(f"{archive} holds {name!r:.100}, which is {kind}: only files are unpacked")
                with content(member) as source:
                    _copy(source, os.path.join(folder, *parts[len(wanted) :]), size, archive)
                count += 1
    except UserError:
        raise
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise UserError(f"{archive} holds {os.path.relpath(error.filename, folder)!r:.100} twice") from error
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's, not the archive's
            raise
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{archive} is damaged or no zip or tar archive: {reason}") from error
    if not count:
        raise UserError(f"{archive} holds no file" + (f" below {only!r}" if only else ""))
    return count


def _safe_parts(archive: str, name: str) -> tuple[str, ...]:
    """A member's name as parts of a path below the folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise UserError(f"{archive} holds the path {name!r:.100}, which leads elsewhere: nothing of it is used")
    return path.parts


def _copy(source: IO[bytes], path: str, size: int, archive: str) -> None:
    """Write what is in `source`, which must be `size` bytes: what a header says is not to be believed."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "xb") as file:
        while piece := source.read(PIECE):
            size -= len(piece)
            if size < 0:
                raise UserError(f"{archive} holds more in {os.path.basename(path)!r:.100} than it says")
            file.write(piece)


@contextmanager
def _opened(archive: str) -> Iterator[tuple[Iterator[Member], Any]]:
    """The members of an archive, and a function that opens one of them."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            yield _zip_members(zipped), zipped.open
    else:
        with _bounded_tar(archive) as tar:
            yield _tar_members(tar), tar.extractfile


def _zip_members(zipped: zipfile.ZipFile) -> Iterator[Member]:
    for member in zipped.infolist():
        mode = stat.S_IFMT(member.external_attr >> 16)  # 0 where it was made on a system without such modes
        kind = "folder" if member.is_dir() else "file" if mode in (0, stat.S_IFREG) else "a link or a device"
        yield member.filename, kind, member.file_size, member


def _tar_members(tar: tarfile.TarFile) -> Iterator[Member]:
    for member in tar:
        kind = "folder" if member.isdir() else "file" if member.isreg() else "a link or a device"
        yield member.name, kind, member.size, member


@contextmanager
def _bounded_tar(archive: str) -> Iterator[tarfile.TarFile]:
    """A tar archive whose headers are read in small pieces only. Raises what `DAMAGE` lists."""
    with _decompressed(archive) as file, tarfile.open(fileobj=_Bounded(file), mode="r:", errorlevel=2) as tar:
        yield tar


class _Bounded(io.RawIOBase):
    """A file that gives only so much at once."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0 or size > MOST_HEADER:
            raise tarfile.ReadError(f"a header of more than {MOST_HEADER} bytes")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def _decompressed(archive: str) -> Any:
    """A file open for reading, through the decompression that its first bytes ask for."""
    import bz2
    import gzip

    with open(archive, "rb") as file:
        head = file.read(6)
    for magic, opener in ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open)):
        if head.startswith(magic):
            return opener(archive, "rb")
    return open(archive, "rb")
