"""One clustering of the rows: where its prototypes are, and how far from each its rows lie."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hf_curriculum.scoring.difficulty import (
    Ranges,
    count_outside,
    counts_of,
    difficulty_of,
    fit_normalizer,
    pieces,
    rows_by_group,
)
from hf_curriculum.scoring.kmeans import assign, davies_bouldin, rounding_of
from hf_curriculum.scoring.points import ROUNDING, Points

_TINY_CLUSTER = 0.25  # of the mean size
_ENOUGH = 16  # rows that are a prototype's due, however large the others are
Labels = NDArray[Any] | None
Nearest = tuple[NDArray[np.int32], NDArray[np.float32]]
"""Prototype of each row, and its distance to it."""
FindCentroids = Callable[[Points, int], torch.Tensor]
"""From points and the highest number of clusters to centroids, float32, shape ``(K, dim)``."""


@dataclass(frozen=True)
class Prototypes:
    """The prototypes of a clustering.

    Attributes:
        centroids: float32, shape ``(K, dim)``.
        quantiles: Of the distances to each, shape ``(K, Q)``; from
            :func:`hf_curriculum.scoring.difficulty.fit_normalizer`.
        labels: Class of each, shape ``(K,)``; ``None`` if there are no classes.
        davies_bouldin: Index of the clustering, the mean over the classes; ``None`` for one cluster.
        outliers: Rows in clusters that are too small for a prototype.
        tiny: Centroids of these clusters, float32, shape ``(T, dim)``; known to who has fitted, and not stored.
        tiny_labels: Class of each, shape ``(T,)``; ``None`` if there are no classes.
    """

    centroids: torch.Tensor
    quantiles: NDArray[np.float32]
    labels: Labels = None
    davies_bouldin: float | None = None
    outliers: int = 0
    tiny: torch.Tensor | None = None
    tiny_labels: Labels = None

    @classmethod
    def fit(
        cls, points: Points, labels: Labels, find: FindCentroids, normalize: str | None
    ) -> tuple["Prototypes", Nearest | None]:
        """Cluster the points, or those of each class, of ``n`` of them into at most ``n / 2`` clusters.

        Args:
            points: ``N`` of them, in the space in which distances count.
            labels: Class of each, shape ``(N,)``; ``None`` for none.
            find: From the points of a class and the highest number of clusters to centroids.
            normalize: ``"minmax"``, ``"rank"`` or ``None``; decides which quantiles are kept.

        Returns:
            The prototypes, classes in ascending order; and what :meth:`nearest` would find for the points, or
            ``None`` if some lie in clusters without a prototype, and must be assigned anew.
        """
        if labels is None:
            return cls._of_class(points, find(points, len(points)), normalize)
        classes, rows_of_class = rows_by_class(labels)
        found: list[Prototypes] = []
        cluster, distance = np.empty(len(points), np.int32), np.empty(len(points), np.float32)
        for rows in rows_of_class:
            members = points.select(rows).held()
            part, nearest = cls._of_class(members, find(members, max(1, rows.size // 2)), normalize)
            if nearest is not None:
                cluster[rows], distance[rows] = nearest
                cluster[rows] += sum(len(other.centroids) for other in found)
            found.append(part)
        indices = [part.davies_bouldin for part in found if part.davies_bouldin is not None]
        outliers = sum(part.outliers for part in found)
        prototypes = cls(
            centroids=torch.cat([part.centroids for part in found]),
            quantiles=np.concatenate([part.quantiles for part in found]),
            labels=np.repeat(classes, [len(part.centroids) for part in found]),
            davies_bouldin=float(np.mean(indices)) if indices else None,
            outliers=outliers,
            tiny=torch.cat([part.tiny for part in found if part.tiny is not None]),
            tiny_labels=np.repeat(classes, [0 if part.tiny is None else len(part.tiny) for part in found]),
        )
        return prototypes, None if outliers else (cluster, distance)

    @classmethod
    def _of_class(
        cls, points: Points, centroids: torch.Tensor, normalize: str | None
    ) -> tuple["Prototypes", Nearest | None]:
        cluster, distance = assign(points, centroids)
        index = davies_bouldin(centroids, cluster, distance) if len(centroids) > 1 else None
        counts = counts_of(cluster, len(centroids))
        kept = _with_prototype(counts)
        outliers = int(counts[~kept].sum())
        tiny, centroids = centroids[torch.from_numpy(~kept)], centroids[torch.from_numpy(kept)]
        if not kept.all():
            inside = kept[cluster]
            position = (np.cumsum(kept) - 1).astype(np.int32)
            cluster, distance = position[cluster[inside]], distance[inside]
        near = rounding_of(centroids, points.rounding)
        _without_rounding(distance, cluster, near)
        near = np.maximum(near, ROUNDING * distance.max())
        quantiles = fit_normalizer(distance, cluster, len(centroids), normalize, near)
        prototypes = cls(centroids, quantiles, davies_bouldin=index, outliers=outliers, tiny=tiny)
        return prototypes, (cluster, distance) if kept.all() else None

    def score(
        self, points: Points, labels: Labels, found: Nearest | None = None
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32], int]:
        """Cluster, distance and difficulty of each point, and how many are outside the range of their cluster.

        Args:
            points: ``N`` of them, in the space of the prototypes.
            labels: Class of each, shape ``(N,)``, all known; ``None`` for none.
            found: What :meth:`nearest` finds for them, where it is known.

        Returns:
            Cluster, int32, shape ``(N,)``; distance, float32, shape ``(N,)``; difficulty, float32, shape ``(N,)``; and
            their number.
        """
        cluster, distance = found or self._assigned(points, labels)
        near = rounding_of(self.centroids, points.rounding)
        _without_rounding(distance, cluster, near)
        return cluster, distance, *self.place(distance, cluster, near)

    def place(
        self, measured: NDArray[np.float32], cluster: NDArray[np.int32], near: NDArray[np.float32] | float = 0.0
    ) -> tuple[NDArray[np.float32], int]:
        """Difficulty of each row, and how many are outside the range of their cluster.

        Args:
            measured: Of each row, what ``quantiles`` are of. Shape ``(N,)``.
            cluster: Cluster of each row, shape ``(N,)``.
            near: Differences of equal rows in each cluster, shape ``(K,)``. Default none but those of float32.

        Returns:
            Difficulty, float32, shape ``(N,)``; and their number.
        """
        near = np.maximum(near, ROUNDING * self.quantiles.max(initial=0))
        beyond = count_outside(measured, cluster, self.quantiles, near)
        return difficulty_of(measured, cluster, self.quantiles, near), beyond

    def nearest(self, points: Points, labels: Labels) -> Nearest:
        """Nearest prototype of each point (of its class, if there are classes) and the distance to it.

        A distance that is no more than rounding is 0: rows that equal their prototype are equal to each other.

        Args:
            points: ``N`` of them, in the space of the prototypes.
            labels: Class of each, shape ``(N,)``, all known; ``None`` for none.

        Returns:
            Cluster, int32, shape ``(N,)``; distance, float32, shape ``(N,)``.
        """
        cluster, distance = self._assigned(points, labels)
        _without_rounding(distance, cluster, rounding_of(self.centroids, points.rounding))
        return cluster, distance

    def _assigned(self, points: Points, labels: Labels) -> Nearest:
        if labels is None or self.labels is None:
            return assign(points, self.centroids)
        cluster, distance = np.empty(len(points), np.int32), np.empty(len(points), np.float32)
        for label, rows in zip(*rows_by_class(labels), strict=True):
            of_class = np.flatnonzero(self.labels == label)
            found, distance[rows] = assign(points.select(rows), self.centroids[torch.from_numpy(of_class)])
            cluster[rows] = of_class[found]
        return cluster, distance

    def ranges(self, points: Points, labels: Labels) -> Ranges:
        """Ranges of the distances of some rows, without those that belong to a cluster too small for a prototype.

        Such rows lie far from all prototypes: in :meth:`fit` they do not stretch a range, nor do their like here.

        Args:
            points: ``N`` of them, in the space of the prototypes.
            labels: Class of each, shape ``(N,)``, all known; ``None`` for none.

        Returns:
            The ranges.
        """
        cluster, distance = self.nearest(points, labels)
        if self.tiny is not None and len(self.tiny):
            every = replace(self, centroids=torch.cat([self.centroids, self.tiny]))
            if self.labels is not None and self.tiny_labels is not None:
                every = replace(every, labels=np.concatenate([self.labels, self.tiny_labels]))
            inside = every._assigned(points, labels)[0] < len(self.centroids)
            cluster, distance = cluster[inside], distance[inside]
        return Ranges.of(distance, cluster, len(self.centroids))


def rows_by_class(labels: NDArray[Any]) -> tuple[NDArray[Any], list[NDArray[np.integer[Any]]]]:
    """The classes, and the rows of each, ascending."""
    classes = np.unique(labels)
    codes = np.empty(labels.size, np.int32)
    for some in pieces(labels.size):
        codes[some] = np.searchsorted(classes, labels[some])
    return classes, rows_by_group(codes, classes.size)


def _without_rounding(distance: NDArray[np.float32], cluster: NDArray[np.int32], near: NDArray[np.float32]) -> None:
    """Bring distances that are no more than rounding to 0, in place."""
    for some in pieces(distance.size):
        distance[some][distance[some] <= near[cluster[some]]] = 0


def _with_prototype(counts: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Clusters that have rows enough to have a prototype; all that have rows if none has enough."""
    has_rows = counts > 0
    large = counts > max(1, min(_TINY_CLUSTER * counts[has_rows].mean(), _ENOUGH))
    return large if large.any() else has_rows
