"""What do scores of doubtful labels do in training?

    python benchmarks/labels_training.py DATA/ --output labels_training.jsonl

A network of one hidden layer over the features of ``labels.py`` (CIFAR-10 with HOG, spoken digits with log-mel, news
with MiniLM) is trained on rows of which a share has a wrong label, and tested on 1,000 rows with their true ones. All
arms of a seed have the same wrong labels, initial weights, steps and learning rates; 64 rows a step.

- "uniform", and what is done today: "smoothing" of the labels by 0.1; "cleanlab", without the rows that it would drop
- "suggested", without the rows whose ``suggested_label`` is another than their own
- "random", "distance" (one prototype a class), "margin": the pool of each, which "opens" over the first half of the
  training, opens "late", over all of it, or "stays" at an effective fraction of 0.3

A finished run is a line of the output; a command that was stopped goes on where it was. ``--summary`` prints the table
of the lines that are there.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from labels import datasets, distance, in_space, margin, mislabelled
from report import print_table, read_lines, spread
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import cross_entropy

from hf_curriculum import CurriculumConfig, CurriculumSampler, DifficultyScorer

DATA = {"agnews": "news", "cifar10-train": "CIFAR-10", "fsdd": "spoken digits"}
NOISE = [("uniform", 0.4), ("next", 0.4), ("uniform", 0.0), ("uniform", 0.2)]
EPOCHS = (5, 15, 50)
BATCH, HIDDEN, TEST = 64, 128, 1000
POOLS = {
    "opens": {},
    "late": {"warmup_steps": 1.0},
    "stays": {"warmup_steps": 1.0, "final_fraction": 0.3},
}
ARMS = [
    *(("uniform", "-"), ("smoothing", "-"), ("cleanlab", "-"), ("suggested", "-")),
    *((score, pool) for score in ("random", "distance", "margin") for pool in ("opens", "stays")),
    ("margin", "late"),
]
SCORES = {"distance": distance, "margin": margin}


def without_issues(matrix: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Rows that cleanlab would keep."""
    from cleanlab.classification import CleanLearning  # the table of what is there does without

    finder = CleanLearning(LogisticRegression(max_iter=200), cv_n_folds=5, seed=0)
    found = finder.find_label_issues(in_space(matrix) * np.sqrt(matrix.shape[1]), labels)
    return np.flatnonzero(~found["is_label_issue"].to_numpy())


def as_suggested(matrix: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Rows whose label is the one that fits best."""
    scores = DifficultyScorer(measure="margin").fit(matrix, labels).score(matrix, labels)
    return np.flatnonzero(scores.suggested_label == labels)


def sampler_of(arm: tuple[str, str], rows: int, score: np.ndarray | None, steps: int, seed: int) -> CurriculumSampler:
    kind, pool = arm
    if pool == "-":  # a curriculum that is open from the start is permutations
        config = CurriculumConfig(order="random", initial_fraction=1 - 1 / np.e)
    else:
        config = CurriculumConfig(order="random" if kind == "random" else "easy_first", **POOLS[pool])
    return CurriculumSampler(
        score, config, rows=rows if score is None else None, total_batch_size=BATCH, total_steps=steps, seed=seed
    )


def train(
    inputs: torch.Tensor, labels: torch.Tensor, sampler: CurriculumSampler, steps: int, seed: int, smoothing: float
) -> torch.nn.Module:
    torch.manual_seed(seed)
    model = torch.nn.Sequential(
        torch.nn.Linear(inputs.shape[1], HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, int(labels.max()) + 1)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    for step in range(steps):
        some = torch.from_numpy(sampler.indices(step))
        loss = cross_entropy(model(inputs[some]), labels[some], label_smoothing=smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        falling.step()
    return model


def runs(
    name: str, matrix: np.ndarray, labels: np.ndarray, noise: tuple[str, float], seed: int, done: set[tuple]
) -> Iterator[dict]:
    """Figures of each arm and number of epochs that is not done, one wrong labelling."""
    rows = len(matrix) - TEST
    given, wrong = mislabelled(labels[:rows], *noise, seed)
    kept = {"cleanlab": without_issues(matrix[:rows], given), "suggested": as_suggested(matrix[:rows], given)}
    scores = {kind: score(matrix[:rows], given) for kind, score in SCORES.items()}
    mean, deviation = matrix[:rows].mean(0), matrix[:rows].std(0)
    inputs = torch.from_numpy(((matrix - mean) / np.where(deviation > 0, deviation, 1)).astype(np.float32))
    seen = torch.from_numpy(given)
    for epochs in EPOCHS:
        steps = epochs * rows // BATCH
        for arm in [arm for arm in ARMS if (epochs, *arm) not in done]:
            chosen = torch.from_numpy(kept[arm[0]]) if arm[0] in kept else torch.arange(rows)
            sampler = sampler_of(arm, len(chosen), scores.get(arm[0]), steps, seed)
            model = train(inputs[chosen], seen[chosen], sampler, steps, seed, 0.1 if arm[0] == "smoothing" else 0.0)
            with torch.inference_mode():
                logits = model(inputs[rows:])
            truth = torch.from_numpy(labels[rows:])
            yield {
                **{"data": name, "noise": noise[0], "share": noise[1], "seed": seed, "epochs": epochs},
                **{"arm": arm[0], "pool": arm[1], "rows": len(chosen)},
                "wrong": float(wrong[chosen.numpy()].mean()),
                "accuracy": float((logits.argmax(1) == truth).double().mean()),
                "loss": float(cross_entropy(logits, truth)),
            }


def summary(lines: list[dict]) -> None:
    """Accuracy in percent, and minus uniform's of the same seed: mean and its standard error."""
    keys = ("data", "noise", "share", "epochs")
    found = {(*(line[key] for key in (*keys, "arm", "pool")), line["seed"]): line for line in lines}
    cells = sorted({key[:4] for key in found}, key=lambda cell: (cell[2], cell[1] == "next", cell[0], cell[3]))
    for measure, scale in (("accuracy", 100), ("loss", 1)):
        table = []
        for cell in cells:
            base = {key[6]: line[measure] * scale for key, line in found.items() if key[:6] == (*cell, "uniform", "-")}
            wrong = f"{cell[2]:.0%}, {'one other' if cell[1] == 'next' else 'any'}" if cell[2] else "none"
            row = [DATA[cell[0]], wrong, cell[3], spread(list(base.values()))]
            for arm in ARMS[1:]:
                pairs = [
                    line[measure] * scale - base[key[6]]
                    for key, line in found.items()
                    if key[:6] == (*cell, *arm) and key[6] in base
                ]
                row.append(spread(pairs, sign="+") if pairs else None)
            table.append(row)
        print(f"{measure}, {len({key[6] for key in found})} seeds\n")
        print_table(["data", "wrong", "epochs", "uniform", *(" ".join(arm).rstrip(" -") for arm in ARMS[1:])], table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--output", type=Path, default=Path("labels_training.jsonl"))
    parser.add_argument("--rows", type=int, default=3000, help="of which 1,000 are tested on")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=DATA, choices=DATA)
    parser.add_argument("--summary", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines = read_lines(args.output)
    if args.summary:
        return summary(lines)
    sources = [item for item in datasets(args.data, args.output.parent, args.rows) if item[0] in args.only]
    for kind, share in NOISE:
        for seed in range(args.seeds):
            for name, matrix, labels in sources:
                cell = {"data": name, "noise": kind, "share": share, "seed": seed}
                done = {(line["epochs"], line["arm"], line["pool"]) for line in lines if cell.items() <= line.items()}
                if len(done) == len(ARMS) * len(EPOCHS):
                    continue
                for line in runs(name, matrix, labels, (kind, share), seed, done):
                    with args.output.open("a") as output:
                        output.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
