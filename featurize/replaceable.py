"""What an output may replace: a file of its own kind, written by an earlier run. Anything else is somebody's work."""

import json
import os
from collections.abc import Callable

from cache.errors import UserError

HEADER = 4096  # bytes, in which a file says what it is
HEATMAP_MARK = b"heat map by bottleneck-features"  # a comment in the JPEG file
OF_REPORTS = {"failures", "held_out_cosine", "predictions"}  # each JSON report has one: of runs, distil, demo


def require_kind(name: str, path: str, kind: str) -> None:
    """Raise UserError where `path`, the output called `name`, is a file that is none of `KINDS[kind]`, or a model's."""
    if not os.path.isfile(path) or not os.path.getsize(path):
        return
    model = path.removesuffix(".json").removesuffix(".evaluation") + ".joblib"
    if path.endswith(".json") and os.path.isfile(model):
        raise UserError(f"{name} {path} would overwrite a file of the model {model}: name another file")
    if not KINDS[kind](path):
        raise UserError(f"{name} {path} is there and is no {kind}: name another file, or delete it")


def _is_report(path: str) -> bool:
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file) if file.read(1) == "{" and not file.seek(0) else None
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and not OF_REPORTS.isdisjoint(found)


def _is_export(path: str) -> bool:
    import h5py

    from cache.upkeep.parquet_export import is_parquet_export

    try:
        with h5py.File(path, "r") as file:
            return {"features", "paths"} <= set(file)
    except (OSError, RuntimeError, KeyError, ValueError):  # what h5py raises for a damaged file
        return is_parquet_export(path)


def _is_exported(path: str) -> bool:
    """Whether `path` is an exported model, the second file of one, or its description or script: see that description.

    FILE.onnx, or FILE.xml and FILE.bin, with FILE.onnx.json or FILE.xml.json and FILE.onnx.py or FILE.xml.py.
    """
    stem, suffix = os.path.splitext(path)
    exported = {".json": stem, ".py": stem, ".bin": f"{stem}.xml"}.get(suffix, path)
    try:
        with open(f"{exported}.json", encoding="utf-8") as file:
            found = json.load(file) if file.read(1) == "{" and not file.seek(0) else None
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and {"format", "labels", "proof"} <= found.keys()


def _has_in_header(path: str, mark: bytes) -> bool:
    with open(path, "rb") as file:
        return mark in file.read(HEADER)


KINDS: dict[str, Callable[[str], bool]] = {
    "JSON report": _is_report,
    "export of features": _is_export,
    "export of a model": _is_exported,
    "bundle of a model": lambda path: _has_in_header(path, b"bundle.json"),
    "table of predictions": lambda path: _has_in_header(path, b"path,label,probability"),
    "heat map": lambda path: _has_in_header(path, HEATMAP_MARK),
    "leaderboard": lambda path: _has_in_header(path, b"atplotlib"),  # who drew it
    "report of a model": lambda path: _has_in_header(path, b"<title>What the classifier learnt of "),
}
