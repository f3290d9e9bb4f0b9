"""Is our k-means the fastest at hand?

    python benchmarks/kmeans.py --rows 100000 --dim 384 --clusters 500

Ours, FAISS, and scikit-learn's KMeans and MiniBatchKMeans, on the same rows, with the same number of iterations, one
after the other in one process. The inertia of each is measured in the same way, over all rows. Rows are a mixture of
overlapping Gaussians, brought to length 1. The rate of the machine is that of a large float32 product, measured here;
ours is the rate of all its distances, as if every iteration had seen all rows, and of those it really took.
Needs ``pip install faiss-cpu`` for FAISS; without it that row is left out.

A second table has all of scoring, ``DifficultyScorer.fit_score`` and ``fit`` with ``score``, beside FAISS's ``train``
and ``search`` with as many iterations, each on all rows; lowest wall and processor time of alternating rounds.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from report import print_json, print_table
from sklearn.cluster import KMeans, MiniBatchKMeans

from hf_curriculum import DifficultyScorer
from hf_curriculum.scoring.kmeans import _WARM_ROWS, ITERATIONS, assign, kmeans, lloyd, plus_plus
from hf_curriculum.scoring.points import Points


def mixture(rows: int, dim: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((2000, dim), np.float32)
    points = np.empty((rows, dim), np.float32)
    for start in range(0, rows, 50_000):
        part = points[start : start + 50_000]
        part[:] = centres[rng.integers(2000, size=len(part))] + 1.5 * rng.standard_normal(part.shape, np.float32)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return points


def faiss_centroids(points: np.ndarray, k: int, iterations: int) -> np.ndarray:
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    found = faiss.Kmeans(points.shape[1], k, niter=iterations, max_points_per_centroid=len(points), seed=1)
    found.train(points)
    return found.centroids


def matrix_rate() -> float:
    """Multiplications and additions per second of a product of two large float32 matrices."""
    a = torch.randn(4096, 4096)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - start)
    return 2 * 4096**3 / min(seconds)


def scoring(matrix: np.ndarray, k: int, rounds: int) -> list[tuple[str, float, float, float]]:
    """Name, least wall and processor seconds, and inertia of each way from rows to clusters and distances."""
    import faiss

    def ours(at_once: bool) -> np.ndarray:
        scorer = DifficultyScorer(k, standardize=False)
        scores = scorer.fit_score(matrix) if at_once else scorer.fit(matrix).score(matrix)
        return scores.distance**2

    def theirs() -> np.ndarray:
        found = faiss.Kmeans(matrix.shape[1], k, niter=ITERATIONS, max_points_per_centroid=len(matrix), seed=1)
        found.train(matrix)
        return found.index.search(matrix, 1)[0]

    faiss.omp_set_num_threads(torch.get_num_threads())
    runs = {"fit_score": lambda: ours(True), "fit, score": lambda: ours(False), "FAISS train, search": theirs}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    inertia = {}
    for _ in range(rounds):
        for name, run in runs.items():
            wall, processor = time.perf_counter(), time.process_time()
            squares = run()
            taken[name].append((time.perf_counter() - wall, time.process_time() - processor))
            inertia[name] = float(squares.sum(dtype=np.float64))
    return [(name, *np.min(taken[name], axis=0).tolist(), inertia[name]) for name in runs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--clusters", type=int, default=500)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch and FAISS")
    parser.add_argument("--leave-out", nargs="*", default=[], help="rows of the table that take too long")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    matrix, k, iterations = mixture(args.rows, args.dim), args.clusters, args.iterations
    points = Points.of([matrix])
    runs: dict[str, Callable[[], object]] = {
        "ours": lambda: kmeans(points, k, seed=0, iterations=iterations),
        "ours, all iterations on all rows": lambda: lloyd(points, plus_plus(points, k, 0), iterations),
        "FAISS": lambda: faiss_centroids(matrix, k, iterations),
        "MiniBatchKMeans": lambda: (
            MiniBatchKMeans(k, n_init=1, max_iter=iterations, random_state=0).fit(matrix).cluster_centers_
        ),
        "KMeans": lambda: KMeans(k, n_init=1, max_iter=iterations, tol=0, random_state=0).fit(matrix).cluster_centers_,
    }
    try:
        import faiss  # noqa: F401
    except ModuleNotFoundError:
        del runs["FAISS"]
    runs = {name: run for name, run in runs.items() if name not in args.leave_out}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    inertia: dict[str, float] = {}
    for turn in range(args.rounds):
        for name, run in runs.items():
            if name == "KMeans" and turn:
                continue
            start = time.perf_counter()
            centroids = torch.as_tensor(run())
            seconds[name].append(time.perf_counter() - start)
            inertia[name] = float(np.square(assign(points, centroids)[1].astype(np.float64)).sum())
    median = {name: float(np.median(times)) for name, times in seconds.items()}
    table = [
        (name, median[name], median[name] / median["ours"], inertia[name], 100 * (inertia[name] / inertia["ours"] - 1))
        for name in runs
    ]
    print_table([f"{args.rows:,} x {args.dim}, K = {k}", "s", "times ours", "inertia", "% above ours"], table)
    late = iterations - 3 * iterations // 4
    warm = min(_WARM_ROWS * k, args.rows)
    flops = 2 * args.dim * k * (args.rows * late + warm * (iterations - late))
    shares = {
        "share of the matrix rate": flops / median["ours"] / (rate := matrix_rate()),
        "share if all iterations had seen all rows": 2 * args.dim * k * args.rows * iterations / median["ours"] / rate,
    }
    print_table(["matrix rate, GFLOP/s", *shares], [(rate / 1e9, *shares.values())])
    whole = scoring(matrix, k, args.rounds) if "FAISS" in runs else []
    print_table([f"all of scoring, {torch.get_num_threads()} threads", "s", "processor s", "inertia"], whole)
    figures = {"seconds": seconds, "inertia": inertia, "scoring": whole, "matrix_rate": rate}
    print_json({"args": vars(args), **figures, **shares})


if __name__ == "__main__":
    main()
