"""From a training step to a sampling distribution: effective fraction, temperature, weights."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

from hf_curriculum.config import CurriculumConfig

FloatArray = NDArray[np.float64]


def planned_fraction(step: ArrayLike, config: CurriculumConfig, warmup_steps: int) -> FloatArray:
    """Effective fraction that the schedule asks for at each step of the warm-up.

    Args:
        step: Optimiser steps, any shape. Steps after the warm-up count as its end.
        config: Gives the shape, the initial and the final fraction.
        warmup_steps: Length of the warm-up in steps, at least 1.

    Returns:
        Fractions in ``[initial_fraction, final_fraction]``, float64, of the shape of ``step``.

    Source:
        Cosine: Lin et al., CVPR 2025. Root: Platanios et al., NAACL 2019, equation 7.
        Step: Hacohen and Weinshall, ICML 2019, "single-step pacing".
    """
    progress = np.clip(np.asarray(step, dtype=np.float64) / warmup_steps, 0, 1)
    first, last = config.initial_fraction, config.final_fraction
    if config.schedule == "root":
        return np.sqrt(first**2 + (last**2 - first**2) * progress)
    rise = {
        "cosine": (1 - np.cos(np.pi * progress)) / 2,
        "linear": progress,
        "step": np.floor(progress),
    }[config.schedule]
    return first + (last - first) * rise


def effective_fraction(difficulty: ArrayLike, temperature: float) -> float:
    """Share of the dataset that as many draws as it has rows are expected to visit.

    With ``p = softmax(-difficulty / temperature)``, row ``i`` is among ``N`` draws with replacement with probability
    ``1 - (1 - p[i]) ** N``; this is the mean of that over the rows. It rises with the temperature.

    Args:
        difficulty: Finite scores, low = easy. Shape ``(N,)``.
        temperature: Positive, in the unit of ``difficulty``; ``math.inf`` is uniform sampling.

    Returns:
        A fraction in ``(0, 1]``; at most ``1 - (1 - 1/N) ** N``, close to ``1 - 1/e`` = 0.632 but for tiny ``N``.

    Raises:
        ValueError: If ``temperature`` is not positive, or ``difficulty`` is empty, not finite or not 1-D.

    Example:
        >>> scores = np.linspace(0, 1, 1000)
        >>> round(effective_fraction(scores, temperature=0.05), 3)
        0.179
        >>> round(effective_fraction(scores, temperature=math.inf), 3)
        0.632

    Source:
        Lin et al., CVPR 2025 (temperature annealing by the effective dataset size).
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be > 0, got {temperature}. For uniform sampling pass math.inf.")
    scores = check_difficulty(difficulty)
    return _effective_fraction(scores - scores.min(), np.ones_like(scores), temperature)


def solve_temperature(difficulty: ArrayLike, fraction: float) -> float:
    """Temperature at which the effective fraction is ``fraction``.

    Args:
        difficulty: Finite scores, low = easy. Shape ``(N,)``.
        fraction: Target effective fraction in ``(0, 1]``.

    Returns:
        The temperature, in the unit of ``difficulty``; its effective fraction is within 1e-6 of the target. A target
        that uniform sampling does not exceed has no finite answer and gives ``math.inf`` (uniform sampling). A target
        below what the easiest rows alone give (one row, or all that tie for the lowest difficulty) gives a
        temperature so low that only these are drawn.

    Raises:
        ValueError: If ``fraction`` is not in ``(0, 1]``, or ``difficulty`` is empty, not finite or not 1-D.

    Example:
        >>> scores = np.linspace(0, 1, 1000)
        >>> round(solve_temperature(scores, 0.3), 4)
        0.1066
        >>> round(effective_fraction(scores, solve_temperature(scores, 0.3)), 6)
        0.3
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must be in (0, 1], got {fraction}. Uniform sampling covers 1 - 1/e = 0.632.")
    ranked = np.sort(check_difficulty(difficulty))
    return float(TemperatureSolver(ranked, difficulty_bins(ranked)).temperature(fraction))


def curriculum_weights(
    difficulty: ArrayLike, step: int, config: CurriculumConfig, total_steps: int | None = None
) -> FloatArray:
    """Probability with which each row is drawn at a training step.

    Args:
        difficulty: Finite scores, low = easy. Shape ``(N,)``.
        step: Optimiser step, from 0.
        config: The curriculum.
        total_steps: Optimiser steps of the training; needed when ``config.warmup_steps`` is a share.

    Returns:
        Probabilities that sum to 1, float64, shape ``(N,)``; uniform once the warm-up is over.

    Raises:
        ValueError: If ``step`` is negative, ``difficulty`` is empty, not finite or not 1-D, or ``total_steps`` is
            missing.
    """
    if step < 0:
        raise ValueError(f"step counts from 0, got {step}.")
    scores = ordered(check_difficulty(difficulty), config.order)
    warmup = config.resolve_warmup(total_steps)
    if step >= warmup:
        return np.full(scores.size, 1 / scores.size)
    weights = np.exp(-scores / solve_temperature(scores, float(planned_fraction(step, config, warmup))))
    return np.asarray(weights / weights.sum())


def check_difficulty(difficulty: ArrayLike) -> FloatArray:
    """The difficulties as a float64 vector, or an error that names what is wrong with them."""
    scores = np.asarray(difficulty, dtype=np.float64)
    if scores.ndim != 1:
        raise ValueError(f"difficulty must be one number a row, shape (N,), got shape {scores.shape}.")
    if scores.size == 0:
        raise ValueError("difficulty is empty. Did an earlier `dataset.filter(...)` remove every row?")
    bad = np.flatnonzero(~np.isfinite(scores))
    if bad.size:
        raise ValueError(f"difficulty of row {bad[0]} is {scores[bad[0]]} ({bad.size} such rows); it must be finite.")
    return scores


def ordered(difficulty: NDArray[np.floating], order: str) -> NDArray[np.floating]:
    """Difficulties shifted so that the row to draw first has 0; the softmax does not see the shift."""
    return difficulty - difficulty.min() if order == "easy_first" else difficulty.max() - difficulty


def rank_bins(n: int, per_fold: int = 64) -> NDArray[np.int64]:
    """Edges that cut ``n`` ranked rows into bins, single rows at both ends and geometrically wider to the middle.

    A bin at rank ``r`` holds about ``r / per_fold`` rows. So every bin is narrow in comparison with the rows before
    it, at any temperature, with heavy tails, and at any ``n`` (1,300 bins for 1.28 M rows, 1,900 for 100 M).

    Args:
        n: Number of rows, at least 1.
        per_fold: Bins per e-fold of rank.

    Returns:
        Increasing ranks from 0 to ``n``, int64.
    """
    half = (n + 1) // 2
    ranks = np.geomspace(1, half, max(2, math.ceil(per_fold * math.log(half + 1)))).astype(np.int64)
    return np.unique(np.concatenate([[0, n], ranks, n - ranks]))


def difficulty_bins(ranked: NDArray[np.floating]) -> NDArray[np.int64]:
    """Edges of :func:`rank_bins`, and a cut at each of the 256 widest gaps, so that no bin bridges two clumps.

    Args:
        ranked: Difficulties in ascending order. Shape ``(N,)``.

    Returns:
        Increasing ranks from 0 to ``N``, int64.
    """
    gaps = np.diff(ranked)
    widest = np.argpartition(gaps, -256)[-256:] if gaps.size > 256 else np.arange(gaps.size)
    return np.union1d(rank_bins(ranked.size), widest + 1)


class TemperatureSolver:
    """Effective fraction as a function of temperature, and its inverse, for ranked difficulties.

    The rows of a bin are replaced by two atoms that keep the bin's mean and variance (a two-point Gauss rule), so
    that the cost depends on the number of bins alone. The fraction is then tabulated over the logarithm of the
    temperature, and the inverse read from the table: a solve costs microseconds.

    Args:
        ranked: Difficulties in ascending order. Shape ``(N,)``.
        edges: Bins, from :func:`difficulty_bins`.
    """

    def __init__(self, ranked: NDArray[np.floating], edges: NDArray[np.int64]) -> None:
        self._values, self._counts = _atoms(ranked, edges)
        self.uniform = self.fraction(math.inf)
        lowest = float(ranked[0])
        spread = float(ranked[-1]) - lowest
        if spread == 0:  # at any temperature sampling is uniform
            self._table = np.array([math.inf]), np.array([self.uniform])
            return
        gap = float(ranked[np.searchsorted(ranked, ranked[0], side="right")]) - lowest
        # At gap / 50 the second lowest difficulty weighs exp(-50); at 1e4 times the spread f is uniform to 1e-9.
        log_low, log_high = math.log(max(gap / 50, np.finfo(np.float64).tiny)), math.log(spread) + math.log(1e4)
        nodes, fractions = self._tabulate(log_low, log_high)
        spline = CubicSpline(nodes, fractions)
        log_temperature = np.interp(np.arange(256 * nodes.size - 255) / 256, np.arange(nodes.size), nodes)
        self._table = log_temperature, np.maximum.accumulate(spline(log_temperature))

    def _tabulate(self, log_low: float, log_high: float) -> tuple[FloatArray, FloatArray]:
        """Fractions over log-temperatures, halving intervals until a cubic spline predicts their middles to 1e-8."""
        nodes = np.linspace(log_low, log_high, 2 + math.ceil(4 * (log_high - log_low)))
        fractions = self._fractions(nodes)
        unsure = np.arange(nodes.size - 1)
        while unsure.size:
            middles = (nodes[unsure] + nodes[unsure + 1]) / 2
            predicted = CubicSpline(nodes, fractions)(middles)
            found = self._fractions(middles)
            wrong = middles[np.abs(predicted - found) > 1e-8]
            where = np.searchsorted(nodes, middles)
            nodes, fractions = np.insert(nodes, where, middles), np.insert(fractions, where, found)
            right = np.searchsorted(nodes, wrong)
            unsure = np.union1d(right - 1, right)
        return nodes, fractions

    def _fractions(self, log_temperature: FloatArray) -> FloatArray:
        return np.array([self.fraction(math.exp(x)) for x in log_temperature])

    def fraction(self, temperature: float) -> float:
        """Effective fraction at a temperature in ``(0, inf]``."""
        return _effective_fraction(self._values, self._counts, temperature)

    def temperature(self, fraction: ArrayLike) -> FloatArray:
        """Temperatures of these effective fractions, by the rules of :func:`solve_temperature`."""
        targets = np.asarray(fraction, dtype=np.float64)
        log_temperature, fractions = self._table
        solved = np.exp(np.interp(targets, fractions, log_temperature))
        return np.where(targets >= min(self.uniform, fractions[-1]), math.inf, solved)


def _effective_fraction(scores: FloatArray, counts: FloatArray, temperature: float) -> float:
    n = counts.sum()
    weights = np.exp(-scores / temperature)
    p = weights / (counts @ weights)
    with np.errstate(divide="ignore"):  # a row with p = 1 is drawn for certain: log1p(-1) = -inf is right
        drawn = -np.expm1(n * np.log1p(-np.minimum(p, 1)))
    return float(counts @ drawn / n)


def _atoms(ranked: NDArray[np.floating], edges: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
    """Two weighted atoms a bin, inside the bin's range, with the bin's mean and variance. Scores start at 0."""
    lowest = np.float64(ranked[0])
    low = ranked[edges[:-1]].astype(np.float64) - lowest
    high = ranked[edges[1:] - 1].astype(np.float64) - lowest
    counts = np.diff(edges).astype(np.float64)
    mean, variance = np.empty_like(low), np.empty_like(low)
    for i, (start, stop) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        rows = ranked[start:stop].astype(np.float64) - lowest
        mean[i], variance[i] = rows.mean(), rows.var()
    flat = (high <= low) | (variance == 0) | (mean <= low) | (mean >= high)
    with np.errstate(divide="ignore", invalid="ignore"):
        # A left atom a fixes the right one at mean + variance / (mean - a), and the reverse; variance <=
        # (mean - low) * (high - mean) keeps both in range (Bhatia and Davis 2000).
        left = np.maximum(low, mean - np.sqrt(variance))
        right = np.minimum(high, mean + variance / (mean - left))
        left = mean - variance / (right - mean)
        share = (right - mean) / (right - left)
    left, right, share = np.where(flat, low, left), np.where(flat, high, right), np.where(flat, 0.5, share)
    return np.concatenate([left, right]), np.concatenate([counts * share, counts * (1 - share)])
