"""Labels from folders and file names, with real pictures in every layout."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.filled_folders import PICTURE, by_name, fill, parts_by_name

from cache.errors import UserError
from classify.labels.read_labels import read_labels

DOGS_PATTERN = r"(?P<label>cat|dog)\.\d+\.jpg"


class TestFolders:
    def test_the_first_folder_is_the_class_and_nested_ones_belong_to_it(self, tmp_path):
        data = fill(tmp_path, "not alpaca/1.png", "alpaca/2.png", "alpaca/herd/young/3.png")
        labelled = read_labels(data)
        assert by_name(labelled, data) == {
            "not alpaca/1.png": "not alpaca",
            "alpaca/2.png": "alpaca",
            "alpaca/herd/young/3.png": "alpaca",
        }
        assert labelled.classes == ["alpaca", "not alpaca"]
        assert labelled.parts == ["all"] * 3
        assert not labelled.has_own_split

    def test_paths_come_in_byte_order_spelled_below_the_given_folder(self, tmp_path, monkeypatch):
        # The last name of folder a is the byte ff, no UTF-8: as a string it would sort before the wide tilde.
        fill(tmp_path / "set", "b/1.png", "a/\udcff.png", "a/\uff5e.png", "a/z.png", "B/1.png")
        monkeypatch.chdir(tmp_path)
        in_a = ["set/a/z.png", "set/a/\uff5e.png", "set/a/\udcff.png"]
        assert read_labels("set/").paths == ["set/B/1.png", *in_a, "set/b/1.png"]
        assert read_labels("./set").paths[0] == "./set/B/1.png"

    @pytest.mark.parametrize(
        ("folder", "part"), [("val", "validation"), ("validation", "validation"), ("Test", "test")]
    )
    def test_train_and_another_part_are_the_own_split(self, tmp_path, folder, part):
        data = fill(tmp_path, "train/a/1.png", "train/b/deep/2.png", f"{folder}/a/3.png")
        labelled = read_labels(data)
        assert labelled.has_own_split
        assert labelled.classes == ["a", "b"]
        assert parts_by_name(labelled, data) == {
            "train/a/1.png": "train",
            "train/b/deep/2.png": "train",
            f"{folder}/a/3.png": part,
        }

    def test_train_alone_is_no_split_and_its_folders_are_the_classes(self, tmp_path):
        data = fill(tmp_path, "train/a/1.png", "train/b/2.png", "stray.png")
        (tmp_path / "docs").mkdir()
        (tmp_path / "docs" / "readme.txt").write_text("no picture")
        labelled = read_labels(data)
        assert labelled.classes == ["a", "b"]
        assert set(labelled.parts) == {"all"}
        assert labelled.unlabelled == [str(tmp_path / "stray.png")]
        assert labelled.passed_over[".txt"] == 1

    def test_train_beside_other_folders_is_a_class_and_said_to_be_one(self, tmp_path, caplog):
        data = fill(tmp_path, "train/1.png", "car/2.png", "plane/3.png")
        labelled = read_labels(data)
        assert labelled.classes == ["car", "plane", "train"]
        assert not labelled.has_own_split
        assert "'train' is taken for a class" in caplog.text

    def test_folders_beside_the_own_split_are_left_out_and_announced(self, tmp_path, caplog):
        data = fill(tmp_path, "train/a/1.png", "train/b/2.png", "test/a/3.png", "extra/a/4.png", "extra/5.png", "6.png")
        labelled = read_labels(data)
        assert len(labelled.paths) == 3
        assert [os.path.relpath(path, data) for path in labelled.left_out] == ["6.png", "extra/5.png", "extra/a/4.png"]
        assert labelled.unlabelled == []
        assert "pictures beside the folders 'test', 'train', left out: 3" in caplog.text
        assert "2 in 'extra'" in caplog.text

    def test_a_test_folder_without_classes_is_unlabelled_and_no_split(self, tmp_path, caplog):
        data = fill(tmp_path, "train/a/1.png", "train/b/2.png", "test/3.png", "test/4.png")
        labelled = read_labels(data)
        assert labelled.parts == ["all", "all"]
        assert len(labelled.unlabelled) == 2
        assert "pictures without label, left out: 2, the first is" in caplog.text
        assert caplog.text.count("without label") == 1

    def test_a_broken_link_in_a_class_folder_is_a_failure(self, tmp_path):
        data = fill(tmp_path, "a/1.png", "b/2.png")
        (tmp_path / "b" / "3.png").symlink_to(tmp_path / "nowhere.png")
        labelled = read_labels(data)
        assert [failure.path for failure in labelled.failures] == [str(tmp_path / "b" / "3.png")]
        assert len(labelled.paths) == 2

    def test_a_class_name_that_is_no_utf8_becomes_printable_text(self, tmp_path):
        data = fill(tmp_path, "a/1.png")
        os.mkdir(os.path.join(os.fsencode(data), b"caf\xe9"))
        shutil.copyfile(PICTURE, os.path.join(os.fsencode(data), b"caf\xe9", b"1.png"))
        labelled = read_labels(data)
        assert labelled.classes == ["a", "caf\\xe9"]
        assert all(Path(path).is_file() for path in labelled.paths)

    def test_an_empty_folder_says_which_suffixes_count(self, tmp_path):
        (tmp_path / "notes.txt").write_text("no picture")
        with pytest.raises(UserError, match=r"no image in .*other files: 1.*\.jpeg"):
            read_labels(str(tmp_path))

    def test_a_flat_folder_says_how_to_give_labels(self, tmp_path):
        data = fill(tmp_path, "1.png", "2.png")
        with pytest.raises(UserError, match=r"images: 2.* folder of its name, or give --labels or --label-pattern"):
            read_labels(data)

    def test_one_class_is_an_error_for_training_only(self, tmp_path):
        data = fill(tmp_path, "only one/1.png", "only one/2.png")
        with pytest.raises(UserError, match="only class in the data is 'only one'"):
            read_labels(data)
        assert read_labels(data, for_training=False).classes == ["only one"]

    def test_one_class_in_train_is_an_error(self, tmp_path):
        data = fill(tmp_path, "train/a/1.png", "test/a/2.png")
        with pytest.raises(UserError, match="only class in train is 'a'"):
            read_labels(data)

    def test_a_tested_class_that_train_lacks_is_named(self, tmp_path):
        data = fill(tmp_path, "train/a/1.png", "train/b/2.png", "val/a/3.png", "val/new one/4.png")
        with pytest.raises(UserError, match="validation part has classes that train lacks: 'new one'"):
            read_labels(data)
        assert len(read_labels(data, for_training=False).paths) == 4

    def test_parts_without_train_are_no_classes(self, tmp_path):
        data = fill(tmp_path, "val/a/1.png", "test/a/2.png", "test/b/3.png")
        with pytest.raises(UserError, match="no labelled picture in train, only in test and validation"):
            read_labels(data)
        assert read_labels(data, for_training=False).parts == ["test", "test", "validation"]

    def test_without_data_and_table_it_says_what_to_give(self):
        with pytest.raises(UserError, match="--data"):
            read_labels(None)


class TestPattern:
    def test_the_group_is_the_label_and_names_that_do_not_match_are_unlabelled(self, tmp_path, caplog):
        data = fill(tmp_path, "cat.0.jpg", "dog.1.jpg", "cat.dir/bird.7.jpg", "sub/dog.2.jpg")
        labelled = read_labels(data, label_pattern=DOGS_PATTERN)
        assert by_name(labelled, data) == {"cat.0.jpg": "cat", "dog.1.jpg": "dog", "sub/dog.2.jpg": "dog"}
        assert [os.path.relpath(path, data) for path in labelled.unlabelled] == ["cat.dir/bird.7.jpg"]
        assert "without label, left out: 1," in caplog.text
        assert "bird.7.jpg" in caplog.text

    def test_train_and_test_folders_stay_the_own_split(self, tmp_path):
        data = fill(tmp_path, "train/cat.0.jpg", "train/dog.1.jpg", "test/cat.2.jpg", "test/77.jpg")
        labelled = read_labels(data, label_pattern=DOGS_PATTERN)
        assert labelled.parts == ["test", "train", "train"]
        assert len(labelled.unlabelled) == 1

    def test_an_unlabelled_test_folder_is_no_split(self, tmp_path):
        data = fill(tmp_path, "train/cat.0.jpg", "train/dog.1.jpg", "test/1.jpg")
        assert read_labels(data, label_pattern=DOGS_PATTERN).parts == ["all", "all"]

    @pytest.mark.parametrize(
        ("pattern", "message"),
        [
            ("(cat|dog)", "no group named label"),
            ("(?P<label>cat", "no regular expression: missing"),
            ("(?P<label>a){4294967296}", "no regular expression: the repetition number is too large"),
            ("(" * 5000 + "(?P<label>a)" + ")" * 5000, "no regular expression: maximum recursion"),
        ],
    )
    def test_a_pattern_that_cannot_be_used_gives_the_reason_and_an_example(self, tmp_path, pattern, message):
        with pytest.raises(UserError, match=message) as error:
            read_labels(fill(tmp_path, "cat.1.jpg"), label_pattern=pattern)
        assert r"(?P<label>cat|dog)\.\d+\.jpg" in str(error.value)

    def test_a_pattern_that_fits_no_name_shows_a_name(self, tmp_path):
        with pytest.raises(UserError, match=r"none of 2 file names, such as '1\.png'"):
            read_labels(fill(tmp_path, "1.png", "x/2.png"), label_pattern="(?P<label>cat)")

    def test_an_empty_match_is_no_label(self, tmp_path):
        labelled = read_labels(fill(tmp_path, "a1.png", "b1.png", "1.png"), label_pattern="^(?P<label>[a-z]*)1")
        assert labelled.labels == ["a", "b"]

    def test_two_sources_of_labels_are_refused(self, tmp_path):
        with pytest.raises(UserError, match="--labels and --label-pattern"):
            read_labels(str(tmp_path), labels="t.csv", label_pattern="(?P<label>a)")


class TestRealSets:
    def test_alpaca(self, shared):
        labelled = read_labels(str(shared / "images" / "alpaca"))
        assert {c: labelled.labels.count(c) for c in labelled.classes} == {"alpaca": 142, "not alpaca": 185}
        assert not labelled.has_own_split

    def test_arctic_wildlife_has_its_own_split(self, shared):
        labelled = read_labels(str(shared / "images" / "arctic_wildlife"))
        assert labelled.classes == ["arctic_fox", "polar_bear", "walrus"]
        assert (labelled.parts.count("train"), labelled.parts.count("test")) == (300, 120)

    def test_cats_and_dogs_by_pattern(self, shared):
        labelled = read_labels(str(shared / "images" / "cats_dogs"), label_pattern=DOGS_PATTERN)
        assert (labelled.labels.count("cat"), labelled.labels.count("dog")) == (600, 600)
        assert not labelled.has_own_split
        assert labelled.unlabelled == []

    def test_flowers_are_validated_on_val(self, shared):
        labelled = read_labels(str(shared / "images" / "flowers"))
        assert (labelled.parts.count("train"), labelled.parts.count("validation")) == (500, 100)
        assert len(labelled.classes) == 5


def test_importing_and_reading_folders_loads_nothing_heavy(tmp_path):
    data = fill(tmp_path, "a/1.png", "b/2.png")
    code = (
        "import sys; from classify.labels.read_labels import read_labels; read_labels(sys.argv[1]);"
        "print([m for m in ('pandas', 'pyarrow', 'sklearn', 'tensorflow', 'PIL', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, data], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
