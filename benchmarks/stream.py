"""What does a curriculum on a stream cost, beside reading the stream, and beside other ways to draw from it?

    python benchmarks/stream.py [--rows 60000] [--resume 100 1000 10000]

- "rows out a second": of the stream with the curriculum, at an effective fraction that stays, beside a ``map`` that
  changes nothing; rows of two numbers, from Arrow files in 8 shards, in turns, best of 3.
- "read": rows read for each that comes out; "accept": a row comes out with probability ``exp(-(d - d_min) / tau)``;
  "at most once": with ``min(1, w / E[w])``. Their mean difficulty beside that of draws with replacement.
- "memory": growth of numpy's and Python's allocations while the stream is read, at its peak.
- "first batch": from the start of ``train`` to the first batch of a run resumed at such a step, beside ``Trainer``,
  which reads all of it again; a batch has 32 rows.
"""

import argparse
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from report import print_json, print_table
from transformers import Trainer, TrainerCallback, TrainingArguments

from hf_curriculum import CurriculumConfig, CurriculumTrainer, curriculum_stream, solve_temperature
from hf_curriculum.data import difficulty_quantiles

BATCH, SHARDS, REPEATS = 32, 8, 3
FRACTIONS = (0.15, 0.3, 0.5)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--resume", type=int, nargs="*", default=[100, 1000, 10_000], help="steps")
    args = parser.parse_args()
    difficulty = np.random.default_rng(0).beta(2, 3, args.rows).astype(np.float32)
    draws = {fraction: measure(difficulty, fraction) for fraction in FRACTIONS}
    print_table(
        ["fraction", "rows out a second, beside map", "read: ours", "accept", "at most once", "memory, MB"],
        [
            [
                fraction,
                f"{d['ratio']:.2f}",
                f"{d['read']:.2f}",
                f"{d['accept']:.1f}",
                f"{d['once']:.1f}",
                f"{d['mb']:.1f}",
            ]
            for fraction, d in draws.items()
        ],
    )
    print_table(
        ["fraction", "mean difficulty: ours", "accept", "at most once", "with replacement"],
        [[fraction, *(f"{value:.3f}" for value in d["means"])] for fraction, d in draws.items()],
    )
    kinds = (Trainer, CurriculumTrainer)
    resumed = {step: {kind.__name__: first_batch(kind, step) for kind in kinds} for step in args.resume}
    print_table(
        ["resumed at step", "first batch: Trainer, s", "CurriculumTrainer, s"],
        [[step, *(f"{seconds:.2f}" for seconds in times.values())] for step, times in resumed.items()],
    )
    print_json({"draws": draws, "resumed": resumed})


def stream_of(difficulty):
    rows = {"row": range(len(difficulty)), "difficulty": difficulty}
    return Dataset.from_dict(rows).to_iterable_dataset(num_shards=SHARDS)


def measure(difficulty, fraction):
    config = CurriculumConfig(initial_fraction=fraction, final_fraction=fraction, warmup_steps=1.0)
    plain = stream_of(difficulty)
    drawn = curriculum_stream(
        plain,
        config,
        total_batch_size=256,
        total_steps=-(-len(difficulty) // 256),
        quantiles=difficulty_quantiles(difficulty),
    )
    unchanged = plain.map(lambda rows: rows, batched=True, batch_size=4096)
    rates = [(rows_a_second(drawn), rows_a_second(unchanged)) for _ in range(REPEATS)]
    ours, reference = np.max(rates, axis=0)
    rows = np.array([row["row"] for row in drawn])
    tracemalloc.start()
    for _ in drawn:
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    means, read = other_ways(difficulty.astype(float), fraction)
    return {
        "ratio": ours / reference,
        "rows_a_second": ours,
        "read": len(difficulty) / len(rows),
        **read,
        "mb": peak / 2**20,
        "means": [float(difficulty[rows].mean()), *means],
    }


def rows_a_second(stream):
    start = time.perf_counter()
    count = sum(1 for _ in stream)
    return count / (time.perf_counter() - start)


def other_ways(scores, fraction):
    """Mean difficulty of what each way draws, and rows read for one that it draws."""
    weights = np.exp(-(scores - scores.min()) / solve_temperature(scores, fraction))
    once = np.minimum(1, weights / weights.mean())
    means = [weights @ scores / weights.sum(), once @ scores / once.sum(), weights @ scores / weights.sum()]
    return means, {"accept": 1 / weights.mean(), "once": 1 / once.mean()}


class OneWeight(torch.nn.Module):
    """Regression on one weight, that notes when its first batch came."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.first = None

    def forward(self, row):
        """The loss."""
        self.first = self.first or time.perf_counter()
        return {"loss": ((self.weight - row * 1e-6) ** 2).mean()}


class Stop(TrainerCallback):
    """Ends the training at a step, with a checkpoint."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        """See ``TrainerCallback``."""
        control.should_training_stop = control.should_save = state.global_step >= self.step


def first_batch(trainer_class, step):
    """Seconds from the start of a resumed training to its first batch."""
    difficulty = np.random.default_rng(0).beta(2, 3, BATCH * step * 2).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        for stop, resume in ((step, None), (step + 1, str(Path(folder) / f"checkpoint-{step}"))):
            model = OneWeight()
            args = TrainingArguments(
                folder,
                per_device_train_batch_size=BATCH,
                max_steps=2 * step,
                save_strategy="no",
                report_to="none",
                use_cpu=True,
                disable_tqdm=True,
                logging_strategy="no",
            )
            trainer = trainer_class(
                model=model, args=args, train_dataset=stream_of(difficulty), callbacks=[Stop(stop)]
            )
            start = time.perf_counter()
            trainer.train(resume_from_checkpoint=resume)
        return model.first - start


if __name__ == "__main__":
    main()
