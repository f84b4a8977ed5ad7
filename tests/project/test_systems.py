"""Windows and macOS, as far as this system can show: without what only POSIX systems have, and with Windows' locks."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY
from PIL import Image

from cache.files.lock import holding
from featurize.pictures.sources import slashed

# What a program of Windows cannot import, and finds neither in `os` nor in `signal` nor in `select`. Libraries are
# imported before, since theirs is another build there. `msvcrt` is stood in for by the locks of this system.
HIDE = """
import errno, fcntl, os, select, signal, sys, types
import h5py, joblib.externals.loky, matplotlib.figure, numpy, openvino, pandas, PIL.Image, psutil, scipy.optimize
import click, concurrent.futures.thread, rich.progress, sklearn.linear_model, sklearn.model_selection, sqlite3

def locking(file, mode, count):
    flags = fcntl.LOCK_UN if mode == 0 else fcntl.LOCK_EX | (fcntl.LOCK_NB if mode == 2 else 0)
    try:
        fcntl.flock(file, flags)
    except BlockingIOError:
        raise PermissionError(errno.EACCES, "Permission denied") from None

sys.modules["msvcrt"] = types.SimpleNamespace(locking=locking, LK_UNLCK=0, LK_LOCK=1, LK_NBLCK=2)
for name in ("fcntl", "grp", "pwd", "resource", "syslog", "termios", "tty"):
    sys.modules[name] = None
for module, names in (
    (os, "O_NOFOLLOW O_NONBLOCK fork preadv pread pwrite readv posix_fallocate register_at_fork sched_getaffinity"),
    (signal, "SIGHUP SIGALRM SIGKILL SIGQUIT SIGUSR1 SIGUSR2 alarm setitimer pthread_sigmask"),
    (select, "poll epoll"),
):
    for name in names.split():
        delattr(module, name)
"""


def without_posix(code: str, *words: object) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\n{HIDE}\n{code}"
    return subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False)


def test_features_are_computed_and_a_head_is_trained_and_predicts(
    photos: Path, warm_cache: Path, tmp_path: Path
) -> None:
    cache = shutil.copytree(warm_cache, tmp_path / "cache")
    for name in ("brick", "grass"):
        with Image.open(photos / name / f"{name}.3.png") as picture:
            picture.rotate(180).save(photos / name / "turned.png")
    code = (
        "import json, pipeline\n"
        "data, cache, model, picture = sys.argv[1:]\n"
        "report = pipeline.train(data, 'knn', model=model, backbone='nano', cache_dir=cache)\n"
        "labels = list(pipeline.predict([picture], model))\n"
        "print(json.dumps([report['computed'], report['accuracy'], labels, 'tensorflow' in sys.modules]))"
    )
    done = without_posix(code, photos, cache, tmp_path / "knn.joblib", photos / "grass" / "turned.png")
    assert done.returncode == 0, done.stderr
    computed, accuracy, labels, tensorflow = json.loads(done.stdout)
    assert computed == 2 and accuracy > 0.5 and labels == ["grass"] and not tensorflow
    assert "no locks" not in done.stderr


def test_a_lock_keeps_others_out(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = (
        "import os\nfrom cache.files.system_calls import release_lock, take_lock\n"
        "file = os.open(sys.argv[1], os.O_RDWR)\n"
        "try:\n    take_lock(file, wait=False)\nexcept BlockingIOError:\n    print('taken by another')\n"
        "else:\n    release_lock(file); take_lock(file, wait=True); print('free')"
    )
    with holding(str(path)):
        assert without_posix(code, path).stdout == "taken by another\n"
    assert without_posix(code, path).stdout == "free\n"


def test_the_command_line_starts(tmp_path: Path) -> None:
    code = "import runpy; sys.argv[0] = 'bottleneck'; runpy.run_module('bottleneck_features', run_name='__main__')"
    done = without_posix(code, "cache", "ls", "--cache-dir", tmp_path / "cache")
    assert done.returncode == 0 and "0 rows" in done.stdout, done.stderr


def test_relative_paths_have_slashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sep", "\\")
    assert slashed(r"train\cat\1.jpg") == "train/cat/1.jpg"
