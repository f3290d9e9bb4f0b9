"""How stable is "difficulty"?

    python benchmarks/stability.py EMBEDDINGS.npy ... --clusters 50 200

For five seeds: the mean rank correlation (Spearman) of the difficulties of two seeds of ours, with 1, 5 and 20
``repeats``, and if the best of five starts is taken; of two seeds of scikit-learn's KMeans with 1 and with 10
restarts; and of ours and the latter. Embeddings are matrices saved by ``numpy.save``.
"""

import argparse
from itertools import combinations
from pathlib import Path

import numpy as np
from report import print_json, print_table
from scipy.stats import spearmanr
from sklearn.cluster import KMeans

from hf_curriculum import DifficultyScorer


def difficulties(matrix: np.ndarray, **options) -> tuple[np.ndarray, float]:
    """Difficulties, and the inertia."""
    scores = DifficultyScorer(**options).fit(matrix).score(matrix)
    return scores.difficulty, float(np.square(scores.distance.astype(np.float64)).sum())


def agreement(first: list[np.ndarray], second: list[np.ndarray] | None = None) -> float:
    pairs = combinations(first, 2) if second is None else zip(first, second, strict=True)
    return float(np.mean([spearmanr(a, b).statistic for a, b in pairs]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("embeddings", nargs="+")
    parser.add_argument("--clusters", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    table = []
    for path in args.embeddings:
        matrix = np.load(path)[: args.rows].astype(np.float32)
        for k in args.clusters:
            seeds = range(args.seeds)
            ours, five, twenty = (
                [difficulties(matrix, n_clusters=k, seed=1000 * seed, repeats=repeats)[0] for seed in seeds]
                for repeats in (1, 5, 20)
            )
            starts = [[difficulties(matrix, n_clusters=k, seed=100 * seed + i) for i in range(5)] for seed in seeds]
            best = [min(runs, key=lambda run: run[1])[0] for runs in starts]
            theirs = {
                n: [difficulties(matrix, clusterer=KMeans(k, n_init=n, random_state=seed))[0] for seed in seeds]
                for n in (1, 10)
            }
            table.append(
                (
                    Path(path).stem,
                    k,
                    agreement(ours),
                    agreement(five),
                    agreement(twenty),
                    agreement(best),
                    agreement(theirs[1]),
                    agreement(theirs[10]),
                    agreement(ours, theirs[10]),
                )
            )
    columns = [
        "ours",
        "5 repeats",
        "20 repeats",
        "best of 5 starts",
        "KMeans, 1 start",
        "KMeans, 10 starts",
        "ours with KMeans, 10 starts",
    ]
    print_table(["embeddings", "K", *columns], table)
    print_json({"args": vars(args), "rows": table})


if __name__ == "__main__":
    main()
