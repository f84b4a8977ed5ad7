"""Fixtures that several test files use: photographs that ship with scikit-image, the data beside the repository."""

import faulthandler
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if "PYTEST_XDIST_WORKER" in os.environ:  # a worker a core: threads of one would wait for those of another, spinning
    os.environ |= dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1"
    )

import numpy as np
import pytest
import skimage
from helpers import real_features
from helpers.storage import cached_rows, object_storage
from hypothesis import HealthCheck, settings
from PIL import Image

from cache.shard_file import Shard
from cache.store import FeatureStore

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = shutil.which("chromium")
TESTS = Path(__file__).resolve().parent
REPOSITORY = TESTS.parent
BUNDLED = Path(skimage.__file__).parent / "data"

settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")

# The backbone that ships with the project: real features of real pictures, without a file from outside.
SPEC: dict[str, Any] = {"backbone": "nano"}


def pytest_configure() -> None:
    # A shell starts what it runs in the background with Ctrl-C ignored, nohup what it runs with SIGHUP ignored, which
    # children inherit: they are tested on both.
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Folders of long files first: a worker that comes to one of them last leaves the other one idle."""
    first = ("project", "reliability", "distil", "backbones", "finetune")
    items.sort(key=lambda item: next((n for n, name in enumerate(first) if name in item.path.parts), len(first)))


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("reliability", "what tests/reliability proves, and with what")
    group.addoption("--full", action="store_true", help="every count of reliability.md and every backbone, not a share")
    group.addoption("--seed", type=int, default=0, help="other random kills, flipped bits, splits")
    group.addoption("--photos", type=Path, help="folder of photographs to use instead of scikit-image's")
    group.addoption("--hostile", type=Path, help="folder of hostile files to try besides")
    group.addoption("--record", action="store_true", help="write the figures into docs/reliability.md")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real weights and photographs beside the repository; tests that need it are skipped without it."""
    folder = Path(os.environ.get("BOTTLENECK_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "images").is_dir():
        pytest.skip(f"no real data set in {folder}")
    return folder


@pytest.fixture(scope="session")
def surfaces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of three surfaces in a folder each: 12 crops of 128 x 128 pixels of brick, grass and gravel."""
    folder = tmp_path_factory.mktemp("surfaces")
    for name in ("brick", "grass", "gravel"):
        (folder / name).mkdir()
        with Image.open(BUNDLED / f"{name}.png") as photograph:
            for number in range(12):
                left, top = number % 4 * 128, number // 4 * 128
                crop = photograph.crop((left, top, left + 128, top + 128))
                crop.save(folder / name / f"{name}.{number}.png")
    return folder


@pytest.fixture
def photos(surfaces: Path, tmp_path: Path) -> Path:
    """A copy of `surfaces` that the test may change."""
    return Path(shutil.copytree(surfaces, tmp_path / "photos"))


@pytest.fixture(scope="session")
def warm_cache(surfaces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that holds the rows of `surfaces` under `SPEC`, and its converted graph; for reading, or for a copy."""
    folder = tmp_path_factory.mktemp("warm") / "cache"
    # By a process of its own: in this one the network may be in memory, and would not be converted once more.
    words = ["features", "--data", surfaces, "--backbone", SPEC["backbone"], "--cache-dir", folder]
    command = [sys.executable, "-m", "pipeline", *words]
    done = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    (folder.parent / "stderr.txt").write_bytes(done.stderr)
    return folder


@pytest.fixture(scope="session")
def bundles(surfaces: Path, warm_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A `helpers.models.bundled_models.Bundles`: trains and bundles each kind of model when it is first asked for."""
    from helpers.models.bundled_models import Bundles

    return Bundles(tmp_path_factory.mktemp("bundles"), surfaces, warm_cache)


@pytest.fixture(scope="session")
def serving_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The python of an environment as on a serving machine, see `helpers.clean_environments`."""
    from helpers.clean_environments import serving_environment

    return serving_environment(tmp_path_factory.mktemp("serving"))


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Headless Chromium. Two of Playwright's loops cannot run in one process, nor asyncio's own beside one."""
    if CHROMIUM is None:
        pytest.skip("no chromium in the PATH: pages are not tried in a browser")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def storage_server() -> Iterator[object_storage.Server]:
    """A server of the S3 protocol on loopback, see `helpers.storage.object_storage`."""
    with object_storage.running() as server:
        yield server


@pytest.fixture
def storage(storage_server: object_storage.Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[object_storage.Storage]:
    """An empty bucket there, which the drivers of this process, and of those it starts, find by their own variables."""
    yield from object_storage.storage_in(storage_server, monkeypatch)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    """An empty store."""
    return FeatureStore(str(tmp_path), cached_rows.SPEC)


@pytest.fixture
def textures() -> real_features.Data:
    """Features of real photographs, and what they show."""
    return real_features.textures()


@pytest.fixture
def digits() -> real_features.Data:
    """Pixels of handwritten digits, and their numbers."""
    return real_features.digits()


@pytest.fixture
def no_hang() -> Iterator[None]:
    """HDF5 that loops for ever heeds no signal: end the whole run then, with a traceback."""
    faulthandler.dump_traceback_later(1200, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """Run a command line in this process: (exit status, stdout, stderr)."""

    from bottleneck_features.commands.main import main

    def call(*words: object) -> tuple[int, str, str]:
        given = [str(word) for word in words]
        if given[:1] == ["compare"] and "--answers" not in given:  # by default below the current folder
            given += ["--answers", str(tmp_path / "answers")]
        capfd.readouterr()
        return exit_status(main, given), *capfd.readouterr()

    return call


def exit_status(command: Callable[..., Any], *arguments: Any, **options: Any) -> int:
    """That of a command that is run in this process; what it does to the log is undone."""
    with pytest.raises(SystemExit) as ended:
        command(*arguments, **options)
    logging.getLogger("bottleneck").handlers.clear()
    logging.getLogger("bottleneck").propagate = True
    return int(ended.value.code or 0)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, int]]:
    """How often each block of each shard has been read."""
    counted: Counter[tuple[str, int]] = Counter()
    read_blocks = Shard._read_blocks

    def counting(self: Shard, file: int, block: int, into: np.ndarray) -> None:
        counted.update((self.path, block + number) for number in range(-(-len(into) // self.block_rows)))
        read_blocks(self, file, block, into)

    monkeypatch.setattr(Shard, "_read_blocks", counting)
    return counted
