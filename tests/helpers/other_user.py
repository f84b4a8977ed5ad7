"""Permissions seen by somebody whom they bind: root becomes user 65534 for that."""

import codecs
import contextlib
import os
import tempfile
from collections.abc import Iterator

import pytest

NOBODY = 65534


@contextlib.contextmanager
def not_root() -> Iterator[None]:
    """As a user whom permissions bind."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


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
