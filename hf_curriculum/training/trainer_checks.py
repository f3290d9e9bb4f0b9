"""What a trainer may not ask for beside a curriculum."""

from typing import Any

from datasets import IterableDataset
from transformers import Trainer

from hf_curriculum.training.learned import LearnedDifficulty
from hf_curriculum.training.resumable import Resumable, owner

_ORDERS_OF_ROWS = {  # the first is the default
    "train_sampling_strategy": ("random", "group_by_length"),
    "batch_sampler": ("batch_sampler",),  # of Sentence Transformers
}


def groups_by_length(args: Any) -> bool:
    """Whether training arguments ask for batches of rows of similar length.

    Args:
        args: Those of a trainer, of transformers 4 or 5.

    Returns:
        Whether they do.
    """
    strategy = getattr(args, "train_sampling_strategy", "random")
    return getattr(args, "group_by_length", False) or strategy == "group_by_length"


def chooses_rows(trainer: type) -> type | None:
    """The class behind the mixin that orders or repeats rows by itself.

    Args:
        trainer: A class with the mixin.

    Returns:
        The class; ``None`` where that is left to ``Trainer``.
    """
    theirs = owner(trainer, "_get_train_sampler")
    return None if theirs is Trainer else theirs


def check_class(trainer: type) -> None:
    """Raise a ``TypeError`` if the curriculum cannot stand in front of the next class.

    Args:
        trainer: A class with the mixin.

    Raises:
        TypeError: If the mixin is not listed first, or the next class chooses rows and is not one of TRL's.
    """
    theirs = chooses_rows(trainer)
    if theirs is None and issubclass(trainer, Trainer) and owner(trainer, "_get_train_sampler") is None:
        raise TypeError(f"List CurriculumMixin first: class {trainer.__name__}(CurriculumMixin, ...).")
    if theirs is not None and not theirs.__module__.startswith("trl.trainer."):
        raise TypeError(
            f"CurriculumMixin cannot stand in front of {theirs.__module__}.{theirs.__qualname__}, which chooses "
            "the rows of a step by itself (it has its own _get_train_sampler). Choose a trainer that leaves this "
            "to transformers.Trainer, or sort the dataset by difficulty and switch that trainer's shuffling off."
        )


def check_arguments(args: Any, accelerator: Any) -> None:
    """Raise a ``ValueError`` if training arguments ask for another order of rows, or for one that would be wrong.

    Args:
        args: Those of the trainer.
        accelerator: Its ``accelerate.Accelerator``.

    Raises:
        ValueError: If they do; the option is named.
    """
    for option, choices in _ORDERS_OF_ROWS.items():
        if (value := getattr(args, option, choices[0])) not in choices:
            raise ValueError(
                f"The curriculum decides which rows a batch holds: {option}={value!r} cannot be combined with it. "
                f"Set it to one of {list(choices)}."
            )
    if accelerator.use_stateful_dataloader and args.dataloader_num_workers:
        # The rows of the first epoch would be those of step 0, or of the training before (accelerate issue 4204).
        raise ValueError(
            "With use_stateful_dataloader, accelerate starts the workers before the checkpoint is read, so a "
            "resumed run would draw the rows of other steps. Set dataloader_num_workers=0, or switch "
            "use_stateful_dataloader off: the curriculum resumes exactly without it."
        )


def check_stream(trainer: Resumable) -> None:
    """Raise an error if the trainer does more with rows than a stream allows.

    Args:
        trainer: About to be trained.

    Raises:
        TypeError: If the next class repeats or orders rows itself.
        ValueError: If rows are to be grouped by length.
    """
    if (theirs := chooses_rows(type(trainer))) is not None:
        raise TypeError(
            f"A curriculum on a stream cannot hand rows to {theirs.__name__}, which repeats or orders them "
            "itself. Pass a datasets.Dataset: prompts are small."
        )
    if groups_by_length(trainer.args):
        raise ValueError("A stream's rows cannot be grouped by length: leave grouping by length off.")


def check_learned(trainer: Resumable, learned: LearnedDifficulty) -> None:
    """Raise an error if the trainer does not give what difficulties are to be learned from.

    Args:
        trainer: As it is made.
        learned: What is asked for.

    Raises:
        TypeError: If ``learned`` is no :class:`LearnedDifficulty`.
        ValueError: If the rows are those of a stream or grouped by length, or have no rewards or losses of their own.
    """
    if not isinstance(learned, LearnedDifficulty):
        raise TypeError(f"learned_difficulty must be a LearnedDifficulty, got {type(learned).__name__}.")
    if isinstance(trainer.train_dataset, IterableDataset):
        raise ValueError("Difficulties cannot be learned on a stream, whose rows have no numbers: pass a Dataset.")
    if groups_by_length(trainer.args):
        raise ValueError(
            "Learned difficulties cannot be combined with length groups, for which the rows of 32 steps are drawn "
            "at once: leave grouping by length off."
        )
    name = type(trainer).__name__
    if learned.source == "reward" and owner(type(trainer), "_calculate_rewards") is None:
        raise ValueError(f"{name} has no rewards: choose LearnedDifficulty('loss') or a function.")
    if learned.source == "loss" and owner(type(trainer), "_generate_and_score_completions") is not None:
        raise ValueError(
            f"{name} makes its own texts, whose losses do not tell how hard a prompt is: choose "
            "LearnedDifficulty('reward') or a function."
        )
