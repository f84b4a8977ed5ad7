"""Images in, bottleneck features out."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "Featurizer":  # needs scikit-learn, which is slow to import: only when asked for
        from featurize.featurizer import Featurizer

        return Featurizer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
