r"""Cats and dogs, told apart by their file names: VGG16 flattened and a logistic regression, then its last block tuned.

The tutorial keeps the 4 x 4 x 512 numbers that VGG16 gives for 150 pixels in HDF5, trains a logistic regression on
them, and closes with keeping fewer layers of the network. Here the layers above the cut are trained as well, from what
is cached of those below it.
"""

import pipeline
from bottleneck_features.terminal.result_summary import show_report
from examples.downloads import Archive
from examples.pictures import draw_curves
from examples.shared import Asked, example, show

PHOTOGRAPHS = Archive(
    "cats_dogs",
    "https://storage.googleapis.com/mledu-datasets/cats_and_dogs_filtered.zip",
    sha256=None,
    most_bytes=100_000_000,
)
LABEL = r"(?P<label>cat|dog)\.\d+\.jpg"
CUTS = {"vgg16": "block4_pool", "mobilenet_v2": "block_12_add"}  # of another backbone: found by a short trial


def cats_dogs(asked: Asked) -> None:
    """Cat or dog? Labels from file names: logistic regression on the flattened map, then the last block tuned."""
    frozen = pipeline.train(
        asked.data,
        "logreg",
        label_pattern=LABEL,
        pooling="flatten",
        model=asked.place("frozen.joblib"),
        **asked.features,
    )
    show_report(frozen)
    print()
    tuned = pipeline.train(
        asked.data,
        "finetune",
        label_pattern=LABEL,
        cut=CUTS.get(asked.backbone, "auto"),
        views=1,
        model=asked.place("tuned.joblib"),
        **asked.features,
    )
    show(asked, [("logistic regression", 0.90, frozen), ("fewer layers kept, the others tuned", None, tuned)])
    draw_curves(tuned["history"], asked.place("curves.png"))


if __name__ == "__main__":
    example("cats_dogs", cats_dogs, PHOTOGRAPHS, backbone="vgg16", size="150")
