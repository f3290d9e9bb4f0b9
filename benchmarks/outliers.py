"""Do outliers look easy?

    python benchmarks/outliers.py

10,000 rows around 50 centres, 100 of which are far from all centres and from each other. How many of these are among
the easiest 1 % and the hardest 10 %, with plain k-means (a row that owns a cluster is at distance 0) and with the rule
that such clusters have no prototype; mean of five seeds. One of the easiest would be there by chance.
"""

import numpy as np
from report import print_json, print_table
from sklearn.preprocessing import minmax_scale

from hf_curriculum import DifficultyScorer
from hf_curriculum.scoring.kmeans import assign, kmeans
from hf_curriculum.scoring.points import Points


def planted(seed: int, dim: int = 32, rows: int = 10_000, outliers: int = 100) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = 3 * rng.normal(size=(50, dim))
    usual = centres[rng.integers(50, size=rows - outliers)] + rng.normal(size=(rows - outliers, dim))
    return np.concatenate([usual, 12 * rng.normal(size=(outliers, dim))]).astype(np.float32)


def without_rule(matrix: np.ndarray, k: int, seed: int, unit: bool) -> np.ndarray:
    if unit:
        matrix = (matrix - matrix.mean(0)) / matrix.std(0)
        matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    points = Points.of([matrix])
    cluster, distance = assign(points, kmeans(points, k, seed))
    difficulty = np.zeros(len(matrix))
    for c in np.unique(cluster):
        difficulty[cluster == c] = minmax_scale(distance[cluster == c])
    return difficulty


def counts(difficulty: np.ndarray) -> tuple[int, int]:
    own = difficulty[-100:]
    return int(np.sum(own <= np.quantile(difficulty, 0.01))), int(np.sum(own >= np.quantile(difficulty, 0.9)))


def main() -> None:
    table = []
    for unit in (False, True):
        options = {"standardize": unit, "l2_normalize": unit}
        for k in (20, 50, 100, 200, 400):
            found = []
            for seed in range(5):
                matrix = planted(seed)
                scorer = DifficultyScorer(k, seed=seed, **options).fit(matrix)
                with_rule = counts(scorer.score(matrix).difficulty)
                found.append((*counts(without_rule(matrix, k, seed, unit)), *with_rule, scorer.n_clusters_))
            table.append(("on the sphere" if unit else "as they are", k, *np.mean(found, axis=0).tolist()))
    columns = ["easiest 1 %, before", "hardest 10 %, before", "easiest 1 %", "hardest 10 %", "prototypes"]
    print_table(["embeddings", "K", *columns], table)
    print_json({"rows": table})


if __name__ == "__main__":
    main()
