"""Bytes of an image file -> pixels of the network's input size. Only imported when something is decoded.

The only decoder, for training and for prediction alike: open, turn into upright RGB, stretch.
"""

import ctypes
import logging
import warnings
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image, ImageFile, JpegImagePlugin, TiffImagePlugin, UnidentifiedImageError, _imaging

from cache.errors import UserError
from cache.row_key import ORIGINAL_VIEW, content_digest
from cache.signatures import SIDE
from featurize.decoding.crops import Crop
from featurize.decoding.heif_header import is_heif
from featurize.decoding.memory_gate import before_loading, before_opening
from featurize.decoding.mended_files import mended
from featurize.decoding.sixteen_bits import mend_planes
from featurize.decoding.upright_rgb import (
    BOMB,
    HOSTILE,
    Upright,
    fit,
    in_one_line,
    open_picture,
    pillow_as_it_comes,
    rawmode_of,
    upright,
)
from featurize.pictures.find_images import ImageError
from featurize.pictures.hidden_parts import is_augmented, with_hidden
from featurize.pictures.recipes import recipe_of
from featurize.pictures.sources import Reserve, within_limit
from featurize.pictures.views import FINER, render

# Part of the spec of every feature row. Raise it whenever a change, here or in featurize/decoding/upright_rgb.py,
# featurize/decoding/levels.py, featurize/decoding/sixteen_bits.py or featurize/pictures/views.py, gives any picture
# other pixels: rows of two decoders must never be mixed. Decoder 2 is still there for its models and rows: of most
# pictures its pixels are the same, and `Decoded` says of which they are not.
DECODER = 3
DECODERS = DECODER, 2

BEGINNINGS = {
    b"\xff\xd8": "JPEG",
    b"\x89PNG": "PNG",
    b"BM": "BMP",
    b"GIF8": "GIF",
    b"RIFF": "WebP",
    b"II": "TIFF",
    b"MM": "TIFF",
}

# antialias  a triangle filter, widened when it shrinks: every pixel of the picture counts. A JPEG much larger than
#            the input is shrunk to REDUCED_TO times the input or more by the JPEG decoder itself
# nearest    what Keras' `load_img(target_size=...)` does unless told otherwise
# bilinear   what Keras' `image_dataset_from_directory` does: two neighbours a side, no antialiasing
# and what recipes of model files say, see featurize/decoding/crops.py: always of the whole picture
RESIZES = ("antialias", "nearest", "bilinear")

# Decoding a JPEG of 12 megapixels at a quarter of its size takes a quarter of the time, and does little to features
# as long as much is left to shrink: smallest cosine with those of a full decode 0.9996, median 0.9998 at 3.35 times an
# input of 224, where SIMD resizing alone (one step in 255 here and there) makes 0.9998 and 0.9999; at 1.67 times it
# would be 0.9967 and 0.9982. MobileNetV2, `python benchmarks/cost/decoding.py`.
REDUCED_TO = 3

# Pillow warns of odd tags that do not touch the pixels, and of bombs, which are refused here anyway. Set once
# for the process and not around each picture, because `warnings.catch_warnings` is not safe in threads.
warnings.filterwarnings("ignore", module=r"PIL\.", category=UserWarning)
warnings.filterwarnings("ignore", module=r"PIL\.", category=Image.DecompressionBombWarning)
logging.getLogger("PIL").addHandler(logging.NullHandler())  # else Python prints what nobody handles


class Decoded(NamedTuple):
    """A picture as pixels (views, height, width, 3), and its signature.

    signature: the picture's pixels at 24 x 24, by which near-duplicates are told (`classify.data.duplicates`). It is
    made where a picture is decoded for the network anyway: one for each content, whatever the spec.

    note: what was decided about an unusual picture, such as "alpha channel 0 everywhere: not used"; one line, else "".
    changed: the kind of picture, such as "float numbers", where decoder 2 gives other pixels than `DECODER`, else "".
    """

    pixels: np.ndarray
    signature: np.ndarray
    note: str = ""
    changed: str = ""


class NetworkInput(NamedTuple):
    """What a network takes of a picture: `views`, each stretched to `size` (height, width), as `decode_views` has it.

    Joined networks take several of one picture, which is decoded once for all of them.
    """

    size: tuple[int, int]
    resize: str = "antialias"
    views: tuple[str, ...] = (ORIGINAL_VIEW,)
    decoder: int = DECODER

    @property
    def is_original(self) -> bool:
        """Whether it is the picture itself and no augmented view; parts of it may be hidden."""
        return not any(map(is_augmented, self.views))

    @property
    def pieces(self) -> tuple["NetworkInput", ...]:
        """The augmented views and the original apart: a large JPEG is decoded reduced for the original alone."""
        others = tuple(view for view in self.views if view != ORIGINAL_VIEW)
        if self.is_original or others == self.views:
            return (self,)
        return self._replace(views=others), self._replace(views=(ORIGINAL_VIEW,))


Inputs = dict[NetworkInput, Decoded]
Result = TypeVar("Result", Inputs, Image.Image)


def decode(
    data: bytes,
    size: tuple[int, int],
    resize: str = "antialias",
    view: str = ORIGINAL_VIEW,
    reserve: Reserve = within_limit,
) -> np.ndarray:
    """The pixels that `decode_views` gives of one view: (height, width, 3); the array may be read-only."""
    return decode_views(data, size, resize, (view,), reserve).pixels[0]


def decode_views(
    data: bytes,
    size: tuple[int, int],
    resize: str = "antialias",
    views: Sequence[str] = (ORIGINAL_VIEW,),
    reserve: Reserve = within_limit,
    decoder: int = DECODER,
) -> Decoded:
    """Decode the bytes of an image file once: RGB pixels (views, height, width, 3), each stretched to `size`.

    `views`: see `featurize.pictures.views`; `resize` "bilinear" has the original only.
    float32 in 0..255 for "bilinear", else uint8; the array may be read-only. Of several frames or pages the first is
    taken. Safe to call from several threads at once; `reserve` is asked for the memory.
    Views other than the original are made from the whole picture. A JPEG that is reduced by its decoder for the
    original (see `REDUCED_TO`) is so decoded a second time where both are asked for, in a quarter of the time. One of
    more pixels than Pillow's limit against decompression bombs is reduced whatever is asked for.
    `decoder` is one of `DECODERS`. What the program has set in Pillow does not change the pixels.

    Raises ImageError for what is damaged, truncated, empty, no image, in none of the formats of
    `featurize.decoding.upright_rgb`, has more pixels than that limit, or would take too much memory or minutes; what
    `reserve` raises; UserError for an unknown `resize` or view.
    """
    wanted = NetworkInput(size, resize, tuple(views), decoder)
    return decode_inputs(data, [wanted], reserve)[wanted]


def decode_inputs(data: bytes, inputs: Collection[NetworkInput], reserve: Reserve = within_limit) -> Inputs:
    """What `decode_views` gives for each of `inputs`, from one decode wherever the pixels before resizing are the same.

    They differ where the decoder of a JPEG reduces it to another size, and between `DECODERS`. All have the signature
    that the first has alone. Raises as `decode_views`; what fails for one input fails for all.
    """
    for wanted in inputs:
        if wanted.resize not in RESIZES and not Crop.of(wanted.resize):
            raise UserError(f"unknown resize {wanted.resize!r}: choose one of {', '.join(RESIZES)}")
        others = [view for view in wanted.views if is_augmented(view)]
        for view in others:
            recipe_of(view)
        if others and wanted.resize == "bilinear":
            raise UserError(f"resize bilinear knows no view {others[0]}: take antialias")
    pieces = [piece for wanted in inputs for piece in wanted.pieces]
    found, note = _guarded(data, lambda file: _decode(file, pieces, reserve), reserve)
    return {wanted: _whole(wanted, found, note) for wanted in inputs}


def _whole(wanted: NetworkInput, found: Inputs, note: str) -> Decoded:
    """The pieces of an input as one. note: how the file was mended."""
    decoded, *originals = (found[piece] for piece in wanted.pieces)
    pixels = decoded.pixels
    for original in originals:
        pixels = np.insert(pixels, wanted.views.index(ORIGINAL_VIEW), original.pixels[0], axis=0)
    return decoded._replace(pixels=pixels, note="; ".join(filter(None, (note, decoded.note))))


def decode_within(data: bytes, side: int, reserve: Reserve = within_limit) -> Image.Image:
    """Decode the bytes of an image file for a person to look at: RGB, its shape kept, fitted into `side` x `side`.

    The same picture, upright and opaque, that `decode_views` stretches for the network; never enlarged. Raises as
    `decode_views`.
    """
    picture, _ = _guarded(data, lambda file: _decode_within(file, side, reserve), reserve)
    return picture


def _guarded(data: bytes, decoder: Callable[[bytes], Result], reserve: Reserve) -> tuple[Result, str]:
    """(`decoder(data)`, how the file was mended before, or ""); whatever Pillow raises becomes an ImageError."""
    if not data:
        raise ImageError("empty file")
    try:
        with pillow_as_it_comes():
            return decoder(data), ""
    except ImageError:
        raise
    except HOSTILE as error:
        with pillow_as_it_comes():
            again = mended(data, error, reserve)
        if again is None:
            raise ImageError(_reason(data, error)) from error
        result, note = _guarded(again[0], decoder, reserve)
        return result, "; ".join(filter(None, (again[1], note)))


def _decode_within(data: bytes, side: int, reserve: Reserve) -> Image.Image:
    before_opening(data, (side, side), reserve)
    opened, _ = _opened(data, DECODER)
    with opened as picture:
        full = picture.size
        _reduce(picture, _reduction_to(picture, side))
        before_loading(picture, data, full, (side, side), reserve)
        rgb = _upright(picture, data).rgb
        scale = min(1.0, side / max(rgb.size))
        return fit(rgb, (max(1, round(rgb.height * scale)), max(1, round(rgb.width * scale))), "antialias")


def _upright(picture: ImageFile.ImageFile, data: bytes, decoder: int = DECODER) -> Upright:
    """`picture`, opened and not loaded, as RGB."""

    def again(rawmodes: dict[str, str]) -> Image.Image:
        other, _ = _opened(data, decoder)
        other.tile = [
            tile._replace(args=(rawmodes[tile.args[0]], *tile.args[1:]))
            if isinstance(tile.args, tuple)
            else tile._replace(args=rawmodes[str(tile.args)])
            for tile in other.tile
        ]
        other.load()
        return other

    return upright(picture, again, as_decoder_2=decoder != DECODER)


def _opened(data: bytes, decoder: int) -> tuple[ImageFile.ImageFile, str]:
    """(a picture that is not loaded, as `Decoded.changed`)."""
    picture = open_picture(data)
    if not isinstance(picture, TiffImagePlugin.TiffImageFile) or rawmode_of(picture) != "R":
        return picture, ""
    if max(picture.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (8,))) != 16:
        return picture, ""
    if decoder == DECODER:
        mend_planes(picture)
    return picture, "16-bit colours in planes"


def _decode(data: bytes, inputs: Collection[NetworkInput], reserve: Reserve) -> Inputs:
    """Decoded once for all inputs that are made from the same pixels, then for the next ones."""
    found: Inputs = {}
    while waiting := [wanted for wanted in inputs if wanted not in found]:
        signature = found[next(iter(found))].signature if found else None
        found |= _decode_alike(data, waiting, signature, reserve)
    return found


def _decode_alike(
    data: bytes, inputs: Sequence[NetworkInput], signature: np.ndarray | None, reserve: Reserve
) -> Inputs:
    """The first of `inputs`, and all others that are made from the same pixels. signature: None if not known yet."""
    decoder, largest = inputs[0].decoder, max((wanted.size for wanted in inputs), key=max)
    reserve = _with_memory_for(inputs, reserve)
    before_opening(data, largest, reserve)
    opened, in_planes = _opened(data, decoder)
    with opened as picture:
        full = picture.size
        reductions = [(wanted.decoder, _reduction(picture, wanted)) for wanted in inputs]
        alike = [wanted for wanted, same in zip(inputs, reductions, strict=True) if same == reductions[0]]
        _reduce(picture, reductions[0][1])
        resized = [_resized(picture.size, wanted.size, wanted.resize) for wanted in inputs]
        before_loading(picture, data, full, max(resized, key=max), reserve)
        rgb, note, changed = _upright(picture, data, decoder)
    changed = changed or in_planes
    if signature is None and changed and decoder != DECODER:  # that of a content is the same whatever the spec
        (today,) = _decode(data, [NetworkInput((1, 1))], reserve).values()
        signature = today.signature
    if signature is None:
        signature = np.asarray(fit(rgb, (SIDE, SIDE), "antialias"))
    digest = b"" if all(wanted.is_original for wanted in alike) else content_digest(data)
    return {wanted: Decoded(_pixels(rgb, wanted, digest), signature, note, changed) for wanted in alike}


def _pixels(rgb: Image.Image, wanted: NetworkInput, digest: bytes) -> np.ndarray:
    """(views, height, width, 3) of an upright picture whose file has the SHA-256 `digest`."""
    if wanted.resize == "bilinear":
        return with_hidden(_bilinear(np.asarray(rgb), *wanted.size), wanted.views)
    if wanted.is_original:
        return with_hidden(np.asarray(fit(rgb, wanted.size, wanted.resize)), wanted.views)
    return np.stack(render(rgb, wanted.views, digest, wanted.size, wanted.resize))


def _resized(picture: tuple[int, int], size: tuple[int, int], resize: str) -> tuple[int, int]:
    """(height, width) that a picture of (width, height) pixels has before anything is cut off."""
    crop = None if resize in RESIZES else Crop.of(resize)
    return crop.resized(picture, size) if crop and not crop.is_thin(picture, size) else size


def _with_memory_for(inputs: Collection[NetworkInput], reserve: Reserve) -> Reserve:
    """`reserve`, asked for the memory of the augmented views as well."""
    rendered = 0
    for wanted in inputs:
        if wanted.views != (ORIGINAL_VIEW,):  # all views; of one, as it is made, source, strips and result
            number = 4 if wanted.resize == "bilinear" else 1  # bytes
            rendered += (3 * len(wanted.views) * number + 14 * FINER**2) * wanted.size[0] * wanted.size[1]
    return (lambda count: reserve(count + rendered)) if rendered else reserve


def _reduction(picture: Image.Image, wanted: NetworkInput) -> int:
    """By how much a JPEG is reduced by its decoder for this input, see `REDUCED_TO`; others are not."""
    may_be = wanted.is_original and wanted.resize == "antialias"
    return _reduction_to(picture, REDUCED_TO * max(wanted.size) if may_be else None)


def _reduction_to(picture: Image.Image, side: int | None) -> int:
    """1, 2, 4 or 8: a JPEG keeps `side` or more, and always comes to less than Pillow's limit of pixels."""
    if not isinstance(picture, JpegImagePlugin.JpegImageFile):
        return 1
    width, height = picture.size
    limit = Image.MAX_IMAGE_PIXELS or width * height
    least = next((scale for scale in (1, 2, 4) if width * height <= limit * scale**2), 8)
    most = min(width, height) // side if side else 1
    return max(least, *(scale for scale in (1, 2, 4, 8) if scale <= max(1, most)))


def _reduce(picture: Image.Image, reduction: int) -> None:
    if isinstance(picture, JpegImagePlugin.JpegImageFile) and reduction > 1:
        picture.draft(None, (picture.width // reduction, picture.height // reduction))


def _bilinear(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """`tf.image.resize(pixels, (height, width), "bilinear")` in numpy: float32 of shape (height, width, 3).

    After TensorFlow's core/kernels/image/resize_bilinear_op.cc, and in float32 like there: in a large picture
    the places between the pixels would come out otherwise in the fourth digit.
    """
    upper, lower, down = _neighbours(pixels.shape[0], height)
    left, right, across = _neighbours(pixels.shape[1], width)

    def row(y: np.ndarray) -> np.ndarray:
        full = pixels.take(y, axis=0)
        start = full.take(left, axis=1).astype(np.float32)
        end = full.take(right, axis=1).astype(np.float32)
        return _between(start, end, across[None, :, None])

    return _between(row(upper), row(lower), down[:, None, None])


def _between(start: np.ndarray, end: np.ndarray, part: np.ndarray) -> np.ndarray:
    end -= start
    end *= part
    end += start
    return end


def _neighbours(old: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of `new` pixels the two of `old` that its centre lies between, and how far from the first, 0..1."""
    scale = np.float32(old) / np.float32(new)
    place = (np.arange(new, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)
    first = np.floor(place)
    nearer, farther = np.maximum(first, 0), np.minimum(np.ceil(place), old - 1)
    return nearer.astype(np.intp), farther.astype(np.intp), place - first


def _reason(data: bytes, error: BaseException) -> str:
    """One line for whatever Pillow raised about `data`."""
    kind = next((kind for beginning, kind in BEGINNINGS.items() if data.startswith(beginning)), None)
    if is_heif(data):
        kind = "HEIC or AVIF"
    if kind is None:
        return f"no image of a known format: begins with {data[:12]!r}"
    if isinstance(error, Image.DecompressionBombError):  # of a frame: the header may say less. It names twice the limit
        return f"{BOMB} {str(error).partition('(')[2].partition(')')[0]}, more than {Image.MAX_IMAGE_PIXELS}"
    if isinstance(error, UnidentifiedImageError):
        return f"{kind} with a damaged header or an unsupported kind of pixels"
    return f"damaged {kind}: {in_one_line(error)}"


def _silence_libtiff() -> None:
    """libtiff prints its complaints on file descriptor 2, past Python; Pillow raises an exception as well.

    The handler belongs to the process and is set once, before anything is decoded. Where libtiff is not a
    library of its own (Windows) there is no such function to be found, and the lines stay.
    """
    set_handler = getattr(ctypes.CDLL(_imaging.__file__), "TIFFSetErrorHandler", None)
    if set_handler is not None:
        set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
        set_handler(None)


_silence_libtiff()
