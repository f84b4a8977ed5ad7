"""The examples in the documentation of the heads do what they show."""

import doctest
import pkgutil

import pytest

from classify.heads.head_table import HEADS


@pytest.mark.parametrize("name", HEADS)
def test_the_example_of_a_head_runs(name: str) -> None:
    module, class_name = HEADS[name].estimator.split(":")
    estimator = pkgutil.resolve_name(f"{module}:{class_name}")
    (example,) = doctest.DocTestFinder(recurse=False).find(estimator, class_name, globs={class_name: estimator})
    assert example.examples
    assert not doctest.DocTestRunner().run(example).failed
