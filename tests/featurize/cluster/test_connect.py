"""Addresses of clusters: what they may be, and what is said where nobody answers."""

import sys

import joblib
import pytest

from cache.errors import UserError
from featurize.cluster.active_cluster import active_cluster
from featurize.cluster.connect import connected


@pytest.mark.parametrize("address", ["", "local", "local:0", "local:x", "tcp://", "http://host:1", "scheduler:8786"])
def test_what_is_no_address_is_refused_with_what_to_give(address: str) -> None:
    with pytest.raises(UserError, match=r"is no address: give tcp://HOST:8786") as refused, connected(address):
        pass
    assert repr(address) in str(refused.value)


def test_a_scheduler_that_does_not_answer() -> None:
    pytest.importorskip("distributed")
    with (
        pytest.raises(UserError, match=r"no scheduler of Dask answers there") as refused,
        connected("tcp://127.0.0.1:9"),
    ):
        pass
    assert "tcp://127.0.0.1:9" in str(refused.value) and len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(("address", "package", "extra"), [("tcp://h:1", "distributed", "dask"), ("ray", "ray", "ray")])
def test_a_package_that_is_missing(address: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as where it is not installed
    with pytest.raises(UserError, match=rf"not installed: pip install '\.\[{extra}\]'"), connected(address):
        pass


def test_only_a_backend_with_processes_is_a_cluster() -> None:
    assert active_cluster() is None
    with joblib.parallel_config(n_jobs=2):  # nobody has named a backend
        assert active_cluster() is None
    with joblib.parallel_config("threading", n_jobs=2):
        assert active_cluster() is None
    with joblib.parallel_config("loky", n_jobs=1):
        assert active_cluster() is None
    with connected("local:3"):
        workers = active_cluster()
        assert workers is not None and workers.count() == 3
    assert active_cluster() is None
