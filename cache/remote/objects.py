"""Objects of storage: listed, told apart by what the store says of their content, and read."""

import hashlib
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import unquote

from cache.digest_table import SQLITE_INTEGERS, Stamp
from cache.errors import UserError, log
from cache.files.path_kinds import is_url, is_web
from cache.remote.file_systems import IN_FLIGHT, described, driver_errors, file_system, without_secrets

Result = TypeVar("Result")

CHUNK = 2**20  # bytes read at a time where an answer may be longer than it said
ATTEMPTS = {"http": 5, "https": 5}  # the other drivers try again themselves
FIRST_WAIT = 0.2  # seconds, doubled with each attempt

# What a store says of an object's content: of these the first that it has. `versions` change with every write.
_VERSIONS = ("ETag", "etag", "generation", "VersionId", "Content-MD5", "md5Hash", "content_md5")
_TIMES = ("LastModified", "last_modified", "Last-Modified", "updated", "mtime", "modified", "created")


class ObjectPath(str):
    """The address of an object, with what the store said of it when it was listed. Equal to the same address as text.

    stamp: as `cache.digest_table.take_stamp` of a file; None where the store says too little to know it again, or has
    no such object. size: bytes, None where it is not known.
    """

    __slots__ = ("size", "stamp")
    size: int | None
    stamp: Stamp | None

    @classmethod
    def of(cls, url: str, facts: dict[str, Any] | None, taken: int) -> "ObjectPath":
        """The object at `url`; `facts` as fsspec has them, asked for at `taken`, ns since 1970."""
        path = cls(url)
        size = (facts or {}).get("size")
        path.size = int(size) if size is not None else None
        path.stamp = stamp_of(facts, taken) if facts else None
        return path


def stamp_of(facts: dict[str, Any], taken: int) -> Stamp | None:
    """A stamp of what a store says of an object: its size and its version, or else the time of its last change."""
    size = facts.get("size")
    if size is None:
        return None
    for name in _VERSIONS:
        if version := facts.get(name):
            numbers = hashlib.sha256(f"{name} {version}".encode()).digest()
            first, second = (int.from_bytes(numbers[at : at + 8]) % SQLITE_INTEGERS for at in (0, 8))
            return Stamp(int(size), first, 0, second, taken)
    for name in _TIMES:
        if changed := _nanoseconds(facts.get(name)):
            return Stamp(int(size), changed, changed, 0, taken)
    return None


def list_objects(url: str) -> Iterator[tuple[str, str]]:
    """(name below `url`, address) of every object there, in no order, a page of the store's listing at a time.

    The address is an `ObjectPath`, but where a listing has names alone, as pages of the web do.

    Raises UserError where it cannot be listed.
    """
    files, root = file_system(url)
    base, prefix = url.rstrip("/"), root.rstrip("/") + "/"
    taken, is_empty = time.time_ns(), True
    try:
        for name, facts in _pages(files, root) if hasattr(files, "call_s3") else _found(url, files, root):
            if name.startswith(prefix) and not name.endswith("/") and facts.get("type") != "directory":
                below = _as_written(name[len(prefix) :]) if is_web(url) else name[len(prefix) :]
                address, is_empty = f"{base}/{below}", False
                yield below, address if facts.get("size") is None else ObjectPath.of(address, facts, taken)
    except FileNotFoundError:
        raise UserError(f"no such folder: {base!r}") from None
    except driver_errors() as error:
        raise UserError(f"cannot list {base!r}: {described(error)}") from None
    if is_empty and is_object(base):
        raise UserError(f"{base!r} is an object, not a folder of images (archives are read on this machine)")


def _pages(files: Any, root: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, facts) of all objects below `root`. s3fs lists pages too, and keeps them all: 1 kB an object."""
    bucket, _, key = root.partition("/")
    prefix = f"{key.rstrip('/')}/" if key.strip("/") else ""
    more: dict[str, str] = {}
    while True:
        page = files.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, **more)
        for found in page.get("Contents", ()):
            yield f"{bucket}/{found['Key']}", {"size": found["Size"], "ETag": found.get("ETag")}
        if not page.get("IsTruncated"):
            return
        more = {"ContinuationToken": page["NextContinuationToken"]}


def _found(url: str, files: Any, root: str) -> Iterator[tuple[str, dict[str, Any]]]:
    found = again(url, lambda: files.find(root, detail=True))
    while found:
        yield found.popitem()


def with_stamps(paths: Sequence[Any]) -> Sequence[Any]:
    """`paths`, each plain address among them an `ObjectPath`: one request each, many at once. Others as they are."""
    plain = [path for path in dict.fromkeys(path for path in paths if isinstance(path, str)) if _is_plain_url(path)]
    if not plain:
        return paths
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        known = dict(zip(plain, pool.map(_look_up, plain), strict=True))
    return [known.get(path, path) if isinstance(path, str) else path for path in paths]


def take_object_stamp(url: str) -> Stamp | None:
    """As `cache.digest_table.take_stamp`, of an object: what was listed, else what the store says now."""
    return (url if isinstance(url, ObjectPath) else _look_up(url)).stamp


def size_of(url: str) -> int | None:
    """Bytes of an object, None where the store does not say."""
    return (url if isinstance(url, ObjectPath) and url.size is not None else _look_up(url)).size


def is_object(url: str) -> bool:
    """Whether there is an object at an address. Raises UserError where its store does not answer."""
    files, path = file_system(url)
    try:
        return bool(again(url, lambda: files.isfile(path)))
    except driver_errors() as error:
        raise UserError(f"cannot look up {without_secrets(url)!r}: {described(error)}") from None


def read_object(url: str, most: int) -> bytes:
    """The bytes of an object, of one with more than `most` the first `most + 1`. Raises errors of `driver_errors`."""
    files, path = file_system(url)
    if is_web(url):  # an answer of the web may be longer than it said, or have no end

        def read() -> bytes:
            with files.open(path, block_size=0, size=1) as file:  # in one request, without another for the size
                parts: list[bytes] = []
                while sum(map(len, parts)) <= most and (part := file.read(CHUNK)):
                    parts.append(part)
                return b"".join(parts)[: most + 1]

        return again(url, read)
    data: bytes = again(url, lambda: files.cat_file(path))
    return data


def read_range(url: str, start: int, end: int) -> bytes:
    """The bytes of an object from `start` to before `end`. Raises errors of `driver_errors`."""
    files, path = file_system(url)
    data: bytes = again(url, lambda: files.cat_file(path, start=start, end=end))
    return data


def _as_written(name: str) -> str:
    """The name of a file that a link of the web quotes: "red%20brick" is "red brick", which the driver quotes again."""
    unquoted = unquote(name)
    return name if any(sign in unquoted for sign in "?#%") else unquoted


def _is_plain_url(path: str) -> bool:
    return not isinstance(path, ObjectPath) and is_url(path)


def _look_up(url: str) -> ObjectPath:
    files, path = file_system(url)
    taken = time.time_ns()
    try:
        facts = again(url, lambda: files.info(path))
    except driver_errors():  # whoever reads it is told why
        facts = None
    return ObjectPath.of(url, facts, taken)


def again(url: str, function: Callable[[], Result]) -> Result:
    """What `function` returns, tried several times where the driver of an address does not do that itself."""
    attempts = ATTEMPTS.get(url.partition(":")[0].lower(), 1)
    for attempt in range(1, attempts + 1):
        try:
            return function()
        except (FileNotFoundError, PermissionError):
            raise
        except driver_errors() as error:
            if attempt == attempts:
                raise
            log.info("%s: asked again, after an error (%s)", without_secrets(url), described(error))
            time.sleep(FIRST_WAIT * 2**attempt * random.uniform(0.5, 1))
    raise AssertionError("the last attempt returns or raises")


def _nanoseconds(value: Any) -> int:
    """A time as ns since 1970, as drivers give it; 0 for what is none."""
    if isinstance(value, str):
        try:
            value = parsedate_to_datetime(value) if "," in value else datetime.fromisoformat(value)
        except ValueError:
            return 0
    if isinstance(value, datetime):
        value = value.timestamp()
    return int(value * 1e6) * 1000 % SQLITE_INTEGERS if isinstance(value, int | float) else 0


def addresses(paths: Iterable[Any]) -> bool:
    """Whether there is an address among sources."""
    return any(isinstance(path, str) and is_url(path) for path in paths)
