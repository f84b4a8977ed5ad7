"""Pictures that an export is proven with: some that the model was trained on, else a folder's, else scikit-image's."""

import io
import os
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import zip_longest

from cache.errors import log
from classify.data.surfaces import PHOTOGRAPHS, draw_crop, photograph
from classify.saved.classifier import Classifier
from featurize.pictures.find_images import find_images
from featurize.pictures.sources import Source

CROPS = 3  # of each photograph


def pictures_for(classifier: Classifier, data: str | None) -> tuple[str, Iterator[Source]]:
    """What the pictures are, in words, and these: each folder's in turn, as folders are classes mostly."""
    named = None if data is None else find_images(data).images
    wanted = [digest.tobytes() for digest in classifier.saved.trained_on]
    if known := classifier.extractor.table.holding(wanted):
        each = {digest: path for path, digest in known.items()}  # of copies one
        if named is not None:
            log.info("the pictures of the training are there: those of %s are not needed for the proof", data)
        return "training pictures", _in_turn(each.values())
    if named is not None:
        return f"pictures of {data}", _in_turn(named)
    return "photographs that come with scikit-image", _photographs()


def _in_turn(paths: Iterable[str]) -> Iterator[str]:
    """One of each folder, then a second of each, and so on; in a folder in a random order, the same every time."""
    by_folder: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(paths):
        by_folder[os.path.dirname(path)].append(path)
    for inside in by_folder.values():
        random.Random(0).shuffle(inside)
    for turn in zip_longest(*by_folder.values()):
        yield from (path for path in turn if path is not None)


def _photographs() -> Iterator[bytes]:
    photographs = {label: photograph(label) for label in PHOTOGRAPHS}
    for number in range(CROPS):
        for label, grey in photographs.items():
            crop = draw_crop(grey, label, "test", f"{number:02}.png").of(grey)
            data = io.BytesIO()
            crop.save(data, "PNG")
            yield data.getvalue()
