"""A training that begins, or goes on from a checkpoint, at the step and under the settings of its curriculum."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from accelerate.utils import gather_object
from datasets import IterableDataset
from transformers import Trainer

from hf_curriculum.training.checkpoint import check_best, check_whole, forget_whole, newest_whole, restore_best
from hf_curriculum.training.checksums import checksums_of, write_checksums
from hf_curriculum.training.config import CurriculumConfig
from hf_curriculum.training.drawn import DrawnRows
from hf_curriculum.training.groups import GroupSampler
from hf_curriculum.training.learning import Learning
from hf_curriculum.training.resume import STATE_KEY, Beginning, sampler_settings, stream_settings, write_curriculum
from hf_curriculum.training.stream_training import StreamTraining
from hf_curriculum.training.trackers import in_a_line, tell_trackers
from hf_curriculum.training.trainer_sampler import TrainerSampler
from hf_curriculum.training.weights import load_weights, names_for_adapters

if TYPE_CHECKING:
    from transformers import Trainer as _Base  # whose attributes the mixin uses
else:
    _Base = object

logger = logging.getLogger(__name__)


class Resumable(_Base):
    """The part of :class:`CurriculumMixin` that begins a training, writes its checkpoints and goes on from them.

    It hooks methods of ``Trainer`` that all releases since 4.57 call at these moments; a callback would show among
    those of the user, who may replace them.
    """

    curriculum: CurriculumConfig
    allow_changed_resume: bool
    curriculum_sampler: TrainerSampler | None
    train_dataset: Any
    _difficulty: np.ndarray | None
    _settings: dict[str, Any]
    _stream: StreamTraining | None
    _learning: Learning | None
    _drawn: DrawnRows | None
    _checkpoint: str | None
    """From which the training goes on."""
    _beginning: Beginning | None
    """While a training runs."""
    _told: bool
    """Whether trackers know the settings of the training that runs."""

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
            TypeError: If ``resume_from_checkpoint`` is neither of these.
            ValueError: If the checkpoint that is named, or every one, is damaged; the file is named.
        """
        if resume_from_checkpoint is True:
            resume_from_checkpoint = newest_whole(self.args.output_dir) or True
        elif resume_from_checkpoint:
            check_whole(resume_from_checkpoint)
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def _inner_training_loop(
        self, batch_size: Any = None, args: Any = None, resume_from_checkpoint: Any = None, *others: Any, **kwargs: Any
    ) -> Any:
        self._beginning = Beginning.read(resume_from_checkpoint)
        self.curriculum_sampler = self._drawn = self._stream = self._learning = None
        self._checkpoint = resume_from_checkpoint
        self._told = False
        # Trainer would read all rows of the steps before a checkpoint again (transformers issue 31441); a stream
        # starts at its state.
        skip = self.args.ignore_data_skip
        self.args.ignore_data_skip = skip or isinstance(self.train_dataset, IterableDataset)
        try:
            output = super()._inner_training_loop(batch_size, args, resume_from_checkpoint, *others, **kwargs)
            if self._stream is not None:
                self._stream.saved(self.state.global_step)  # tells if readers went different ways
            return output
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
            if self.is_world_process_zero():
                logger.info(in_a_line(self._settings))
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
        if self._learning is not None or "learned" in beginning.state.get("settings", {}):
            self._settings["learned"] = self._learning and self._learning.settings()
        self._drawn = DrawnRows(sampler, self._difficulty)
        if beginning.compare(self._settings, allowed=self.allow_changed_resume):
            self._warn(f"The curriculum joins a training that went otherwise up to step {beginning.step}.")
            self._drawn = DrawnRows(sampler, self._difficulty, beginning.step)
        else:
            self._drawn.restore(beginning.state)
        if self._learning is not None:
            self._learning.begin(beginning.step, self._checkpoint)

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
        self._tell()
        if self._stream is not None:  # Trainer counts from the step at which the run was resumed
            self.state.epoch = self.state.global_step / self.state.max_steps
        if self._learning is not None:
            self._learning.end_step(self.state.global_step)
        super()._maybe_log_save_evaluate(*args, **kwargs)
        if self._stream is not None and self.control.should_epoch_stop:
            self._stream.begin(self.state.global_step)

    def _tell(self) -> None:
        # Trackers set up their runs when a training begins, after the curriculum.
        if not self._told and self.is_world_process_zero():
            tell_trackers(self._settings, self.args.report_to, self.callback_handler.callbacks)
        self._told = True

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        state = self._curriculum_state()  # every process has its part
        folder = Path(self._get_output_dir(trial=trial), f"checkpoint-{self.state.global_step}")
        if self.args.should_save:
            forget_whole(folder)
            write_curriculum(folder, state)
        if self._learning is not None:
            self._learning.save(folder)
        super()._save_checkpoint(model, trial)
        self._write_checksums(folder)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        self._write_checksums(Path(checkpoint_folder))  # on the Hub they would be those of the checkpoint before
        super()._push_from_checkpoint(checkpoint_folder)

    def _write_checksums(self, folder: Path) -> None:
        own = list(checksums_of(folder, self.args.process_index).items())
        every = gather_object(own) if self.accelerator.num_processes > 1 else own  # waits until all have written
        if self.args.should_save and folder.is_dir():  # save_total_limit may have taken it for an old one
            write_checksums(folder, dict(every))

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        super()._save(output_dir, names_for_adapters(self.model) if state_dict is None else state_dict)

    def _curriculum_state(self) -> dict[str, Any]:
        """What :class:`Beginning` takes from a checkpoint, ready for JSON."""
        if self._stream is not None:
            return {"settings": self._settings, "readers": self._stream.saved(self.state.global_step)}
        return {"settings": self._settings, **(self._drawn.state() if self._drawn else {})}

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
        theirs = owner(type(self), method)
        quantized = getattr(self.model, "hf_quantizer", None) is not None
        return theirs is not Trainer or self.is_fsdp_enabled or self.is_deepspeed_enabled or quantized

    def _warn(self, message: str) -> None:
        if self.is_world_process_zero():
            logger.warning(message)


def owner(cls: type, method: str) -> type | None:
    """The class behind the mixin that has a method.

    Args:
        cls: A trainer with the mixin.
        method: Name of the method.

    Returns:
        The class; ``None`` if none has it.
    """
    behind = cls.__mro__[cls.__mro__.index(Resumable) + 1 :]
    return next((base for base in behind if method in vars(base)), None)
