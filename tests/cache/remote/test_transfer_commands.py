"""cache push and cache pull on the command line: real features of photographs, through a folder and a bucket."""

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SPEC
from helpers.storage.cached_rows import damage
from helpers.storage.object_storage import Storage

OPTIONS = [word for name, value in SPEC.items() for word in (f"--{name}", str(value))]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(params=["s3", "folder"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        storage: Storage = request.getfixturevalue("storage")
        return f"{storage.url}/features"
    return str(tmp_path / "nas")


def test_features_of_one_machine_serve_another(
    run: Run, surfaces: Path, warm_cache: Path, tmp_path: Path, address: str
) -> None:
    """The second machine computes nothing, and a model is trained there."""
    assert run("cache", "push", address, "--cache-dir", warm_cache, "--dry-run")[1].endswith("  would be pushed\n")
    status, out, err = run("cache", "push", address, "--cache-dir", warm_cache)
    assert (status, err) == (0, "")
    of_signatures, of_spec, in_all = (line.split() for line in out.splitlines())
    assert of_signatures[0] == of_spec[0] == "36" and "picture-signatures/" in of_signatures[-1]
    assert in_all[:4] == ["72", "rows", "2", "objects"] and in_all[-1] == "pushed"
    here = tmp_path / "here"
    assert run("cache", "pull", address, "--cache-dir", here, "--backbone", "nano")[0] == 0
    words = ("--data", surfaces, "--cache-dir", here, *OPTIONS)
    status, out, _ = run("train", *words, "--head", "centroid", "--model", tmp_path / "m.joblib")
    assert status == 0
    status, out, _ = run("features", *words)
    assert status == 0 and "computed 0, cached 36" in out
    assert run("cache", "pull", address, "--cache-dir", here)[1].split()[:3] == ["0", "rows", "0"]


def test_what_does_not_fit_and_what_is_damaged_is_said(
    run: Run, warm_cache: Path, tmp_path: Path, address: str
) -> None:
    run("cache", "push", address, "--cache-dir", warm_cache)
    here = tmp_path / "here"
    status, out, err = run("cache", "pull", address, "--cache-dir", here, "--most", "70 KB")
    assert status == 0 and out.splitlines()[-1].split()[0] == "36"
    assert err == "warning: 36 rows stay where they are: they do not fit into --most\n"
    if "://" in address:
        return
    for path in Path(address).glob("nano-*/*.h5"):
        damage(str(path))
    status, out, err = run("cache", "pull", address, "--cache-dir", here)
    assert status == 1 and out.split()[0] == "0"
    assert err.startswith(f"warning: passed over, it is not what was stored: {address}/nano-")
    status, out, _ = run("cache", "push", address, "--cache-dir", warm_cache, "--check", "--merge")
    assert status == 1 and out.splitlines()[-1].split()[:3] == ["36", "rows", "1"]
    assert run("cache", "pull", address, "--cache-dir", here)[1].splitlines()[-1].split()[0] == "36"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("pull", "nix://bucket/features"), "no driver has such addresses"),
        (("pull", "nowhere"), "there are no features in nowhere"),
        (("push", ""), "the address is empty"),
        (("pull", "nowhere", "--most", "20 elephants"), "'20 elephants' is no size: give one such as 20GB"),
        (("pull", "nowhere", "--fingerprint", "no"), "fingerprint 'no' is none"),
        (("push", "s3://key:secret@bucket/features"), "s3://"),
    ],
)
def test_wrong_words_are_one_line(run: Run, tmp_path: Path, words: tuple[str, ...], line: str) -> None:
    status, out, err = run("cache", *words, "--cache-dir", tmp_path / "cache")
    assert (status, out) == (2, "") and len(err.splitlines()) == 1 and line in err
    assert "secret" not in err
