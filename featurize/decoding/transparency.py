"""Transparent pictures: laid on white, the paper that pages and viewers show them on.

Merely dropping the transparency would uncover whatever colours the program that wrote the file left there. But an alpha
channel that is 0 everywhere is one that nobody uses: the colours count. Only imported when something is decoded.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, PngImagePlugin

from featurize.decoding.levels import strips


def mend_transparent_colour(picture: PngImagePlugin.PngImageFile, colour: object) -> None:
    """Bring the transparent colour of a PNG to 8 bits like its pixels: Pillow keeps it in the file's bit depth.

    Once the picture is loaded nothing tells that depth; but samples of 2 and 4 bits have few values in 8.
    """
    rawmode = picture.tile[0].args if picture.tile else picture.mode
    if not picture.tile and picture.mode == "L" and isinstance(colour, int) and 0 < colour < 16:
        values = np.flatnonzero(picture.histogram())
        steps = [(bits, step) for bits, step in ((2, 85), (4, 17)) if colour < 2**bits]
        rawmode = next((f"L;{bits}" for bits, step in steps if not (values % step).any()), rawmode)
    elif not picture.tile and picture.mode == "RGB" and isinstance(colour, tuple) and max(colour) > 255:
        rawmode = "RGB;16B"
    if rawmode in ("L;2", "L;4") and isinstance(colour, int):
        picture.info["transparency"] = colour * {"L;2": 85, "L;4": 17}[rawmode]
    elif rawmode == "RGB;16B" and isinstance(colour, tuple):
        picture.info["transparency"] = tuple(value >> 8 for value in colour)


def on_white(
    picture: Image.Image, rawmode: str, again: Callable[[dict[str, str]], Image.Image] | None, as_decoder_2: bool
) -> tuple[Image.Image, str, str]:
    """A picture with transparency as RGB, its note and change as of `featurize.decoding.upright_rgb.Upright`."""
    changed = note = ""
    if _transparent_everywhere(picture):
        if rawmode == "RGBa" and again:  # Pillow has divided the colours by alpha: there are none left
            picture = again({"RGBa": "RGBA"})
        colours = _without_alpha(picture)
        if all(low == high for low, high in zip(*[iter(np.ravel(colours.getextrema()).tolist())] * 2, strict=True)):
            note = "transparent everywhere and of one colour: shown white"
        else:
            changed = "alpha channel 0 everywhere"
            if not as_decoder_2:
                return colours, f"{changed}: not used", changed
    if picture.mode == "La":
        picture = picture.convert("LA")  # Pillow knows no direct way from here to RGBA
    paper = Image.new("RGB", picture.size, "white")
    for top, bottom in strips(*picture.size):
        strip = picture.crop((0, top, picture.width, bottom)).convert("RGBA")
        paper.paste(strip, (0, top), mask=strip)
    return paper, note, changed


def _transparent_everywhere(picture: Image.Image) -> bool:
    for top, bottom in strips(*picture.size):
        strip = picture.crop((0, top, picture.width, bottom))
        if strip.mode not in ("RGBA", "RGBa", "LA", "La", "PA"):
            strip = strip.convert("RGBA")
        if strip.getchannel(len(strip.getbands()) - 1).getextrema() != (0, 0):
            return False
    return True


def _without_alpha(picture: Image.Image) -> Image.Image:
    colours = Image.new("RGB", picture.size)
    for top, bottom in strips(*picture.size):
        strip = picture.crop((0, top, picture.width, bottom))
        if strip.mode == "La":
            strip = strip.getchannel(0)
        elif strip.mode == "RGBa":
            strip = Image.merge("RGB", strip.split()[:3])
        colours.paste(strip.convert("RGB"), (0, top))
    return colours
