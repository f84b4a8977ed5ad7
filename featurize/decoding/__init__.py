"""Bytes of an image file -> pixels of the network's input size."""
