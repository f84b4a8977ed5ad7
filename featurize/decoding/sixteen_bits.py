"""Colours in 16-bit samples: Pillow keeps the upper byte only, which loses a picture of 10 or 12 bits.

Where the upper bytes show that fewer than 14 bits are used, the file is decoded again for the lower bytes. Only
imported when something is decoded.
"""

import sys
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin

from featurize.decoding.levels import SIXTEEN, extent_of, levels_of_integers, strips, to_8bit

_SWAPPED = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
# Raw mode of Pillow -> the one that gives the lower bytes. Grey with alpha comes as upper and lower byte of each.
LOWER = {f"{name};16{order}": f"{name};16{_SWAPPED[order]}" for name in ("RGB", "RGBX", "RGBA") for order in "BLN"}
LOWER |= {f"{band};16{order}": f"{band};16{_SWAPPED[order]}" for band in "RGBA" for order in "BL"}  # in planes
LOWER["LA;16B"] = "RGBA"
UPPER_OF_14_BITS = 64  # and of more, the upper byte is at least this


def mend_planes(picture: ImageFile.ImageFile) -> None:
    """Have 16-bit colours that lie in planes, one after the other, read as what they are: Pillow reads 8 bits."""
    assert isinstance(picture, TiffImagePlugin.TiffImageFile)
    order = "L" if picture.tag_v2.prefix == b"II" else "B"
    picture.tile = [
        tile._replace(args=(f"{tile.args[0]};16{order}", *tile.args[1:])) for tile in picture.tile if tile.args
    ]


def mend_sixteen_bits(
    picture: Image.Image, rawmode: str, transparent: object, again: Callable[[dict[str, str]], Image.Image], keep: bool
) -> tuple[str, str]:
    """Give a loaded RGB or RGBA picture whose raw mode is one of `LOWER` the colours that its 16-bit samples mean.

    `transparent` is the colour of a PNG (tRNS) that is transparent, in 16 bits: it becomes white. `keep`: change
    nothing. Returns note and change, as of `featurize.decoding.upright_rgb.Upright`.
    """
    named = transparent if isinstance(transparent, tuple) and picture.mode == "RGB" else None
    if not named and not _dark(picture):
        return "", ""
    lower = again(LOWER)

    def planes() -> Iterator[tuple[int, np.ndarray]]:
        for top, bottom in strips(*picture.size):
            box = (0, top, picture.width, bottom)
            low = np.asarray(lower.crop(box))
            if rawmode == "LA;16B":
                low = low[:, :, (1, 1, 1, 3)]
            yield top, np.asarray(picture.crop(box)).astype(np.uint16) << 8 | low

    def colours() -> Iterator[np.ndarray]:
        return (values[:, :, :3] for _, values in planes())

    def alphas() -> Iterator[np.ndarray]:
        return (values[:, :, 3:] for _, values in planes())

    levels = levels_of_integers(colours, SIXTEEN)
    as_before = levels[:3] == (0, SIXTEEN, ())
    if as_before and not named:
        return "", ""
    alike = picture.mode == "RGBA" and extent_of(alphas).high <= levels.white  # alpha has as few bits
    mistaken = False
    for top, values in planes():
        upper = (values >> 8).astype(np.uint8)
        shown = upper.copy()
        if not as_before:
            shown[:, :, :3] = to_8bit(values[:, :, :3], levels.black, levels.white, levels.left_out)
        if alike:
            shown[:, :, 3] = to_8bit(values[:, :, 3], 0, levels.white)
        if named:
            meant = (values == np.array(named, np.uint16)).all(axis=-1)
            shown[meant] = 255
            mistaken = mistaken or bool(((upper == np.array(named) >> 8).all(axis=-1) != meant).any())
        if not keep:
            picture.paste(Image.fromarray(shown), (0, top))
    if named and not keep:
        del picture.info["transparency"]
    return "" if keep else levels.note, "" if as_before and not mistaken else "16-bit colours"


def _dark(picture: Image.Image) -> bool:
    """Whether the upper bytes show less than 14 bits; but for the last, which may stand for no data."""
    counts = np.reshape(picture.histogram(), (-1, 256))[:3]
    return not counts[:, UPPER_OF_14_BITS:255].any()
