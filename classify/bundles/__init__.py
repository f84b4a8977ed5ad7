"""A trained model with its network in one file, which loads without the cache, without TensorFlow and unpickled."""
