"""A trained model as one file for another runtime, proven in that runtime before it gets its name.

classifier -> graph -> file in a folder beside the output -> run in its own runtime and compared -> moved into place
"""

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cache.arguments import checked_arguments
from cache.errors import UserError, log
from classify.exports.formats import BUNDLE, Format, check_packages, format_of, in_one_line, suffix_of
from classify.predict import warm_classifier

if TYPE_CHECKING:
    from classify.exports.about import About
    from classify.saved.classifier import Classifier

KNOWN_SHARE = 0.95  # of known pictures that the limit for outliers keeps, unless it is said


@checked_arguments
def export_model(
    model: "str | Classifier",
    output: str,
    *,
    precision: str = "float32",
    accept: float | None = None,
    reject: float | None = None,
    data: str | None = None,
    cache_dir: str | None = None,
    weights: str | None = None,
) -> dict[str, Any]:
    """Write a trained model as one file for another runtime, and prove it there.

    The file holds backbone, pooling, normalisation, head and temperature: "pixels" (n, height, width, 3) float32, RGB
    from 0 to 255, become "probabilities" (n, classes) and, where the model can reject, "distance" (n,) from the
    training pictures. Joined backbones of several sizes have an input each, such as "pixels_260x260", of the same
    pictures. It computes in float32, of one view of a picture. Beside it lie FILE.json, which says what it is, and
    FILE.py, a script that classifies with it.

    Parameters
    ----------
    model : str or Classifier
        Path of a `.joblib` file, or what `load` returned.
    output : str
        The file to write: `.onnx`, `.tflite` (LiteRT), `.keras`, `.xml` (OpenVINO, its weights in a `.bin` beside it);
        or `.zip`, a bundle, which `load` reads.
    precision : {"float32", "float16", "int8"}
        Of the weights: fewer bits in `.onnx` and `.tflite`, float16 in `.xml`.
    accept : float, optional
        The target precision of accepted answers, whose thresholds are written; by default the one of the training.
    reject : float, optional
        The share of known pictures that the limit for unknown ones keeps; by default 0.95 where the model can reject.
    data : str, optional
        A folder of pictures to prove the export on, where those that the model was trained on are gone.
    cache_dir, weights : str, optional
        As in `load`.

    Returns
    -------
    dict
        output, format, precision, bytes, files (all that were written), and what the proof found, see
        `classify.exports.proof.prove`. Of a bundle: see `classify.bundles.write_bundle`.

    Raises
    ------
    UserError
        As `load`; for an output without a known suffix, or that would overwrite what is read or is no export; for a
        package that is not installed; for a model that the format cannot hold; and for an export that is not the same
        as the model. No file is left then.

    Examples
    --------
    >>> import pipeline
    >>> report = pipeline.export_model("models/logreg.joblib", "surfaces.onnx")
    >>> report["format"], report["largest_difference"] < 1e-3
    ('onnx', True)
    """
    if suffix_of(output) == BUNDLE:
        asked = {"precision": None if precision == "float32" else precision, "accept": accept, "reject": reject}
        if wrong := next((name for name, value in {**asked, "data": data}.items() if value is not None), None):
            raise UserError(f"{wrong}: a bundle is the model as it is, which decides when it predicts: leave it out")
        return _bundle(warm_classifier(model, cache_dir, weights), output)
    kind = format_of(output)
    if precision not in kind.precisions:
        raise UserError(f"precision {precision!r}: {suffix_of(output)} has {', '.join(kind.precisions)}")
    check_packages(output, kind.packages)
    classifier = warm_classifier(model, cache_dir, weights)
    from cache.files.atomic import require_writable
    from classify.exports.about import About, side_files, write_about
    from classify.exports.script import write_script

    stem = os.path.splitext(output)[0]
    files = [output, *([stem + kind.beside] if kind.beside else []), *side_files(output)]
    _check_output(classifier, files, data, "export of a model")
    accept, reject = _decisions(classifier, accept, reject)
    about = About.of(classifier, kind.name, precision, accept, reject)
    require_writable(output)
    log.info("exporting %s", classifier.saved.path)
    with _all_or_none(files) as (written, *_):
        _write(classifier, kind, written, precision, json.dumps(about.to_json()))
        proof = _proven(written, classifier, about, data)
        write_about(written, about, proof)
        write_script(written, about)
    sizes = {path: os.path.getsize(path) for path in files}
    network = sum(sizes[path] for path in files[: -len(side_files(output))])
    return {"output": output, "format": kind.name, "precision": precision, "bytes": network, "files": files, **proof}


def _write(classifier: "Classifier", kind: Format, path: str, precision: str, description: str) -> None:
    graph = kind.graph(classifier)
    with in_one_line(f"the model cannot be written for {kind.runtime}"):
        kind.module.write(graph, path, precision, description)


def _proven(path: str, classifier: "Classifier", about: "About", data: str | None) -> dict[str, Any]:
    """What the proof found. The runtime has let go of the file then: Windows moves none that is open."""
    from classify.exports.proof import prove
    from classify.exports.runtimes import open_exported

    exported = open_exported(path)
    return prove(path, classifier, about, lambda _, pixels: exported(pixels), data)


def _check_output(classifier: "Classifier", files: list[str], data: str | None, kind: str) -> None:
    """Raise UserError where an output would overwrite what is read, or a file that is none of this kind."""
    from classify.saved.model_files import read_with_model
    from featurize.outputs import check_outputs, named
    from featurize.replaceable import require_kind

    used = read_with_model(classifier.saved.path, classifier.extractor.record())
    check_outputs(named("--output", *files), used, data=data, cache_dir=classifier.extractor.cache_dir)
    for path in files:
        require_kind("--output", path, kind)


def _decisions(
    classifier: "Classifier", accept: float | None, reject: float | None
) -> tuple[float | None, float | None]:
    """The targets of `accept` and `reject`, by default those that the model can keep."""
    if accept is None:
        accept = classifier.saved.record.get("accept")
    if reject is None and classifier.saved.outliers is not None:
        try:
            classifier.saved.outliers.limit(KNOWN_SHARE)
            reject = KNOWN_SHARE
        except UserError as error:
            log.info("the export has no limit for unknown pictures: %s", error)
    return accept, reject


@contextmanager
def _all_or_none(files: list[str]) -> Iterator[list[str]]:
    """The names of these files, of one folder, in a new folder beside them; they are moved when the body is done.

    The first one comes last: where it is there, so are the others. After an exception nothing is left.
    """
    from cache.files.atomic import TEMPORARY_SUFFIX, make_folder, remove_empty, sync_file
    from cache.files.system_calls import replace_durably

    fresh = f"{files[0]}.{uuid.uuid4().hex[:12]}{TEMPORARY_SUFFIX}"
    made = make_folder(os.path.dirname(fresh))
    try:
        os.mkdir(fresh)
        written = [os.path.join(fresh, os.path.basename(path)) for path in files]
        yield written
        for path in written:
            sync_file(path)
        for path, target in reversed([*zip(written, files, strict=True)]):
            replace_durably(path, target)
        sync_file(os.path.dirname(files[0]) or ".")
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        remove_empty(made)


def _bundle(classifier: "Classifier", output: str) -> dict[str, Any]:
    from classify.bundles.write_bundle import write_bundle

    _check_output(classifier, [output], None, "bundle of a model")
    return write_bundle(classifier, output)
