"""Put a curriculum in front of ``transformers.Trainer``."""

import logging
import math
from typing import Any

import numpy as np
from datasets import Dataset, IterableDataset
from numpy.typing import ArrayLike
from torch.utils.data import BatchSampler, DataLoader, Sampler
from transformers import Seq2SeqTrainer, Trainer

from hf_curriculum.data import SCORES, hide_columns, read_difficulty
from hf_curriculum.training.config import CurriculumConfig, require_config
from hf_curriculum.training.coverage import Coverage
from hf_curriculum.training.given_difficulty import check_given, require_column_of, with_difficulty
from hf_curriculum.training.groups import GroupSampler, repeats
from hf_curriculum.training.lengths import read_lengths
from hf_curriculum.training.resumable import Resumable, owner
from hf_curriculum.training.resume import Beginning
from hf_curriculum.training.stream import require_difficulty
from hf_curriculum.training.stream_training import StreamTraining
from hf_curriculum.training.trainer_sampler import TrainerClock, TrainerSampler

logger = logging.getLogger(__name__)
_ORDERS_OF_ROWS = {  # the first is the default
    "train_sampling_strategy": ("random", "group_by_length"),
    "batch_sampler": ("batch_sampler",),  # of Sentence Transformers
}


class CurriculumMixin(Resumable):
    """Draws the training rows of any ``Trainer`` subclass by a curriculum; list it before that class.

    ``class MyTrainer(CurriculumMixin, Seq2SeqTrainer): ...`` is a whole integration. An epoch has as many steps as a
    plain ``Trainer`` would take, all with full batches. With ``group_by_length`` (transformers 4) or
    ``train_sampling_strategy="group_by_length"`` (5), the rows that 32 steps draw are batched by length.

    Every training log gains, of the step just trained, ``curriculum/effective_fraction`` and, during the warm-up,
    ``curriculum/temperature``; ``curriculum/mean_difficulty`` of the rows drawn since the log before; and the share of
    distinct rows drawn since the start of the training, ``curriculum/distinct_fraction`` as measured,
    ``curriculum/planned_distinct_fraction`` as the schedule expects it.

    A stream (``datasets.IterableDataset``) is read as often as ``max_steps`` needs, and its rows are handed on as
    often as the curriculum draws them, see :func:`curriculum_stream`; distinct fractions are then shares of the rows
    read so far, and ``curriculum/rows_read`` and ``curriculum/rows_per_row_read`` are logged too.

    In front of TRL's trainers that generate, as ``GRPOTrainer`` does, the curriculum chooses the prompts of a
    generation batch; TRL repeats them.

    A checkpoint keeps what decides the order of the rows, and a resumed run continues that order exactly. If the
    curriculum, the difficulties, the number of rows or the batch size have changed, ``train`` refuses to resume. A run
    of another length keeps its warm-up.

    Args:
        curriculum: The curriculum; default ``CurriculumConfig()``. All other arguments go to the next class.
        difficulty: One number a row, low = easy, instead of a difficulty column: for a ``Dataset``, or for any torch
            dataset that gives rows by number. Shape ``(N,)``; rows that are masked (``numpy.ma``) have none.
        allow_changed_resume: Resume in spite of such a change; the step count goes on under the new settings.

    Attributes:
        curriculum_sampler: The :class:`CurriculumSampler` of the training; ``None`` before ``train()``, and on a
            stream.

    Raises:
        TypeError: If ``train_dataset`` is neither a ``datasets.Dataset`` nor an ``IterableDataset``, nor comes with
            ``difficulty``, or ``curriculum``
            no :class:`CurriculumConfig`, or a stream is meant for a trainer that repeats its rows; where the class is
            defined, if the next class has a sampler of its own and is not one of TRL's; when training starts, if
            that class builds its batches without a sampler, or reads its rows in an order of its own.
        ValueError: If it lacks the difficulty column or that column cannot rank rows, or if the training arguments ask
            for another order of rows, or to pack them.
    """

    train_dataset: Any
    _hidden: set[str] = set()
    """Columns that the model is not shown, beside those that the next class removes."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        theirs = owner(cls, "_get_train_sampler")
        if theirs is None and issubclass(cls, Trainer):
            raise TypeError(f"List CurriculumMixin first: class {cls.__name__}(CurriculumMixin, ...).")
        if theirs not in (None, Trainer) and not theirs.__module__.startswith("trl.trainer."):
            raise TypeError(
                f"CurriculumMixin cannot stand in front of {theirs.__module__}.{theirs.__qualname__}, which chooses "
                "the rows of a step by itself (it has its own _get_train_sampler). Choose a trainer that leaves this "
                "to transformers.Trainer, or sort the dataset by difficulty and switch that trainer's shuffling off."
            )

    def __init__(
        self,
        *args: Any,
        curriculum: CurriculumConfig | None = None,
        difficulty: ArrayLike | None = None,
        allow_changed_resume: bool = False,
        **kwargs: Any,
    ) -> None:
        self.curriculum = require_config(curriculum, "curriculum")
        self.allow_changed_resume = allow_changed_resume
        self.curriculum_sampler: TrainerSampler | None = None
        self._stream: StreamTraining | None = None
        self._coverage: Coverage | None = None
        self._beginning: Beginning | None = None  # while a training runs
        self._given = None if difficulty is None else check_given(difficulty)
        if self._given is not None and (given := kwargs.get("train_dataset")) is not None:
            kwargs["train_dataset"] = with_difficulty(given, self._given, self.curriculum.difficulty_column)
        super().__init__(*args, **kwargs)
        self._check_arguments()
        if self._given is not None and self.train_dataset is not None:
            if kwargs.get("train_dataset") is None:
                raise TypeError("With difficulty=, pass train_dataset by its name.")
            if isinstance(self.train_dataset, Dataset):
                self._given = None  # a column from now on
            elif self.train_dataset is not kwargs["train_dataset"]:
                raise TypeError(
                    f"{type(self).__name__} has put other training data in the place of the "
                    f"{type(kwargs['train_dataset']).__name__}: its rows need not be those of difficulty=. Pass a "
                    "datasets.Dataset."
                )
        if self.train_dataset is not None:
            self._check_train_dataset()

    def _check_train_dataset(self) -> None:
        dataset = self.train_dataset
        if not isinstance(dataset, IterableDataset):
            self._read_difficulty()
            return
        if self._given is not None:
            with_difficulty(dataset, self._given, self.curriculum.difficulty_column)
        require_difficulty(dataset, self.curriculum.difficulty_column)
        theirs = owner(type(self), "_get_train_sampler")
        if theirs is not None and theirs is not Trainer:
            raise TypeError(
                f"A curriculum on a stream cannot hand rows to {theirs.__name__}, which repeats or orders them "
                "itself. Pass a datasets.Dataset: prompts are small."
            )
        if self._groups_by_length():
            raise ValueError("A stream's rows cannot be grouped by length: leave grouping by length off.")

    def _read_difficulty(self) -> np.ndarray:
        if self._given is not None:
            self.train_dataset = with_difficulty(self.train_dataset, self._given, self.curriculum.difficulty_column)
            if not isinstance(self.train_dataset, Dataset):
                return self._given
            self._given = None
        require_column_of(self.train_dataset)
        return read_difficulty(self.train_dataset, self.curriculum.difficulty_column)

    def _check_arguments(self) -> None:
        if getattr(self.args, "packing", False):
            raise ValueError(
                "packing=True merges rows, and merged rows have no difficulty of their own: set packing=False. "
                "To save padding, group rows by length: train_sampling_strategy='group_by_length' (transformers 5) or "
                "group_by_length=True (4)."
            )
        for option, choices in _ORDERS_OF_ROWS.items():
            if (value := getattr(self.args, option, choices[0])) not in choices:
                raise ValueError(
                    f"The curriculum decides which rows a batch holds: {option}={value!r} cannot be combined with it. "
                    f"Set it to one of {list(choices)}."
                )

        if self.accelerator.use_stateful_dataloader and self.args.dataloader_num_workers:
            # The rows of the first epoch would be those of step 0, or of the training before (accelerate issue 4204).
            raise ValueError(
                "With use_stateful_dataloader, accelerate starts the workers before the checkpoint is read, so a "
                "resumed run would draw the rows of other steps. Set dataloader_num_workers=0, or switch "
                "use_stateful_dataloader off: the curriculum resumes exactly without it."
            )

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The loader of the next class; of a stream, of the rows that the curriculum hands on, pass after pass."""
        if self.train_dataset is not None:  # it may have been set since
            self._check_train_dataset()
        stream = self.train_dataset
        if not isinstance(stream, IterableDataset):
            self._stream = None
            return super().get_train_dataloader()
        self.curriculum_sampler = None
        self._stream = StreamTraining(
            stream,
            self.curriculum,
            self.accelerator,
            workers=self.args.dataloader_num_workers,
            accumulation=self.args.gradient_accumulation_steps,
            total_batch_size=self._total_batch_size(),
            total_steps=self._planned_length(self.args.max_steps),
            seed=self._seed(),
        )
        hidden = self._hidden & {*(self._stream.dataset.column_names or ())}
        try:
            self.train_dataset = (
                self._stream.dataset.remove_columns(sorted(hidden)) if hidden else self._stream.dataset
            )
            with self._stream.loading():
                return super().get_train_dataloader()
        finally:
            self.train_dataset = stream

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """A step as the next class makes it; if the model does not take our scores, the error says what to do.

        Args:
            model: As for ``Trainer``.
            inputs: As for ``Trainer``.
            *args: Those of the next class.
            **kwargs: Those of the next class.

        Returns:
            The loss.

        Raises:
            TypeError: If the model does not take what the rows hold.
        """
        try:
            return super().training_step(model, inputs, *args, **kwargs)
        except TypeError as error:
            scores = {*SCORES, self.curriculum.difficulty_column}
            if not any(str(error).endswith(f"unexpected keyword argument '{name}'") for name in scores):
                raise
            raise TypeError(
                f"{error}. With remove_unused_columns=False the model gets every column, the scores too: leave them "
                "out in data_collator, set remove_unused_columns=True, or give the difficulties apart: "
                "train_dataset=dataset.remove_columns([...]), difficulty=dataset['difficulty'][:]."
            ) from error

    def _seed(self) -> int:
        return int(self.args.seed if self.args.data_seed is None else self.args.data_seed)

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler[int]:
        if self._beginning is not None and self.curriculum_sampler is not None:
            return self.curriculum_sampler  # of a training that has several loaders
        # `train_dataset` has already lost the columns that the model does not take, the difficulty among them;
        # `self.train_dataset` still has it, with the rows in the same order.
        self._difficulty = self._read_difficulty()
        self.curriculum_sampler = self._group_sampler() or self._row_sampler()
        return self.curriculum_sampler

    def _group_sampler(self) -> GroupSampler | None:
        """Where the next class repeats its rows in groups."""
        if owner(type(self), "_get_train_sampler") is Trainer:
            return None
        theirs = super()._get_train_sampler()
        if not repeats(theirs, self):
            return None
        return GroupSampler(
            self, theirs, self._difficulty, self.curriculum, total_steps=self.args.max_steps, seed=self._seed()
        )

    def _row_sampler(self) -> TrainerSampler:
        steps_per_epoch = self._steps_per_epoch(self._difficulty.size)
        total_steps = self.args.max_steps
        if total_steps <= 0:
            total_steps = math.ceil(self.args.num_train_epochs * steps_per_epoch)
        total_batch_size = self._total_batch_size()
        return TrainerSampler(
            TrainerClock(self),
            self._difficulty,
            self.curriculum,
            total_batch_size=total_batch_size,
            total_steps=total_steps,
            steps_per_epoch=steps_per_epoch,
            seed=self._seed(),
            lengths=self._lengths(),
            micro_batch_size=total_batch_size // self.args.gradient_accumulation_steps,
        )

    def preprocess_dataset(self, dataset: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Training and evaluation data without the scores: the hook of Sentence Transformers' trainers.

        They take every column as an input of the model. A difficulty column that is the label stays.

        Args:
            dataset: What is about to be trained or evaluated on.
            *args: Those of the next class.
            **kwargs: Those of the next class.

        Returns:
            What the next class makes of it, with rows that do not show the scores.
        """
        dataset = super().preprocess_dataset(dataset, *args, **kwargs)
        self._hidden = {*SCORES, self.curriculum.difficulty_column} - {*self.data_collator.valid_label_columns}
        return hide_columns(dataset, self._hidden)

    def get_batch_sampler(self, dataset: Dataset, batch_size: int, drop_last: bool, **kwargs: Any) -> BatchSampler:
        """Batches of the curriculum for the training data: the hook of Sentence Transformers' trainers.

        Args:
            dataset: To be batched; what is not the training data is left to the next class.
            batch_size: Rows of a batch.
            drop_last: Whether the last batch is dropped where it is not full.
            **kwargs: Those of the next class.

        Returns:
            The batches.
        """
        if dataset is not self.train_dataset:
            return super().get_batch_sampler(dataset, batch_size, drop_last, **kwargs)
        return BatchSampler(self._get_train_sampler(), batch_size, drop_last)

    def _groups_by_length(self) -> bool:
        strategy = getattr(self.args, "train_sampling_strategy", "random")
        return getattr(self.args, "group_by_length", False) or strategy == "group_by_length"

    def _lengths(self) -> np.ndarray | None:
        if not self._groups_by_length():
            return None
        if not isinstance(self.train_dataset, Dataset):
            raise ValueError("Grouping by length reads a column: pass a datasets.Dataset, or leave grouping off.")
        inputs = getattr(self.processing_class, "model_input_names", ["input_ids"])
        return read_lengths(self.train_dataset, self.args.length_column_name, inputs[0])

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log ``logs`` as ``Trainer`` does; training logs gain the state of the curriculum.

        Args:
            logs: Numbers by name; those of the curriculum are added in place.
            *args: Those of ``Trainer.log``.
            **kwargs: Those of ``Trainer.log``.
        """
        if self._stream is not None and "loss" in logs:
            logs |= self._stream.logs(self.state.global_step - 1)
        elif self.curriculum_sampler is not None and self._coverage is not None and "loss" in logs:
            logs |= self._curriculum_logs(self.curriculum_sampler, self._coverage)
        super().log(logs, *args, **kwargs)

    def _curriculum_logs(self, sampler: TrainerSampler, coverage: Coverage) -> dict[str, float]:
        step = sampler.begun(self.state.global_step) - 1
        logs = {"curriculum/effective_fraction": sampler.effective_fraction(step)}
        temperature = sampler.temperature(step)
        if math.isfinite(temperature):  # JSON, and so trainer_state.json, knows no infinity
            logs["curriculum/temperature"] = temperature
        rows = coverage.advance(step + 1)
        if rows.size and np.ma.count(difficulty := self._difficulty[rows]):
            logs["curriculum/mean_difficulty"] = float(difficulty.mean(dtype=np.float64))
        logs["curriculum/distinct_fraction"] = coverage.measured
        logs["curriculum/planned_distinct_fraction"] = coverage.planned
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


class CurriculumTrainer(CurriculumMixin, Trainer):
    """A ``transformers.Trainer`` that learns prototypes first."""


class CurriculumSeq2SeqTrainer(CurriculumMixin, Seq2SeqTrainer):
    """A ``transformers.Seq2SeqTrainer`` that learns prototypes first."""
