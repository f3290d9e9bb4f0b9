"""Centroids of some points, by the way that was asked for."""

from typing import Any

import numpy as np
import torch
from sklearn.base import clone

from hf_curriculum.scoring.choice import number_of_clusters
from hf_curriculum.scoring.kmeans import kmeans
from hf_curriculum.scoring.points import Points


def find_centroids(
    points: Points,
    most: int,
    seed: int,
    n_clusters: int | None,
    cluster_range: tuple[int, int] | None,
    clusterer: Any,
) -> tuple[torch.Tensor, dict[int, float], str]:
    """Centroids of some points.

    Args:
        points: What is clustered.
        most: Number of centroids that there may be.
        seed: Of k-means, and of an estimator that has none.
        n_clusters: How many are wanted; ``None`` for another way.
        cluster_range: Inclusive range of the numbers to try; ``None`` for another way.
        clusterer: A scikit-learn estimator, which is not changed; ``None`` for another way. With none of the three,
            the number is that of :func:`hf_curriculum.scoring.choice.find_k`.

    Returns:
        float32, shape ``(K, dim)``; the index of each number that was tried; and where the number comes from.
    """
    if clusterer is not None:
        return _centers_of(clusterer, points, most, seed), {}, "clusterer"
    if n_clusters is not None:
        return kmeans(points, min(n_clusters, most), seed), {}, "given"
    k, curve, reason = number_of_clusters(points, cluster_range, seed)
    return kmeans(points, min(k, most), seed), curve, reason


def _centers_of(clusterer: Any, points: Points, most: int, seed: int) -> torch.Tensor:
    estimator = clone(clusterer)
    if hasattr(estimator, "n_clusters"):
        estimator.set_params(n_clusters=min(estimator.n_clusters, most))
    if getattr(estimator, "random_state", 0) is None:
        estimator.set_params(random_state=seed)
    centers = estimator.fit(points.all().cpu().numpy()).cluster_centers_
    return torch.from_numpy(np.asarray(centers, np.float32))
