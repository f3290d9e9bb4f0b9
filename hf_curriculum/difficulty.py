"""From distances and clusters to difficulties in [0, 1]."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

NORMALIZATIONS = ("minmax", "rank", None)
_KNOTS = 1001
_SPREAD = 1e-4  # distances of a cluster that differ by less than this share differ by rounding only


def fit_normalizer(
    distance: NDArray[np.float32], cluster: NDArray[np.integer[Any]], n_clusters: int, normalize: str | None
) -> NDArray[np.float32]:
    """Quantiles of the distance inside each cluster, from which difficulties are read.

    Args:
        distance: Distance of each row to its centroid, shape ``(N,)``.
        cluster: Cluster of each row, shape ``(N,)``.
        n_clusters: Number of clusters ``K``.
        normalize: ``"minmax"``, ``"rank"`` or ``None``.

    Returns:
        Ascending quantiles, float32, shape ``(K, Q)``: ``Q`` is 2 for ``"minmax"`` (lowest and highest distance), 1001
        for ``"rank"``, 0 for ``None``. Clusters without rows have 0.
    """
    knots = {"minmax": 2, "rank": _KNOTS, None: 0}[normalize]
    quantiles = np.zeros((n_clusters, knots), np.float32)
    if knots:
        order = np.argsort(cluster, kind="stable")
        used, starts = np.unique(cluster[order], return_index=True)
        for k, rows in zip(used, np.split(order, starts[1:]), strict=True):
            quantiles[k] = np.quantile(distance[rows], np.linspace(0, 1, knots))
    return quantiles


def difficulty_of(
    distance: NDArray[np.float32], cluster: NDArray[np.integer[Any]], quantiles: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Difficulty of each row: where its distance stands among those of its cluster.

    Args:
        distance: Distance of each row to its centroid, shape ``(N,)``.
        cluster: Cluster of each row, shape ``(N,)``.
        quantiles: From :func:`fit_normalizer`, shape ``(K, Q)``.

    Returns:
        float32, shape ``(N,)``. With two quantiles ``(d - min) / (max - min)``, with more the quantile level of ``d``
        (the lowest of a tie), both clipped to ``[0, 1]`` and 0 in a cluster of one distance; without quantiles, the
        distance itself.
    """
    if quantiles.shape[1] == 0:
        return distance.astype(np.float32)
    levels = np.linspace(0, 1, quantiles.shape[1])
    difficulty = np.zeros(distance.size, np.float32)
    order = np.argsort(cluster, kind="stable")
    used, starts = np.unique(cluster[order], return_index=True)
    for k, rows in zip(used, np.split(order, starts[1:]), strict=True):
        knots, first = np.unique(quantiles[k], return_index=True)
        if knots[-1] - knots[0] > _SPREAD * knots[-1]:
            difficulty[rows] = np.interp(distance[rows], knots, levels[first], right=1)
    return difficulty
