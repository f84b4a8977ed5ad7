"""Bottleneck features on disk: keys, immutable HDF5 shards, and the store over them.

Knows neither TensorFlow nor scikit-learn.
"""
