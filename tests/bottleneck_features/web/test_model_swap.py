"""A new model is put in place in one step, while others ask; the one before can be put back."""

import shutil
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from conftest import SPEC
from helpers.services import PATIENCE, Client, command, serving

import pipeline


@pytest.fixture
def model(trained: Path, tmp_path: Path) -> Path:
    """A copy of the model that the test may replace."""
    for path in trained.parent.glob("m.*"):
        shutil.copy(path, tmp_path)
    return tmp_path / trained.name


@pytest.fixture(scope="module")
def other(surfaces: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another model of the same pictures, with other probabilities."""
    path = tmp_path_factory.mktemp("other") / "m.joblib"
    cache = shutil.copytree(trained.parent / "cache", path.parent / "cache")
    pipeline.train(str(surfaces), "centroid", model=str(path), cache_dir=str(cache), **SPEC)
    return path


def put(new: Path, model: Path) -> None:
    for path in new.parent.glob("m.*"):
        shutil.copy(path, model.parent)


@pytest.fixture
def replaced(model: Path, other: Path) -> Iterator[Client]:
    """A service whose model's file was replaced after it began."""
    with serving(model) as client:
        put(other, model)
        yield client


def test_a_new_model_answers_and_the_one_before_can_be_put_back(
    replaced: Client, trained: Path, other: Path, pictures: list[bytes]
) -> None:
    expected = [pipeline.predict_proba(pictures[:1], str(path)).max() for path in (trained, other)]
    about = replaced.get("/v1/model").json()
    assert (about["head"], about["number"], about["previous"]) == ("logreg", 1, None)
    assert replaced.post("/v1/model/restore").status_code == 409, "there is none"
    assert replaced.post("/v1/model/reload").json()["number"] == 2
    new = replaced.get("/v1/model").json()
    assert (new["head"], new["number"], new["previous"]["digest"]) == ("centroid", 2, about["digest"])
    np.testing.assert_allclose(replaced.ask(pictures[0])["answers"][0]["probability"], expected[1], atol=1e-6)
    assert replaced.post("/v1/model/restore").json() == {"number": 1, "digest": about["digest"]}
    np.testing.assert_allclose(replaced.ask(pictures[0])["answers"][0]["probability"], expected[0], atol=1e-6)
    assert replaced.post("/v1/model/restore").json()["number"] == 2, "and back again"


def test_each_request_is_answered_by_one_model(replaced: Client, pictures: list[bytes]) -> None:
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(replaced.ask, *pictures[:6]) for _ in range(8)]
        assert replaced.post("/v1/model/reload").status_code == 200
        asked += [pool.submit(replaced.ask, *pictures[:6]) for _ in range(8)]
        found = [future.result() for future in asked]
    of = {1: set(), 2: set()}
    for said in found:
        of[said["model"]["number"]].add(tuple(round(answer["probability"], 5) for answer in said["answers"]))
    assert all(len(answers) <= 1 for answers in of.values()) and of[1] != of[2], "never of both"
    assert found[-1]["model"]["number"] == 2


def test_a_damaged_model_leaves_the_one_in_place(model: Path, pictures: list[bytes]) -> None:
    with serving(model) as client:
        model.with_suffix(".json").write_text("{}")
        found = client.post("/v1/model/reload")
        assert found.status_code == 409 and str(model.parent) not in found.text
        assert client.ask(pictures[0])["model"]["number"] == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")
def test_sighup_puts_a_new_model_in_place(model: Path, other: Path) -> None:
    with (
        command("serve", "--model", str(model), "--port", "0") as service,
        httpx.Client(base_url=service.url, timeout=PATIENCE, trust_env=False) as client,
    ):
        put(other, model)
        assert client.get("/v1/model").json()["head"] == "logreg"
        service.process.send_signal(signal.SIGHUP)
        while client.get("/v1/model").json()["head"] == "logreg":
            pass
        assert client.get("/v1/model").json()["number"] == 2
        assert service.stop() == 0
