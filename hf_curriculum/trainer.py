"""Put a curriculum in front of ``transformers.Trainer``."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import Dataset
from torch.utils.data import Sampler
from transformers import Seq2SeqTrainer, Trainer, TrainerCallback

from hf_curriculum.columns import read_difficulty, require_dataset
from hf_curriculum.config import CurriculumConfig
from hf_curriculum.sampler import CurriculumSampler

if TYPE_CHECKING:
    from transformers import Trainer as _Base  # whose attributes the mixin uses
else:
    _Base = object


class CurriculumMixin(_Base):
    """Draws the training rows of any ``Trainer`` subclass by a curriculum; list it before that class.

    ``class MyTrainer(CurriculumMixin, Seq2SeqTrainer): ...`` is a whole integration. Every training log gains
    ``curriculum/effective_fraction`` and, during the warm-up, ``curriculum/temperature`` of the step just trained,
    and ``curriculum/mean_difficulty`` of the rows drawn since the log before.
    An epoch has as many steps as a plain ``Trainer`` would take, all with full batches.

    Args:
        curriculum: The curriculum; default ``CurriculumConfig()``. All other arguments go to the next class.

    Attributes:
        curriculum_sampler: The :class:`CurriculumSampler` of the training; ``None`` before ``train()``.

    Raises:
        TypeError: If ``train_dataset`` is not a ``datasets.Dataset``.
        ValueError: If it lacks the difficulty column or that column cannot rank rows, or if the training arguments ask
            for another order of rows.
    """

    def __init__(self, *args: Any, curriculum: CurriculumConfig | None = None, **kwargs: Any) -> None:
        self.curriculum = curriculum or CurriculumConfig()
        self.curriculum_sampler: CurriculumSampler | None = None
        self._logged_step = 0
        super().__init__(*args, **kwargs)
        if self.train_dataset is not None:
            require_dataset(self.train_dataset)
            read_difficulty(self.train_dataset, self.curriculum.difficulty_column)
        strategy = getattr(self.args, "train_sampling_strategy", "random")
        if getattr(self.args, "group_by_length", False) or strategy != "random":
            raise ValueError(
                "The curriculum decides which rows a batch holds: it cannot be combined with group_by_length or "
                f"train_sampling_strategy={strategy!r}. Leave both at their defaults."
            )
        self.add_callback(_KeepStep(self))

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler[int]:
        # `train_dataset` has already lost the columns that the model does not take, the difficulty among them;
        # `self.train_dataset` still has it, with the rows in the same order.
        self._difficulty = read_difficulty(self.train_dataset, self.curriculum.difficulty_column)
        steps_per_epoch = self._steps_per_epoch(self._difficulty.size)
        total_steps = self.args.max_steps
        if total_steps <= 0:
            total_steps = math.ceil(self.args.num_train_epochs * steps_per_epoch)
        self.curriculum_sampler = CurriculumSampler(
            self._difficulty,
            self.curriculum,
            total_batch_size=self._total_batch_size(),
            total_steps=total_steps,
            steps_per_epoch=steps_per_epoch,
            seed=self.args.seed if self.args.data_seed is None else self.args.data_seed,
        )
        return self.curriculum_sampler

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log ``logs`` as ``Trainer`` does; training logs gain the state of the curriculum."""
        if self.curriculum_sampler is not None and "loss" in logs:
            logs |= self._curriculum_logs(self.curriculum_sampler)
        super().log(logs, *args, **kwargs)

    def _curriculum_logs(self, sampler: CurriculumSampler) -> dict[str, float]:
        first, self._logged_step = self._logged_step, self.state.global_step
        step = self._logged_step - 1
        logs = {"curriculum/effective_fraction": sampler.effective_fraction(step)}
        temperature = sampler.temperature(step)
        if math.isfinite(temperature):  # JSON, and so trainer_state.json, knows no infinity
            logs["curriculum/temperature"] = temperature
        if first <= step:
            drawn = np.concatenate([sampler.indices(s) for s in range(first, step + 1)])
            logs["curriculum/mean_difficulty"] = float(self._difficulty[drawn].mean(dtype=np.float64))
        return logs

    def _total_batch_size(self) -> int:
        """Rows that all processes together take in one optimiser step."""
        total = int(self.get_total_train_batch_size(self.args))
        return total // self.accelerator.num_processes if self.accelerator.split_batches else total

    def _steps_per_epoch(self, rows: int) -> int:
        """Optimiser steps that a plain ``Trainer`` takes for one pass over ``rows``."""
        batches = rows * self.args.gradient_accumulation_steps / self._total_batch_size()
        whole = math.floor(batches) if self.args.dataloader_drop_last else math.ceil(batches)
        return max(1, math.ceil(whole / self.args.gradient_accumulation_steps))


class _KeepStep(TrainerCallback):
    """Tells the sampler its epoch, also where Accelerate does not, and the logs where a resumed run starts.

    With two or more processes, a run resumed inside an epoch wraps the batch sampler twice and ``set_epoch`` stops
    short of the sampler (accelerate 1.15, transformers 5.23; accelerate pull request 4071).
    """

    def __init__(self, trainer: CurriculumMixin) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer._logged_step = state.global_step

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        sampler = self.trainer.curriculum_sampler
        if sampler is not None:
            sampler.set_epoch(state.global_step // sampler.steps_per_epoch)


class CurriculumTrainer(CurriculumMixin, Trainer):
    """A ``transformers.Trainer`` that learns prototypes first."""


class CurriculumSeq2SeqTrainer(CurriculumMixin, Seq2SeqTrainer):
    """A ``transformers.Seq2SeqTrainer`` that learns prototypes first."""
