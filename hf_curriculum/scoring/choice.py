"""The number of clusters: where the Davies-Bouldin index has a minimum, or the word that it has none."""

import math

import numpy as np
import torch

from hf_curriculum.scoring.duplicates import first_of_equals
from hf_curriculum.scoring.kmeans import assign, davies_bouldin, lloyd, plus_plus
from hf_curriculum.scoring.points import Points

MINIMUM = "minimum of the Davies-Bouldin index"
NO_MINIMUM = "the index has no minimum; K = sqrt(N)"
DISTINCT = "number of distinct rows, fewer than sqrt(N)"

_SAMPLE = 20_000
_SAMPLE_ROWS = 32  # for each cluster
_ITERATIONS = 10
_SEARCHED = 6_000
_SEARCHED_ROWS = 8
_SEARCH_ITERATIONS = 4  # what tells clusters from none is far larger than what more of them change
_FEW = 8  # clusters, which cost little, and whose index hangs more on where they begin
_FEW_ITERATIONS = 12
_STARTED = 2_000
_STARTED_ROWS = 4  # of 16, the same clusters are found, at twice the cost
_TOP = 8  # times sqrt(N): two doublings past the largest number that is looked for
_REACH = 4.5  # two doublings, and what rounding adds
_PROMINENT = 1.5  # real embeddings reach 1.46, planted clusters start at 1.5 (docs/scorer.md)
_MAYBE = 1.2  # before the grid is made finer
_EXACT = 1e-3  # below it each row is its prototype, and the index is that of rounding


def number_of_clusters(
    points: Points, cluster_range: tuple[int, int] | None, seed: int
) -> tuple[int, dict[int, float], str]:
    """The number of clusters, where none is given.

    Args:
        points: ``N`` of them, at least 1.
        cluster_range: Inclusive range of the numbers to try, that of the lowest index is taken; ``None`` for
            :func:`find_k`.
        seed: Seed of the sample and of the start.

    Returns:
        The number; the index of each number that was tried; and why this one.
    """
    n = len(points)
    if cluster_range is not None:
        low, high = cluster_range
        # n clusters of n rows always have the index 0, the lowest; without a range left, as n_clusters = low does.
        candidates = list(range(low, min(high, n - 1) + 1)) or [min(low, n)]
        k, curve = choose_k(points, candidates, seed) if n > 2 else (1, {})
        return k, curve, f"lowest Davies-Bouldin index, {low} to {high}"
    return find_k(points, seed) if n > 2 else (1, {}, "two rows or fewer are one cluster")


def why_of_all(reasons: list[str]) -> str:
    """Where the numbers of clusters of several clusterings come from, in words."""
    counts = {reason: reasons.count(reason) for reason in reasons}
    if len(counts) == 1:
        return reasons[0]
    return "; ".join(f"in {count} of {len(reasons)} clusterings: {reason}" for reason, count in counts.items())


def choose_k(points: Points, candidates: list[int], seed: int) -> tuple[int, dict[int, float]]:
    """Number of clusters with the lowest Davies-Bouldin index.

    The candidates share one k-means++ start, of which each takes the first rows, and 10 Lloyd iterations follow.

    Args:
        points: What is clustered; of more than 20,000 and 32 for each cluster, a sample is.
        candidates: Numbers to try, up to ``N``.
        seed: Seed of the sample and of the start.

    Returns:
        The number chosen, and the index of each candidate.
    """
    sample = points.sample(max(_SAMPLE, _SAMPLE_ROWS * max(candidates)), seed).held()
    start = plus_plus(sample, min(max(candidates), len(sample)), seed)
    curve = {k: _index(sample, start[:k], _ITERATIONS) for k in sorted(candidates)}
    return min(curve, key=curve.__getitem__), curve


def find_k(points: Points, seed: int) -> tuple[int, dict[int, float], str]:
    """The number of clusters that the data have, or ``sqrt(N)`` if they prefer none.

    The index is taken at 2, 4, 8, ... up to ``8 sqrt(N)`` and ``N / 4``. Where clusters are real it has a deep
    minimum: within two doublings it rises to 1.5 times its value there and more, while that of other data rises less,
    or falls for ever. Around a minimum, the grid is made finer three times. Rows that are there again do not count:
    sixty copies of a text are a cluster far tighter than those that one looks for.

    Args:
        points: ``N`` of them, at least 1; of more than 6,000 and 8 for each cluster, a sample is looked at.
        seed: Seed of the sample and of the start.

    Returns:
        The number; the index of each number that was tried; and why this one, :data:`MINIMUM`, :data:`NO_MINIMUM`, or
        :data:`DISTINCT` where fewer than ``sqrt(N)`` rows differ, each of which is a cluster.
    """
    n = len(points)
    usual, grid = max(1, round(math.sqrt(n))), _grid(min(_TOP * math.sqrt(n), n / 4))
    sample = _distinct(points.sample(max(_SEARCHED, _SEARCHED_ROWS * max(grid, default=0)), seed)).held()
    if len(sample) < usual:
        return len(sample), {}, DISTINCT
    grid = [k for k in grid if k <= len(sample) / 4]
    curve: dict[int, float] = {}
    if grid:
        top = grid[-1]
        start = plus_plus(sample.sample(max(_STARTED, _STARTED_ROWS * top), seed), top, seed)

        def index(k: int) -> float:
            return _index(sample, start[:k], _FEW_ITERATIONS if k <= _FEW else _SEARCH_ITERATIONS)

        curve = {k: index(k) for k in grid}
        k = max(grid, key=lambda k: _prominence(curve, k))
        step = math.sqrt(2)
        while _prominence(curve, k) > _MAYBE and step > 2 ** (1 / 16):
            beside = {min(max(round(k * factor), 2), top) for factor in (1 / step, step)} - curve.keys()
            curve |= {tried: index(tried) for tried in beside}
            near = [tried for tried in curve if k / step <= tried + 1 and tried - 1 <= k * step]
            k = min(near, key=lambda tried: (max(curve[tried], _EXACT), tried))
            step = math.sqrt(step)
        if _prominence(curve, k) >= _PROMINENT:
            return k, dict(sorted(curve.items())), MINIMUM
    return usual, dict(sorted(curve.items())), NO_MINIMUM


def _grid(most: float) -> list[int]:
    """2, 4, 8, ... up to ``most``."""
    return [2**exponent for exponent in range(1, int(math.log2(most)) + 1)] if most >= 2 else []


def _distinct(points: Points) -> Points:
    """Each row once."""
    first = first_of_equals(points)
    return points.select(np.flatnonzero(first == np.arange(first.size)))


def _index(points: Points, start: torch.Tensor, iterations: int) -> float:
    """The index of the clusters that k-means finds from a start."""
    centroids = lloyd(points, start, iterations)
    return davies_bouldin(centroids, *assign(points, centroids)) if len(start) > 1 else math.inf


def _prominence(curve: dict[int, float], k: int) -> float:
    """How many times its value the index is at its highest within two doublings; 0 where there is no minimum."""
    if curve[k] < _EXACT:
        return math.inf
    later = [index for tried, index in curve.items() if k < tried <= _REACH * k]
    return max(later, default=0) / curve[k] if math.isfinite(curve[k]) else 0
