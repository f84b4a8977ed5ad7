"""Finding images: which, in what order, and what becomes of everything else."""

import os
import random
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from helpers.other_user import folder_for_all, not_root
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache.errors import UserError
from featurize.pictures.find_images import SUFFIXES, describe_passed_over, find_images


def write(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def found(folder: Path) -> list[str]:
    return [os.path.relpath(path, folder) for path in find_images(str(folder)).images]


def reasons(folder: Path) -> dict[str, str]:
    return {os.path.relpath(f.path, folder): f.reason for f in find_images(str(folder)).failures}


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_every_suffix_is_an_image_in_any_case(tmp_path: Path, suffix: str) -> None:
    write(tmp_path, f"small{suffix}", f"LARGE{suffix.upper()}", f"Mixed{suffix.title()}")
    assert found(tmp_path) == [f"LARGE{suffix.upper()}", f"Mixed{suffix.title()}", f"small{suffix}"]


@pytest.mark.parametrize(
    "folder",
    ["@eaDir", "cat/@eaDir", "cat/@tmp", "#recycle", "@Recycle", "#snapshot", "$RECYCLE.BIN/S-1-5-21", "lost+found"],
)
def test_what_a_system_keeps_beside_the_pictures_is_no_picture_and_no_class(tmp_path: Path, folder: str) -> None:
    write(tmp_path, "cat/1.jpg", f"{folder}/2.jpg", f"{folder}/3.jpg/SYNOPHOTO_THUMB_M.jpg")
    listing = find_images(str(tmp_path))
    assert listing.images == [str(tmp_path / "cat" / "1.jpg")]
    assert listing.failures == []
    assert listing.passed_over == Counter({"system folders": 1})


def test_what_is_no_image_is_passed_over_and_counted_by_kind(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg", "b.txt", "c.TXT", "d.csv", "Thumbs.db", "desktop.ini", "README", "trailing.", "x.svg")
    write(tmp_path, ".hidden.jpg", ".DS_Store", "._a.jpg", ".git/logo.png", "odd.what is this\n", "sub/e.txt")
    listing = find_images(str(tmp_path))
    assert listing.images == [str(tmp_path / "a.jpg")]
    assert listing.failures == []
    assert listing.passed_over == Counter(
        {
            ".txt": 3,
            "hidden": 3,
            "._ files": 1,
            ".csv": 1,
            ".db": 1,
            ".ini": 1,
            ".svg": 1,
            "no suffix": 2,
            "other suffix": 1,
        }
    )


def test_passed_over_is_described_in_one_phrase() -> None:
    described = describe_passed_over(Counter({"hidden": 2, "._ files": 1, ".txt": 3}))
    assert described == "passed over 6 files (3 .txt, 2 hidden, 1 ._ file)"
    assert describe_passed_over(Counter({"._ files": 2})) == "passed over 2 files (2 ._ files)"
    assert describe_passed_over(Counter({".csv": 1})) == "passed over 1 file (1 .csv)"
    many = Counter({f".{letter}": 1 for letter in "abcdefgh"})
    assert describe_passed_over(many) == "passed over 8 files (1 .a, 1 .b, 1 .c, 1 .d, 1 .e, 3 of other kinds)"
    assert describe_passed_over(Counter()) == "passed over no files"


def test_order_is_that_of_the_bytes_of_the_path_below_the_folder(tmp_path: Path) -> None:
    names = ["Z.jpg", "a-b/x.jpg", "a/x.jpg", "a.jpg", "a/Y.jpg", "b.jpg", "é.jpg", "ü/1.jpg", "ü/10.jpg", "ü/2.jpg"]
    random.Random(0).shuffle(names)
    write(tmp_path, *names)
    (tmp_path / os.fsdecode(b"\xff.jpg")).write_bytes(b"")
    in_bytes = [os.fsencode(name) for name in found(tmp_path)]
    assert in_bytes == sorted([*(name.encode() for name in names), b"\xff.jpg"])


def test_order_does_not_depend_on_the_locale_or_the_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, *(f"{letter}{n}.png" for letter in "aBcÄ" for n in range(20)))
    expected = find_images(str(tmp_path)).images
    script = (
        "import os, sys, featurize.pictures.find_images as i\n"
        "sys.stdout.buffer.write(b'|'.join(map(os.fsencode, i.find_images(sys.argv[1]).images)))"
    )
    for locale in ("C", "C.UTF-8"):  # in the first, Python's own file names are another encoding's
        run = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)],
            env={**os.environ, "LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
            capture_output=True,
            check=True,
        )
        assert run.stdout == b"|".join(map(os.fsencode, expected))

    real = os.scandir

    class Backwards:
        def __init__(self, path: str) -> None:
            with real(path) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self) -> list[os.DirEntry[str]]:
            return self.entries

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(os, "scandir", Backwards)
    assert find_images(str(tmp_path)).images == expected


def test_paths_are_the_given_folder_joined_and_not_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "data/cat/1.jpg")
    (tmp_path / "link").symlink_to("data")
    monkeypatch.chdir(tmp_path)
    assert find_images("link").images == [os.path.join("link", "cat", "1.jpg")]
    assert find_images("./data/").images == ["./data/cat/1.jpg"]


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    write(tmp_path, "elsewhere/1.jpg", "elsewhere/deep/2.jpg", "data/own.jpg")
    (tmp_path / "data/one.jpg").symlink_to(tmp_path / "elsewhere/1.jpg")
    (tmp_path / "data/class").symlink_to("../elsewhere")
    assert found(tmp_path / "data") == ["class/1.jpg", "class/deep/2.jpg", "one.jpg", "own.jpg"]


def test_link_loops_end_and_are_counted(tmp_path: Path) -> None:
    write(tmp_path, "a/1.jpg", "b/2.jpg")
    (tmp_path / "a/up").symlink_to("..")
    (tmp_path / "a/self").symlink_to(".")
    (tmp_path / "a/b").symlink_to("../b")
    (tmp_path / "b/a").symlink_to("../a")
    listing = find_images(str(tmp_path))
    assert [os.path.relpath(path, tmp_path) for path in listing.images] == [
        "a/1.jpg",
        "a/b/2.jpg",
        "b/2.jpg",
        "b/a/1.jpg",
    ]
    # a/up, a/self, a/b/a; and b/a/up, b/a/self, b/a/b
    assert listing.passed_over == {"link loops": 6}


def test_folders_with_endless_paths_to_them_are_visited_a_few_times_and_the_rest_is_named(tmp_path: Path) -> None:
    for level in range(40):
        (tmp_path / f"{level}").mkdir()
        write(tmp_path / f"{level}", "a.jpg")
        for link in ("x", "y"):
            (tmp_path / f"{level}" / link).symlink_to(f"../{level + 1}")
    (tmp_path / "40").mkdir()
    listing = find_images(str(tmp_path))
    assert listing == find_images(str(tmp_path))
    assert {f"{level}/a.jpg" for level in range(40)} <= set(found(tmp_path))
    assert len(listing.images) < 17 * 40
    assert {failure.reason for failure in listing.failures} == {"folder that 16 other paths lead to already"}


def test_what_has_an_images_name_and_is_no_file_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    write(tmp_path, "good.jpg", "folder.jpg/inside.jpg")
    os.mkfifo(tmp_path / "fifo.jpg")
    (tmp_path / "null.png").symlink_to("/dev/null")
    (tmp_path / "dangling.gif").symlink_to("nowhere")
    (tmp_path / "loop.tif").symlink_to("loop.tif")
    (tmp_path / "fifo-link.bmp").symlink_to("fifo.jpg")
    with socket.socket(socket.AF_UNIX) as listener:
        os_path = os.path.relpath(tmp_path / "socket.webp")  # names of sockets are short
        listener.bind(os_path)
        assert found(tmp_path) == ["good.jpg"]
        assert reasons(tmp_path) == {
            "dangling.gif": "link to nothing",
            "fifo-link.bmp": "FIFO with an image's name",
            "fifo.jpg": "FIFO with an image's name",
            "folder.jpg": "folder with an image's name",
            "loop.tif": "cannot be read: Too many levels of symbolic links",
            "null.png": "device with an image's name",
            "socket.webp": "socket with an image's name",
        }
    assert list(reasons(tmp_path)) == sorted(reasons(tmp_path))


def test_things_without_an_images_name_are_only_counted(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "gone.txt").symlink_to("nowhere")
    (tmp_path / "round").symlink_to("round")
    listing = find_images(str(tmp_path))
    assert (listing.images, listing.failures) == ([], [])
    assert listing.passed_over == {"no suffix": 2, ".txt": 1}


def test_a_folder_too_deep_to_be_named_is_a_failure_and_the_rest_is_listed(tmp_path: Path) -> None:
    write(tmp_path, "near.jpg")
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):  # 20 names of 250 bytes: no path of more than 4,096 bytes can be opened
        os.mkdir("d" * 250, dir_fd=here)
        deeper = os.open("d" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    assert found(tmp_path) == ["near.jpg"]
    assert list(reasons(tmp_path).values()) == ["folder that cannot be read: File name too long"]


def test_a_folder_without_permission_is_a_failure_and_the_rest_is_listed() -> None:
    with folder_for_all() as name:
        folder = Path(name)
        write(folder, "near.jpg", "locked/1.jpg")
        (folder / "locked").chmod(0)
        with not_root():
            assert found(folder) == ["near.jpg"]
            assert reasons(folder) == {"locked": "folder that cannot be read: Permission denied"}
            with pytest.raises(UserError, match=r"cannot read the folder .*locked': Permission denied"):
                find_images(str(folder / "locked"))
        (folder / "locked").chmod(0o700)


def test_more_nested_folders_than_python_calls_nest_are_walked(tmp_path: Path) -> None:
    here = str(tmp_path)
    for _ in range(1500):
        here += "/d"
        os.mkdir(here)
    Path(here, "deep.jpg").write_bytes(b"")
    assert found(tmp_path) == ["d/" * 1500 + "deep.jpg"]
    Path(here, "deep.jpg").unlink()
    os.removedirs(here)  # pytest removes folders by recursion


def test_a_missing_folder_or_a_file_is_an_error_that_says_so(tmp_path: Path) -> None:
    write(tmp_path, "photo.jpg")
    os.mkfifo(tmp_path / "pipe")
    for name, message in {
        "missing": "no such folder: '.*missing'",
        "photo.jpg": "photo.jpg' is a file, not a folder of images",
        "pipe": "pipe' is a FIFO, not a folder of images",
        "nul\0": "cannot read the folder .*: embedded null byte",
        "photo.jpg/below": "cannot read the folder .*: Not a directory",
    }.items():
        with pytest.raises(UserError, match=message):
            find_images(str(tmp_path / name))


def test_an_empty_folder_is_an_empty_listing(tmp_path: Path) -> None:
    listing = find_images(str(tmp_path))
    assert (listing.images, listing.failures, listing.passed_over) == ([], [], {})


file_names = st.binary(min_size=1, max_size=251).filter(
    lambda name: b"/" not in name and b"\0" not in name and not name.startswith(b".")
)


@given(names=st.sets(file_names | st.sampled_from([b"-rf", b"a\nb", b"'\"", b"\xff\xfe", b"x" * 251]), max_size=8))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_name_the_file_system_takes_comes_back_and_opens(
    tmp_path_factory: pytest.TempPathFactory, names: set[bytes]
) -> None:
    folder = os.fsencode(tmp_path_factory.mktemp("names"))
    for name in names:
        Path(os.fsdecode(os.path.join(folder, name + b".jpg"))).write_bytes(name)
    listing = find_images(os.fsdecode(folder))
    assert [os.path.basename(os.fsencode(path)) for path in listing.images] == sorted(n + b".jpg" for n in names)
    assert [Path(path).read_bytes() + b".jpg" for path in listing.images] == sorted(n + b".jpg" for n in names)
