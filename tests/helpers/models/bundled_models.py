"""Models of every kind that a bundle may hold, trained for a moment on real pictures, and their bundles."""

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from helpers.files.onnx_files import conv_net
from helpers.files.onnx_files import saved as saved_onnx

import pipeline
from classify.bundles.write_bundle import write_bundle

KINDS: dict[str, dict[str, Any]] = {
    "logreg": {"head": "logreg"},
    "dense": {"head": "dense", "head_params": {"epochs": 3}},
    "knn": {"head": "knn", "head_params": {"n_neighbors": 5}},
    "votes": {"head": "knn", "head_params": {"temperature": None, "normalize": "standard"}},
    "rbf": {"head": "svm", "head_params": {"kernel": "rbf", "C": 3.0}},
    "flatten": {"head": "centroid", "pooling": "flatten"},
    "max": {"head": "logreg", "pooling": "max"},
    "joined": {"head": "logreg", "backbone": "nano+nano", "size": "+64"},
    "views": {"head": "logreg", "views": 2},
    "finetune": {"head": "finetune", "head_params": {"epochs": 1, "validation_fraction": 0}},
    "onnx": {"head": "logreg", "backbone": "network.onnx", "preprocess": "scale=1/255 mean=0.5 std=0.5 crop=none"},
}


class Bundled(NamedTuple):
    """A model's file, its bundle, the pictures that it was trained on, and the cache that has their rows."""

    model: str
    bundle: str
    pictures: list[str]
    cache: str

    def load(self) -> Any:
        """The model as it was trained."""
        return pipeline.load(self.model, cache_dir=self.cache)


class Bundles:
    """Trains and bundles each kind when it is first asked for."""

    def __init__(self, folder: Path, photos: Path, warm_cache: Path):
        self._folder, self._photos = folder, photos
        self._cache = Path(shutil.copytree(warm_cache, folder / "cache"))
        self._made: dict[str, Bundled] = {}

    def of(self, kind: str) -> Bundled:
        """The model of that kind and its bundle; nobody may change them."""
        if kind not in self._made:
            options = {"backbone": "nano", **KINDS[kind]}
            if options["backbone"].endswith(".onnx"):
                options["backbone"] = saved_onnx(conv_net(), self._folder / options["backbone"])
            model = str(self._folder / f"{kind}.joblib")
            cache = str(self._cache)
            pipeline.train(str(self._photos), options.pop("head"), model=model, cache_dir=cache, seed=0, **options)
            bundle = str(self._folder / f"{kind}.zip")
            write_bundle(pipeline.load(model, cache_dir=cache), bundle)
            pictures = sorted(map(str, self._photos.glob("*/*.png")))
            self._made[kind] = Bundled(model, bundle, pictures, cache)
        return self._made[kind]


def most_apart(maps: list[Any], others: list[Any]) -> float:
    """The largest difference of heat maps, as a share of the largest value."""
    largest = max(float(np.abs(one.values).max()) for one in maps)
    apart = [float(np.abs(one.values - other.values).max()) for one, other in zip(maps, others, strict=True)]
    return max(apart) / (largest or 1)  # where hiding a part changes nothing, all are 0
