"""Refuse a picture by the pixels that its header says, before it is decoded: a limit of whoever asks for the pixels."""

from collections.abc import Collection

from featurize.decoding.decode import Inputs, NetworkInput, decode_inputs
from featurize.decoding.heif_header import heif_header, is_heif
from featurize.decoding.memory_gate import before_opening
from featurize.decoding.upright_rgb import BOMB, HOSTILE, open_picture, pillow_as_it_comes
from featurize.pictures.find_images import ImageError
from featurize.pictures.sources import Reserve

TOO_MANY = "too many pixels: "  # how the reason begins


def decode_limited(data: bytes, inputs: Collection[NetworkInput], reserve: Reserve, most_pixels: int) -> Inputs:
    """`decode_inputs`; raises ImageError also for a picture of more pixels than `most_pixels`, unless that is 0.

    A JPEG may have more pixels than Pillow's own limit, because its decoder reduces it; others may not.
    """
    if most_pixels:
        width, height = _size(data, reserve)
        if width * height > most_pixels:
            raise ImageError(f"{TOO_MANY}{width} x {height}, more than {most_pixels}")
    try:
        return decode_inputs(data, inputs, reserve)
    except ImageError as error:
        if str(error).startswith(BOMB):
            raise ImageError(f"{TOO_MANY}{str(error).removeprefix(BOMB).strip()}") from error
        raise


def _size(data: bytes, reserve: Reserve) -> tuple[int, int]:
    """(width, height) by the header; (0, 0) of what cannot be opened, of which the decoder says why."""
    try:
        if is_heif(data):
            return heif_header(data).size
        before_opening(data, (1, 1), reserve)
        with pillow_as_it_comes(), open_picture(data) as picture:
            return picture.size
    except HOSTILE:
        return 0, 0
