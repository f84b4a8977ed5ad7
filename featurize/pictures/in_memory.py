"""PIL images and arrays as the bytes of image files, so that they are digested, cached and decoded like any other.

Only imported for what is no path and no bytes.
"""

import io
import itertools
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFile

from cache.errors import UserError
from featurize.decoding.levels import SIXTEEN, Levels, agreed_white, extent_of, levels_of_integers, strips_of, to_8bit
from featurize.decoding.upright_rgb import HOSTILE, ORIENTATION, in_one_line, pillow_as_it_comes, upright

# That the decoder opens, as Pillow calls them.
FORMATS = ("JPEG", "MPO", "PNG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "AVIF", "HEIF")
LIKE_OTHERS = "floats of 0..1, read in 0..255 as those beside it"


File = tuple[bytes, str]  # the bytes of an image file; what was decided about an unusual picture: one line, else ""


def file_of_picture(picture: Image.Image, name: str) -> File:
    """A PIL image as a file.

    One that was opened from a file and not touched since is that very file. Any other is an uncompressed BMP of what
    the decoder makes of it, upright 8-bit RGB. Raises UserError, which begins with `name`, for what cannot be loaded.
    """
    if (data := _file_behind(picture)) is not None:
        return data, ""
    info = dict(picture.info)
    try:
        with pillow_as_it_comes():
            rgb, note, _ = upright(picture)
    except HOSTILE as error:
        raise UserError(f"{name}: {in_one_line(error)}") from error
    finally:
        if "transparency" in info:
            picture.info["transparency"] = info["transparency"]  # which `upright` brings to 8 bits: it is the caller's
    file = io.BytesIO()
    rgb.save(file, "BMP")
    return file.getvalue(), note


def files_of_arrays(arrays: Sequence[np.ndarray], names: Sequence[str]) -> list[File]:
    """Arrays of one call as BMP files; `names` is how errors about each begin.

    Each is (height, width) or (height, width, 1 | 3 | 4) of bool, uint8, uint16 or floats. All floats together lie in
    0..1 or in 0..255: a dark frame among others is as dark as it is. So uint16 have the same black and white, by the
    rules of 16-bit files (`featurize.decoding.levels`). Raises UserError for other arrays.
    """
    pictures = [_checked(array, name) for array, name in zip(arrays, names, strict=True)]
    whites = [_white(picture, name) for picture, name in zip(pictures, names, strict=True)]
    white = max((white for white in whites if white), default=None)
    sixteen = [picture for picture in pictures if picture.dtype == np.uint16]
    levels = levels_of_integers(
        lambda: itertools.chain.from_iterable(strips_of(_colours(picture))() for picture in sixteen), SIXTEEN
    ) if sixteen else None  # fmt: skip
    files: list[File] = []
    for picture, own, name in zip(pictures, whites, names, strict=True):
        note = ""
        if picture.dtype == np.uint16 and levels:
            shown, note = _of_sixteen_bits(picture, levels), levels.note
        elif picture.dtype.kind == "f" and white:
            shown = to_8bit(picture, 0, white)
            note = LIKE_OTHERS if own != white and picture.any() else ""
        else:
            shown = to_8bit(picture, 0, 1) if picture.dtype == bool else picture
        data, of_picture = file_of_picture(Image.fromarray(shown), name)
        files.append((data, "; ".join(filter(None, (note, of_picture)))))
    return files


def _file_behind(picture: Image.Image) -> bytes | None:
    """The bytes of the file that a picture was opened from, if it is still what that file says; else None."""
    if not isinstance(picture, ImageFile.ImageFile) or picture.format not in FORMATS or picture.fp is None:
        return None
    if not picture.tile and picture.format not in ("WEBP", "HEIF"):  # loaded
        return None
    try:
        position = picture.fp.tell()
        picture.fp.seek(0)
        data = picture.fp.read()
        picture.fp.seek(position)
        with Image.open(io.BytesIO(data), formats=[picture.format.replace("MPO", "JPEG")]) as fresh:
            return data if _same(picture, fresh) else None
    except HOSTILE:
        return None  # `upright` says what is wrong with it


def _same(picture: ImageFile.ImageFile, fresh: ImageFile.ImageFile) -> bool:
    """Whether a program has left a picture, which is not loaded, as it was opened."""
    exif = getattr(picture, "_exif", None)  # there if the program has asked for it; `getexif` would load a PNG
    if exif is not None and exif.get(ORIENTATION) != fresh.getexif().get(ORIENTATION):
        return False
    if type(picture) is not type(fresh) or picture.tell() != fresh.tell():
        return False
    parts = ("mode", "size", "tile", "decoderconfig", "info")
    return all(getattr(picture, part) == getattr(fresh, part) for part in parts)


def _checked(array: np.ndarray, name: str) -> np.ndarray:
    described = f"array of shape {array.shape} and dtype {array.dtype}"
    picture = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if not picture.size or picture.ndim not in (2, 3) or (picture.ndim == 3 and picture.shape[2] not in (3, 4)):
        raise UserError(f"{name}: {described}; the shape must be (height, width) or (height, width, 1, 3 or 4)")
    if picture.dtype.kind != "f" and picture.dtype.name not in ("bool", "uint8", "uint16"):
        raise UserError(f"{name}: {described}; the dtype must be bool, uint8, uint16 or a float")
    return picture.astype(picture.dtype.newbyteorder("="), copy=False)


def _white(picture: np.ndarray, name: str) -> float | None:
    """That of an array of floats by itself, None of others."""
    if picture.dtype.kind != "f":
        return None
    low, high, infinite = extent_of(strips_of(picture))
    described = f"array of shape {picture.shape} and dtype {picture.dtype}"
    if infinite:
        raise UserError(f"{name}: {described}: picture with NaN or infinite values")
    white = agreed_white(low, high)
    if white is None:
        raise UserError(f"{name}: {described} from {low} to {high}; floats must lie in 0..1 or 0..255")
    return white


def _colours(picture: np.ndarray) -> np.ndarray:
    return picture[:, :, :3] if picture.ndim == 3 else picture


def _of_sixteen_bits(picture: np.ndarray, levels: Levels) -> np.ndarray:
    """8-bit pixels as the decoder gives them of a 16-bit file with these numbers."""
    if picture.ndim == 3 and levels[:3] == (0, SIXTEEN, ()):
        return (picture >> 8).astype(np.uint8)
    shown = to_8bit(picture, levels.black, levels.white, levels.left_out)
    if picture.ndim == 3 and picture.shape[2] == 4:
        alpha = picture[:, :, 3]
        shown[:, :, 3] = to_8bit(alpha, 0, levels.white if alpha.max() <= levels.white else SIXTEEN)
    return shown
