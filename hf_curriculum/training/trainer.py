"""Put a curriculum in front of ``transformers.Trainer``."""

import logging
import math
from copy import copy
from inspect import signature
from typing import Any

import numpy as np
from datasets import Dataset, IterableDataset
from numpy.typing import ArrayLike
from torch.utils.data import BatchSampler, DataLoader, Sampler
from transformers import Seq2SeqTrainer, Trainer

from hf_curriculum.data import DIFFICULTY, SCORES, SUGGESTED_LABEL, hide_columns, read_difficulty
from hf_curriculum.training.config import CurriculumConfig, require_config
from hf_curriculum.training.drawn import DrawnRows
from hf_curriculum.training.given_difficulty import check_given, require_column_of, require_rows, with_difficulty
from hf_curriculum.training.groups import GroupSampler, repeats
from hf_curriculum.training.learned import LearnedDifficulty
from hf_curriculum.training.learning import Learning
from hf_curriculum.training.lengths import read_lengths
from hf_curriculum.training.packing import pack_by_difficulty
from hf_curriculum.training.resumable import Resumable
from hf_curriculum.training.resume import Beginning
from hf_curriculum.training.row_losses import watched
from hf_curriculum.training.stream import require_difficulty
from hf_curriculum.training.stream_training import StreamTraining
from hf_curriculum.training.trackers import short_lines
from hf_curriculum.training.trainer_checks import (
    check_arguments,
    check_class,
    check_learned,
    check_stream,
    chooses_rows,
    groups_by_length,
)
from hf_curriculum.training.trainer_sampler import TrainerClock, TrainerSampler

logger = logging.getLogger(__name__)


class CurriculumMixin(Resumable):
    """Draws the training rows of any ``Trainer`` subclass by a curriculum; list it before that class.

    ``class MyTrainer(CurriculumMixin, Seq2SeqTrainer): ...`` is a whole integration. An epoch has as many steps as a
    plain ``Trainer`` would take, all with full batches. With ``group_by_length`` (transformers 4) or
    ``train_sampling_strategy="group_by_length"`` (5), the rows that 32 steps draw are batched by length.

    Every training log gains, of the step just trained, ``curriculum/effective_fraction`` and, during the warm-up,
    ``curriculum/temperature``; ``curriculum/mean_difficulty`` of the rows drawn since the log before, unless
    ``order="random"``; and the share of distinct rows drawn since the start of the training,
    ``curriculum/distinct_fraction`` as measured, ``curriculum/distinct_fraction_planned`` as the schedule expects it.
    The console shows the effective fraction and the mean difficulty; trackers and ``state.log_history`` have all.

    A stream (``datasets.IterableDataset``) is read as often as ``max_steps`` needs, and its rows are handed on as
    often as the curriculum draws them, see :func:`curriculum_stream`; distinct fractions are then shares of the rows
    read so far, and ``curriculum/rows_read`` and ``curriculum/rows_per_row_read`` are logged too.

    In front of TRL's trainers that generate, as ``GRPOTrainer`` does, the curriculum chooses the prompts of a
    generation batch; TRL repeats them.

    With ``packing=True`` of TRL's ``SFTTrainer``, rows are packed with rows of similar difficulty, and the rows of the
    curriculum are the packs, each with the mean difficulty of its tokens; with ``order="random"`` they are TRL's.

    A checkpoint keeps what decides the order of the rows, and a resumed run continues that order exactly. If the
    curriculum, the difficulties, the number of rows or the batch size have changed, ``train`` refuses to resume. A run
    of another length keeps its warm-up.

    Args:
        curriculum: The curriculum; default ``CurriculumConfig()``. All other arguments go to the next class.
        difficulty: One number a row, low = easy, instead of a difficulty column: for a ``Dataset``, or for any torch
            dataset that gives rows by number. Shape ``(N,)``; rows that are masked (``numpy.ma``) have none.
        learned_difficulty: Difficulties that follow the model. Default ``None``, those of the column.
        allow_changed_resume: Resume in spite of such a change; the step count goes on under the new settings.

    Attributes:
        curriculum_sampler: The :class:`CurriculumSampler` of the training; ``None`` before ``train()``, and on a
            stream.

    Raises:
        TypeError: If ``train_dataset`` is neither a ``datasets.Dataset`` nor an ``IterableDataset``, nor comes with
            ``difficulty`` or ``order="random"``, or ``curriculum`` is no :class:`CurriculumConfig`, or a stream is
            meant for a trainer that repeats its rows; where the class is defined, if the next class has a sampler of
            its own and is not one of TRL's; when training starts, if that class builds its batches without a sampler,
            or reads its rows in an order of its own.
        ValueError: If it lacks the difficulty column or that column cannot rank rows, if difficulties are given or
            learned with ``order="random"``, or if the training arguments ask for another order of rows.
    """

    train_dataset: Any
    _hidden: set[str] = set()
    """Columns that the model is not shown, beside those that the next class removes."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_class(cls)

    def __init__(
        self,
        *args: Any,
        curriculum: CurriculumConfig | None = None,
        difficulty: ArrayLike | None = None,
        learned_difficulty: LearnedDifficulty | None = None,
        allow_changed_resume: bool = False,
        **kwargs: Any,
    ) -> None:
        self.curriculum = require_config(curriculum, "curriculum")
        self.learned_difficulty = learned_difficulty
        self.allow_changed_resume = allow_changed_resume
        self.curriculum_sampler: TrainerSampler | None = None
        self._stream: StreamTraining | None = None
        self._drawn: DrawnRows | None = None
        self._learning: Learning | None = None
        self._beginning: Beginning | None = None  # while a training runs
        for name, value in {"difficulty": difficulty, "learned_difficulty": learned_difficulty}.items():
            if value is not None and self.curriculum.order == "random":
                raise ValueError(f"order='random' looks at no difficulty: leave {name}= out, or choose another order.")
        self._given = None if difficulty is None else check_given(difficulty)
        if self._given is not None and (given := kwargs.get("train_dataset")) is not None:
            kwargs["train_dataset"] = with_difficulty(given, self._given, self._column)
        super().__init__(*args, **kwargs)
        check_arguments(self.args, self.accelerator)
        if learned_difficulty is not None:
            check_learned(self, learned_difficulty)
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

    @property
    def _column(self) -> str:
        """Of difficulties, also where none is read."""
        return self.curriculum.difficulty_column or DIFFICULTY

    def _check_train_dataset(self) -> None:
        dataset = self.train_dataset
        if not isinstance(dataset, IterableDataset):
            self._read_difficulty()
            return
        if self._given is not None:
            with_difficulty(dataset, self._given, self._column)
        require_difficulty(dataset, self.curriculum.difficulty_column)
        check_stream(self)

    def _read_difficulty(self) -> np.ndarray | None:
        if self.curriculum.difficulty_column is None:
            require_rows(self.train_dataset)
            return None
        if self._given is not None:
            self.train_dataset = with_difficulty(self.train_dataset, self._given, self._column)
            if not isinstance(self.train_dataset, Dataset):
                return self._given
            self._given = None
        require_column_of(self.train_dataset)
        if self.learned_difficulty is not None and self._column not in self.train_dataset.column_names:
            return np.zeros(len(self.train_dataset), np.float32)
        return read_difficulty(self.train_dataset, self._column)

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        # That of TRL's SFTTrainer packs rows as they come and keeps nothing but tokens: its packs have no difficulty.
        given = signature(super()._prepare_dataset).bind(dataset, *args, **kwargs).arguments
        packs = given.get("packing") and given["dataset_name"] == "train"
        if not packs or self.curriculum.difficulty_column is None:
            return super()._prepare_dataset(dataset, *args, **kwargs)
        whole = copy(settings := given["args"])
        whole.max_length = None  # rows are cut as the strategy wants it
        tokens = super()._prepare_dataset(**given | {"packing": False, "args": whole})
        return pack_by_difficulty(
            tokens,
            self._column,
            settings.max_length,
            settings.packing_strategy,
            settings.dataset_num_proc,
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
            scores = {*SCORES, SUGGESTED_LABEL, self._column}
            if not any(str(error).endswith(f"unexpected keyword argument '{name}'") for name in scores):
                raise
            apart = (
                "remove them from train_dataset"
                if self.curriculum.difficulty_column is None
                else "give the difficulties apart: train_dataset=dataset.remove_columns([...]), "
                f"difficulty=dataset[{self._column!r}][:]"
            )
            raise TypeError(
                f"{error}. With remove_unused_columns=False the model gets every column, the scores too: leave them "
                f"out in data_collator, set remove_unused_columns=True, or {apart}."
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
        if self.learned_difficulty is not None:
            self._learning = Learning(self, self.learned_difficulty, len(self.train_dataset), self._clusters())
        return self.curriculum_sampler

    def _clusters(self) -> np.ndarray | None:
        if "cluster" not in getattr(self.train_dataset, "column_names", ()):
            return None
        return np.asarray(self.train_dataset.with_format("numpy")["cluster"][:])

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        """The loss of the next class; where difficulties are losses, those of the single rows are noted.

        Args:
            model: The model.
            inputs: A batch.
            return_outputs: Whether the outputs are returned, too.
            **kwargs: Those of the next class.

        Returns:
            What the next class returns.
        """
        if self._learning is None or self._learning.source != "loss" or not model.training:
            return super().compute_loss(model, inputs, return_outputs=return_outputs, **kwargs)
        labels = inputs.get("labels")  # the next class may take them out
        with watched(model) as outputs:
            loss = super().compute_loss(model, inputs, return_outputs=return_outputs, **kwargs)
        whole = self.accelerator.unwrap_model(model, keep_torch_compile=False)
        self._learning.note_losses(whole, outputs[0] if outputs else None, labels)
        return loss

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Any:
        # Of TRL's trainers with rewards: those of all processes.
        rewards = super()._calculate_rewards(*args, **kwargs)
        if self._learning is not None and self._learning.source == "reward" and self.model.training:
            self._learning.note_rewards(rewards)
        return rewards

    def _group_sampler(self) -> GroupSampler | None:
        """Where the next class repeats its rows in groups."""
        if chooses_rows(type(self)) is None:
            return None
        theirs = super()._get_train_sampler()
        if not repeats(theirs, self):
            return None
        return GroupSampler(
            self, theirs, self._difficulty, self.curriculum, total_steps=self.args.max_steps, seed=self._seed()
        )

    def _row_sampler(self) -> TrainerSampler:
        rows = len(self.train_dataset)
        steps_per_epoch = self._steps_per_epoch(rows)
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
            rows=rows if self._difficulty is None else None,
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
        self._hidden = {*SCORES, SUGGESTED_LABEL, self._column} - {*self.data_collator.valid_label_columns}
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

    def _lengths(self) -> np.ndarray | None:
        if not groups_by_length(self.args):
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
        elif self._drawn is not None and "loss" in logs:
            logs |= self._drawn.logs(self.state.global_step)
            if self._learning is not None:  # the schedule does not know what rows will be easy
                del logs["curriculum/distinct_fraction_planned"]
        with short_lines(self.callback_handler.callbacks):
            super().log(logs, *args, **kwargs)

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
