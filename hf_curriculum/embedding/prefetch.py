"""Rows read and prepared by worker processes, a window at a time, ahead of the device."""

import copy
import multiprocessing
import os
import pickle
import signal
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import torch
from datasets import Dataset
from torch.utils.data import DataLoader

from hf_curriculum.embedding.rows import PreparedRows, prepare_rows
from hf_curriculum.encoders import Encoder

_Item = TypeVar("_Item")


class Windows(torch.utils.data.Dataset[PreparedRows]):
    """Windows of a column by their range of rows; what a ``DataLoader`` worker runs.

    Args:
        rows: Has the column, undecoded.
        column: Column to embed.
        encoder: Reads and prepares.
        batch_size: Inputs of a batch at the most.
        ranges: First row and row after the last of each window.
    """

    def __init__(
        self, rows: Dataset, column: str, encoder: Encoder, batch_size: int, ranges: list[tuple[int, int]]
    ) -> None:
        self.rows = rows
        self.column = column
        self.encoder = copy.copy(encoder)
        self.encoder.model = None  # a worker needs no weights
        self.batch_size = batch_size
        self.ranges = ranges

    def __len__(self) -> int:
        return len(self.ranges)

    def __getitem__(self, index: int) -> PreparedRows:
        start, stop = self.ranges[index]
        return prepare_rows(self.encoder, self.rows[start:stop][self.column], self.batch_size)


def load_windows(windows: Windows, num_workers: int, pin_memory: bool) -> Generator[PreparedRows, None, None]:
    """The windows in their order, prepared by worker processes two windows ahead each.

    Close the generator to end the processes.

    Args:
        windows: What is prepared.
        num_workers: Number of processes; 0 prepares in this one.
        pin_memory: Put the tensors into page-locked memory, for a GPU.

    Yields:
        What :func:`hf_curriculum.embedding.rows.prepare_rows` makes of each window.

    Raises:
        RuntimeError: If a worker process dies.
        ValueError: If what reads the rows cannot be sent to one.
    """
    loader = DataLoader(
        windows,
        batch_size=None,
        num_workers=num_workers,
        pin_memory=pin_memory,
        worker_init_fn=partial(_start_worker, os.getpid()),
        generator=torch.Generator(),  # which the loader seeds its workers from: not the global one
    )
    try:
        yield from loader
    except Exception as error:
        if num_workers == 0:
            raise
        if isinstance(error, ConnectionError | EOFError):  # it died while it handed over a tensor
            raise _death(windows.column) from error.with_traceback(None)
        if "pickle" in str(error) and isinstance(error, pickle.PicklingError | AttributeError | TypeError):
            raise ValueError(
                f"Worker processes cannot be started by {_start_method()!r}, which pickles what reads the rows: "
                f"{error}. Define that function at the top of a module that can be imported, or pass num_workers=0."
            ) from error.with_traceback(None)
        raise error.with_traceback(None)  # noqa: B904 - the frames of the loader keep the workers alive


def one_behind(items: Iterable[_Item]) -> Iterator[_Item]:
    """The items, each once the next one is made; where that fails, after those that were."""
    made: list[_Item] = []
    try:
        for item in items:
            yield from made
            made = [item]
    except Exception:
        yield from made
        raise
    yield from made


@contextmanager
def worker_death_explained(column: str) -> Iterator[None]:
    """Say what to do if a worker process dies; a signal tells this process, at any point of the block.

    Raises:
        RuntimeError: If a worker process dies.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker (pid" not in str(error):
            raise
        raise _death(column) from error.with_traceback(None)


def _death(column: str) -> RuntimeError:
    if (method := _start_method()) == "fork":
        causes = "out of memory is the usual cause. What is finished is kept: call again,"
    else:
        causes = (
            f"started by {method!r}, it imports the script that runs, where the call must stand under if __name__ == "
            "'__main__':, or every worker makes it again. Else out of memory is the usual cause. What is finished is "
            "kept: call again,"
        )
    return RuntimeError(
        f"A worker process that read column {column!r} died; {causes} with a smaller batch_size or fewer num_workers."
    )


def _start_method() -> str:
    return multiprocessing.get_start_method()


def _start_worker(parent: int, worker: int) -> None:
    if os.getppid() != parent:  # it was killed already: torch, which looks from now on, would never miss it
        os.kill(os.getpid(), signal.SIGKILL)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the workers are the parallelism
