"""An exported file is run in its own runtime on real pictures, and compared with what the model itself says of them."""

from collections.abc import Callable
from typing import Any

from classify.exports.about import About
from classify.heads.numerics import Floats
from classify.saved.classifier import Classifier

# The path of an exported file and pixels (n, height, width, 3) float32 -> probabilities (n, k), distances (n,) or None.
Run = Callable[[str, Floats], tuple[Floats, Floats | None]]


def prove(path: str, classifier: Classifier, about: About, run: Run, data: str | None = None) -> dict[str, Any]:
    """Compare the export at `path` with one-view answers of `classifier`; raises UserError where they differ."""
    raise NotImplementedError
