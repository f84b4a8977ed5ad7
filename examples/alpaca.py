"""Alpaca or not: MobileNetV2 at 160 pixels and a small head, as it is and with the tutorial's augmentation.

The tutorial (the assignment "Transfer Learning with MobileNetV2" of the course Convolutional Neural Networks) trains on
80% of 327 photographs, each turned and mirrored anew in every epoch, which passes each through the network as often.
Here four views of a photograph are computed once.
"""

import pipeline
from examples.downloads import Archive
from examples.pictures import draw_curves
from examples.shared import Asked, example, show

PHOTOGRAPHS = Archive(
    "alpaca",
    "https://www.kaggle.com/api/v1/datasets/download/sid4sal/alpaca-dataset-small",
    sha256=None,
    most_bytes=200_000_000,
)


def alpaca(asked: Asked) -> None:
    """Is it an alpaca? 20% of the photographs are held out; plain, and with flips and rotations."""
    head = {"dropout": 0.2}
    plain = pipeline.train(
        asked.data, "dense", head_params=head, model=asked.place("plain.joblib"), test_size=0.2, **asked.features
    )
    turned = pipeline.train(
        asked.data,
        "dense",
        head_params=head,
        model=asked.place("views.joblib"),
        test_size=0.2,
        views=4,
        recipe="tutorial-alpaca",
        **asked.features,
    )
    show(asked, [("plain", 0.95, plain), ("with flips and rotations", 0.97, turned)])
    draw_curves(turned["history"], asked.place("curves.png"))


if __name__ == "__main__":
    example("alpaca", alpaca, PHOTOGRAPHS, backbone="mobilenet_v2", size="160")
