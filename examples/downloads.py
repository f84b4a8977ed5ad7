"""Data sets at the addresses where they are published: download -> digest -> unpack -> a folder of pictures.

The bytes are hashed as they come. Archive and pictures take their names only when they are whole and right. What is
interrupted or fails leaves nothing; what is killed may leave files that begin with a dot or end in .archive or .tmp,
which are never taken for data.
"""

import hashlib
import http.client
import logging
import os
import re
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

from cache.errors import UserError
from cache.files.atomic import replacing, write_atomically
from examples.unpack import unpack
from featurize.backbones.weights import STALLED_AFTER

log = logging.getLogger("bottleneck")

FOLDER = "example-data"
PIECE = 2**20
SAID_EVERY = 10.0  # seconds between two lines about a download that goes on
ADVICE = "try again, or name a folder of the pictures with DATA"
AGENT = "bottleneck-features"  # some servers refuse what says nothing


@dataclass(frozen=True)
class Archive:
    """A zip or tar archive of pictures that somebody publishes.

    name: its folder here. sha256: its digest where one is published, else None. most_bytes: a larger one is refused,
    and so is one that unpacks to more than four times that. only: the folder in it that is wanted; "" is all of it.
    """

    name: str
    address: str
    sha256: str | None
    most_bytes: int
    only: str = ""


def fetch(archive: Archive, folder: str = FOLDER) -> str:
    """The folder of pictures of a data set, downloaded and unpacked below `folder` where it is not there yet.

    An archive without a published digest is pinned by the first download: its digest is announced, kept in
    NAME.sha256, and every later download must have it. Raises UserError in one line for whatever goes wrong.
    """
    target = os.path.join(folder, archive.name)
    if not os.path.isdir(target):
        packed, pin = target + ".archive", target + ".sha256"
        log.info("downloading %s (name your own copy with DATA to do without)", archive.address)
        digest = _download(archive, packed, pin)
        try:
            with tempfile.TemporaryDirectory(prefix=f".{archive.name}-", dir=folder) as temporary:
                inside = os.path.join(temporary, "pictures")
                count = unpack(packed, inside, archive.only, most_bytes=4 * archive.most_bytes)
                if not archive.sha256 and not os.path.exists(pin):  # now that it is known to be an archive
                    _pin(archive.address, digest, pin)
                os.rename(inside, target)
        finally:
            os.remove(packed)
        log.info("%d files in %s", count, target)
    return _innermost(target)


def _download(archive: Archive, path: str, pin: str) -> str:
    """Bring the bytes at the archive's address to the file `path`, if they have the right digest, which is returned."""
    pinned = archive.sha256 or _pinned(pin)
    digest = hashlib.sha256()
    with replacing(path) as temporary, open(temporary, "wb") as file:
        for piece in _pieces(archive):
            digest.update(piece)
            file.write(piece)
        if pinned and digest.hexdigest() != pinned:
            source = "" if archive.sha256 else f" as {pin} has it"
            raise UserError(
                f"{archive.address} has the SHA-256 {digest.hexdigest()}, not {pinned}{source}: it is damaged or was "
                f"changed; {ADVICE}"
            )
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _pieces(archive: Archive) -> Iterator[bytes]:
    """What the server sends, piece by piece. Raises UserError where it fails, stops early or does not end."""
    request = urllib.request.Request(archive.address, headers={"User-Agent": AGENT})
    received, expected, said = 0, None, time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=STALLED_AFTER) as response:
            length = response.headers.get("Content-Length", "")
            expected = int(length) if length.isdecimal() else None
            while piece := response.read(PIECE):
                received += len(piece)
                if max(received, expected or 0) > archive.most_bytes:
                    raise UserError(
                        f"{archive.address} is larger than {archive.most_bytes} bytes, more than this data set has: "
                        "name a folder of the pictures with DATA"
                    )
                if time.monotonic() - said >= SAID_EVERY:
                    said = time.monotonic()
                    of = f" of {expected / 1e6:.0f}" if expected else ""
                    log.info("%s: %.0f%s MB", archive.name, received / 1e6, of)
                yield piece
    except (OSError, http.client.HTTPException) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{archive.address} could not be downloaded ({reason}): {ADVICE}") from error
    if expected is not None and received != expected:
        raise UserError(f"{archive.address} ended after {received} of {expected} bytes: {ADVICE}")


def _pin(address: str, digest: str, pin: str) -> None:
    log.warning(
        "no digest of %s is published; its SHA-256 today is %s: compare it with another machine's. "
        "It is kept in %s, and later downloads must have it",
        address,
        digest,
        pin,
    )
    write_atomically(pin, digest.encode() + b"\n")


def _pinned(pin: str) -> str | None:
    """The digest that the first download was recorded with, None where there was none."""
    try:
        with open(pin) as file:
            text = file.read(100).strip()
    except FileNotFoundError:
        return None
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise UserError(f"{pin} holds {text[:80]!r}, which is no SHA-256: delete it to record the digest anew")
    return text


def _innermost(folder: str) -> str:
    """Down from a folder through those that hold one folder and no picture beside: archives have their own."""
    while True:
        with os.scandir(folder) as entries:
            inside = [entry for entry in entries if not entry.name.startswith((".", "__MACOSX"))]
        folders = [entry.path for entry in inside if entry.is_dir()]
        pictures = any(entry.name.lower().endswith((".jpg", ".jpeg", ".png", ".csv")) for entry in inside)
        if len(folders) != 1 or pictures:
            return folder
        (folder,) = folders
