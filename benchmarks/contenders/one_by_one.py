"""One picture at a time: `load_img`, `preprocess_input` and `model.predict` in a loop over the files."""

import time

import numpy as np
from job import answer, read_job
from keras_network import keras_network, warm_up


def main() -> None:
    from keras.utils import img_to_array, load_img

    job = read_job()
    network, preprocess, size = keras_network(job)
    warm_up(network, size)
    start = time.perf_counter()
    features = []
    for path in job.paths:
        pixels = img_to_array(load_img(path, target_size=size))
        features.append(network.predict(preprocess(pixels[np.newaxis]), verbose=0)[0])
    answer(job, np.array(features), seconds=time.perf_counter() - start, forward_passes=len(features))


if __name__ == "__main__":
    main()
