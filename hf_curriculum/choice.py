"""The number of clusters, by the Davies-Bouldin index."""

import math

from hf_curriculum.clusters import assign, davies_bouldin, lloyd, plus_plus
from hf_curriculum.points import Points

_SAMPLE = 20_000
_SAMPLE_ROWS = 32  # for each cluster
_ITERATIONS = 10


def cluster_grid(n: int) -> list[int]:
    """Candidate numbers of clusters for ``n`` rows: from ``sqrt(n) / 4`` to ``sqrt(n)``, in steps of ``sqrt(2)``.

    2,000 rows give 11 to 45, 1.28 M rows 283 to 1,131; the paper chose 978 for the latter. Real embeddings often have
    a second low of the index at 2 or 3 clusters, which make no prototypes: the grid starts above it.
    """
    grid = {round(math.sqrt(n) * 2 ** (-exponent / 2)) for exponent in range(5)}
    return sorted({min(max(k, 2), n) for k in grid})


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
    points = points.sample(max(_SAMPLE, _SAMPLE_ROWS * max(candidates)), seed).held()
    start = plus_plus(points, max(candidates), seed)
    curve = {}
    for k in sorted(candidates):
        centroids = lloyd(points, start[:k], _ITERATIONS)
        curve[k] = davies_bouldin(centroids, *assign(points, centroids)) if k > 1 else math.inf
    return min(curve, key=curve.__getitem__), curve
