"""What training takes, measured in a process of its own, is what is expected of it before."""

import subprocess
import sys

import pytest
from conftest import REPOSITORY

from classify.heads.head_table import HEADS, training_bytes

BLOCKS = 75  # MB, of fixed size: most of them for near-duplicates, in each thread


@pytest.mark.parametrize(
    ("head", "params", "rows", "classes"), [("svm", "kernel=rbf", 2500, 3), ("logreg", "", 8000, 300)]
)
def test_no_more_memory_is_taken_than_expected(head: str, params: str, rows: int, classes: int) -> None:
    words = ["--rows", rows, "--features", 16, "--classes", classes, "--heads", head, "--params", params]
    command = [sys.executable, "benchmarks/cost/memory.py", *map(str, words)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    _, peak, _, expected, *_ = done.stdout.splitlines()[-1].split()
    assert 0.5 * float(expected) < float(peak) <= float(expected) + BLOCKS


def test_an_rbf_kernel_is_expected_to_take_the_square_of_the_rows() -> None:
    linear, rbf = (training_bytes("svm", {"kernel": kernel}, 8000, 256, 5, 8000) for kernel in ("linear", "rbf"))
    assert linear < 2e8 and rbf > 1.1e9


@pytest.mark.parametrize("head", HEADS)
def test_more_classes_take_more_memory(head: str) -> None:
    few, many = (training_bytes(head, {}, 20_000, 64, classes, 20_000) for classes in (2, 1000))
    assert many - few > 20_000 * 998 * 8 * 3  # probabilities in float64, and more of their kind
