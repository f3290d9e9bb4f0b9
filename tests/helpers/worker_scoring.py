"""``python worker_scoring.py OUT`` scores rows that have embeddings, and keeps what each rank has."""

import atexit
import os
import sys
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset

from hf_curriculum import add_difficulty
from hf_curriculum.scoring.points import Points

RANK = os.environ.get("RANK", 0)
SCORES = ("cluster", "distance", "difficulty")
RUNS = {
    "plain": {"n_clusters": 12},
    "chosen": {"normalize": "rank"},
    "classes": {"n_clusters": 5, "label_column": "label", "measure": "distance"},
    "margin": {"label_column": "label"},
}


def rows():
    """More than the processes would not divide, with classes of thousands of rows and of three."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(12, 8))
    embedding = centres[np.arange(7000) % 12] + 0.3 * rng.normal(size=(7000, 8))
    return Dataset.from_dict({"embedding": embedding.astype(np.float32), "label": [0] * 4000 + [1] * 2997 + [2] * 3})


def note_group():
    Path(sys.argv[1], f"group-{RANK}").write_text(str(torch.distributed.is_initialized()))


if __name__ == "__main__":
    atexit.register(note_group)  # what is registered first is called last
    for name, options in RUNS.items():
        scored = add_difficulty(rows(), **options)
        columns = {column: np.array(scored[column][:]) for column in SCORES}
        share = len(Points.of([np.zeros((len(scored), 1))], shared=True).share)
        np.savez(f"{sys.argv[1]}/{name}-{RANK}.npz", share=share, **columns)
