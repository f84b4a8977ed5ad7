"""Modules that have another name since models were saved: a pickled model names the module of each of its classes.

Whoever moves or renames a module of this table adds the name that it had; one line for each name in any version.
"""

import io
from typing import Any

RENAMED = {
    "cache.spec": "cache.row_key",
    # Version 0.1 of the packages: `classify` and `featurize` had no packages inside.
    "classify.arrays": "classify.heads.head_arrays",
    "classify.calibrated": "classify.heads.calibrated",
    "classify.dense": "classify.heads.dense.dense_head",
    "classify.finetune": "classify.heads.finetune.finetune_head",
    "classify.linear": "classify.heads.linear",
    "classify.neighbours": "classify.heads.neighbours",
    "classify.sgd": "classify.heads.sgd",
    "classify.svm": "classify.heads.svm",
    "featurize.tail": "featurize.backbones.tail",
    "featurize.weights": "featurize.backbones.weights",
}


def unpickle(data: bytes) -> Any:
    """The object in the bytes of a joblib file, its classes found under their names of today."""
    from joblib.numpy_pickle import NumpyUnpickler

    class Unpickler(NumpyUnpickler):
        def find_class(self, module: str, name: str) -> Any:
            return super().find_class(RENAMED.get(module, module), name)

    return Unpickler("", io.BytesIO(data), ensure_native_byte_order=True).load()
