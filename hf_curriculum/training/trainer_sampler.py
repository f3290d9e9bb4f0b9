"""Samplers that start where their trainer stands."""

import weakref
from collections.abc import Iterator
from itertools import repeat
from typing import TYPE_CHECKING, Any

from hf_curriculum.training.versions import VersionedSampler

if TYPE_CHECKING:
    from transformers import Trainer


class TrainerClock:
    """The optimiser step at which a trainer stands.

    A sampler must not hold its trainer, which holds the sampler: the model, and the workers of the loader, would wait
    for the garbage collector.

    Args:
        trainer: Whose state counts the steps.
    """

    def __init__(self, trainer: "Trainer") -> None:
        self._trainer = weakref.ref(trainer)

    @property
    def step(self) -> int:
        """The step; 0 for a loader whose trainer is gone."""
        trainer = self._trainer()
        return 0 if trainer is None else int(trainer.state.global_step)


class TrainerSampler(VersionedSampler):
    """Starts where its trainer stands.

    The trainer's own step is the clock, since ``set_epoch`` does not always arrive: with two or more processes, a run
    resumed inside an epoch wraps the batch sampler twice, and it stops short of the sampler (accelerate 1.15;
    accelerate pull request 4071).

    Args:
        clock: Of the trainer.
        *args: Those of :class:`CurriculumSampler`.
        **kwargs: Those of :class:`CurriculumSampler`.

    Attributes:
        resumed_step: Step at which a run was resumed whose loader skips the batches before it.
    """

    def __init__(self, clock: TrainerClock, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._clock = clock
        self.resumed_step: int | None = None

    def plan(self, total_steps: int, warmup_steps: int) -> None:
        """Take the length of the training that begins, which a subclass that joins loaders makes longer.

        Args:
            total_steps: Optimiser steps of the training.
            warmup_steps: Optimiser steps of its warm-up.
        """
        self.total_steps, self.warmup_steps = total_steps, warmup_steps
        self._blocks.clear()
        self._windows.clear()

    def begun(self, step: int) -> int:
        """Steps of this sampler that have been started before a step of the trainer: as many."""
        return step

    def __len__(self) -> int:
        return self.steps_per_epoch * self.total_batch_size

    def __iter__(self) -> Iterator[int]:
        step = self._clock.step
        # The loader of a resumed run throws the rows of its epoch's earlier steps away: nothing is drawn for them.
        skipped = step % self.steps_per_epoch if step == self.resumed_step else 0
        self.resumed_step = None
        yield from repeat(0, skipped * self.total_batch_size)
        yield from self._steps(step, step - skipped + self.steps_per_epoch)
