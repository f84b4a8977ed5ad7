"""From a folder of photographs to a page to label them on: what is there is found, the rest is computed meanwhile."""

import os
from collections.abc import Mapping
from functools import partial

from bottleneck_features.review.folders import adoptable
from bottleneck_features.review.growing_gallery import Gallery
from bottleneck_features.review.session import Session
from bottleneck_features.review.train_and_save import Project, Training
from cache.errors import UserError, log
from classify.labelling.label_log import LabelLog, open_log
from classify.labels.read_labels import LabelledImages, find_labelled
from featurize.extract.extractor import Extractor
from featurize.open_extractor import open_extractor

OF_FOLDER = "of its folder"


def review_folder(
    project: Project, adopt: bool, adopt_table: str | None, port: int, browser: bool, opens: Mapping[str, str]
) -> None:
    """Serve the page of a project until Ctrl-C.

    adopt: take the labels that the folders of the pictures say into its table first. adopt_table: those of a table.
    opens: what the page shows first, as `run_review`.
    Raises UserError for a folder without pictures, for a file that is no such table, and as `open_extractor`.
    """
    from bottleneck_features.review.run_review import run_review

    data, labels = project.data, project.labels
    found = find_labelled(data)
    if adopt_table and os.path.exists(labels) and os.path.samefile(adopt_table, labels):
        raise UserError(f"--adopt-table {adopt_table} is the table that labels go to: name another one with --labels")
    extractor = open_extractor(project.cache_dir, **project.spec)
    with open_log(labels) as table:
        if table.read_only:
            log.warning("%s is open in another window: this one shows it, and cannot change it", labels)
        else:
            if adopt_table:
                told = adoptable(table, _of_table(data, adopt_table), data, "of a table")
                table.put(told)
                log.info("%d labels of %s are taken over into %s", len(told), adopt_table, labels)
            if adopt:
                told = adoptable(table, found, data, OF_FOLDER)
                table.put(told)
                log.info("%d labels of folders are taken over into %s", len(told), labels)
        session = open_session(found, data, extractor, table)
        try:
            new = partial(adoptable, table, found, data, OF_FOLDER)
            run_review(session, Training(session, project), new, port, browser, opens)
        finally:
            session.close()
    print(f"{len(table.labels)} labels in {labels}; next: {project.command}")


def _of_table(data: str, table: str) -> LabelledImages:
    try:
        return find_labelled(data, labels=table)
    except UserError as error:
        if "--" not in str(error):
            raise
        plain = "`review` takes a table with the columns path and label as it is: these options are of `train`"
        raise UserError(f"{error} ({plain})") from None


def open_session(found: LabelledImages, data: str, extractor: Extractor, table: LabelLog) -> Session:
    """A session on the pictures that were found below `data`, which has begun to compute and to learn."""
    if not (images := found.all_images):
        raise UserError(f"there is no image in {data!r}")
    session = Session(Gallery(os.path.abspath(data), images, extractor), table)
    session.start()
    return session
