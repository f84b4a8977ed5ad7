"""Which file holds which content: a table that spares reading unchanged files again.

`path -> (size, mtime, ctime, inode, digest)` in SQLite. It only saves time: it may be deleted at any moment, and
where it cannot be written (a read-only folder) every file that it does not know is hashed.

A path may also lead into an archive, whose status counts then, or be an address of object storage.
"""

import contextlib
import hashlib
import os
import sqlite3
import stat
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

from cache.errors import log
from cache.files.atomic import make_folder
from cache.files.path_kinds import archive_member, is_url
from cache.row_key import DIGEST_BYTES

FILE_NAME = "digests.sqlite"
CHUNK = 500  # SQLite's oldest limit on parameters of one statement is 999
SQLITE_INTEGERS = 2**63

_SEPARATOR = os.sep.encode()
_NAMES = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()

_COLUMNS = "path, size, mtime, ctime, inode, taken, digest"
_CREATE = """
CREATE TABLE IF NOT EXISTS files (
    path BLOB PRIMARY KEY, size INTEGER, mtime INTEGER, ctime INTEGER, inode INTEGER, taken INTEGER, digest BLOB
) WITHOUT ROWID
"""


class Stamp(NamedTuple):
    """What a file's status said: size in bytes, times in ns since 1970, inode, and when that was looked up."""

    size: int
    mtime: int
    ctime: int
    inode: int
    taken: int

    def proves_same_content(self, now: "Stamp") -> bool:
        """Whether the file of this stamp, read after it was taken, is unchanged as of `now`.

        Every change by `write`, `truncate` or a rename moves ctime, which nobody can set back, but only to the next
        tick of the file system's clock: the content is certain only if it was read after the tick of its last change.
        Whole seconds mean a coarse clock (FAT: 2 s), anything else a kernel tick (10 ms at most).

        Three changes stay unseen: by a program that maps the file, which moves ctime late or never (`mmap(2)`; on tmpfs
        never), by writes to the disk below the file system, and on a network file system of the last seconds.
        `rehashing` reads such files again.
        """
        tick = 20_000_000 if self.ctime % 1_000_000_000 else 2_000_000_000
        return self[:4] == now[:4] and self.taken - self.ctime > tick


_rehashing: ContextVar[bool] = ContextVar("rehashing", default=False)


@contextlib.contextmanager
def rehashing(wanted: bool = True) -> Iterator[None]:
    """Where `wanted`, every file is read and recorded again in the body, in this thread, whatever the table says."""
    before = _rehashing.set(wanted)
    try:
        yield
    finally:
        _rehashing.reset(before)


# Rows of other types, in a damaged table, are ignored.
_SELECT = f"SELECT {_COLUMNS} FROM files WHERE typeof(digest) = 'blob' AND length(digest) = {DIGEST_BYTES}" + "".join(
    f" AND typeof({name}) = 'integer'" for name in Stamp._fields
)


class DigestTable:
    """The table in `cache_dir`. Paths are made absolute; digests are 32 bytes (SHA-256)."""

    def __init__(self, cache_dir: str):
        self.path = os.path.join(cache_dir, FILE_NAME)

    def unchanged(self, paths: Sequence[str]) -> dict[str, bytes]:
        """Digests of those `paths` whose size, times and inode are as recorded: one stat each, nothing read.

        None within `rehashing`.
        """
        if _rehashing.get():
            return {}
        return {
            path: digest
            for path, recorded, digest in self._recorded(paths)
            if (now := take_stamp(path)) and recorded.proves_same_content(now)
        }

    def of_file(self, path: str) -> bytes:
        """SHA-256 of one large file (weights, a saved model), read only if it has changed. Raises `OSError`."""
        known = self.unchanged([path]).get(path)
        if known:
            return known
        stamp = take_stamp(path)
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
        if stamp:
            self.record([(path, stamp, digest)])
        return digest

    def last_known(self, path: str) -> bytes | None:
        """The digest recorded for `path`, even if the file has changed since."""
        return next((digest for _, _, digest in self._recorded([path])), None)

    def below(self, path: str) -> set[bytes]:
        """The digests recorded for `path` and, where it is a folder, for everything below it, changed or not."""
        (key,) = _keys([path])
        separator = b"/" if is_url(path) else _SEPARATOR
        query = "SELECT digest FROM files WHERE path = ? OR path > ? AND path < ?"
        answers = self._answers([(query, (key, key + separator, key + bytes([separator[0] + 1])))])
        return {bytes(digest) for answer in answers for (digest,) in answer}

    def holding(self, digests: Collection[bytes]) -> dict[str, bytes]:
        """The files (absolute paths) that hold one of these contents, as far as the table knows: path -> digest.

        One stat each: files that are gone or look changed are left out. A picture copied here a moment before it was
        read counts as well, which `unchanged` would read again: who needs certainty compares the digest. Addresses of
        object storage are left out too, because nobody has asked for the network.
        """
        wanted = {*digests}
        rows = [row for answer in self._answers([("SELECT path, digest FROM files", ())]) for row in answer]
        paths = [os.fsdecode(path) for path, digest in rows if digest in wanted]
        recorded = self._recorded([path for path in paths if not is_url(path)])
        return {path: digest for path, stamp, digest in recorded if (now := take_stamp(path)) and stamp[:4] == now[:4]}

    def digests(self) -> set[bytes]:
        """Those of all recorded files."""
        found = [*self._answers([("SELECT digest FROM files", ())])]
        return {bytes(digest) for answer in found for (digest,) in answer}

    def gone(self) -> list[bytes]:
        """The recorded paths (absolute) of files that are gone: their folder is there and has others, not them.

        A missing or empty folder may lie on a disk that is not mounted: its files do not count as gone.
        """
        listed: dict[bytes, set[bytes]] = {}
        paths = []
        for path in [path for answer in self._answers([("SELECT path FROM files", ())]) for (path,) in answer]:
            folder, _, name = bytes(path).rpartition(_SEPARATOR)
            if folder not in listed:
                try:
                    listed[folder] = set(os.listdir(folder + _SEPARATOR))
                except OSError:
                    listed[folder] = set()
            if listed[folder] and name not in listed[folder] and not os.path.lexists(path):
                paths.append(bytes(path))
        return paths

    def forget(self, paths: Iterable[bytes]) -> None:
        """Delete the rows of these paths, as `gone` gives them. Failing to is announced, not an error."""
        self._change("DELETE FROM files WHERE path = ?", [(path,) for path in paths])

    def record(self, entries: Iterable[tuple[str, Stamp, bytes]]) -> None:
        """Remember (path, stamp from before the file was read, digest). Failing to is announced, not an error."""
        entries = list(entries)
        keys = _keys([path for path, _, _ in entries])
        rows = [(key, *stamp, digest) for key, (_, stamp, digest) in zip(keys, entries, strict=True)]
        self._change(f"INSERT OR REPLACE INTO files ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def _change(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        if not rows:
            return
        try:
            make_folder(os.path.dirname(self.path))
            with contextlib.closing(self._connect()) as connection, connection:
                # To wait for the disk takes longer than to hash a photograph. A power failure leaves an older table, or
                # a damaged one that is replaced, and never a wrong row.
                connection.execute("PRAGMA synchronous = OFF")
                connection.execute(_CREATE)
                connection.executemany(statement, rows)
        except (sqlite3.Error, OSError) as error:
            log.warning("%s cannot be written (%s): files will be hashed again next time", self.path, error)
            self._discard_if_damaged(error)

    def check(self) -> bool:
        """False where the table was damaged, announced, and has been deleted: files are hashed again."""
        was_there = os.path.exists(self.path)
        for answer in [*self._answers([("PRAGMA quick_check(1)", ())])]:
            if answer != [("ok",)]:
                self._give_up(sqlite3.DatabaseError(answer[0][0]))
        return os.path.exists(self.path) or not was_there

    def _recorded(self, paths: Sequence[str]) -> Iterator[tuple[str, Stamp, bytes]]:
        """(path, stamp, digest) of those `paths` that the table knows, some at a time: memory stays the same."""
        chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
        queries = ((f"{_SELECT} AND path IN ({','.join('?' * len(chunk))})", _keys(chunk)) for chunk in chunks)
        for chunk, answer in zip(chunks, self._answers(queries), strict=False):  # fewer where it cannot be read
            rows = {row[0]: row for row in answer}
            for path, key in zip(chunk, _keys(chunk), strict=True):
                if row := rows.get(key):
                    yield path, Stamp._make(row[1:6]), row[6]

    def _answers(self, queries: Iterable[tuple[str, Sequence[bytes]]]) -> Iterator[list[tuple[Any, ...]]]:
        """What the table answers to each query; nothing where it is missing or, announced, cannot be read."""
        if not os.path.exists(self.path):
            return
        try:
            with contextlib.closing(self._connect()) as connection:
                for query, parameters in queries:
                    yield connection.execute(query, parameters).fetchall()
        except sqlite3.Error as error:
            if "no such table" not in str(error):
                self._give_up(error)

    def _give_up(self, error: sqlite3.Error) -> None:
        log.warning("%s cannot be read (%s): files are hashed", self.path, error)
        self._discard_if_damaged(error)

    def _connect(self) -> sqlite3.Connection:
        if os.path.lexists(self.path) and not stat.S_ISREG(os.lstat(self.path).st_mode):
            raise sqlite3.DatabaseError("not a regular file")  # a link could lead to somebody's own tables
        # opens for reading only, by itself, where the file or the folder may not be written
        return sqlite3.connect(self.path, timeout=30)

    def _discard_if_damaged(self, error: Exception) -> None:
        # Other errors are of the disk, of permissions, of another process that writes.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF  # the rest of the number is the detail
        damaged = code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
        if isinstance(error, sqlite3.DatabaseError) and damaged:
            for file in (self.path, self.path + "-journal"):  # a journal left behind would be played into a new table
                with contextlib.suppress(OSError):
                    os.unlink(file)


class ReadOnlyTable(DigestTable):
    """A table of digests that is only looked up."""

    def record(self, entries: Iterable[tuple[str, Stamp, bytes]]) -> None:
        """Nothing: the next run hashes these files again."""


def take_stamp(path: str) -> Stamp | None:
    """The present stamp of a file; None if there is no such file.

    Of a member of an archive that of the archive; of an object of storage what was listed, else what its store says.
    """
    if is_url(path):
        from cache.remote.objects import take_object_stamp

        return take_object_stamp(path)
    taken = time.time_ns()
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        place = archive_member(path)
        return take_stamp(place[0]) if place and place[1] else None
    # some file systems use all 64 bits of an inode, and some clocks give years that do not fit either
    return Stamp(
        status.st_size,
        status.st_mtime_ns % SQLITE_INTEGERS,
        status.st_ctime_ns % SQLITE_INTEGERS,
        status.st_ino % SQLITE_INTEGERS,
        taken,
    )


def _keys(paths: Sequence[str]) -> list[bytes]:
    """The absolute path or the address of each, as bytes; each folder is made absolute once."""
    folders: dict[str, str] = {}
    keys = []
    for path in paths:
        if is_url(path):
            keys.append(path.encode(*_NAMES))
            continue
        folder, slash, name = (os.path.normpath(path) if os.altsep else path).rpartition(os.sep)  # Windows has two
        if name in ("", ".", ".."):
            keys.append(os.fsencode(os.path.abspath(path)))
            continue
        if folder not in folders:
            folders[folder] = os.path.join(os.path.abspath(folder + slash), "")
        keys.append((folders[folder] + name).encode(*_NAMES))  # os.fsencode takes three times as long
    return keys
