"""Push and pull with a real server of the S3 protocol: what is asked of it, and what it may do wrong."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY, TESTS
from helpers.storage.cached_rows import PROVENANCE, SPEC, filled, keys, rows
from helpers.storage.object_storage import Storage
from helpers.storage.remote_rows import objects_at

from cache.remote.other_side import StorageError
from cache.remote.pull import pull
from cache.remote.push import push
from cache.shard_file import encode_shard
from cache.store import FeatureStore

COUNT = 24


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with `COUNT` shards of 2 rows of different origin, which no commit merges."""
    folder = tmp_path_factory.mktemp("many")
    store = FeatureStore(str(folder), SPEC)
    for number in range(COUNT):
        part = slice(2 * number, 2 * number + 2)
        store.commit(rows(2 * COUNT)[part], keys(2 * COUNT)[part], PROVENANCE | {"machine": number})
    return folder


def all_rows_in(folder: Path) -> bool:
    return bool((FeatureStore(str(folder), SPEC).read(keys(2 * COUNT)) == rows(2 * COUNT)).all())


def test_each_object_is_one_request(many: Path, storage: Storage, tmp_path: Path) -> None:
    """And another one for the head of each that is not known by name."""
    push(str(many), storage.url)
    counts = storage.server.counts()
    assert (counts["PUT"], counts["GET"], counts["HEAD"], counts["POST"]) == (COUNT + 1, 0, 0, 0)  # and spec.json
    assert counts["LIST"] <= 6
    storage.server.reset()
    pull(str(tmp_path), storage.url)
    counts = storage.server.counts()
    assert (counts["PUT"], counts["GET"], counts["HEAD"]) == (0, 2 * COUNT + 1, 0)
    assert counts["LIST"] <= 4
    assert all_rows_in(tmp_path)


def test_what_is_there_by_name_costs_listings_alone(many: Path, storage: Storage, tmp_path: Path) -> None:
    push(str(many), storage.url)
    pull(str(tmp_path), storage.url)
    storage.server.reset()
    assert (push(str(many), storage.url).objects, pull(str(tmp_path), storage.url).objects) == (0, 0)
    counts = storage.server.counts()
    requests = {kind for kind, count in counts.items() if count and kind.isupper()}
    assert requests == {"LIST"} and counts["LIST"] <= 6 and not counts["bytes"]


def test_the_head_of_a_large_shard_is_a_small_part_of_it(storage: Storage, tmp_path: Path) -> None:
    store = FeatureStore(str(tmp_path / "a"), SPEC)
    store.commit(rows(2048, 256), keys(2048), PROVENANCE)
    push(str(tmp_path / "a"), storage.url)
    storage.server.reset()
    done = pull(str(tmp_path / "b"), storage.url, dry_run=True)
    counts = storage.server.counts()
    assert done.bytes > 2**21 and done.rows == 2048
    assert counts["GET"] == 2 and counts["bytes"] < 80_000  # spec.json and the head


def test_a_shard_of_an_earlier_version_has_its_head_in_two_places(storage: Storage, tmp_path: Path) -> None:
    """Rows came first then: the fixture is such a file."""
    old = next(Path(TESTS, "fixtures", "version_0_1", "cache").glob("nano-*"))
    storage.upload(old, old.name)
    pulled = pull(str(tmp_path), storage.url)
    assert pulled.rows == 16 and pulled.damaged == []
    assert [path.read_bytes() for path in sorted((tmp_path / old.name).glob("*.h5"))] == [
        path.read_bytes() for path in sorted(old.glob("*.h5"))
    ]


def test_failing_and_slow_storage_gives_the_same_rows(many: Path, storage: Storage, tmp_path: Path) -> None:
    storage.server.reset(failing=0.1, latency=0.02)
    sent = push(str(many), storage.url)
    got = pull(str(tmp_path), storage.url)
    assert (sent.rows, got.rows) == (2 * COUNT, 2 * COUNT)
    assert storage.server.counts()["FAILED"] > 0
    assert all_rows_in(tmp_path)


def test_storage_that_never_answers_is_one_line(many: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.server.reset(failing=1)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    words = [sys.executable, "-m", "pipeline", "cache", "push", storage.url, "--cache-dir", str(many)]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"error: {storage.url}/") and len(done.stderr.splitlines()) == 1
    assert "very-secret-key" not in done.stderr


@pytest.mark.usefixtures("storage")
def test_a_bucket_that_is_not_there_is_one_line(many: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="s3://no-such-bucket/features cannot be written, there is no such bucket"):
        push(str(many), "s3://no-such-bucket/features")
    with pytest.raises(ValueError, match="there are no features in s3://no-such-bucket"):
        pull(str(tmp_path), "s3://no-such-bucket")


def test_other_objects_in_the_bucket_are_left_alone(many: Path, storage: Storage, tmp_path: Path) -> None:
    others = ["photo.jpg", "photos/cat.jpg", f"{SPEC.folder}/note.txt", f"{SPEC.folder}/.h5", f"{SPEC.folder}/old/a.h5"]
    others.append("picture-signatures/x.h5")
    for name in others:
        storage.files.pipe_file(f"{storage.url}/{name}", b"somebody's")
    push(str(many), storage.url, check=True, merge=True)
    assert pull(str(tmp_path), storage.url).rows == 2 * COUNT
    assert [storage.files.cat_file(f"{storage.url}/{name}") for name in others] == [b"somebody's"] * len(others)
    assert all_rows_in(tmp_path)


@pytest.mark.parametrize("name", ["..", "../../outside.h5", "a\\b.h5", "-rf.h5", ".hidden.h5", "x" * 200 + ".h5"])
def test_names_that_lead_elsewhere_are_no_shards(storage: Storage, tmp_path: Path, name: str) -> None:
    data = bytes(encode_shard(rows(2), keys(2), SPEC, PROVENANCE))
    storage.files.pipe_file(f"{storage.url}/{SPEC.folder}/{name}", data)
    storage.files.pipe_file(f"{storage.url}/{SPEC.folder}/right.h5", data)
    assert pull(str(tmp_path / "cache"), storage.url).objects == 1
    assert sorted(path.name for path in tmp_path.rglob("*.h5")) == ["right.h5"]


def test_a_killed_push_and_a_killed_pull_go_on_where_they_were(many: Path, storage: Storage, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "pipeline", "cache", "push", storage.url, "--cache-dir", many]
    stored = killed_after(5, words, storage, "PUT")
    assert 0 < stored <= COUNT
    assert push(str(many), storage.url).objects <= COUNT - stored  # what was on its way may have come meanwhile
    assert len(objects_at(storage.url)) == COUNT
    words = [sys.executable, "-m", "pipeline", "cache", "pull", storage.url, "--cache-dir", tmp_path]
    killed_after(COUNT + 9, words, storage, "GET")
    here = len(list(tmp_path.rglob("*.h5")))
    assert pull(str(tmp_path), storage.url).objects == COUNT - here
    assert all_rows_in(tmp_path)


def killed_after(number: int, words: list[object], storage: Storage, kind: str) -> int:
    """SIGKILL a command after so many requests of a kind: how many shards are there then."""
    storage.server.reset(latency=0.3)
    process = subprocess.Popen([str(word) for word in words], cwd=REPOSITORY)
    while process.poll() is None and storage.server.counts()[kind] < number:
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    storage.server.reset()
    return len(objects_at(storage.url))


def test_two_pushes_at_once_and_a_pull_take_each_row_once(storage: Storage, tmp_path: Path) -> None:
    for name in "ab":
        filled(tmp_path / name, 6, 4)
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "pipeline", "cache", "push", storage.url, "--cache-dir", tmp_path / name],
            cwd=REPOSITORY,
        )
        for name in "ab"
    ]
    assert [process.wait() for process in started] == [0, 0]
    assert pull(str(tmp_path / "c"), storage.url).rows == 10
    store = FeatureStore(str(tmp_path / "c"), SPEC)
    assert sum(map(len, store.refresh())) == 10 and (store.read(keys(10)) == rows(10)).all()
    push(str(tmp_path / "c"), storage.url, merge=True)
    assert len(objects_at(storage.url)) == 2
