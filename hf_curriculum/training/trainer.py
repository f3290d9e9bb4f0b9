"""Put a curriculum in front of ``transformers.Trainer``."""

import logging
import math
import zlib
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import Dataset, IterableDataset
from torch.utils.data import BatchSampler, DataLoader, Sampler
from transformers import Seq2SeqTrainer, Trainer, TrainerCallback

from hf_curriculum.data import DIFFICULTY, SCORES, SUGGESTED_LABEL, hide_columns, read_difficulty, require_dataset
from hf_curriculum.training.checkpoint import check_best, check_whole, forget_whole, newest_whole, restore_best
from hf_curriculum.training.config import CurriculumConfig, require_config
from hf_curriculum.training.coverage import Coverage
from hf_curriculum.training.lengths import read_lengths
from hf_curriculum.training.sampler import CurriculumSampler
from hf_curriculum.training.schedule import planned_fraction
from hf_curriculum.training.stream import require_difficulty
from hf_curriculum.training.stream_training import StreamTraining
from hf_curriculum.training.trackers import tell_trackers
from hf_curriculum.training.weights import load_weights

if TYPE_CHECKING:
    from transformers import Trainer as _Base  # whose attributes the mixin uses
else:
    _Base = object

logger = logging.getLogger(__name__)
_STATE = "curriculum"
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
    ``curriculum/temperature``; ``curriculum/mean_difficulty`` of the rows drawn since the log before, unless
    ``order="random"``; and the share of distinct rows drawn since the start of the training,
    ``curriculum/distinct_fraction`` as measured, ``curriculum/planned_distinct_fraction`` as the schedule expects it.

    A stream (``datasets.IterableDataset``) is read as often as ``max_steps`` needs, and its rows are handed on as
    often as the curriculum draws them, see :func:`curriculum_stream`; distinct fractions are then shares of the rows
    read so far, and ``curriculum/rows_read`` and ``curriculum/rows_per_row_read`` are logged too.

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
            no :class:`CurriculumConfig`; where the class is defined, if the next class has a sampler of its own, as
            TRL's ``GRPOTrainer`` has; when training starts, if that class builds its batches without a sampler.
        ValueError: If it lacks the difficulty column or that column cannot rank rows, or if the training arguments ask
            for another order of rows, or to pack them.
    """

    train_dataset: Any
    _hidden: set[str] = set()
    """Columns that the model is not shown, beside those that the next class removes."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        behind = cls.__mro__[cls.__mro__.index(CurriculumMixin) + 1 :]
        owner = next((base for base in behind if "_get_train_sampler" in vars(base)), None)
        if owner is None and issubclass(cls, Trainer):
            raise TypeError(f"List CurriculumMixin first: class {cls.__name__}(CurriculumMixin, ...).")
        if owner not in (None, Trainer):
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
        self.curriculum_sampler: _TrainerSampler | None = None
        self._stream: StreamTraining | None = None
        super().__init__(*args, **kwargs)
        self._check_arguments()
        if isinstance(self.train_dataset, IterableDataset):
            require_difficulty(self.train_dataset, self.curriculum.difficulty_column)
            if self._groups_by_length():
                raise ValueError("A stream's rows cannot be grouped by length: leave grouping by length off.")
        elif self.train_dataset is not None:
            require_dataset(self.train_dataset)
            self._read_difficulty()
        self.add_callback(_Resume(self))

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

    def _read_difficulty(self) -> np.ndarray | None:
        column = self.curriculum.difficulty_column
        return None if column is None else read_difficulty(self.train_dataset, column)

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
            total_steps=self.args.max_steps,
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

    def _inner_training_loop(self, *args: Any, **kwargs: Any) -> Any:
        # Trainer would read all rows of the steps before a checkpoint again (transformers issue 31441); a stream
        # starts at its state.
        skip = self.args.ignore_data_skip
        self.args.ignore_data_skip = skip or isinstance(self.train_dataset, IterableDataset)
        try:
            return super()._inner_training_loop(*args, **kwargs)
        finally:
            self.args.ignore_data_skip = skip

    def _seed(self) -> int:
        return int(self.args.seed if self.args.data_seed is None else self.args.data_seed)

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler[int]:
        # `train_dataset` has already lost the columns that the model does not take, the difficulty among them;
        # `self.train_dataset` still has it, with the rows in the same order.
        self._difficulty = self._read_difficulty()
        rows = len(self.train_dataset)
        steps_per_epoch = self._steps_per_epoch(rows)
        total_steps = self.args.max_steps
        if total_steps <= 0:
            total_steps = math.ceil(self.args.num_train_epochs * steps_per_epoch)
        total_batch_size = self._total_batch_size()
        self.curriculum_sampler = _TrainerSampler(
            self,
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
        self._coverage = Coverage(self.curriculum_sampler)
        return self.curriculum_sampler

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
        scores = {*SCORES, SUGGESTED_LABEL, self.curriculum.difficulty_column or DIFFICULTY}
        self._hidden = scores - {*self.data_collator.valid_label_columns}
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
        if self._stream is not None:
            self.state.stateful_callbacks[_STATE]["readers"] = self._stream.saved(self.state.global_step)
        if self.args.should_save:
            forget_whole(Path(self._get_output_dir(trial=trial), f"checkpoint-{self.state.global_step}"))
        super()._save_checkpoint(model, trial)

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
        behind = type(self).__mro__[type(self).__mro__.index(CurriculumMixin) + 1 :]
        owner = next(base for base in behind if method in vars(base))
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
        elif self.curriculum_sampler is not None and "loss" in logs:
            logs |= self._curriculum_logs(self.curriculum_sampler)
        super().log(logs, *args, **kwargs)

    def _curriculum_logs(self, sampler: CurriculumSampler) -> dict[str, float]:
        step = self.state.global_step - 1
        logs = {"curriculum/effective_fraction": sampler.effective_fraction(step)}
        temperature = sampler.temperature(step)
        if math.isfinite(temperature):  # JSON, and so trainer_state.json, knows no infinity
            logs["curriculum/temperature"] = temperature
        rows = self._coverage.advance(step + 1)
        if rows.size and self._difficulty is not None and np.ma.count(difficulty := self._difficulty[rows]):
            logs["curriculum/mean_difficulty"] = float(difficulty.mean(dtype=np.float64))
        logs["curriculum/distinct_fraction"] = self._coverage.measured
        logs["curriculum/planned_distinct_fraction"] = self._coverage.planned
        self.state.stateful_callbacks.setdefault(_STATE, {})["coverage"] = self._coverage.state()
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


class _TrainerSampler(CurriculumSampler):
    """Starts where its trainer stands.

    The trainer's own step is the clock, since ``set_epoch`` does not always arrive: with two or more processes, a run
    resumed inside an epoch wraps the batch sampler twice, and it stops short of the sampler (accelerate 1.15;
    accelerate pull request 4071).
    """

    def __init__(self, trainer: CurriculumMixin, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._trainer = trainer
        self.resumed_step: int | None = None

    def __len__(self) -> int:
        return self.steps_per_epoch * self.total_batch_size

    def __iter__(self) -> Iterator[int]:
        step = self._trainer.state.global_step
        # The loader of a resumed run throws the rows of its epoch's earlier steps away: nothing is drawn for them.
        skipped = step % self.steps_per_epoch if step == self.resumed_step else 0
        self.resumed_step = None
        yield from repeat(0, skipped * self.total_batch_size)
        yield from self._steps(step, step - skipped + self.steps_per_epoch)


class _Resume(TrainerCallback):
    """Keeps the settings of the curriculum in the trainer's state, and compares them when a run resumes."""

    def __init__(self, trainer: CurriculumMixin) -> None:
        self.trainer = trainer

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.trainer._stream is not None:
            self.trainer._stream.begin(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.trainer._stream is not None:  # Trainer counts from the step at which the run was resumed
            state.epoch = state.global_step / state.max_steps

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.trainer._stream is not None:
            self.trainer._stream.saved(state.global_step)  # tells if readers went different ways

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.trainer._stream is not None:
            return self._begin_stream(self.trainer._stream, args, state)
        sampler = self.trainer.curriculum_sampler
        if sampler is None:
            raise TypeError(
                f"{type(self.trainer).__name__} loads its training data without asking for a sampler: the curriculum "
                "would be left out. Its get_train_dataloader must hand on what that of transformers.Trainer returns."
            )
        if not args.ignore_data_skip:
            self._check_skip(state.global_step % sampler.steps_per_epoch)
            sampler.resumed_step = state.global_step
        if args.load_best_model_at_end:
            restore_best(state, args.output_dir)
        settings = _settings(sampler, self.trainer._difficulty)
        before, changed = self._compare(state, settings)
        if changed:
            if state.is_world_process_zero:
                logger.warning("The curriculum joins a training that went otherwise up to step %d.", state.global_step)
            self.trainer._coverage = Coverage(sampler, state.global_step)
        elif "coverage" in before:
            self.trainer._coverage.restore(before["coverage"])
        state.stateful_callbacks[_STATE] = {"settings": settings, "coverage": self.trainer._coverage.state()}
        self._tell(args, state, settings)

    def _begin_stream(self, stream: StreamTraining, args: Any, state: Any) -> None:
        settings = _stream_settings(stream)
        before, changed = self._compare(state, settings)
        if changed and state.is_world_process_zero:
            logger.warning("The stream is read from its start, by the curriculum of step %d.", state.global_step)
        elif not changed:
            stream.restore(before.get("readers", {}))
        state.stateful_callbacks[_STATE] = {"settings": settings}
        self._tell(args, state, settings)

    def _tell(self, args: Any, state: Any, settings: dict[str, Any]) -> None:
        if state.is_world_process_zero:
            shown = {name: value for name, value in settings.items() if name != "difficulties"}  # a checksum
            tell_trackers(shown, args.report_to, self.trainer.callback_handler.callbacks)

    def _compare(self, state: Any, settings: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """What the checkpoint kept, and what has changed since; raise if that is not allowed."""
        before = {"settings": settings if state.global_step == 0 else {}, **state.stateful_callbacks.get(_STATE, {})}
        changed = _changes(before["settings"], settings)
        if changed and before["settings"] and not self.trainer.allow_changed_resume:
            raise ValueError(
                f"Cannot resume at step {state.global_step}, since the rows of each step would not be those of the "
                f"checkpoint's curriculum: {'; '.join(changed)}. Set them back, or pass allow_changed_resume=True to "
                "the trainer to go on from this step under the new settings."
            )
        return before, changed

    def _check_skip(self, steps: int) -> None:
        accelerator = self.trainer.accelerator
        if steps and accelerator.num_processes > 1 and accelerator.dispatch_batches and not accelerator.split_batches:
            # `skip_first_batches` counts the batches of one process, but each dispatched batch takes one for all.
            raise ValueError(
                "With dispatch_batches, accelerate skips too few batches of an epoch that is resumed inside, so rows "
                "would be trained on twice. Pass ignore_data_skip=True: the curriculum then goes on exactly, without "
                "a skip; or switch dispatch_batches off."
            )


def _settings(sampler: CurriculumSampler, difficulty: np.ndarray | None) -> dict[str, Any]:
    """All that the rows of a step depend on, ready for JSON; a checksum stands for an array or a function."""
    settings = {
        **_config_settings(sampler.config, sampler.warmup_steps, sampler.total_steps),
        "warmup_steps": sampler.warmup_steps,
        "seed": sampler.seed,
        "rows": sampler.rows,
        "difficulties": None if difficulty is None else _checksum(difficulty),
        "total_batch_size": sampler.total_batch_size,
        "group_by_length": None,
    }
    if sampler.lengths is not None:
        settings["group_by_length"] = {
            "lengths": _checksum(sampler.lengths),
            "micro_batch_size": sampler.micro_batch_size,
            "total_steps": sampler.total_steps,
        }
    return settings


def _stream_settings(stream: StreamTraining) -> dict[str, Any]:
    law = stream.law
    return {
        **_config_settings(law.config, law.warmup_steps, stream.total_steps),
        **stream.settings(),
        "seed": stream.seed,
        "quantiles": _checksum(law.quantiles),
    }


def _config_settings(config: CurriculumConfig, warmup_steps: int, total_steps: int | None) -> dict[str, Any]:
    settings = config.to_dict()
    if callable(config.schedule):
        planned = planned_fraction(np.linspace(0, warmup_steps, 1001), config, warmup_steps)
        name = getattr(config.schedule, "__qualname__", repr(config.schedule))
        settings["schedule"] = f"{name} {_checksum(planned)}"
    if isinstance(config.warmup_steps, float):
        settings["total_steps"] = total_steps
    return settings


def _changes(before: dict[str, Any], settings: dict[str, Any]) -> list[str]:
    """What is not as before, in words; of the length of the training, only whether it changed the warm-up, a share."""
    changed = {
        name: f"{name} was {before.get(name)!r} and is {value!r}"
        for name, value in settings.items()
        if before.get(name) != value
    }
    length = changed.pop("total_steps", None)
    if length and "warmup_steps" in changed and "total_steps" in before:
        changed["warmup_steps"] += f", a share of the training (max_steps or num_train_epochs): {length}"
    return list(changed.values())


def _checksum(array: np.ndarray) -> str:
    return f"{zlib.crc32(np.ascontiguousarray(np.ma.filled(array, -1)).data):08x}"


class CurriculumTrainer(CurriculumMixin, Trainer):
    """A ``transformers.Trainer`` that learns prototypes first."""


class CurriculumSeq2SeqTrainer(CurriculumMixin, Seq2SeqTrainer):
    """A ``transformers.Seq2SeqTrainer`` that learns prototypes first."""
