"""Does the report find wrong labels and copies? Both are planted in photographs; a table, one row for each set.

    python benchmarks/accuracy/findings.py FOLDER --weights FILE

FOLDER holds `alpaca`, `arctic_wildlife`, `cats_dogs` and `flowers`. In turns, one for each seed: one label in thirty is
replaced by another one, drawn at random, and looked for among twice as many suspects, and among those that are called
probably wrong; and 50 pictures are written beside the others a second time, at half their size with JPEG quality 60.
Columns: the planted labels that are found in each turn, with the number of suspects in all; those that are called
probably wrong, of all that are; how many wrong labels are estimated (others than the planted ones may be wrong, too);
the planted copies that are found, and the pairs beyond those that were found before or are copies of one of these. The
last two are about the pixels of all pictures: the largest difference of such a copy from its original, and the smallest
one of two pictures that are not taken for copies, as shares of the contrast; the line is drawn at
`classify.data.duplicates.ALIKE`.
"""

import argparse
import datetime
import io
import os
import shutil
import tempfile
from itertools import combinations
from pathlib import Path

import numpy as np
from heads_on_sets import SETS
from PIL import Image, ImageOps

import pipeline
from bottleneck_features.report.collect_findings import FOLD_HEADS
from bottleneck_features.report.parts.suspects import suspects, wrong_labels
from bottleneck_features.report.scored_pictures import folds_of, out_of_fold
from cache.signatures import SIDE
from classify.data.duplicates import ALIKE, differences, near_duplicates
from classify.data.grouping import Grouping
from classify.labels.read_labels import LabelledImages, read_labels
from featurize.decoding.decode import decode_views
from featurize.extract.missing_signatures import signatures_of
from featurize.extract.network_extractor import Extractor
from featurize.pictures.sources import bytes_of

ONE_IN = 30
COPIES = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--weights")
    parser.add_argument("--cache-dir", default=".features")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    extractor = pipeline.open_extractor(given.cache_dir, backbone=given.backbone, weights=given.weights)
    print(f"{given.backbone}, {datetime.date.today()}\n")
    headings = "set", "photographs", "planted labels found", "of", "suspects"
    headings += "probably wrong: planted", "of", "estimated", "planted copies found", "of"
    headings += "pairs beyond", "farthest copy", "nearest other"
    print(f"| {' | '.join(headings)} |")
    print("|---" * len(headings) + "|")
    for name in given.sets.split(","):
        data, pattern = os.path.join(given.folder, name), SETS[name].get("label_pattern")
        found = read_labels(data, label_pattern=pattern)
        labels = [planted_labels(found, extractor, seed) for seed in range(given.seeds)]
        copies = [planted_copies(data, pattern, extractor, seed) for seed in range(given.seeds)]
        cells = [
            " ".join(str(turn[0]) for turn in labels),
            str(len(found.paths) // ONE_IN),
            *(" ".join(str(turn[column]) for turn in labels) for column in range(1, 5)),
            " ".join(str(hits) for hits, _ in copies),
            str(COPIES),
            " ".join(str(beyond) for _, beyond in copies),
            *(f"{share:.2f}" for share in margins(found.paths)),
        ]
        print(f"| {name} | {len(found.paths)} | {' | '.join(cells)} |", flush=True)


def planted_labels(found: LabelledImages, extractor: Extractor, seed: int) -> tuple[int, int, int, int, int]:
    """Planted labels found among twice as many suspects; suspects in all; planted ones called probably wrong; all that
    are called so; how many are estimated.
    """
    outcome, rows = extractor.features(found.paths)
    random = np.random.default_rng(seed)
    labels, classes = np.array(found.labels), found.classes
    planted = random.choice(len(labels), len(labels) // ONE_IN, replace=False)
    for i in planted:
        labels[i] = random.choice([name for name in classes if name != labels[i]])
    groups = _numbers(found.paths, outcome.keys, extractor)
    splits = folds_of(labels, Grouping(groups))
    honest = out_of_fold(splits, rows, labels, groups, classes, *FOLD_HEADS)
    shown = suspects(honest, labels, classes, splits)
    listed = [suspect.picture for suspect in shown]
    wrong = [suspect.picture for suspect in shown if suspect.probably_wrong]
    estimate = wrong_labels(honest, labels, classes, splits)
    estimated = round(estimate.share * estimate.n) if estimate else 0
    hits = int(np.isin(listed[: 2 * len(planted)], planted).sum())
    return hits, len(listed), int(np.isin(wrong, planted).sum()), len(wrong), estimated


def planted_copies(data: str, pattern: str | None, extractor: Extractor, seed: int) -> tuple[int, int]:
    """(planted copies found, pairs that are neither planted nor were there before)."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "data"
        shutil.copytree(os.path.abspath(data), folder, copy_function=os.symlink)
        paths = read_labels(str(folder), label_pattern=pattern).paths
        before = _groups(paths, extractor)
        original = {path: path for path in paths}
        for path in np.random.default_rng(seed).choice(paths, COPIES, replace=False).tolist():
            copy = Path(path).with_name(f"{Path(path).name.split('.')[0]}.{10_000 + len(original)}.jpg")  # same label
            copy.write_bytes(halved(path))
            original[str(copy)] = path
        names = read_labels(str(folder), label_pattern=pattern).paths
        if set(names) != set(original):
            raise SystemExit(f"{data}: what is written beside the pictures is not found again")
        after = _groups(names, extractor)
        pairs = [pair for group in _members(after) for pair in combinations(group, 2)]
        beyond = [(a, b) for a, b in pairs if before[original[a]] != before[original[b]]]
        hits = sum(after[path] == after[of] for path, of in original.items() if path != of)
        return hits, len(beyond)


def margins(paths: list[str]) -> tuple[float, float]:
    """(the largest difference of a half-size copy from its original, the smallest of others that is above the line)."""
    files = [*map(bytes_of, paths), *map(halved, paths)]
    pixels = np.stack([decode_views(data, (SIDE, SIDE)).signature for data in files])
    n = len(paths)
    every = np.arange(n)
    others = np.concatenate([differences(pixels, every[i + 1 :] * 0 + i, every[i + 1 :]) for i in range(n - 1)])
    return float(differences(pixels, every, every + n).max()), float(others[others > ALIKE].min())


def halved(path: str) -> bytes:
    """The picture at half its size, as a JPEG of quality 60."""
    with Image.open(path) as picture:
        upright = ImageOps.exif_transpose(picture).convert("RGB")
    data = io.BytesIO()
    sides = max(1, upright.width // 2), max(1, upright.height // 2)
    upright.resize(sides, Image.Resampling.LANCZOS).save(data, "JPEG", quality=60)
    return data.getvalue()


def _groups(paths: list[str], extractor: Extractor) -> dict[str, int]:
    """The number of the group of each path."""
    outcome = extractor.run(paths)
    if outcome.failures:
        raise SystemExit(f"{outcome.failures[0].path}: {outcome.failures[0].reason}")
    groups = _numbers(paths, outcome.keys, extractor)
    return dict(zip(paths, groups.tolist(), strict=True))


def _numbers(paths: list[str], digests: np.ndarray, extractor: Extractor) -> np.ndarray:
    return near_duplicates(digests, signatures_of(extractor.cache_dir, paths, digests))


def _members(groups: dict[str, int]) -> list[list[str]]:
    members: dict[int, list[str]] = {}
    for path, group in groups.items():
        members.setdefault(group, []).append(path)
    return list(members.values())


if __name__ == "__main__":
    main()
