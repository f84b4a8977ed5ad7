"""Make a trained student the network that ships with the project: its weights in half precision.

    python -m featurize.distil.ship STUDENT.keras PHOTOGRAPHS

Refuses where half precision changes the features of a photograph: every cosine must be 0.9999 or more.
"""

import os
import sys
from pathlib import Path

import numpy as np

from cache.errors import UserError
from featurize.backbones.backbone_table import find_backbone
from featurize.backbones.nano import SIZE, build_nano, load_nano, save_nano
from featurize.backbones.weights import locate
from featurize.decoding.decode import decode
from featurize.engines.keras_import import import_keras
from featurize.pictures.find import find_images

LEAST_COSINE = 0.9999
PHOTOGRAPHS = 500
MOST_BYTES = 2_500_000


def ship(student: str, photographs: str, path: str) -> tuple[float, int]:
    """Write the weights of the .keras file `student` to `path`: (smallest cosine, bytes)."""
    keras = import_keras()
    trained = keras.saving.load_model(student, compile=False)
    save_nano(trained, path + ".tmp.npz")
    shipped = build_nano(keras, (SIZE, SIZE))
    load_nano(shipped, path + ".tmp.npz")
    images = find_images(photographs).images[:PHOTOGRAPHS]
    pixels = np.stack([decode(Path(image).read_bytes(), (SIZE, SIZE)) for image in images]).astype(np.float32)
    before, after = (network.predict(pixels, verbose=0).mean(axis=(1, 2)) for network in (trained, shipped))
    norms = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    cosine = float(((before * after).sum(axis=1) / norms).min())
    size = os.path.getsize(path + ".tmp.npz")
    if cosine < LEAST_COSINE or size > MOST_BYTES:
        raise UserError(f"{student}: smallest cosine {cosine:.6f}, {size} bytes: not to be shipped")
    os.replace(path + ".tmp.npz", path)
    return cosine, size


if __name__ == "__main__":
    cosine, size = ship(sys.argv[1], sys.argv[2], locate(find_backbone("nano"), SIZE, None).path)
    print(f"smallest cosine {cosine:.7f}, {size} bytes")
