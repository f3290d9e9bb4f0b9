"""From distances and clusters to difficulties in [0, 1]."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

KNOTS: dict[str | None, int] = {"minmax": 2, "rank": 1001, None: 0}
"""Quantiles of a cluster's distances that a normalisation keeps."""
NORMALIZATIONS = tuple(KNOTS)
_SPREAD = 1e-4  # distances of a cluster that differ by less than this share differ by rounding only
_AT_ONCE = 1 << 18  # rows that are sorted or compared together, so that little is held beside the scores
_TIES = 0.004  # a share of a cluster below which the order of its rows may be that of rounding


@dataclass(frozen=True)
class Ranges:
    """Rows of each of ``K`` clusters, and their lowest and highest distance; those of parts merge to those of all.

    Attributes:
        count: int64, shape ``(K,)``.
        low: float32, shape ``(K,)``; infinite without rows.
        high: float32, shape ``(K,)``; ``-inf`` without rows.
    """

    count: NDArray[np.int64]
    low: NDArray[np.float32]
    high: NDArray[np.float32]

    @classmethod
    def of(cls, distance: NDArray[np.float32], cluster: NDArray[np.integer[Any]], n_clusters: int) -> "Ranges":
        """Ranges of some rows.

        Args:
            distance: Of each row to its centroid, shape ``(N,)``.
            cluster: Of each row, shape ``(N,)``.
            n_clusters: Number of clusters ``K``.

        Returns:
            The ranges.
        """
        low, high = np.full(n_clusters, np.inf, np.float32), np.full(n_clusters, -np.inf, np.float32)
        np.minimum.at(low, cluster, distance)
        np.maximum.at(high, cluster, distance)
        return cls(np.bincount(cluster, minlength=n_clusters), low, high)

    def merged(self, other: "Ranges") -> "Ranges":
        """Ranges of the rows of both."""
        return Ranges(self.count + other.count, np.minimum(self.low, other.low), np.maximum(self.high, other.high))

    def stretch(self, quantiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Quantiles of a sample, brought to the ranges of all rows: ends are exact, those between are the sample's.

        Args:
            quantiles: From :func:`fit_normalizer`, shape ``(K, Q)``.

        Returns:
            Ascending quantiles, float32, shape ``(K, Q)``.
        """
        if quantiles.shape[1] == 0:
            return quantiles
        low, high = self.low[:, None], self.high[:, None]
        stretched = np.clip(quantiles, low, high)
        stretched[:, 0], stretched[:, -1] = self.low, self.high
        stretched[self.count < 2] = -1  # no measure of others
        return stretched


def fit_normalizer(
    distance: NDArray[np.float32],
    cluster: NDArray[np.integer[Any]],
    n_clusters: int,
    normalize: str | None,
    rounding: NDArray[np.float32] | float = 0.0,
) -> NDArray[np.float32]:
    """Quantiles of the distance inside each cluster, from which difficulties are read.

    Args:
        distance: Distance of each row to its centroid, shape ``(N,)``.
        cluster: Cluster of each row, shape ``(N,)``.
        n_clusters: Number of clusters ``K``.
        normalize: ``"minmax"``, ``"rank"`` or ``None``.
        rounding: Distance that equal rows of each cluster can differ by, shape ``(K,)``; they count as tied. Default
            none.

    Returns:
        Ascending quantiles, float32, shape ``(K, Q)``: ``Q`` is 2 for ``"minmax"`` (lowest and highest distance), 1001
        for ``"rank"``, 0 for ``None``. A cluster of one row, which is no measure of others, and one without rows
        have -1, below all distances.
    """
    knots = KNOTS[normalize]
    quantiles = np.full((n_clusters, knots), -1, np.float32)
    near = np.broadcast_to(np.float32(rounding), n_clusters)
    if knots:
        for k, rows in enumerate(rows_by_group(cluster, n_clusters)):
            if rows.size > 1:
                own = distance[rows] if knots == 2 else _with_ties(np.sort(distance[rows]), near[k])
                quantiles[k] = np.quantile(own, np.linspace(0, 1, knots))
    return quantiles


def difficulty_of(
    distance: NDArray[np.float32],
    cluster: NDArray[np.integer[Any]],
    quantiles: NDArray[np.float32],
    rounding: NDArray[np.float32] | float = 0.0,
) -> NDArray[np.float32]:
    """Difficulty of each row: where its distance stands among those of its cluster.

    Args:
        distance: Distance of each row to its centroid, shape ``(N,)``.
        cluster: Cluster of each row, shape ``(N,)``.
        quantiles: From :func:`fit_normalizer`, shape ``(K, Q)``.
        rounding: As there.

    Returns:
        float32, shape ``(N,)``. With two quantiles ``(d - min) / (max - min)``, with more the quantile level of ``d``
        (the lowest of a tie), both clipped to ``[0, 1]``; in a cluster of one distance 0 up to it and 1 beyond it;
        without quantiles, the distance itself.
    """
    if quantiles.shape[1] == 0:
        return distance.astype(np.float32)
    levels = np.linspace(0, 1, quantiles.shape[1])
    difficulty = np.empty(distance.size, np.float32)
    near = np.broadcast_to(np.float32(rounding), len(quantiles))
    for k, rows in enumerate(rows_by_group(cluster, len(quantiles))):
        if not rows.size:
            continue
        knots, first, counts = np.unique(quantiles[k], return_index=True, return_counts=True)
        if knots[-1] - knots[0] > max(_SPREAD * knots[-1], near[k]):
            own = _snapped(distance[rows], knots[counts > 1], near[k])
            difficulty[rows] = np.interp(own, knots, levels[first], right=1)
        else:
            difficulty[rows] = distance[rows] > _end(knots[-1], near[k])
    return difficulty


def count_outside(
    distance: NDArray[np.float32],
    cluster: NDArray[np.integer[Any]],
    quantiles: NDArray[np.float32],
    rounding: NDArray[np.float32] | float = 0.0,
) -> int:
    """Rows whose distance is not between the lowest and the highest quantile of their cluster; rounding is allowed.

    Args:
        distance: Distance of each row to its centroid, shape ``(N,)``.
        cluster: Cluster of each row, shape ``(N,)``.
        quantiles: From :func:`fit_normalizer`, shape ``(K, Q)``.
        rounding: As there.

    Returns:
        Their number; 0 without quantiles.
    """
    if quantiles.shape[1] == 0:
        return 0
    low, high = quantiles[:, 0], quantiles[:, -1]
    near = np.broadcast_to(np.float32(rounding), len(quantiles))
    start, stop = low * (1 - _SPREAD) - near, _end(high, near)
    return sum(
        int(np.sum((distance[some] < start[cluster[some]]) | (distance[some] > stop[cluster[some]])))
        for some in pieces(distance.size)
    )


def pieces(n: int) -> Iterator[slice]:
    """Slices that cover ``n`` rows, a few at a time."""
    for start in range(0, n, _AT_ONCE):
        yield slice(start, min(start + _AT_ONCE, n))


def counts_of(groups: NDArray[np.integer[Any]], n_groups: int) -> NDArray[np.int64]:
    """How many rows each group has.

    Args:
        groups: Group of each row, shape ``(N,)``.
        n_groups: Number of groups.

    Returns:
        int64, shape ``(n_groups,)``.
    """
    counts = np.zeros(n_groups, np.int64)
    for some in pieces(groups.size):
        counts += np.bincount(groups[some], minlength=n_groups)
    return counts


def rows_by_group(groups: NDArray[np.integer[Any]], n_groups: int) -> list[NDArray[np.integer[Any]]]:
    """Rows of each group, ascending.

    Args:
        groups: Group of each row, shape ``(N,)``.
        n_groups: Number of groups.

    Returns:
        Views of one array, int32 where that counts ``N`` rows.
    """
    ends = np.cumsum(counts_of(groups, n_groups))
    following = np.concatenate([[0], ends[:-1]])  # where the next row of each goes
    order = np.empty(groups.size, np.int32 if groups.size <= np.iinfo(np.int32).max else np.int64)
    for some in pieces(groups.size):
        own = np.argsort(groups[some], kind="stable")
        ordered = groups[some][own]
        counts = np.bincount(ordered, minlength=n_groups)
        order[(following - np.cumsum(counts) + counts)[ordered] + np.arange(own.size)] = own + some.start
        following += counts
    return np.split(order, ends[:-1])


def _end(highest: Any, rounding: Any) -> Any:
    """What is farther is out of a cluster whose farthest row is at this distance; rounding is no reason."""
    return highest * (1 + _SPREAD) + rounding * (highest >= 0)


def _with_ties(ascending: NDArray[np.float32], rounding: np.float32) -> NDArray[np.float32]:
    """Distances of which those that rounding alone keeps apart are equal, where they are more than a few."""
    few = max(1, math.ceil(_TIES * ascending.size))
    stop = 0
    for start in np.flatnonzero(ascending[few:] - ascending[:-few] <= rounding).tolist():
        if start >= stop:
            stop = int(np.searchsorted(ascending, ascending[start] + rounding, side="right"))
            ascending[start:stop] = ascending[start]
    return ascending


def _snapped(distance: NDArray[np.float32], ties: NDArray[np.float32], rounding: np.float32) -> NDArray[np.float32]:
    """The distances; those that rounding alone keeps from one at which many rows tie are brought there."""
    if not ties.size:
        return distance
    above = np.searchsorted(ties, distance - rounding).clip(max=ties.size - 1)
    return np.where(np.abs(distance - ties[above]) <= rounding, ties[above], distance)
