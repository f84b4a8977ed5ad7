"""Held-out answers made of confidences and of what is right."""

import numpy as np

from classify.decisions.saved_answers import SavedAnswers
from classify.heads.numerics import Floats


def answers_of(
    confidence: Floats, right: np.ndarray, predicted: np.ndarray | None = None, groups: np.ndarray | None = None
) -> SavedAnswers:
    """Answers of two classes. confidence, right, predicted, groups: (m,)."""
    count = len(right)
    predicted = np.zeros(count, int) if predicted is None else predicted
    truth = np.where(right, predicted, 1 - predicted)
    groups = np.arange(count) if groups is None else np.unique(groups, return_inverse=True)[1]
    true_probability = np.where(right, confidence, 1 - confidence)
    predicted, truth, groups, sites = (
        array.astype(np.int32) for array in (predicted, truth, groups, np.full(count, -1))
    )
    return SavedAnswers(confidence, true_probability, predicted, truth, groups, sites)


def calibrated(random: np.random.Generator, count: int) -> tuple[Floats, np.ndarray]:
    """Confidences (count,), and whether each answer is right: with that probability."""
    confidence = random.uniform(0.5, 1, count) ** 0.5
    return confidence, random.random(count) < confidence
