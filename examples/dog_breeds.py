"""120 breeds of dogs from a table of labels: InceptionV3, the tutorial's augmentation as views, TensorBoard, top 3.

DATA is a folder like that of the competition "Dog Breed Identification": labels.csv with the columns id and breed, and
the photographs ID.jpg in train/; photographs that the table does not list (in test/, say) are unseen, and some of them
are shown with their three most probable breeds. The competition's photographs are drawn from the Stanford Dogs, which
can be downloaded by anybody: the table is then made of their folders, and leaves out two of each breed.
"""

import csv
import importlib.util
import io
import os
import re
from pathlib import Path

import pipeline
from cache.files.atomic import write_atomically
from classify.labels.label_tables import read_table
from examples.downloads import Archive
from examples.pictures import draw_curves, draw_predictions
from examples.shared import Asked, example, show
from featurize.pictures.find_images import find_images

PHOTOGRAPHS = Archive(
    "dog_breeds",
    "http://vision.stanford.edu/aditya86/ImageNetDogs/images.tar",
    # As TensorFlow Datasets records it for its data set stanford_dogs.
    sha256="a443fc2f9a851aa1a7b8e4fa4af94b8459fce2c9f5a2f4dd4669cf9673a4ec58",
    most_bytes=793_579_520,
)
SHOWN = 8
UNLISTED = 2  # photographs of each breed that a table made of folders leaves out


def dog_breeds(asked: Asked) -> None:
    """Which breed? Labels from a table, four views of each photograph, curves for TensorBoard, top 3 of unseen dogs."""
    table = os.path.join(asked.data, "labels.csv")
    if not os.path.exists(table):
        table = table_of_folders(asked.data, asked.place("labels.csv"))
    model, logs = asked.place("dense.joblib"), asked.place("tensorboard")
    watched = importlib.util.find_spec("tensorboard") is not None
    if not watched:
        print("no curves for TensorBoard, which is not installed: .venv/bin/pip install tensorboard")
    report = pipeline.train(
        asked.data,
        "dense",
        labels=table,
        path_column="id",
        label_column="breed",
        views=4,
        recipe="tutorial-breeds",
        predict_views=1,
        head_params={"tensorboard": logs} if watched else {},
        model=model,
        **asked.features,
    )
    show(asked, [("four views of each", None, report)])
    if watched:
        print(f"curves: tensorboard --logdir {logs}")
    draw_curves(report["history"], asked.place("curves.png"))
    draw_predictions(model, unlisted(asked.data, table), asked.place("top3.png"), k=3)


def table_of_folders(folder: str, table: str) -> str:
    """Write the table id, breed of photographs in folders such as n02085620-Chihuahua, and return its path."""
    rows = io.StringIO()
    writer = csv.writer(rows)
    writer.writerow(["id", "breed"])
    for inside in sorted(Path(folder).iterdir()):
        breed = re.sub(r"^n\d+-", "", inside.name).lower()
        for photograph in sorted(inside.glob("*.jpg"))[:-UNLISTED]:
            writer.writerow([photograph.stem, breed])
    write_atomically(table, rows.getvalue().encode())
    return table


def unlisted(folder: str, table: str) -> list[str]:
    """Some photographs that the table does not list, from all over the folder."""
    listed = {Path(path).stem for path in read_table(table, "id", "breed").paths}
    unseen = [path for path in find_images(folder).images if Path(path).stem not in listed]
    return unseen[:: max(1, len(unseen) // SHOWN)][:SHOWN]


if __name__ == "__main__":
    example("dog_breeds", dog_breeds, PHOTOGRAPHS, backbone="inception_v3")
