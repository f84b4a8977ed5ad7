"""Labels that were planted wrong come first among those in doubt."""

import numpy as np
from helpers import real_features

from bottleneck_features.review.growing_gallery import Pictures
from bottleneck_features.review.queue_pages import Request, queue_page
from bottleneck_features.review.session import View
from classify.heads.numerics import unit_rows
from classify.labelling.ask import Pool
from classify.labelling.learner import check, learn

PICTURES, PLANTED, SHOWN, LEAST, DRAWS = 600, 20, 40, 16, 10


def found_of_planted(rows: np.ndarray, labels: np.ndarray, seed: int) -> int:
    random = np.random.default_rng(seed)
    some = random.permutation(len(rows))[:PICTURES]
    given, groups = labels[some].astype(str), np.arange(PICTURES)
    planted = random.permutation(PICTURES)[:PLANTED]
    for number in planted:
        given[number] = random.choice([name for name in np.unique(given) if name != given[number]])
    own = rows[some]
    names = [str(number) for number in groups]
    pictures = Pictures(names, own, np.zeros((PICTURES, 32), np.uint8), groups, Pool.of(own, groups))
    nothing = np.zeros(PICTURES, bool)
    alone = ~nothing
    checked = check(own, given, groups, alone)
    view = View(1, pictures, given, np.full(PICTURES, ""), nothing, alone, {}, 1, learn(own, given), checked)
    page = queue_page(view, Request("doubt", count=SHOWN))
    return len({one["picture"] for one in page["pictures"]} & {*planted.tolist()})


def test_nearly_all_planted_labels_are_among_the_first_forty() -> None:
    rows, labels = real_features.digits()
    found = [found_of_planted(unit_rows(rows), labels, seed) for seed in range(DRAWS)]
    assert np.median(found) >= LEAST, found
