"""What `os.path` says of files, of paths into archives and of addresses as well."""

import os
from itertools import takewhile

from cache.errors import UserError, log
from cache.files.path_kinds import archive_member, is_elsewhere, is_url
from featurize.pictures.find_images import SUFFIXES, suffix_of


def is_file(path: str) -> bool:
    """Whether there is a file, a member that can be read, or an object. An address costs a request."""
    if is_url(path):
        from cache.remote.objects import is_object

        return is_object(path)
    if os.path.isfile(path):
        return True
    place = archive_member(path)
    if place is None or not place[1]:
        return False
    from featurize.pictures.places.archives import has_member

    return has_member(*place)


def is_folder(path: str) -> bool:
    """Whether a path may have pictures below it: a folder, an archive, or an address without an image's suffix."""
    if is_url(path):
        return suffix_of(path.rstrip("/").rpartition("/")[2]) not in SUFFIXES
    if os.path.isdir(path):
        return True
    place = archive_member(path)
    return place is not None and suffix_of(place[1].rpartition("/")[2]) not in SUFFIXES


def inside_archive(path: str) -> str:
    """The only folder of an archive that everything lies in, where `path` is such an archive; else `path`.

    `zip -r photos.zip photos` makes such a one, and what is meant is the folder. Announced.
    """
    place = archive_member(path)
    if place is None or place[1] or os.path.isdir(path):
        return path
    from featurize.pictures.places.archives import only_folder

    if not (folder := only_folder(path)):
        return path
    log.info("%s: everything lies in its folder %r, which is taken", path, folder)
    return f"{path}/{folder}"


def join(folder: str, name: str) -> str:
    """`os.path.join`, with / behind an address on every system, and where `name` is an address that alone."""
    if is_url(name):
        return name
    return f"{folder.rstrip('/')}/{name}" if is_url(folder) else os.path.join(folder, name)


def absolute(path: str) -> str:
    """`os.path.abspath`; an address stays as it is."""
    return path if is_url(path) else os.path.abspath(path)


def common_folder(folders: list[str]) -> str:
    """`os.path.commonpath`, of addresses of one scheme as well. Raises `ValueError` where there is none."""
    if not folders or not all(map(is_url, folders)):
        return os.path.commonpath(folders)
    levels = zip(*(folder.split("/") for folder in folders), strict=False)
    common = [names[0] for names in takewhile(lambda names: len(set(names)) == 1, levels)]
    if len(common) < 3:
        raise ValueError("addresses of several stores")
    return "/".join(common)


def real(path: str) -> str:
    """`os.path.realpath`; an address stays as it is, without a slash at its end."""
    return path.rstrip("/") if is_url(path) else os.path.realpath(path)


def contents(path: str) -> bytes:
    """The whole of a table, of an archive or an address as well. Raises UserError where it cannot be read."""
    from featurize.pictures.sources import LARGEST_FILE, ImageError, read

    if not is_elsewhere(path):
        with open(path, "rb") as file:
            return file.read()
    try:
        return read(path)
    except ImageError as error:
        raise UserError(f"{path!r}: {error} (at most {LARGEST_FILE // 1024**2} MiB)") from None
