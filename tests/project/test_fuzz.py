"""A moment of each target of `make fuzz`, without its engine: the same inputs every time."""

import importlib
import shutil
from pathlib import Path
from random import Random
from types import ModuleType

import pytest
from fuzz import mutations, shard_reader
from fuzz.run import TARGETS

from cache.shard_file import Shard

INPUTS = {"shard_reader": 400, "saved_models": 300, "label_readers": 300, "command_lines": 40}

pytestmark = [pytest.mark.usefixtures("no_hang"), pytest.mark.filterwarnings("ignore")]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The targets write into the present folder."""
    monkeypatch.chdir(tmp_path)


def target(name: str, warm_cache: Path) -> ModuleType:
    module = importlib.import_module(f"fuzz.{name}")
    if name == "command_lines":
        shutil.copytree(warm_cache, f"{module.TEMPLATE}/.features")  # with the graph, which takes seconds to convert
        module.prepare()
    return module


@pytest.mark.parametrize("name", TARGETS)
def test_some_inputs_of_each_target(name: str, warm_cache: Path) -> None:
    module = target(name, warm_cache)
    assert any(module.check(seed) for seed in module.SEEDS[:12])
    past = 0
    for number in range(INPUTS[name]):
        random = Random(number)
        past += module.check(module.mutate(random.choice(module.SEEDS), random))
    assert past < INPUTS[name], "nothing was changed"


def test_a_wrong_row_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    read = Shard.read
    monkeypatch.setattr(Shard, "read", lambda shard, wanted: read(shard, wanted) + 1)
    with pytest.raises(AssertionError):
        shard_reader.check(shard_reader.SEEDS[0])


def test_checksums_that_are_right_stay_as_they_are() -> None:
    assert all(shard_reader.with_right_checksums(seed) == seed for seed in shard_reader.SEEDS)
    broken = bytearray(shard_reader.SEEDS[0])
    broken[20] ^= 1
    assert shard_reader.with_right_checksums(broken) != broken


def test_parts_survive_packing() -> None:
    parts = [b"", b"a", b"\0" * 300]
    assert mutations.unpack(mutations.pack(parts)) == parts
    assert mutations.unpack(b"\xff\xff", 2) == [b"", b""]
