"""Five kinds of flowers: EfficientNetB0 and a dense head with batch normalisation and dropout.

The photographs are TensorFlow's flower_photos; without a folder val/ or test/, 20% of them are held out.
"""

import pipeline
from examples.downloads import Archive
from examples.pictures import draw_confusion, draw_curves
from examples.shared import Asked, example, show

PHOTOGRAPHS = Archive(
    "flowers",
    "http://download.tensorflow.org/example_images/flower_photos.tgz",
    # As TensorFlow Datasets records it for its data set tf_flowers.
    sha256="4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c",
    most_bytes=228_813_984,
)


def flowers(asked: Asked) -> None:
    """Daisy, dandelion, rose, sunflower or tulip? A dense head with batch normalisation and dropout."""
    report = pipeline.train(
        asked.data,
        "dense",
        head_params={"hidden": 256, "batch_norm": True, "dropout": 0.5},
        model=asked.place("dense.joblib"),
        **asked.features,
    )
    show(asked, [("dense, batch norm and dropout", 0.90, report)])
    draw_curves(report["history"], asked.place("curves.png"))
    draw_confusion(report, asked.place("confusion.png"))


if __name__ == "__main__":
    example("flowers", flowers, PHOTOGRAPHS, backbone="efficientnet_b0")
