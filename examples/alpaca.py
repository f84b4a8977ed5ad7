"""Alpaca or not: MobileNetV2 and a small head, as it is and with the tutorial's augmentation.

The tutorial (the assignment "Transfer Learning with MobileNetV2" of the course Convolutional Neural Networks) trains on
80% of 327 photographs, each turned and mirrored anew in every epoch, which passes each through the network as often.
Here four views of a photograph are computed once. It shrinks to 160 pixels; SIZE=160 does so too.
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
    settings = {"head_params": {"dropout": 0.2}, "test_size": 0.2, "cv": 5, **asked.features}
    plain = pipeline.train(asked.data, "dense", model=asked.place("plain.joblib"), **settings)
    # As in Keras, where these layers do nothing in a prediction.
    settings |= {"views": 4, "recipe": "tutorial-alpaca", "predict_views": 1}
    turned = pipeline.train(asked.data, "dense", model=asked.place("views.joblib"), **settings)
    show(asked, [("plain", 0.95, plain), ("with flips and rotations", 0.97, turned)])
    draw_curves(turned["history"], asked.place("curves.png"))


if __name__ == "__main__":
    example("alpaca", alpaca, PHOTOGRAPHS, backbone="mobilenet_v2")
