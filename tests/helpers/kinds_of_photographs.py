"""Photographs that come with scikit-image, in the formats, modes, sizes and turns that pictures have."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from classify.data.surfaces import PHOTOGRAPHS

ORIENTATION = 274
Way = Callable[[Image.Image], bytes]


def saved(picture: Image.Image, format: str, **options: object) -> bytes:
    data = io.BytesIO()
    picture.save(data, format, **options)
    return data.getvalue()


def turned(orientation: int) -> Way:
    """A JPEG that is to be turned when it is shown."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return lambda picture: saved(picture, "JPEG", exif=exif)


def of_width(width: int) -> Way:
    """A JPEG so large that its decoder may reduce it."""
    return lambda picture: saved(picture.resize((width, width * picture.height // picture.width)), "JPEG")


def fading(picture: Image.Image) -> Image.Image:
    """Opaque at the left, transparent at the right."""
    alpha = np.tile(np.linspace(255, 0, picture.width).astype(np.uint8), (picture.height, 1))
    picture.putalpha(Image.fromarray(alpha))
    return picture


def with_a_hole(picture: Image.Image) -> bytes:
    """A palette, one of its colours transparent."""
    few = picture.quantize(32)
    return saved(few, "PNG", transparency=int(np.bincount(np.asarray(few).ravel()).argmax()))


def unseen(picture: Image.Image) -> bytes:
    """An alpha channel that nobody has filled."""
    picture.putalpha(0)
    return saved(picture, "PNG")


WAYS: dict[str, Way] = {
    "plain.jpg": lambda picture: saved(picture, "JPEG"),
    **{f"turned{number}.jpg": turned(number) for number in range(2, 9)},
    **{f"wide{width}.jpg": of_width(width) for width in (700, 1400)},
    "grey.jpg": lambda picture: saved(picture.convert("L"), "JPEG"),
    "cmyk.jpg": lambda picture: saved(picture.convert("CMYK"), "JPEG"),
    "fading.png": lambda picture: saved(fading(picture), "PNG"),
    "fading_grey.png": lambda picture: saved(fading(picture.convert("L")), "PNG"),
    "unseen.png": unseen,
    "hole.png": with_a_hole,
    "palette.gif": lambda picture: saved(picture, "GIF"),
    "bits.png": lambda picture: saved(picture.convert("1"), "PNG"),
    "fading.webp": lambda picture: saved(fading(picture), "WEBP"),
    "plain.tiff": lambda picture: saved(picture, "TIFF"),
    "plain.bmp": lambda picture: saved(picture, "BMP"),
}


def write_all(folder: Path) -> list[str]:
    """The paths of all photographs in all of `WAYS`, written into `folder`: 273 files."""
    import skimage.data

    folder.mkdir()
    paths = []
    for label, name in PHOTOGRAPHS.items():
        photograph = Image.fromarray(getattr(skimage.data, name)()).convert("RGB")
        photograph.thumbnail((512, 512))
        for kind, way in WAYS.items():
            path = folder / f"{label}.{kind}"
            path.write_bytes(way(photograph.copy()))
            paths.append(str(path))
    return paths
