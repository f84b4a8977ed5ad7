"""Labels and paths that look the same are the same, however their characters are written."""

import os
import unicodedata

import pytest
from helpers.filled_folders import fill
from hypothesis import given
from hypothesis import strategies as st

import classify.labels.label_sources
import pipeline
from classify.labels.label_names import label_of
from classify.labels.read_labels import read_labels

NFC, NFD = unicodedata.normalize("NFC", "Éléphant"), unicodedata.normalize("NFD", "Éléphant")

# Where nothing joins, a joiner is as invisible as the rest.
INVISIBLE = ["\u200b", "\ufeff", "\u00ad", "\u200e", "\u202e", "\u2060", "\u200d", "\u200c", "\ufe0f", "\u061c"]
SPACES = ["\u00a0", "\u2003", "\u202f", "\u3000", "  ", "\t", "\u2028"]

# Each means something else, or is written otherwise, without its joiners, selectors or tags.
WRITTEN_SO = [
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "क्\u200dष",
    "ක්\u200dර",
    "র\u200d্য",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467",
    "\U0001f3f3\ufe0f\u200d\U0001f308",
    "\U0001f469\U0001f3fd\u200d\U0001f33e",
    "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "❤\ufe0f",
    "狐狸",
    "not alpaca",
]


@pytest.mark.parametrize("character", INVISIBLE)
def test_what_cannot_be_seen_is_no_part_of_a_label(character):
    for text in (f"{character}red fox", f"red{character} fox", f"red f{character}ox", f"red fox{character}"):
        assert label_of(text) == "red fox"
    assert label_of(character) == ""


@pytest.mark.parametrize("space", SPACES)
def test_white_space_of_any_kind_is_one_space(space):
    assert label_of(f"{space}red{space}fox {space}") == "red fox"


@pytest.mark.parametrize("text", WRITTEN_SO)
def test_what_is_needed_stays(text):
    assert label_of(text) == text
    assert label_of(f"{text}\u200b ") == text


def test_bytes_that_are_no_utf8_become_text():
    assert label_of("caf\udce9 \ud800") == "caf\\xe9 \\ud800"


@given(
    st.text(
        st.characters() | st.sampled_from([*INVISIBLE, "\u00a0", "\u3000", "\u094d", "\u0301", "\U0001f469", "\u0647"])
    )
)
def test_a_label_is_its_own_label_and_composed(text):
    label = label_of(text)
    assert label_of(label) == label == unicodedata.normalize("NFC", label)
    assert label == " ".join(label.split())
    assert label_of(unicodedata.normalize("NFD", text)) == label
    label.encode()


class TestOneClass:
    @pytest.mark.parametrize("other", [NFD, f"{NFC}\u200b", f"{NFC} ", f"\ufeff{NFC}"])
    def test_folders_that_look_the_same_are_one_class_and_said_to_be(self, tmp_path, caplog, other):
        data = fill(tmp_path, f"{NFC}/1.png", f"{other}/2.png", "fox/3.png")
        labelled = read_labels(data)
        assert sorted(labelled.labels) == sorted([NFC, NFC, "fox"])
        assert len(labelled.paths) == 3 and all(map(os.path.isfile, labelled.paths))
        assert ascii(NFC) in caplog.text and ascii(other) in caplog.text and "are one class" in caplog.text

    def test_so_are_labels_in_names_and_tables(self, tmp_path):
        data = fill(tmp_path, f"{NFC}.1.png", f"{NFD}.2.png", "fox.3.png")
        for pattern in (f"(?P<label>{NFC}|fox)", f"(?P<label>{NFD}|fox)", r"(?P<label>[^.]+)"):
            assert sorted(read_labels(data, label_pattern=pattern).labels) == sorted([NFC, NFC, "fox"])
        (tmp_path / "t.csv").write_text(f"path,label\n{NFC}.1.png,{NFC}\n{NFD}.2.png,{NFD}\u00a0\nfox.3.png,fox\n")
        assert sorted(read_labels(data, labels=str(tmp_path / "t.csv")).labels) == sorted([NFC, NFC, "fox"])

    @pytest.mark.parametrize("other", ["Fox", "FOX"])
    def test_case_makes_two_classes_and_is_said(self, tmp_path, caplog, other):
        labelled = read_labels(fill(tmp_path, "fox/1.png", f"{other}/2.png", "walrus/3.png"))
        assert len(labelled.classes) == 3
        assert f"the classes '{other}' and 'fox' differ only in case" in caplog.text

    def test_so_are_spaces_and_hyphens(self, tmp_path, caplog):
        assert len(read_labels(fill(tmp_path, "red fox/1.png", "red_fox/2.png", "Red-Fox/3.png")).classes) == 3
        assert "'Red-Fox' and 'red fox' and 'red_fox' differ only in case, white space or hyphens" in caplog.text

    def test_a_folder_whose_name_cannot_be_seen_gives_no_label(self, tmp_path, caplog):
        labelled = read_labels(fill(tmp_path, "\u200b/1.png", "fox/2.png", "walrus/3.png"))
        assert labelled.classes == ["fox", "walrus"] and len(labelled.unlabelled) == 1
        assert "without label, left out: 1" in caplog.text


class TestPaths:
    @pytest.mark.parametrize(("there", "asked"), [(NFC, NFD), (NFD, NFC)])
    def test_are_found_in_either_form(self, tmp_path, monkeypatch, there, asked):
        data = fill(tmp_path, f"{there}/a/{there}.png", f"{there}/b/2.png")
        assert not (tmp_path / asked).exists()
        rows = f"path,label\n{asked}/a/{asked}.png,a\n{asked}/b/2,b\n"
        (tmp_path / f"{there}.csv").write_text(rows)
        for table_data in (data, None):
            assert read_labels(table_data, labels=str(tmp_path / f"{asked}.csv")).labels == ["a", "b"]
        assert len(read_labels(str(tmp_path / asked)).paths) == 2
        monkeypatch.chdir(tmp_path)
        assert read_labels(f"{asked}/").paths[0].startswith(f"{there}/")
        fill(tmp_path, f"set/{there}/a/1.png", f"set/{there}/b/2.png", "set/other/a/3.png")
        assert read_labels("set", train_folder=asked, test_folder="other").parts.count("train") == 2

    @pytest.mark.parametrize("mark", ["\u200b", "\u00a0", "\ufeff"])
    def test_are_found_whatever_cannot_be_seen(self, tmp_path, mark):
        data = fill(tmp_path, f"red{mark} fox/1.png", "wolf/2.png")
        for written in (f"red{mark} fox/1.png", "red fox/1.png", f"red fox/1.png{mark}", f"{mark}red fox/1.png"):
            (tmp_path / "t.csv").write_text(f"path,label\n{written},a\nwolf/{mark}2.png,b\n")
            assert read_labels(data, labels=str(tmp_path / "t.csv")).labels == ["a", "b"]

    def test_two_files_that_differ_in_form_alone_are_told_apart(self, tmp_path):
        data = fill(tmp_path, f"{NFC}.png", f"{NFD}.png")
        (tmp_path / "t.csv").write_text(f"path,label\n{NFC}.png,a\n{NFD}.png,b\n")
        labelled = read_labels(data, labels=str(tmp_path / "t.csv"))
        assert {os.path.basename(path): label for path, label in zip(labelled.paths, labelled.labels, strict=True)} == {
            f"{NFC}.png": "a", f"{NFD}.png": "b"
        }  # fmt: skip

    def test_of_predictions_too(self, photos, tmp_path, run):
        cache = str(tmp_path / "cache")
        pipeline.train(str(photos), "centroid", backbone="nano", cache_dir=cache, model=str(tmp_path / "m.joblib"))
        folder = tmp_path / NFD
        (photos / "brick").rename(folder)
        (folder / "brick.1.png").rename(folder / f"{NFC}.png")
        asked = [str(tmp_path / NFC), str(tmp_path / NFC / f"{NFD}.png")]
        answers = [
            pipeline.predict(asked[0], str(tmp_path / "m.joblib")),
            pipeline.predict(asked[1:], str(tmp_path / "m.joblib")),
        ]
        assert [len(answer) for answer in answers] == [12, 1] and None not in [*answers[0], *answers[1]]
        status, out, _ = run("predict", "--model", tmp_path / "m.joblib", *asked)
        assert status == 0 and len(out.splitlines()) == 14


def test_a_model_whose_classes_are_spelled_otherwise_is_scored_by_its_own(photos, tmp_path, monkeypatch):
    old = f"{NFD} "
    (photos / "brick").rename(photos / old)
    model, cache = str(tmp_path / "m.joblib"), str(tmp_path / "cache")
    with monkeypatch.context() as patch:  # as labels were taken before they were normalised
        patch.setattr(classify.labels.label_sources, "label_of", str)
        report = pipeline.train(str(photos), "centroid", backbone="nano", cache_dir=cache, model=model)
    classifier = pipeline.load(model)
    assert old in classifier.classes_
    scored = pipeline.evaluate(str(photos), classifier)
    assert scored["confusion_matrix"] == report["confusion_matrix"]
    findings = pipeline.report(str(photos), classifier, str(tmp_path / "r.html"))
    assert findings.scores.accuracy == report["accuracy"]
