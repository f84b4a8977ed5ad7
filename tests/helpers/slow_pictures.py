"""Pictures that take seconds to decode, and are small: what hostile ones are like."""

import io

import skimage.data
from PIL import Image


def slow_jpeg(width: int = 4000, height: int = 3000, scans: int = 100) -> bytes:
    """A progressive JPEG whose last scan comes again and again. One to two seconds."""
    file = io.BytesIO()
    Image.fromarray(skimage.data.coffee()).resize((width, height)).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    table = data.rindex(b"\xff\xc4", 0, data.rindex(b"\xff\xda"))  # Huffman table and scan
    return data[:-2] + data[table:-2] * scans + data[-2:]
