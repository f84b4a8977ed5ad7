"""Permissions seen by somebody whom they bind: for that, root's thread asks for files as user 65534."""

import codecs
import contextlib
import ctypes
import os
import tempfile
from collections.abc import Iterator

import pytest

NOBODY = 65534


@contextlib.contextmanager
def not_root() -> Iterator[None]:
    """As a user whom permissions bind.

    This thread alone, and those that it starts: `seteuid` would stop every thread of the process to change it, of which
    the libraries have many.
    """
    if os.geteuid():
        yield
        return
    set_user = getattr(ctypes.CDLL(None), "setfsuid", None)
    if set_user is None:
        pytest.skip("permissions do not bind root, who cannot be another user in one thread here")
    set_user(NOBODY)
    try:
        yield
    finally:
        set_user(0)


@contextlib.contextmanager
def read_only(folder: str) -> Iterator[None]:
    """`folder` and all in it as somebody sees it who may read but not write."""
    for path, _, names in os.walk(folder):
        for name in names:
            os.chmod(os.path.join(path, name), 0o444)
        os.chmod(path, 0o555)
    try:
        with not_root():
            if not os.access(folder, os.R_OK, effective_ids=True):
                pytest.skip(f"another user may not enter {folder}")
            yield
    finally:
        for path, _, _ in os.walk(folder):
            os.chmod(path, 0o755)


def require_readable_code() -> None:
    """Skip the test where that user may not read this project or its libraries: parts of them are imported late."""
    codecs.lookup("cp437")  # of zip files: a module of Python itself, which that user may not be able to read
    with not_root():
        for path in (__file__, pytest.__file__):
            if not os.access(path, os.R_OK, effective_ids=True):
                pytest.skip(f"another user may not read {path}")


@contextlib.contextmanager
def folder_for_all() -> Iterator[str]:
    """A folder that every user may enter, which `tmp_path` is not."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield folder
