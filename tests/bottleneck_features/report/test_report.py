"""The plain-text report stays readable with long names, strange names and many classes."""

import numpy as np
import pytest
from rich.cells import cell_len

from bottleneck_features.terminal.score_text import format_report
from classify.scoring.metrics import score


def report(names, truth, predicted) -> list[str]:
    names = np.array(names)
    given = np.full((len(truth), len(names)), 1 / len(names))
    return format_report(
        score(names[truth], names[predicted], given, names, training_counts=np.ones(len(names)))
    ).splitlines()


def test_two_classes_show_every_figure():
    lines = report(["alpaca", "not alpaca"], [0, 0, 0, 1], [0, 0, 1, 1])
    assert lines[0] == "accuracy  0.7500  (4 pictures; 95% interval 0.3006 to 0.9544 by pictures)"
    assert lines[1].startswith("balanced  0.8333") and lines[2].startswith("macro F1  0.7333")
    assert lines[3].startswith("baseline  0.7500") and lines[3].endswith("; balanced 0.5000)")
    assert lines[4].startswith("log loss  0.6931")
    assert [line.split() for line in lines[6:9]] == [
        ["class", "precision", "recall", "f1", "pictures", "as", "1", "as", "2"],
        ["1", "alpaca", "1.0000", "0.6667", "0.8000", "3", "2", "1"],
        ["2", "not", "alpaca", "0.5000", "1.0000", "0.6667", "1", "0", "1"],
    ]


def test_many_classes_show_the_worst_and_the_most_frequent_mistakes():
    names = [f"breed {i:03}" for i in range(120)]
    truth = np.repeat(np.arange(120), 3)
    predicted = truth.copy()
    predicted[truth == 77] = 5
    predicted[0] = 1
    lines = report(names, truth, predicted)
    assert len(lines) < 15
    table = next(i for i, line in enumerate(lines) if line.startswith("6 of 120 classes"))
    assert lines[table + 1].startswith("breed 077")
    assert lines[-1] == "mistakes 4, most of them: 3 breed 077 taken for breed 005, 1 breed 000 taken for breed 001"


def test_many_classes_without_error_say_so():
    assert report([f"{i:02}" for i in range(20)], range(20), range(20))[-1] == "no mistakes"


@pytest.mark.parametrize(
    "name", ["a very long name of a class that " * 4 + "ends here", "犬" * 40, "line\nbreak \x1b[31mred", "caf\udce9"]
)
def test_any_name_keeps_one_line_and_its_columns(name):
    lines = report([name, "other"], [0, 1], [0, 0])
    plain = report(["x", "other"], [0, 1], [0, 0])
    assert len(lines) == len(plain)
    assert all(line.isprintable() and cell_len(line) <= 110 for line in lines)
    header = next(i for i, line in enumerate(lines) if line.startswith("  class"))
    assert cell_len(lines[header]) == cell_len(lines[header + 1]) == cell_len(lines[header + 2])


def test_long_names_that_differ_at_the_end_stay_different():
    common = "a common beginning that fills the line "
    lines = report([common + "one", common + "two"], [0, 1], [0, 1])
    assert sum(line.split("  ")[0].endswith("one") for line in lines) == 1
    assert sum(line.split("  ")[0].endswith("two") for line in lines) == 1
