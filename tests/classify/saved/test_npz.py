"""Arrays of somebody hostile, their digest being right: one line, bounded time and memory."""

import io
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY
from helpers.models.model_records import refusal, replace_arrays, saved_model, texture_head

from classify.saved.model_files import arrays_path
from classify.saved.npz import read_arrays

pytestmark = pytest.mark.usefixtures("no_hang")


@pytest.fixture
def model(tmp_path: Path) -> str:
    return saved_model(tmp_path / "m.joblib", texture_head(), 240)


def npz(arrays: dict[str, Any], **options: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **options, **arrays)
    return file.getvalue()


def npy(descr: str, shape: str, content: bytes = b"") -> bytes:
    """An npy file whose header says whatever one likes."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(10 + len(header) + 1) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def genuine(model: str) -> dict[str, np.ndarray]:
    return read_arrays(Path(arrays_path(model)).read_bytes())


Change = Callable[[dict[str, np.ndarray]], dict[str, Any]]

CHANGES: dict[str, Change] = {
    "nothing": lambda _: {},
    "no bias": lambda a: {name: a[name] for name in a if name != "bias0"},
    "no classes": lambda a: {name: a[name] for name in a if name != "classes"},
    "no identity": lambda a: {name: a[name] for name in a if name != "about"},
    "no pictures": lambda a: {name: a[name] for name in a if name != "trained_on"},
    "one more": lambda a: a | {"more": np.zeros(3)},
    "a gap": lambda a: a | {"kernel2": np.zeros((4, 4)), "bias2": np.zeros(4)},
    "objects": lambda a: a | {"bias0": np.array([print] * 4, object)},
    "not a number": lambda a: a | {"bias0": np.full(4, np.nan)},
    "infinite": lambda a: a | {"kernel0": np.full_like(a["kernel0"], np.inf)},
    "whole numbers": lambda a: a | {"bias0": np.zeros(4, int)},
    "complex": lambda a: a | {"bias0": np.zeros(4, complex)},
    "text": lambda a: a | {"bias0": np.array(["a", "b", "c", "d"])},
    "dates": lambda a: a | {"bias0": np.zeros(4, "M8[s]")},
    "fields": lambda a: a | {"bias0": np.zeros(4, [("a", float)])},
    "other order of bytes": lambda a: a | {"bias0": np.zeros(4, ">f8")},
    "too few": lambda a: a | {"bias0": np.zeros(3)},
    "a kernel of one dimension": lambda a: a | {"kernel0": np.zeros(59)},
    "a kernel of three": lambda a: a | {"kernel0": np.zeros((59, 4, 1))},
    "a kernel of none": lambda a: a | {"kernel0": np.float64(1)},
    "other classes": lambda a: a | {"classes": np.array(["brick", "coins", "grass", "moon"])},
    "a class twice": lambda a: a | {"classes": np.array(["brick", "coins", "grass", "grass"])},
    "classes in a table": lambda a: a | {"classes": np.array([["brick", "coins"], ["grass", "gravel"]])},
    "classes of no dimension": lambda a: a | {"classes": np.str_("brick")},
    "one class": lambda a: a | {"classes": np.array(["brick"]), "bias0": np.zeros(1), "kernel0": np.zeros((59, 1))},
    "temperature 0": lambda a: a | {"temperature": np.float64(0)},
    "no temperature": lambda a: a | {"temperature": np.float64(np.nan)},
    "temperatures": lambda a: a | {"temperature": np.ones(4)},
    "normalize in words": lambda a: a | {"normalize": np.str_("\x1b[2J\nerase")},
    "normalize as number": lambda a: a | {"normalize": np.float64(1)},
    "standard without scale": lambda a: a | {"normalize": np.str_("standard")},
    "scale without standard": lambda a: a | {"mean": np.zeros(59), "scale": np.ones(59)},
    "scale 0": lambda a: a | {"normalize": np.str_("standard"), "mean": np.zeros(59), "scale": np.zeros(59)},
    "scale too short": lambda a: a | {"normalize": np.str_("standard"), "mean": np.zeros(5), "scale": np.ones(5)},
    "pictures of 31 bytes": lambda a: a | {"trained_on": np.zeros((240, 31), np.uint8)},
    "pictures as floats": lambda a: a | {"trained_on": np.zeros((240, 32))},
    "identity is no JSON": lambda a: a | {"about": np.frombuffer(b"[" * 100_000, np.uint8)},
    "identity is no object": lambda a: a | {"about": np.frombuffer(b"[]", np.uint8)},
    "identity is empty": lambda a: a | {"about": np.frombuffer(b"{}", np.uint8)},
    "identity with numbers": lambda a: a | {"about": np.zeros(10)},
    "identity without end": lambda a: a | {"about": np.frombuffer(b'{"head": 1e999}', np.uint8)},
    "thousands of layers": lambda a: a | {f"kernel{number}": np.zeros((1, 1)) for number in range(3000)},
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_arrays_that_are_no_head_are_refused(model: str, change: str) -> None:
    replace_arrays(model, npz(CHANGES[change](genuine(model))))
    refusal(model)
    refusal(model, no_pickle=True)


ARCHIVES: dict[str, bytes] = {
    "empty": b"",
    "text": b"classes",
    "one array": npy("'<f8'", "(3,)", bytes(24)),
    "other arrays": npz({"kernel0": np.zeros((10, 10))}),
    "compressed": zipped({"kernel0": npy("'<f8'", "(4,)", bytes(32))}, zipfile.ZIP_DEFLATED),
    "a bomb": zipped({"kernel0": npy("'<f8'", f"({2**22},)", bytes(2**25))}, zipfile.ZIP_DEFLATED),
    "bzip2": zipped({"kernel0": npy("'<f8'", "(4,)", bytes(32))}, zipfile.ZIP_BZIP2),
    "a trillion": zipped({"kernel0": npy("'<f8'", "(1000000, 1000000)")}),
    "beyond 64 bits": zipped({"kernel0": npy("'<f8'", "(9223372036854775807, 9223372036854775807)")}),
    "negative": zipped({"kernel0": npy("'<f8'", "(-1, -4)", bytes(32))}),
    "no bytes each": zipped({"kernel0": npy("'<U0'", "(1000000000000,)")}),
    "no shape": zipped({"kernel0": npy("'<f8'", "None", bytes(32))}),
    "objects": zipped({"kernel0": npy("'|O'", "(1,)", b"cposix\nsystem\n(S'false'\ntR.")}),
    "a type of types": zipped({"kernel0": npy("[('a', '<f8')]", "(4,)", bytes(32))}),
    "no type": zipped({"kernel0": npy("'nonsense'", "(4,)", bytes(32))}),
    "a calculation": zipped({"kernel0": npy("__import__('os').system('false')", "(4,)", bytes(32))}),
    "no Unicode": zipped({"classes": npy("'<U1'", "(4,)", b"\xff" * 16)}),
    "a header that is not closed": zipped({"kernel0": npy("'<f8'", "((4,)", bytes(32))}),
    "brackets": zipped({"kernel0": npy("(" * 5000 + ")" * 5000, "(4,)")}),
    "minuses": zipped({"kernel0": npy("'<f8'", "(" + "-" * 9000 + "1,)")}),
    "a long header": zipped({"kernel0": npy("'<f8'" + " " * 50_000, "(4,)", bytes(32))}),
    "no array": zipped({"kernel0": b"PK"}),
    "many": zipped({f"a{number}": npy("'<f8'", "()", bytes(8)) for number in range(20_000)}),
    "paths": zipped({"../../../etc/passwd": npy("'<f8'", "()", bytes(8))}),
}


@pytest.mark.parametrize("archive", ARCHIVES)
def test_archives_that_hold_something_else_are_refused(model: str, archive: str) -> None:
    replace_arrays(model, ARCHIVES[archive])
    refusal(model)


def test_names_that_are_there_twice_and_bytes_that_are_shared_are_refused() -> None:
    content = npy("'<f8'", "(1000,)", bytes(8000))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("a.npy", content)
        archive.writestr("a.npy", content)
    with pytest.raises(ValueError, match="two of one name"):
        read_arrays(file.getvalue())
    whole = bytearray(zipped({f"a{number}": content for number in range(4)}))
    first = whole.index(b"PK\x01\x02")
    for _ in range(4):  # all four entries of the directory point at the first file, which is cut out of the others
        entry = whole.index(b"PK\x01\x02", first)
        whole[entry + 42 : entry + 46] = struct.pack("<I", 0)
        first = entry + 4
    with pytest.raises(ValueError):
        read_arrays(bytes(whole))


@pytest.mark.parametrize("position", ["compress_size", "file_size"])
def test_sizes_that_lie_take_no_memory(position: str) -> None:
    data = bytearray(zipped({"a": npy("'<f8'", "(4,)", bytes(32))}))
    entry = data.index(b"PK\x01\x02") + {"compress_size": 20, "file_size": 24}[position]
    data[entry : entry + 4] = struct.pack("<I", 2**32 - 2)
    with pytest.raises(ValueError):
        read_arrays(bytes(data))


def test_columns_first_is_read_as_it_was_written() -> None:
    arrays = {"a": np.asfortranarray(np.arange(12.0).reshape(3, 4)), "b": np.str_("text"), "c": np.zeros((0, 3))}
    found = read_arrays(npz(arrays))
    for name, array in arrays.items():
        assert np.array_equal(found[name], array) and found[name].dtype == np.asarray(array).dtype
    assert found["a"].flags.f_contiguous


def test_memory_stays_within_a_bound_whatever_is_asked_for(model: str) -> None:
    files = {name: ARCHIVES[name] for name in ("a bomb", "a trillion", "no bytes each", "many")}
    folder = Path(model).parent
    for number, data in enumerate(files.values()):
        (folder / f"{number}.npz").write_bytes(data)
    code = """
import resource, sys
from classify.saved.npz import read_arrays
files = [open(path, "rb").read() for path in sys.argv[1:]]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for data in files:
    try:
        read_arrays(data)
    except ValueError:
        continue
    raise SystemExit(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    command = [sys.executable, "-c", code, *(str(folder / f"{number}.npz") for number in range(len(files)))]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100_000  # KB; the bomb alone would be 33 MB, the trillion 8 TB
