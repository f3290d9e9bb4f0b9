"""Put a curriculum in front of ``transformers.Trainer``."""

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import Dataset, IterableDataset
from torch.utils.data import BatchSampler, DataLoader, Sampler
from transformers import Seq2SeqTrainer, Trainer

from hf_curriculum.data import SCORES, hide_columns, read_difficulty, require_dataset
from hf_curriculum.training.checkpoint import check_best, check_whole, forget_whole, newest_whole, restore_best
from hf_curriculum.training.config import CurriculumConfig, require_config
from hf_curriculum.training.coverage import Coverage
from hf_curriculum.training.groups import GroupSampler, repeats
from hf_curriculum.training.lengths import read_lengths
from hf_curriculum.training.resume import (
    STATE_KEY,
    Beginning,
    sampler_settings,
    stream_settings,
    write_curriculum,
)
from hf_curriculum.training.stream import require_difficulty
from hf_curriculum.training.stream_training import StreamTraining
from hf_curriculum.training.trainer_sampler import TrainerClock, TrainerSampler
from hf_curriculum.training.weights import load_weights

if TYPE_CHECKING:
    from transformers import Trainer as _Base  # whose attributes the mixin uses
else:
    _Base = object

logger = logging.getLogger(__name__)
_ORDERS_OF_ROWS = {  # the first is the default
    "train_sampling_strategy": ("random", "group_by_length"),
    "batch_sampler": ("batch_sampler",),  # of Sentence Transformers
}


class CurriculumMixin(_Base):
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
    curriculum, the difficulties, the number of rows or the batch size have changed, ``train`` refuses to resume.

    Args:
        curriculum: The curriculum; default ``CurriculumConfig()``. All other arguments go to the next class.
        allow_changed_resume: Resume in spite of such a change; the step count goes on under the new settings.

    Attributes:
        curriculum_sampler: The :class:`CurriculumSampler` of the training; ``None`` before ``train()``, and on a
            stream.

    Raises:
        TypeError: If ``train_dataset`` is neither a ``datasets.Dataset`` nor an ``IterableDataset``, or ``curriculum``
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
        owner = _owner(cls, "_get_train_sampler")
        if owner is None and issubclass(cls, Trainer):
            raise TypeError(f"List CurriculumMixin first: class {cls.__name__}(CurriculumMixin, ...).")
        if owner not in (None, Trainer) and not owner.__module__.startswith("trl.trainer."):
            raise TypeError(
                f"CurriculumMixin cannot stand in front of {owner.__module__}.{owner.__qualname__}, which chooses the "
                "rows of a step by itself (it has its own _get_train_sampler). Choose a trainer that leaves this to "
                "transformers.Trainer, or sort the dataset by difficulty and switch that trainer's shuffling off."
            )

    def __init__(
        self,
        *args: Any,
        curriculum: CurriculumConfig | None = None,
        allow_changed_resume: bool = False,
        **kwargs: Any,
    ) -> None:
        self.curriculum = require_config(curriculum, "curriculum")
        self.allow_changed_resume = allow_changed_resume
        self.curriculum_sampler: TrainerSampler | None = None
        self._stream: StreamTraining | None = None
        self._coverage: Coverage | None = None
        self._beginning: Beginning | None = None  # while a training runs
        super().__init__(*args, **kwargs)
        self._check_arguments()
        if isinstance(self.train_dataset, IterableDataset):
            require_difficulty(self.train_dataset, self.curriculum.difficulty_column)
            owner = _owner(type(self), "_get_train_sampler")
            if owner is not None and owner is not Trainer:
                raise TypeError(
                    f"A curriculum on a stream cannot hand rows to {owner.__name__}, which repeats or orders them "
                    "itself. Pass a datasets.Dataset: prompts are small."
                )
            if self._groups_by_length():
                raise ValueError("A stream's rows cannot be grouped by length: leave grouping by length off.")
        elif self.train_dataset is not None:
            require_dataset(self.train_dataset)
            read_difficulty(self.train_dataset, self.curriculum.difficulty_column)

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

    def _inner_training_loop(
        self, batch_size: Any = None, args: Any = None, resume_from_checkpoint: Any = None, *others: Any, **kwargs: Any
    ) -> Any:
        self._beginning = Beginning.read(resume_from_checkpoint)
        self.curriculum_sampler = self._stream = None
        # Trainer would read all rows of the steps before a checkpoint again (transformers issue 31441); a stream
        # starts at its state.
        skip = self.args.ignore_data_skip
        self.args.ignore_data_skip = skip or isinstance(self.train_dataset, IterableDataset)
        try:
            return super()._inner_training_loop(batch_size, args, resume_from_checkpoint, *others, **kwargs)
        finally:
            self._beginning = None
            self.args.ignore_data_skip = skip

    def set_initial_training_values(self, args: Any, dataloader: Any, *others: Any) -> Any:
        """The lengths of the training that begins, as the next class counts them; the curriculum takes them.

        Args:
            args: Training arguments.
            dataloader: Of the training data.
            *others: Those of the next class.

        Returns:
            What the next class returns, the steps of the training last.

        Raises:
            TypeError: If the loader did not ask for a sampler.
            ValueError: If the checkpoint is of another curriculum.
        """
        values = super().set_initial_training_values(args, dataloader, *others)
        if self._beginning is not None:
            self._begin(self._beginning, total_steps=values[-1])
        return values

    def _begin(self, beginning: Beginning, total_steps: int) -> None:
        if self._stream is not None:
            return self._begin_stream(self._stream, beginning)
        sampler = self.curriculum_sampler
        if sampler is None:
            raise TypeError(
                f"{type(self).__name__} loads its training data without asking for a sampler: the curriculum "
                "would be left out. Its get_train_dataloader must hand on what that of transformers.Trainer returns."
            )
        length = self._planned_length(total_steps, sampler.begun)
        sampler.plan(total_steps, self.curriculum.resolve_warmup(length))
        if not self.args.ignore_data_skip:
            self._check_skip(beginning.step % sampler.steps_per_epoch)
            sampler.resumed_step = beginning.step
        if isinstance(sampler, GroupSampler):
            sampler.align(self, beginning.step)
        self._settings = sampler_settings(sampler, self._difficulty, length)
        self._coverage = Coverage(sampler)
        if beginning.compare(self._settings, allowed=self.allow_changed_resume):
            self._warn(f"The curriculum joins a training that went otherwise up to step {beginning.step}.")
            self._coverage = Coverage(sampler, sampler.begun(beginning.step))
        elif "coverage" in beginning.state:
            self._coverage.restore(beginning.state["coverage"])

    def _begin_stream(self, stream: StreamTraining, beginning: Beginning) -> None:
        self._settings = stream_settings(stream)
        if beginning.compare(self._settings, allowed=self.allow_changed_resume):
            self._warn(f"The stream is read from its start, by the curriculum of step {beginning.step}.")
        else:
            stream.restore(beginning.state.get("readers", {}))
        stream.begin(beginning.step)

    def _planned_length(self, total_steps: int, begun: Callable[[int], int] = lambda step: step) -> int:
        """Steps of which the warm-up, where it is a share, is one."""
        if self._beginning is None or self.allow_changed_resume:
            return total_steps
        length = self._beginning.planned_length(self.curriculum, total_steps, begun)
        if length != total_steps:
            self._warn(
                f"This training has {total_steps} steps, that of the checkpoint had {length}: its warm-up of "
                f"{self.curriculum.resolve_warmup(length)} steps is kept."
            )
        return length

    def _warn(self, message: str) -> None:
        if self.is_world_process_zero():
            logger.warning(message)

    def _check_skip(self, steps: int) -> None:
        accelerator = self.accelerator
        if steps and accelerator.num_processes > 1 and accelerator.dispatch_batches and not accelerator.split_batches:
            # `skip_first_batches` counts the batches of one process, but each dispatched batch takes one for all.
            raise ValueError(
                "With dispatch_batches, accelerate skips too few batches of an epoch that is resumed inside, so rows "
                "would be trained on twice. Pass ignore_data_skip=True: the curriculum then goes on exactly, without "
                "a skip; or switch dispatch_batches off."
            )

    def _load_callback_state(self) -> None:
        # Called once the state of a checkpoint is there.
        self.state.stateful_callbacks.pop(STATE_KEY, None)
        if self.args.load_best_model_at_end:
            restore_best(self.state, self.args.output_dir)
        super()._load_callback_state()

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        # Called after each step, and at the end of an epoch.
        if self._stream is not None:  # Trainer counts from the step at which the run was resumed
            self.state.epoch = self.state.global_step / self.state.max_steps
        super()._maybe_log_save_evaluate(*args, **kwargs)
        if self._stream is not None and self.control.should_epoch_stop:
            self._stream.begin(self.state.global_step)

    def _seed(self) -> int:
        return int(self.args.seed if self.args.data_seed is None else self.args.data_seed)

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler[int]:
        if self._beginning is not None and self.curriculum_sampler is not None:
            return self.curriculum_sampler  # of a training that has several loaders
        # `train_dataset` has already lost the columns that the model does not take, the difficulty among them;
        # `self.train_dataset` still has it, with the rows in the same order.
        self._difficulty = read_difficulty(self.train_dataset, self.curriculum.difficulty_column)
        self.curriculum_sampler = self._group_sampler() or self._row_sampler()
        return self.curriculum_sampler

    def _group_sampler(self) -> GroupSampler | None:
        """Where the next class repeats its rows in groups."""
        if _owner(type(self), "_get_train_sampler") is Trainer:
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

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Train as ``Trainer`` does; ``resume_from_checkpoint=True`` takes the newest checkpoint that is whole.

        A checkpoint whose writing was cut off is passed over with a warning.

        Args:
            resume_from_checkpoint: ``True``, or the folder of a checkpoint. Default ``None``, a new run.
            *args: Further ones of ``Trainer.train``.
            **kwargs: Further ones of ``Trainer.train``.

        Returns:
            What ``Trainer.train`` returns.

        Raises:
            ValueError: If the checkpoint that is named, or every one, is damaged; the file is named.
        """
        if resume_from_checkpoint is True:
            resume_from_checkpoint = newest_whole(self.args.output_dir) or True
        elif resume_from_checkpoint:
            check_whole(resume_from_checkpoint)
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        state = self._curriculum_state()  # every process has its part
        if self.args.should_save:
            folder = Path(self._get_output_dir(trial=trial), f"checkpoint-{self.state.global_step}")
            forget_whole(folder)
            write_curriculum(folder, state)
        super()._save_checkpoint(model, trial)

    def _curriculum_state(self) -> dict[str, Any]:
        """What :class:`Beginning` takes from a checkpoint, ready for JSON."""
        if self._stream is not None:
            return {"settings": self._settings, "readers": self._stream.saved(self.state.global_step)}
        return {"settings": self._settings, "coverage": self._coverage.state() if self._coverage else {}}

    def _load_from_checkpoint(self, resume_from_checkpoint: str, *args: Any) -> None:
        # Trainer looks for weights under the names that they have in the model, and leaves those as they are that
        # were saved under others (transformers issue 48805).
        theirs = self._loads_by_itself("_load_from_checkpoint")
        if theirs or not load_weights(self.model, resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, *args)

    def _load_best_model(self) -> None:
        best = self.state.best_model_checkpoint
        check_best(best)
        if self._loads_by_itself("_load_best_model") or not load_weights(self.model, best):
            super()._load_best_model()

    def _loads_by_itself(self, method: str) -> bool:
        """Whether weights are not in files that hold the model's: sharded, quantised, or kept by another trainer."""
        owner = _owner(type(self), method)
        quantized = getattr(self.model, "hf_quantizer", None) is not None
        return owner is not Trainer or self.is_fsdp_enabled or self.is_deepspeed_enabled or quantized

    def _groups_by_length(self) -> bool:
        strategy = getattr(self.args, "train_sampling_strategy", "random")
        return getattr(self.args, "group_by_length", False) or strategy == "group_by_length"

    def _lengths(self) -> np.ndarray | None:
        if not self._groups_by_length():
            return None
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


def _owner(cls: type, method: str) -> type | None:
    """The class behind the mixin whose method this is."""
    behind = cls.__mro__[cls.__mro__.index(CurriculumMixin) + 1 :]
    return next((base for base in behind if method in vars(base)), None)


class CurriculumTrainer(CurriculumMixin, Trainer):
    """A ``transformers.Trainer`` that learns prototypes first."""


class CurriculumSeq2SeqTrainer(CurriculumMixin, Seq2SeqTrainer):
    """A ``transformers.Seq2SeqTrainer`` that learns prototypes first."""
