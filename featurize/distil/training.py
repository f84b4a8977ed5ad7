"""Train the student on cached crops: the loop, its losses, its learning curve.

There are two losses, each 1 - cosine. One compares the pooled features, less the teacher's mean. The other compares the
maps at every position, with each channel of the teacher scaled to mean 0 and standard deviation 1. The student sees the
first part of the samples at a smaller side: that costs less than half, so it sees twice as many in the same time.
"""

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from cache.errors import UserError, log
from cache.files.atomic import write_atomically
from featurize.backbones.network import seeded
from featurize.distil.checkpoint import load_checkpoint, save_checkpoint
from featurize.distil.samples import RUN, Batch, Samples
from featurize.distil.student import build_student, keras, tf
from featurize.extract.outcome import Progress

BATCH = 64
SMALLER = 2 / 3, 0.65  # (side, relative to the full side; share of the samples at that side)
WARM_UP = 0.03  # share of the samples during which the learning rate rises; then it falls as a cosine
AVERAGED = 0.998  # share of the averaged weights that a step leaves unchanged
NOTED = 20_000, 20  # a row of the learning curve every so many samples, and at least so many rows
SAVE_EVERY = 120.0  # seconds


@dataclass(frozen=True)
class Plan:
    """How long and how to train. A resumed training may have more `samples`; the rest must be the same.

    samples        crops that the student sees; a crop counts each time it is seen
    side           side of the student's input in pixels
    learning_rate  the highest one, of AdamW (Loshchilov, Hutter: "Decoupled weight decay regularization", 2019)
    seed           of the order of the crops and the initial weights
    """

    samples: int
    side: int
    learning_rate: float = 0.06
    weight_decay: float = 0.02
    seed: int = 0


class Training:
    """A student in training: its weights, their running average, the optimizer, and the progress."""

    def __init__(self, samples: Samples, plan: Plan):
        channels, local_channels = samples.features.shape[-1], samples.map_shape[-1]
        self.plan = plan
        self.samples = samples
        with seeded(plan.seed):
            self.student = build_student(channels, local_channels)
            self.averaged = build_student(channels, local_channels)
        self.averaged.set_weights(self.student.get_weights())
        self.optimizer = keras.optimizers.AdamW(
            plan.learning_rate, beta_2=0.99, weight_decay=plan.weight_decay, clipnorm=1.0
        )
        self.optimizer.build(self.student.trainable_variables)
        self.seen = 0
        self.seconds = 0.0
        self.curve: list[dict[str, float]] = []
        self._variables = {
            "student": self.student.weights,
            "averaged": self.averaged.weights,
            "optimizer": self.optimizer.variables,
        }
        self._measure_teacher()

    def run(self, checkpoint: str, curve: str, progress: Progress) -> None:
        """Train to the end of the plan, from `checkpoint` if it exists; write it and the `curve` (CSV) now and then."""
        self._take_up(checkpoint)
        started, before, first = time.perf_counter(), self.seconds, self.seen
        saved = started
        sums = np.zeros(2)
        steps = 0
        note_every = max(BATCH, min(NOTED[0], self.plan.samples // NOTED[1]))
        batches = self.samples.batches(BATCH, np.random.default_rng([self.plan.seed, self.seen]))
        try:
            while self.seen < self.plan.samples:
                sums += self._step(next(batches))
                steps += 1
                progress("training", self.seen - first, self.plan.samples - first)
                self.seconds = before + time.perf_counter() - started
                if self.seen // note_every != (self.seen - BATCH) // note_every:
                    self._note(*(sums / steps).tolist())
                    table = pd.DataFrame(self.curve).to_csv(index=False, float_format="%.6g", lineterminator="\n")
                    write_atomically(curve, table.encode())
                    sums, steps = np.zeros(2), 0
                if time.perf_counter() - saved > SAVE_EVERY:
                    save_checkpoint(checkpoint, self._variables, self._record())
                    saved = time.perf_counter()
        finally:  # however the run ends, the next one resumes from here
            save_checkpoint(checkpoint, self._variables, self._record())

    def held_out_cosine(self) -> float:
        """Mean cosine of the student's and the teacher's features, less the teacher's mean, on held-out photographs.

        The student has the averaged weights and sees the first view at the full side.
        """
        pixels, _, features = self.samples.read(0, slice(0, self.samples.held_out))
        rows = [self._features(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)]
        return float(_cosine(tf.concat(rows, 0) - self._mean, features.astype(np.float32) - self._mean))

    def _record(self) -> dict[str, Any]:
        """The progress of the training, and what identifies it."""
        teacher = [store.spec.fingerprint for store in self.samples.crops.stores]
        progress = {"seen": self.seen, "seconds": self.seconds, "curve": self.curve}
        return {"plan": asdict(self.plan), "teacher": teacher} | progress

    def _take_up(self, checkpoint: str) -> None:
        """Resume from `checkpoint` if there is one. There may be more crops and samples; all else must be the same."""
        mine = self._record()
        record = load_checkpoint(checkpoint, self._variables, mine)
        if (
            record["plan"] | {"samples": self.plan.samples} != mine["plan"]
            or record["teacher"][0] != mine["teacher"][0]
        ):
            raise UserError(f"{checkpoint} is of another training: choose another --output, or delete its folder")
        self.seen, self.seconds, self.curve = record["seen"], record["seconds"], record["curve"]
        if self.seen:
            log.info("taken up from %s: %d of %d samples seen", checkpoint, self.seen, self.plan.samples)

    def _measure_teacher(self) -> None:
        """Measure mean and standard deviation of the teacher's features and maps on the first training photographs."""
        first = self.samples.held_out
        _, maps, features = self.samples.read(0, slice(first, first + RUN))
        self._mean = tf.constant(features.mean(axis=0, dtype=np.float32))
        self._map_mean = tf.constant(maps.mean(axis=(0, 1, 2), dtype=np.float32))
        self._map_spread = tf.constant(maps.std(axis=(0, 1, 2), dtype=np.float32) + 1e-3)

    def _step(self, batch: Batch) -> np.ndarray:
        """Take one step of the optimizer; returns the two cosines before it, (2,)."""
        done = self.seen / self.plan.samples
        side = self.plan.side if done >= SMALLER[1] else round(SMALLER[0] * self.plan.side)
        rate = self.plan.learning_rate * min(1.0, done / WARM_UP + 1e-3) * (0.5 + 0.5 * np.cos(np.pi * done))
        self.optimizer.learning_rate = rate
        steps = self.seen // BATCH
        kept = tf.constant(min(AVERAGED, steps / (steps + 20)), tf.float32)
        self.seen += len(batch.pixels)
        return self._compiled_step(*(tf.constant(array) for array in batch), kept, side).numpy()

    @tf.function
    def _compiled_step(self, pixels: Any, maps: Any, features: Any, kept: Any, side: int) -> Any:
        pixels = tf.cast(pixels, tf.float32)
        if side != self.plan.side:
            pixels = tf.image.resize(pixels, (side, side))
        variables = self.student.trainable_variables
        with tf.GradientTape() as tape:
            student_map, local = self.student(pixels, training=True)
            pooled = tf.reduce_mean(tf.cast(student_map, tf.float32), axis=(1, 2))
            maps = tf.image.resize(tf.cast(maps, tf.float32), local.shape[1:3])
            of_features = _cosine(pooled - self._mean, tf.cast(features, tf.float32) - self._mean)
            of_maps = _cosine(tf.cast(local, tf.float32), (maps - self._map_mean) / self._map_spread)
            loss = 2 - of_features - of_maps
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        for average, variable in zip(self.averaged.trainable_variables, variables, strict=True):
            average.assign(average * kept + variable * (1 - kept))
        return tf.stack([of_features, of_maps])

    @tf.function
    def _features(self, pixels: Any) -> Any:
        student_map, _ = self.averaged(tf.cast(pixels, tf.float32), training=False)
        return tf.reduce_mean(tf.cast(student_map, tf.float32), axis=(1, 2))

    def _note(self, of_features: float, of_maps: float) -> None:
        row = {
            "samples": self.seen,
            "seconds": round(self.seconds),
            "learning_rate": float(self.optimizer.learning_rate),
            "feature_cosine": of_features,
            "map_cosine": of_maps,
            "held_out_cosine": self.held_out_cosine(),
        }
        self.curve.append(row)
        log.info(
            "%d of %d samples: cosine of features %.3f, of maps %.3f, on photographs left out %.3f",
            self.seen, self.plan.samples, of_features, of_maps, row["held_out_cosine"],
        )  # fmt: skip


def _cosine(a: Any, b: Any) -> Any:
    """The mean cosine along the last axis."""
    return tf.reduce_mean(tf.reduce_sum(tf.math.l2_normalize(a, axis=-1) * tf.math.l2_normalize(b, axis=-1), axis=-1))
