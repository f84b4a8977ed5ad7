"""tf.data with `predict`: files read, decoded and resized by TensorFlow in parallel, ahead of the network."""

import time

from job import answer, read_job
from keras_network import BATCH, keras_network, warm_up


def main() -> None:
    job = read_job()
    network, preprocess, size = keras_network(job)
    warm_up(network, size)
    import tensorflow as tf

    def load(path: "tf.Tensor") -> "tf.Tensor":
        pixels = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
        return preprocess(tf.image.resize(pixels, size))

    start = time.perf_counter()
    files = tf.data.Dataset.from_tensor_slices(job.paths)
    batches = files.map(load, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH).prefetch(tf.data.AUTOTUNE)
    features = network.predict(batches, verbose=0)
    answer(job, features, seconds=time.perf_counter() - start, forward_passes=len(features))


if __name__ == "__main__":
    main()
