"""A trained model with its network as one file: `NAME.zip`, which `pipeline.load` takes without anything else.

record, arrays -> as they were saved; networks -> converted for OpenVINO, with their last maps; weights of backbones
that no package brings -> as they are

Nothing in it is a pickle. Weights are there for those who want to build the network once more, see `open_bundle`; the
graphs alone are enough to predict. A model file as backbone is its graph.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from cache.errors import UserError
from cache.files.atomic import write_atomically
from cache.row_key import MODEL_FILE
from classify.bundles.archive import ARRAYS, RECORD, network_files, packed
from classify.bundles.open_bundle import is_bundle, open_bundle
from classify.bundles.row_heads import RowHead, row_head
from classify.exports.proof import FEW, LARGEST
from classify.exports.proof_pictures import pictures_for
from classify.heads.finetune.tuned_head import TunedHead
from classify.heads.head_arrays import ArrayHead
from classify.heads.numerics import unit_rows
from classify.saved.classifier import Classifier
from classify.saved.persist import Saved, arrays_with
from classify.saved.record import ABOUT, read_regular, reason_of, sealed
from featurize.engines.carry import Pooled, carried
from featurize.engines.choose import open_graph
from featurize.engines.openvino_engine import OpenVinoGraph
from featurize.extract.network_extractor import NetworkExtractor
from featurize.reopen import check_weights

UNKNOWN = "bin"  # suffix of a weights file that has none


def write_bundle(classifier: Classifier, output: str) -> dict[str, Any]:
    """Write a model as a bundle.

    Parameters
    ----------
    classifier : Classifier
        What `pipeline.load` returned. The bundle is opened and compared with it before it gets its name.
    output : str
        The file to write, which ends in `.zip`. It is replaced at once, when everything is written.

    Returns
    -------
    dict
        output, format ("bundle"), bytes, networks (of each backbone: name, bytes, and whether its last map is there,
        which exact heat maps are made of), sha256 of the file, largest_difference of a probability from the model's,
        equal_labels, pictures, pictures_from: on which, as in `classify.exports.proof.prove`.

    Raises
    ------
    UserError
        The head has no form as arrays, the network is computed by TensorFlow alone, its weights are not here, or the
        bundle answers otherwise than the model.
    OSError
        The file cannot be written.

    Examples
    --------
    >>> import pipeline
    >>> from classify.bundles.write_bundle import write_bundle
    >>> report = write_bundle(pipeline.load("models/logreg.joblib"), "models/logreg.zip")
    >>> pipeline.load(report["output"]).classes_
    ['brick', 'grass', 'gravel']
    """
    from hashlib import sha256
    from importlib.metadata import version

    saved = classifier.saved
    if is_bundle(saved.path):
        raise UserError(f"model {saved.path} is a bundle already: copy it")
    members: dict[str, bytes | memoryview] = {RECORD: sealed(saved.record), ARRAYS: _arrays(saved)}
    networks = []
    for number, part in enumerate(classifier.of_pixels.parts):
        graph = carried(_converted(part), part.spec.backbone, _pooled(saved, part))
        members |= zip(network_files(number), (graph.xml, graph.weights), strict=True)
        networks.append(
            {"backbone": part.spec.backbone, "bytes": len(graph.xml) + len(graph.weights), "last_map": graph.has_maps}
        )
        members |= {f"weights{number}.{suffix}": data for suffix, data in _weights(part)}
    versions = {name: version(name) for name in ("bottleneck-features", "openvino", "numpy")}
    data = packed(members, {"networks": networks, "versions": versions})
    proof: dict[str, Any] = {}
    write_atomically(output, data, check=lambda path: proof.update(_proof(classifier, path)))
    about = {"output": output, "format": "bundle", "bytes": len(data), "networks": networks}
    return {**about, "sha256": sha256(data).hexdigest(), **proof}


def _proof(classifier: Classifier, path: str) -> dict[str, Any]:
    """How far the answers of the bundle at `path` are from those of the model, to pictures that both compute anew.

    Raises UserError where that is far, or none of the pictures can be read.
    """
    where, sources = pictures_for(classifier, None)
    pictures = [*islice(sources, FEW)]
    bundle = open_bundle(path, predict_views=len(classifier.extractor.stores))
    of_model, of_bundle = (model.predict_proba(pictures, use_cache=False) for model in (classifier, bundle))
    read = np.isfinite(of_model).all(axis=1)  # all but those that are gone or damaged by now
    if not read.any():
        raise UserError(f"{path} cannot be proven: none of {len(pictures)} {where} can be read")
    of_model, of_bundle = of_model[read], of_bundle[read]
    apart = float(np.abs(of_model - of_bundle).max())
    if not apart <= LARGEST:  # nor NaN
        raise UserError(f"the bundle answers otherwise than the model, by {apart:.2g}: it is not written")
    equal = float((of_model.argmax(axis=1) == of_bundle.argmax(axis=1)).mean())
    return {"largest_difference": apart, "equal_labels": equal, "pictures": len(of_model), "pictures_from": where}


def _arrays(saved: Saved) -> memoryview:
    """All that the model knows but its record, as an npz file. Raises UserError for a head without such a form."""
    head: Any = saved.predictor
    if not isinstance(head, ArrayHead | TunedHead | RowHead):
        head = head.arrays() or row_head(head)
    if head is None or head.classes_.dtype.hasobject:
        raise UserError(
            f"model {saved.path}: this head {saved.record['head']} has no form as plain arrays, and a bundle holds no "
            "pickle: train another head"
        )
    about = {name: saved.record[name] for name in (*ABOUT, "payload")}
    others = [found.to_arrays() for found in (saved.outliers, saved.answers) if found]
    return arrays_with(head, saved.trained_on, about, {name: one[name] for one in others for name in one})


def _converted(part: NetworkExtractor) -> OpenVinoGraph:
    """The network of an extractor on OpenVINO, in float32. Raises UserError where it cannot be had."""
    spec = part.spec
    if spec.precision == "mixed_bfloat16":
        raise UserError(f"precision {spec.precision} is computed by TensorFlow alone: train again in float32 or bf16")
    by_openvino = replace(part.resolved, spec=replace(spec, precision="float32"), engine="openvino")
    graph = open_graph(check_weights(by_openvino, part.table), part.cache_dir)
    assert isinstance(graph, OpenVinoGraph), "OpenVINO was asked for"
    return graph


def _pooled(saved: Saved, part: NetworkExtractor) -> Pooled | None:
    """What makes rows of the last maps; None for other poolings, which no exact heat map is made of."""
    if isinstance(saved.predictor, TunedHead):
        return partial(_decisions, saved.predictor)
    return {"avg": _means, "flatten": _lines}.get(part.spec.pooling)


def _means(maps: np.ndarray) -> np.ndarray:
    means: np.ndarray = maps.mean(axis=(1, 2))
    return means


def _lines(maps: np.ndarray) -> np.ndarray:
    return maps.reshape(len(maps), -1)


def _decisions(head: TunedHead, maps: np.ndarray) -> np.ndarray:
    decided: np.ndarray = unit_rows(_means(maps)) @ head.tuned.kernel + head.tuned.bias
    return decided


def _weights(part: NetworkExtractor) -> Iterator[tuple[str, bytes]]:
    """Suffix and bytes of the weights that no package brings; a model file is in its graph already."""
    found = part.resolved.weights
    if part.spec.backbone == MODEL_FILE or found.kind in ("packaged", "random"):
        return
    suffix = os.path.splitext(found.path)[1].lstrip(".").lower()
    try:
        yield suffix if suffix.isalnum() and suffix.isascii() else UNKNOWN, read_regular(found.path)
    except (OSError, ValueError) as error:
        raise UserError(f"weights {found.path}: {reason_of(error)}: say where they are with --weights") from None
