"""Models that `pipeline.predict` keeps warm: the last few, each as its file is now, whichever thread asks."""

import gc
import os
import shutil
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import SPEC

import pipeline
from cache.errors import UserError
from classify.saved.open_classifier import MOST_MODELS, warm


@pytest.fixture(scope="module")
def trained(surfaces: Path, warm_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(warm_cache, folder / "cache")
    pipeline.train(str(surfaces), "centroid", model=str(folder / "m.joblib"), cache_dir=str(folder / "cache"), **SPEC)
    return folder


def copied(trained: Path, folder: Path) -> str:
    folder.mkdir(exist_ok=True)
    for suffix in (".joblib", ".json", ".npz"):
        shutil.copy(trained / f"m{suffix}", folder / f"m{suffix}")
    return str(folder / "m.joblib")


def test_a_model_that_is_gone_or_replaced_is_let_go(trained: Path, tmp_path: Path) -> None:
    first, second = copied(trained, tmp_path / "first"), copied(trained, tmp_path / "second")
    kept = [weakref.ref(warm(path, None, None)) for path in (first, second)]
    assert warm(first, None, None) is kept[0]() and warm(second, None, None) is kept[1]()
    copied(trained, tmp_path / "other")
    os.replace(tmp_path / "other" / "m.joblib", first)
    assert warm(first, None, None) is not None
    gc.collect()
    assert kept[0]() is None
    os.unlink(second)
    with pytest.raises(UserError, match="second"):
        warm(second, None, None)
    gc.collect()
    assert kept[1]() is None


def test_a_model_that_is_gone_is_let_go_when_another_is_loaded(trained: Path, tmp_path: Path) -> None:
    kept = weakref.ref(warm(first := copied(trained, tmp_path / "first"), None, None))
    os.unlink(first)
    warm(copied(trained, tmp_path / "second"), None, None)
    gc.collect()
    assert kept() is None


def test_no_more_than_the_last_few_are_kept(trained: Path, tmp_path: Path) -> None:
    paths = [copied(trained, tmp_path / str(number)) for number in range(MOST_MODELS + 3)]
    used = warm(paths[0], None, None)
    kept = []
    for path in paths[1:]:
        kept.append(weakref.ref(warm(path, None, None)))
        assert warm(paths[0], None, None) is used, "what is asked for again and again stays"
    gc.collect()
    assert [model() is not None for model in kept] == [False] * 3 + [True] * (MOST_MODELS - 1)


def test_threads_that_ask_at_once_get_one_model(trained: Path, tmp_path: Path) -> None:
    paths = [copied(trained, tmp_path / str(number)) for number in range(3)] * 20
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda path: warm(path, None, None), paths))
    assert len(set(map(id, found))) == 3
