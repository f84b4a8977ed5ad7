"""thingsvision: its own data set, loader and extractor, around the same Keras network with the same weights.

Its `KerasExtractor` builds networks with their top, which weights without top do not fit, so the network comes in by
`get_extractor_from_model`; the extraction is the same code.
"""

import contextlib
import os
import sys
import tempfile
import time
from importlib.metadata import version

import tensorflow as tf
from job import answer, read_job
from thingsvision import get_extractor_from_model
from thingsvision.utils.data import DataLoader, ImageDataset

BATCH = 32
SIDE = 224
NAMES = {"mobilenet_v2": "MobileNetV2", "vgg16": "VGG16", "resnet50": "ResNet50"}  # all of them for 224 pixels


def main() -> None:
    job = read_job()
    if job.backbone not in NAMES:
        sys.exit(f"it is compared on {', '.join(NAMES)}, not on {job.backbone}")
    build = getattr(tf.keras.applications, NAMES[job.backbone])
    preprocess_input = getattr(tf.keras.applications, job.backbone).preprocess_input
    network = build(include_top=False, weights=job.weights or "imagenet", input_shape=(SIDE, SIDE, 3), pooling="avg")
    network.predict(tf.zeros((BATCH, SIDE, SIDE, 3)), verbose=0)
    preprocess = tf.keras.Sequential([tf.keras.layers.Lambda(preprocess_input), tf.keras.layers.Resizing(SIDE, SIDE)])
    extractor = get_extractor_from_model(model=network, device="cpu", backend="tf", preprocess=preprocess)
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryDirectory() as order,
        contextlib.redirect_stdout(sys.stderr),
    ):
        for number, path in enumerate(job.paths):
            os.symlink(path, os.path.join(folder, f"{number:06}{os.path.splitext(path)[1]}"))
        start = time.perf_counter()
        pictures = ImageDataset(folder, order, "tf", transforms=extractor.get_transformations())
        batches = DataLoader(pictures, BATCH, "tf")
        features = extractor.extract_features(batches, module_name=network.layers[-1].name, flatten_acts=False)
        seconds = time.perf_counter() - start
    answer(job, features, seconds=seconds, forward_passes=len(features), version=version("thingsvision"))


if __name__ == "__main__":
    main()
