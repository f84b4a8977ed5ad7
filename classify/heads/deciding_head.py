"""Heads that decide: `decision_function`, which `predict_proba` makes probabilities of by a temperature."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_softmax, logsumexp
from sklearn.utils.validation import check_is_fitted

from cache.stored_rows import StoredRows
from classify.heads.base import FeatureHead
from classify.heads.head_arrays import ArrayHead
from classify.heads.numerics import Floats, as_pictures, as_rows, by_class, in_blocks


class DecidingHead(FeatureHead):
    """A head whose probabilities are the softmax of decisions / temperature; by default it has hyperplanes.

    Attributes after `fit`: `coef_` (k, d), or (1, d) for two classes, and `intercept_`, where it has hyperplanes;
    `temperature_`, where it is not 1.
    """

    coef_: Floats
    intercept_: Floats

    def decision_function(self, X: ArrayLike | StoredRows) -> Floats:
        """How much speaks for each class.

        Parameters
        ----------
        X : array or stored rows (n, d), or array (n, M, d)
            Feature rows, or M views of each picture.

        Returns
        -------
        array (n, k), float64, or (n,) for two classes
            Columns in the order of `classes_`; of two classes what speaks for the second, above 0 where it is the
            answer. For pictures of M views, the decisions that `predict_proba` of these views stands for: of views that
            are all alike those of one, and the answer is that of `predict`.
        """
        check_is_fitted(self)
        if isinstance(X, StoredRows):
            return X.apply(self.decision_function)
        rows = self._checked(X, reset=False)
        flat, size = as_rows(rows), self._numbers_per_row()
        decided = by_class(in_blocks(flat, size, lambda block: self._decisions(self._normalized(block))))
        if rows.ndim == 3:
            decided = decisions_of_views(as_pictures(decided, len(rows)), self._temperature)
        return decided[:, 1] - decided[:, 0] if len(self.classes_) == 2 else decided

    def arrays(self) -> ArrayHead | None:
        """What predicts the same without scikit-learn."""
        return self._array_head([(self.coef_.T, self.intercept_)], self._temperature)

    def _decisions(self, rows: Floats) -> Floats:
        """Decisions (n, k), or (n, 1) for the second of two classes, about normalised rows (n, d) float64."""
        head = self.arrays()
        assert head is not None, "a head without arrays has decisions of its own"
        return head.decisions(rows)

    @property
    def _temperature(self) -> float:
        return getattr(self, "temperature_", 1.0)


def decisions_of_views(decided: Floats, temperature: float) -> Floats:
    """Decisions (n, k) whose softmax at a temperature is the mean of those of the decisions (n, M, k) of M views."""
    chances = log_softmax(decided / temperature, axis=2)
    level = (decided - temperature * chances).mean(axis=(1, 2))  # a softmax does not tell it
    mean = logsumexp(chances, axis=1) - np.log(decided.shape[1])
    return temperature * mean + level[:, None]
