"""Fine-tune the same layers end to end from image files, as tutorials do it, and from the cache.

    python benchmarks/finetune/finetune.py FOLDER --weights FILE

FOLDER has `train` and `val` (or `validation`, `test`), each with a folder for each class. End to end:
`image_dataset_from_directory`, random flips and rotations, the backbone with the layers below the cut frozen and batch
normalisation in inference mode, `model.fit`: first the new layer alone, then the layers above the cut. From the cache:
`classify.heads.finetune.finetune_head` on maps of the picture and its mirror image. Both with Adam at the same
highest rate, in turns; accuracy is that on the pictures of the other folder, never trained on.
"""

import argparse
import datetime
import os
import statistics
import tempfile
import time

import numpy as np

import pipeline
from classify.heads.finetune.finetune_head import FineTuneHead
from classify.labels.read_labels import LabelledImages, read_labels
from featurize.engines.keras_import import import_keras

BATCH, RATE, FIRST_RATE, SIDE = 32, 1e-4, 1e-3, 224
FIRST_EPOCHS = 2  # of the new layer alone, end to end
EPOCHS = 12  # from the cache


class EndToEnd:
    """A tutorial's network, and its epochs so far: seconds since the start and accuracy after each."""

    def __init__(self, train: str, test: str, weights: str, cut: str):
        keras = import_keras()
        start = time.perf_counter()
        options = {"image_size": (SIDE, SIDE), "batch_size": BATCH, "verbose": False}
        self.train = keras.utils.image_dataset_from_directory(train, seed=0, **options).prefetch(2)
        self.test = keras.utils.image_dataset_from_directory(test, shuffle=False, **options).prefetch(2)
        classes = len([entry for entry in os.scandir(train) if entry.is_dir()])
        self.base = keras.applications.MobileNetV2(include_top=False, weights=weights, input_shape=(SIDE, SIDE, 3))
        self.base.trainable = False
        pixels = keras.Input((SIDE, SIDE, 3))
        x = keras.layers.RandomRotation(0.2)(keras.layers.RandomFlip("horizontal")(pixels))
        x = keras.applications.mobilenet_v2.preprocess_input(x)
        x = keras.layers.GlobalAveragePooling2D()(self.base(x, training=False))
        self.model = keras.Model(pixels, keras.layers.Dense(classes)(keras.layers.Dropout(0.2)(x)))
        self.cut = cut
        self.done = 0
        self.seconds, self.epoch_seconds, self.accuracies = time.perf_counter() - start, [], []
        self._compile(FIRST_RATE)

    def epoch(self) -> None:
        """One more; its scoring is not in the time."""
        start = time.perf_counter()
        if self.done == FIRST_EPOCHS:
            self.base.trainable = True
            names = [layer.name for layer in self.base.layers]
            for layer in self.base.layers[: names.index(self.cut) + 1]:
                layer.trainable = False
            self._compile(RATE)
        self.model.fit(self.train, epochs=1, verbose=0)
        took = time.perf_counter() - start
        self.done += 1
        self.seconds += took
        if self.done > FIRST_EPOCHS + 1:  # not the one in which TensorFlow traces
            self.epoch_seconds.append(took)
        self.accuracies.append((self.seconds, self.model.evaluate(self.test, verbose=0)[1]))

    def _compile(self, rate: float) -> None:
        keras = import_keras()
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--weights", required=True, help="of MobileNetV2 1.0 at 224, without its top")
    parser.add_argument("--cut", default="block_12_add")
    parser.add_argument("--epochs", type=int, default=10, help="end to end, those of the new layer alone included")
    given = parser.parse_args()
    found = read_labels(given.folder)
    scored = next(part for part in ("test", "validation") if part in found.parts)
    theirs = EndToEnd(_folder(found, "train"), _folder(found, scored), given.weights, given.cut)
    for _ in range(given.epochs // 2):
        theirs.epoch()
    with tempfile.TemporaryDirectory() as cache:
        ours = FromCache(found, scored, given.weights, given.cut, cache)
    for _ in range(given.epochs - given.epochs // 2):
        theirs.epoch()
    _report(ours, theirs, found.parts.count("train"))


class FromCache:
    """The same by this project: seconds of the pass through the lower layers, of the fit, and of its epochs."""

    def __init__(self, found: LabelledImages, scored: str, weights: str, cut: str, cache: str):
        start = time.perf_counter()
        extractor = pipeline.open_extractor(
            cache, weights=weights, layer=cut, pooling="none", stored="float16", views=2, recipe="flip"
        )
        outcome, maps = extractor.features(found.paths)
        self.lower, self.passes = time.perf_counter() - start, outcome.forward_passes
        kept = outcome.succeeded
        labels, parts = np.array(found.labels)[kept], np.array(found.parts)[kept]
        start = time.perf_counter()
        plan = {"learning_rate": RATE, "epochs": EPOCHS, "validation_fraction": 0}
        head = FineTuneHead(extractor.tail(), random_state=0, verbose=0, **plan)
        head.fit(maps[parts == "train"], labels[parts == "train"])
        self.fit = time.perf_counter() - start
        self.epoch_seconds = head.history_["seconds"][1:]  # not the one in which TensorFlow traces
        self.accuracy = float((head.predict(maps[parts == scored]) == labels[parts == scored]).mean())


def _folder(found: LabelledImages, part: str) -> str:
    """The folder of a part of the data's own split."""
    path = found.paths[found.parts.index(part)]
    return os.path.dirname(os.path.dirname(path))


def _report(ours: FromCache, theirs: EndToEnd, pictures: int) -> None:
    each, cached = statistics.median(theirs.epoch_seconds), statistics.median(ours.epoch_seconds)
    total = ours.lower + ours.fit
    print(f"{pictures} photographs to train on, {datetime.date.today()}\n")
    print("| | end to end | from the cache | ratio |\n|---|---|---|---|")
    print(f"| an epoch, s | {each:.2f} | {cached:.2f} | {each / cached:.1f} |")
    print(f"| a picture, ms | {1000 * each / pictures:.1f} | {1000 * cached / pictures:.1f} | |")
    reached = next((seconds for seconds, accuracy in theirs.accuracies if accuracy >= ours.accuracy), None)
    best = max(accuracy for _, accuracy in theirs.accuracies)
    until = f"{reached:.0f}" if reached else f"not in {theirs.seconds:.0f} (best {best:.3f})"
    ratio = f"{reached / total:.1f}" if reached else f"above {theirs.seconds / total:.1f}"
    print(f"| to an accuracy of {ours.accuracy:.3f}, s | {until} | {total:.0f} | {ratio} |")
    print(f"\nfrom the cache: {ours.passes} passes through the lower part {ours.lower:.1f} s, the fit {ours.fit:.1f} s")


if __name__ == "__main__":
    main()
