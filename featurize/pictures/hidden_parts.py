"""Views of a picture of which a part is hidden: how the answer changes without it shows whether it counts.

A patch of mean colour moves over a grid of `CELLS` x `CELLS` cells, step by step; it is `PATCH` x `PATCH` cells large.
"""

from collections.abc import Sequence

import numpy as np

from cache.row_key import ORIGINAL_VIEW

CELLS = 7
PATCH = 2
STEPS = CELLS - PATCH + 1  # places of the patch in each direction
# By rows, from the upper left. Other pixels under the same name would leave stale rows: the name says the grid.
HIDDEN = tuple(f"hidden-{CELLS}-{PATCH}-{row}-{column}" for row in range(STEPS) for column in range(STEPS))


def is_augmented(view: str) -> bool:
    """Whether a view is neither the picture itself nor it with a part hidden."""
    return view != ORIGINAL_VIEW and view not in HIDDEN


def with_hidden(pixels: np.ndarray, views: Sequence[str]) -> np.ndarray:
    """Those views, none augmented, of a picture's `pixels` (height, width, 3): (views, height, width, 3), its dtype."""
    if tuple(views) == (ORIGINAL_VIEW,):
        return pixels[None]
    shown = np.repeat(pixels[None], len(views), axis=0)
    colour = pixels.mean(axis=(0, 1), dtype=np.float64).round().astype(pixels.dtype)
    down, across = (np.linspace(0, side, CELLS + 1).round().astype(int) for side in pixels.shape[:2])
    for number, view in enumerate(views):
        if view != ORIGINAL_VIEW:
            row, column = divmod(HIDDEN.index(view), STEPS)
            shown[number, down[row] : down[row + PATCH], across[column] : across[column + PATCH]] = colour
    return shown
