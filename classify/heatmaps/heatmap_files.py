"""Heat maps as files: each over its picture, one JPEG a picture, in a folder that is named."""

import hashlib
import os
import re
from collections.abc import Sequence

from cache.errors import UserError, log
from cache.files.atomic import require_writable, write_atomically
from classify.heatmaps.heat_map import HeatMap, as_jpeg, overlaid
from featurize.outputs import check_outputs, named
from featurize.pictures.find_images import ImageError
from featurize.pictures.sources import read
from featurize.replaceable import HEATMAP_MARK, require_kind

SIDE = 640  # pixels of the longer one
STEM = 40  # characters of a picture's name that its heat map's has


def file_of(folder: str, picture: str) -> str:
    """The file in `folder` for the heat map of a picture: its name, and eight digits that its whole path decides.

    Pictures of one name in several folders have files of their own, whatever the file system makes of the names.
    """
    stem = re.sub(r"[^\w-]", "_", os.path.splitext(os.path.basename(picture))[0])[:STEM]
    digest = hashlib.sha256(os.fsencode(os.path.abspath(picture))).hexdigest()[:8]
    return os.path.join(folder, f"{stem}-{digest}.jpg")


def check_folder(folder: str, pictures: Sequence[str], given: Sequence[str], cache_dir: str) -> None:
    """Refuse, before any work, a folder that heat maps of `pictures` cannot be written to without harm.

    given: files and folders that the pictures are from. Raises UserError for a file that is there and is no heat map,
    for a folder whose pictures would be taken for those of `given`, and for one of the cache; `OSError` where nothing
    can be written.
    """
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise UserError(f"--heatmap {folder} is a file: name a folder")
    example = os.path.join(folder, "x.jpg")
    for place in given:
        if os.path.isdir(place):
            check_outputs(named("--heatmap", example), data=place)
    check_outputs(named("--heatmap", folder, example), cache_dir=cache_dir)
    for picture in pictures:
        require_kind("--heatmap", file_of(folder, picture), "heat map")
    if pictures:
        require_writable(file_of(folder, pictures[0]))


def write_heatmaps(folder: str, pictures: Sequence[str], maps: list[HeatMap | None]) -> dict[int, str]:
    """Write each map over its picture; returns the files by the positions of the pictures.

    A picture that is gone meanwhile is announced, and has none.
    """
    files = {}
    for position, (picture, heat) in enumerate(zip(pictures, maps, strict=True)):
        if heat is None:
            continue
        file = file_of(folder, picture)
        try:
            drawn = overlaid(read(picture), heat, SIDE)
        except ImageError as error:
            log.warning("no heat map for %s: %s", picture, error)
            continue
        write_atomically(file, as_jpeg(drawn, HEATMAP_MARK))
        files[position] = file
    log.info("heat maps in %s: %d; without one, because without label: %d", folder, len(files), maps.count(None))
    return files
