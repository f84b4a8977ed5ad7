"""From a bundle to a `Classifier`: everything is in the file, and nothing of it is written to disk.

Rows are looked up in the cache, as with every model, where a folder is given or the default one is there.
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cache.errors import UserError
from cache.row_key import FeatureSpec
from classify.bundles.archive import ARRAYS, RECORD, network_files, read
from classify.bundles.whole_classifier import WholeClassifier
from classify.data.view_counts import Views
from classify.heads.finetune.tuned_head import TunedHead
from classify.saved.classifier import Classifier
from classify.saved.persist import Saved, load_arrays
from classify.saved.record import record_of, shown
from featurize.backbones.weights import Weights
from featurize.engines.carried import CarriedGraph
from featurize.extract.joined_extractor import open_parts
from featurize.reopen import check_known
from featurize.resolve import Resolved, check_views
from featurize.spec_options import DEFAULT_CACHE

SUFFIX = ".zip"


def is_bundle(model: str) -> bool:
    """Whether a model's path means a bundle."""
    return model.lower().endswith(SUFFIX)


def open_bundle(
    path: str,
    *,
    sha256: str | None = None,
    cache_dir: str | None = None,
    engine: str = "auto",
    isolate: bool = False,
    predict_views: int | None = None,
    allow_other_versions: bool = False,
) -> Classifier:
    """What `pipeline.load` does with a bundle, whose arguments these are. Not for `engine` tensorflow.

    sha256: the digest of the whole file. Raises UserError, one line, for a file that is no bundle, or not whole, and
    for a model that this version computes otherwise.
    """
    members = read(path, sha256)
    saved = _saved(path, members, allow_other_versions)
    views = Views.of_record(saved.record).names(predict_views)
    parts = [
        _part(path, number, spec, members, saved, engine, isolate, views)
        for number, spec in enumerate(saved.spec.parts)
    ]
    if isinstance(saved.predictor, TunedHead):
        whole = replace(parts[0], spec=replace(parts[0].spec, tuned=saved.predictor.tuned.digest, stored="float32"))
        return WholeClassifier(saved, open_parts([whole], cache_dir or DEFAULT_CACHE))
    return Classifier(saved, open_parts(parts, cache_dir or DEFAULT_CACHE))


def unpacked(path: str, sha256: str | None = None, allow_other_versions: bool = False) -> tuple[Saved, str]:
    """The model of a bundle, and where its weights are, as the option `weights`: to build its networks once more.

    Weights are written to a temporary folder, which goes when the process ends. A piece is empty where a package has
    the weights. Raises UserError as `open_bundle`; `OSError` where they cannot be written.
    """
    members = read(path, sha256)
    saved = _saved(path, members, allow_other_versions)
    files = [_written(number, members) for number in range(len(saved.spec.parts))]
    return saved, "+".join(files)


def _saved(path: str, members: Mapping[str, bytes], allowed: bool) -> Saved:
    record = record_of(members[RECORD], os.path.join(path, RECORD))
    return load_arrays(path, record, members[ARRAYS], allowed)


def _part(
    path: str,
    number: int,
    spec: FeatureSpec,
    members: Mapping[str, bytes],
    saved: Saved,
    engine: str,
    isolate: bool,
    views: tuple[str, ...],
) -> Resolved:
    """The computation of one part of the model's spec, with its graph."""
    check_known(spec)
    files = network_files(number)
    if not all(name in members for name in files):
        raise UserError(f"model {path} lacks the network {shown(spec.backbone)}: write it again with `export`")
    xml, weights = (members[name] for name in files)
    graph = CarriedGraph(f"model {path}: its network {shown(spec.backbone)}", xml, weights)
    places = saved.record["weights"]
    place = places[number] if isinstance(places, list) else places
    return Resolved(spec, Weights(**place), engine, isolate, check_views(views, spec.resize), graph=graph)


def _written(number: int, members: Mapping[str, bytes]) -> str:
    """The weights of that number as a file, "" where there are none."""
    name = next((name for name in members if name.startswith(f"weights{number}.")), None)
    if name is None:
        return ""
    folder = tempfile.mkdtemp(prefix="bottleneck-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    file = Path(folder, name)
    file.write_bytes(members[name])
    return str(file)
