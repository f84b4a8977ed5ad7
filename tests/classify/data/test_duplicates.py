"""Near-duplicates: told from the pixels of real photographs, the same in every command, whatever the order."""

import io
import logging
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from conftest import SPEC
from helpers.storage import cached_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

import classify.data.duplicates
import featurize.extract.missing_signatures
import featurize.machine.memory
import pipeline
from cache.signatures import SIDE, signature_store
from classify.data.duplicates import LEAST_CONTRAST, contrasts, differences, near_duplicates
from classify.data.split import duplicate_groups
from classify.data.surfaces import PHOTOGRAPHS, Crop, photograph
from featurize.decoding.decode import decode_views


def crops(count: int, side: int = 120) -> list[Image.Image]:
    """Different crops of the photographs that come with scikit-image, in turn."""
    grey = {label: photograph(label) for label in PHOTOGRAPHS if label not in ("star_field", "printed_page")}
    found: list[Image.Image] = []
    random = np.random.default_rng(0)
    while len(found) < count:
        whole = grey[[*grey][len(found) % len(grey)]]
        left, upper = (int(random.integers(length - side)) for length in whole.size)
        crop = Crop((left, upper, left + side, upper + side), 0).of(whole)
        if np.asarray(crop).std() > 20:
            found.append(crop)
    return found


def saved(picture: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    data = io.BytesIO()
    picture.save(data, kind, **options)
    return data.getvalue()


def signatures(files: list[bytes]) -> np.ndarray:
    return np.stack([decode_views(data, (SIDE, SIDE)).signature for data in files])


def groups_of(files: list[bytes]) -> np.ndarray:
    return near_duplicates(cached_rows.keys(len(files)), signatures(files))


def test_a_signature_is_that_of_the_picture_whatever_it_is_decoded_for() -> None:
    data = saved(Image.fromarray(skimage.data.coffee()), quality=90)
    one, other = decode_views(data, (224, 224)).signature, decode_views(data, (96, 160), views=["crops-1"]).signature
    assert one.shape == (SIDE, SIDE, 3) and one.dtype == np.uint8
    assert np.abs(one.astype(int) - other).max() <= 3  # a JPEG may be reduced by its decoder


def test_thirty_jpegs_of_a_photograph_are_one_picture_and_other_photographs_are_others() -> None:
    """A burst or an archive may have more copies of a picture than there are other pictures in its class."""
    pictures = crops(24)
    files = [saved(picture, quality=quality) for picture in pictures for quality in range(35, 95, 2)]
    groups = groups_of(files).reshape(24, 30)
    assert (groups == groups[:, :1]).all()
    assert len(np.unique(groups)) == 24


@pytest.mark.parametrize("way", ["png", "half", "double", "sharper", "brighter"])
def test_a_picture_that_is_scaled_or_touched_up_is_a_near_duplicate(way: str) -> None:
    ways: dict[str, Callable[[Image.Image], bytes]] = {
        "png": lambda picture: saved(picture, "PNG"),
        "half": lambda picture: saved(picture.resize((60, 60), Image.Resampling.LANCZOS), quality=60),
        "double": lambda picture: saved(picture.resize((240, 240), Image.Resampling.LANCZOS), quality=90),
        "sharper": lambda picture: saved(picture.filter(ImageFilter.SHARPEN), quality=90),
        "brighter": lambda picture: saved(picture.point(lambda value: value + 3), quality=90),
    }
    pictures = crops(30)
    groups = groups_of([*(saved(picture, quality=95) for picture in pictures), *map(ways[way], pictures)])
    assert (groups[:30] == groups[30:]).all() and len(np.unique(groups)) == 30


def test_pictures_without_contrast_are_duplicates_of_byte_identical_ones_alone() -> None:
    random = np.random.default_rng(0)
    files = []
    for number in range(60):
        blank = np.clip(random.normal(40 + number, 1, (64, 64)), 0, 255).astype(np.uint8)
        files.append(saved(Image.fromarray(blank), quality=90))
    assert (contrasts(signatures(files)) < LEAST_CONTRAST).all()
    digests = cached_rows.keys(60)
    digests[30] = digests[0]
    groups = near_duplicates(digests, signatures(files))
    assert len(np.unique(groups)) == 59 and groups[30] == groups[0]


def test_a_burst_of_thousands_is_one_group_and_blanks_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is counted is how many pairs of pictures are compared pixel by pixel, and how many products are made."""
    random = np.random.default_rng(0)
    scene, *others = signatures([saved(picture) for picture in crops(30)]).astype(np.float32)
    frames = scene + random.normal(0, 0.08 * scene.std(), (3000, SIDE, SIDE, 3))
    blanks = np.full((20_000, 1, 1, 1), 200) + random.normal(0, 1.2, (20_000, SIDE, SIDE, 1)) * np.ones(3)
    everything = np.clip(np.concatenate([frames, np.array(others), blanks]), 0, 255).astype(np.uint8)
    compared, products = 0, 0
    counted, squares = classify.data.duplicates.differences, classify.data.duplicates._squares

    def counting(pixels: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        nonlocal compared
        compared += len(one)
        return counted(pixels, one, other)

    def multiplied(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        nonlocal products
        products += len(one) * len(other)
        return squares(one, other)

    monkeypatch.setattr(classify.data.duplicates, "differences", counting)
    monkeypatch.setattr(classify.data.duplicates, "_squares", multiplied)
    pairs = classify.data.duplicates.near_pairs(everything)
    groups = classify.data.duplicates._components(len(everything), pairs)
    assert (groups[:3000] == groups[0]).all() and len(np.unique(groups[3000:])) == len(everything) - 3000
    assert compared <= 60_000 and products <= 4 * 3100**2 and len(pairs) < 60_000


@settings(max_examples=25)
@given(st.integers(2, 40), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 5.0, 20.0, 60.0]))
def test_the_groups_are_those_of_every_pair_compared(count: int, seed: int, spread: float) -> None:
    random = np.random.default_rng(seed)
    scenes = random.normal(128, 40, (max(1, count // 3), SIDE, SIDE, 3))
    pixels = scenes[random.integers(0, len(scenes), count)] + random.normal(0, spread, (count, SIDE, SIDE, 3))
    pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    one, other = np.triu_indices(count, 1)
    near = differences(pixels, one, other) <= classify.data.duplicates.ALIKE
    expected = classify.data.duplicates._components(count, np.column_stack([one[near], other[near]]))
    found = near_duplicates(cached_rows.keys(count), pixels)
    assert ((found[one] == found[other]) == (expected[one] == expected[other])).all()
    order = random.permutation(count)
    shuffled = near_duplicates(cached_rows.keys(count)[order], pixels[order])
    np.testing.assert_array_equal(shuffled, found[order])
    exact = duplicate_groups(cached_rows.keys(count))
    assert (found <= exact).all() and set(found) <= set(exact)


def test_nothing_is_told_without_signatures() -> None:
    digests = cached_rows.keys(4)
    np.testing.assert_array_equal(near_duplicates(digests, None), duplicate_groups(digests))
    assert near_duplicates(digests[:0], None).shape == (0,)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a picture is decoded for its signature alone."""
    counted: Counter[str] = Counter()
    decode = featurize.extract.missing_signatures.decode_views

    def counting(*arguments: Any, **options: Any) -> Any:
        counted.update(["decoded"])
        return decode(*arguments, **options)

    monkeypatch.setattr(featurize.extract.missing_signatures, "decode_views", counting)
    return counted


def test_signatures_come_with_the_features_and_a_warm_run_decodes_nothing(
    surfaces: Path, tmp_path: Path, decoded: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, model = str(tmp_path / "cache"), str(tmp_path / "m.joblib")
    pipeline.features(str(surfaces), cache_dir=cache, **SPEC)
    monkeypatch.setattr(featurize.extract.network_extractor, "decode_inputs", None)  # nothing is decoded from here on
    report = pipeline.train(str(surfaces), model=model, cache_dir=cache, **SPEC)
    assert report["forward_passes"] == 0 and not decoded
    pipeline.evaluate(str(surfaces), model)
    pipeline.compare(str(surfaces), heads=["centroid"], cache_dir=cache)
    assert not decoded


def test_signatures_are_of_contents_whatever_the_spec(surfaces: Path, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    for size in (32, 64):
        pipeline.features(str(surfaces), cache_dir=cache, size=size, **SPEC)
    shards = signature_store(cache).refresh()
    assert [len(shard) for shard in shards] == [36]


def test_a_cache_from_before_there_were_signatures_gets_them_once_announced(
    surfaces: Path, tmp_path: Path, decoded: Counter[str], caplog: pytest.LogCaptureFixture
) -> None:
    cache = str(tmp_path / "cache")
    pipeline.features(str(surfaces), cache_dir=cache, **SPEC)
    shutil.rmtree(signature_store(cache).folder)
    with caplog.at_level(logging.INFO, "bottleneck"):
        pipeline.train(str(surfaces), model=str(tmp_path / "m.joblib"), cache_dir=cache, **SPEC)
    assert decoded["decoded"] == 36 and "signatures of 36 pictures are made, once" in caplog.text
    pipeline.train(str(surfaces), model=str(tmp_path / "m.joblib"), cache_dir=cache, **SPEC)
    assert decoded["decoded"] == 36


def test_what_does_not_fit_into_memory_is_said_and_byte_identical_pictures_stay_together(
    surfaces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(featurize.machine.memory, "free_memory", lambda: 36 * SIDE * SIDE * 3)
    paths = sorted(map(str, surfaces.glob("*/*.png")))
    digests = cached_rows.keys(36)
    assert featurize.extract.missing_signatures.signatures_of(str(tmp_path), paths, digests) is None
    assert "near-duplicates are not looked for among 36 pictures" in caplog.text


def test_a_picture_whose_signature_cannot_be_made_is_named(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache, paths = str(tmp_path / "cache"), sorted(map(str, photos.glob("*/*.png")))
    outcome = pipeline.open_extractor(cache, **SPEC).run(paths)
    shutil.rmtree(signature_store(cache).folder)
    Path(paths[3]).unlink()
    Path(paths[5]).write_bytes(Path(paths[6]).read_bytes())
    made = featurize.extract.missing_signatures.signatures_of(cache, paths, outcome.keys)
    assert made is not None and [number for number, one in enumerate(made) if not one.any()] == [3, 5]
    assert f"not compared with other pictures: {paths[3]}" in caplog.text and "it has changed" in caplog.text
    assert len(np.unique(near_duplicates(outcome.keys, made))) == 36
