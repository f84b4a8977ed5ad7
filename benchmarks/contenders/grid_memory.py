"""A grid search with scikit-learn's own cache: a transformer around Keras, and `Pipeline(memory=)`.

`memory` keeps what `fit_transform` gave for the training pictures of a fold. What `transform` gives for the held-out
pictures is computed for each candidate again.
"""

import os
import time
from typing import Any

import numpy as np
from job import Job, answer, grid_search, read_job
from joblib import Memory
from keras_network import BATCH, keras_network, warm_up
from sklearn.base import BaseEstimator, TransformerMixin

passed = 0
network: tuple[Any, Any, tuple[int, int]]


class KerasFeatures(TransformerMixin, BaseEstimator):
    """Paths in, features out, by `model.predict`. The network is global: joblib would hash it with every call."""

    def fit(self, X: list[str], y: Any = None) -> "KerasFeatures":  # noqa: ARG002
        return self

    def transform(self, X: list[str]) -> np.ndarray:
        from keras.utils import img_to_array, load_img

        global passed  # noqa: PLW0603
        passed += len(X)
        model, preprocess, size = network
        pixels = np.array([img_to_array(load_img(path, target_size=size)) for path in X])
        return model.predict(preprocess(pixels), batch_size=BATCH, verbose=0)

    def __sklearn_is_fitted__(self) -> bool:
        return True


def main() -> None:
    global network  # noqa: PLW0603
    job: Job = read_job()
    network = keras_network(job)
    warm_up(network[0], network[2])
    memory = Memory(os.path.join(job.cache_dir, "memory"), verbose=0)
    start = time.perf_counter()
    found = grid_search([("features", KerasFeatures())], memory).fit(job.paths, job.labels)
    answer(job, seconds=time.perf_counter() - start, forward_passes=passed, accuracy=float(found.best_score_))


if __name__ == "__main__":
    main()
