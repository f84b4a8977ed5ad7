"""Joined backbones read and decode each picture once, and every part's rows are those that it has alone."""

import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import BUNDLED
from helpers.extractors import at, infinite_model
from PIL import Image

import featurize.decoding.decode
import featurize.extract.pending_rows
import pipeline
from cache.joined_rows import JoinedStore, unit_length
from cache.row_key import content_digest
from cache.signatures import signature_store
from cache.store import FeatureStore
from featurize.decoding.decode import DECODERS
from featurize.extract.extractor import Extractor
from featurize.extract.network_extractor import ComputingExtractor
from featurize.joined_options import options_of_each

BOTH: dict[str, Any] = {"backbone": "nano+nano", "size": "96+64"}
THREE: dict[str, Any] = {"backbone": "nano+nano+nano", "size": "96+64+96", "pooling": "avg+max+max"}
FAR: dict[str, Any] = {"backbone": "nano+nano", "size": "96+260"}  # the JPEG decoder reduces large pictures otherwise


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two JPEGs of a photograph: of 3000 x 2000 pixels, which is reduced for every network, and of 451 x 300."""
    folder = tmp_path_factory.mktemp("large")
    with Image.open(BUNDLED / "chelsea.png") as photograph:
        photograph.resize((3000, 2000)).save(folder / "large.jpg", quality=90)
        photograph.save(folder / "small.jpg", quality=90)
    return [str(folder / "large.jpg"), str(folder / "small.jpg")]


@pytest.fixture(scope="module")
def paths(surfaces: Path) -> list[str]:
    return sorted(map(str, surfaces.glob("*/*.png")))[::3]


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each kind of picture is loaded in Pillow's decoder: by the size that it comes to have."""
    counted: Counter[str] = Counter()
    upright = featurize.decoding.decode._upright

    def counting(picture: Any, data: bytes, *others: Any) -> Any:
        counted[f"{content_digest(data).hex()[:8]} {picture.width}x{picture.height}"] += 1
        return upright(picture, data, *others)

    monkeypatch.setattr(featurize.decoding.decode, "_upright", counting)
    return counted


_opened: Counter[str] | None = None


def _hook(event: str, arguments: Any) -> None:
    if _opened is not None and event == "open" and isinstance(arguments[0], str) and arguments[1] is None:
        _opened[arguments[0]] += 1  # by `os.open`, as pictures are


sys.addaudithook(_hook)  # which nothing takes away again


@pytest.fixture
def opened() -> Iterator[Counter[str]]:
    """How often each file is opened."""
    global _opened  # noqa: PLW0603
    _opened = Counter()
    yield _opened
    _opened = None


def opens(cache: Path, **options: Any) -> Extractor:
    return pipeline.open_extractor(str(cache), **options)


def parts_of(options: dict[str, Any]) -> list[dict[str, Any]]:
    """The options of each part alone."""
    names = options["backbone"].split("+")
    return [one | {"backbone": name} for one, name in zip(options_of_each(options, len(names)), names, strict=True)]


def rows_of_parts(extractor: Extractor, keys: np.ndarray) -> list[np.ndarray]:
    """Each part's own rows, all views: [(n, views, d)]."""
    assert isinstance(extractor, ComputingExtractor)
    return [np.stack([store.read(keys) for store in part.stores], axis=1) for part in extractor.parts]


def same_as_alone(joined: Path, folder: Path, pictures: list[str], options: dict[str, Any]) -> bool:
    """Whether the stored rows of every part are, bit for bit, those that the part alone computes in a new cache."""
    extractor = opens(joined, **options)
    found = rows_of_parts(extractor, extractor.run(pictures).keys)
    equal = []
    for number, part in enumerate(parts_of(options)):
        alone = opens(folder / f"alone-{number}", **part)
        expected = rows_of_parts(alone, alone.run(pictures).keys)
        equal.append(np.array_equal(found[number], expected[0]) and found[number].dtype == expected[0].dtype)
    return all(equal)


# --- what is read, decoded and computed ---


@pytest.mark.parametrize("options", [BOTH, THREE])
def test_a_picture_is_read_and_decoded_as_often_as_for_one_network(
    tmp_path: Path, paths: list[str], decodes: Counter[str], opened: Counter[str], options: dict[str, Any]
) -> None:
    opens(tmp_path / "alone", **parts_of(options)[0]).run(paths)
    alone = [opened[path] for path in paths], decodes.copy()
    assert alone[0] == [2] * 12  # to hash what is new, and to decode what lacks a row
    opened.clear()
    decodes.clear()
    outcome = opens(tmp_path / "joined", **options).run(paths)
    assert ([opened[path] for path in paths], decodes) == alone
    assert set(decodes.values()) == {1} and len(decodes) == 12
    assert outcome.forward_passes == 12 * len(parts_of(options)) and outcome.computed == 12
    assert same_as_alone(tmp_path / "joined", tmp_path, paths, options)


def test_a_jpeg_is_decoded_once_for_each_size_that_its_decoder_reduces_it_to(
    tmp_path: Path, large: list[str], decodes: Counter[str]
) -> None:
    opens(tmp_path / "far", **FAR).run(large)
    assert sorted(name.split()[1] for name in decodes.elements()) == ["1500x1000", "451x300", "750x500"]
    assert same_as_alone(tmp_path / "far", tmp_path / "of far", large, FAR)
    decodes.clear()
    near = FAR | {"size": "224+260"}
    opens(tmp_path / "near", **near).run(large)
    assert sorted(name.split()[1] for name in decodes.elements()) == ["1500x1000", "451x300"]
    assert same_as_alone(tmp_path / "near", tmp_path / "of near", large, near)


@pytest.mark.parametrize(
    "options",
    [
        {"resize": "nearest+antialias"},
        {"resize": "bilinear+nearest"},
        {"stored": "float16+float32"},
        {"pooling": "max+flatten"},
        {"precision": "float32+bf16"},
        {"views": 3},
        {"views": 3, "recipe": "rotation_range=40", "resize": "nearest+antialias"},
    ],
)
def test_parts_that_differ_in_anything_have_the_rows_that_they_have_alone(
    tmp_path: Path, large: list[str], paths: list[str], options: dict[str, Any]
) -> None:
    if "bf16" in options.get("precision", ""):
        openvino = pytest.importorskip("featurize.engines.openvino_engine")
        if not openvino.has_bf16():
            pytest.skip("this processor does not compute in bfloat16")
    pictures = [*large, *paths[:3]]
    outcome, _ = opens(tmp_path / "joined", **(FAR | options)).features(pictures)
    assert outcome.forward_passes == 2 * 5 * options.get("views", 1) and not outcome.failures
    assert same_as_alone(tmp_path / "joined", tmp_path, pictures, FAR | options)


def test_all_views_of_all_parts_are_made_from_one_picture(
    tmp_path: Path, large: list[str], decodes: Counter[str]
) -> None:
    opens(tmp_path, views=3, **FAR).run(large)
    # The augmented views from the whole picture, as for one network; the original from the reduced ones.
    assert sorted(name.split()[1] for name in decodes.elements()) == ["1500x1000", "3000x2000", "451x300", "750x500"]


def test_only_what_a_part_lacks_is_computed(tmp_path: Path, paths: list[str], decodes: Counter[str]) -> None:
    first, second = parts_of(BOTH)
    opens(tmp_path, **first).run(paths[:7])
    opens(tmp_path, **second).run(paths[5:9])
    decodes.clear()
    calls: list[tuple[str, int, int]] = []
    outcome = opens(tmp_path, **BOTH).run(paths, lambda *call: calls.append(call))
    assert outcome.forward_passes == 12 - 7 + 12 - 4
    assert len(decodes) == decodes.total() == 12 - 2
    assert [call for call in calls if call[0] == "features"] == [("features", done, 10) for done in range(1, 11)]
    assert same_as_alone(tmp_path, tmp_path, paths, BOTH)
    decodes.clear()
    assert opens(tmp_path, **BOTH).features(paths)[0].forward_passes == 0 and not decodes


def test_copies_of_one_picture_are_computed_once(tmp_path: Path, paths: list[str], decodes: Counter[str]) -> None:
    copy = str(shutil.copy(paths[0], tmp_path / "copy.png"))
    outcome, rows = opens(tmp_path / "cache", **BOTH).features([*paths[:2], copy, paths[0]])
    assert (outcome.computed, outcome.forward_passes, decodes.total()) == (2, 4, 2)
    assert np.array_equal(rows[[0, 0]], rows[2:])


def test_a_picture_has_one_signature_that_of_the_first_part(tmp_path: Path, large: list[str]) -> None:
    keys = opens(tmp_path / "joined", **FAR).run(large).keys
    opens(tmp_path / "alone", **parts_of(FAR)[0]).run(large)
    stores = [signature_store(str(tmp_path / name)) for name in ("joined", "alone")]
    assert [sum(map(len, store.refresh())) for store in stores] == [2, 2]
    assert np.array_equal(*(store.read(keys) for store in stores))


# --- what goes wrong ---


def test_failures_are_those_of_every_part(tmp_path: Path, paths: list[str]) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(Path(paths[0]).read_bytes()[:500])
    pictures = [str(tmp_path / "gone.png"), paths[0], str(bad), paths[1]]
    calls: list[tuple[str, int, int]] = []
    outcome, rows = opens(tmp_path / "cache", **BOTH).features(pictures, lambda *call: calls.append(call))
    assert outcome.succeeded == [1, 3] and rows.shape == (2, 2560) and outcome.computed == 2
    alone = opens(tmp_path / "alone", **parts_of(BOTH)[0]).run(pictures)
    assert outcome.failures == alone.failures and len(outcome.failures) == 2
    assert calls[-1] == ("features", 3, 3)


@pytest.fixture(scope="module")
def infinite(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A saved model whose features of a white picture are not finite."""
    return infinite_model(tmp_path_factory.mktemp("own"))


def test_what_one_network_cannot_compute_is_a_failure_and_the_other_row_is_kept(
    tmp_path: Path, paths: list[str], infinite: str
) -> None:
    white = str(tmp_path / "white.png")
    Image.new("RGB", (64, 64), "white").save(white)
    options = {"backbone": f"nano+{infinite}"}
    extractor = opens(tmp_path / "cache", **options)
    report = extractor.report(extractor.run([paths[0], white]), [], 0)
    assert (report["computed"], report["cached"], report["failed"]) == (1, 0, 1)
    assert "not finite" in report["failures"][0]["reason"]
    outcome, rows = extractor.without_cache([white, paths[0]])
    assert outcome.succeeded == [1] and len(rows) == 1
    assert opens(tmp_path / "cache", backbone="nano").run([paths[0], white]).forward_passes == 0
    assert extractor.run([paths[0], white]).forward_passes == 1  # by the network that failed


@pytest.mark.parametrize("cached", [False, True])
def test_a_picture_that_changes_has_the_rows_of_what_was_decoded(tmp_path: Path, photos: Path, cached: bool) -> None:
    pictures = sorted(map(str, photos.glob("brick/*.png")))[:4]
    if cached:  # by one part: of the new content it has no row
        opens(tmp_path / "cache", **parts_of(BOTH)[0]).run(pictures)
    extractor = opens(tmp_path / "cache", **BOTH)
    for path in pictures:
        os.utime(path)  # hashed again
    change = at("reading", 4, lambda: shutil.copy(BUNDLED / "coffee.png", pictures[2]))
    outcome, rows = extractor.features(pictures, change)
    assert outcome.succeeded == [0, 1, 2, 3]
    assert outcome.digests[2] == content_digest((BUNDLED / "coffee.png").read_bytes())
    expected = opens(tmp_path / "other", **BOTH).features([str(BUNDLED / "coffee.png")])[1]
    assert np.array_equal(rows[2], expected[0])


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interrupted_run_keeps_the_rows_of_every_part(
    tmp_path: Path, paths: list[str], error: type[BaseException]
) -> None:
    def end() -> None:
        raise error

    extractor = opens(tmp_path, **BOTH)
    with pytest.raises(error) as raised:
        extractor.run(paths, at("features", 3, end))
    kept = stored(extractor)
    assert kept[0] == kept[1] and 3 <= kept[0] < 12 and sum(kept) == extractor.forward_passes
    if error is KeyboardInterrupt:
        assert raised.value.__notes__ == [f"{kept[0]} new rows are kept, the next run goes on from there"]
    assert opens(tmp_path, **BOTH).run(paths).forward_passes == 2 * (12 - kept[0])
    assert same_as_alone(tmp_path, tmp_path, paths, BOTH)


def stored(extractor: Extractor) -> list[int]:
    """How many rows each part has."""
    assert isinstance(extractor, ComputingExtractor)
    return [sum(map(len, part.store.refresh())) for part in extractor.parts]


@pytest.mark.parametrize("limit", ["shard_rows", "bytes"])
def test_the_rows_of_all_parts_that_wait_are_those_of_one_shard(
    tmp_path: Path, paths: list[str], monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    options = BOTH | ({"shard_rows": 4} if limit == "shard_rows" else {})
    if limit == "bytes":
        monkeypatch.setattr(featurize.extract.pending_rows, "SHARD_BYTES", 4 * 2 * 4 * 1280 + 100)
    extractor = opens(tmp_path, **options)
    at_risk: list[int] = []
    commit = featurize.extract.pending_rows.PendingRows.commit

    def watched(pending: Any) -> None:
        at_risk.append(extractor.forward_passes - sum(stored(extractor)))
        commit(pending)

    monkeypatch.setattr(featurize.extract.pending_rows.PendingRows, "commit", watched)
    extractor.run(paths)
    assert 0 < max(at_risk) <= 2 * 4 and stored(extractor) == [12, 12]


# --- caches and processes ---


def test_isolated_decoders_give_the_same_rows_for_all_parts(tmp_path: Path, large: list[str], paths: list[str]) -> None:
    bad = str(tmp_path / "bad.jpg")
    Path(bad).write_bytes(b"\xff\xd8 no JPEG")
    pictures = [*large, bad, *paths[:2]]
    here = opens(tmp_path / "here", **THREE, views=2).features(pictures)
    there = opens(tmp_path / "there", **THREE, views=2, isolate=True).features(pictures)
    assert np.array_equal(here[1], there[1]) and here[0].failures == there[0].failures and len(here[1]) == 4


@pytest.mark.parametrize("missing", ["all", "one part's"])
def test_a_cache_that_cannot_be_written_lends_what_it_has(
    tmp_path: Path, paths: list[str], decodes: Counter[str], missing: str
) -> None:
    expected = opens(tmp_path / "other", **BOTH).features(paths)[1]
    if missing != "all":
        opens(tmp_path / "cache", **parts_of(BOTH)[1]).run(paths)
    decodes.clear()
    extractor = opens(tmp_path / "cache", **BOTH)
    outcome, rows = extractor.complete(paths)
    assert outcome.forward_passes == (24 if missing == "all" else 12)
    assert decodes.total() == 12 and outcome.computed == 12
    assert np.array_equal(rows, expected) and stored(extractor)[0] == 0


def test_without_the_cache_each_picture_is_decoded_once(
    tmp_path: Path, paths: list[str], decodes: Counter[str]
) -> None:
    extractor = opens(tmp_path, **BOTH)
    outcome, rows = extractor.without_cache([paths[0], paths[1], paths[0]])
    assert (outcome.forward_passes, outcome.computed, decodes.total()) == (6, 2, 3)  # given thrice, decoded thrice
    assert np.array_equal(rows[0], rows[2]) and not os.path.exists(extractor.folders[0])


def test_rows_of_the_former_decoder_are_taken_over_after_one_look(
    tmp_path: Path, paths: list[str], decodes: Counter[str]
) -> None:
    extractor = opens(tmp_path, **BOTH)
    expected = extractor.features(paths)[1]
    former_specs(extractor)
    decodes.clear()
    outcome, rows = opens(tmp_path, **BOTH).features(paths)
    assert (outcome.forward_passes, len(decodes), decodes.total()) == (0, 12, 12)
    assert np.array_equal(rows, expected)


def former_specs(extractor: Extractor) -> None:
    """Make the rows of an extractor those of the former decoder."""
    assert isinstance(extractor.store, JoinedStore)
    keys = np.concatenate([shard.digests for shard in extractor.store.parts[0].refresh()])
    for store in extractor.store.parts:
        before = FeatureStore(extractor.cache_dir, replace(store.spec, decoder=DECODERS[-1]))
        before.commit(store.read(keys), keys, {})
        shutil.rmtree(store.folder)


def test_two_runs_with_the_parts_in_other_orders_do_not_wait_for_each_other(
    tmp_path: Path, surfaces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = sorted(map(str, surfaces.glob("*/*.png")))
    order: list[list[str]] = []
    for options in (BOTH, BOTH | {"size": "64+96"}):
        extractor = opens(tmp_path, **options)
        assert isinstance(extractor, ComputingExtractor)
        taken: list[str] = []
        for part in extractor.parts:

            def noting(
                name: str = ".commit", waiting: str = "", of: Any = part, lock: Any = part.stores[0].lock
            ) -> Any:
                taken.extend([of.store.folder] * (name == ".run"))  # noqa: B023
                return lock(name, waiting)

            monkeypatch.setattr(part.stores[0], "lock", noting)
        extractor.run(pictures)
        order.append(taken)
        for folder in extractor.folders:
            shutil.rmtree(folder)
    assert order[0] == order[1] and len(order[0]) == 2


def test_a_trained_model_predicts_from_one_decode(
    tmp_path: Path, surfaces: Path, decodes: Counter[str], opened: Counter[str]
) -> None:
    model, picture = str(tmp_path / "m.joblib"), str(BUNDLED / "coffee.png")
    pipeline.train(str(surfaces), "centroid", model=model, cache_dir=str(tmp_path / "cache"), **BOTH)
    assert decodes.total() == 36
    classifier = pipeline.load(model)
    decodes.clear()
    opened.clear()
    found = classifier.predict_proba(picture)
    assert (decodes.total(), opened[picture], classifier.extractor.forward_passes) == (1, 2, 2)
    rows = [opens(tmp_path / "other", **part).features([picture])[1] for part in parts_of(BOTH)]
    joined = np.concatenate([unit_length(of_part) for of_part in rows], axis=1)
    np.testing.assert_array_equal(classifier.saved.predictor.predict_proba(joined), found)
