"""One training: equal seeds give equal weights, masks and augmentations at every step, whatever rows the arm draws."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.evidence.config import Experiment
from benchmarks.evidence.data import Rows
from benchmarks.evidence.tasks import TASKS, sent
from hf_curriculum import CurriculumSampler

_WARMUP_SHARE = 0.05

Loss = Callable[[torch.Tensor, torch.Tensor, np.random.Generator], torch.Tensor]
"""Inputs, labels, and the chance of a step."""


def mixed_precision(device: torch.device) -> torch.autocast:
    """16 bits on a GPU."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


class Training:
    """One training. To walk through it trains: it yields how many steps are done, at once and after every step.

    Args:
        trained: What has the weights.
        loss: Of a batch.
        sampler: Rows of each step, and how many steps there are.
        rows: What is trained on.
        experiment: What the runs share.
        seed: Seed of masks and augmentations.
    """

    def __init__(
        self, trained: nn.Module, loss: Loss, sampler: CurriculumSampler, rows: Rows, experiment: Experiment, seed: int
    ) -> None:
        assert sampler.total_steps is not None
        self.done, self.steps = 0, sampler.total_steps
        self._trained, self._loss, self._sampler, self._rows = trained, loss, sampler, rows
        self._experiment, self._seed = experiment, seed
        weights = [weight for weight in trained.parameters() if weight.requires_grad]
        self._optimizer = torch.optim.AdamW(
            weights, experiment.learning_rate, betas=(0.9, 0.95), weight_decay=0.05, fused=True
        )

    def __iter__(self) -> Iterator[int]:
        yield self.done
        while self.done < self.steps:
            self._step(self.done)
            self.done += 1
            yield self.done

    def _step(self, step: int) -> None:
        experiment, device = self._experiment, self._rows.labels.device
        rng = np.random.default_rng([self._seed, step])
        drawn = self._rows.take(sent(self._sampler.indices(step), device))
        inputs = TASKS[experiment.task].augment(drawn.inputs, rng, shift=experiment.shift, flip=experiment.flip)
        with mixed_precision(device):
            value = self._loss(inputs, drawn.labels, rng)
        value.backward()
        share = learning_rate_share(step, self.steps, experiment.decay)
        self._optimizer.param_groups[0]["lr"] = experiment.learning_rate * share
        self._optimizer.step()
        self._optimizer.zero_grad()

    def state(self) -> dict[str, Any]:
        """All that the steps that come depend on, beside the arguments."""
        return {
            "done": self.done,
            "weights": self._trained.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "chance": self._chance().get_state(),
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state` of a training with the same arguments."""
        self.done = state["done"]
        self._trained.load_state_dict(state["weights"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._chance().set_state(state["chance"])

    def _chance(self) -> torch.Generator:
        """Of the device; an evaluation asks it, as an MAE shuffles its patches even where it hides none."""
        labels = self._rows.labels
        return torch.cuda.default_generators[labels.get_device()] if labels.is_cuda else torch.default_generator


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
