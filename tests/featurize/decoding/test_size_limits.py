"""Small files with much in them: refused in a line, and never more memory than was asked for."""

import subprocess
import sys
import zlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY
from helpers.files import hostile
from helpers.files.heif_files import heic
from helpers.files.picture_files import chunk, colour_tiff, encode, premultiplied, slow_jpeg, write_png
from PIL import Image

from featurize.decoding.decode import decode
from featurize.pictures.find_images import ImageError

SIZE = (224, 224)

# pytest sets the filters of warnings for each test and so undoes those of the decoder.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")
PICTURE = encode(hostile.photograph(), "JPEG")
EXIF = b"\xff\xe1\xff\xffExif\0\0" + bytes(65_527)
REFUSED = {
    "chunks": (hostile.png_of(9, 9, extra=chunk(b"prVt", b"") * 300_000), "more than 500000 parts"),
    "padding": (PICTURE[:2] + b"\xff" * 10**6 + PICTURE[2:], "more than 500000 parts"),
    "run lengths": (hostile.rle_bmp(4000, 4000, b"\0\0" * 400_000), "more than 500000 parts"),
    "much in run lengths": (hostile.rle_bmp(5000, 5000, b"\0\0"), "BMP of 5000x5000 pixels in run lengths"),
    "exif": (PICTURE[:2] + EXIF * 300 + PICTURE[2:], "JPEG with a header of more than 16 MiB"),
    "scans": (slow_jpeg(2000, 1500, 720), "JPEG of 2000x1500 pixels in 730 scans"),
    "lie": (hostile.resized_jpeg(20_000, 20_000), "JPEG of 20000x20000 pixels in "),
    "larger lie": (hostile.resized_jpeg(65_500, 65_500), "JPEG of 65500x65500 pixels in 1 scan"),
    "strips": (hostile.tiff_of(10, 10, strips=200_000), "TIFF of 200000 strips or tiles, more than 131072"),
    "tile": (hostile.tiff_of(10, 10, tile=32_000), "takes 1028 MB of memory to decode"),
    "webp": (b"RIFF\0\0\0\0WEBPVP8X\n\0\0\0\0\0\0\0" + (8999).to_bytes(3, "little") * 2, "takes 13"),
    "thin": (hostile.png_of(8 * 10**7, 1, 1, zlib.compress(bytes(10**7 + 1))), "of memory to decode, more than 850 MB"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("resize", ["antialias", "bilinear"])
def test_a_bomb_is_refused_in_a_line(name: str, resize: str) -> None:
    data, reason = REFUSED[name]
    with pytest.raises(ImageError) as error:
        decode(data, SIZE, resize)
    assert reason in str(error.value)
    assert str(error.value).isprintable()


def test_unusual_pictures_of_some_size_are_no_bombs() -> None:
    decode(slow_jpeg(1000, 800, 30), SIZE)
    decode(hostile.png_of(10, 10, extra=chunk(b"prVt", b"") * 1000), SIZE)
    decode(hostile.tiff_of(100, 60_000, strips=60_000), SIZE)
    decode(PICTURE[:2] + EXIF * 20 + PICTURE[2:], SIZE)


# Decodes each file named on the command line; prints the bytes that it asked for and those that it took.
MEASURE = """
import sys
from pathlib import Path
from featurize.decoding.decode import decode

def status(name):
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
    return 1024 * int(line.split()[1])

decode(Path(sys.argv[1]).read_bytes(), (224, 224))
for path in sys.argv[1:]:
    for resize in ("antialias", "nearest"):
        data = Path(path).read_bytes()
        asked = [0]
        Path("/proc/self/clear_refs").write_text("5")
        before = status("VmRSS") - len(data)
        decode(data, (224, 224), resize, reserve=asked.append)
        print(path, resize, max(asked), status("VmHWM") - before, sep="\\t")
"""
SIDE = 1000
SLACK = 3 * 10**6  # bytes: the interpreter's own, and what the allocator keeps


def kinds(folder: Path) -> None:
    """Every kind of file, turned and as it is, of a few megapixels."""
    photograph = hostile.photograph().resize((SIDE, SIDE))
    grey = photograph.convert("L")
    exif = Image.Exif()
    exif[274] = 6
    modes = {
        "RGB": photograph,
        "L": grey,
        "P": photograph.quantize(64),
        "1": grey.convert("1"),
        "CMYK": photograph.convert("CMYK"),
        "I16": hostile.sixteen_bits(photograph),
        "F": grey.convert("F"),
        "I": grey.convert("I"),
        "LA": grey.convert("LA"),
        "RGBA": photograph.convert("RGBA"),
        "LAB": Image.merge("LAB", photograph.split()),
        "YCbCr": photograph.convert("YCbCr"),
    }
    ways = {
        "jpg": [{}, {"progressive": True}, {"progressive": True, "subsampling": 0}],
        "png": [{"compress_level": 1}, {"compress_level": 1, "transparency": 5}],
        "webp": [{"method": 0}, {"method": 0, "lossless": True, "quality": 0, "exact": True}],
        "tif": [{}, {"compression": "tiff_lzw"}],
        "avif": [{"speed": 10}, {"speed": 10, "subsampling": "4:4:4", "quality": 100}],
        "bmp": [{}],
        "gif": [{}, {"transparency": 5}],
    }
    for mode, picture in modes.items():
        for suffix, options in ways.items():
            for number, way in enumerate(options):
                for turned in [{}] if suffix in ("bmp", "gif") else [{}, {"exif": exif}]:
                    name = folder / f"{mode}-{number}-{len(turned)}.{suffix}"
                    try:
                        picture.save(name, **way, **turned)
                    except (OSError, ValueError, TypeError):  # no such files
                        name.unlink(missing_ok=True)


def unusual_kinds(folder: Path) -> None:
    """What is looked at twice: few bits in 16, unused alpha channels, numbers without data."""
    photograph = hostile.photograph().resize((SIDE, SIDE))
    colours = np.asarray(photograph)
    unused = photograph.copy()
    unused.putalpha(0)
    for suffix in ("png", "tif", "bmp", "webp"):
        unused.save(folder / f"unused.{suffix}", **({"lossless": True, "exact": True} if suffix == "webp" else {}))
    (folder / "premultiplied.tif").write_bytes(premultiplied((folder / "unused.tif").read_bytes()))
    for name, values in {
        "twelve": colours * 16.0,
        "twelve grey": colours[:, :, 0] * 16.0,
        "twelve alpha": np.concatenate([colours, colours[:, :, :1] * 0 + 255], axis=2) * 16.0,
        "grey alpha": np.stack([colours[:, :, 0], colours[:, :, 0] * 0 + 255], axis=2) * 16.0,
    }.items():
        (folder / f"{name}.png").write_bytes(write_png(values))
    (folder / "named.png").write_bytes(write_png(colours * 16.0, transparent=(16, 16, 16)))
    (folder / "twelve.tif").write_bytes(colour_tiff(colours * 16.0))
    floats = colours[:, :, 0] / np.float32(255)
    floats[:9] = -9999
    floats[9:12] = np.nan
    Image.fromarray(floats).save(folder / "no data.tif")
    for name in ("flat", "flat_ten_bits") if find_spec("pi_heif") else ():
        (folder / f"{name}.heic").write_bytes(heic(name))


def test_no_picture_takes_more_memory_than_it_asked_for(tmp_path: Path) -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the peak of memory cannot be measured here")
    kinds(tmp_path)
    unusual_kinds(tmp_path)
    files = sorted(map(str, tmp_path.iterdir()))
    assert len(files) > 60
    measured = subprocess.run(
        [sys.executable, "-c", MEASURE, *files], capture_output=True, text=True, check=True, cwd=REPOSITORY
    ).stdout.splitlines()
    assert len(measured) == 2 * len(files)
    too_much = [line for line in measured if int(line.split("\t")[3]) > int(line.split("\t")[2]) + SLACK]
    assert not too_much, "\n".join(too_much)
