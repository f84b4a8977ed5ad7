"""Views of a picture of which a part is hidden: the same pixels but for one patch, whatever the way of resizing."""

from pathlib import Path

import numpy as np
import pytest
from conftest import BUNDLED
from PIL import Image

from cache.row_key import ORIGINAL_VIEW
from featurize.decoding.decode import decode_views
from featurize.pictures.hidden_parts import CELLS, HIDDEN, PATCH, STEPS
from featurize.pictures.recipes import views_with_original

SIZE = (84, 70)


@pytest.mark.parametrize("resize", ["antialias", "nearest", "bilinear", "bicubic-short96-floor"])
def test_only_the_patch_differs_and_every_cell_is_hidden_once_or_more(resize: str) -> None:
    data = (BUNDLED / "chelsea.png").read_bytes()
    plain = decode_views(data, SIZE, resize).pixels[0]
    shown = decode_views(data, SIZE, resize, (ORIGINAL_VIEW, *HIDDEN)).pixels
    assert shown.shape == (1 + STEPS**2, *SIZE, 3) and (shown[0] == plain).all()
    covered = np.zeros((CELLS, CELLS), int)
    for number, hidden in enumerate(shown[1:]):
        row, column = divmod(number, STEPS)
        differs = (hidden != plain).any(axis=2)
        patch = np.s_[row * 12 : (row + PATCH) * 12, column * 10 : (column + PATCH) * 10]
        assert differs[patch].mean() > 0.9 and differs.sum() == differs[patch].sum()
        assert np.abs(hidden[patch] - plain.mean(axis=(0, 1))).max() <= 0.5
        covered[row : row + PATCH, column : column + PATCH] += 1
    assert covered.min() == 1 and covered.max() == PATCH**2


def test_a_large_jpeg_is_decoded_as_for_the_picture_itself(tmp_path: Path) -> None:
    """Reduced by the JPEG decoder, which augmented views are not."""
    with Image.open(BUNDLED / "astronaut.png") as picture:
        picture.resize((2048, 2048)).save(tmp_path / "large.jpg")
    data = (tmp_path / "large.jpg").read_bytes()
    plain = decode_views(data, SIZE).pixels[0]
    shown = decode_views(data, SIZE, views=HIDDEN[-1:]).pixels[0]
    assert (shown[:60, :50] == plain[:60, :50]).all() and (shown[61:, 51:] != plain[61:, 51:]).any()


def test_no_recipe_has_views_of_these_names() -> None:
    assert not set(HIDDEN) & set(views_with_original("crops", 64)) and len(set(HIDDEN)) == STEPS**2
