"""Effective fraction as a function of the temperature, and its inverse, at a cost that does not grow with the rows."""

import math
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

FloatArray = NDArray[np.float64]
_LEAST = 1e-300  # temperature; closer difficulties cannot be told apart, since they, too, lose their digits


class TemperatureSolver:
    """Effective fraction as a function of temperature, and its inverse, for ranked difficulties.

    The rows of a bin are replaced by two atoms that keep the bin's mean and variance (a two-point Gauss rule), so
    that the cost depends on the number of bins alone. The fraction is then tabulated over the logarithm of the
    temperature, and the inverse read from the table: a solve costs microseconds.

    Args:
        ranked: Difficulties in ascending order. Shape ``(n,)``.
        edges: Bins, from :func:`difficulty_bins`.
        rows: Rows ``N`` of the dataset, at least ``n``: those without a difficulty are never drawn, but count.

    Attributes:
        counts: Rows that each atom stands for, float64.
        uniform: Effective fraction of uniform draws from the ranked rows.

    Raises:
        ValueError: If the difficulties differ, but by less than 1e-290 or more than 1e303.
    """

    def __init__(self, ranked: NDArray[np.floating], edges: NDArray[np.int64], rows: int) -> None:
        lowest = float(ranked[0])
        spread = float(ranked[-1]) - lowest
        if spread and not 1e-290 <= spread <= 1e303:
            small = spread < 1
            raise ValueError(
                f"difficulty varies by {spread:.3g}{' only' * small}, for which no temperature can be told. Scale it "
                f"{'up' if small else 'down'}."
            )
        # Numbers whose squares would leave the range of float64 are divided by a power of two, which is exact.
        self._unit = 1.0 if spread == 0 or 1e-100 < spread < 1e100 else 2.0 ** math.frexp(spread)[1] / 2
        self._values, self.counts = _atoms(ranked, edges, self._unit)
        self._rows = rows
        self.uniform = self.fraction(math.inf)
        if spread == 0:  # at any temperature sampling is uniform
            self._table = np.array([math.inf]), np.array([self.uniform])
            return
        gap = (float(ranked[np.searchsorted(ranked, ranked[0], side="right")]) - lowest) / self._unit
        spread /= self._unit
        # At gap / 50 the second lowest difficulty weighs exp(-50); at 1e4 times the spread f is uniform to 1e-9.
        least = max(_LEAST / self._unit, np.finfo(np.float64).tiny)
        log_low, log_high = math.log(max(gap / 50, least)), math.log(spread) + math.log(1e4)
        nodes, fractions = self._tabulate(log_low, log_high)
        spline = CubicSpline(nodes, fractions)
        log_temperature = np.interp(np.arange(256 * nodes.size - 255) / 256, np.arange(nodes.size), nodes)
        self._table = log_temperature, np.maximum.accumulate(spline(log_temperature))

    def _tabulate(self, log_low: float, log_high: float) -> tuple[FloatArray, FloatArray]:
        """Fractions over log-temperatures, halving intervals until a cubic spline predicts their middles to 1e-7."""
        nodes = np.linspace(log_low, log_high, 2 + math.ceil(4 * (log_high - log_low)))
        fractions = self._fractions(nodes)
        unsure = np.arange(nodes.size - 1)
        while unsure.size:
            middles = (nodes[unsure] + nodes[unsure + 1]) / 2
            predicted = CubicSpline(nodes, fractions)(middles)
            found = self._fractions(middles)
            wrong = middles[np.abs(predicted - found) > 1e-7]
            where = np.searchsorted(nodes, middles)
            nodes, fractions = np.insert(nodes, where, middles), np.insert(fractions, where, found)
            right = np.searchsorted(nodes, wrong)
            unsure = np.union1d(right - 1, right)
        return nodes, fractions

    def _fractions(self, log_temperature: FloatArray) -> FloatArray:
        return np.array([self.fraction(math.exp(x) * self._unit) for x in log_temperature])

    def fraction(self, temperature: float) -> float:
        """Effective fraction at a temperature in ``(0, inf]``."""
        return float(self.counts @ -np.expm1(self._rows * self.log_miss(temperature)) / self._rows)

    def log_miss(self, temperature: float) -> FloatArray:
        """Log-probability that one draw misses a given row of each atom."""
        return log_miss(softmax(self._values, self.counts, temperature / self._unit))

    def log_mean_weight(self, inverse_temperature: FloatArray) -> FloatArray:
        """Logarithm of the mean of ``exp(-(d - d_min) / tau)`` over the rows, for each ``1 / tau`` in ``[0, inf)``."""
        weights = np.exp(-np.multiply.outer(inverse_temperature, self._values))
        return np.asarray(np.log(weights @ self.counts / self.counts.sum()))

    def temperature(self, fraction: ArrayLike) -> FloatArray:
        """Temperatures of these effective fractions, by the rules of :func:`solve_temperature`."""
        targets = np.asarray(fraction, dtype=np.float64)
        log_temperature, fractions = self._table
        solved = np.exp(np.interp(targets, fractions, log_temperature)) * self._unit
        return np.where(targets >= min(self.uniform, fractions[-1]), math.inf, solved)


def softmax(scores: FloatArray, counts: FloatArray, temperature: float) -> FloatArray:
    """Probability of each row, where ``counts`` rows share a score. Scores start near 0.

    Args:
        scores: At least 0, one of them 0 or near it, float64, shape ``(n,)``.
        counts: Rows that have each score, float64, shape ``(n,)``.
        temperature: Positive, in the unit of the scores; ``math.inf`` is uniform sampling.

    Returns:
        Probabilities, float64, shape ``(n,)``; times ``counts`` they sum to 1.
    """
    with np.errstate(over="ignore"):  # a row infinitely many temperatures away is never drawn
        weights = np.exp(-scores / temperature)
    return np.asarray(weights / (counts @ weights))


def log_miss(p: FloatArray) -> FloatArray:
    """Log-probability that one draw misses a row that is drawn with probability ``p``."""
    with np.errstate(divide="ignore"):  # a row with p = 1 is never missed: log1p(-1) = -inf is right
        return np.log1p(-np.minimum(p, 1))


def _atoms(ranked: NDArray[np.floating], edges: NDArray[np.int64], unit: float) -> tuple[FloatArray, FloatArray]:
    """Two weighted atoms a bin, inside the bin's range, with the bin's mean and variance. Scores start at 0."""
    lowest = np.float64(ranked[0])
    low = (ranked[edges[:-1]].astype(np.float64) - lowest) / unit
    high = (ranked[edges[1:] - 1].astype(np.float64) - lowest) / unit
    counts = np.diff(edges).astype(np.float64)
    mean, variance = np.empty_like(low), np.empty_like(low)
    for first, last in pairwise(_chunks(edges)):  # so that no copy of all rows is held
        starts = edges[first:last] - edges[first]
        rows = (ranked[edges[first] : edges[last]].astype(np.float64) - lowest) / unit
        rows -= np.repeat(low[first:last], np.diff(edges[first : last + 1]))  # small beside the bin: nothing cancels
        mean[first:last] = np.add.reduceat(rows, starts) / counts[first:last]
        variance[first:last] = np.add.reduceat(rows**2, starts) / counts[first:last] - mean[first:last] ** 2
    mean, variance = mean + low, np.maximum(variance, 0)
    flat = (high <= low) | (variance == 0) | (mean <= low) | (mean >= high)
    with np.errstate(divide="ignore", invalid="ignore"):
        # A left atom a fixes the right one at mean + variance / (mean - a), and the reverse; variance <=
        # (mean - low) * (high - mean) keeps both in range (Bhatia and Davis 2000).
        left = np.maximum(low, mean - np.sqrt(variance))
        right = np.minimum(high, mean + variance / (mean - left))
        flat |= ~(right > mean)  # a variance lost in rounding
        left = mean - variance / (right - mean)
        share = (right - mean) / (right - left)
    left, right, share = np.where(flat, mean, left), np.where(flat, mean, right), np.where(flat, 0.5, share)
    return np.concatenate([left, right]), np.concatenate([counts * share, counts * (1 - share)])


def _chunks(edges: NDArray[np.int64]) -> list[int]:
    """Bins at which runs of about a million rows start, and the end of the last."""
    return sorted({0, *np.searchsorted(edges, np.arange(0, edges[-1], 1 << 20)).tolist(), edges.size - 1})
