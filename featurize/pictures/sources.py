"""Turn what a caller passes as images into paths and bytes; read and digest the file at a path.

A picture that exists only in memory becomes the bytes of an image file: it is digested, cached and decoded like any
other. A path may lead into an archive, or be an address of object storage, see `featurize.pictures.places`; and it may
be spelled in another Unicode form than the disk spells it: "é" may be one character, or two.
"""

import hashlib
import io
import os
import stat
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cache.arguments import at_home
from cache.errors import UserError, listed, log
from cache.files.path_kinds import archive_member, is_elsewhere, is_url, is_web
from cache.files.system_calls import AT_ONCE
from featurize.pictures.find_images import ImageError, describe_passed_over, find_images
from featurize.pictures.places.paths import is_folder
from featurize.pictures.unusual_pictures import announce_notes

if TYPE_CHECKING:
    import numpy as np

Names = Mapping[str, Sequence[str]]
Source = str | bytes  # a path, or the bytes of an image file

# Asks for bytes of memory; returns when they may be taken, raises ImageError if never.
Reserve = Callable[[int], None]

# Bytes that one picture may take to decode, with its file: 16-bit RGB of 60 megapixels in a TIFF, or 89 megapixels in
# a PNG, need less.
MOST = 850 * 10**6
LARGEST_FILE = 512 * 1024**2  # bytes; Pillow's limit of 89 million pixels in 16-bit RGB, uncompressed
CHUNK = 1024**2  # bytes hashed at a time
SHOWN = 5
ACCEPTED = (
    "give a path, a folder, the bytes of an image file, a PIL image, an array of shape (height, width) or "
    "(height, width, 1, 3 or 4), or a list of these"
)


def within_limit(size: int) -> None:
    """Raise ImageError for a picture that takes more than `MOST` bytes."""
    if size > MOST:
        raise ImageError(f"takes {size / 1e6:.0f} MB of memory to decode, more than {MOST / 1e6:.0f} MB")


def read(path: str, reserve: Reserve = within_limit) -> bytes:
    """Read the image file at `path`; `reserve` is asked before, and again for the rest by whoever decodes.

    Raises ImageError with one line of reason for what is missing, may not be read, is no regular file, is larger
    than `LARGEST_FILE`, or gives more bytes than its size says: it is being written, or no file of a disk at all.
    """
    if is_url(path):
        return _read_address(path, reserve)
    if (place := archive_member(path)) and place[1]:
        from featurize.pictures.places.archives import member_size, read_member

        reserve(_allowed(member_size(*place), "member"))
        return read_member(*place)
    with opened(path) as (file, size):
        reserve(size)
        data = file.read(size) or b""  # in one call into their final place, but where a file system gives less
        while len(data) < size and (more := file.read(size - len(data))):
            data += more
        _require_end(file, size)
    return data


def digest_of(source: Source) -> bytes:
    """`cache.row_key.content_digest` of a source's bytes, with no more than `CHUNK` of a file in memory.

    Raises ImageError as `read`.
    """
    if isinstance(source, bytes):
        return hashlib.sha256(source).digest()
    if is_elsewhere(source):
        return hashlib.sha256(read(source)).digest()
    with opened(source) as (file, size):
        sha256, left = hashlib.sha256(), size
        while left and (chunk := file.read(min(CHUNK, left))):
            sha256.update(chunk)
            left -= len(chunk)
        _require_end(file, size)
    return sha256.digest()


def bytes_of(source: Source, reserve: Reserve = within_limit) -> bytes:
    """The bytes of an image file at a path, or as given. Raises ImageError as `read`."""
    return source if isinstance(source, bytes) else read(source, reserve)


def expand(images: Any) -> list[str | bytes]:
    """Turn whatever `pipeline.predict(images)` may get into paths (str) and bytes of image files, in order.

    One path, bytes object, PIL image or array of 2 or 3 dimensions is one item; an array of 4 dimensions (a batch),
    a list, a tuple, a pandas Series or Index, a DataFrame of one column and an array of strings or objects is one item
    for each element. A folder, also one among other elements, stands at its place for its images as `find_images` lists
    them, in byte order of the paths, with the failures among them, each of which will fail again, with its reason, when
    it is read; what is passed over there is announced. Paths are not opened here.

    A PIL image that was opened from a file, and neither loaded nor changed since, is the bytes of that file. Any other
    becomes an uncompressed BMP of what the decoder makes of it, upright 8-bit RGB: the same bytes for the same pixels.
    So do arrays (and tensors that convert to one): (height, width) or (height, width, 1 | 3 | 4) of bool, uint8, uint16
    or floats in 0..1 or 0..255. Arrays of one call are judged together: floats lie all in 0..1 or all in 0..255, and
    uint16 have one white. What is decided about unusual pictures is announced.

    A folder without images is announced. Raises UserError where nothing else is given, for a folder that cannot be
    read, for any other type, shape and dtype, and for a PIL image that cannot be loaded, naming it and its place.
    """
    if isinstance(images, list | tuple) or _is_pandas(images, "Series", "Index"):
        return _items(list(images))
    if _is_pandas(images, "DataFrame"):
        if len(images.columns) != 1:
            raise UserError(f"a table of {len(images.columns)} columns: give the column of the paths alone")
        return _items(images.iloc[:, 0].tolist())
    if _is_array(images):
        array = _array(images)
        if array.dtype.kind in "OUT" and array.ndim == 1:
            return _items(array.tolist())
        if array.ndim == 4:
            return _items(list(array))
    return _items([images], alone=True)


@contextmanager
def opened(path: str) -> Iterator[tuple[io.RawIOBase | io.BytesIO, int]]:
    """The file at `path`, unbuffered, and its size in bytes; whatever the system refuses becomes an ImageError.

    Of an object of storage each read is a request of that part alone.
    """
    if is_elsewhere(path):
        with _opened_elsewhere(path) as found:
            yield found
        return
    try:
        with open(path, "rb", buffering=0, opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ImageError("not a regular file")
            yield file, _allowed(status.st_size, "file")
    except ImageError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ImageError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _allowed(size: int, what: str) -> int:
    if size > LARGEST_FILE:
        raise ImageError(f"{what} of {size} bytes, more than {LARGEST_FILE // 1024**2} MiB")
    return size


def _read_address(url: str, reserve: Reserve) -> bytes:
    from cache.remote.objects import ObjectPath
    from featurize.pictures.places.addresses import read_address

    if isinstance(url, ObjectPath) and url.size is not None:
        reserve(_allowed(url.size, "object"))
        return read_address(url, LARGEST_FILE)
    data = read_address(url, LARGEST_FILE)
    reserve(len(data))
    return data


@contextmanager
def _opened_elsewhere(path: str) -> Iterator[tuple[io.RawIOBase | io.BytesIO, int]]:
    if not is_url(path) or is_web(path):  # many servers of the web give no parts of a file
        data = read(path)
        yield io.BytesIO(data), len(data)
        return
    from cache.remote.file_systems import described, driver_errors
    from featurize.pictures.places.addresses import ObjectFile

    try:
        file = ObjectFile(path)
        yield file, _allowed(file.size, "object")
    except UserError as error:
        raise ImageError(str(error)) from None
    except driver_errors() as error:
        raise ImageError(f"cannot be read: {described(error)}") from None


def _require_end(file: io.RawIOBase | io.BytesIO, size: int) -> None:
    # What lies in /proc calls itself a regular file of no bytes, and may give them without end, or block.
    if file.read(1) != b"":
        raise ImageError(f"more bytes than its size of {size} says: being written, or no file of a disk")


def _open_at_once(path: str, flags: int) -> int:
    # A FIFO would otherwise wait for somebody to write into it; regular files do not know the flag.
    return os.open(path, flags | AT_ONCE)


def _at(path: str) -> list[str]:
    """The path of an image, or those of the images in a folder, also of failed ones."""
    if not is_folder(path):
        return [path]
    listing = find_images(path)
    if listing.passed_over:
        log.info("%s: %s", path, describe_passed_over(listing.passed_over))
    if not listing.images and not listing.failures:
        log.warning("there is no image in %s", path)
    return sorted((*listing.images, *(failure.path for failure in listing.failures)), key=os.fsencode)


def _items(images: list[Any], alone: bool = False) -> list[str | bytes]:
    """The items of a list, or of one image `alone`, which errors do not call by its place."""
    items: list[str | bytes] = []
    notes: list[tuple[str, str]] = []
    arrays: dict[int, tuple[np.ndarray, str]] = {}  # number of the item -> array, how errors about it begin
    for place, image in enumerate(images):
        where = "" if alone else f"image {place} of the list: "
        if isinstance(image, str | os.PathLike):
            path = os.fsdecode(image)
            items += _at(on_disk(at_home(path) if path.startswith("~") else path))
        elif isinstance(image, bytes | bytearray | memoryview):
            items.append(bytes(image))
        elif _is_picture(image):
            from featurize.pictures.in_memory import file_of_picture

            data, note = file_of_picture(image, f"{where}unusable image {_name(image)}")
            items.append(data)
            notes.append((f"image {len(items)}", note))
        elif _is_array(image):
            arrays[len(items)] = _array(image, where), f"{where}no image"
            items.append(b"")
        else:
            raise UserError(f"{where}no image: {_name(image)}; {ACCEPTED}")
    if arrays:
        from featurize.pictures.in_memory import files_of_arrays

        for number, (data, note) in zip(arrays, files_of_arrays(*zip(*arrays.values(), strict=True)), strict=True):
            items[number] = data
            notes.append((f"image {number + 1}", note))
    if images and not items:
        raise UserError(f"there is no image in {listed(map(str, images), SHOWN)}")
    if notes:
        announce_notes((name, note) for name, note in sorted(notes) if note)
    return items


def _is_picture(image: Any) -> bool:
    pillow = sys.modules.get("PIL.Image")  # who passes a PIL image has imported it
    return pillow is not None and isinstance(image, pillow.Image)


def _is_array(image: Any) -> bool:
    return hasattr(image, "__array__") and not _is_pandas(image, "Series", "Index", "DataFrame")


def _array(image: Any, where: str = "") -> "np.ndarray":
    import numpy as np

    try:
        return np.asarray(image)
    except (TypeError, ValueError, RuntimeError) as error:  # a tensor on a GPU, or one that wants gradients
        raise UserError(f"{where}no array from {_name(image)}: {error}") from error


def _is_pandas(value: Any, *kinds: str) -> bool:
    pandas = sys.modules.get("pandas")  # who passes a Series has imported it
    return pandas is not None and isinstance(value, tuple(getattr(pandas, kind) for kind in kinds))


def _name(image: Any) -> str:
    kind = type(image)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"a {name}"


def nfc(text: str) -> str:
    """`text` in Unicode's composed form (NFC), in which the same letters are the same characters."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def slashed(path: str) -> str:
    """`path` with / between its names, as this package compares relative paths on every system."""
    return path if os.sep == "/" else path.replace(os.sep, "/")


def names_in(folder: str) -> Names:
    """Every name in a folder by its composed form; empty for what is no folder, or not to be read."""
    names = defaultdict(list)
    try:
        for name in os.listdir(folder):
            names[nfc(name)].append(name)
    except (OSError, ValueError):  # ValueError: a NUL in the name
        pass
    return names


def on_disk(path: str, names_in: Callable[[str], Names] = names_in) -> str:
    """`path` as the disk spells it, if that differs in nothing but the Unicode form of its names.

    A path that is there is returned as it is; so is one that fits nothing there, or several names. names_in: as the
    function of this name, for callers who ask for many paths and keep its answers.
    """
    if path.isascii() or is_url(path) or os.path.lexists(path):
        return path
    found = ""
    for name in Path(path).parts:
        step = os.path.join(found, name)
        if not os.path.lexists(step):
            alike = [] if name.isascii() else names_in(found or ".").get(nfc(name), [])
            if len(alike) != 1:
                return path
            step = os.path.join(found, alike[0])
        found = step
    return found
