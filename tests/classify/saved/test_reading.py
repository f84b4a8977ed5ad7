"""Files that are not what their size says, and large ones: read within limits, hashed in parts."""

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from cache.row_key import content_digest
from featurize.pictures.find_images import ImageError
from featurize.pictures.sources import digest_of, read


@pytest.mark.parametrize("path", ["/proc/self/pagemap", "/proc/self/maps", "/proc/kmsg"])
@pytest.mark.parametrize("function", [read, digest_of])
def test_what_only_looks_like_a_file_of_no_bytes_is_refused(path: str, function: Callable[[str], bytes]) -> None:
    if not os.access(path, os.R_OK):
        pytest.skip(f"no {path} here")
    with pytest.raises(ImageError, match=r"more bytes than its size of 0 says|cannot be read"):
        function(path)


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "growing.jpg"
    path.write_bytes(b"x" * 10)

    def append(size: int) -> None:
        with path.open("ab") as file:
            file.write(b"y" * size)

    with pytest.raises(ImageError, match="more bytes than its size of 10 says"):
        read(str(path), append)


def test_a_large_file_is_hashed_without_being_held(tmp_path: Path) -> None:
    content = os.urandom(1000) * 30_000
    (tmp_path / "large.tif").write_bytes(content)
    tracemalloc.start()
    try:
        assert digest_of(str(tmp_path / "large.tif")) == content_digest(content) == digest_of(content)
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()
