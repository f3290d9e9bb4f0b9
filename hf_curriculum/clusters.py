"""k-means as matrix products, and the choice of the number of clusters."""

import math

import numpy as np
import torch
from numpy.typing import NDArray

_CHUNK = 8192
_SEED_SAMPLE = 20_000
_CHOICE_SAMPLE = 20_000


def kmeans(embeddings: torch.Tensor, n_clusters: int, seed: int, iterations: int = 25) -> torch.Tensor:
    """Centroids by Lloyd's algorithm from a greedy k-means++ start.

    Args:
        embeddings: float32, shape ``(N, dim)``.
        n_clusters: Number of centroids, 1 to ``N``.
        seed: Seed of the start.
        iterations: Lloyd iterations at the most; it stops earlier once no row changes its cluster.

    Returns:
        Centroids, float32, shape ``(n_clusters, dim)``. A cluster that loses all rows is put on the row that is
        farthest from its centroid.

    Source:
        Arthur and Vassilvitskii, "k-means++", SODA 2007.
    """
    generator = torch.Generator().manual_seed(seed)
    centroids = _plus_plus(embeddings, n_clusters, generator)
    previous = None
    for _ in range(iterations):
        cluster, distance = assign(embeddings, centroids)
        if previous is not None and torch.equal(cluster, previous):
            break
        previous = cluster
        centroids = _means(embeddings, cluster, distance, n_clusters)
    return centroids


def assign(embeddings: torch.Tensor, centroids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Nearest centroid of each row, and the Euclidean distance to it.

    Args:
        embeddings: float32, shape ``(N, dim)``.
        centroids: float32, shape ``(K, dim)``.

    Returns:
        Cluster, int64, shape ``(N,)``; distance, float32, shape ``(N,)``.
    """
    center = centroids.mean(0)  # as the origin, so that the products do not cancel where all rows are far from 0
    centered = centroids - center
    half_norms = centered.square().sum(1) / 2
    clusters, distances = [], []
    for rows in torch.split(embeddings, _CHUNK):
        cluster = torch.addmm(half_norms, rows - center, centered.T, alpha=-1).argmin(1)
        clusters.append(cluster)
        distances.append((rows - centroids[cluster]).square().sum(1).sqrt())  # exact where rows and centroid are close
    return torch.cat(clusters), torch.cat(distances)


def davies_bouldin(centroids: torch.Tensor, cluster: torch.Tensor, distance: torch.Tensor) -> float:
    """Davies-Bouldin index of a clustering; low = compact clusters far apart.

    Args:
        centroids: Shape ``(K, dim)``, K at least 2.
        cluster: Cluster of each row, shape ``(N,)``; clusters without rows are left out.
        distance: Distance of each row to its centroid, shape ``(N,)``.

    Returns:
        The index, non-negative; ``math.inf`` where two centroids coincide.

    Source:
        Davies and Bouldin, "A Cluster Separation Measure", IEEE PAMI 1979.
    """
    counts = torch.bincount(cluster, minlength=len(centroids))
    used = counts > 0
    scatter = (torch.zeros(len(centroids)).index_add_(0, cluster, distance) / counts.clamp(min=1))[used]
    apart = torch.cdist(centroids[used], centroids[used], compute_mode="donot_use_mm_for_euclid_dist")
    apart.fill_diagonal_(math.inf)
    if not bool((apart > 0).all()) or len(apart) < 2:
        return math.inf
    return float(((scatter[:, None] + scatter[None, :]) / apart).max(1).values.mean())


def cluster_grid(n: int) -> list[int]:
    """Candidate numbers of clusters for ``n`` rows: from ``sqrt(n) / 4`` to ``sqrt(n)``, in steps of ``sqrt(2)``.

    2,000 rows give 11 to 45, 1.28 M rows 283 to 1,131; the paper chose 978 for the latter.
    """
    grid = {round(math.sqrt(n) * 2 ** (-exponent / 2)) for exponent in range(5)}
    return sorted({min(max(k, 2), n) for k in grid})


def choose_k(embeddings: torch.Tensor, candidates: list[int], seed: int) -> tuple[int, dict[int, float]]:
    """Number of clusters with the lowest Davies-Bouldin index.

    Args:
        embeddings: float32, shape ``(N, dim)``; more than 20,000 rows are sampled.
        candidates: Numbers to try.
        seed: Seed of the sample and of each clustering.

    Returns:
        The number chosen, and the index of each candidate.
    """
    if len(embeddings) > _CHOICE_SAMPLE:
        sample = torch.randperm(len(embeddings), generator=torch.Generator().manual_seed(seed))[:_CHOICE_SAMPLE]
        embeddings = embeddings[sample]
    curve = {}
    for k in candidates:
        centroids = kmeans(embeddings, k, seed)
        curve[k] = davies_bouldin(centroids, *assign(embeddings, centroids)) if k > 1 else math.inf
    return min(curve, key=curve.__getitem__), curve


def _plus_plus(embeddings: torch.Tensor, n_clusters: int, generator: torch.Generator) -> torch.Tensor:
    size = max(_SEED_SAMPLE, n_clusters)
    if len(embeddings) > size:
        embeddings = embeddings[torch.randperm(len(embeddings), generator=generator)[:size]]
    centered = embeddings - embeddings.mean(0)
    norms = centered.square().sum(1)
    chosen = [int(torch.randint(len(embeddings), (1,), generator=generator))]
    nearest = (centered - centered[chosen]).square().sum(1)
    trials = 2 + int(math.log(n_clusters))  # of these rows the best is kept: a single draw often leaves a cluster out
    for _ in range(n_clusters - 1):
        total = nearest.cumsum(0, dtype=torch.float64)
        draws = torch.rand(trials, generator=generator, dtype=torch.float64) * total[-1]
        rows = torch.searchsorted(total, draws, right=True).clamp(max=len(embeddings) - 1)
        squares = torch.nn.functional.linear(-2 * centered[rows], centered, norms) + norms[rows, None]
        closer = torch.minimum(nearest, squares.clamp(min=0))
        best = int(closer.sum(1).argmin())
        chosen.append(int(rows[best]))
        nearest = closer[best]
    return embeddings[chosen].clone()


def _means(embeddings: torch.Tensor, cluster: torch.Tensor, distance: torch.Tensor, n_clusters: int) -> torch.Tensor:
    counts = torch.bincount(cluster, minlength=n_clusters)
    sums = torch.zeros(n_clusters, embeddings.shape[1]).index_add_(0, cluster, embeddings)
    means = sums / counts.clamp(min=1).unsqueeze(1)
    empty = torch.nonzero(counts == 0).flatten()
    if len(empty):
        means[empty] = embeddings[distance.topk(len(empty)).indices]
    return means


def to_tensor(embeddings: NDArray[np.float32]) -> torch.Tensor:
    """The matrix as a tensor on the same memory where it can be written and is in C order, else on a copy."""
    return torch.from_numpy(np.require(embeddings, requirements=("C", "W")))
