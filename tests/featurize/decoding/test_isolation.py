"""Pictures decoded in processes of their own: the same pixels, and only the picture fails when its process does."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage
from conftest import REPOSITORY, SPEC
from helpers.files.picture_files import slow_jpeg
from PIL import Image

import pipeline
from cache.errors import UserError
from featurize.decoding import isolation
from featurize.decoding.decode import DECODERS, RESIZES, Decoded, NetworkInput, decode_inputs, decode_views
from featurize.decoding.isolation import IsolatedDecoder, isolated_decoder
from featurize.pictures.find_images import ImageError
from featurize.pictures.recipes import views_of

PHOTOGRAPH = (Path(skimage.__file__).parent / "data" / "coffee.png").read_bytes()
SIZE = (64, 48)
INPUT = NetworkInput(SIZE)


@pytest.fixture
def decoder() -> Iterator[IsolatedDecoder]:
    with isolated_decoder() as decoder:
        yield decoder


@pytest.fixture(scope="module")
def slow() -> bytes:
    return slow_jpeg()


def pids(decoder: IsolatedDecoder) -> list[int]:
    return [worker._process.pid for worker in decoder._workers]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def isolated(processes: IsolatedDecoder, data: bytes, **options: Any) -> Decoded:
    """What `decode_views` gives at `SIZE`."""
    wanted = INPUT._replace(**options)
    return processes(data, [wanted])[wanted]


def reason(function: Callable[..., Any], data: bytes) -> str:
    with pytest.raises(ImageError) as error:
        function(data, [INPUT])
    assert str(error.value).isprintable()
    return str(error.value)


def same(one: Decoded, other: Decoded) -> bool:
    """Whether pixels and signature are equal."""
    return all(np.array_equal(*parts) for parts in zip(one, other, strict=True))


def ends(condition: Callable[[], bool]) -> bool:
    """Whether the condition comes true within a time in which it must."""
    for _ in range(12_000):
        if condition():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("resize", RESIZES)
def test_the_pixels_are_the_same(decoder: IsolatedDecoder, resize: str) -> None:
    here, there = decode_views(PHOTOGRAPH, SIZE, resize), isolated(decoder, PHOTOGRAPH, resize=resize)
    assert here.pixels.dtype == there.pixels.dtype
    assert same(here, there)


def test_views_are_the_same_too(decoder: IsolatedDecoder) -> None:
    views = ("original", "crops-3", *views_of("rotation_range=40 zoom_range=0.2", 3))
    assert same(decode_views(PHOTOGRAPH, SIZE, views=views), isolated(decoder, PHOTOGRAPH, views=views))


def test_several_inputs_are_the_same_too(decoder: IsolatedDecoder) -> None:
    inputs = [INPUT, NetworkInput((32, 32), "bilinear"), NetworkInput((40, 40), views=("flip-1", "original"))]
    here, there = decode_inputs(PHOTOGRAPH, inputs), decoder(PHOTOGRAPH, inputs)
    assert list(there) == inputs and all(same(here[wanted], there[wanted]) for wanted in inputs)


@pytest.mark.parametrize("version", DECODERS)
def test_notes_are_the_same_too(decoder: IsolatedDecoder, version: int) -> None:
    picture = Image.open(io.BytesIO(PHOTOGRAPH)).convert("RGB")
    picture.putalpha(0)
    file = io.BytesIO()
    picture.save(file, "PNG")
    there = isolated(decoder, file.getvalue(), decoder=version)
    assert same(decode_views(file.getvalue(), SIZE, decoder=version), there)
    assert there.note == ("alpha channel 0 everywhere: not used" if version == 3 else "")
    assert there.changed == "alpha channel 0 everywhere"


def test_reasons_are_the_same_and_the_process_stays(decoder: IsolatedDecoder) -> None:
    decoder(PHOTOGRAPH, [INPUT])
    first = pids(decoder)
    for data in (b"", b"text", PHOTOGRAPH[:1000], PHOTOGRAPH[:-1000], b"\x89PNG\r\n\x1a\n\n\0"):
        assert reason(decoder, data) == reason(decode_inputs, data)
    assert pids(decoder) == first


def test_threads_have_a_process_each(decoder: IsolatedDecoder, slow: bytes) -> None:
    threads = [threading.Thread(target=decoder, args=(slow, [INPUT])) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(pids(decoder))) == 3


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT])
def test_a_process_that_dies_fails_its_picture_only(decoder: IsolatedDecoder, slow: bytes, number: int) -> None:
    decoder(PHOTOGRAPH, [INPUT])
    (first,) = pids(decoder)
    killer = threading.Timer(0.3, os.kill, (first, number))
    killer.start()
    assert reason(decoder, slow) == f"the decoder died on it (signal {number:d})"
    assert same(isolated(decoder, PHOTOGRAPH), decode_views(PHOTOGRAPH, SIZE))
    assert pids(decoder) != [first]


def test_a_process_that_died_meanwhile_is_replaced_after_one_failure(decoder: IsolatedDecoder) -> None:
    decoder(PHOTOGRAPH, [INPUT])
    os.kill(pids(decoder)[0], signal.SIGKILL)
    assert reason(decoder, PHOTOGRAPH) == "the decoder died on it (signal 9)"
    decoder(PHOTOGRAPH, [INPUT])


def test_memory_has_a_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Image.new("RGB", (9000, 9000)).save(tmp_path / "bomb.png", compress_level=1)
    monkeypatch.setattr(isolation, "MEMORY_LIMIT", 400 * 10**6)
    with isolated_decoder() as decoder:
        assert "MemoryError" in reason(decoder, (tmp_path / "bomb.png").read_bytes())
        decoder(PHOTOGRAPH, [INPUT])


def test_time_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = "import time, featurize.decoding.decode;"
    endless += "featurize.decoding.decode.decode_inputs = lambda *_: time.sleep(100); main()"
    monkeypatch.setattr(isolation, "SECONDS", 1)
    monkeypatch.setattr(isolation, "START", isolation.START.removesuffix("main()") + endless)
    with isolated_decoder() as decoder:
        assert reason(decoder, PHOTOGRAPH) == "decoding it takes more than 1 s"


def test_a_process_that_stands_still_is_ended(monkeypatch: pytest.MonkeyPatch, slow: bytes) -> None:
    with isolated_decoder() as decoder:
        decoder(PHOTOGRAPH, [INPUT])  # a process takes its time to start
        monkeypatch.setattr(isolation, "SECONDS", 1)
        monkeypatch.setattr(isolation, "GRACE", 1)
        (first,) = pids(decoder)
        os.kill(first, signal.SIGSTOP)
        assert reason(decoder, slow) == "decoding it takes more than 1 s"
        assert not alive(first)


READY = "import os, struct, sys; os.write(1, struct.pack('<cQ', b'h', 0)); os.read(0, 10**6);"


@pytest.mark.parametrize(
    "answer",
    [
        "b'p', 2**62",
        "b'p', 5",
        "b'p', 64 * 48 * 3 + 24 * 24 * 3",
        "b'p', 64 * 48 * 3 + 24 * 24 * 3 + 5000",
        "b'r', 2**40",
        "b'r', 10**9",
        "b'x', 0",
        "b'm', 2**63",
        "b'h', 0",
    ],
)
def test_what_a_process_says_is_not_believed(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    monkeypatch.setattr(isolation, "START", READY + f"os.write(1, struct.pack('<cQ', {answer})); os.read(0, 1)")
    with isolated_decoder() as decoder:
        assert reason(decoder, b"x") is not None
        assert pids(decoder) == []


def test_a_reason_is_one_printable_line(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "'\\x1b[2Jevil\\n\\udcff'.encode('utf-8', 'surrogatepass')"
    answer = "os.write(1, struct.pack('<cQ', b'r', len(t)) + t)"
    monkeypatch.setattr(isolation, "START", f"{READY} t = {text}; {answer}; os.read(0, 1)")  # more is sent
    with isolated_decoder() as decoder:
        assert reason(decoder, b"x").startswith("?[2Jevil?")


def test_where_no_process_can_be_had_it_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "START", "raise SystemExit(3)")
    with isolated_decoder() as decoder, pytest.raises(UserError, match=r"exit status 3.*leave out --isolate"):
        decoder(PHOTOGRAPH, [INPUT])


@pytest.mark.parametrize("busy", [False, True])
def test_processes_end_with_a_parent_that_is_killed(tmp_path: Path, slow: bytes, busy: bool) -> None:
    (tmp_path / "slow.jpg").write_bytes(slow)
    program = f"""
from featurize.decoding.decode import NetworkInput
from featurize.decoding.isolation import IsolatedDecoder
from threading import Thread
import time
decoder = IsolatedDecoder()
slow = open({str(tmp_path / "slow.jpg")!r}, "rb").read()
Thread(target=decoder, args=(slow, [NetworkInput((8, 8))]), daemon=True).start()
while not decoder._workers or ({busy} is bool(decoder._idle)):
    time.sleep(0.01)
print(decoder._workers[0]._process.pid, flush=True)
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    assert parent.stdout
    child = int(parent.stdout.readline())
    assert alive(child)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert ends(lambda: not alive(child))


def test_rows_are_the_same_from_a_program_without_a_main_guard(
    surfaces: Path, warm_cache: Path, tmp_path: Path
) -> None:
    program = f"import pipeline; pipeline.features({str(surfaces)!r}, backbone='nano', cache_dir='cache', isolate=True)"
    (tmp_path / "program.py").write_text(program)
    subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, check=True, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}
    )
    paths = sorted(map(str, surfaces.glob("*/*.png")))
    rows = [pipeline.open_extractor(str(cache), **SPEC).features(paths) for cache in (tmp_path / "cache", warm_cache)]
    assert [outcome.computed for outcome, _ in rows] == [0, 0]
    assert np.array_equal(rows[0][1], rows[1][1])


def test_the_featurizer_and_a_loaded_model_isolate_too(
    surfaces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []
    worker = isolation._Worker
    monkeypatch.setattr(isolation, "_Worker", lambda *given: started.append(1) or worker(*given))
    cache = str(tmp_path / "cache")
    paths = sorted(map(str, surfaces.glob("*/*.png")))
    pipeline.Featurizer("nano", cache_dir=cache, isolate=True).transform(paths)
    assert started
    del started[:]
    pipeline.train(str(surfaces), model=str(tmp_path / "m.joblib"), cache_dir=cache, **SPEC)
    assert not started
    model = pipeline.load(str(tmp_path / "m.joblib"), cache_dir=str(tmp_path / "other"), isolate=True)
    assert list(model.predict(paths[:2])) == ["brick", "brick"]
    assert started
