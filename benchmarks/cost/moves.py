"""Which of our files one new picture passes through in a warm `pipeline.predict`, and how often the call moves on.

    python benchmarks/cost/moves.py

A model is trained on crops of photographs with the backbone nano and loaded, and has answered one picture before.
A reader who follows the next one reads these files; each move is from a function of one file to one of another.
"""

import os
import sys
import tempfile
import threading
from collections import Counter
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import pipeline

REPOSITORY = Path(pipeline.__file__).resolve().parent
OURS = tuple(str(REPOSITORY / name) for name in ("cache", "classify", "featurize", "pipeline.py"))


def calls_of_prediction(picture: str, classifier: Any) -> list[tuple[str, str]]:
    """(file, function) of each call of ours while `classifier`, which is warm, predicts `picture`."""
    calls: list[tuple[str, str]] = []

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(OURS):
            calls.append((os.path.relpath(code.co_filename, REPOSITORY), code.co_qualname))

    threading.setprofile(note)  # the threads to come
    sys.setprofile(note)
    try:
        pipeline.predict([picture], classifier)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return calls


def moves(calls: list[tuple[str, str]]) -> int:
    """How often one call is in another file than the one before."""
    return sum(before[0] != after[0] for before, after in pairwise(calls))


def main() -> None:
    from classify.data.surfaces import surfaces_folder

    with tempfile.TemporaryDirectory() as folder:
        data = surfaces_folder(os.path.join(folder, "surfaces"))
        model, cache = os.path.join(folder, "m.joblib"), os.path.join(folder, "cache")
        pipeline.train(os.path.join(data, "train"), model=model, backbone="nano", cache_dir=cache)
        classifier = pipeline.load(model)
        first, second, *_ = sorted(map(str, Path(data, "test").rglob("*.png")))
        pipeline.predict([first], classifier)
        calls = calls_of_prediction(second, classifier)
    for file, count in sorted(Counter(file for file, _ in calls).items()):
        print(f"{count:5} calls  {file}")
    print(f"{len(calls)} calls in {len({file for file, _ in calls})} files, {moves(calls)} moves between files")


if __name__ == "__main__":
    main()
