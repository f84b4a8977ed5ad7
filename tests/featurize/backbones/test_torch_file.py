"""Files of torch are read without torch: strides are heeded, and nothing but tensors comes out of a pickle."""

import os
import pickle
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.files.torch_files import (
    EMPTY,
    MAGIC,
    SYSTEM,
    VERSION,
    Call,
    Named,
    Persistent,
    encoded,
    storage,
    tensor,
    torch_file,
)

from cache.errors import UserError
from featurize.backbones.torch_file import read_torch_file

NUMBERS = {"7": np.arange(6, dtype="<f4"), "8": np.array([2**40], "<i8")}
STATE = {
    "wide": tensor(storage("7", 6), (2, 3), (3, 1)),
    "transposed": tensor(storage("7", 6), (3, 2), (1, 3)),
    "last two": tensor(storage("7", 6), (2,), (1,), 4),
    "none": tensor(storage("7", 6), (0, 3), (3, 1), 6),
    "steps": tensor(storage("8", 1, "torch LongStorage"), (), ()),
}
DEEP = b")" + b"\x85" * 50_000  # a tuple in a tuple in a tuple ...


def short(value: Any) -> str:
    return repr(value)[-70:]


def read(tmp_path: Path, data: bytes) -> dict[str, np.ndarray]:
    path = tmp_path / "some.pth"
    path.write_bytes(data)
    return read_torch_file(str(path))


def refusal(tmp_path: Path, data: bytes) -> str:
    """The one line that says why a file is refused."""
    with pytest.raises(UserError) as caught:
        read(tmp_path, data)
    message = str(caught.value)
    assert "\n" not in message and str(tmp_path / "some.pth") in message and len(message) < 600
    return message


@pytest.fixture
def memory() -> Iterator[None]:
    """Whatever the body reads takes little."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


def test_tensors_are_read_with_offset_size_and_stride(tmp_path: Path) -> None:
    found = read(tmp_path, torch_file(STATE, NUMBERS))
    assert found["wide"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["transposed"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert found["last two"].tolist() == [4, 5]
    assert found["none"].shape == (0, 3)
    assert found["steps"] == 2**40 and found["steps"].shape == ()
    assert [array.dtype.str for array in found.values()] == ["<f4"] * 4 + ["<i8"]
    assert not any(array.flags.writeable for array in found.values())


def test_the_attributes_of_a_state_dict_are_left_out(tmp_path: Path) -> None:
    attributes = {"_metadata": {"": {"version": 2}}, "items": None, "__setstate__": Named("collections OrderedDict")}
    state = encoded(EMPTY) + b"(X\x04\0\0\0wide" + encoded(STATE["wide"]) + b"u" + encoded(attributes) + b"b"
    assert read(tmp_path, torch_file(state, {"7": NUMBERS["7"]})).keys() == {"wide"}


@pytest.mark.usefixtures("memory")
def test_a_place_to_remember_may_have_any_number(tmp_path: Path) -> None:
    key = b"X\x04\0\0\0wide" + b"r\xff\xff\xff\x7f"  # at an index that Python's own unpickler takes 32 GiB for
    state = b"}" + key + encoded(STATE["wide"]) + b"s"
    assert read(tmp_path, torch_file(state, {"7": NUMBERS["7"]})).keys() == {"wide"}


def test_only_the_file_with_the_digest_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    import featurize.backbones.torch_file

    data = torch_file(STATE, NUMBERS)
    read(tmp_path, data)
    path, right = str(tmp_path / "some.pth"), hashlib.sha256(data).hexdigest()
    assert read_torch_file(path, right).keys() == STATE.keys()
    monkeypatch.setattr(featurize.backbones.torch_file, "_read_pickle", None)  # before anything is unpickled
    with pytest.raises(UserError, match=f"its SHA-256 is {right}, not abab"):
        read_torch_file(path, "ab" * 32)


class Bomb:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.called = function, arguments

    def __reduce__(self) -> Any:
        return self.called


@pytest.mark.parametrize("protocol", range(5))
def test_no_function_is_called(tmp_path: Path, protocol: int) -> None:
    from collections import Counter, OrderedDict

    mark = tmp_path / "exploded"
    for bomb in (Bomb(os.system, f"touch {mark}"), Bomb(eval, f"open({str(mark)!r}, 'w')"), Bomb(os.mkdir, str(mark)),
                 Bomb(Counter, "ab"), Bomb(OrderedDict, [("a", 1)])):  # fmt: skip
        for value in (bomb, {"name": bomb}, [bomb]):
            for place in range(5):
                honest = [pickle.dumps(one, 2) for one in (MAGIC, VERSION, SYSTEM, {}, [])]
                honest[place] = pickle.dumps(value, protocol)
                assert "cannot be used" in refusal(tmp_path, b"".join(honest))
    assert not mark.exists()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (Named("posix system"), "asks for 'posix system'"),
        (Named("builtins getattr"), "'builtins getattr'"),
        (Named("torch._utils _rebuild_tensor"), "_rebuild_tensor'"),
        (Named("collections OrderedDict.fromkeys"), "OrderedDict.fromkeys'"),
        (Call(Named("collections OrderedDict"), ({},)), "no tensor"),
        (Call("collections OrderedDict", ()), "no tensor"),
        (Call(Named("torch FloatStorage"), (10**12,)), "no tensor"),
        (Call(Named("torch._utils _rebuild_tensor_v2"), ()), "no tensor"),
        (EMPTY, "no state dict"),
        (Named("collections OrderedDict"), "no state dict"),
        (b"ccollections\nOrderedDict\n)\x81", "NEWOBJ"),
        (b"(icollections\nOrderedDict\n", "INST"),
        (b"\x82\x01", "EXT1"),
        (b"X\x05\0\0\0posixX\x06\0\0\0system\x93", "STACK_GLOBAL"),
        (b"X\xff\xff\xff\x7f", "expected 2147483647 bytes"),
        (b"\x8a\xff\x01", "not enough data in stream to read long1"),
        (b"\x8b\xff\xff\xff\x7f", "not enough data in stream to read long4"),
        (b"I" + b"9" * 5000 + b"\n", "digits"),
        (b"h\x07", "7"),
        (b"t", "pop from empty list"),
        (b"\x87", "more than there is"),
        (b"N" * 100_001, "more than 100000 operations"),
        (b"}" + DEEP + b"Ns", "no text"),
        (b"N" + DEEP + b"a", "no list"),
        (b"NNNs", "no text"),
        (b"}(X\x01\0\0\0au", "argument 2 is shorter"),
    ],
    ids=short,
)
def test_a_state_that_is_none_is_refused(tmp_path: Path, value: Any, reason: str) -> None:
    assert reason in refusal(tmp_path, torch_file({"x": value}, {}))


@pytest.mark.parametrize(
    "wrong",
    [
        tensor(storage("7", 6), (2, 3), (3, 1), -1),
        tensor(storage("7", 6), (2, 3), (3, 1), 1),
        tensor(storage("7", 6), (2, 3), (3, -1), 2),
        tensor(storage("7", 6), (2, 3), (4, 1)),
        tensor(storage("7", 6), (7,), (1,)),
        tensor(storage("7", 6), (7,), (0,)),
        tensor(storage("7", 6), (6, 6), (0, 1)),
        tensor(storage("7", 6), (2**70,), (1,)),
        tensor(storage("7", 6), (2**62, 2**62, 2**62), (0, 0, 0)),
        tensor(storage("7", 6), (6,), (2**70,)),
        tensor(storage("7", 6), (-1, 3), (3, 1)),
        tensor(storage("7", 6), (2, 3), (1,)),
        tensor(storage("7", 6), (1,) * 9, (1,) * 9),
        tensor(storage("7", 6), ("2", 3), (3, 1)),
        tensor(storage("7", 6), (True, 3), (3, 1)),
        tensor(storage("7", 0), (), ()),
    ],
    ids=short,
)
def test_a_tensor_that_reaches_out_of_its_storage_is_refused(tmp_path: Path, wrong: Call) -> None:
    assert "reaches out of its storage" in refusal(tmp_path, torch_file({"wrong": wrong}, {"7": NUMBERS["7"]}))


@pytest.mark.parametrize(
    "wrong",
    [
        Persistent("storage"),
        Persistent(("module", Named("torch FloatStorage"), "7", "cpu", 6, None)),
        storage("7", 6, "collections OrderedDict"),
        storage("7", -6),
        storage("7", (6.0).hex()),
        storage("7", 6, view=("8", 0, 6)),
        Persistent(("storage", "torch FloatStorage", "7", "cpu", 6, None)),
        Persistent(DEEP),
    ],
    ids=short,
)
def test_a_storage_of_other_things_is_refused(tmp_path: Path, wrong: Any) -> None:
    state = {"wrong": tensor(wrong, (6,), (1,))}
    assert "a storage that is none" in refusal(tmp_path, torch_file(state, {"7": NUMBERS["7"]}))


@pytest.mark.usefixtures("memory")
def test_counts_that_the_file_does_not_hold_take_no_memory(tmp_path: Path) -> None:
    for count in (2**31, 2**62, 2**80):
        state = {"huge": tensor(storage("7", count), (count,), (1,))}
        assert "count" in refusal(tmp_path, torch_file(state, {"7": NUMBERS["7"]}))
    huge = torch_file({"huge": tensor(storage("7", 2**62), (2**62,), (1,))}, {}, keys=["7"])
    assert "cut short" in refusal(tmp_path, huge + (2**62).to_bytes(8, "little") + bytes(24))


@pytest.mark.parametrize(
    "keys", [[], ["7"], ["7", "8", "9"], ["7", "7", "8"], "78", {}, [DEEP, DEEP], [7, 8]], ids=short
)
def test_storages_that_the_tensors_do_not_name_are_refused(tmp_path: Path, keys: Any) -> None:
    assert "storages" in refusal(tmp_path, torch_file(STATE, NUMBERS, keys=keys))


def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    data = torch_file(STATE, NUMBERS)
    for length in range(len(data)):
        assert "cannot be used" in refusal(tmp_path, data[:length])


def test_a_changed_byte_never_does_more_than_refuse_or_change_numbers(tmp_path: Path) -> None:
    data, random = torch_file(STATE, NUMBERS), np.random.default_rng(0)
    for _ in range(500):
        changed = bytearray(data)
        for place in random.integers(0, len(data), random.integers(1, 4)):
            changed[place] = random.integers(256)
        try:
            found = read(tmp_path, bytes(changed))
        except UserError:
            continue
        for array in found.values():
            assert array.size <= 6 and array.tobytes() is not None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no file of torch.save"),
        (b"PK\x03\x04" + bytes(50), "_use_new_zipfile_serialization=False"),
        (b"\x89HDF\r\n\x1a\n" + bytes(50), "no file of torch.save"),
        (pickle.dumps({"a": 1}, 2), "no file of torch.save"),
        (torch_file(STATE, NUMBERS, system={"little_endian": False}), "not little-endian"),
        (torch_file(STATE, NUMBERS, system=[]), "cannot be used"),
        (torch_file([], {}), "no state dict"),
        (torch_file({"epoch": 3}, {}), "no state dict"),
    ],
    ids=short,
)
def test_other_files_are_refused_with_the_reason(tmp_path: Path, data: bytes, reason: str) -> None:
    assert reason in refusal(tmp_path, data)


def test_a_file_larger_than_any_of_these_networks_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.pth"
    with open(path, "wb") as file:
        file.truncate(200 * 1024**2)  # sparse
    with pytest.raises(UserError, match="it has 209715200 bytes, more"):
        read_torch_file(str(path))
