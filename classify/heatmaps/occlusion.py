"""Maps by occlusion: how much less probable the answer becomes where a part of the picture is hidden."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cache.row_key import ORIGINAL_VIEW
from classify.heads.numerics import Floats
from featurize.extract.extractor import Extractor
from featurize.extract.joined_extractor import JoinedExtractor
from featurize.extract.network_extractor import NetworkExtractor
from featurize.pictures.hidden_parts import CELLS, HIDDEN, PATCH, STEPS


def hiding_extractor(parts: Sequence[NetworkExtractor]) -> Extractor:
    """What gives the rows of a picture, the picture as it is first, then each of its views with a part hidden."""
    views = (ORIGINAL_VIEW, *HIDDEN)
    hiding = [NetworkExtractor.open(replace(part.resolved, views=views), part.cache_dir) for part in parts]
    return hiding[0] if len(hiding) == 1 else JoinedExtractor(hiding)


def occlusion_map(probabilities: Floats) -> Floats:
    """The map (CELLS, CELLS) float32 of the probabilities (views,) of a label, in the views of `hiding_extractor`.

    A cell has the mean fall of the probability over all places of the patch that cover it.
    """
    fall = (probabilities[0] - probabilities[1:]).reshape(STEPS, STEPS)
    total, count = np.zeros((CELLS, CELLS)), np.zeros((CELLS, CELLS))
    for row, column in np.ndindex(STEPS, STEPS):
        covered = np.s_[row : row + PATCH, column : column + PATCH]
        total[covered] += fall[row, column]
        count[covered] += 1
    return (total / count).astype(np.float32)
