"""What a caller may pass, and how files are read."""

import contextlib
import io
import os
import socket
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.files.picture_files import FILES, GREY, PHOTO, encode, with_alpha
from helpers.other_user import folder_for_all, not_root
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from cache.errors import UserError
from featurize.decoding.decode import RESIZES, decode
from featurize.pictures.find_images import ImageError
from featurize.pictures.sources import LARGEST_FILE, expand, read

# pytest sets the filters of warnings for each test and so undoes those of the decoder.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def as_bytes(image: Any) -> bytes:
    (data,) = expand(image)
    assert isinstance(data, bytes)
    return data


def same_pixels(image: Any, data: bytes) -> bool:
    size = 200, 300  # not so small that the JPEG decoder would shrink any of these pictures
    return all(np.array_equal(decode(as_bytes(image), size, r), decode(data, size, r)) for r in RESIZES)


# --- bytes ---


def test_bytes_are_taken_as_they_are() -> None:
    data = b"\xff\xd8 whatever"
    assert as_bytes(data) is data
    assert as_bytes(bytearray(data)) == data
    assert as_bytes(memoryview(data)) == data
    assert type(as_bytes(memoryview(data))) is bytes


@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_a_picture_opened_with_pillow_has_the_pixels_of_its_file(name: str, loaded: bool) -> None:
    with Image.open(io.BytesIO(FILES[name])) as picture:
        if loaded:
            picture.load()
        assert same_pixels(picture, FILES[name])


def test_the_bytes_of_a_picture_are_always_the_same_and_differ_between_pictures() -> None:
    with Image.open(io.BytesIO(FILES["jpeg"])) as first, Image.open(io.BytesIO(FILES["jpeg"])) as second:
        assert as_bytes(first) == as_bytes(second) == FILES["jpeg"]
        pixels = np.asarray(second)  # which loads it
        assert as_bytes(second) == as_bytes(second) == as_bytes(pixels)
    assert as_bytes(PHOTO) != as_bytes(PHOTO.rotate(180))
    assert as_bytes(PHOTO) != as_bytes(PHOTO.crop((0, 0, 160, 119)))


def test_a_picture_that_cannot_be_loaded_is_named() -> None:
    with Image.open(io.BytesIO(FILES["jpeg"][:2000])) as picture:
        assert as_bytes(picture) == FILES["jpeg"][:2000]  # it fails as its file does
        picture.draft("L", None)
        with pytest.raises(UserError) as error:
            as_bytes(picture)
    assert "unusable image a PIL.JpegImagePlugin.JpegImageFile: image file is truncated" in str(error.value)
    picture = Image.open(io.BytesIO(FILES["jpeg"]))
    picture.close()
    with pytest.raises(UserError, match="unusable image"):
        as_bytes(picture)


# --- arrays ---


@pytest.mark.parametrize(
    ("array", "mode"),
    [
        (np.asarray(PHOTO), "RGB"),
        (np.asarray(PHOTO)[:, ::-1][:, ::-1], "RGB"),  # a view with strides of its own
        (np.asarray(PHOTO) / 255, "RGB"),
        ((np.asarray(PHOTO) / 255).astype(np.float32), "RGB"),
        (np.asarray(PHOTO).astype(np.float32), "RGB"),
        (np.asarray(PHOTO).astype(np.uint16) * 257, "RGB"),
        ((np.asarray(PHOTO).astype(np.uint16) * 257).astype(">u2"), "RGB"),
        (GREY, "L"),
        (GREY[:, :, None], "L"),
        (GREY / 255, "L"),
        (GREY.astype(np.uint16) * 257, "L"),
        (np.asarray(with_alpha("RGB")), "RGBA"),
        (np.asarray(with_alpha("RGB")) / 255, "RGBA"),
        (GREY > 100, "1"),
    ],
)
def test_arrays_of_every_kind_are_the_picture_they_show(array: np.ndarray, mode: str) -> None:
    pictures = {"RGB": PHOTO, "L": PHOTO.convert("L"), "RGBA": with_alpha("RGB"), "1": Image.fromarray(GREY > 100)}
    assert same_pixels(array, encode(pictures[mode], "PNG"))


def test_half_floats_are_as_near_as_they_can_be() -> None:
    half = decode(as_bytes((GREY / 255).astype(np.float16)), (50, 70)).astype(int)
    assert np.abs(half - decode(as_bytes(GREY), (50, 70))).max() <= 1


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]))))
def test_no_pixel_of_an_array_is_changed(array: np.ndarray) -> None:
    shown = decode(as_bytes(array), array.shape[:2], "nearest")
    assert np.array_equal(shown, np.broadcast_to(array, (*array.shape[:2], 3)))


class Tensor:
    """Like those of torch and TensorFlow: no array, but numpy can make one of it."""

    def __init__(self, array: np.ndarray, on_gpu: bool = False) -> None:
        self.array, self.on_gpu = array, on_gpu

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        if self.on_gpu:
            raise TypeError("can't convert a cuda tensor to numpy")
        return self.array


def test_tensors_are_arrays() -> None:
    assert as_bytes(Tensor(GREY)) == as_bytes(GREY)
    assert expand(Tensor(np.stack([GREY, GREY])[..., None])) == [as_bytes(GREY)] * 2
    with pytest.raises(UserError, match=r"no array from a .*Tensor: can't convert a cuda tensor"):
        as_bytes(Tensor(GREY, on_gpu=True))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 224, 224), np.uint8), r"shape \(3, 224, 224\) and dtype uint8; the shape must be"),
        (np.zeros((4, 4, 2), np.uint8), r"shape \(4, 4, 2\)"),
        (np.zeros(5, np.uint8), r"shape \(5,\)"),
        (np.zeros((0, 4), np.uint8), r"shape \(0, 4\)"),
        (np.zeros((2, 2, 2, 2, 3), np.uint8), r"shape \(2, 2, 2, 2, 3\)"),
        (np.zeros((4, 4), np.int64), "dtype int64; the dtype must be bool, uint8, uint16 or a float"),
        (np.zeros((4, 4), complex), "dtype complex128"),
        (np.full((4, 4), np.nan), "shape .* NaN or infinite values"),
        (np.linspace(-1, 1, 16).reshape(4, 4), "from -1.0 to 1.0; floats must lie in 0..1 or 0..255"),
        (np.linspace(0, 4095, 16).reshape(4, 4), "from 0.0 to 4095.0"),
    ],
)
def test_other_arrays_are_refused_by_shape_and_dtype(array: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        expand(array)


@pytest.mark.parametrize("image", [7, 1.5, None, object(), {"a": 1}, {"a.jpg"}, (x for x in "ab")])
def test_other_types_are_refused_by_name(image: object) -> None:
    with pytest.raises(UserError, match=f"no image: a .*{type(image).__name__}; give a path, a folder"):
        expand(image)
    with pytest.raises(UserError, match="image 1 of the list: no image"):
        expand(["a.jpg", image])


# --- what predict may get ---


def test_a_path_stays_a_path_whether_it_exists_or_not() -> None:
    assert expand("photo.jpg") == ["photo.jpg"]
    assert expand(Path("some") / "photo.jpg") == ["some/photo.jpg"]
    assert expand("nul\0.jpg") == ["nul\0.jpg"]


def test_one_picture_is_one_item() -> None:
    assert expand(FILES["jpeg"]) == [FILES["jpeg"]]
    assert expand(bytearray(b"x")) == [b"x"]
    assert expand(PHOTO) == [as_bytes(PHOTO)]
    assert expand(np.asarray(PHOTO)) == [as_bytes(PHOTO)]


def test_lists_are_taken_in_their_order() -> None:
    images = ["z.jpg", PHOTO, Path("a.jpg"), b"bytes", GREY, "z.jpg"]
    expected = ["z.jpg", as_bytes(PHOTO), "a.jpg", b"bytes", as_bytes(GREY), "z.jpg"]
    assert expand(images) == expand(tuple(images)) == expand(pd.Series(images, index=range(6, 0, -1))) == expected
    as_objects = np.empty(6, object)
    as_objects[:] = images
    assert expand(as_objects) == expected
    names = ["b.jpg", "a.jpg"]
    assert expand(np.array(names)) == expand(pd.Series(names)) == expand(pd.Index(names)) == names
    assert all(type(path) is str for path in expand(pd.Series(names)))
    assert expand(pd.DataFrame({"path": names})) == names
    with pytest.raises(UserError, match="a table of 2 columns"):
        expand(pd.DataFrame({"path": names, "label": names}))


def test_nothing_gives_nothing() -> None:
    assert (
        expand([]) == expand(()) == expand(pd.Series([], dtype=str)) == expand(np.zeros((0, 8, 8, 3), np.uint8)) == []
    )


def test_a_missing_value_in_a_column_is_named_with_its_place() -> None:
    with pytest.raises(UserError, match="image 1 of the list: no image: a float"):
        expand(pd.Series(["a.jpg", float("nan")], dtype=object))


def test_an_array_of_four_dimensions_is_a_batch() -> None:
    batch = np.stack([np.asarray(PHOTO), np.asarray(PHOTO.rotate(180))])
    assert expand(batch) == [as_bytes(PHOTO), as_bytes(PHOTO.rotate(180))]


def test_a_folder_is_its_images_and_failures_in_one_order(tmp_path: Path) -> None:
    for name in ("b.jpg", "d.jpg"):
        (tmp_path / name).write_bytes(FILES["jpeg"])
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "a.jpg").symlink_to("nowhere")
    (tmp_path / "c.jpg").mkdir()
    items = expand(tmp_path)
    assert [os.path.basename(str(item)) for item in items] == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert expand(str(tmp_path)) == items
    assert read(str(items[1])) == FILES["jpeg"]
    for failing in (items[0], items[2]):
        with pytest.raises(ImageError, match="cannot be read"):
            read(str(failing))


def test_folders_in_a_list_stand_at_their_place_for_their_images(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("b", "a", "empty"):
        (tmp_path / name).mkdir()
        for number in (2, 1) if name != "empty" else ():
            (tmp_path / name / f"{number}.jpg").write_bytes(FILES["jpeg"])
    folders = [str(tmp_path / name) for name in ("b", "a", "empty")]
    array, below = np.asarray(PHOTO), [f"{folder}/{number}.jpg" for folder in folders[:2] for number in (1, 2)]
    assert expand([folders[0], array, Path(folders[1]), PHOTO]) == [
        *below[:2], as_bytes(PHOTO), *below[2:], as_bytes(PHOTO)
    ]  # fmt: skip
    assert expand(np.array(folders)) == expand(tuple(folders)) == below
    assert {*caplog.messages} == {f"there is no image in {folders[2]}"}
    with pytest.raises(UserError, match=r"there is no image in .*empty"):
        expand(folders[2:])
    with pytest.raises(UserError, match=r"there is no image in .*empty"):
        expand(folders[2])
    with pytest.raises(UserError, match=r"^image 1 of the list: no image: array of shape \(0,\)"):
        expand([folders[0], np.zeros(0)])


# --- reading ---


def test_files_are_read_whole_whatever_their_name(tmp_path: Path) -> None:
    for name in (b"plain", b"-rf", b"new\nline", b"'\"", b"\xff\xfe", b"x" * 255):
        path = os.path.join(str(tmp_path), os.fsdecode(name))
        content = name * 100_000
        Path(path).write_bytes(content)
        assert read(path) == content
    (tmp_path / "empty").write_bytes(b"")
    assert read(str(tmp_path / "empty")) == b""


def reason(path: Path | str) -> str:
    with pytest.raises(ImageError) as error:
        read(str(path))
    assert str(error.value).isprintable()
    return str(error.value)


def test_what_is_no_regular_file_is_refused_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert reason(tmp_path / "missing") == "cannot be read: No such file or directory"
    assert reason(tmp_path) == "cannot be read: Is a directory"
    assert reason(tmp_path / "loop") == "cannot be read: Too many levels of symbolic links"
    assert reason("nul\0") == "cannot be read: embedded null byte"
    assert reason("/dev/zero") == "not a regular file"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "socket"))  # names of sockets are short
        assert reason(tmp_path / "socket") == "cannot be read: No such device or address"


@pytest.mark.parametrize("writer", [False, True])
def test_a_fifo_does_not_block(tmp_path: Path, writer: bool) -> None:
    path = tmp_path / "fifo.jpg"
    os.mkfifo(path)
    end = os.open(path, os.O_RDWR) if writer else None
    result: list[str] = []
    thread = threading.Thread(target=lambda: result.append(reason(path)), daemon=True)
    thread.start()
    thread.join(5)
    if end is not None:
        os.close(end)
    assert result == ["not a regular file"]


def test_a_file_of_more_than_the_limit_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "huge.tif").open("wb") as file:
        file.truncate(LARGEST_FILE + 1)  # sparse: takes no space
    tracemalloc.start()
    try:
        assert reason(tmp_path / "huge.tif") == "file of 536870913 bytes, more than 512 MiB"
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_file_without_permission_is_refused() -> None:
    with folder_for_all() as folder:
        secret = Path(folder) / "secret.jpg"
        secret.write_bytes(b"")
        secret.chmod(0)
        with not_root():
            assert reason(secret) == "cannot be read: Permission denied"


def test_no_file_descriptor_is_left_open(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    before = os.open(tmp_path, os.O_RDONLY)  # the lowest number that is free
    os.close(before)
    for path in (tmp_path, tmp_path / "file", tmp_path / "missing", "/dev/null"):
        with contextlib.suppress(ImageError):
            read(str(path))
    after = os.open(tmp_path, os.O_RDONLY)
    os.close(after)
    assert after == before


def test_paths_need_neither_numpy_nor_pillow() -> None:
    script = (
        "import sys; from featurize.pictures.sources import expand; expand(['a.jpg'])\n"
        "print({'numpy', 'PIL'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
