"""The whole job on the photographs of `classify.data.surfaces`, and a table of what the features are worth.

crops -> raw pixels | a network with random weights | the same network, pretrained -> one and the same head, fitted on
the left halves -> accuracy on the right halves -> a few predictions, and a picture of right and wrong ones
"""

import os
import tempfile
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

import pipeline
from bottleneck_features.demo.gallery import save_gallery
from cache.errors import log
from cache.row_key import content_digest
from classify.data.dataset import Dataset
from classify.data.surfaces import FOLDER, surfaces_folder
from classify.labels.read_labels import LabelledImages, read_labels
from classify.train import train_head
from featurize.decoding.decode import decode
from featurize.pictures.sources import read
from featurize.spec_options import DEFAULT_BACKBONE as BACKBONE

if TYPE_CHECKING:
    from featurize.extract.outcome import Progress


HEAD = "logreg"
MODEL = os.path.join("models", "demo.joblib")
PICTURE = f"{FOLDER}-right-and-wrong.png"  # beside the folder: every picture in it is data
PIXELS = (32, 32)  # what crops are reduced to for the row of raw pixels
PREDICTED = 3  # crops whose predictions are shown


def run_demo(cache_dir: str = pipeline.DEFAULT_CACHE, progress: "Progress | None" = None) -> dict[str, Any]:
    """Write crops, compute features, train, score, predict, draw; all of it below the current folder.

    Returns the report: train and test (numbers of crops), classes, rows (features, accuracy, accuracy_interval,
    log_loss, seconds), predictions (path, true, ranked), model, picture, right (of the test crops), seconds.
    """
    started = time.perf_counter()
    folder = surfaces_folder()
    found = read_labels(folder)
    tested = [i for i, part in enumerate(found.parts) if part == "test"]
    paths, labels = [found.paths[i] for i in tested], [found.labels[i] for i in tested]
    log.info("crops of photographs: %d to train on, %d to test on", len(found.paths) - len(paths), len(paths))

    with tempfile.TemporaryDirectory() as elsewhere:
        unused = os.path.join(elsewhere, "random.joblib")
        settings: dict[str, Any] = {"head": HEAD, "backbone": BACKBONE, "cache_dir": cache_dir}
        rows = [
            _row("raw pixels", progress, lambda _: _train_on_pixels(found)),
            _row(
                f"{BACKBONE} with random weights",
                progress,
                lambda shown: pipeline.train(folder, model=unused, weights="random", progress=shown, **settings),
            ),
            _row(BACKBONE, progress, lambda shown: pipeline.train(folder, model=MODEL, progress=shown, **settings)),
        ]

    model = pipeline.load(MODEL, cache_dir=cache_dir)
    spread = [len(paths) * number // PREDICTED for number in range(PREDICTED)]  # crops of different classes
    return {
        "train": len(found.paths) - len(paths),
        "test": len(paths),
        "classes": found.classes,
        "rows": rows,
        "predictions": [{"path": paths[i], "true": labels[i], "ranked": _ranked(model, paths[i])} for i in spread],
        "right": save_gallery(PICTURE, paths, labels, list(model.predict(paths))),
        "model": MODEL,
        "picture": PICTURE,
        "seconds": time.perf_counter() - started,
    }


def _row(
    features: str, progress: "Progress | None", train: Callable[["Progress | None"], dict[str, Any]]
) -> dict[str, Any]:
    """Train, and show progress under the name of the features: both networks have a stage `features`."""
    log.info("as features: %s", features)
    started = time.perf_counter()
    report = train(progress and (lambda stage, done, total: progress(f"{features}, {stage}", done, total)))
    scores = {name: report[name] for name in ("accuracy", "accuracy_interval", "log_loss")}
    return {"features": features, **scores, "seconds": time.perf_counter() - started}


def _train_on_pixels(found: LabelledImages) -> dict[str, Any]:
    """The report of a head whose features are the pixels of the reduced crops."""
    files = [read(path) for path in found.paths]
    dataset = Dataset(
        features=np.array([decode(data, PIXELS).ravel() / 255 for data in files], np.float32),
        labels=np.array(found.labels),
        parts=np.array(found.parts),
        digests=np.array([list(content_digest(data)) for data in files], np.uint8),
        paths=found.paths,
    )
    return train_head(dataset, HEAD, {}).report()


def _ranked(model: "pipeline.Classifier", path: str) -> list[tuple[str, float]]:
    table = pipeline.top_k(path, model, 3)
    return list(zip(table["label"], table["probability"], strict=True))
