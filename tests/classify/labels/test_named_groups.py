"""Groups that people name: from every source, what is said of them, and what is refused."""

import json
import os
import shutil
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers.filled_folders import PICTURE, fill
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cache.errors import UserError
from classify.labels.group_record import (
    announce_unnamed,
    groups_to_json,
    is_group_record,
    leaked_of_record,
    record_of,
)
from classify.labels.named_groups import bursts
from classify.labels.read_labels import LabelledImages, read_labels

SITES = {"a.png": "S1", "b.png": "S1", "c.png": "S2", "d.png": "S2", "e.png": ""}
START = datetime(2026, 5, 1, 10)  # cameras have no time zone


def by_name(labelled: LabelledImages, folder: str) -> dict[str, str]:
    assert labelled.groups is not None and len(labelled.groups) == len(labelled.paths)
    return {os.path.relpath(path, folder): group for path, group in zip(labelled.paths, labelled.groups, strict=True)}


@pytest.fixture
def table(tmp_path: Path) -> dict[str, Any]:
    """The options of a table of five pictures of two species, with sites and times."""
    fill(tmp_path / "photos", *SITES)
    frame = pd.DataFrame({"filename": [*SITES], "species": [*"foxox"], "Site ID": [*SITES.values()]})
    frame["species"] = frame["species"].replace({"x": "ox", "o": "ox", "f": "fox"})
    frame["date_time"] = ["2026-05-01 10:00:00", "2026-05-01 10:00:30", "2026-05-01 10:05", "2026-05-02", "noon"]
    where = tmp_path / "table.csv"
    frame.to_csv(where, index=False)
    columns = {"path_column": "filename", "label_column": "species"}
    return {"data": str(tmp_path / "photos"), "labels": str(where), **columns}


def timed(path: Path, seconds: float, picture: Path = PICTURE) -> None:
    """A picture with a capture time so many seconds after `START`."""
    time = START + timedelta(seconds=seconds)
    exif = Image.Exif()
    exif[0x0110] = "a camera"
    exif.get_ifd(0x8769).update({0x9003: f"{time:%Y:%m:%d %H:%M:%S}", 0x9291: f"{time:%f}"})
    path.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(picture) as opened:
        opened.convert("RGB").resize((32, 32)).save(path, exif=exif)


class TestColumn:
    def test_pictures_have_the_group_of_their_row(self, table, caplog):
        caplog.set_level("INFO")
        labelled = read_labels(**table, groups="column:site id")
        assert by_name(labelled, table["data"]) == SITES and labelled.groups_by == "column:site id"
        assert "groups: 2 by column 'site id', 2 pictures each, such as 'S1'" in caplog.text
        assert f"pictures in no group: 1, each is on its own; the first is {table['data'] + '/e.png'!r}" in caplog.text

    def test_a_frame_gives_the_same(self, table):
        frame = pd.read_csv(table["labels"], dtype=str)
        for group in (frame["Site ID"], frame["Site ID"].map({"S1": 1, "S2": 2})):
            labelled = read_labels(**table | {"labels": frame.assign(place=group)}, groups="column:place")
            assert len({*labelled.groups}) == 3 and labelled.groups[0] == labelled.groups[1]

    def test_a_number_has_one_name_with_gaps_in_its_column_and_without(self, table, tmp_path):
        """A gap makes a column of whole numbers one of floats, in pandas and in what it writes."""
        frame = pd.read_csv(table["labels"], dtype=str)
        gap = frame.assign(site=[0, 0, 10, -1, None], species=["0.0", "0.0", "1.0", "1.0", "1.0"])
        gap.to_csv(tmp_path / "gap.csv", index=False)
        gap.to_parquet(tmp_path / "gap.parquet")
        whole = gap.assign(site=[0, 0, 10, -1, 7])
        complete = read_labels(**table | {"labels": whole}, groups="column:site")
        assert complete.groups == ["0", "0", "10", "-1", "7"]
        for form in (gap, str(tmp_path / "gap.csv"), str(tmp_path / "gap.parquet")):
            labelled = read_labels(**table | {"labels": form}, groups="column:site")
            assert labelled.groups == ["0", "0", "10", "-1", ""] and labelled.classes == ["0.0", "1.0"]
        texts = frame.assign(site=["1.5", "v1.0", "1.0.0", "1.00", ".0"])
        assert read_labels(**table | {"labels": texts}, groups="column:site").groups == texts["site"].tolist()
        by_path = dict(zip(frame["filename"], gap["site"], strict=True))
        assert read_labels(**table, groups=by_path).groups == ["0", "0", "10", "-1", ""]

    def test_an_unknown_column_lists_those_that_there_are(self, table):
        with pytest.raises(UserError, match=r"no column 'sites'; its columns are .*'Site ID'.*choose with --group-col"):
            read_labels(**table, groups="column:sites")

    def test_a_column_needs_a_table(self, tmp_path):
        with pytest.raises(UserError, match="--group-column 'site': give the table that has it with --labels"):
            read_labels(fill(tmp_path, "a/1.png", "b/1.png"), groups="column:site")

    def test_a_picture_in_two_groups_is_refused(self, table):
        with Path(table["labels"]).open("a") as file:
            file.write("a.png,fox,S2,\n")
        with pytest.raises(UserError, match=r"a\.png' two groups, 'S1' and 'S2': keep one"):
            read_labels(**table, groups="column:Site ID")

    def test_an_empty_column_is_refused(self, table):
        frame = pd.read_csv(table["labels"], dtype=str).assign(site="")
        with pytest.raises(UserError, match="no picture is in a group: the column 'site' is empty for all of them"):
            read_labels(**table | {"labels": frame}, groups="column:site")


class TestMention:
    @pytest.mark.parametrize("name", ["site", "SITE", "deploymentID", "seq_id", "camera name", "Patient-No"])
    def test_a_column_that_looks_like_groups_is_mentioned(self, table, caplog, name):
        caplog.set_level("INFO")
        frame = pd.read_csv(table["labels"], dtype=str).rename(columns={"Site ID": name})
        read_labels(**table | {"labels": frame})
        quoted = f"'{name}'" if " " in name else name
        (line,) = [message for message in caplog.messages if "--group-column" in message]
        assert line == f"the table has a column {name!r}: --group-column {quoted} keeps its pictures together"

    @pytest.mark.parametrize("name", ["animal_count", "website", "onsite", "notes", "siting", "group_label"])
    def test_another_is_not(self, table, caplog, name):
        caplog.set_level("INFO")
        read_labels(**table | {"labels": pd.read_csv(table["labels"], dtype=str).rename(columns={"Site ID": name})})
        assert "--group-column" not in caplog.text

    @pytest.mark.parametrize("values", [[*"aaaaa"], [*"abcde"], ["1", "2", "2", "2", "2"], [""] * 5])
    def test_nor_one_of_which_no_split_can_be_made(self, table, caplog, values):
        """One group; one for each picture; one for each label; none."""
        caplog.set_level("INFO")
        frame = pd.read_csv(table["labels"], dtype=str).assign(animal=values, species=["fox", *["ox"] * 4])
        read_labels(**table | {"labels": frame.drop(columns="Site ID")})
        assert "--group-column" not in caplog.text

    def test_nor_where_groups_are_asked_for(self, table, caplog):
        caplog.set_level("INFO")
        read_labels(**table, groups="pattern:(?P<group>[a-c])")
        assert "--group-column" not in caplog.text


class TestPattern:
    def test_it_is_searched_in_the_path_below_the_folder(self, tmp_path):
        names = {"fox/site1/a.png": "site1", "ox/site1/b.png": "site1", "ox/site22.png": "site22", "fox/c.png": ""}
        data = fill(tmp_path / "site99", *names)
        labelled = read_labels(data, groups=r"pattern:(?P<group>site\d+)", label_from="outermost")
        assert by_name(labelled, data) == names
        assert read_labels(data, groups=r"pattern:^fox/(?P<group>s\w*)").groups == ["", "site1", "", ""]

    @pytest.mark.parametrize(
        ("pattern", "why"), [("site", "no group named group"), ("(?P<group>", "no regular expression: missing")]
    )
    def test_one_that_cannot_be_used_gives_the_reason_and_an_example(self, tmp_path, pattern, why):
        with pytest.raises(UserError, match=f"--group-pattern .*{why}") as error:
            read_labels(fill(tmp_path, "a/1.png", "b/1.png"), groups=f"pattern:{pattern}")
        assert str(error.value).endswith(r"example: (?P<group>site\d+)")

    def test_one_that_fits_no_path_shows_one(self, tmp_path):
        data = fill(tmp_path, "a/1.png", "b/1.png")
        with pytest.raises(UserError, match=r"no picture is in a group: --group-pattern .* fits none .*a/1\.png'"):
            read_labels(data, groups=r"pattern:(?P<group>site\d+)")


class TestFolder:
    def test_the_folder_below_the_class(self, tmp_path):
        names = {"fox/s1/1.png": "s1", "fox/s1/may/2.png": "s1", "ox/s2/3.png": "s2", "ox/4.png": ""}
        data = fill(tmp_path, *names)
        assert by_name(read_labels(data, groups="folder"), data) == names

    def test_the_folder_above_the_class(self, tmp_path):
        data = fill(tmp_path, "s1/fox/1.png", "s1/ox/2.png", "s2/fox/3.png", "s2/ox/4.png")
        labelled = read_labels(data, groups="folder", label_from="innermost")
        assert labelled.labels == ["fox", "ox"] * 2 and labelled.groups == ["s1", "s1", "s2", "s2"]

    def test_folders_of_the_own_split_are_none(self, tmp_path):
        data = fill(tmp_path, "train/fox/s1/1.png", "train/ox/s2/2.png", "test/fox/s1/3.png", "test/ox/s3/4.png")
        labelled = read_labels(data, groups="folder")
        assert labelled.groups == ["s1", "s3", "s1", "s2"]
        found = groups_to_json(labelled)
        assert found == {
            "by": "folder",
            "count": 3,
            "names": ["s1", "s2", "s3"],
            "alone": 0,
            "leaked_groups": ["s1"],
            "leaked_pictures": 1,
        }
        with pytest.raises(UserError, match=r"of its class; name groups by column or pattern; the first is '"):
            read_labels(fill(tmp_path / "flat", "train/fox/1.png", "train/ox/2.png", "test/fox/3.png"), groups="folder")

    def test_the_first_folder_with_labels_of_a_table_or_of_names(self, tmp_path):
        data = fill(tmp_path / "set", "s1/may/fox.1.png", "s1/june/ox.1.png", "s2/may/ox.2.png", "ox.3.png")
        pattern = r"(?P<label>fox|ox)\.\d"
        assert read_labels(data, label_pattern=pattern, groups="folder").groups == ["", "s1", "s1", "s2"]
        frame = pd.DataFrame({"path": ["s1/may/fox.1.png", "s2/may/ox.2.png"], "label": ["fox", "ox"]})
        assert read_labels(data, labels=frame, groups="folder").groups == ["s1", "s2"]


class TestTime:
    def test_pictures_of_one_folder_that_follow_each_other_are_a_burst(self, tmp_path, caplog):
        caplog.set_level("INFO")
        for name, seconds in {"fox/a": 0, "fox/b": 59.5, "fox/c": 119.25, "fox/d": 180, "ox/e": 1, "ox/f": 90}.items():
            timed(tmp_path / f"{name}.jpg", seconds)
        shutil.copy(PICTURE, tmp_path / "ox" / "g.png")
        labelled = read_labels(str(tmp_path), groups="time:60")
        first = "fox/2026-05-01 10:00:00"
        assert labelled.groups == [
            *[first] * 3,
            "fox/2026-05-01 10:03:00",
            "ox/2026-05-01 10:00:01",
            "ox/2026-05-01 10:01:30",
            "",
        ]
        assert (
            f"groups: 4 by capture times less than 60 s apart, 1 to 3 pictures each, such as {first!r}" in caplog.text
        )
        assert "pictures in no group: 1, each is on its own" in caplog.text and "g.png" in caplog.text
        assert groups_to_json(labelled) == {
            "by": "time:60",
            "count": 4,
            "alone": 1,
            "leaked_groups": [],
            "leaked_pictures": 0,
        }

    def test_without_exif_the_times_are_those_of_the_table(self, table, caplog):
        caplog.set_level("INFO")
        labelled = read_labels(**table, groups="time:60")
        first, second = "2026-05-01 10:00:00", "2026-05-01 10:05:00"
        assert labelled.groups == [first, first, second, "", ""]  # a day without a time, and no time
        assert "capture times of 3 pictures without EXIF are taken from the column 'date_time'" in caplog.text
        unread = (
            "the column 'date_time' has 2 values that are no times, such as '2026-05-02': write them as 2026-05-31 14"
        )
        assert unread in caplog.text

    @pytest.mark.parametrize("written", ["31/05/2026 02:00", "05/31/2026 02:00 PM", "noon"])
    def test_times_that_are_spelled_otherwise_are_shown(self, table, written):
        frame = pd.read_csv(table["labels"], dtype=str).assign(date_time=["", *[written] * 4])
        with pytest.raises(UserError) as error:
            read_labels(**table | {"labels": frame}, groups="time:60")
        assert (
            f"none has a capture time in its EXIF, and the column 'date_time' has {written!r}: "
            "write it as 2026-05-31 14:00:00" in str(error.value)
        )
        with pytest.raises(UserError, match="and the column 'date_time' is empty for all of them"):
            read_labels(**table | {"labels": frame.assign(date_time="")}, groups="time:60")

    def test_exif_counts_more_than_the_table(self, table):
        timed(Path(table["data"]) / "c.png", 40)
        labelled = read_labels(**table, groups="time:60")
        assert labelled.groups[:3] == ["2026-05-01 10:00:00"] * 3

    @pytest.mark.parametrize("seconds", ["abc", "0", "-1", "nan", "inf", "", "1e300"])
    def test_seconds_that_are_none_are_refused(self, tmp_path, seconds):
        with pytest.raises(UserError, match=f"groups 'time:{seconds}': give a number of seconds above 0"):
            read_labels(fill(tmp_path, "a/1.png", "b/1.png"), groups=f"time:{seconds}")

    def test_pictures_without_times_are_refused(self, tmp_path):
        with pytest.raises(UserError, match=r"none has a capture time .*a/1\.png"):
            read_labels(fill(tmp_path, "a/1.png", "b/1.png"), groups="time:60")

    @given(st.lists(st.tuples(st.sampled_from("ab"), st.none() | st.integers(0, 300)), max_size=20))
    def test_bursts_are_the_runs_without_a_gap(self, pictures):
        folders = [folder for folder, _ in pictures]
        times = [None if second is None else START + timedelta(seconds=second) for _, second in pictures]
        names = bursts(folders, times, 30)
        assert [not name for name in names] == [time is None for time in times]
        for folder in "ab":
            taken = sorted((times[n], names[n]) for n in range(len(names)) if names[n] and folders[n] == folder)
            for (before, one), (after, other) in pairwise(taken):
                assert (one == other) == (after - before < timedelta(seconds=30))
        of_folders = [{name for name, of in zip(names, folders, strict=True) if name and of == f} for f in "ab"]
        assert of_folders[0].isdisjoint(of_folders[1])


class TestMapping:
    def test_paths_may_be_as_named_absolute_or_relative_to_the_data(self, tmp_path, monkeypatch):
        fill(tmp_path / "set", "fox/a.png", "fox/b.png", "ox/c.png", "ox/d.png", "ox/e.png")
        monkeypatch.chdir(tmp_path)
        groups = {
            "set/fox/a.png": "one",
            tmp_path / "set/fox/b.png": 1,
            "ox/c.png": "one",
            "ox/d.png": None,
            "other.png": "x",
        }
        labelled = read_labels("set", groups=groups)
        assert labelled.groups == ["one", "1", "one", "", ""] and labelled.groups_by == "mapping"

    def test_one_without_these_paths_is_refused(self, tmp_path):
        with pytest.raises(UserError, match="the mapping has none of their paths"):
            read_labels(fill(tmp_path, "a/1.png", "b/1.png"), groups={"c/1.png": "x"})

    def test_keys_that_are_no_paths_are_refused(self, tmp_path):
        with pytest.raises(UserError, match="a mapping goes from paths to groups, and 1 is no path"):
            read_labels(fill(tmp_path, "a/1.png", "b/1.png"), groups={1: "x"})


@pytest.mark.parametrize("groups", ["", "sites", "column:", "pattern:", "folders", "folder:x", "time", 7, ["a"]])
def test_what_names_no_groups_is_refused(tmp_path, groups):
    with pytest.raises(UserError, match="give column:NAME, pattern:REGEX, folder or time:SECONDS"):
        read_labels(fill(tmp_path, "a/1.png", "b/1.png"), groups=groups)


def test_a_choice_of_pictures_keeps_their_groups(table):
    labelled = read_labels(**table, groups="column:Site ID").of([1, 4])
    assert labelled.groups == ["S1", ""] and labelled.groups_by == "column:Site ID"


class TestRecord:
    def test_it_names_the_groups_that_were_fitted(self, table, caplog):
        found = groups_to_json(read_labels(**table, groups="column:Site ID"))
        record = {"groups": record_of(found, ["S2", "S2", ""])}
        assert record["groups"] == {"by": "column:Site ID", "count": 1, "names": ["S2"]}
        assert is_group_record(json.loads(json.dumps(record["groups"])))
        caplog.clear()
        by = "column:Site ID"
        assert leaked_of_record(record, by, ["S1", "", ""]) == {"leaked_groups": [], "leaked_pictures": 0}
        assert not caplog.messages
        leaked = leaked_of_record(record, by, ["S2", "S1", "S2"])
        assert leaked == {"leaked_groups": ["S2"], "leaked_pictures": 2}
        (line,) = caplog.messages
        assert line.startswith("scored pictures whose groups are trained on: 2 (groups: 1, such as 'S2')")

    def test_without_names_nothing_is_known(self):
        for record in ({}, {"groups": None}, {"groups": record_of({"by": "time:60"}, ["fox/2026"])}):
            assert leaked_of_record(record, "time:60", ["fox/2026"]) == {} and is_group_record(record.get("groups"))

    @pytest.mark.parametrize("by", ["mapping", "column:place", "time:60", "pattern:(?P<group>S2)"])
    def test_names_of_another_kind_tell_nothing(self, caplog, by):
        record = {"groups": record_of({"by": "column:site"}, ["S2"])}
        assert leaked_of_record(record, by, ["S2"]) == {"leaked_groups": None, "leaked_pictures": None}
        assert caplog.messages == [
            "whether the scored pictures are in groups that the model was trained on cannot be told: "
            f"its groups are by 'column:site', these by {by!r}"
        ]

    @pytest.mark.parametrize(
        ("by", "option"),
        [
            ("column:the site", "--group-column 'the site'"),
            ("column:site", "--group-column site"),
            (r"pattern:(?P<group>s\d+)", r"--group-pattern '(?P<group>s\d+)'"),
            ("folder", "--group-by folder"),
            ("time:60", "--group-by time:60"),
            ("mapping", "groups="),
        ],
    )
    def test_who_names_no_groups_is_told_how(self, caplog, by, option):
        record = {"groups": record_of({"by": by}, ["S2"])}
        announce_unnamed(record, None)
        (line,) = caplog.messages
        assert line.startswith("the model was trained with groups by ") and f": give {option}, else pictures" in line
        caplog.clear()
        announce_unnamed(record, by)
        announce_unnamed({"groups": None}, None)
        announce_unnamed({}, None)
        assert not caplog.messages

    @pytest.mark.parametrize(
        "value",
        [
            [],
            "x",
            3,
            {},
            {"by": 3},
            {"names": []},
            *({"by": "folder", "names": names} for names in ("S1", [1], None)),
        ],
    )
    def test_what_is_none_is_known(self, value):
        assert not is_group_record(value)
