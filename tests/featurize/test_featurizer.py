"""The documentation of the featurizer: its examples run."""

import doctest

import featurize.featurizer


def test_the_examples_run() -> None:
    found = doctest.testmod(featurize.featurizer)
    assert found.attempted and not found.failed
