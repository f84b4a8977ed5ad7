"""What a picture's file says of itself: size, pixels, when and with what it was taken."""

import io
from typing import Any

from PIL import ExifTags, Image, UnidentifiedImageError

from classify.labels.label_names import printable
from featurize.pictures.find_images import ImageError
from featurize.pictures.sources import read

LONGEST = 80  # characters of a value
TAGS = {"taken": ExifTags.Base.DateTime, "maker": ExifTags.Base.Make, "camera": ExifTags.Base.Model}


def about_file(path: str) -> dict[str, Any]:
    """bytes, width, height, format, and of its EXIF taken, maker, camera, where it has them.

    Nothing of a file that is gone or damaged.
    """
    try:
        data = read(path)
        found: dict[str, Any] = {"bytes": len(data)}
        with Image.open(io.BytesIO(data)) as picture:
            found |= {"width": picture.width, "height": picture.height, "format": picture.format}
            exif = picture.getexif()
    except ImageError:
        return {}
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return found
    said = {name: printable(str(exif[tag])).strip("\0 ")[:LONGEST] for name, tag in TAGS.items() if tag in exif}
    return found | {name: text for name, text in said.items() if text}
