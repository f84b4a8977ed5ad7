"""Photographs in object storage, as everywhere else: the same rows, and a second run that reads none of them."""

import contextlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from conftest import REPOSITORY, SPEC
from helpers.storage.object_storage import CREDENTIALS, Storage

import pipeline
from cache.errors import UserError
from cache.remote.file_systems import IN_FLIGHT
from featurize.open_extractor import open_extractor
from featurize.pictures.find_images import find_images
from featurize.pictures.places.read_ahead import reading_ahead
from featurize.pictures.sources import ImageError, expand, opened, read, within_limit


def rows_of(folder: str, cache: Path) -> dict[str, bytes]:
    """Name below the folder -> row, of all pictures there."""
    extractor = open_extractor(str(cache), **SPEC)
    images = find_images(folder).images
    outcome, rows = extractor.features(images)
    names = [images[position][len(folder.rstrip("/")) + 1 :] for position in outcome.succeeded]
    return {name: row.tobytes() for name, row in zip(names, rows, strict=True)}


def test_the_whole_story_twice(
    storage: Storage, surfaces: Path, warm_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cache = tmp_path / "cache"
    url = storage.upload(surfaces, "photos")
    counts = []
    reports: list[dict[str, Any]] = []
    for _ in range(2):
        storage.server.reset()
        reports.append(pipeline.features(url, cache_dir=str(cache), **SPEC))
        trained = pipeline.train(url, cache_dir=str(cache), **SPEC)
        found = pipeline.report(url, "models/logreg.joblib", f"{len(counts)}.html")
        label = pipeline.predict(f"{url}/grass/grass.3.png", "models/logreg.joblib")
        assert len(pipeline.predict(f"{url}/brick", "models/logreg.joblib")) == 12
        assert (trained["classes"], len(found.pictures), label.tolist()) == (
            ["brick", "grass", "gravel"],
            36,
            ["grass"],
        )
        counts.append(storage.server.counts())
    assert [report["computed"] for report in reports] == [36, 0]
    size = sum(path.stat().st_size for path in surfaces.rglob("*.png"))
    assert size <= counts[0]["bytes"] <= 3 * size  # by the features, the thumbnails and some heat maps
    assert (counts[1]["bytes"], counts[1]["GET"]) == (0, 0)
    here, there = rows_of(str(surfaces), warm_cache), rows_of(url, cache)
    assert here.keys() == there.keys()
    assert all(np.allclose(*(np.frombuffer(row, np.float32) for row in (here[n], there[n])), rtol=1e-4) for n in here)
    first, second = (Path(f"{number}.html").read_text() for number in range(2))
    assert first.count("data:image/webp") == second.count("data:image/webp") >= 36
    written = "".join(path.read_text("utf-8", "replace") for path in tmp_path.rglob("*") if path.is_file())
    assert all(secret not in written for secret in CREDENTIALS.values() if secret != "us-east-1")


def test_each_picture_is_read_once_and_copies_are_computed_once(
    storage: Storage, surfaces: Path, tmp_path: Path
) -> None:
    url = storage.upload(surfaces, "photos")
    storage.upload(surfaces / "grass", "photos/copies")
    storage.server.reset()
    report = pipeline.features(url, cache_dir=str(tmp_path / "cache"), **SPEC)
    assert (report["images"], report["computed"], report["forward_passes"], report["failed"]) == (48, 36, 36, 0)
    counts = storage.server.counts()
    assert (counts["GET"], counts["HEAD"]) == (48, 0)


def test_rows_of_the_same_pictures_on_a_disk_are_not_computed_again(
    storage: Storage, surfaces: Path, warm_cache: Path, tmp_path: Path
) -> None:
    cache = str(shutil.copytree(warm_cache, tmp_path / "cache"))
    url = storage.upload(surfaces, "photos")
    report = pipeline.features(url, cache_dir=cache, **SPEC)
    assert (report["computed"], report["cached"], report["forward_passes"]) == (0, 36, 0)


def test_a_changed_object_is_computed_and_the_others_are_not_read(
    storage: Storage, surfaces: Path, tmp_path: Path
) -> None:
    url, cache = storage.upload(surfaces, "photos"), str(tmp_path / "cache")
    pipeline.features(url, cache_dir=cache, **SPEC)
    changed = (surfaces / "grass/grass.0.png").read_bytes() + b"more"
    storage.files.pipe_file(f"{url}/brick/brick.0.png", changed)
    storage.files.pipe_file(f"{url}/brick/broken.png", b"no picture")
    storage.server.reset()
    report = pipeline.features(url, cache_dir=cache, **SPEC)
    assert (report["computed"], report["failed"]) == (1, 1)
    assert storage.server.counts()["GET"] == 2
    assert report["failures"][0]["path"] == f"{url}/brick/broken.png"


def test_requests_that_fail_are_made_again(storage: Storage, surfaces: Path, tmp_path: Path) -> None:
    url = storage.upload(surfaces, "photos")
    storage.server.reset(failing=0.1)
    report = pipeline.features(url, cache_dir=str(tmp_path / "cache"), **SPEC)
    assert (report["computed"], report["failed"]) == (36, 0)
    assert storage.server.counts()["FAILED"] > 0


def test_tables_patterns_splits_and_groups(
    storage: Storage, surfaces: Path, warm_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = str(shutil.copytree(warm_cache, tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    url = storage.upload(surfaces, "photos")
    names = sorted(path.relative_to(surfaces).as_posix() for path in surfaces.rglob("*.png"))
    rows = [f"{name},{name.split('/')[0]},{name.rpartition('.')[0][-1]}" for name in names]
    storage.files.pipe_file(f"{url}/labels.csv", "\n".join(["path,label,site", *rows]).encode())
    elsewhere = "\n".join(["path,label", *(f"{url}/{name},{name.split('/')[0]}" for name in names)])
    Path("addresses.csv").write_text(elsewhere)
    how: dict[str, Any] = {"cache_dir": cache, **SPEC}
    storage.server.reset()
    by_table = pipeline.train(labels=f"{url}/labels.csv", groups="column:site", **how)
    assert storage.server.counts()["HEAD"] <= 1  # of the table
    by_data = pipeline.train(url, labels="addresses.csv", **how)
    by_pattern = pipeline.train(url, label_pattern=r"(?P<label>brick|grass)\.\d", **how)
    alone = pipeline.train(labels="addresses.csv", **how)
    assert [found["images"] for found in (by_table, by_data, by_pattern, alone)] == [36, 36, 24, 36]
    assert by_table["groups"]["by"] == "column:site"
    assert by_pattern["classes"] == ["brick", "grass"]
    groups = pipeline.predict_groups(url, "models/logreg.joblib", "folder")
    assert groups["group"].tolist() == [f"{url}/{name}" for name in ("brick", "grass", "gravel")]
    for part in ("train", "test"):
        storage.upload(surfaces, f"split/{part}")
    split = pipeline.train(f"{storage.url}/split", **how)
    assert split["classes"] == ["brick", "grass", "gravel"]
    record = json.loads(Path("models/logreg.json").read_text())
    assert record["data"]["folder"] == f"{storage.url}/split"


def test_on_the_command_line(storage: Storage, surfaces: Path, warm_cache: Path, tmp_path: Path) -> None:
    cache = shutil.copytree(warm_cache, tmp_path / "cache")
    url = storage.upload(surfaces, "photos")

    def command(*words: str) -> str:
        whole = [sys.executable, "-m", "pipeline", *words]
        found = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        done = subprocess.run(whole, cwd=tmp_path, capture_output=True, text=True, env=found, check=False)
        assert done.returncode == 0, done.stderr
        assert all(secret not in done.stdout + done.stderr for secret in ("very-secret-key", "testing"))
        return done.stdout

    assert "accuracy" in command("train", "--data", url, "--cache-dir", str(cache), "--backbone", "nano")
    assert "grass" in command("predict", "--images", f"{url}/grass/grass.1.png")


def test_what_is_not_there_is_a_failure_of_one_line(storage: Storage, surfaces: Path, tmp_path: Path) -> None:
    url = storage.upload(surfaces / "grass", "photos")
    with pytest.raises(ImageError, match="cannot be read: no such object"):
        read(f"{url}/none.jpg")
    with pytest.raises(UserError, match="there is no image in"):
        pipeline.features(f"{storage.url}/nothing", cache_dir=str(tmp_path), **SPEC)
    extractor = open_extractor(str(tmp_path), **SPEC)
    outcome = extractor.run([f"{url}/none.jpg", f"{url}/grass.0.png"])
    assert [failure.path for failure in outcome.failures] == [f"{url}/none.jpg"]
    with pytest.raises(UserError, match="cache_dir 's3://bucket/cache' is an address"):
        pipeline.features(url, cache_dir="s3://bucket/cache")
    with pytest.raises(UserError, match="may hold no password"):
        pipeline.features("s3://key:secret@bucket/photos", cache_dir=str(tmp_path))


def test_parts_of_an_object_are_read_alone(storage: Storage) -> None:
    data = os.urandom(1_000_000)
    storage.files.pipe_file(f"{storage.url}/large.jpg", data)
    storage.server.reset()
    with opened(f"{storage.url}/large.jpg") as (file, size):
        assert (file.read(1000), size) == (data[:1000], len(data))
        file.seek(-10, 2)
        assert file.read(100) == data[-10:]
    assert storage.server.counts()["bytes"] == 1010


def test_reads_ahead_in_any_order(storage: Storage, surfaces: Path) -> None:
    url = storage.upload(surfaces, "photos")
    sources: list[str | bytes] = [*expand(url), b"in memory", f"{url}/none.png"]
    storage.server.reset()
    with reading_ahead(sources) as read_at:
        data = {number: read_at(number, within_limit) for number in [36, *range(30, 36), *range(30)]}
        with pytest.raises(ImageError, match="no such object"):
            read_at(37, within_limit)
    assert data[36] == b"in memory"
    for number in range(36):
        assert data[number] == (surfaces / str(sources[number])[len(url) + 1 :]).read_bytes()
    assert storage.server.counts()["GET"] == 37


def test_many_requests_are_in_flight(storage: Storage) -> None:
    names = [f"{storage.url}/many/{number:03}.jpg" for number in range(120)]
    storage.files.pipe({name: name.encode() for name in names})
    sources = expand(f"{storage.url}/many")
    storage.server.reset(latency=0.5)
    with reading_ahead(sources) as read_at:
        found = [read_at(number, within_limit) for number in range(len(sources))]
    counts = storage.server.counts()
    assert found == [name.encode() for name in names]
    assert 32 <= counts["at once"] <= IN_FLIGHT
    assert counts["GET"] == len(names)


def test_what_waits_in_memory_is_bounded(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featurize.pictures.places.read_ahead.MOST_BYTES", 1000)
    storage.files.pipe({f"{storage.url}/few/{number:02}.jpg": bytes(300) for number in range(20)})
    sources = expand(f"{storage.url}/few")
    storage.server.reset(latency=0.1)
    with reading_ahead(sources) as read_at:
        assert [len(read_at(number, within_limit)) for number in range(len(sources))] == [300] * 20
    assert storage.server.counts()["at once"] <= 3


def test_leaving_early_reads_no_more(storage: Storage, surfaces: Path) -> None:
    url = storage.upload(surfaces, "photos")
    with reading_ahead(expand(url)) as read_at:
        read_at(0, within_limit)


def test_pictures_in_memory_file_systems(surfaces: Path, warm_cache: Path, tmp_path: Path) -> None:
    files = fsspec.filesystem("memory")
    for path in surfaces.rglob("*.png"):
        files.pipe_file(f"/kept/{path.relative_to(surfaces).as_posix()}", path.read_bytes())
    cache = shutil.copytree(warm_cache, tmp_path / "cache")
    found = pipeline.features("memory://kept", cache_dir=str(cache), **SPEC)
    assert (found["images"], found["computed"], found["cached"]) == (36, 0, 36)


class Pages(http.server.SimpleHTTPRequestHandler):
    """Folders as pages of links, as servers of the web show them; counts what it sends."""

    counts: Counter[str]

    def do_GET(self) -> None:
        self.counts["GET" if self.path.endswith(".png") else "pages"] += 1
        super().do_GET()

    def do_HEAD(self) -> None:
        self.counts["HEAD"] += 1
        super().do_HEAD()

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def pages(folder: Path) -> Iterator[tuple[str, Counter[str]]]:
    handler = type("Counting", (Pages,), {"counts": Counter()})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", handler.counts  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()


def test_listings_of_the_web(surfaces: Path, warm_cache: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(surfaces, tmp_path / "site/photos")
    os.rename(folder / "brick", folder / "red brick")
    for path in folder.rglob("*"):
        os.utime(path, (1e9, 1e9))
    cache = shutil.copytree(warm_cache, tmp_path / "cache")
    with pages(tmp_path / "site") as (url, counts):
        found = [pipeline.features(f"{url}/photos", cache_dir=str(cache), **SPEC) for _ in range(2)]
        assert [(each["images"], each["computed"], each["failed"]) for each in found] == [(36, 0, 0)] * 2
        assert (counts["GET"], counts["HEAD"]) == (36, 72)  # a picture once; what its server says of it twice
        trained = pipeline.train(f"{url}/photos", cache_dir=str(cache), model=str(tmp_path / "m.joblib"), **SPEC)
        assert trained["classes"] == ["grass", "gravel", "red brick"]
