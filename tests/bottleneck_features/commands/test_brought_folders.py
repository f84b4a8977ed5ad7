"""Folders as people bring them, from a phone and from network storage: to a model and predictions in a command each."""

import csv
import io
from pathlib import Path

import pytest
import skimage.data
from conftest import SPEC
from helpers.files.heif_files import heic
from helpers.files.picture_files import encode
from PIL import Image

OPTIONS = [word for name, value in SPEC.items() for word in (f"--{name}", str(value))]
SCENES = {"coffee": skimage.data.coffee(), "cat": skimage.data.chelsea()}


def photographs(folder: Path, name: str, count: int = 8) -> None:
    (folder / name).mkdir(parents=True)
    for number in range(count):
        left, upper = 20 * number, 10 * number
        part = Image.fromarray(SCENES[name]).crop((left, upper, left + 200, upper + 150))
        part.save(folder / name / f"IMG_{number}.JPG", quality=90)


def predicted(out: str) -> dict[str, str]:
    return {Path(row["path"]).name: row["label"] for row in csv.DictReader(io.StringIO(out))}


def test_a_phones_folder(run, tmp_path: Path) -> None:
    pytest.importorskip("pi_heif")
    phone, model, cache = tmp_path / "phone", tmp_path / "m.joblib", tmp_path / "cache"
    for name in SCENES:
        photographs(phone, name)
        (phone / name / "IMG_0.MOV").write_bytes(b"\0\0\0\x14ftypqt  ")  # the moving part of a Live Photo
    (phone / "coffee" / "IMG_100.HEIC").write_bytes(heic("turned"))
    (phone / "coffee" / "IMG_100.MOV").write_bytes(b"\0\0\0\x14ftypqt  ")
    (phone / "coffee" / "IMG_101.heif").write_bytes(heic("grid"))
    (phone / "cat" / "IMG_102.avif").write_bytes(encode(Image.fromarray(SCENES["cat"]), "AVIF"))
    large = Image.fromarray(SCENES["cat"]).resize((120, 90)).resize((12_000, 9000), Image.Resampling.NEAREST)
    large.save(phone / "cat" / "IMG_103.jpg", quality=30)
    (phone / "cat" / "IMG_104.jpg").write_bytes((phone / "cat" / "IMG_3.JPG").read_bytes()[:-2])
    (phone / "dog").mkdir()
    for number in range(3):
        (phone / "dog" / f"IMG_{number}.HEIC").write_bytes(heic("upright")[: 1000 + number])

    words = ("--cache-dir", cache, "--model", model)
    status, out, err = run("train", "--data", phone, *words, *OPTIONS)
    assert status == 0, err
    assert "24 pictures: cat 11, coffee 10, dog 3" in err
    assert "passed over 3 files (3 .mov)" in err
    assert "images 24: computed 21, cached 0, failed 3" in out
    assert "warning: class 'dog' is left out: no picture of it can be read, failed are 3" in err
    assert "IMG_104.jpg: JPEG without its end marker, all pixels are there" in err

    status, out, err = run("predict", *words, phone)
    assert f"{phone}: passed over 3 files (3 .mov)" in err
    labels = predicted(out)
    assert labels["IMG_100.HEIC"] == labels["IMG_101.heif"] == "coffee"
    assert labels["IMG_102.avif"] == labels["IMG_103.jpg"] == labels["IMG_104.jpg"] == "cat"
    assert list(labels.values()).count("") == 3


def test_a_folder_of_network_storage(run, tmp_path: Path) -> None:
    nas, model, cache = tmp_path / "nas", tmp_path / "m.joblib", tmp_path / "cache"
    for name in SCENES:
        photographs(nas, name)
        for picture in sorted((nas / name).iterdir()):
            thumbnails = nas / name / "@eaDir" / picture.name
            thumbnails.mkdir(parents=True)
            Image.new("RGB", (64, 48), "red").save(thumbnails / "SYNOPHOTO_THUMB_M.jpg")
    (nas / "#recycle" / "deleted").mkdir(parents=True)
    Image.new("RGB", (64, 48), "blue").save(nas / "#recycle" / "deleted" / "old.jpg")
    (nas / "coffee" / "Thumbs.db").write_bytes(b"")

    words = ("--cache-dir", cache, "--model", model)
    status, out, err = run("train", "--data", nas, *words, *OPTIONS)
    assert status == 0, err
    assert "16 pictures: cat 8, coffee 8" in err
    assert "images 16: computed 16, cached 0, failed 0" in out
    passed_over = "passed over 4 files (3 system folders, 1 .db)"
    assert passed_over in err

    status, out, err = run("predict", *words, nas)
    assert status == 0 and f"{nas}: {passed_over}" in err
    rows = list(csv.DictReader(io.StringIO(out)))
    assert len(rows) == 16 and all(Path(row["path"]).parent.name == row["label"] for row in rows)


def test_a_spreadsheet_of_windows(run, tmp_path: Path) -> None:
    """Paths with backslashes below a drive that is not here, as Excel's "Unicode text" and as its CSV in German."""
    pictures, model, cache = tmp_path / "pictures", tmp_path / "m.joblib", tmp_path / "cache"
    for name in SCENES:
        photographs(pictures, name)
    labels = {"coffee": "Kaffee", "cat": "Kätzchen"}
    rows = [
        (rf"C:\Users\Jörg\Bilder\pictures\{path.parent.name}\{path.name}", labels[path.parent.name])
        for path in sorted(pictures.rglob("*.JPG"))
    ]
    tables = {}
    for name, separator, encoding in (("text.txt", "\t", "utf-16"), ("german.csv", ";", "utf-8-sig")):
        lines = [separator.join(row) for row in [("Datei", "Etikett"), *rows]]
        (tables.setdefault(name, tmp_path / name)).write_bytes(("\r\n".join(lines) + "\r\n").encode(encoding))

    columns = ("--path-column", "datei", "--label-column", "etikett")
    for table in tables.values():
        words = ("--cache-dir", cache, "--model", model)
        status, _, err = run("train", "--data", pictures, "--labels", table, *columns, *words, *OPTIONS)
        assert status == 0 and "16 pictures: Kaffee 8, Kätzchen 8" in err, err
        status, _, _ = run("predict", *words, "--output", tmp_path / "answers.csv", pictures)
        found = csv.DictReader((tmp_path / "answers.csv").open(encoding="utf-8", newline=""))
        assert status == 0 and {Path(row["path"]).parent.name: row["label"] for row in found} == labels
