"""From a folder of photographs to a page to label them on: what is there is found, the rest is computed meanwhile."""

import os
from typing import Any

from bottleneck_features.review.gallery import Gallery, name_of
from bottleneck_features.review.session import Session
from cache.errors import UserError, log
from classify.labelling.label_log import Entry, LabelLog, open_log
from classify.labels.read_labels import LabelledImages, find_labelled
from featurize.extract.extractor import Extractor
from featurize.open_extractor import open_extractor
from featurize.spec_options import SpecOptions

DEFAULT_LABELS = "labels.csv"


def review_folder(
    data: str, labels: str, cache_dir: str, spec: SpecOptions, adopt: bool, port: int, browser: bool
) -> None:
    """Serve the page for the folder `data` until Ctrl-C; labels go to the file `labels`.

    adopt: take the labels that the folders of the pictures say into that file first. Raises UserError for a folder
    without pictures, for a file that is no such table, and as `open_extractor`.
    """
    from bottleneck_features.review.application import run_review

    found = find_labelled(data)
    extractor = open_extractor(cache_dir, **spec)
    with open_log(labels) as table:
        if table.read_only:
            log.warning("%s is open in another window: this one shows it, and cannot change it", labels)
        elif adopt:
            log.info("%d labels of folders are taken over into %s", adopted(table, found, data), labels)
        elif found.labels and not table.entries:
            log.info("%d pictures lie in folders of classes: --adopt takes these as labels", len(found.labels))
        session = open_session(found, data, extractor, table)
        try:
            run_review(session, cache_dir, port, browser)
        finally:
            session.close()
    print(f"{len(table.labels)} labels in {labels}; next: train --data {data} --labels {labels}")


def open_session(found: LabelledImages, data: str, extractor: Extractor, table: LabelLog) -> Session:
    """A session on the pictures that were found below `data`, which has begun to compute and to learn."""
    if not (images := found.all_images):
        raise UserError(f"there is no image in {data!r}")
    session = Session(Gallery(os.path.abspath(data), images, extractor), table)
    session.start()
    return session


def adopted(table: LabelLog, found: LabelledImages, data: str) -> int:
    """Put the labels of folders into the table, but for pictures that it has already; returns how many."""
    names = [name_of(path, data) for path in found.paths]
    new: dict[str, Any] = {
        name: Entry(label, how="of its folder")
        for name, label in zip(names, found.labels, strict=True)
        if name not in table.entries
    }
    table.put(new)
    return len(new)
