"""The data's own split, however its folders are called; and folders that are a split or classes, nobody knows which."""

import json
import os
from pathlib import Path

import pytest
from helpers.filled_folders import by_name, fill, parts_by_name

import pipeline
from cache.errors import UserError
from classify.labels.own_split import part_and_rest
from classify.labels.read_labels import find_labelled, read_labels

CLASSES = ("fox", "walrus")


def own_split(folder: Path, *parts: str, classes: tuple[str, ...] = CLASSES) -> str:
    """A folder of every class, with two pictures, in each of the parts."""
    return fill(folder, *(f"{part}/{name}/{n}.png" for part in parts for name in classes for n in (1, 2)))


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("train", "train"), ("TRAIN", "train"), ("Training", "train"), ("training_set", "train"),
        ("training-set", "train"), ("Training Set", "train"), ("trainset", "train"), ("TrainSet", "train"),
        ("TRAINset", "train"), ("train_images", "train"), ("images-train", "train"), ("train2017", "train"),
        ("1 - Training Data", "train"), ("trainval", "train"), ("train_val", "train"), ("train\u200b", "train"),
        ("val", "validation"), ("Valid", "validation"), ("validation_set", "validation"), ("eval", "validation"),
        ("Evaluation", "validation"), ("dev", "validation"), ("valset", "validation"),
        ("test", "test"), ("Testing", "test"), ("test_set", "test"), ("TestSet", "test"), ("test1", "test"),
        ("testdata", "test"), ("Test Pictures", "test"),
        ("train_test", None), ("trains", None), ("invalid", None), ("device", None), ("fox", None), ("", None),
    ],
)  # fmt: skip
def test_names_of_parts(name, part):
    assert part_and_rest(name)[0] == part


@pytest.mark.parametrize(
    ("train", "other", "part"),
    [
        ("train", "valid", "validation"),
        ("Training", "Testing", "test"),
        ("training_set", "test_set", "test"),
        ("seg_train", "seg_test", "test"),
        ("train", "eval", "validation"),
        ("flowers-TRAIN", "flowers-Val", "validation"),
        ("Train Images", "dev", "validation"),
        ("dataset/training_set", "dataset/test_set", "test"),
        ("seg_train/seg_train", "seg_test/seg_test", "test"),
        ("archive/Train/train", "archive/Test/test", "test"),
    ],
)
def test_folders_whose_names_say_so_are_the_own_split(tmp_path, train, other, part):
    data = own_split(tmp_path, train, other)
    for labelled in (read_labels(data), read_labels(data, for_training=False)):
        assert labelled.classes == [*CLASSES]
        assert set(parts_by_name(labelled, data).items()) == {
            (f"{folder}/{name}/{n}.png", meant)
            for folder, meant in ((train, "train"), (other, part))
            for name in CLASSES
            for n in (1, 2)
        }


def test_pictures_to_predict_beside_the_parts_are_left_out_and_announced(tmp_path, caplog):
    data = own_split(tmp_path, "seg_train/seg_train", "seg_test/seg_test")
    fill(tmp_path, "seg_pred/seg_pred/1.png", "seg_pred/seg_pred/2.png")
    labelled = read_labels(data)
    assert labelled.classes == [*CLASSES]
    assert len(labelled.left_out) == 2
    assert "beside the folders 'seg_test/seg_test', 'seg_train/seg_train', left out: 2 (2 in 'seg_pred')" in caplog.text


@pytest.mark.parametrize("beside", ["pred", "seg_pred", "Predictions", "unlabeled", "single_prediction"])
def test_train_beside_pictures_to_predict_is_all_there_is(tmp_path, beside):
    data = own_split(tmp_path, "train")
    fill(tmp_path, f"{beside}/1.png")
    labelled = read_labels(data)
    assert (labelled.classes, set(labelled.parts)) == ([*CLASSES], {"all"})
    assert [os.path.relpath(path, data) for path in labelled.left_out] == [f"{beside}/1.png"]


def test_a_train_station_and_a_test_tube_are_classes(tmp_path):
    data = fill(tmp_path, "train_station/1.png", "test_tube/2.png", "train/3.png")
    assert read_labels(data).classes == ["test_tube", "train", "train_station"]


def test_a_class_in_a_part_may_be_called_like_it(tmp_path):
    data = own_split(tmp_path, "train", "test", classes=("train", "bus"))
    assert read_labels(data).classes == ["bus", "train"]


def test_the_parts_of_names_and_tables_are_found_by_the_same_names(tmp_path):
    data = fill(tmp_path, "set/Training/cat.0.jpg", "set/Training/dog.1.jpg", "set/Testing/cat.2.jpg")
    assert read_labels(data, label_pattern=r"(?P<label>cat|dog)\.").parts == ["test", "train", "train"]
    (tmp_path / "t.csv").write_text("path,label\nset/Training/cat.0.jpg,a\nset/Training/dog.1,b\nset/Testing/cat.2,a\n")
    assert read_labels(data, labels=str(tmp_path / "t.csv")).parts == ["test", "train", "train"]


class TestDoubt:
    @pytest.mark.parametrize(
        ("first", "second"), [("Entrenamiento", "Prueba"), ("site1", "site2"), ("Prueba", "train"), ("part1", "part2")]
    )
    def test_folders_that_hold_the_same_classes_are_refused_in_one_line(self, tmp_path, first, second):
        data = own_split(tmp_path, first, second)
        for for_training in (True, False):
            with pytest.raises(UserError, match=rf"'{first}' and '{second}' both hold 'fox', 'walrus'") as error:
                read_labels(data, for_training=for_training)
            assert "--train" in str(error.value) and "--label-from innermost" in str(error.value)
            assert "\n" not in str(error.value)

    def test_all_classes_of_a_smaller_folder_are_enough(self, tmp_path):
        data = fill(tmp_path, "site1/fox/1.png", "site2/Fox/2.png", "site2/walrus/3.png")
        with pytest.raises(UserError, match="both hold 'fox'"):
            read_labels(data)

    def test_below_the_parts_of_an_own_split_too(self, tmp_path):
        data = own_split(tmp_path, "train/site1", "train/site2", "test/site1", "test/site2")
        with pytest.raises(UserError, match="'site1' and 'site2' both hold"):
            read_labels(data)
        labelled = read_labels(data, label_from="innermost")
        assert labelled.classes == [*CLASSES]
        assert (labelled.parts.count("train"), labelled.parts.count("test")) == (8, 8)

    def test_innermost_and_outermost_answer_it(self, tmp_path):
        data = own_split(tmp_path, "site1", "site2")
        assert read_labels(data, label_from="innermost").classes == [*CLASSES]
        assert read_labels(data, label_from="outermost").classes == ["site1", "site2"]
        with pytest.raises(UserError, match="--label-from 'inner': give outermost or innermost"):
            read_labels(data, label_from="inner")

    def test_sets_in_folders_of_their_own_are_told_from_parts(self, tmp_path):
        data = own_split(tmp_path, "a/train", "a/test", "b/train", "b/test")
        with pytest.raises(UserError, match="'a' and 'b' both hold 'test', 'train': name one set with --data"):
            read_labels(data)

    def test_several_splits_side_by_side_are_refused(self, tmp_path):
        data = fill(tmp_path, "trainA/1.png", "trainB/2.png", "testA/3.png", "testB/4.png")
        with pytest.raises(UserError, match="'testA', 'testB', 'trainA', 'trainB' look like several splits"):
            read_labels(data)

    @pytest.mark.parametrize(
        "names",
        [
            ["fox/day/1.png", "walrus/night/1.png"],  # nothing in common
            ["fox/images/1.png", "walrus/images/1.png"],  # no classes: the inner folders have one name
            ["fox/day/1.png", "fox/night/1.png", "walrus/day/1.png", "walrus/snow/1.png"],  # one name of two
            ["fox/1.png", "fox/2.png", "fox/3.png", "fox/day/4.png", "fox/night/5.png", "walrus/day/1.png"],
        ],
    )
    def test_classes_may_hold_folders(self, tmp_path, names):
        assert read_labels(fill(tmp_path, *names)).classes == ["fox", "walrus"]

    def test_who_needs_no_labels_is_told_and_not_refused(self, tmp_path, caplog):
        data = own_split(tmp_path / "set", "site1", "site2")
        assert len(find_labelled(data).all_images) == 8
        report = pipeline.features(data, backbone="nano", cache_dir=str(tmp_path / "cache"))
        assert (report["images"], report["failed"]) == (8, 0)
        assert "the classes are not clear: the folders 'site1' and 'site2' both hold" in caplog.text
        with pytest.raises(UserError, match="both hold"):  # labels would go into the file
            pipeline.export(data, str(tmp_path / "out.h5"), backbone="nano", cache_dir=str(tmp_path / "cache"))


class TestNamed:
    def test_named_folders_are_the_own_split(self, tmp_path, caplog):
        data = own_split(tmp_path, "Entrenamiento", "Prueba", "otros")
        labelled = read_labels(data, train_folder="Entrenamiento", test_folder=["Prueba"])
        assert labelled.classes == [*CLASSES]
        assert (labelled.parts.count("train"), labelled.parts.count("test")) == (4, 4)
        assert "left out: 4 (4 in 'otros')" in caplog.text

    def test_several_folders_at_any_depth_may_be_one_part(self, tmp_path):
        data = own_split(tmp_path, "2024/site1", "2024/site2", "2025/site1")
        labelled = read_labels(data, train_folder=["2024/site1/", "./2024/site2"], test_folder="2025/site1")
        assert labelled.classes == [*CLASSES]
        assert (labelled.parts.count("train"), labelled.parts.count("test")) == (8, 4)

    def test_one_name_completes_those_that_say_it_themselves(self, tmp_path):
        data = own_split(tmp_path, "train", "Prueba")
        labelled = read_labels(data, test_folder="Prueba")
        assert (labelled.parts.count("train"), labelled.parts.count("test")) == (4, 4)

    def test_they_part_names_and_tables_too(self, tmp_path):
        data = fill(tmp_path, "uno/cat.0.jpg", "uno/dog.1.jpg", "dos/cat.2.jpg")
        named = {"train_folder": "uno", "test_folder": "dos"}
        assert read_labels(data, label_pattern="(?P<label>cat|dog)", **named).parts == ["test", "train", "train"]
        (tmp_path / "t.csv").write_text(
            "path,label,split\nuno/cat.0.jpg,a,test\nuno/dog.1.jpg,b,test\ndos/cat.2,a,train\n"
        )
        assert read_labels(data, labels=str(tmp_path / "t.csv"), **named).parts == ["test", "train", "train"]

    def test_a_named_folder_takes_the_place_of_the_one_whose_name_says_so(self, tmp_path, caplog):
        data = fill(tmp_path, "train/a/1.png", "train/b/2.png", "val/a/3.png", "val/b/4.png", "test/a/5.png")
        labelled = read_labels(data, test_folder="val")
        assert by_name(labelled, data).keys() == {"train/a/1.png", "train/b/2.png", "val/a/3.png", "val/b/4.png"}
        assert sorted(labelled.parts) == ["test", "test", "train", "train"]
        assert "pictures beside the folders 'train', 'val', left out: 1 (1 in 'test')" in caplog.text

    def test_a_folder_that_is_not_there_is_named_with_those_that_are(self, tmp_path):
        data = own_split(tmp_path, "uno", "dos")
        with pytest.raises(UserError, match=r"--test 'tres': no such folder .*its folders are 'dos', 'uno'"):
            read_labels(data, train_folder="uno", test_folder="tres")

    def test_on_the_command_line(self, photos, tmp_path, run):
        for name in ("brick", "grass", "gravel"):
            for number in range(12):
                part = "uno" if number % 3 else "dos"
                (photos / part / name).mkdir(parents=True, exist_ok=True)
                (photos / name / f"{name}.{number}.png").rename(photos / part / name / f"{number}.png")
            (photos / name).rmdir()
        words = ["--data", photos, "--cache-dir", tmp_path / "cache", "--model", tmp_path / "m.joblib"]
        status, _, err = run("train", *words, "--backbone", "nano")
        assert (status, err.count("both hold")) == (2, 1)
        named = ["--train", "uno", "--test", "dos"]
        status, _, _ = run("train", *words, "--backbone", "nano", *named, "--json", tmp_path / "train.json")
        assert status == 0
        assert sum(map(sum, json.loads((tmp_path / "train.json").read_text())["confusion_matrix"])) == 12
        for command in ("evaluate", "report"):
            output = ["--output", tmp_path / "r.html"] if command == "report" else []
            assert run(command, *words, *output)[0] == 2
            assert run(command, *words, *output, *named)[0] == 0
        assert run("train", *words, "--backbone", "nano", "--label-from", "innermost")[0] == 0


class TestColumn:
    ROWS = (("1.png", "a"), ("2.png", "b"), ("3.png", "a"), ("4.png", "b"))

    def table(self, folder: Path, column: str, values: list[str]) -> str:
        fill(folder, *(path for path, _ in self.ROWS))
        lines = [f"{path},{label},{value}" for (path, label), value in zip(self.ROWS, values, strict=True)]
        (folder / "t.csv").write_text("\n".join([f"path,label,{column}", *lines]))
        return str(folder / "t.csv")

    @pytest.mark.parametrize("column", ["split", " Split", "SUBSET", "set", "data_split", "Usage"])
    @pytest.mark.parametrize("values", [("train", "test"), ("Training", " PublicTest"), ("TRAIN_SET", "test-set")])
    def test_a_column_that_names_parts_is_the_own_split(self, tmp_path, caplog, column, values):
        caplog.set_level("INFO")
        labelled = read_labels(None, labels=self.table(tmp_path, column, [values[0]] * 2 + [values[1]] * 2))
        assert labelled.parts == ["train", "train", "test", "test"]
        assert "is the data's own split: test 2, train 2" in caplog.text

    def test_rows_of_no_part_are_left_out(self, tmp_path, caplog):
        table = self.table(tmp_path, "split", ["train", "train", "test", "unused"])
        labelled = read_labels(None, labels=table)
        assert by_name(labelled, str(tmp_path)) == {"1.png": "a", "2.png": "b", "3.png": "a"}
        assert [Path(path).name for path in labelled.left_out] == ["4.png"]
        assert "beside the parts that" in caplog.text

    @pytest.mark.parametrize("values", [["0", "1", "2", "3"], ["train"] * 4, ["north", "", "train", "east"]])
    def test_a_column_that_names_none_is_said_to_be_ignored(self, tmp_path, caplog, values):
        labelled = read_labels(None, labels=self.table(tmp_path, "fold", values))
        assert labelled.parts == ["all"] * 4
        assert "the column 'fold' of" in caplog.text and "is ignored: its values" in caplog.text

    def test_a_column_counts_more_than_folders(self, tmp_path):
        fill(tmp_path, "train/1.png", "train/2.png", "test/3.png")
        (tmp_path / "t.csv").write_text("path,label,split\ntrain/1,a,test\ntrain/2,b,train\ntest/3,a,train\n")
        assert read_labels(None, labels=str(tmp_path / "t.csv")).parts == ["train", "test", "train"]

    def test_a_picture_in_two_parts_is_refused(self, tmp_path):
        table = self.table(tmp_path, "split", ["train", "train", "test", "test"])
        with Path(table).open("a") as file:
            file.write("\n1.png,a,test\n")
        with pytest.raises(UserError, match=r"1\.png' two parts, 'train' and 'test'"):
            read_labels(None, labels=table)
