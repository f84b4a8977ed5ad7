"""Exact class maps: a linear head decides by the sum of what it says of each place of a picture."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from classify.heads.head_arrays import ArrayHead
from classify.heads.numerics import Floats, by_class


def class_map(head: ArrayHead, maps: Sequence[Floats], flat: Sequence[bool], answer: int) -> Floats:
    """The map (h, w) float32 of one picture; its mean is a decision of the head.

    The decision for class number `answer`, less the mean of those for the other classes: of two classes the difference.
    Of a plane w and a row x it is w . n(x) + b, and each way of normalising is n(x) = (x - shift) / spread, with one
    spread for all places of the picture. So each place has its w . (x - shift) / spread + b: above 0, a picture that
    looked so everywhere would be given the label.

    head: of a single layer. maps: (h, w, c) of the picture by each network whose rows the head takes. The row is their
    mean over the places, or where `flat` all their numbers in a line; of several networks each was brought to length 1.
    The map has the largest of their grids.
    """
    rows = [
        one.astype(np.float64).ravel() if line else one.mean(axis=(0, 1), dtype=np.float64)
        for one, line in zip(maps, flat, strict=True)
    ]
    lengths = [float(np.linalg.norm(row)) or 1.0 if len(maps) > 1 else 1.0 for row in rows]
    row = np.concatenate([part / length for part, length in zip(rows, lengths, strict=True)])
    shift, spread = np.zeros_like(row), np.ones_like(row)
    if head.mean is not None and head.scale is not None:
        shift, spread = head.mean.astype(np.float64), head.scale.astype(np.float64)
    if head.normalize == "l2" or head.cosine:
        spread = spread * (float(np.linalg.norm((row - shift) / spread)) or 1.0)
    kernel, bias = head.layers[0]
    weights = _against_others(by_class(kernel), answer) / spread
    constant = float(_against_others(by_class(bias[None]), answer)[0])
    ends = np.cumsum([len(part) for part in rows])[:-1]
    of_parts = [
        (one * plane.reshape(one.shape)).sum(axis=2) * one[..., 0].size / length if line else one @ (plane / length)
        for one, plane, length, line in zip(maps, np.split(weights, ends), lengths, flat, strict=True)
    ]
    height, width = max((part.shape for part in of_parts), key=np.prod)
    values = np.sum([_resized(part, height, width) for part in of_parts], axis=0)
    return (values + (constant - weights @ shift)).astype(np.float32)


def _against_others(planes: Floats, answer: int) -> Floats:
    """Column `answer` of planes (d, k), less the mean of the other columns."""
    others: Floats = np.delete(planes, answer, axis=1).mean(axis=1)
    return planes[:, answer] - others


def _resized(values: Floats, height: int, width: int) -> Floats:
    """A map (h, w) on another grid; its mean stays."""
    if values.shape == (height, width):
        return values
    picture = Image.fromarray(values.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    resized = np.asarray(picture, np.float64)
    return resized + (values.mean() - resized.mean())
