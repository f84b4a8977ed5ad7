"""Model files of somebody hostile: each leaves a mark, a file, when it is unpickled."""

import builtins
import operator
import os
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np


class Call:
    """Its pickle is a call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any):
        self.reduced = function, arguments

    def __reduce__(self) -> Any:
        return self.reduced


class Items:
    """Its pickle makes a harmless dictionary, and the call comes with its items."""

    def __init__(self, call: Call):
        self.call = call

    def __reduce__(self) -> Any:
        return dict, (), None, None, iter([("mark", self.call)])


def touch(mark: Path) -> Call:
    return Call(open, str(mark), "w")


def code(mark: Path) -> str:
    return f"open({str(mark)!r}, 'w').close()"


def deep(mark: Path) -> Any:
    inner: Any = touch(mark)
    for _ in range(100):
        inner = [inner]
    return inner


def chain(mark: Path) -> Call:
    """getattr(__import__("os"), "system")("touch mark"), each made by the pickle of the one before."""
    return Call(operator.call, Call(getattr, Call(__import__, "os"), "system"), f"touch '{mark}'")


def objects(mark: Path) -> np.ndarray:
    array = np.empty(3, object)
    array[:] = [touch(mark), None, 7]
    return array


def disguised(mark: Path) -> dict[str, Any]:
    """As a model file has it, but for one thing more."""
    return {"estimator": touch(mark), "trained_on": np.zeros((1, 32), np.uint8), "about": {}}


def _raw(opcodes: Callable[[Path], bytes]) -> Callable[[str, Path], None]:
    return lambda path, mark: Path(path).write_bytes(opcodes(mark)) and None


def _of(made: Callable[[Path], Any], **options: Any) -> Callable[[str, Path], None]:
    return lambda path, mark: joblib.dump(made(mark), path, **options) and None


def _system(mark: Path) -> Call:
    return Call(os.system, f"touch '{mark}'")


PAYLOADS: dict[str, Callable[[str, Path], None]] = {
    "system": _of(_system),
    "subprocess": _of(lambda mark: Call(subprocess.call, ["touch", str(mark)])),
    "eval": _of(lambda mark: Call(eval, code(mark))),
    "exec": _of(lambda mark: Call(exec, code(mark))),
    "open": _of(touch),
    "mkdir": _of(lambda mark: Call(os.mkdir, str(mark))),
    "builtins": _of(lambda mark: Call(getattr(builtins, "exec"), code(mark))),  # noqa: B009
    "path": _of(lambda mark: Call(Path.touch, mark)),
    "disguised": _of(disguised),
    "in a list of lists": _of(deep),
    "in a dictionary": _of(lambda mark: {"a": {"b": (1, {"c": touch(mark)})}}),
    "in an array": _of(objects),
    "a chain": _of(chain),
    "as an item": _of(lambda mark: Items(touch(mark))),
    "protocol 0": _raw(lambda mark: pickle.dumps(touch(mark), protocol=0)),
    "protocol 1": _raw(lambda mark: pickle.dumps(touch(mark), protocol=1)),
    "protocol 2": _of(_system, protocol=2),
    "protocol 5": _raw(lambda mark: pickle.dumps(touch(mark), protocol=5)),
    "opcodes": _raw(lambda mark: f"cposix\nsystem\n(S\"touch '{mark}'\"\ntR.".encode()),
    "zlib": _of(disguised, compress=("zlib", 3)),
    "gzip": _of(disguised, compress=("gzip", 3)),
    "bz2": _of(disguised, compress=("bz2", 3)),
    "lzma": _of(disguised, compress=("lzma", 3)),
    "xz": _of(disguised, compress=("xz", 3)),
    "memory": _of(lambda mark: [touch(mark), Call(bytes, 2**28)]),
    "compressed zeros": _of(lambda mark: [touch(mark), np.zeros(2**22)], compress=("gzip", 9)),
    "recursion": _of(lambda mark: [touch(mark), Call(eval, "(lambda f: f(f))(lambda f: f(f))")]),
}
