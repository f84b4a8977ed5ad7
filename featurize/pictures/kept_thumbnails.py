"""Small pictures for a person to look at, made once and kept in the cache: WebP by digest, the oldest dropped at last.

They only save time: the file may be deleted at any moment.
"""

import contextlib
import io
import os
import sqlite3
import stat
from collections.abc import Mapping, Sequence, Set

from cache.errors import log
from cache.files.atomic import make_folder
from featurize.decoding.decode import decode_within
from featurize.machine.parallel import THREADS, in_order
from featurize.pictures.find_images import ImageError
from featurize.pictures.places.read_ahead import ReadAt, reading_ahead
from featurize.pictures.sources import digest_of, within_limit

FILE_NAME = "thumbnails.sqlite"  # in the cache
SIDE, QUALITY = 224, 60  # pixels of the longer side; of WebP
MOST = 200_000  # about 1.5 GB
CHUNK = 500  # SQLite's oldest limit on parameters of one statement is 999
_CREATE = "CREATE TABLE IF NOT EXISTS thumbnails (digest BLOB PRIMARY KEY, made INTEGER, picture BLOB)"


def thumbnails_of(cache_dir: str, digests: Sequence[bytes], paths: Sequence[str]) -> list[bytes]:
    """A WebP for each picture by its digest (32 bytes); those not made yet are made from the files at `paths`.

    Empty for a file that is gone, damaged or another one by now.
    """
    found = kept(cache_dir, digests)
    missing = [number for number, digest in enumerate(digests) if digest not in found]
    with reading_ahead([paths[number] for number in missing]) as read_at:
        places = range(len(missing))
        made = in_order(lambda place: _made(digests[missing[place]], read_at, place), places, ahead=4 * THREADS)
        new = {digests[number]: picture for number, picture in zip(missing, made, strict=True) if picture}
    keep(cache_dir, new)
    return [found.get(digest) or new.get(digest, b"") for digest in digests]


def kept(cache_dir: str, digests: Sequence[bytes]) -> dict[bytes, bytes]:
    """digest -> WebP, of those that the cache has."""
    found: dict[bytes, bytes] = {}
    if not os.path.exists(path := os.path.join(cache_dir, FILE_NAME)):
        return found
    try:
        with contextlib.closing(_connect(path)) as connection:
            for start in range(0, len(digests), CHUNK):
                some = digests[start : start + CHUNK]
                query = f"SELECT digest, picture FROM thumbnails WHERE digest IN ({','.join('?' * len(some))})"
                found |= {bytes(digest): bytes(picture) for digest, picture in connection.execute(query, some)}
    except sqlite3.Error as error:
        _discard(path, error)
    return found


def keep(cache_dir: str, pictures: Mapping[bytes, bytes]) -> None:
    """Keep a WebP for each digest; where the cache cannot be written, as is announced, they are made again."""
    if not pictures:
        return
    path = os.path.join(cache_dir, FILE_NAME)
    try:
        make_folder(cache_dir)
        with contextlib.closing(_connect(path)) as connection, connection:
            connection.execute("PRAGMA synchronous = OFF")  # what a power failure takes is made again
            connection.execute(_CREATE)
            newest = connection.execute("SELECT coalesce(max(made), 0) FROM thumbnails").fetchone()[0]
            rows = [(digest, newest + 1, picture) for digest, picture in pictures.items()]
            connection.executemany("INSERT OR REPLACE INTO thumbnails VALUES (?, ?, ?)", rows)
            excess = connection.execute("SELECT count(*) FROM thumbnails").fetchone()[0] - MOST
            if excess > 0:
                oldest = "SELECT digest FROM thumbnails ORDER BY made LIMIT ?"
                connection.execute(f"DELETE FROM thumbnails WHERE digest IN ({oldest})", (excess,))
    except (sqlite3.Error, OSError) as error:
        log.info("thumbnails are not kept: %s: %s", error, path)
        if isinstance(error, sqlite3.Error):
            _discard(path, error)


def drop_others(cache_dir: str, digests: Set[bytes]) -> int:
    """Delete the thumbnails of other pictures than these; returns how many there were."""
    path = os.path.join(cache_dir, FILE_NAME)
    if not os.path.exists(path):
        return 0
    try:
        with contextlib.closing(_connect(path)) as connection:
            with connection:
                connection.execute(_CREATE)
                known = [bytes(digest) for (digest,) in connection.execute("SELECT digest FROM thumbnails")]
                others = [(digest,) for digest in known if digest not in digests]
                connection.executemany("DELETE FROM thumbnails WHERE digest = ?", others)
            connection.execute("VACUUM")  # gives the room back
            return len(others)
    except sqlite3.Error as error:
        log.info("thumbnails are left as they are: %s: %s", error, path)
        _discard(path, error)
        return 0


def thumbnail_of(data: bytes) -> bytes:
    """The WebP of the bytes of an image file. Raises ImageError where they cannot be decoded."""
    picture = decode_within(data, SIDE)
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=QUALITY, method=2)
    return file.getvalue()


def _made(digest: bytes, read_at: ReadAt, place: int) -> bytes:
    try:
        data = read_at(place, within_limit)
        return thumbnail_of(data) if digest_of(data) == digest else b""
    except ImageError:
        return b""


def _connect(path: str) -> sqlite3.Connection:
    if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
        raise sqlite3.DatabaseError("not a regular file")  # a link could lead to somebody's own tables
    return sqlite3.connect(path, timeout=30)


def _discard(path: str, error: sqlite3.Error) -> None:
    """Delete a damaged file; errors of the disk or of another process leave it."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) and os.path.isfile(path) and not os.path.islink(path):
        for file in (path, path + "-journal"):
            with contextlib.suppress(OSError):
                os.unlink(file)
