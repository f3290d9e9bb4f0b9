"""Do the data prefer a number of clusters? The Davies-Bouldin index beside stability and prediction strength.

    python benchmarks/preferred.py --embeddings agnews.npz cifar10.npz

On planted clusters of several numbers, dimensions, spreads and sizes, on one Gaussian, and on embeddings of your own
(``.npz`` files with a ``matrix``), which number does each find, and in which time?

- "index": ``n_clusters=None``, the number at a deep minimum of the index
- "stability": the largest number at which clusterings of two halves agree on the second, adjusted Rand index 0.9 and
  more
- "strength": the largest number of a prediction strength of 0.8 and more (Tibshirani and Walther 2005)

The last two try the numbers 2, 4, 8, ... and the two beside the largest that passes; a dash is for none.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from report import print_json, print_table
from sklearn.metrics import adjusted_rand_score

from hf_curriculum.scoring.choice import MINIMUM, find_k
from hf_curriculum.scoring.kmeans import assign, kmeans
from hf_curriculum.scoring.points import Points, fit_space

SHAPES = [  # clusters, dimensions, deviation as a share of the distance between centres, whether sizes are equal
    (3, 8, 0.1, True),
    (3, 384, 0.3, False),
    (6, 32, 0.3, False),
    (24, 32, 0.1, True),
    (24, 384, 0.5, False),
    (120, 32, 0.1, False),
    (120, 384, 0.3, True),
    (300, 32, 0.1, True),
]


def planted(clusters: int, dim: int, spread: float, equal: bool, rows: int, seed: int) -> np.ndarray:
    """Rows around centres whose mean distance is 1; ``spread`` is the length of a row's mean deviation."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(clusters, dim)) / np.sqrt(2 * dim)
    shares = np.ones(clusters) if equal else rng.uniform(0.3, 1.7, clusters)
    which = rng.choice(clusters, rows, p=shares / shares.sum())
    return (centres[which] + spread * rng.normal(size=(rows, dim)) / np.sqrt(dim)).astype(np.float32)


def halves(points: Points, seed: int) -> tuple[Points, Points]:
    order = np.random.default_rng(seed).permutation(len(points))
    cut = len(points) // 2
    return points.select(np.sort(order[:cut])).held(), points.select(np.sort(order[cut:])).held()


def agreement(points: Points, k: int, judge: Callable[[np.ndarray, np.ndarray], float]) -> float:
    """How the clusters of the second half fit those that the prototypes of the first half make of it."""
    one, other = halves(points, 0)
    own = assign(other, kmeans(other, k, 0))[0]
    return judge(own, assign(other, kmeans(one, k, 0))[0])


def strength(own: np.ndarray, theirs: np.ndarray) -> float:
    """Lowest share, of all clusters, of the pairs that stay together."""
    shares = []
    for k in np.unique(own):
        counts = np.bincount(theirs[own == k])
        n = counts.sum()
        if n > 1:
            shares.append((counts * (counts - 1)).sum() / (n * (n - 1)))
    return min(shares, default=0.0)


def largest(points: Points, judge: Callable[[np.ndarray, np.ndarray], float], enough: float) -> int | None:
    grid = [2**i for i in range(1, int(np.log2(8 * np.sqrt(len(points)))) + 1)]
    passing = [k for k in grid if agreement(points, k, judge) >= enough]
    if not passing:
        return None
    beside = [round(passing[-1] * factor) for factor in (2**-0.5, 2**0.5)]
    return max([passing[-1], *(k for k in beside if agreement(points, k, judge) >= enough)])


def index(points: Points) -> int | None:
    k, _, reason = find_k(points, 0)
    return k if reason == MINIMUM else None


METHODS: dict[str, Callable[[Points], int | None]] = {
    "index": index,
    "stability": lambda points: largest(points, adjusted_rand_score, 0.9),
    "strength": lambda points: largest(points, strength, 0.8),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=6000)
    parser.add_argument("--embeddings", type=Path, nargs="*", default=[])
    args = parser.parse_args()
    torch.set_num_threads(1)
    sets = {
        f"planted {k}, d {d}, spread {spread}, {'equal' if equal else 'unequal'}": planted(
            k, d, spread, equal, args.rows, 0
        )
        for k, d, spread, equal in SHAPES
    }
    sets["one Gaussian, d 64"] = np.random.default_rng(0).normal(size=(args.rows, 64)).astype(np.float32)
    sets |= {path.stem: np.load(path)["matrix"] for path in args.embeddings}
    found = []
    for name, matrix in sets.items():
        points = Points.of([matrix])
        points = points.inside(fit_space(points, True, True))
        row: list[object] = [name]
        for method in METHODS.values():
            start = time.process_time()
            row += [method(points), time.process_time() - start]
        found.append(row)
    columns = ["data", *(part for name in METHODS for part in (name, f"{name}, CPU s"))]
    print_table(columns, found)
    print_json({"args": {"rows": args.rows}, "rows": found})


if __name__ == "__main__":
    main()
