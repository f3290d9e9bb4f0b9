"""Prompts of a generation batch, chosen by the curriculum and repeated as TRL repeats them."""

import math
from collections.abc import Iterator
from itertools import chain, count, islice, repeat
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from torch.utils.data import RandomSampler, Sampler

from hf_curriculum.training.config import CurriculumConfig
from hf_curriculum.training.trainer_sampler import TrainerClock, TrainerSampler

if TYPE_CHECKING:
    from transformers import Trainer


def repeats(theirs: Sampler[int] | None, trainer: "Trainer") -> bool:
    """Whether a trainer's own sampler is the one with which TRL repeats prompts.

    Args:
        theirs: The sampler.
        trainer: Whose it is.

    Returns:
        ``False`` if it is that of a plain ``Trainer``.

    Raises:
        TypeError: If it is any other.
    """
    if type(theirs).__name__ == "RepeatSampler":
        return True
    if isinstance(theirs, RandomSampler):
        return False
    raise TypeError(
        f"{type(trainer).__name__} reads its rows in an order of its own, by a {type(theirs).__name__}, which a "
        "curriculum would break. TRL's KTOTrainer does so where its loss estimates a KL divergence, and older "
        "releases of it always: choose loss_type='apo_zero_unpaired' with a recent TRL."
    )


class GroupSampler(TrainerSampler):
    """Rows for TRL's trainers that generate: a step of this sampler is a generation batch, its rows are the prompts.

    TRL's ``RepeatSampler`` decides how often, and in which order, a generation batch hands out each of its prompts:
    ``num_generations`` times, so that they make a group, and all of that again for each batch of the loader that the
    generation is used for. An epoch is as long as TRL's, at least one generation batch. The schedule's clock is the
    optimiser step at which a generation batch starts.

    Args:
        trainer: Whose step is the clock.
        theirs: TRL's sampler for the training data.
        difficulty: As for :class:`CurriculumSampler`.
        config: The curriculum.
        total_steps: Optimiser steps of the training, 0 or less if ``num_train_epochs`` decides.
        seed: Seed of the draws, used where ``config.seed`` is ``None``.

    Attributes:
        total_batch_size: Prompts of a generation batch.
        uses: Batches of the loader that a generation batch is used for.
        steps_per_epoch: Optimiser steps of an epoch.
        warmup_steps: Length of the warm-up in generation batches.
        resumed_step: Optimiser step at which a run was resumed whose loader skips the batches before it.
    """

    def __init__(
        self,
        trainer: "Trainer",
        theirs: Any,
        difficulty: ArrayLike | None,
        config: CurriculumConfig,
        *,
        total_steps: int,
        seed: int,
    ) -> None:
        args = trainer.args
        self._accumulation = args.gradient_accumulation_steps
        self.uses = theirs.repeat_count
        self._pattern = np.fromiter(
            type(theirs)(
                range(theirs.batch_size),
                mini_repeat_count=theirs.mini_repeat_count,
                batch_size=theirs.batch_size,
                repeat_count=theirs.repeat_count,
                shuffle=False,
            ),
            np.int64,
        )
        self._batches_per_epoch = max(1, len(theirs.data_source) // theirs.batch_size) * self.uses
        steps_per_epoch = math.ceil(self._batches_per_epoch / self._accumulation)
        super().__init__(
            TrainerClock(trainer),
            difficulty,
            config,
            total_batch_size=theirs.batch_size,
            total_steps=total_steps if total_steps > 0 else math.ceil(args.num_train_epochs * steps_per_epoch),
            steps_per_epoch=steps_per_epoch,
            rows=len(theirs.data_source) if difficulty is None else None,
            seed=seed,
        )
        self.warmup_steps = self.begun(self.warmup_steps)

    def plan(self, total_steps: int, warmup_steps: int) -> None:
        """Take the length of the training that begins.

        Args:
            total_steps: Optimiser steps of the training.
            warmup_steps: Optimiser steps of its warm-up; kept as generation batches.
        """
        super().plan(total_steps, self.begun(warmup_steps))

    def settings(self) -> dict[str, int]:
        """What decides, beside the settings of any curriculum, which prompts an optimiser step sees; for JSON."""
        return {
            "num_generations": self._pattern.size // (self.uses * self.total_batch_size),
            "uses": self.uses,
            "gradient_accumulation_steps": self._accumulation,
        }

    def batches(self, step: int) -> int:
        """Batches of the loader before an optimiser step; the last step of an epoch may have fewer than others."""
        epoch, step = divmod(step, self.steps_per_epoch)
        return epoch * self._batches_per_epoch + step * self._accumulation

    def begun(self, step: int) -> int:
        """Generation batches that have been started before an optimiser step."""
        return math.ceil(self.batches(step) / self.uses)

    def align(self, trainer: Any, step: int) -> None:
        """Make TRL generate where a generation batch starts, in a run that begins inside one, too.

        TRL counts from the batch at which a process starts: it would go on to generate in the middle of each
        generation batch, and use the rest of it for other prompts.

        Args:
            trainer: TRL's.
            step: Optimiser step at which the run begins.
        """
        trainer._step = self.batches(step)
        trainer._buffered_inputs = None

    def __len__(self) -> int:
        return self._batches_per_epoch * self._rows_per_batch

    @property
    def _rows_per_batch(self) -> int:
        return self._pattern.size // self.uses

    def __iter__(self) -> Iterator[int]:
        step = self._clock.step
        start = self.batches(step)
        # The loader of a resumed run throws the rows of its epoch's earlier steps away: nothing is drawn for them.
        skipped = start % self._batches_per_epoch if step == self.resumed_step else 0
        self.resumed_step = None
        generation, used = divmod(start, self.uses)
        planned = chain.from_iterable(self.indices(g)[self._pattern].tolist() for g in count(generation))
        first, last = used, used + self._batches_per_epoch - skipped
        yield from repeat(0, skipped * self._rows_per_batch)
        yield from islice(planned, first * self._rows_per_batch, last * self._rows_per_batch)
