"""k-means as matrix products over chunks, on any device and over Accelerate processes."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from hf_curriculum.scoring.difficulty import counts_of, pieces
from hf_curriculum.scoring.points import EPSILON, ROUNDING, Points, lengths

ITERATIONS = 20
_SEED_ROWS = 16  # for each centroid
_WARM_ROWS = 64
_DRAWS = 2048
_SPLIT = 1 / 1024
_PAIRS = 1024
_WHOLE = 2.0**40  # the largest weight of a draw, as a whole number
_SEGMENT = 256  # rows that a GPU adds up one after the other
_PRODUCTS = 1 << 26  # numbers of a product on a GPU


def kmeans(points: Points, n_clusters: int, seed: int, iterations: int = ITERATIONS) -> torch.Tensor:
    """Centroids by Lloyd's algorithm from a greedy k-means++ start.

    The first three quarters of the iterations move the centroids on a sample of 64 rows for each, where that is fewer
    than all.

    Args:
        points: ``N`` of them.
        n_clusters: Number of centroids ``K``, 1 to ``N``.
        seed: Seed of the samples and of the start.
        iterations: Iterations at the most; it stops once no centroid moves.

    Returns:
        Centroids, float32, shape ``(K, dim)``. Where points coincide, some may have no row.

    Source:
        Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory 1982.
    """
    centroids = plus_plus(points, n_clusters, seed)
    warm = points.sample(_WARM_ROWS * n_clusters, seed).held()
    if len(warm) < len(points):
        early = 3 * iterations // 4
        centroids = lloyd(warm, centroids, early)
        iterations -= early
    return lloyd(points, centroids, iterations)


def plus_plus(points: Points, n_clusters: int, seed: int) -> torch.Tensor:
    """Points to start k-means from, far apart; the first ``k`` of them are a start for ``k`` clusters.

    Args:
        points: ``N`` of them; the start comes from a sample of 16 for each cluster, but no fewer than 2,000.
        n_clusters: How many, 1 to ``N``.
        seed: Of the sample and of the draws.

    Returns:
        float32, shape ``(n_clusters, dim)``.

    Source:
        Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007, section 5 (the best of
        several draws).
    """
    rows = points.sample(max(_SEED_ROWS * n_clusters, 2000), seed).all()
    rows = rows if rows.is_cuda else rows.cpu()  # other devices may not know float64
    generator = torch.Generator().manual_seed(seed)
    trials = min(64, max(8, _DRAWS // n_clusters))  # of these the best is kept: one draw often leaves a cluster out
    chosen = torch.randint(len(rows), (1,), generator=generator).to(rows.device)
    draws = torch.rand(n_clusters - 1, trials, generator=generator, dtype=torch.float64).to(rows.device)
    centered = rows - rows.mean(0)
    norms = centered.square().sum(1)
    nearest = (centered - centered[chosen]).square().sum(1)
    found = [chosen]
    for draw in draws:  # no look at a number, for which a GPU would have to be waited for
        reach = _reach(nearest)
        drawn = torch.searchsorted(reach, (draw * reach[-1]).long(), right=True).clamp(max=len(rows) - 1)
        squares = torch.nn.functional.linear(-2 * centered[drawn], centered, norms) + norms[drawn, None]
        closer = torch.minimum(nearest, squares.clamp(min=0))
        best = closer.sum(1).argmin(keepdim=True)
        found.append(drawn[best])
        nearest = closer[best][0]
    return rows[torch.cat(found)].cpu()


def _reach(weights: torch.Tensor) -> torch.Tensor:
    """Running sum of weights as whole numbers, which any device adds up to the same."""
    weights = weights.double()
    largest = weights.amax().clamp(min=torch.finfo(torch.float64).tiny)
    return (weights / largest * _WHOLE).long().cumsum(0)


def lloyd(points: Points, centroids: torch.Tensor, iterations: int) -> torch.Tensor:
    """Move centroids to the mean of the rows that are nearest to them, until none moves.

    A centroid that has lost all its rows goes beside one of those that have most.

    Args:
        points: What is clustered.
        centroids: Where to start, float32, shape ``(K, dim)``.
        iterations: Iterations at the most.

    Returns:
        Centroids, float32, shape ``(K, dim)``, the same in each process.
    """
    share = points.share
    for _ in range(iterations):
        center = centroids.mean(0)
        counts = torch.zeros(len(centroids), device=points.device)
        sums = torch.zeros(centroids.shape, device=points.device)
        for rows, cluster in _nearest(share, centroids, center):
            _add(counts, sums, rows, cluster)
        counts, sums = points.total(counts).cpu(), points.total(sums).cpu()
        moved = center + sums / counts.clamp(min=1)[:, None]
        empty = counts == 0
        donors = counts.topk(int(empty.sum())).indices
        moved[empty] = moved[donors] * (1 + _SPLIT)
        if torch.equal(moved, centroids):
            break
        centroids = moved
    return centroids


def assign(points: Points, centroids: torch.Tensor) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Nearest centroid of each point, and the Euclidean distance to it.

    Args:
        points: ``N`` of them.
        centroids: float32, shape ``(K, dim)``.

    Returns:
        Cluster, int32, shape ``(N,)``; distance, float32, shape ``(N,)``; the same in each process.

    Raises:
        ValueError: If a distance is more than float32 can hold.
    """
    share = points.share
    clusters = torch.empty(len(share), dtype=torch.int32, device=points.device)
    distances = torch.empty(len(share), device=points.device)
    center = centroids.mean(0)
    centered = (centroids - center).to(points.device)
    start = 0
    for rows, cluster in _nearest(share, centroids, center):
        stop = start + len(rows)
        clusters[start:stop] = cluster
        # Not from the products: these cancel where a row is close to its centroid.
        distances[start:stop] = lengths(rows.sub_(centered[cluster]))
        start = stop
    cluster_of, distance_of = points.joined(clusters.cpu().numpy()), points.joined(distances.cpu().numpy())
    if (lost := np.flatnonzero(~np.isfinite(distance_of))).size:
        raise ValueError(
            f"Row {points.number(int(lost[0]))} of {points.name} is farther from all prototypes than float32 can tell "
            f"({lost.size} such rows). Drop it, or bring it to the scale of the others."
        )
    return cluster_of, distance_of


def rounding_of(centroids: torch.Tensor, rounding: float) -> NDArray[np.float32]:
    """Distance from each centroid below which rows differ by rounding only.

    Args:
        centroids: Shape ``(K, dim)``.
        rounding: What the space of the points adds.

    Returns:
        float32, shape ``(K,)``.
    """
    spread = float(lengths(centroids - centroids.mean(0)).max())
    return (EPSILON * lengths(centroids) + (ROUNDING * spread + rounding)).numpy()


def davies_bouldin(centroids: torch.Tensor, cluster: NDArray[np.integer], distance: NDArray[np.floating]) -> float:
    """Davies-Bouldin index of a clustering; low = compact clusters far apart.

    Args:
        centroids: Shape ``(K, dim)``, K at least 2.
        cluster: Cluster of each row, shape ``(N,)``; clusters without rows are left out.
        distance: Distance of each row to its centroid, shape ``(N,)``.

    Returns:
        The index, non-negative; ``math.inf`` where two centroids coincide, or fewer than two have rows.

    Source:
        Davies and Bouldin, "A Cluster Separation Measure", IEEE PAMI 1979.
    """
    counts, sums = counts_of(cluster, len(centroids)), np.zeros(len(centroids))
    for some in pieces(cluster.size):
        np.add.at(sums, cluster[some], distance[some].astype(np.float64))
    used = np.flatnonzero(counts)
    scatter = torch.from_numpy(sums[used] / counts[used]).float()
    filled = centroids[torch.from_numpy(used)]
    worst = []
    for start in range(0, len(filled), _PAIRS):
        some = slice(start, start + _PAIRS)
        apart = torch.cdist(filled[some], filled, compute_mode="donot_use_mm_for_euclid_dist")
        apart[torch.arange(len(apart)), torch.arange(start, start + len(apart))] = math.inf
        if not bool((apart > 0).all()):
            return math.inf
        worst.append(((scatter[some, None] + scatter) / apart).amax(1))
    return float(torch.cat(worst).mean()) if len(filled) > 1 else math.inf


def _nearest(
    points: Points, centroids: torch.Tensor, center: torch.Tensor
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Chunks of the points, and the nearest centroid of each row.

    The rows are relative to ``center``, so that products do not cancel where all rows are far from 0.
    """
    center, centered = center.to(points.device), (centroids - center).to(points.device)
    half_norms = centered.square().sum(1) / 2
    for rows in points.chunks():
        rows -= center
        if rows.is_cpu:  # numpy's argmin takes a fifth of the time of torch's
            yield rows, torch.from_numpy(torch.addmm(half_norms, rows, centered.T, alpha=-1).numpy().argmin(1))
        else:
            parts = torch.split(rows, max(1, _PRODUCTS // len(centroids)))
            yield rows, torch.cat([torch.addmm(half_norms, part, centered.T, alpha=-1).argmin(1) for part in parts])


def _add(counts: torch.Tensor, sums: torch.Tensor, rows: torch.Tensor, cluster: torch.Tensor) -> None:
    """Add the rows of a chunk to the sums of their clusters, in an order that the rows alone decide."""
    if rows.is_cuda:  # index_add_ adds in any order there: a seed would not decide the result
        found, added = segments(rows, cluster, len(counts))
    else:
        rows, cluster = rows.cpu(), cluster.cpu()
        found = torch.bincount(cluster, minlength=len(counts))
        added = torch.zeros(sums.shape).index_add_(0, cluster, rows)
    counts += found.to(counts.device)
    sums += added.to(sums.device)


def segments(rows: torch.Tensor, cluster: torch.Tensor, n_clusters: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Number and sum of the rows of each cluster, added up in their order; the device is never waited for.

    Args:
        rows: float32, shape ``(n, dim)``.
        cluster: Cluster of each, int64, shape ``(n,)``.
        n_clusters: Number of clusters ``K``.

    Returns:
        int64, shape ``(K,)``; float32, shape ``(K, dim)``.
    """
    ordered, order = cluster.sort(stable=True)
    edges = torch.searchsorted(ordered, torch.arange(n_clusters + 1, device=cluster.device))
    # One thread adds up a column of a segment, row by row: long ones are cut, or few clusters would leave a GPU idle
    # and rounding would grow with their rows.
    cuts = torch.cat([edges, torch.arange(0, len(rows), _SEGMENT, device=cluster.device)]).sort().values
    parts = torch.segment_reduce(rows[order], "sum", lengths=cuts.diff(), unsafe=True, initial=0)
    of_cluster = torch.searchsorted(cuts, edges).diff()
    return edges.diff(), torch.segment_reduce(parts, "sum", lengths=of_cluster, unsafe=True, initial=0)
