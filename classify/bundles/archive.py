"""The zip file of a bundle: its members, each with the size and the digest that the manifest names.

To change the format: raise `FORMAT`, and say in `read` what becomes of bundles of the format before. Members are stored
uncompressed, have one of the names below, and nothing is ever written to disk under a name that an archive gives.
"""

import io
import json
import re
import stat
from collections.abc import Mapping
from hashlib import sha256
from typing import Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from cache.errors import UserError
from classify.saved.npz import NO_ARCHIVE
from classify.saved.record import is_sha256, parse, read_regular, reason_of, shown

FORMAT = 1
MANIFEST = "bundle.json"
RECORD = "model.json"
ARRAYS = "model.npz"
MEMBER = r"model\.(?:json|npz)|network\d\d?\.(?:xml|bin)|weights\d\d?\.[a-z0-9]{1,12}"
MOST_MEMBERS = 100
LARGEST_MANIFEST = 2**20  # bytes
EPOCH = (1980, 1, 1, 0, 0, 0)  # of every member: equal models make equal files


def network_files(number: int) -> tuple[str, str]:
    """The members with the graph of the network of that number."""
    return f"network{number}.xml", f"network{number}.bin"


def packed(members: Mapping[str, bytes | memoryview], about: Mapping[str, Any]) -> memoryview:
    """The bytes of a bundle with these members, and what it says of itself."""
    digests = {name: {"sha256": sha256(data).hexdigest(), "bytes": len(data)} for name, data in members.items()}
    manifest = json.dumps({"format": FORMAT, **about, "members": digests}, indent=2).encode()
    file = io.BytesIO()
    with ZipFile(file, "w", ZIP_STORED) as archive:
        for name, data in {MANIFEST: manifest, **members}.items():
            entry = ZipInfo(name, EPOCH)
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, data)
    return file.getbuffer()


def read(path: str, pin: str | None = None) -> dict[str, bytes]:
    """The members of the bundle at `path`, without its manifest, by their names.

    pin: the SHA-256 of the whole file, as `sha256sum` prints it; nothing else is read then. Raises UserError, one line,
    for a file that is no bundle, or not whole: before more memory is taken than the file has.
    """
    if pin is not None and not is_sha256(pin := pin.strip().lower()):
        raise UserError(f"sha256 {shown(pin)}: give the 64 hexadecimal digits that sha256sum prints")
    try:
        data = read_regular(path)
    except (OSError, ValueError) as error:
        raise UserError(f"model {path}: {reason_of(error)}; `export --output NAME.zip` writes one") from None
    if pin is not None and (found := sha256(data).hexdigest()) != pin:
        raise UserError(f"model {path} is not the pinned one: it has SHA-256 {found}, pinned is {pin}")
    try:
        with ZipFile(io.BytesIO(data)) as archive:
            return _members(archive, len(data))
    except (ValueError, RecursionError, *NO_ARCHIVE) as error:
        raise UserError(f"model {path} is no bundle, or a damaged one ({reason_of(error)}): copy it again") from None


def _members(archive: ZipFile, size: int) -> dict[str, bytes]:
    """Raises ValueError for members that a bundle does not have."""
    entries = {entry.filename: entry for entry in archive.infolist()}
    if len(entries) != len(archive.infolist()) or len(entries) > MOST_MEMBERS:
        raise ValueError(f"{len(archive.infolist())} members, two of one name or too many")
    for name, entry in entries.items():
        if name != MANIFEST and not re.fullmatch(MEMBER, name):
            raise ValueError(f"a member {shown(name)}")
        if entry.compress_type != ZIP_STORED or entry.file_size != entry.compress_size or entry.flag_bits & 1:
            raise ValueError(f"{name} is compressed or encrypted")
        if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
            raise ValueError(f"{name} is no regular file")
    if sum(entry.file_size for entry in entries.values()) > size:
        raise ValueError("members that share their bytes")
    if MANIFEST not in entries or entries[MANIFEST].file_size > LARGEST_MANIFEST:
        raise ValueError(f"no {MANIFEST}")
    named = _digests(parse(archive.read(MANIFEST)))
    if {MANIFEST, *named} != entries.keys() or not {RECORD, ARRAYS} <= named.keys():
        raise ValueError(f"other members than {MANIFEST} names")
    members = {}
    for name, (digest, length) in named.items():
        if entries[name].file_size != length:
            raise ValueError(f"{name} has {entries[name].file_size} bytes, {MANIFEST} names {length}")
        members[name] = archive.read(name)
        if sha256(members[name]).hexdigest() != digest:
            raise ValueError(f"{name} is not the one that {MANIFEST} names")
    return members


def _digests(manifest: Any) -> dict[str, tuple[str, int]]:
    """Digest and length of each member that a manifest names. Raises ValueError for what is none."""
    if not isinstance(manifest, dict) or type(manifest.get("format")) is not int:
        raise ValueError(f"{MANIFEST} is not that of a bundle")
    if manifest["format"] != FORMAT:
        raise ValueError(f"it has format {shown(manifest['format'])}, this version reads {FORMAT}")
    members = manifest.get("members")
    if not isinstance(members, dict):
        raise ValueError(f"{MANIFEST} names no members")
    for name, value in members.items():
        right = isinstance(value, dict) and is_sha256(value.get("sha256")) and type(value.get("bytes")) is int
        if not right:
            raise ValueError(f"{MANIFEST} has no digest of {shown(name)}")
    return {name: (value["sha256"], value["bytes"]) for name, value in members.items()}
