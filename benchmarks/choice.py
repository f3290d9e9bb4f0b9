"""Does the choice of K agree with an exhaustive scan, and what does it cost?

    python benchmarks/choice.py --rows 20000 --dim 384

Every K from 2 to 20: ours, and scikit-learn's KMeans (10 restarts, as its users set it, and 1) with its
Davies-Bouldin index, on blobs of a planted number that overlap.
"""

import argparse
import time

import numpy as np
from report import print_json, print_table
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import davies_bouldin_score

from hf_curriculum.scoring.choice import choose_k
from hf_curriculum.scoring.points import Points


def scan(matrix: np.ndarray, candidates: range, n_init: int) -> int:
    index = {}
    for k in candidates:
        index[k] = davies_bouldin_score(matrix, KMeans(k, n_init=n_init, random_state=0).fit_predict(matrix))
    return min(index, key=index.__getitem__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--planted", type=int, nargs="+", default=[5, 12, 18])
    args = parser.parse_args()
    candidates = range(2, 21)
    table = []
    for planted in args.planted:
        matrix, _ = make_blobs(args.rows, args.dim, centers=planted, cluster_std=8, random_state=planted)
        matrix = matrix.astype(np.float32)
        runs = {
            "ours": lambda matrix=matrix: choose_k(Points.of([matrix]), list(candidates), seed=0)[0],
            "scikit-learn, 1 start": lambda matrix=matrix: scan(matrix, candidates, 1),
            "scikit-learn, 10 starts": lambda matrix=matrix: scan(matrix, candidates, 10),
        }
        for name, run in runs.items():
            start = time.perf_counter()
            chosen = run()
            table.append((planted, name, chosen, time.perf_counter() - start))
    ours = {planted: seconds for planted, name, _, seconds in table if name == "ours"}
    rows = [(planted, name, chosen, seconds, seconds / ours[planted]) for planted, name, chosen, seconds in table]
    print_table(["planted", "scan of 2 to 20", "chosen", "s", "times ours"], rows)
    print_json({"args": vars(args), "rows": rows})


if __name__ == "__main__":
    main()
