"""What the tests of docs/reliability.md share: how many, with which pictures, and where the figures go.

Each test runs a share of its counts; with `--full` (`make torture`) all of them.
"""

import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import skimage
from conftest import REPOSITORY
from PIL import Image

from featurize.pictures.find_images import find_images
from reliability.harness.command import Command
from reliability.harness.real_command import empty_cache

REPORT = REPOSITORY / "docs" / "reliability.md"
BEGIN, END = "<!-- measured -->\n", "<!-- end of measured -->"
FIGURES = pytest.StashKey[dict[int, list[str]]]()

Count = Callable[[int, int], int]
Figure = Callable[[int, str], None]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = {}


@pytest.fixture
def count(request: pytest.FixtureRequest) -> Count:
    """count(full, share): the one with `--full`, else the other."""
    return lambda full, share: full if request.config.getoption("--full") else share


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of everything random in these tests."""
    return int(request.config.getoption("--seed"))


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Figure:
    """figure(point, text): what was measured for one of the fifteen points, shown at the end."""
    return lambda point, text: request.config.stash[FIGURES].setdefault(point, []).append(text)


@pytest.fixture(scope="session")
def photographs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """photographs(n): a folder with n different photographs (JPEG, 160 pixels or more a side), in two classes.

    From `--photos`, as they are there, or crops of those that come with scikit-image. Not to be changed.
    """
    own = request.config.getoption("--photos")

    def make(number: int) -> Path:
        folder = tmp_path_factory.mktemp(f"photographs{number}")
        for name in ("even", "odd"):
            (folder / name).mkdir()
        sources: Iterator[Any] = iter(find_images(str(own)).images) if own else crops()
        for position, source in enumerate(itertools.islice(sources, number)):
            target = folder / ("even", "odd")[position % 2] / f"{position:05}"
            if isinstance(source, str):
                os.symlink(os.path.abspath(source), target.with_suffix(Path(source).suffix))
            else:
                source.save(target.with_suffix(".jpg"), quality=90)
        return folder

    return make


@pytest.fixture(scope="session")
def command(photographs: Callable[[int], Path], warm_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """The real command, 30 photographs, and a cache that has the converted network and nothing else."""
    return Command(photographs(30), empty_cache(warm_cache, tmp_path_factory.mktemp("command") / "prepared"), 30)


def crops() -> Iterator[Image.Image]:
    """Different parts of the photographs that come with scikit-image, without end."""
    names = ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg", "brick.png", "grass.png", "gravel.png")
    pictures = [Image.open(Path(skimage.__file__).parent / "data" / name).convert("RGB") for name in names]
    for step in itertools.count():
        for picture in pictures:
            left = step * 37 % (picture.width - 160)
            top = step * 23 % (picture.height - 160)
            yield picture.crop((left, top, left + 160, top + 160))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    figures = config.stash[FIGURES]
    if not figures:
        return
    lines = [f"| {point} | {'; '.join(figures[point])} |" for point in sorted(figures)]
    terminalreporter.section("docs/reliability.md")
    terminalreporter.write("\n".join(lines) + "\n")
    if config.getoption("--record"):
        before, rest = REPORT.read_text().split(BEGIN)
        table, after = rest.split(END)
        rows = dict(line.split(" | ", 1) for line in [*table.splitlines(), *lines] if line[2:3].isdigit())
        what = f"`make torture`, {time.strftime('%Y-%m-%d')}, seed {config.getoption('--seed')}:"
        kept = [f"{point} | {text}" for point, text in sorted(rows.items(), key=lambda row: int(row[0][1:]))]
        table = "\n".join([what, "", "| point | measured |", "|---|---|", *kept, ""])
        REPORT.write_text(before + BEGIN + table + END + after)
