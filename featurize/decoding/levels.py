"""Levels of pictures with more than 8 bits: which value becomes black, which white, and which ones are no data.

A single outlier must not decide how all other pixels look. Only imported when something is decoded.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from featurize.pictures.find_images import ImageError

STRIP = 2**16  # pixels at a time: a whole picture of 89 million is 341 MiB, and each copy as much again
SAMPLE = 2**16  # numbers that the percentiles are taken from
CUT = 0.001  # share of the numbers, on each side, that do not decide the levels alone

SIXTEEN = 65535
DARK = SIXTEEN // 4  # brighter than this is a picture of 16 bits
NEAR_FULL = 0.8  # of 14 bits: a camera exposes up to about there, and a dark picture of 16 bits reaches it by chance
DEPTHS = 255, 1023, 4095, 16383  # white of 8, 10, 12 and 14 bits, which cameras, scanners and detectors have

# What programs write where there is no measurement: GDAL, Esri, netCDF, the limits of the types.
_CUSTOMARY = (-9999, -99999, -32768, -32767, -(2**31), 2**31 - 1, 2**32 - 1, 1e20, 3.4028234663852886e38, 9.96921e36)
NO_DATA = {float(kind(sign * value)) for value in _CUSTOMARY for kind in (np.float64, np.float32) for sign in (1, -1)}
HUGE = 1e10  # beyond what anybody measures in floats
FAR, NAMED_FAR = 3, 1  # times the range of all other numbers; the latter for customary negative ones

Strips = Callable[[], Iterator[np.ndarray]]  # all numbers of a picture, some rows at a time


class Levels(NamedTuple):
    """The numbers that become black and white. `left_out`: numbers that are no data, shown black, as is NaN.

    note: one line for people, "" for a picture as there are many.
    """

    black: float
    white: float
    left_out: tuple[float, ...] = ()
    note: str = ""


class Extent(NamedTuple):
    """Smallest and largest number, and how many numbers were left out of that."""

    low: float
    high: float
    out: int


def strips(width: int, height: int) -> Iterator[tuple[int, int]]:
    """(first row, row after the last) of strips of `STRIP` pixels, or one row."""
    rows = max(1, STRIP // max(1, width))
    for top in range(0, height, rows):
        yield top, min(top + rows, height)


def strips_of(values: np.ndarray) -> Strips:
    """The strips of an array (height, ...)."""
    width = values.size // max(1, len(values))
    return lambda: (values[top:bottom] for top, bottom in strips(width, len(values)))


def to_8bit(values: np.ndarray, black: float, white: float, left_out: tuple[float, ...] = ()) -> np.ndarray:
    """Scale numbers linearly from black..white to 0..255, rounded and clipped: uint8 of the same shape.

    NaN and what is `left_out` become 0. A 16-bit picture made from an 8-bit one (each value times 257) gives back
    exactly that one.
    """
    scale = 255 / ((white - black) or 1)
    result = np.empty(values.shape, np.uint8)
    for top, bottom in strips(values.size // max(1, len(values)), len(values)):
        strip = values[top:bottom]
        with np.errstate(over="ignore", invalid="ignore"):  # of numbers that are left out
            scaled = np.multiply(strip, scale, dtype=np.float32)
            scaled -= np.float32(black * scale)
        out = no_data(strip, left_out)
        if out is not None:
            scaled[out] = 0
        np.rint(scaled, out=scaled)
        result[top:bottom] = np.clip(scaled, 0, 255, out=scaled)
    return result


def levels_of_integers(numbers: Strips, full: int, tagged: tuple[float, ...] = ()) -> Levels:
    """Black and white of whole numbers; `full` is the largest that their type holds, `tagged` what the file calls none.

    A picture of 16 bits stays as dark as it is. What is brighter than a quarter of 16 bits is one, and so is what was
    widened from 8 bits, each value times 256 or 257. Others hold fewer bits in a wider type: white is then the largest
    number of the fewest of 8, 10, 12 or 14 bits (of 14 only where it comes near: else it is a dark picture of 16).
    Counts and heights have no agreed white: what has no dark number, goes below zero, or beyond 16 bits without
    coming near the end of its type is stretched from its smallest to its largest number.
    """
    if full == SIXTEEN and _widened(numbers):
        return _noted(0, full, tagged, extent_of(numbers, tagged).out)
    (low, high, out), left_out = _measured(numbers, tagged, (full, SIXTEEN, 2**31 - 1))
    if low > high:
        raise ImageError("picture of nothing but no-data values")
    if low < -0.1 * high or SIXTEEN < high <= full / 4:
        black, white, note = low, high, f"scaled from {low:.6g} to {high:.6g}"
    elif high > SIXTEEN:
        black, white, note = 0, full, ""
    elif high > DARK:
        black, white, note = 0, min(full, SIXTEEN), ""
    elif high > low > high / 2:
        black, white, note = low, high, f"no dark numbers: scaled from {low:.6g} to {high:.6g}"
    else:
        black, white = 0, next(white for white in DEPTHS if high <= white)
        note = f"read as {white.bit_length()}-bit numbers, the largest is {high:.0f}"
        if white == DEPTHS[-1] and full == SIXTEEN and high < NEAR_FULL * white:
            white, note = SIXTEEN, f"16-bit numbers up to {high:.0f}: read as a dark picture"
        elif white == DEPTHS[0] and full != SIXTEEN:
            note = ""  # of 8 bits, in a type that mostly holds fewer bits than it could
    return _noted(black, white, left_out, out, note)


def levels_of_floats(numbers: Strips, tagged: tuple[float, ...] = ()) -> Levels:
    """Black and white of floats: 0 and 1 or 0 and 255 where the numbers lie there (see `agreed_white`).

    Other numbers (heights, phases, counts) have no agreed white: the smallest becomes black, the largest white. A
    thousandth of the numbers on either side does not decide that alone: what lies further out than half the range of
    the others is clipped. Raises ImageError where no number is finite.
    """
    (low, high, out), left_out = _measured(numbers, tagged)
    if low > high:
        raise ImageError("picture with NaN or infinite values, and no other")
    lower, upper = _most(numbers, left_out)
    white = agreed_white(low, high)
    if white == 255 and 0.25 < upper <= 1.1 and agreed_white(lower, upper) == 1 and not _mostly_whole(numbers):
        white = None  # a few numbers decide that it is not 0..1
    if white is not None:
        return _noted(0, white, left_out, out)
    half = (upper - lower) / 2 if lower < upper else float("inf")  # where all but a few are alike these are the picture
    inner_low = lower if low < lower - half else low
    inner_high = upper if high > upper + half else high
    if (inner_low, inner_high) != (low, high):
        white = agreed_white(inner_low, inner_high)
        if white is not None:
            return _noted(0, white, left_out, out, f"scaled from 0 to {white:g}, numbers from {low:.6g} to {high:.6g}")
    note = f"scaled from {inner_low:.6g} to {inner_high:.6g}"
    return _noted(inner_low, inner_high, left_out, out, note)


def agreed_white(low: float, high: float) -> float | None:
    """The white of floats from `low` to `high`: 1.0 where they lie in 0..1, else 255.0 where in 0..255, else None.

    A tenth more is allowed and later clipped, below zero a tenth of the brightest value: sharpening and cubic
    resizing overshoot.
    """
    if low < -0.1 * high:
        return None
    return next((white for white in (1.0, 255.0) if high <= 1.1 * white), None)


def extent_of(numbers: Strips, left_out: tuple[float, ...] = ()) -> Extent:
    """The extent of the finite numbers that are not `left_out`; of none it is from infinity to minus infinity."""
    low, high, out = float("inf"), float("-inf"), 0
    for strip in numbers():
        skipped = no_data(strip, left_out)
        if skipped is not None:
            out += int(skipped.sum())
        data = strip if skipped is None else strip[~skipped]
        if data.size:
            low, high = min(low, data.min().item()), max(high, data.max().item())
    return Extent(low, high, out)


def _measured(
    numbers: Strips, tagged: tuple[float, ...], last: tuple[int, ...] = ()
) -> tuple[Extent, tuple[float, ...]]:
    """The extent of the numbers that are data, and those that are none.

    These are `tagged`, and what lies far from all other numbers and is negative, or huge, or among `last`, the ends of
    the types of whole numbers.
    """
    left_out = tagged
    extent = extent_of(numbers, left_out)
    for _ in range(4):  # two at either end
        for value in (extent.low, extent.high):
            if value < 0 or value in last or (not last and HUGE < value < float("inf")):
                rest = extent_of(numbers, (*left_out, value))
                gap = rest.low - value if value < rest.low else value - rest.high
                named = value < 0 and value in NO_DATA
                far = (NAMED_FAR if named else FAR) * (rest.high - rest.low)
                if gap > far and (rest.low < rest.high or (named and rest.low == rest.high)):  # two tones are a picture
                    left_out, extent = (*left_out, value), rest
                    break
        else:
            break
    return extent, left_out


def no_data(strip: np.ndarray, left_out: tuple[float, ...]) -> np.ndarray | None:
    """Which numbers are no data; None where all of them are data."""
    out: np.ndarray | None = None
    if strip.dtype.kind == "f" and not np.isfinite(strip).all():
        out = ~np.isfinite(strip)
    for value in left_out:
        equal = strip == _like(value, strip.dtype)
        if equal.any():
            out = equal if out is None else out | equal
    return out


def _like(value: float, dtype: np.dtype) -> np.ndarray | float:
    """A number as the file would hold it: 3.4028235e+38 is the largest float32, and not the same float64."""
    if dtype.kind != "f":
        return value
    with np.errstate(over="ignore"):
        return np.asarray(value).astype(dtype)


def _widened(numbers: Strips) -> bool:
    """Whether 16 bits hold 8, each value times 256 or 257."""
    return any(all(not (strip % factor).any() for strip in numbers()) for factor in (257, 256))


def _sample(numbers: Strips) -> np.ndarray:
    """Some numbers from all over the picture."""
    step = max(1, sum(strip.size for strip in numbers()) // SAMPLE)
    return np.concatenate([strip.reshape(-1)[::step] for strip in numbers()])


def _most(numbers: Strips, left_out: tuple[float, ...]) -> tuple[float, float]:
    """The range of all numbers but a share `CUT` on either side."""
    sample = _sample(numbers)
    out = no_data(sample, left_out)
    data = np.sort(sample if out is None or out.all() else sample[~out])
    place = int(CUT * len(data))
    return float(data[place]), float(data[-1 - place])


def _mostly_whole(numbers: Strips) -> bool:
    sample = _sample(numbers)
    sample = sample[np.isfinite(sample)]
    return bool(np.mean(sample == np.rint(sample)) > 0.5)


def _noted(black: float, white: float, left_out: tuple[float, ...], out: int, note: str = "") -> Levels:
    if out:
        what = " and ".join(f"{value:g}" for value in left_out) or "NaN or infinity"
        scaled = note or f"scaled from {black:g} to {white:g}"
        note = f"{scaled}; {out} number{'s' * (out > 1)} without data ({what}) left out, shown black"
    return Levels(black, white, left_out, note)
