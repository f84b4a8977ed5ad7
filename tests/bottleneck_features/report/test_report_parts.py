"""What the page is made of: plots, the confusion matrix, thumbnails, and how names and numbers are written."""

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from bottleneck_features.report.findings import CalibrationBin, LearningPoint
from bottleneck_features.report.page.plots import calibration_plot, epochs_plot, learning_plot
from bottleneck_features.report.page.thumbnails import album_of
from bottleneck_features.report.page.wording import count, percent, printable
from bottleneck_features.report.parts.confusions import cells, occurring, worst_pairs
from classify.scoring.metrics import score


def pixels(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_plots_are_drawn_in_the_colours_of_the_page():
    history = {name: [0.4, 0.6, 0.9] for name in ("accuracy", "val_accuracy", "loss", "val_loss", "seconds")}
    drawn = [epochs_plot(history, quantity) for quantity in ("accuracy", "loss")]
    drawn.append(calibration_plot([CalibrationBin(0.6, 0.5, 4), CalibrationBin(0.95, 0.97, 200)], "No difference."))
    drawn.append(learning_plot([LearningPoint(40, 0.9, 0.85, 0.95), LearningPoint(200, 0.97, 0.96, 0.98)]))
    for svg in drawn:
        root = ElementTree.fromstring(svg)
        assert root.get("aria-label") and root.get("role") == "img"
        assert {"var(--accent)", "var(--quiet)", "var(--line)"} <= {e.get("stroke", e.get("fill")) for e in root.iter()}
        assert not re.search(r"#[0-9a-f]{6}| id=| style=|xlink|xmlns", svg)
    assert epochs_plot({"seconds": [1.0]}, "loss") == ""
    assert "<path" in epochs_plot({"loss": [0.5]}, "loss")


def test_the_worst_pairs_come_first():
    matrix = np.array([[5, 1, 3], [0, 9, 0], [3, 0, 1]])
    truth, answers = (np.repeat(codes.ravel(), matrix.ravel()) for codes in np.indices(matrix.shape))
    names = np.array(["a", "b", "c"])
    given = np.full((len(truth), 3), 1 / 3)
    scores = score(names[truth], names[answers], given, names, training_counts=[1, 1, 1])
    assert [(p.true, p.answer, p.count) for p in worst_pairs(scores)] == [(2, 0, 3), (0, 2, 3), (0, 1, 1)]
    assert [cell.count for row in cells(scores) for cell in row] == matrix.ravel().tolist()
    assert len(occurring(scores)) == 6


def test_thumbnails_keep_shape_and_stand_upright(tmp_path):
    file = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[274] = 6  # to be turned by 90 degrees
    Image.new("RGB", (600, 300), "red").save(file, exif=exif)
    tiny = tmp_path / "tiny.png"
    Image.new("RGB", (20, 1), "red").save(tiny)
    album = album_of([str(file), str(tiny)], [0, 1], [])
    assert [pixels(album.uris[number]).size for number in (0, 1)] == [(120, 240), (20, 1)]


def test_thumbnails_end_with_their_budget(surfaces):
    paths = sorted(str(path) for path in surfaces.rglob("*.png"))
    album = album_of(paths, [3, 5], range(len(paths)), budget=20_000)
    assert sum(map(len, album.uris.values())) <= 20_000
    assert {3, 5} <= set(album.uris) and len(album.uris) < len(paths)
    assert not album.unreadable


def test_hostile_files_become_thumbnails_or_reasons(shared):
    paths = sorted(str(path) for path in (shared / "images" / "hostile").iterdir())
    album = album_of(paths, [], range(len(paths)))
    assert set(album.uris) | set(album.unreadable) == set(range(len(paths)))
    assert album.uris and album.unreadable
    assert all(reason and "\n" not in reason for reason in album.unreadable.values())


def test_wording():
    assert printable("a\u202eb\udcff\n") == "a\\u202eb\\xff\\n"
    for name in ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "ñ 犬", "👩\u200d🚀"):
        assert printable(name) == name
    assert [percent(x) for x in (0, 0.0001, 0.5, 0.9875, 0.9999, 1)] == [
        "0.0%",
        "<0.1%",
        "50.0%",
        "98.8%",
        ">99.9%",
        "100.0%",
    ]
    assert [count(1), count(1200), count(2, "class", "classes")] == ["1 picture", "1,200 pictures", "2 classes"]
