"""DifficultyScorer: learns prototypes from embeddings, scores rows by their distance to them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from hf_curriculum.clusters import assign, choose_k, cluster_grid, davies_bouldin, kmeans, to_tensor
from hf_curriculum.columns import require_finite
from hf_curriculum.difficulty import NORMALIZATIONS, difficulty_of, fit_normalizer


@dataclass(frozen=True)
class Scores:
    """Scores of ``N`` rows.

    Attributes:
        cluster: Index of the nearest centroid, int32, shape ``(N,)``.
        distance: Distance to it in the space of the standardised embeddings, float32, shape ``(N,)``.
        difficulty: Distance normalised inside the cluster, 0 = prototype, float32 in [0, 1], shape ``(N,)``.
    """

    cluster: NDArray[np.int32]
    distance: NDArray[np.float32]
    difficulty: NDArray[np.float32]


class DifficultyScorer:
    """Fits prototypes on embeddings and scores rows by their distance to the nearest one.

    Args:
        n_clusters: Number of clusters K; with labels, in each class. ``None`` chooses it by the lowest Davies-Bouldin
            index.
        cluster_range: Inclusive range ``(low, high)`` of the K to try; ``None`` takes a geometric grid up to
            ``sqrt(N)``. Not together with ``n_clusters``.
        normalize: ``"minmax"`` (default, the paper), ``"rank"`` or ``None`` (difficulty is the distance).
        standardize: Bring each dimension to mean 0 and standard deviation 1 first. Default ``True``.
        l2_normalize: Then bring each embedding to length 1. Default ``True``.
        seed: Seed of k-means. Default 42.

    Raises:
        ValueError: If an option is outside its range.

    Example:
        >>> embeddings = np.random.default_rng(0).normal(size=(100, 8))
        >>> scorer = DifficultyScorer(n_clusters=4).fit(embeddings)
        >>> scorer.score(embeddings).difficulty.shape
        (100,)

    Source:
        Lin et al., CVPR 2025, section 3: prototypes are the rows nearest to the k-means centroids.
    """

    def __init__(
        self,
        n_clusters: int | None = None,
        cluster_range: tuple[int, int] | None = None,
        normalize: str | None = "minmax",
        standardize: bool = True,
        l2_normalize: bool = True,
        seed: int = 42,
    ) -> None:
        if normalize not in NORMALIZATIONS:
            raise ValueError(f"normalize must be one of {list(NORMALIZATIONS)}, got {normalize!r}.")
        if n_clusters is not None and n_clusters < 1:
            raise ValueError(f"n_clusters must be at least 1, got {n_clusters}.")
        if cluster_range is not None and not _is_range(cluster_range):
            raise ValueError(f"cluster_range must be (low, high) with 2 <= low <= high, got {cluster_range!r}.")
        if n_clusters is not None and cluster_range is not None:
            raise ValueError("Pass n_clusters, or cluster_range to choose it, not both.")
        self.n_clusters = n_clusters
        self.cluster_range = cluster_range
        self.normalize = normalize
        self.standardize = standardize
        self.l2_normalize = l2_normalize
        self.seed = seed

    def check_rows(self, n: int) -> None:
        """Raise a ``ValueError`` if ``n`` rows are too few for the clusters asked for."""
        wanted = self.n_clusters or (self.cluster_range or (1, 1))[0]
        if wanted > n:
            raise ValueError(f"{wanted} clusters need at least as many rows, but there are {n}. Lower n_clusters.")

    def fit(self, embeddings: ArrayLike, labels: ArrayLike | None = None) -> "DifficultyScorer":
        """Learn the centroids, and the range of distances around each.

        Args:
            embeddings: Finite numbers, shape ``(N, dim)``.
            labels: Class of each row, shape ``(N,)``; clusters are then found inside each class.

        Returns:
            The scorer itself, with ``centroids_`` of shape ``(K, dim)``, ``centroid_labels_`` of shape ``(K,)`` or
            ``None``, ``n_clusters_``, ``davies_bouldin_`` and ``davies_bouldin_curve_`` (index by candidate; empty
            with labels).

        Raises:
            ValueError: If the embeddings are not a finite matrix, are fewer than the clusters, or the labels do not
                match them.
        """
        matrix = _as_matrix(embeddings)
        self.check_rows(len(matrix))
        # Not by numpy, whose float32 sums leave a constant dimension with a tiny deviation instead of 0.
        raw = to_tensor(matrix)
        scale, mean = torch.std_mean(raw, dim=0, correction=0)
        self.mean_ = mean.numpy() if self.standardize else np.zeros(matrix.shape[1], np.float32)
        self.scale_ = torch.where(scale > 0, scale, 1).numpy() if self.standardize else np.ones_like(self.mean_)
        points = self._transform(raw)
        self.davies_bouldin_curve_: dict[int, float] = {}
        self.centroid_labels_: NDArray[Any] | None = None
        if labels is None:
            self.centroids_ = self._cluster(points)
        else:
            self._fit_classes(points, _as_labels(labels, len(matrix)))
        self.n_clusters_ = len(self.centroids_)
        cluster, distance = self._nearest(points, labels)
        self.davies_bouldin_ = davies_bouldin(self.centroids_, cluster, distance) if self.n_clusters_ > 1 else None
        self.quantiles_ = fit_normalizer(distance.numpy(), cluster.numpy(), self.n_clusters_, self.normalize)
        return self

    def score(self, embeddings: ArrayLike, labels: ArrayLike | None = None) -> Scores:
        """Score rows against the fitted prototypes.

        Args:
            embeddings: Finite numbers, shape ``(N, dim)``, of the encoder that the scorer was fitted on.
            labels: Class of each row, shape ``(N,)``; needed if the scorer was fitted with labels.

        Returns:
            Cluster, distance and difficulty of each row; distances outside the range seen in ``fit`` give 0 or 1.

        Raises:
            ValueError: If the scorer is not fitted, the shape differs, or a label was not seen in ``fit``.
        """
        if not hasattr(self, "centroids_"):
            raise ValueError("This scorer has no centroids yet: call fit(embeddings) first.")
        matrix = _as_matrix(embeddings)
        if matrix.shape[1] != self.mean_.size:
            raise ValueError(
                f"The scorer was fitted on {self.mean_.size} dimensions, got embeddings of {matrix.shape[1]}."
            )
        cluster, distance = self._nearest(self._transform(to_tensor(matrix)), labels)
        difficulty = difficulty_of(distance.numpy(), cluster.numpy(), self.quantiles_)
        return Scores(cluster.numpy().astype(np.int32), distance.numpy(), difficulty)

    def _transform(self, points: torch.Tensor) -> torch.Tensor:
        if self.standardize:
            points = (points - to_tensor(self.mean_)) / to_tensor(self.scale_)
        return torch.nn.functional.normalize(points, dim=1) if self.l2_normalize else points

    def _cluster(self, points: torch.Tensor) -> torch.Tensor:
        k = self.n_clusters
        if k is None:
            k, self.davies_bouldin_curve_ = (
                choose_k(points, self._candidates(len(points)), self.seed) if len(points) > 2 else (1, {})
            )
        return kmeans(points, min(k, len(points)), self.seed)

    def _candidates(self, n: int) -> list[int]:
        if self.cluster_range is None:
            return cluster_grid(n)
        low, high = self.cluster_range
        # n clusters of n rows always have the index 0, the lowest; without a range left, as n_clusters = low does.
        return list(range(low, min(high, n - 1) + 1)) or [min(low, n)]

    def _fit_classes(self, points: torch.Tensor, labels: NDArray[Any]) -> None:
        classes, inverse = np.unique(labels, return_inverse=True)
        found = [self._cluster(points[torch.from_numpy(inverse == c)]) for c in range(len(classes))]
        self.davies_bouldin_curve_ = {}  # each class has its own
        self.centroids_ = torch.cat(found)
        self.centroid_labels_ = np.repeat(classes, [len(centroids) for centroids in found])

    def _nearest(self, points: torch.Tensor, labels: ArrayLike | None) -> tuple[torch.Tensor, torch.Tensor]:
        if self.centroid_labels_ is None:
            return assign(points, self.centroids_)
        if labels is None:
            raise ValueError("The scorer was fitted with labels: pass the labels of these rows too.")
        rows = _as_labels(labels, len(points))
        require_seen(rows, self.centroid_labels_)
        cluster = torch.empty(len(points), dtype=torch.int64)
        distance = torch.empty(len(points))
        for label in np.unique(rows):
            members = torch.from_numpy(np.flatnonzero(rows == label))
            own = torch.from_numpy(np.flatnonzero(self.centroid_labels_ == label))
            nearest, distance[members] = assign(points[members], self.centroids_[own])
            cluster[members] = own[nearest]
        return cluster, distance


def require_seen(labels: NDArray[Any], fitted: NDArray[Any]) -> None:
    """Raise a ``ValueError`` unless each of ``labels`` is among those that prototypes are fitted on."""
    unseen = sorted(set(np.unique(labels).tolist()) - set(np.unique(fitted).tolist()))
    if unseen:
        raise ValueError(f"Labels {unseen[:5]} were not among those that the scorer was fitted on.")


def _as_matrix(embeddings: ArrayLike) -> NDArray[np.float32]:
    matrix = np.asarray(embeddings, dtype=np.float32)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ValueError(f"embeddings must be a matrix of shape (N, dim) with rows, got shape {matrix.shape}.")
    require_finite(matrix, "embeddings")
    return matrix


def _is_range(value: object) -> bool:
    """Two integers, of which the first is 2 or more and the second no less."""
    return (
        isinstance(value, tuple | list)
        and len(value) == 2
        and all(isinstance(k, int | np.integer) for k in value)
        and 2 <= value[0] <= value[1]
    )


def _as_labels(labels: ArrayLike, n: int) -> NDArray[Any]:
    array = np.asarray(labels)
    if array.shape != (n,):
        raise ValueError(f"labels must be one a row, shape ({n},), got shape {array.shape}.")
    return array
