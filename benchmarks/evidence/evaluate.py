"""How good a model is: k-NN and a linear probe on frozen features, and its loss, all without a seed."""

from dataclasses import dataclass
from statistics import mean
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize, one_hot

from benchmarks.evidence.data import Rows
from benchmarks.evidence.tasks import Classifier, Task
from benchmarks.evidence.train import mixed_precision

_NEIGHBOURS, _TEMPERATURE = 20, 0.07
_RIDGE = 1e-3
_BATCH = 500
_CHANCE = 1_000_033  # masks of the evaluation: the same in all runs, and of no training


@dataclass(frozen=True)
class Metric:
    """A figure: its title, and 1 where more is better, -1 where less is."""

    title: str
    sign: int = 1


METRICS = {
    "knn": Metric("20-NN"),
    "probe": Metric("linear probe"),
    "accuracy": Metric("accuracy"),
    "loss": Metric("held-out loss", -1),
}


@torch.no_grad()
def quality(task: Task, model: Any, bank: Rows, queries: Rows) -> dict[str, float]:
    """The task's metrics on the queries; k-NN and probe learn from the bank."""
    found = {"loss": loss(task, model, queries)}
    if isinstance(task, Classifier):
        logits = torch.cat([task.logits(model, part.inputs) for part in queries.split(_BATCH)])
        return found | {"accuracy": _share(logits.argmax(dim=1), queries.labels)}
    known, asked = standardised(encode(task, model, bank.inputs), encode(task, model, queries.inputs))
    guesses = {"knn": knn(known, bank.labels, asked), "probe": probe(known, bank.labels, asked)}
    return found | {name: _share(guess, queries.labels) for name, guess in guesses.items()}


@torch.no_grad()
def encode(task: Task, model: Any, inputs: torch.Tensor) -> torch.Tensor:
    """Features of all rows, float32, shape ``(n, width)``."""
    with mixed_precision(inputs.device):
        return torch.cat([task.features(model, part) for part in inputs.split(_BATCH)])


@torch.no_grad()
def loss(task: Task, model: Any, rows: Rows) -> float:
    """The training's own loss on rows, with masks that are the same each time; mean over the batches."""
    with mixed_precision(rows.inputs.device):
        losses = [
            task.loss(model, part.inputs, part.labels, np.random.default_rng([_CHANCE, i]))
            for i, part in enumerate(rows.split(_BATCH))
        ]
    return mean(torch.stack(losses).tolist())  # asked for at the end, so that a GPU does not wait after each


def standardised(known: torch.Tensor, asked: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both in units in which each dimension of the known has mean 0 and deviation 1, as the scorer does it."""
    centre, scale = known.mean(dim=0), known.std(dim=0) + 1e-6
    return (known - centre) / scale, (asked - centre) / scale


def knn(known: torch.Tensor, labels: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
    """Labels by a vote of the 20 nearest in cosine, weighted by ``exp(cosine / 0.07)``.

    Source:
        Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", CVPR 2018.
    """
    cosine, nearest = (normalize(asked) @ normalize(known).T).topk(_NEIGHBOURS)
    votes = one_hot(labels[nearest]) * (cosine / _TEMPERATURE).exp()[:, :, None]
    return votes.sum(dim=1).argmax(dim=1)


def probe(known: torch.Tensor, labels: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
    """Labels by ridge regression from standardised features to the classes, in closed form."""
    known, asked = known.double(), asked.double()
    targets = one_hot(labels).double()
    gram = known.T @ known + _RIDGE * len(known) * torch.eye(known.shape[1], dtype=known.dtype, device=known.device)
    weights = torch.linalg.solve(gram, known.T @ (targets - targets.mean(dim=0)))
    return (asked @ weights + targets.mean(dim=0)).argmax(dim=1)


def _share(guess: torch.Tensor, labels: torch.Tensor) -> float:
    return (guess == labels).float().mean().item()
