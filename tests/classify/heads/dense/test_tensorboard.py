"""Curves for TensorBoard, as its own reader reads them."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import SPEC
from helpers import real_features

import pipeline
from cache.errors import UserError
from classify.heads.head_table import make_head


def curves(folder: Path) -> dict[str, dict[str, list[float]]]:
    """Run -> curve -> its values, in the order of the epochs, which count from 1."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    found: dict[str, dict[str, list[float]]] = {}
    for run in sorted(folder.iterdir()):
        events = EventAccumulator(str(run)).Reload()
        found[run.name] = {}
        for name in events.Tags()["tensors"]:
            points = events.Tensors(name)
            assert [point.step for point in points] == list(range(1, len(points) + 1))
            found[run.name][name] = [float(make_ndarray(point.tensor_proto)) for point in points]
    return found


def test_a_dense_head_writes_its_history(digits: real_features.Data, tmp_path: Path) -> None:
    head = make_head("dense", {"epochs": 5, "tensorboard": str(tmp_path / "logs")}).fit(*digits)
    (run,) = curves(tmp_path / "logs").values()
    assert run.keys() == head.history_.keys() == {"loss", "accuracy", "val_loss", "val_accuracy"}
    for name, values in head.history_.items():
        np.testing.assert_allclose(run[name], values, rtol=1e-6)


def test_writing_changes_nothing(digits: real_features.Data, tmp_path: Path) -> None:
    plain, written = (
        make_head("dense", {"epochs": 3, "tensorboard": folder}, 1).fit(*digits) for folder in (None, str(tmp_path))
    )
    np.testing.assert_array_equal(plain.coefs_[0], written.coefs_[0])


def test_each_fit_has_a_run_of_its_own(
    surfaces: Path, warm_cache: Path, tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    model, logs = tmp_path / "dense.joblib", tmp_path / "logs"
    words = ("--head", "dense", "--head-params", "epochs=2", "--cv", "3", "--tensorboard", logs)
    status, _, _ = run(
        "train", "--data", surfaces, "--backbone", "nano", "--cache-dir", warm_cache, "--model", model, *words
    )
    assert status == 0
    history = pd.read_csv(model.with_suffix(".history.csv"))
    first, *folds = curves(logs).values()
    assert len(folds) == 3
    np.testing.assert_allclose(first["loss"], history["loss"], rtol=1e-6)


def test_finetune_writes_the_same_curves(surfaces: Path, tmp_path: Path) -> None:
    model, logs = str(tmp_path / "f.joblib"), tmp_path / "logs"
    report = pipeline.train(
        str(surfaces),
        "finetune",
        model=model,
        cache_dir=str(tmp_path / "cache"),
        head_params={"epochs": 2, "verbose": 0},
        tensorboard=str(logs),
        views=1,
        cut="down16",
        **SPEC,
    )
    watched, _ = sorted(curves(logs).values(), key=len, reverse=True)  # the second is of all pictures
    assert watched.keys() == report["history"].keys() == {"seconds", "loss", "accuracy", "val_loss", "val_accuracy"}
    for name, values in report["history"].items():
        np.testing.assert_allclose(watched[name], values, rtol=1e-6)


def test_what_cannot_be_written_is_refused_before_any_work(
    surfaces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusal(head: str, folder: str | None, **options: object) -> str:
        with pytest.raises((UserError, OSError)) as caught:
            pipeline.train(str(surfaces), head, tensorboard=folder, cache_dir=str(tmp_path / "cache"), **options)  # type: ignore[arg-type]
        assert not (tmp_path / "cache").exists() and "\n" not in str(caught.value)
        return str(caught.value)

    logs = str(tmp_path / "logs")
    assert "logreg does not learn by epochs" in refusal("logreg", logs)
    assert "give one" in refusal("dense", logs, head_params={"tensorboard": "elsewhere"})
    (tmp_path / "file").write_text("")
    assert "file" in refusal("dense", str(tmp_path / "file"))
    assert "tensorboard='' is not valid" in refusal("dense", "")
    assert "tensorboard=5 is not valid" in refusal("dense", None, head_params={"tensorboard": 5})
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "tensorboard" else find(name, *rest)
    )
    assert "pip install '.[tensorboard]'" in refusal("dense", logs)
