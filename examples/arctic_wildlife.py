"""Arctic foxes, polar bears and walruses: ResNet50V2 flattened, 1,024 dense units, curves, confusion matrix, samples.

The photographs are those of Jeff Prosise's book Applied Machine Learning and AI for Engineers (O'Reilly, 2022): 300 in
train/, 120 in test/, and some in samples/ that neither saw. Without samples/, test pictures are shown.
"""

from pathlib import Path

import pipeline
from examples.downloads import Archive
from examples.pictures import draw_confusion, draw_curves, draw_predictions
from examples.shared import Asked, example, show
from featurize.pictures.find_images import find_images

COMMIT = "a4e44fa2e156dcc551e3dba5fdecbcafb1ddc02c"  # of the book's repository
PHOTOGRAPHS = Archive(
    "arctic_wildlife",
    f"https://github.com/jeffprosise/Applied-Machine-Learning/archive/{COMMIT}.zip",
    sha256=None,  # the archive is packed on demand: what the commit holds is sure, not its bytes
    most_bytes=2_000_000_000,
    only=f"Applied-Machine-Learning-{COMMIT}/Chapter 10/Wildlife",
)
SHOWN = 8


def arctic_wildlife(asked: Asked) -> None:
    """Fox, bear or walrus? A dense head of 1,024 units on the flattened map, with curves and a confusion matrix."""
    model = asked.place("dense.joblib")
    report = pipeline.train(
        asked.data,
        "dense",
        pooling="flatten",
        head_params={"hidden": 1024, "dropout": 0.0, "epochs": 10},
        model=model,
        **asked.features,
    )
    show(asked, [("dense, 1,024 units", 0.95, report)])
    draw_curves(report["history"], asked.place("curves.png"))
    draw_confusion(report, asked.place("confusion.png"))
    draw_predictions(model, unseen(asked.data), asked.place("samples.png"))


def unseen(folder: str) -> list[str]:
    """Some photographs of samples/ or test/, of all classes."""
    samples = Path(folder, "samples")
    place = samples if samples.is_dir() else Path(folder, "test")
    found = find_images(str(place)).images if place.is_dir() else []
    return found[:: max(1, len(found) // SHOWN)][:SHOWN]


if __name__ == "__main__":
    example("arctic_wildlife", arctic_wildlife, PHOTOGRAPHS, backbone="resnet50_v2")
