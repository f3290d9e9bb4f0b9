"""Do losses that the training learns of its rows keep wrong labels out of it?

    python benchmarks/learned_losses.py DATA/ --output learned_losses.jsonl

A network of one hidden layer over news (DATA/agnews.parquet, MiniLM) is trained by ``CurriculumTrainer``, 64 rows a
step, on 2,000 rows of which 40 or 20 % have a wrong label, and tested on 1,000 others with their true ones. All arms
of a seed have the same wrong labels, initial weights, steps and learning rates.

- "uniform": a plain ``Trainer``
- "random": a pool of random rows; "margin": of rows with a low ``measure="margin"``, known before the training
- "loss": ``LearnedDifficulty("loss")``, a table every 50 steps, low losses first; "loss, hard": high ones

Pools "open" over the first half of the training, or "stay" at an effective fraction of 0.3. "wrong" is the share of
wrong labels among all rows that were trained on. A finished run is a line of the output; a command that was stopped
goes on where it was. ``--summary`` prints the tables of the lines that are there.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from labels import embedded, margin, mislabelled
from report import print_table, read_lines, spread
from torch.nn.functional import cross_entropy
from transformers import PrinterCallback, Trainer, TrainingArguments

from hf_curriculum import CurriculumConfig, CurriculumTrainer, LearnedDifficulty

SHARES, EVERY = (0.4, 0.2), 50
BATCH, HIDDEN = 64, 128
POOLS = {"opens": {}, "stays": {"warmup_steps": 1.0, "final_fraction": 0.3}}
ORDERS = {"random": "random", "margin": "easy_first", "loss": "easy_first", "loss, hard": "hard_first"}
ARMS = [("uniform", "-"), *((kind, pool) for kind in ORDERS for pool in POOLS)]


class Classifier(torch.nn.Module):
    """One hidden layer; counts the wrong labels that it is trained on."""

    def __init__(self, dimension: int, classes: int) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(dimension, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, classes)
        )
        self.wrong, self.rows = 0, 0

    def forward(self, x: torch.Tensor, labels: torch.Tensor, wrong: torch.Tensor) -> dict[str, torch.Tensor]:
        """Loss and logits, of which the trainer takes the losses of the rows."""
        self.wrong += int(wrong.sum())
        self.rows += len(wrong)
        logits = self.layers(x)
        return {"loss": cross_entropy(logits, labels), "logits": logits}


class Rows(torch.utils.data.Dataset):
    """Features, the labels that are given, and whether they are wrong."""

    def __init__(self, **columns: np.ndarray) -> None:
        self.columns = {name: torch.from_numpy(column) for name, column in columns.items()}

    def __len__(self) -> int:
        return len(self.columns["x"])

    def __getitems__(self, rows: list[int]) -> dict[str, torch.Tensor]:
        return {name: column[rows] for name, column in self.columns.items()}

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        return {name: column[row] for name, column in self.columns.items()}


def train(arm: tuple[str, str], rows: Rows, classes: int, score: np.ndarray, epochs: int, seed: int) -> Classifier:
    kind, pool = arm
    torch.manual_seed(seed)
    model = Classifier(rows.columns["x"].shape[1], classes)
    curriculum, own = Trainer, {}
    if kind != "uniform":
        curriculum, own = CurriculumTrainer, {"curriculum": CurriculumConfig(order=ORDERS[kind], **POOLS[pool])}
    if kind == "margin":
        own["difficulty"] = score
    elif kind.startswith("loss"):
        own |= {"difficulty": np.zeros(len(rows)), "learned_difficulty": LearnedDifficulty("loss", every=EVERY)}
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=BATCH,
            max_steps=epochs * len(rows) // BATCH,
            learning_rate=1e-3,
            weight_decay=0.01,
            seed=seed,
            use_cpu=True,
            disable_tqdm=True,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            remove_unused_columns=False,
        )
        trainer = curriculum(model=model, args=args, train_dataset=rows, data_collator=lambda batch: batch, **own)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return model


def runs(
    matrix: np.ndarray, labels: np.ndarray, tested: int, lengths: list[int], share: float, seed: int, done: set[tuple]
) -> Iterator[dict]:
    """Figures of each arm and number of epochs that is not done, for one wrong labelling."""
    rows = len(matrix) - tested
    given, wrong = mislabelled(labels[:rows], "uniform", share, seed)
    score = margin(matrix[:rows], given)
    mean, deviation = matrix[:rows].mean(0), matrix[:rows].std(0)
    x = ((matrix - mean) / np.where(deviation > 0, deviation, 1)).astype(np.float32)
    classes, truth = int(labels.max()) + 1, torch.from_numpy(labels[rows:])
    for epochs in lengths:
        for arm in [arm for arm in ARMS if (epochs, *arm) not in done]:
            model = train(arm, Rows(x=x[:rows], labels=given, wrong=wrong), classes, score, epochs, seed)
            with torch.inference_mode():
                logits = model.layers(torch.from_numpy(x[rows:]))
            yield {
                **{"share": share, "seed": seed, "epochs": epochs, "arm": arm[0], "pool": arm[1]},
                "wrong": model.wrong / model.rows,
                "accuracy": float((logits.argmax(1) == truth).double().mean()),
            }


def summary(lines: list[dict]) -> None:
    """Percent; of accuracies also minus uniform's of the same seed: mean and standard error."""
    keys = ("share", "epochs", "arm", "pool")
    found = {(*(line[key] for key in keys), line["seed"]): line for line in lines}
    print(f"{len({key[-1] for key in found})} seeds\n")
    header = ["wrong labels", "epochs", "arm", "pool", "trained on wrong ones", "accuracy", "minus uniform", "better"]
    table = []
    for key in dict.fromkeys(key[:-1] for key in found):
        of_arm = {seed: line for (*arm, seed), line in found.items() if tuple(arm) == key}
        base = {seed: found.get((*key[:2], "uniform", "-", seed)) for seed in of_arm}
        pairs = [100 * (of_arm[seed]["accuracy"] - line["accuracy"]) for seed, line in base.items() if line]
        compared = key[2] != "uniform" and pairs
        table.append(
            [
                f"{key[0]:.0%}",
                *key[1:],
                spread([100 * line["wrong"] for line in of_arm.values()]),
                spread([100 * line["accuracy"] for line in of_arm.values()]),
                spread(pairs, sign="+") if compared else None,
                f"{sum(pair > 0 for pair in pairs)} of {len(pairs)}" if compared else None,
            ]
        )
    print_table(header, table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--output", type=Path, default=Path("learned_losses.jsonl"))
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--tested", type=int, default=1000, help="of the rows")
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, nargs="+", default=[15])
    parser.add_argument("--summary", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines = read_lines(args.output)
    if args.summary:
        return summary(lines)
    matrix, labels = embedded("agnews", args.data, args.output.parent, args.rows)
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        for share in SHARES:
            same = [line for line in lines if (line["share"], line["seed"]) == (share, seed)]
            done = {(line["epochs"], line["arm"], line["pool"]) for line in same}
            for line in runs(matrix, labels, args.tested, args.epochs, share, seed, done):
                with args.output.open("a") as output:
                    output.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
