"""k-means: how much of the matrix rate it reaches, and beside what else there is."""

from collections.abc import Callable

import numpy as np
import torch

from benchmarks.gpu_parts.lines import Figures, Measurements, Size, seconds
from hf_curriculum.scoring.choice import find_k
from hf_curriculum.scoring.kmeans import _WARM_ROWS, assign, kmeans, lloyd, plus_plus
from hf_curriculum.scoring.points import Points

ITERATIONS = 20


def measurements(size: Size, deadline: float) -> Measurements:
    rows, dim, k = size.of((1_280_000, 384, 978), (6000, 32, 40))
    matrix = mixture(rows, dim)
    points = Points.of([matrix])
    yield "held", lambda: clustering(points.held(), matrix, lambda held: kmeans(held, k, 0, ITERATIONS), k)
    yield "in chunks", lambda: clustering(points, matrix, lambda some: kmeans(some, k, 0, ITERATIONS), k)
    yield "FAISS or plain Lloyd", lambda: peer(matrix, k, size.device)
    yield "choice of K", lambda: {"s": seconds(lambda: find_k(points, 0))}


def mixture(rows: int, dim: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((2000, dim), np.float32)
    return centres[rng.integers(2000, size=rows)] + 1.5 * rng.standard_normal((rows, dim), np.float32)


def clustering(points: Points, matrix: np.ndarray, cluster: Callable[[Points], torch.Tensor], k: int) -> Figures:
    cluster(points)  # the first time loads kernels
    times, found = [], []
    for _ in range(3):
        times.append(seconds(lambda: found.append(cluster(points))))
    late = ITERATIONS - 3 * ITERATIONS // 4
    warm = min(_WARM_ROWS * k, len(matrix))
    flops = 2 * matrix.shape[1] * k * (len(matrix) * late + warm * (ITERATIONS - late))
    rate = matrix_rate(points.device)
    return {
        "s": min(times),
        "all_s": times,
        "matrix_rate": rate,
        "share_of_matrix_rate": flops / min(times) / rate,
        "start_s": min(seconds(lambda: plus_plus(points, k, 0)) for _ in range(2)),
        "share_of_one_iteration": one_iteration(points, found[-1]) / rate,
        "inertia": inertia(points, found[-1]),
        "same_bits": all(torch.equal(one, found[0]) for one in found),
    }


def one_iteration(points: Points, centroids: torch.Tensor) -> float:
    """Multiplications and additions per second of an iteration over all rows."""
    taken = min(seconds(lambda: lloyd(points, centroids, 1)) for _ in range(3))
    return 2 * len(points) * centroids.numel() / taken


def one_clustering(seed: int) -> np.ndarray:
    """What each of several processes does."""
    return kmeans(Points.of([mixture(20_000, 64)]).held(), 50, seed).numpy()


def matrix_rate(device: torch.device, side: int = 8192) -> float:
    """Multiplications and additions per second of a product of two large float32 matrices."""
    a = torch.randn(side if device.type == "cuda" else 1024, side if device.type == "cuda" else 1024, device=device)
    return 2 * len(a) ** 3 / min(seconds(lambda: a @ a) for _ in range(5))


def inertia(points: Points, centroids: torch.Tensor) -> float:
    return float(np.square(assign(points, centroids)[1].astype(np.float64)).sum())


def peer(matrix: np.ndarray, k: int, device: str) -> Figures:
    """FAISS with all rows in all iterations, where it can be loaded; else Lloyd as one writes it."""
    try:
        import faiss
    except (ImportError, RuntimeError) as error:  # which it raises where the CUDA that it wants is not there
        start = torch.from_numpy(matrix[np.random.default_rng(0).choice(len(matrix), k, replace=False)])
        times = [seconds(lambda: plain_lloyd(torch.from_numpy(matrix).to(device), start.to(device)))]
        return {"peer": "plain Lloyd", "no_faiss": str(error), "s": min(times)}
    gpu = device == "cuda" and hasattr(faiss, "StandardGpuResources")
    found = faiss.Kmeans(matrix.shape[1], k, niter=ITERATIONS, max_points_per_centroid=len(matrix), seed=1, gpu=gpu)
    taken = seconds(lambda: found.train(matrix))
    centroids = torch.from_numpy(found.centroids)
    return {"peer": f"FAISS, GPU: {gpu}", "s": taken, "inertia": inertia(Points.of([matrix]), centroids)}


def plain_lloyd(rows: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    for _ in range(ITERATIONS):
        cluster = torch.cat([torch.cdist(part, centroids).argmin(1) for part in rows.split(1 << 16)])
        sums = torch.zeros_like(centroids).index_add_(0, cluster, rows)
        centroids = sums / torch.bincount(cluster, minlength=len(centroids)).clamp(min=1)[:, None]
    return centroids
