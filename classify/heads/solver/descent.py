"""Minimise a penalised loss by L-BFGS with a preconditioner, all classes in one matrix product.

L-BFGS: Liu and Nocedal, "On the limited memory BFGS method for large scale optimization", 1989. The first estimate of
the curvature is that of the loss, summed over the rows, times the spread of each column. For uncorrelated columns
(`classify.heads.solver.whitening`) it is close, and few steps suffice. A step takes two matrix products, however many
lengths the line search tries: decisions change in proportion to the length.
"""

from typing import NamedTuple

import numpy as np

from classify.heads.numerics import Floats
from classify.heads.solver.losses import Loss

MEMORY = 10  # steps that L-BFGS remembers
MOST_TRIES = 30  # lengths tried for one step
FLAT = 0.5  # a step has a good length when this share, or less, of the slope along it is left
NOTHING = 1e-6  # mean square of decisions that differ so little from each other that they count as none
TINY = 1e-30  # instead of dividing by zero
LEAST_IN_FLOAT32 = 1e-4  # the least tolerance that planes in float32 are sure to reach


class Fit(NamedTuple):
    """Planes (r, k), how many steps led to them, and whether these were enough."""

    planes: Floats
    n_iter: int
    converged: bool


class Change(NamedTuple):
    """A step, how it changed the gradient, the product of both, and one over it.

    per_product is 0, so that the step counts as none, where rounding has made the product negative.
    """

    step: Floats
    gradient: Floats
    product: Floats
    per_product: Floats


class Descent:
    """A loss over rows (n, r) and a penalty on the planes (r, k) that decide about them, `rows @ planes`.

    spread: (r,) mean squares of the columns, roughly. penalties: (r,), the squared weights of a column cost half of
    its penalty each.

    Where the classes are separate problems they are solved side by side: each scalar of a problem is an array (k,)
    below, or (1,) where the classes are coupled.
    """

    def __init__(self, rows: Floats, spread: Floats, loss: Loss, penalties: Floats) -> None:
        self.rows = rows
        self.spread = spread[:, None]
        self.loss = loss
        self.penalties = penalties[:, None]

    def minimum(self, planes: Floats, tol: float, max_iter: int) -> Fit:
        """The planes with the least loss and penalty; `planes` is the start.

        Ends when the planes are within `tol` of the optimal ones, as a share of their length, as estimated from the
        gradient and the curvature, or after `max_iter` steps. The decisions are then as close.
        """
        decisions = self.rows @ planes
        slopes, curvature = self.loss.slopes(decisions)
        gradient = self._gradient(slopes, planes)
        history: list[Change] = []
        for n_iter in range(max_iter + 1):
            guess = self.spread * curvature + self.penalties
            steepness = curvature.sum(keepdims=True) if self.loss.coupled else curvature
            length = self._inner(self.penalties * planes, planes) + NOTHING * steepness
            far = self._inner(gradient, gradient / guess) > tol**2 * length
            if n_iter == max_iter or not far.any():
                break
            direction = self._direction(gradient, guess, history)
            rounded_away = self._inner(gradient, direction) >= 0
            direction = np.where(rounded_away, -gradient / guess, direction) * far
            moves = self.rows @ direction
            length, slopes, curvature = self._step(decisions, moves, slopes, gradient, direction)
            step = length * direction
            planes, decisions = planes + step, decisions + length * moves
            before, gradient = gradient, self._gradient(slopes, planes)
            change = gradient - before
            product = self._inner(step, change)
            per_product = np.where(product > 0, 1 / np.maximum(product, TINY), 0).astype(product.dtype)
            history = [*history[-MEMORY + 1 :], Change(step, change, product, per_product)]
        return Fit(planes, n_iter, not far.any())

    def _gradient(self, slopes: Floats, planes: Floats) -> Floats:
        return self.rows.T @ slopes + self.penalties * planes

    def _inner(self, left: Floats, right: Floats) -> Floats:
        """The sum of the products of each problem."""
        if self.loss.coupled:
            return np.vdot(left, right).reshape(1)
        return np.einsum("ij,ij->j", left, right)

    def _direction(self, gradient: Floats, guess: Floats, history: list[Change]) -> Floats:
        """The L-BFGS direction: against the gradient, from the estimated curvature and the past steps."""
        direction = -gradient
        shares = []
        for change in reversed(history):
            share = change.per_product * self._inner(change.step, direction)
            direction -= share * change.gradient
            shares.append(share)
        direction /= guess
        if history:
            newest = history[-1]
            guessed = self._inner(newest.gradient, newest.gradient / guess)
            direction *= np.where(newest.product > 0, newest.product / np.maximum(guessed, TINY), 1)
        for change, share in zip(history, reversed(shares), strict=True):
            direction += (share - change.per_product * self._inner(change.gradient, direction)) * change.step
        return direction

    def _step(
        self, decisions: Floats, moves: Floats, slopes: Floats, gradient: Floats, direction: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """Line search: (length of the step, slopes and curvature at its end).

        Compares slopes, not losses: near the optimum losses differ by less than their rounding in float32.
        """
        first = self._inner(gradient, direction)
        stiffness = self._inner(self.penalties * direction, direction)
        short, slope_short = np.zeros_like(first), first
        long, slope_long = np.full_like(first, np.inf), np.ones_like(first)
        length = np.ones_like(first)
        for _ in range(MOST_TRIES):
            there, curvature = self.loss.slopes(decisions + length * moves)
            slope = first + self._inner(there - slopes, moves) + length * stiffness
            down, up = slope < FLAT * first, slope > -FLAT * first
            if not (down | up).any():
                break
            short, slope_short = np.where(down, length, short), np.where(down, slope, slope_short)
            long, slope_long = np.where(up, length, long), np.where(up, slope, slope_long)
            between = short + (long - short) * np.clip(slope_short / (slope_short - slope_long), 0.1, 0.9)
            beyond = length * np.clip(first / np.minimum(first - slope, -TINY), 1.5, 4)
            length = np.where(down | up, np.where(np.isfinite(long), between, beyond), length)
        return length, there, curvature
