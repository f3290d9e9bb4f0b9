"""Trainings whose difficulties follow the losses of a small classifier; as a script, for tests that start processes.

``python worker_learning.py '[{"out": ..., "batch": 4}, ...]'`` calls :func:`train` with each set of options in turn.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from launching import end_group
from torch.nn.functional import cross_entropy
from transformers import TrainerCallback, TrainingArguments

from hf_curriculum import CurriculumConfig, CurriculumTrainer, LearnedDifficulty

RANK = int(os.environ.get("RANK", 0))
ROWS, STEPS, EVERY = 40, 33, 5


class Classifier(torch.nn.Module):
    """A linear classifier that notes the step, the rows of a batch and their losses before it learns from them."""

    def __init__(self, path, pause=0.0):
        super().__init__()
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(4, 3)
        self.path, self.pause, self.step = path, pause, 0

    def forward(self, row, x, labels):
        logits = self.linear(x)
        losses = cross_entropy(logits, labels, reduction="none")
        with self.path.open("a") as file:
            file.write(json.dumps([self.step, row.tolist(), losses.tolist()]) + "\n")
        time.sleep(self.pause)
        return {"loss": losses.mean(), "logits": logits}


class Follow(TrainerCallback):
    def __init__(self, stop):
        self.stop = stop

    def on_step_begin(self, args, state, control, model, **kwargs):
        model.step = state.global_step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.stop:
            control.should_training_stop = control.should_save = True


def noted(out, processes) -> list[list[tuple[int, float]]]:
    """Rows and losses of each step, of all processes; of a step that was trained twice, the last time."""
    steps = [[] for _ in range(STEPS)]
    ranks = [(Path(out) / f"rows-{rank}.jsonl").read_text().splitlines() for rank in range(processes)]
    batches = [[json.loads(line) for line in rank] for rank in ranks]
    for parts in zip(*batches, strict=True):
        step = parts[0][0]
        rows, losses = (sum((part[place] for part in parts), []) for place in (1, 2))
        steps[step] = steps[step][-8 + len(rows) :] + list(zip(rows, losses, strict=True))
    return [step[-8:] for step in steps]


def make(out, *, batch, source="loss", every=EVERY, curriculum=None, stop=None, pause=0.0, stream=False, learned=None,
         **changed):  # fmt: skip
    """A trainer that accumulates the batches of 8 rows, ready to train."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    columns = {
        "row": range(ROWS),
        "x": rng.normal(size=(ROWS, 4)).astype(np.float32),
        "labels": rng.integers(0, 3, ROWS),
    }
    dataset = Dataset.from_dict(columns)
    if stream:
        dataset = dataset.add_column("difficulty", rng.random(ROWS)).to_iterable_dataset()
    settings = {
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": 2,
        "max_steps": STEPS,
        "learning_rate": 0.05,
        "logging_steps": 4,
        "report_to": "none",
        "save_strategy": "steps" if "save_steps" in changed else "no",
        "use_cpu": True,
        "disable_tqdm": True,
        "seed": 7,
    }
    return CurriculumTrainer(
        model=Classifier(out / f"rows-{RANK}.jsonl", pause),
        args=TrainingArguments(output_dir=str(out), **(settings | changed)),
        train_dataset=dataset,
        curriculum=CurriculumConfig(**(curriculum or {})),
        learned_difficulty=learned or LearnedDifficulty(source, every=every),
        callbacks=[Follow(stop)],
    )


def train(out, *, resume=None, **settings):
    trainer = make(out, **settings)
    trainer.train(resume_from_checkpoint=resume)
    logs = [log for log in trainer.state.log_history if "loss" in log]
    (Path(out) / f"logs-{RANK}.json").write_text(json.dumps(logs))
    return trainer


if __name__ == "__main__":
    for run in json.loads(sys.argv[1]):
        train(**run)
    end_group()
