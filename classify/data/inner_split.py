"""What a head holds out of its own training pictures: to stop in time, to fit a temperature, to choose a parameter.

A head is told groups, not what they are. Copies of a picture have its label, camera sites hold several classes.
"""

import numpy as np
from numpy.typing import NDArray

from classify.data.group_split import held_out_groups
from classify.data.split import Indices

SEVERAL = 0.1  # of the pictures: so many copies with other labels than their picture there are not


def hold_several(labels: NDArray[np.generic], groups: Indices) -> bool:
    """Whether groups (n,) are of several labels (n,) each: more than a tenth of the pictures are in such groups."""
    codes = np.unique(labels, return_inverse=True)[1]
    _, group = np.unique(groups, return_inverse=True)
    least, most = np.full(group.max() + 1, codes.max()), np.zeros(group.max() + 1, codes.dtype)
    np.minimum.at(least, group, codes)
    np.maximum.at(most, group, codes)
    return bool(np.mean((least < most)[group]) > SEVERAL)


def held_out_rows(
    labels: Indices, groups: Indices, fraction: float, random: np.random.RandomState
) -> NDArray[np.bool_]:
    """Mask (n,) of the validation pictures: a share of each class, rounded, that leaves at least one to train on.

    groups: (n,) as of `copies_by_first`. Whole ones are held out. Of copies never more pictures than the share: a group
    that is too large is passed over. Copies with different labels are trained on. Where all are too large, as those of
    patients or individuals may be, they are dealt as groups of several labels are.
    """
    if hold_several(labels, groups):
        return held_out_groups(labels, groups, fraction, random.randint(2**31 - 1)) if fraction else groups < 0
    wanted = False
    originals = np.setdiff1d(groups, groups[labels != labels[groups]])
    sizes = np.bincount(groups, minlength=len(groups))
    held_out: list[int] = []
    for label in range(labels.max() + 1):
        members = random.permutation(originals[labels[originals] == label])
        trained_on = int(sizes[members].sum())
        left = round(fraction * trained_on)
        wanted |= left > 0 and len(members) > 1
        for member, size in zip(members.tolist(), sizes[members].tolist(), strict=True):
            if size <= left and size < trained_on:
                held_out.append(member)
                left, trained_on = left - size, trained_on - size
    if wanted and not held_out:
        return held_out_groups(labels, groups, fraction, random.randint(2**31 - 1))
    return np.isin(groups, held_out)
