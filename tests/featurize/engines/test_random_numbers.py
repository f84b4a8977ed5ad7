"""Building a network, whatever its weights, is nothing that the caller's random numbers notice."""

import random

import numpy as np
import pytest
import tensorflow as tf
from test_network import RANDOM, build

from featurize.backbones.backbone_table import find_backbone
from featurize.backbones.weights import locate


@pytest.mark.parametrize("weights", [RANDOM, locate(find_backbone("nano"), 64, None)], ids=["random", "packaged"])
def test_a_network_leaves_the_callers_random_numbers_alone(weights):
    def drawn(*, after_building):
        random.seed(7)
        np.random.seed(7)
        tf.random.set_seed(7)
        if after_building:
            build("nano", weights)
        return random.random(), np.random.rand(), float(tf.random.uniform(()))

    assert drawn(after_building=True) == drawn(after_building=False)


def test_random_weights_are_the_same_whatever_the_caller_drew_before():
    first = build("nano").get_weights()
    random.seed(99)
    assert all(np.array_equal(one, other) for one, other in zip(build("nano").get_weights(), first, strict=True))
