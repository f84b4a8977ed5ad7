"""Are near-duplicates found, different pictures left alone? A Markdown table, one row for each set of photographs.

    python benchmarks/accuracy/duplicates.py FOLDER

FOLDER holds `alpaca`, `arctic_wildlife`, `cats_dogs` and `flowers`; the photographs that come with scikit-image
(`classify.data.surfaces`) are a fifth set. 150 pictures drawn from each set are encoded in each of the ways below.
Columns: the share of all different pictures that is grouped with another one, the pictures in the largest such group,
and of each way the share of copies that is grouped with its original, where these are the only copies in the set; under
`all` where all are there at once.

    python benchmarks/accuracy/duplicates.py --many 100000

Seconds for so many signatures, made from noise of several scales, a tenth of them blank.
"""

import argparse
import datetime
import io
import os
import tempfile
import time
from collections.abc import Callable

import numpy as np
from heads_on_sets import SETS
from PIL import Image, ImageOps

from cache.row_key import content_digest
from cache.signatures import SIDE
from classify.data.duplicates import near_duplicates
from classify.data.split import duplicate_groups
from classify.data.surfaces import surfaces_folder
from classify.labels.read_labels import read_labels
from featurize.decoding.decode import decode_views
from featurize.pictures.sources import read

DRAWN = 150


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--many", type=int, help="signatures to be compared; no folder is needed")
    parser.add_argument("--sets", default=",".join([*SETS, "surfaces"]), help="names of sets, parted by commas")
    given = parser.parse_args()
    if given.many:
        among_many(given.many)
        return
    print(f"{datetime.date.today()}\n")
    headings = ["set", "photographs", "grouped", "most", *ENCODINGS, "all"]
    print(f"| {' | '.join(headings)} |")
    print("|---" * len(headings) + "|")
    for name in given.sets.split(","):
        with tempfile.TemporaryDirectory() as folder:
            data = surfaces_folder(folder) if name == "surfaces" else os.path.join(given.folder, name)
            pattern = SETS.get(name, {}).get("label_pattern")
            found = read_labels(data, label_pattern=str(pattern) if pattern else None, for_training=True)
            cells = compare(found.paths)
        print(f"| {name} | {len(found.paths)} | {' | '.join(cells)} |", flush=True)


def compare(paths: list[str]) -> list[str]:
    """The cells of one set's row."""
    drawn = np.sort(np.random.default_rng(0).choice(len(paths), min(DRAWN, len(paths)), replace=False))
    ways = np.repeat([*ENCODINGS], len(drawn))
    of = np.tile(drawn, len(ENCODINGS))
    files = [*(read(path) for path in paths), *(encoded(paths[i], way) for way, i in zip(ways, of, strict=True))]
    digests = np.array([list(content_digest(data)) for data in files], np.uint8)
    signatures = np.stack([decode_views(data, (SIDE, SIDE)).signature for data in files])

    def groups(chosen: np.ndarray) -> np.ndarray:
        return near_duplicates(digests[chosen], signatures[chosen])

    alone = np.arange(len(paths))
    exact = duplicate_groups(digests[alone])
    different = np.unique(exact, return_index=True)[1]
    sizes = np.bincount(groups(alone)[different])
    cells = [f"{sizes[sizes > 1].sum() / len(different):.3f}", str(sizes.max())]
    for chosen in [*(ways == way for way in ENCODINGS), ways != ""]:
        found = groups(np.concatenate([alone, len(paths) + np.flatnonzero(chosen)]))
        cells.append(f"{np.mean(found[len(paths) :] == found[of[chosen]]):.3f}")
    return cells


def among_many(count: int) -> None:
    """Print how long it takes to compare `count` signatures: pictures of noise at several scales, a tenth blank."""
    random = np.random.default_rng(0)
    pixels = np.full((count, SIDE, SIDE, 3), 128.0, np.float32)
    for scale, spread in ((1, 12), (4, 20), (8, 25), (24, 35)):
        coarse = random.normal(0, spread, (count, SIDE // scale, SIDE // scale, 3)).astype(np.float32)
        pixels += coarse.repeat(scale, axis=1).repeat(scale, axis=2)
    blank = random.permutation(count)[: count // 10]
    pixels[blank] = 200 + random.normal(0, 1, (len(blank), SIDE, SIDE, 3))
    digests = random.integers(0, 256, (count, 32), np.uint8)
    signatures = np.clip(pixels, 0, 255).astype(np.uint8)
    del pixels
    started = time.perf_counter()
    found = len(np.unique(near_duplicates(digests, signatures)))
    print(f"{count} signatures, {found} different: {time.perf_counter() - started:.1f} s, {datetime.date.today()}")


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
