"""The whole classifier as one graph, from pixels to probabilities, in the terms of Keras or of OpenVINO."""
