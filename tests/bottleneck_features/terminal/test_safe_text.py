"""What hostile names of files and classes may do to a terminal: nothing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

from bottleneck_features.terminal.safe_text import printable

TITLE = "\x1b]0;owned\x07"  # would set the title of the window


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain name, with spaces.jpg", "plain name, with spaces.jpg"),
        ("Grüße 猫.jpg", "Grüße 猫.jpg"),
        (f"a{TITLE}.jpg", r"a\x1b]0;owned\x07.jpg"),
        ("evil\rgood", r"evil\rgood"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\x9b31m", r"\x9b31m"),
        (os.fsdecode(b"caf\xe9 \x9b31m"), "caf\udce9 \\x9b31m"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("", ""),
    ],
)
def test_what_is_printable_stays_and_the_rest_is_shown_as_its_escape(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_no_name_reaches_the_terminal_as_it_is(surfaces: Path, warm_cache: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(surfaces, tmp_path / "photos"))
    os.rename(data / "brick", data / f"brick{TITLE}")
    (data / "grass" / f"a\rb{TITLE}.png").write_bytes(b"no picture")
    (data / "grass" / os.fsdecode(b"caf\xe9\x9b.png")).write_bytes(b"no picture")
    os.mkfifo(data / "grass" / f"pipe{TITLE}.png")
    cache = shutil.copytree(warm_cache, tmp_path / f"cache{TITLE}")
    model = tmp_path / f"m{TITLE}.joblib"
    on_data = ["--data", str(data), "--cache-dir", str(cache), "--backbone", "nano"]
    for words in (
        ["features", *on_data],
        ["train", *on_data, "--model", str(model)],
        ["compare", *on_data, "--heads", "centroid", "--folds", "2"],
        ["evaluate", "--data", str(data), "--cache-dir", str(cache), "--model", str(model)],
        ["train", "--data", str(tmp_path / f"gone{TITLE}")],
        ["predict", "--model", str(tmp_path / f"gone{TITLE}.joblib"), str(data)],
        ["cache", "explain", *on_data[2:], str(data / "grass" / "grass.0.png")],
        ["cache", "verify", "--cache-dir", str(cache)],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", *words], cwd=REPOSITORY, capture_output=True, check=False
        )
        for stream in (done.stdout, done.stderr):
            assert not set(stream) & {0x1B, 0x07, 0x0D, 0x9B}, (words, stream)
        assert b"Traceback" not in done.stderr
        assert words[0] != "features" or (b"caf\xe9\\x9b.png" in done.stdout and b"owned" in done.stdout + done.stderr)


def test_csv_on_stdout_has_the_name_as_it_is(surfaces: Path, warm_cache: Path, tmp_path: Path) -> None:
    cache = shutil.copytree(warm_cache, tmp_path / "cache")
    model = tmp_path / "m.joblib"
    words = [sys.executable, "-m", "pipeline"]
    train = ["train", "--data", str(surfaces), "--cache-dir", str(cache), "--backbone", "nano", "--model", str(model)]
    subprocess.run([*words, *train], cwd=REPOSITORY, capture_output=True, check=True)
    name = shutil.copy(surfaces / "grass" / "grass.0.png", tmp_path / f"a{TITLE}.png")
    done = subprocess.run(
        [*words, "predict", "--model", str(model), str(name)], cwd=REPOSITORY, capture_output=True, check=True
    )
    assert TITLE.encode() in done.stdout and TITLE.encode() not in done.stderr
