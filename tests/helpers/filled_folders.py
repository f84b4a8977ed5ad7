"""Folders of real pictures in any layout, and what `read_labels` says of them."""

import os
import shutil
from pathlib import Path

import skimage

from classify.labels.read_labels import LabelledImages

PICTURE = Path(skimage.__file__).parent / "data" / "chessboard_GRAY.png"


def fill(folder: Path, *names: str) -> str:
    """Put a real picture under each of the names; returns the folder as read_labels takes it."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PICTURE, path)
    return str(folder)


def by_name(labelled: LabelledImages, folder: str) -> dict[str, str]:
    """Relative path -> label."""
    assert len(labelled.paths) == len(labelled.labels) == len(labelled.parts)
    return {os.path.relpath(p, folder): label for p, label in zip(labelled.paths, labelled.labels, strict=True)}


def parts_by_name(labelled: LabelledImages, folder: str) -> dict[str, str]:
    """Relative path -> part."""
    return {os.path.relpath(p, folder): part for p, part in zip(labelled.paths, labelled.parts, strict=True)}
