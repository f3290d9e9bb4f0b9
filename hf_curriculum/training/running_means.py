"""Running means of what a training sees of its rows."""

import numpy as np
from numpy.typing import NDArray

_NEWEST = 0.2  # at least, of an observation in the running mean: rows change as the model does


class RunningMeans:
    """Running means by row, of which the newest observation is at least a fifth.

    Args:
        rows: Number of rows ``N``.
        clusters: Cluster of each row, int, shape ``(N,)``; rows that were never seen have the mean of theirs.

    Attributes:
        means: float32, shape ``(N,)``; of rows never seen, 0.
        counts: Steps in which a row was seen, int32, shape ``(N,)``.
    """

    def __init__(self, rows: int, clusters: NDArray[np.integer] | None = None) -> None:
        self.means = np.zeros(rows, np.float32)
        self.counts = np.zeros(rows, np.int32)
        self._clusters = clusters

    def add(self, rows: NDArray[np.integer], values: NDArray[np.floating]) -> None:
        """Observations of one step; those of the same row count as one, their mean.

        Args:
            rows: Row numbers, shape ``(n,)``.
            values: What was seen of them, shape ``(n,)``.
        """
        rows, place, times = np.unique(rows, return_inverse=True, return_counts=True)
        new = np.bincount(place, weights=values) / times
        self.counts[rows] += 1
        weight = np.maximum(1 / self.counts[rows], _NEWEST)
        self.means[rows] += (weight * (new - self.means[rows])).astype(np.float32)

    def filled(self) -> NDArray[np.float32] | None:
        """The means; of rows never seen, that of the seen ones of their cluster, or of all; ``None`` if none was."""
        seen = self.counts > 0
        if not seen.any():
            return None
        overall = self.means[seen].mean(dtype=np.float64)
        if self._clusters is None:
            return np.where(seen, self.means, np.float32(overall))
        size = int(self._clusters.max()) + 1
        count = np.bincount(self._clusters[seen], minlength=size)
        total = np.bincount(self._clusters[seen], weights=self.means[seen], minlength=size)
        by_cluster = np.where(count > 0, total / np.maximum(count, 1), overall).astype(np.float32)
        return np.where(seen, self.means, by_cluster[self._clusters])
