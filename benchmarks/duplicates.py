"""Are re-encoded copies found, different pictures left alone? A Markdown table, one row for each set of photographs.

    python benchmarks/copies.py FOLDER --weights FILE

FOLDER holds `alpaca`, `arctic_wildlife`, `cats_dogs` and `flowers`; the photographs that come with scikit-image
(`classify.surfaces`) are a fifth set. 150 pictures drawn from each set are encoded in each of the ways below. Columns:
the share of all different pictures that is grouped with another one, the pictures in the largest such group, and of
each way the share of copies that is grouped with its original, where these are the only copies in the set; under `all`
where all are there at once.
"""

import argparse
import datetime
import io
import os
import tempfile
from collections.abc import Callable

import numpy as np
from accuracy import SETS
from classify.copies import copy_groups
from PIL import Image, ImageOps

import pipeline
from classify.labels import read_labels
from classify.split import duplicate_groups
from classify.surfaces import surfaces_folder
from featurize.extractor import Extractor
from featurize.sources import Source

DRAWN = 150


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--pooling", default="avg")
    parser.add_argument("--weights")
    parser.add_argument("--cache-dir", default=".features")
    parser.add_argument("--sets", default=",".join([*SETS, "surfaces"]), help="names of sets, parted by commas")
    given = parser.parse_args()
    extractor = pipeline.open_extractor(
        given.cache_dir, backbone=given.backbone, pooling=given.pooling, weights=given.weights
    )
    print(f"{given.backbone}, {given.pooling}, {datetime.date.today()}\n")
    headings = ["set", "photographs", "grouped", "most", *ENCODINGS, "all"]
    print(f"| {' | '.join(headings)} |")
    print("|---" * len(headings) + "|")
    for name in given.sets.split(","):
        with tempfile.TemporaryDirectory() as folder:
            data = surfaces_folder(folder) if name == "surfaces" else os.path.join(given.folder, name)
            pattern = SETS.get(name, {}).get("label_pattern")
            found = read_labels(data, label_pattern=str(pattern) if pattern else None, for_training=True)
            cells = compare(found.paths, np.array(found.labels), extractor)
        print(f"| {name} | {len(found.paths)} | {' | '.join(cells)} |", flush=True)


def compare(paths: list[str], labels: np.ndarray, extractor: Extractor) -> list[str]:
    """The cells of one set's row."""
    drawn = np.sort(np.random.default_rng(0).choice(len(paths), min(DRAWN, len(paths)), replace=False))
    ways = np.repeat([*ENCODINGS], len(drawn))
    of = np.tile(drawn, len(ENCODINGS))
    sources: list[Source] = [*paths, *(encoded(paths[i], way) for way, i in zip(ways, of, strict=True))]
    extraction, rows = extractor.features(sources)
    if extraction.failures:
        raise SystemExit(f"{extraction.failures[0].path}: {extraction.failures[0].reason}")
    digests, labels = extraction.keys, np.concatenate([labels, labels[of]])

    def groups(chosen: np.ndarray) -> np.ndarray:
        return copy_groups(digests[chosen], labels[chosen], rows[chosen])

    alone = np.arange(len(paths))
    exact = duplicate_groups(digests[alone])
    different = np.unique(exact, return_index=True)[1]
    sizes = np.bincount(groups(alone)[different])
    cells = [f"{sizes[sizes > 1].sum() / len(different):.3f}", str(sizes.max())]
    for chosen in [*(ways == way for way in ENCODINGS), ways != ""]:
        found = groups(np.concatenate([alone, len(paths) + np.flatnonzero(chosen)]))
        cells.append(f"{np.mean(found[len(paths) :] == found[of[chosen]]):.3f}")
    return cells


def encoded(path: str, way: str) -> bytes:
    """The picture at `path` as the bytes of a file that is encoded in one of `ENCODINGS`, without its metadata."""
    with Image.open(path) as picture:
        upright = ImageOps.exif_transpose(picture).convert("RGB")
    data = io.BytesIO()
    ENCODINGS[way](upright, data)
    return data.getvalue()


def _scaled(picture: Image.Image, factor: float) -> Image.Image:
    sides = max(1, round(picture.width * factor)), max(1, round(picture.height * factor))
    return picture.resize(sides, Image.Resampling.LANCZOS)


Save = Callable[[Image.Image, io.BytesIO], None]
ENCODINGS: dict[str, Save] = {
    "PNG": lambda picture, data: picture.save(data, "PNG"),
    "JPEG 95": lambda picture, data: picture.save(data, "JPEG", quality=95),
    "JPEG 75": lambda picture, data: picture.save(data, "JPEG", quality=75),
    "JPEG 60": lambda picture, data: picture.save(data, "JPEG", quality=60),
    "JPEG 40": lambda picture, data: picture.save(data, "JPEG", quality=40),
    "WebP 80": lambda picture, data: picture.save(data, "WEBP", quality=80),
    "double": lambda picture, data: _scaled(picture, 2).save(data, "JPEG", quality=90),
    "half": lambda picture, data: _scaled(picture, 0.5).save(data, "JPEG", quality=90),
}


if __name__ == "__main__":
    main()
