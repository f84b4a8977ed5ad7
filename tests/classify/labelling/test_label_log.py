"""The table that a person's labels are kept in: nothing that was confirmed is lost, whatever ends the process."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY
from hypothesis import given
from hypothesis import strategies as st

from cache.errors import UserError
from classify.labelling.label_log import NOT_SURE, Entry, open_log
from classify.labels.label_tables import read_table

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"), min_size=1, max_size=8)
ACTIONS = st.lists(
    st.one_of(
        st.dictionaries(NAMES, NAMES, min_size=1, max_size=4),
        st.just("undo"),
        st.just("again"),
        st.tuples(NAMES, NAMES),
    ),
    max_size=20,
)


def labels_in(path: Path) -> dict[str, str]:
    with open_log(str(path)) as log:
        return log.labels


@given(actions=ACTIONS)
def test_after_any_actions_the_file_says_what_the_person_sees(
    tmp_path_factory: pytest.TempPathFactory, actions: list[dict[str, str] | str | tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("log") / "labels.csv"
    past: list[dict[str, str]] = [{}]
    for action in actions:
        with open_log(str(path)) as log:  # undo reaches back across sessions
            assert log.labels == past[-1]
            if action == "undo":
                assert bool(log.undo()) == (len(past) > 1)
                past = past[:-1] or [{}]
            elif isinstance(action, dict):
                log.put({name: Entry(label, how="asked") for name, label in action.items()})
                past.append(past[-1] | action)
            elif isinstance(action, tuple):
                old, new = action
                if log.rename(old, new):
                    past.append({name: new if label == old else label for name, label in past[-1].items()})
            past = past if past else [{}]
            assert log.labels == past[-1]
    assert labels_in(path) == past[-1]


def test_pictures_without_a_label_keep_why(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    with open_log(str(path)) as log:
        log.put({"a.jpg": Entry("fox", how="asked")})
        log.put({"a.jpg": Entry("", how=NOT_SURE)})
    with open_log(str(path)) as log:
        assert log.entries["a.jpg"].how == NOT_SURE and not log.labels
        assert log.undo() == ["a.jpg"] and log.labels == {"a.jpg": "fox"} and log.entries["a.jpg"].how == "asked"


def test_training_reads_the_last_row_of_each_picture(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    with open_log(str(path)) as log:
        log.put({"a.jpg": Entry("fox"), "b.jpg": Entry("bear"), "c, d.jpg": Entry("fox")})
        log.put({"a.jpg": Entry("bear"), "b.jpg": Entry("", how=NOT_SURE)})
    table = read_table(str(path))
    assert dict(zip(table.paths, table.labels, strict=True)) == {"a.jpg": "bear", "b.jpg": "", "c, d.jpg": "fox"}
    with path.open(newline="") as file:
        assert len([*csv.reader(file)]) == 6


def test_what_was_named_together_stays_so_under_another_name(tmp_path: Path) -> None:
    path = str(tmp_path / "labels.csv")
    with open_log(path) as log:
        log.put({"a.jpg": Entry("cat", how="stack"), "b.jpg": Entry("cat", how="confirmed")})
        log.put({"c.jpg": Entry("cat", how="asked")})
        assert log.rename("cat", "tiger") == 3 and log.rename("tiger", "lion") == 3
    with open_log(path) as log:
        assert {name: entry.one_by_one for name, entry in log.entries.items()} == {
            "a.jpg": False, "b.jpg": False, "c.jpg": True,
        }  # fmt: skip
        log.put({"a.jpg": Entry("lion", how="asked")})
        assert log.entries["a.jpg"].one_by_one
        log.undo()
        assert not log.entries["a.jpg"].one_by_one


def test_blank_rows_say_nothing(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("path,label,when,how\n\na.jpg,cat,,\n\n")
    with open_log(str(path)) as log:
        assert log.labels == {"a.jpg": "cat"}


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder: name a file"), open_log(str(tmp_path)):
        pass


def test_a_second_process_reads_and_does_not_write(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    with open_log(str(path)) as first:
        first.put({"a.jpg": Entry("fox")})
        with open_log(str(path)) as second:
            assert second.read_only and second.labels == {"a.jpg": "fox"}
            with pytest.raises(UserError, match="open in another window"):
                second.put({"b.jpg": Entry("fox")})
            with pytest.raises(UserError, match="open in another window"):
                second.undo()
    assert labels_in(path) == {"a.jpg": "fox"}


@pytest.mark.parametrize("name", ["a\nb.jpg", "a\r.jpg", "\0"])
def test_what_would_be_more_than_a_line_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "labels.csv"
    with open_log(str(path)) as log:
        with pytest.raises(UserError, match="line break or a NUL"):
            log.put({"a.jpg": Entry("fox"), name: Entry("fox")})
        assert not log.labels
    assert labels_in(path) == {}


@pytest.mark.parametrize("torn", [b"b.jp", b"b.jpg,fox,2026", b"b.jpg,,2026-11-30T00:00:00Z,not s", b'"b', b"\xff"])
def test_half_a_line_is_cut_off_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture, torn: bytes) -> None:
    path = tmp_path / "labels.csv"
    with open_log(str(path)) as log:
        log.put({"a.jpg": Entry("fox")})
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert labels_in(path) == {"a.jpg": "fox"} and "half a line" in caplog.text
    assert path.read_bytes() == whole


def test_a_last_row_without_a_line_break_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "labels.csv"
    written_by_hand = b"path,label,when,how\na.jpg,fox,,\nb.jpg,hare,,"
    path.write_bytes(written_by_hand)
    with open_log(str(path)) as log:
        assert log.labels == {"a.jpg": "fox", "b.jpg": "hare"} and not caplog.text
        log.put({"c.jpg": Entry("hare")})
    assert path.read_bytes().startswith(written_by_hand + b"\nc.jpg,hare,")
    assert labels_in(path) == {"a.jpg": "fox", "b.jpg": "hare", "c.jpg": "hare"}


def test_half_a_first_line_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("path,lab")
    assert labels_in(path) == {}
    assert path.read_text() == "path,label,when,how\n"


@pytest.mark.parametrize(
    "data",
    [
        b"path,label\na.jpg,fox\n",
        b"a,b,c,d\n",
        b"path,label,when,how\na,b\n",
        b"path,label\na.jpg,fox",  # without an end of its last line, as some programs write
        b"path;label",
        b"\xff\xd8\xff\xe0\x00JFIF \n of a photograph",
        b"\x89PNG without any line",
    ],
)
def test_another_file_is_refused_and_left_as_it_is(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(data)
    with pytest.raises(UserError, match="no table of labels that can be added to"), open_log(str(path)):
        pass
    assert path.read_bytes() == data


LABELLING = """
import sys
from classify.labelling.label_log import Entry, open_log
with open_log(sys.argv[1]) as log:
    for number in range(len(log.entries), 10**6):
        log.put({f"{number}.jpg": Entry("fox", how="asked"), "last.jpg": Entry(str(number))})
        print(number, flush=True)
"""


def test_whoever_is_killed_loses_nothing_that_was_confirmed(tmp_path: Path) -> None:
    path, kills = tmp_path / "labels.csv", 20
    for kill in range(kills):
        command = [sys.executable, "-c", LABELLING, str(path)]
        with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            confirmed = [int(process.stdout.readline()) for _ in range(1 + kill % 7)]
            os.kill(process.pid, signal.SIGKILL)
            confirmed += [int(line) for line in process.stdout.read().split("\n") if line]
        labels = labels_in(path)
        assert all(labels.get(f"{number}.jpg") == "fox" for number in confirmed)
        assert int(labels["last.jpg"]) >= confirmed[-1]
        assert path.read_bytes().endswith(b"\n")
