"""The processes of a job that ``accelerate launch`` started, and how they fail together."""

import atexit
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from accelerate import PartialState
from accelerate.utils import gather_object, parse_flag_from_env


def this_process() -> PartialState:
    """This process among those of its job.

    The CPU is its device where the launcher says so; without this word, Accelerate takes processes on the CPU for
    strangers to each other.
    """
    state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))
    if state.num_processes > 1:
        _leave_at_exit()
    return state


@cache
def _leave_at_exit() -> None:
    atexit.register(_leave)


def _leave() -> None:
    """End the process group, if nobody has, before the interpreter ends.

    Gloo's threads free the tensors of the last exchange. One that is late and finds no interpreter aborts the process,
    whose work is done (PyTorch pull request 179291).
    """
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@contextmanager
def agree(task: str) -> Iterator[None]:
    """Let all processes leave the block together, with an error in each if one of them has failed.

    Raises:
        RuntimeError: If another process failed, or is gone.
    """
    failure: Exception | None = None
    try:
        yield
    except Exception as error:
        failure = error
    try:
        if this_process().num_processes > 1:
            failure = _agreed(failure, task)
        if failure is not None:
            raise failure
    finally:
        failure = None  # it holds this frame, which would hold it


def _agreed(failure: Exception | None, task: str) -> Exception | None:
    """The failure of this process, or else what tells of that of another."""
    rank = this_process().process_index
    word = None if failure is None else f"process {rank}: {type(failure).__name__}: {failure}"
    try:
        failures = [other for other in gather_object([word]) if other is not None]
    except RuntimeError as error:
        lost = RuntimeError(f"A process was lost while {task}: {error}. What is finished is kept: call again.")
        return failure or lost
    if failures and failure is None:
        return RuntimeError(f"Failed while {task}, what is finished is kept; {'; '.join(failures)}")
    return failure
