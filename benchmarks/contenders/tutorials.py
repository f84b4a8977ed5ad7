"""The tutorials' way: `load_img` for every file into one array, `preprocess_input`, `model.predict`."""

import time

import numpy as np
from job import answer, read_job
from keras_network import BATCH, keras_network, warm_up


def main() -> None:
    from keras.utils import img_to_array, load_img

    job = read_job()
    network, preprocess, size = keras_network(job)
    warm_up(network, size)
    start = time.perf_counter()
    pixels = np.array([img_to_array(load_img(path, target_size=size)) for path in job.paths])
    features = network.predict(preprocess(pixels), batch_size=BATCH, verbose=0)
    answer(job, features, seconds=time.perf_counter() - start, forward_passes=len(features))


if __name__ == "__main__":
    main()
