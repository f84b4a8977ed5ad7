"""Heads by their names, with parameters that make a fit quick."""

from classify.heads.base import FeatureHead
from classify.heads.head_table import HEADS, make_head

# The dense head has a test file of its own; here it takes part where all heads must behave alike.
QUICK = {"dense": {"epochs": 40, "learning_rate": 0.03}}
ON_ROWS = [name for name, row in HEADS.items() if not row.maps]
PLAIN = [name for name in ON_ROWS if name != "dense"]


def head(name: str, **params: object) -> FeatureHead:
    return make_head(name, QUICK.get(name, {}) | params)
