"""A model and its bundle say the same: probabilities, distances, decisions, heat maps. It needs nothing else."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY
from helpers.models.bundled_models import KINDS, Bundles, most_apart

import pipeline
from cache.errors import UserError
from classify.bundles.archive import ARRAYS, MANIFEST, RECORD
from classify.bundles.write_bundle import write_bundle
from classify.direct_answers import DirectClassifier

EXACT = ("logreg", "dense", "flatten", "joined", "finetune", "onnx")


@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_predicts_as_its_model(bundles: Bundles, kind: str, tmp_path: Path, monkeypatch: Any) -> None:
    made = bundles.of(kind)
    expected = made.load().predict_proba(made.pictures, use_cache=False)
    monkeypatch.chdir(tmp_path)
    bundle = pipeline.load(made.bundle)
    found = bundle.predict_proba(made.pictures)
    assert bundle.extractor.forward_passes == len(made.pictures) * len(bundle.of_pixels.parts) * len(
        bundle.extractor.stores
    )
    assert np.abs(found - expected).max() < 1e-6 and found.argmax(axis=1).tolist() == expected.argmax(axis=1).tolist()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", ["logreg", "joined", "knn", "finetune"])
def test_distances_are_those_of_the_model(bundles: Bundles, kind: str) -> None:
    made = bundles.of(kind)
    pictures = [Path(path).read_bytes() for path in made.pictures[::6]]
    answers = []
    for model in (made.load(), pipeline.load(made.bundle)):
        direct = DirectClassifier(model)
        answers.append(direct.answers([direct.decode(data) for data in pictures]))
    of_model, of_bundle = answers
    assert np.abs(of_model.probabilities - of_bundle.probabilities).max() < 1e-6
    if kind == "finetune":
        assert of_model.distances is of_bundle.distances is None
    else:
        assert np.abs(of_model.distances - of_bundle.distances).max() < 1e-5


def test_decisions_are_those_of_the_model(bundles: Bundles) -> None:
    made = bundles.of("logreg")
    tables = [
        model.top_k(made.pictures, 2, reject=0.8, accept=0.7, coverage=0.8)
        for model in (made.load(), pipeline.load(made.bundle))
    ]
    numbers = ["probability", "margin", "distance"]
    assert tables[0].drop(columns=numbers).equals(tables[1].drop(columns=numbers))
    assert {"accept", "review"} & {*tables[1]["decision"]}


@pytest.mark.parametrize("kind", KINDS)
def test_heat_maps_are_those_of_the_model(bundles: Bundles, kind: str) -> None:
    made = bundles.of(kind)
    pictures = made.pictures[::12]
    of_model, of_bundle = (model.heatmaps(pictures) for model in (made.load(), pipeline.load(made.bundle)))
    assert [heat.exact for heat in of_bundle] == [heat.exact for heat in of_model]
    assert all(heat.exact for heat in of_bundle) == (kind in EXACT or kind == "views")
    assert most_apart(of_model, of_bundle) < 1e-3


def test_equal_models_make_equal_bundles_that_say_what_they_hold(bundles: Bundles, tmp_path: Path) -> None:
    made = bundles.of("joined")
    report = write_bundle(made.load(), str(tmp_path / "again.zip"))
    assert (tmp_path / "again.zip").read_bytes() == Path(made.bundle).read_bytes()
    assert report["bytes"] == os.path.getsize(made.bundle) == os.path.getsize(report["output"])
    assert report["largest_difference"] < 1e-6 and report["equal_labels"] == 1
    assert [network["last_map"] for network in report["networks"]] == [True, True]
    with zipfile.ZipFile(made.bundle) as archive:
        names = [entry.filename for entry in archive.infolist()]
        manifest = json.loads(archive.read(MANIFEST))
        assert json.loads(archive.read(RECORD))["classes"] == ["brick", "grass", "gravel"]
    networks = [f"network{number}.{suffix}" for number in (0, 1) for suffix in ("xml", "bin")]
    assert names == [MANIFEST, RECORD, ARRAYS, *networks]  # the weights of nano come with the project
    assert [network["backbone"] for network in manifest["networks"]] == ["nano", "nano"]


def test_a_pinned_bundle_loads_and_no_other(bundles: Bundles) -> None:
    made = bundles.of("logreg")
    digest = write_bundle(made.load(), made.bundle)["sha256"]
    assert pipeline.load(made.bundle, sha256=f"{digest.upper()}\n").classes_ == ["brick", "grass", "gravel"]
    with pytest.raises(UserError, match=f"has SHA-256 {digest}, pinned is 00"):
        pipeline.load(made.bundle, sha256="00" * 32)


def test_a_bundle_has_no_estimator_and_is_not_bundled_again(bundles: Bundles, tmp_path: Path) -> None:
    bundle = pipeline.load(bundles.of("logreg").bundle, no_pickle=True)
    with pytest.raises(UserError, match=r"has no estimator, which would be a pickle: load the model's \.joblib"):
        _ = bundle.saved.estimator
    with pytest.raises(UserError, match="is a bundle already: copy it"):
        write_bundle(bundle, str(tmp_path / "again.zip"))
    assert os.listdir(tmp_path) == []


def test_rows_in_a_cache_that_is_named_are_read(bundles: Bundles) -> None:
    made = bundles.of("logreg")
    with_cache = pipeline.load(made.bundle, cache_dir=made.cache)
    with_cache.predict_proba(made.pictures)
    assert with_cache.extractor.forward_passes == 0


def test_an_export_of_a_bundle_is_proven_on_training_pictures_of_a_cache_that_is_named(
    bundles: Bundles, tmp_path: Path
) -> None:
    made = bundles.of("logreg")
    output = str(tmp_path / "a.xml")
    assert pipeline.export_model(made.bundle, output, cache_dir=made.cache)["pictures_from"] == "training pictures"


def test_evaluate_scores_a_bundle(bundles: Bundles, photos: Path, tmp_path: Path) -> None:
    made = bundles.of("finetune")
    bundle = tmp_path / "model.zip"
    bundle.write_bytes(Path(made.bundle).read_bytes())
    reports = [
        pipeline.evaluate(str(photos), model, cache_dir=str(tmp_path / "cache")) for model in (made.model, str(bundle))
    ]
    assert reports[0]["confusion_matrix"] == reports[1]["confusion_matrix"] and reports[1]["images"] == 36
    assert (tmp_path / "model.evaluation.json").exists()


def test_the_networks_of_a_bundle_can_be_built_once_more(bundles: Bundles) -> None:
    for kind in ("logreg", "finetune"):
        made = bundles.of(kind)
        built = pipeline.load(made.bundle, engine="tensorflow", cache_dir=made.cache)
        carried = pipeline.load(made.bundle)
        pictures = made.pictures[:4]
        found = built.predict_proba(pictures, use_cache=False)
        assert built.of_pixels.parts[0].engine.provenance["engine"] == "tensorflow"
        assert np.abs(found - carried.predict_proba(pictures)).max() < 1e-3


def test_weights_that_no_package_brings_come_along(shared: Path, photos: Path, tmp_path: Path) -> None:
    name = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"
    weights = tmp_path / "weights.h5"
    weights.write_bytes((shared / "weights" / name).read_bytes())
    model, cache = str(tmp_path / "model.joblib"), str(tmp_path / "cache")
    options: dict[str, Any] = {"backbone": "mobilenet_v2_035", "weights": str(weights), "size": 96}
    pipeline.train(str(photos), "logreg", model=model, cache_dir=cache, **options)
    pictures = sorted(map(str, photos.glob("*/*.png")))[:3]
    expected = pipeline.predict_proba(pictures, model)
    bundle = str(tmp_path / "model.zip")
    write_bundle(pipeline.load(model), bundle)
    weights.unlink()
    assert np.abs(pipeline.load(bundle).predict_proba(pictures) - expected).max() < 1e-5
    built = pipeline.load(bundle, engine="tensorflow", cache_dir=str(tmp_path / "other"))
    assert np.abs(built.predict_proba(pictures) - expected).max() < 1e-3


def test_a_network_of_tensorflow_alone_is_refused(bundles: Bundles, tmp_path: Path) -> None:
    made = bundles.of("logreg")
    model = str(tmp_path / "mixed.joblib")
    folder = str(Path(made.pictures[0]).parent.parent)
    pipeline.train(folder, model=model, backbone="nano", precision="mixed_bfloat16", cache_dir=str(tmp_path / "cache"))
    with pytest.raises(UserError, match="precision mixed_bfloat16 is computed by TensorFlow alone"):
        write_bundle(pipeline.load(model), str(tmp_path / "mixed.zip"))
    assert not (tmp_path / "mixed.zip").exists()


FULL_DISK = """
import resource, sys
from bottleneck_features.commands.main import main
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
main(sys.argv[1:])
"""


def test_a_full_disk_is_one_line_and_no_file(bundles: Bundles, tmp_path: Path) -> None:
    made, output = bundles.of("logreg"), tmp_path / "out" / "m.zip"
    command = ["export", "--model", made.model, "--cache-dir", made.cache, "--output", str(output)]
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, *command], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("converting ")]
    assert line.startswith("error: OpenVINO cannot write, is the disk full?")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
