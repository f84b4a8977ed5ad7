"""HEIC and AVIF, what phones write: read like any other picture, and refused by their header where they are hostile.

No encoder of HEIC is installed. `tests/fixtures/heic/` was written by pillow-heif 1.8.1:

    photo = Image.fromarray(skimage.data.coffee()).resize((96, 64))
    photo.save("upright.heic", quality=90)
    photo.save("turned.heic", quality=90, exif=exif)  # bytes, orientation 6: a box irot says so too
    photo.save("grid.heic", quality=90, tile_size=64)
    transparent.save("transparent.heic", quality=90)  # photo.putalpha(Image.linear_gradient("L").resize((96, 64)))
    pillow_heif.from_bytes("RGB;16", (96, 64), sixteen_bits).save("ten_bits.heic", quality=90)  # photo * 257

and `flat.heic` and `flat_ten_bits.heic`, of one colour, in the same way: 1500 x 1000, chroma=444.
"""

import io
import random
import subprocess
import sys

import numpy as np
import pytest
import skimage.data
from conftest import REPOSITORY
from helpers.files.heif_files import coded, container, found, heic, size_box, sized
from helpers.files.picture_files import encode
from PIL import AvifImagePlugin, Image

from bottleneck_features.report.page.thumbnails import album_of
from featurize.decoding import upright_rgb
from featurize.decoding.decode import NetworkInput, decode, decode_views, decode_within
from featurize.decoding.isolation import isolated_decoder
from featurize.pictures.find_images import ImageError
from featurize.pictures.sources import Reserve, expand, within_limit

pi_heif = pytest.importorskip("pi_heif")

PHOTO = Image.fromarray(skimage.data.coffee()).resize((96, 64))
SIZE = (64, 96)  # the photograph's own
EXACT = {"quality": 100, "subsampling": "4:4:4"}


def avif(picture: Image.Image = PHOTO, **options: object) -> bytes:
    return encode(picture, "AVIF", **EXACT | options)


def difference(data: bytes, picture: Image.Image = PHOTO, reserve: Reserve = within_limit) -> float:
    pixels = decode(data, (picture.height, picture.width), "nearest", reserve=reserve).astype(int)
    return float(np.abs(pixels - np.asarray(picture.convert("RGB"))).mean())


def refused(data: bytes) -> str:
    with pytest.raises(ImageError) as error:
        decode(data, SIZE)
    assert str(error.value).isprintable()
    return str(error.value)


# --- what is shown ---


@pytest.mark.parametrize("name", ["upright", "grid", "ten_bits"])
def test_a_heic_shows_the_photograph(name: str) -> None:
    assert difference(heic(name)) < 3
    assert decode_views(heic(name), SIZE).note == ""
    assert decode_within(heic(name), 48).size == (48, 32)


def test_a_heic_is_turned_once_by_its_box_and_not_by_its_exif_again() -> None:
    turned = PHOTO.rotate(-90, expand=True)
    assert difference(heic("turned"), turned) < 3
    assert decode_within(heic("turned"), 500).size == (64, 96)
    assert b"Exif" in heic("turned")
    assert difference(heic("turned").replace(b"irot", b"free")) < 3  # what Exif alone says does not count in HEIC


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_avif_is_turned_once(orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    shown = PHOTO.transpose(upright_rgb.UPRIGHT[orientation]) if orientation > 1 else PHOTO
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    assert difference(avif(exif=exif.tobytes()), shown) < 2
    assert difference(avif(exif=exif.tobytes(), xmp=xmp), shown) < 2


def test_transparent_ones_are_laid_on_white() -> None:
    transparent = PHOTO.copy()
    transparent.putalpha(Image.linear_gradient("L").resize(PHOTO.size))
    white = Image.new("RGB", PHOTO.size, "white")
    white.paste(PHOTO, mask=transparent)
    assert difference(heic("transparent"), white) < 3
    assert difference(avif(transparent), white) < 2
    assert difference(avif(transparent, alpha_premultiplied=True), white) < 3


def test_of_an_animation_the_still_picture_is_shown() -> None:
    data = avif(save_all=True, append_images=[PHOTO.rotate(180)], duration=100)
    assert data[8:12] == b"avis"
    assert difference(data) < 2


@pytest.mark.parametrize("trailer", [bytes(100), b"SEFH and other words", b"\0\0\0\3free" * 5, b"\xfe\x12\x99\0SEFH"])
def test_what_phones_write_after_the_picture_is_no_matter(trailer: bytes) -> None:
    for data in (heic("upright"), avif()):
        assert np.array_equal(decode(data + trailer, SIZE), decode(data, SIZE))


def test_a_general_brand_says_nothing_about_the_codec() -> None:
    for data in (heic("upright"), avif()):
        general = data[:8] + b"mif1" + data[12:]
        assert np.array_equal(decode(general, SIZE), decode(data, SIZE))


def test_a_profile_of_colours_is_not_applied_as_in_jpeg() -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(decode(avif(icc_profile=profile), SIZE), decode(avif(), SIZE))


def test_a_picture_that_the_caller_has_opened_is_its_file() -> None:
    with Image.open(io.BytesIO(avif())) as picture:
        assert expand(picture) == [avif()]
        picture.load()
        (data,) = expand(picture)
        assert isinstance(data, bytes) and data.startswith(b"BM") and difference(data) < 2
    with pi_heif.HeifImageFile(io.BytesIO(heic("turned")), "") as picture:
        (data,) = expand(picture)
        assert isinstance(data, bytes) and difference(data, PHOTO.rotate(-90, expand=True)) < 3


def test_a_report_has_their_thumbnails(tmp_path) -> None:
    (tmp_path / "a.heic").write_bytes(heic("turned"))
    (tmp_path / "b.avif").write_bytes(avif())
    album = album_of([str(tmp_path / "a.heic"), str(tmp_path / "b.avif")], [0, 1], [])
    assert set(album.uris) == {0, 1} and not album.unreadable


def test_a_process_of_its_own_reads_them_too() -> None:
    with isolated_decoder() as decoder:
        for data in (heic("turned"), heic("flat_ten_bits"), avif()):
            (decoded,) = decoder(data, [NetworkInput(SIZE)]).values()
            assert np.array_equal(decoded.pixels[0], decode(data, SIZE))
        with pytest.raises(ImageError, match="truncated"):
            decoder(heic("grid")[:-100], [NetworkInput(SIZE)])


def test_pillow_opens_no_heic_by_itself_afterwards() -> None:
    decode(heic("upright"), SIZE)
    assert "HEIF" not in Image.OPEN


# --- where they cannot be read ---


@pytest.fixture
def without_pi_heif(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    upright_rgb._pi_heif.cache_clear()
    yield
    upright_rgb._pi_heif.cache_clear()


@pytest.mark.usefixtures("without_pi_heif")
def test_without_pi_heif_the_reason_names_it() -> None:
    assert refused(heic("upright")) == "HEIC, which takes pi-heif: pip install pi-heif, or convert it to JPEG"
    assert difference(avif()) < 2


def test_without_its_codec_the_reason_names_avif(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AvifImagePlugin, "SUPPORTED", False)
    assert refused(avif()).startswith("AVIF, which this Pillow was built without: ")


def test_the_limits_of_libheif_are_never_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pi_heif.options, "DISABLE_SECURITY_LIMITS", True)
    assert "DISABLE_SECURITY_LIMITS" in refused(heic("upright"))


# --- hostile ---


@pytest.mark.parametrize("part", [0.002, 0.01, 0.03, 0.06, 0.3, 0.6, 0.99])
@pytest.mark.parametrize("data", [heic("upright"), heic("grid"), heic("transparent"), avif()])
def test_a_truncated_file_is_refused(data: bytes, part: float) -> None:
    assert refused(data[: max(12, int(part * len(data)))])


def test_more_pixels_than_fit_are_refused_at_the_header() -> None:
    for data in (heic("upright"), avif()):
        assert refused(sized(data, 9500, 9500)).startswith("takes 104")
        assert "MB of memory to decode, more than 850 MB" in refused(sized(data, 2**31, 2**31))
        assert refused(sized(data, 0, 64))


def test_a_frame_larger_than_the_header_says_takes_no_memory_that_was_not_asked_for() -> None:
    assert "exceeds the maximum image size" in refused(sized(heic("flat"), 16, 16))
    large = avif(Image.new("RGB", (3000, 2000)), speed=10)
    asked: list[int] = []
    decode(sized(large, 16, 16), SIZE, reserve=asked.append)
    assert max(asked) > 11 * 3000 * 2000


def grid_of(rows: int, columns: int, width: int, height: int) -> bytes:
    return bytes([0, 0, rows, columns]) + width.to_bytes(2) + height.to_bytes(2)


def test_a_grid_counts_each_tile_as_often_as_it_is_decoded() -> None:
    tile = coded(heic("upright"))
    grid = (b"grid", grid_of(255, 255, 96, 64), [size_box(96, 64)])
    data = container([grid, tile], [(b"dimg", 1, [2] * 256 * 255)])
    assert refused(data).startswith("takes 461")
    two = (b"grid", grid_of(0, 1, 192, 64), [size_box(192, 64)])
    assert decode(container([two, tile, tile], [(b"dimg", 1, [2, 3])]), SIZE).shape == (64, 96, 3)


def test_what_describes_a_picture_is_not_read() -> None:
    kinds = [(kind, bytes(10**6), []) for kind in (b"mime", b"Exif", b"\xe6xif")]
    described = [(b"cdsc", number, list(range(1, 41))) for number in (41, 42, 43)]
    data = container([coded(heic("upright"))] * 40 + kinds, described)
    asked: list[int] = []
    assert difference(data, reserve=asked.append) < 3 and max(asked) < 20 * 10**6


def test_many_parts_of_the_same_bytes_are_refused() -> None:
    tile, text = coded(heic("upright")), (b"mime", bytes(10**6), [])
    assert "bytes of parts in a file of" in refused(container([tile, text], extents=100))
    assert "more than 100000 parts" in refused(container([tile], [(b"cdsc", 1, [1] * 60_000)] * 2))


def test_many_frames_in_one_picture_are_refused() -> None:
    kind, content, properties = coded(heic("upright"))
    assert refused(container([(kind, content * 3, properties)])) == "HEIC or AVIF of 3 frames in one picture"


def test_two_headers_are_refused() -> None:
    assert refused(heic("upright") + found(sized(heic("upright"), 16, 16), b"meta"))


@pytest.mark.parametrize("kind", [b"jpeg", b"unci", b"avc1", b"iovl", b"tmap"])
def test_pixels_coded_otherwise_are_refused(kind: bytes) -> None:
    _, content, properties = coded(heic("upright"))
    assert refused(container([(kind, content, properties)])).startswith(f"HEIF with pixels in {kind.decode()}: only ")


def test_pictures_derived_from_themselves_are_refused() -> None:
    tile = coded(heic("upright"))
    derived = (b"iden", b"", [size_box(96, 64)])
    assert "more than twice" in refused(container([derived, tile], [(b"dimg", 1, [1])]))
    assert difference(container([derived, tile], [(b"dimg", 1, [2])])) < 3


CHANGED = """
import random, sys
from pathlib import Path
from featurize.decoding.decode import decode
from featurize.decoding.isolation import isolated_decoder
from featurize.pictures.find_images import ImageError

chance = random.Random(int(sys.argv[1]))
for path in sys.argv[2:]:
    data = Path(path).read_bytes()
    for _ in range(100):
        changed = bytearray(data)
        for _ in range(chance.choice([1, 2, 8])):
            changed[chance.randrange(chance.choice([60, 700, len(data)]))] = chance.randrange(256)
        try:
            decode(bytes(changed), (64, 96))
        except ImageError:
            pass
"""


def test_no_damage_ends_the_process(tmp_path) -> None:
    for name in ("upright", "turned", "grid", "transparent", "ten_bits"):
        (tmp_path / name).write_bytes(heic(name))
    (tmp_path / "avif").write_bytes(avif())
    (tmp_path / "animated").write_bytes(avif(save_all=True, append_images=[PHOTO.rotate(180)]))
    files = sorted(map(str, tmp_path.iterdir()))
    seed = str(random.randrange(1000))
    command = [sys.executable, "-c", CHANGED, seed, *files]
    done = subprocess.run(command, capture_output=True, cwd=REPOSITORY, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), f"seed {seed}"
