"""One training: equal seeds give equal weights, masks and augmentations at every step, whatever rows the arm draws."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from benchmarks.evidence.config import Experiment
from benchmarks.evidence.data import Rows
from benchmarks.evidence.tasks import TASKS
from hf_curriculum import CurriculumSampler

_WARMUP_SHARE = 0.05

Loss = Callable[[torch.Tensor, torch.Tensor, np.random.Generator], torch.Tensor]
"""Inputs, labels, and the chance of a step."""


def mixed_precision(device: torch.device) -> torch.autocast:
    """16 bits on a GPU."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def fit(
    trained: nn.Module, loss: Loss, sampler: CurriculumSampler, rows: Rows, experiment: Experiment, seed: int
) -> Iterator[int]:
    """Train; after the start and every step, yield how many steps are done."""
    steps = sampler.total_steps
    assert steps is not None
    weights = [weight for weight in trained.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, experiment.learning_rate, betas=(0.9, 0.95), weight_decay=0.05, fused=True)
    schedule = LambdaLR(optimizer, lambda step: learning_rate_share(step, steps, experiment.decay))
    task = TASKS[experiment.task]
    for step in range(steps):
        yield step
        rng = np.random.default_rng([seed, step])
        drawn = rows.take(torch.from_numpy(sampler.indices(step)).to(rows.labels.device))
        inputs = task.augment(drawn.inputs, rng, shift=experiment.shift, flip=experiment.flip)
        with mixed_precision(inputs.device):
            value = loss(inputs, drawn.labels, rng)
        value.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    yield steps


def learning_rate_share(step: int, steps: int, decay: str) -> float:
    """Share of the peak: a linear rise, then a cosine to 0, or the peak for ever."""
    warmup = max(1, round(_WARMUP_SHARE * steps))
    if step < warmup:
        return (step + 1) / warmup
    if decay == "none":
        return 1.0
    return (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup))) / 2


def evaluation_steps(steps: int, evaluations: int) -> set[int]:
    """The start, and evenly spaced numbers of steps up to the end."""
    return {round(steps * i / evaluations) for i in range(evaluations + 1)}
