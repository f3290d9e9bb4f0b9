"""What a trainer adds to a curriculum on a stream: passes without end, logs, and a state for its checkpoints."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from accelerate import Accelerator
from accelerate.utils import gather_object
from datasets import IterableDataset

from hf_curriculum.training.config import CurriculumConfig
from hf_curriculum.training.copies import CopyLaw
from hf_curriculum.training.journal import Journal
from hf_curriculum.training.schedule import planned_fraction
from hf_curriculum.training.stream import START, stream_quantiles, turns_warning, with_copies
from hf_curriculum.training.stream_rows import undivided

logger = logging.getLogger(__name__)
_ENOUGH_ROWS = 4096


@dataclass
class _Reader:
    """How far a training has come in what one reader hands out."""

    number: int
    state: dict[str, Any]
    """Before the block that it is in."""
    distinct: int = 0
    """Rows of the blocks before that were handed out at least once."""
    block: dict[str, Any] | None = None
    taken: int = field(init=False)
    """Rows that were trained on."""

    def __post_init__(self) -> None:
        self.taken = self.state["emitted"] + self.state["handed"]

    def advance(self, taken: int, journal: Journal) -> Iterator[np.ndarray]:
        """Difficulties of the rows from the last one trained on to ``taken``."""
        while self.taken < taken:
            self.block = self.block or journal.take(self.number, self.state["read"])
            offset, rows = self.taken - self.state["emitted"], self.block["drawn"]
            yield rows[offset : offset + taken - self.taken]
            self.taken = min(taken, self.state["emitted"] + rows.size)
            if self.taken < taken:
                self._leave_block()

    def _leave_block(self) -> None:
        assert self.block is not None
        read, emitted = self.state["read"] + self.block["rows"], self.state["emitted"] + self.block["drawn"].size
        self.distinct += self.block["distinct"]
        self.state, self.block = {**self.state, "read": read, "emitted": emitted, "handed": 0}, None

    @property
    def resume(self) -> dict[str, Any]:
        """The state that leads back to the next row."""
        state = self.state if self.block is None else self.block["state"]
        return {**state, "handed": self.taken - state["emitted"]}

    @property
    def counts(self) -> np.ndarray:
        """Rows read, handed out, and handed out at least once; of the block that it is in, the share trained on."""
        before = np.array([self.state["read"], self.state["emitted"], self.distinct])
        if self.block is None or not self.block["drawn"].size:
            return before
        share = (self.taken - self.state["emitted"]) / self.block["drawn"].size
        return before + share * np.array([self.block["rows"], self.block["drawn"].size, self.block["distinct"]])


class StreamTraining:
    """The stream that a trainer reads, and how far it has come.

    Args:
        stream: What the user passed.
        config: The curriculum.
        accelerator: That of the trainer; says how many processes read.
        workers: Workers of the loader of each process.
        accumulation: Batches of each process in one optimiser step.
        total_batch_size: Rows of one optimiser step.
        total_steps: Steps of the training.
        seed: Seed of the draws.

    Raises:
        ValueError: If the stream is divided otherwise than by the processes that train.
    """

    def __init__(
        self,
        stream: IterableDataset,
        config: CurriculumConfig,
        accelerator: Accelerator,
        *,
        workers: int,
        accumulation: int,
        total_batch_size: int,
        total_steps: int,
        seed: int,
    ) -> None:
        stream = undivided(stream, accelerator.process_index, accelerator.num_processes)
        # With split_batches, a batch of the loader is for all processes.
        processes = 1 if accelerator.split_batches else accelerator.num_processes
        batch_size = total_batch_size // (accumulation * processes)
        self.law = CopyLaw(
            stream_quantiles(stream, config.difficulty_column),
            config,
            total_batch_size=total_batch_size,
            warmup_steps=config.resolve_warmup(total_steps),
            batch_size=batch_size,
        )
        self.total_steps, self.seed = total_steps, seed if config.seed is None else config.seed
        self._accelerator = accelerator
        # Processes read parts of their own; or each reads all, or process 0 does, and they take slices of the batches.
        together = accelerator.dispatch_batches or accelerator.split_batches
        self._parts = 1 if together else accelerator.num_processes
        self._workers, self._batch_size = max(1, workers), batch_size
        self._folder = TemporaryDirectory()
        self._journal = Journal(Path(self._folder.name))
        self._shards = stream.num_shards
        turns = self.readers // math.gcd(self.readers, self._shards)
        if turns > 1 and accelerator.is_main_process:
            logger.warning(turns_warning(turns, self.readers))
        self.dataset = with_copies(stream, self.law, self.seed, endless=True, journal=self._journal)
        self._resumed: dict[str, Any] = {}
        self._readers: list[_Reader] = []
        self._told_drift = self._told_passes = False

    @property
    def readers(self) -> int:
        """Readers of all processes."""
        return self._parts * self._workers

    def settings(self) -> dict[str, Any]:
        """All that the rows of a step depend on, but for the config and the seed, ready for JSON."""
        return {
            "warmup_steps": self.law.warmup_steps,
            "total_batch_size": self.law.total_batch_size,
            "batch_size": self._batch_size,
            "processes that read": self._parts,
            "dataloader_num_workers": self._workers,
            "shards": self._shards,
        }

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Unless the user decided, processes read for themselves: Accelerate would let process 0 read for all."""
        loader = self._accelerator.dataloader_config
        chosen = loader.dispatch_batches
        loader.dispatch_batches = bool(chosen)
        try:
            yield
        finally:
            loader.dispatch_batches = chosen

    def restore(self, saved: dict[str, Any]) -> None:
        """Take the readers' states from a checkpoint; without any, the stream is read from its start.

        Args:
            saved: From :meth:`saved`.
        """
        self._resumed = saved

    def begin(self, step: int) -> None:
        """Readers that start from now on start with the rows of this step."""
        if self._readers:  # an epoch that was ended early
            self.advance(step)
            self._readers = [_Reader(reader.number, reader.resume, reader.distinct) for reader in self._readers]
        else:
            part = self._accelerator.process_index if self._parts > 1 else 0
            numbers = [part + self._parts * worker for worker in range(self._workers)]
            anew = [{**START, "emitted": self._taken(worker, step)} for worker in range(self._workers)]
            self._readers = [
                _Reader(number, **self._resumed.get(str(number), {"state": state}))
                for number, state in zip(numbers, anew, strict=True)
            ]
        states = {reader.number: reader.state for reader in self._readers}
        self._journal.begin(states, self._batches(step) % self._workers)

    def _batches(self, step: int) -> int:
        """Batches that the loader of a process gives for the first steps."""
        return step * self.law.total_batch_size // (self._parts * self._batch_size)

    def _taken(self, worker: int, step: int) -> int:
        """Rows of the first steps that come from one worker: the loader takes a batch from each in turn."""
        return self._batch_size * math.ceil(max(0, self._batches(step) - worker) / self._workers)

    def advance(self, step: int) -> np.ndarray:
        """Difficulties of the rows that this process read for the steps since the last call."""
        if self._parts == 1 and self._accelerator.dispatch_batches and not self._accelerator.is_main_process:
            return np.empty(0)
        parts = [
            difficulties
            for worker, reader in enumerate(self._readers)
            for difficulties in reader.advance(self._taken(worker, step), self._journal)
        ]
        return np.concatenate([np.empty(0), *parts])

    def saved(self, step: int) -> dict[str, Any]:
        """State of each reader of all processes, ready for JSON; every process calls it."""
        self.advance(step)
        own = [(str(reader.number), {"state": reader.resume, "distinct": reader.distinct}) for reader in self._readers]
        every = dict(reversed(gather_object(own) if self._accelerator.num_processes > 1 else own))
        if self._accelerator.is_main_process:
            self._check_passes({number: reader["state"] for number, reader in every.items()})
        return every

    def logs(self, step: int) -> dict[str, float]:
        """What is logged of a step, and of the rows of this process since the step logged before."""
        difficulties = self.advance(step + 1)
        warm = step < self.law.warmup_steps
        temperature = float(self.law.temperatures([step])[0]) if warm else math.inf
        logs = {"curriculum/effective_fraction": self.law.solver.fraction(temperature)}
        if math.isfinite(temperature):
            logs["curriculum/temperature"] = temperature
        if self.law.config.difficulty_column is not None and np.isfinite(difficulties).any():
            logs["curriculum/mean_difficulty"] = float(np.nanmean(difficulties, dtype=np.float64))
        read, emitted, distinct = np.sum([reader.counts for reader in self._readers], axis=0).tolist()
        if read:
            logs["curriculum/rows_read"] = round(read)
            logs["curriculum/rows_per_row_read"] = emitted / read
            logs["curriculum/distinct_fraction"] = distinct / read
            self._check_drift(read, emitted / read, warm)
        steps = np.arange(min(step + 1, self.law.warmup_steps))
        planned = planned_fraction(steps, self.law.config, self.law.warmup_steps).sum() + step + 1 - steps.size
        logs["curriculum/distinct_fraction_planned"] = float(planned / (step + 1))
        return logs

    def _check_passes(self, states: dict[str, dict[str, Any]]) -> None:
        """Say if a reader has begun again that has fewer rows than another one, which has not."""
        states = {number: state for number, state in states.items() if "began" in state}  # older checkpoints have none
        if self._told_passes or not states:
            return
        passes = {number: state["pass"] for number, state in states.items()}
        first, last = max(passes, key=passes.__getitem__), min(passes, key=passes.__getitem__)
        rows = states[first]["began"] // max(1, passes[first])
        seen = states[last]["read"] + states[last]["handed"] - states[last]["began"]
        if passes[first] > passes[last] and seen > 1.1 * rows:
            self._told_passes = True
            logger.warning(
                "The shards of the stream have unequal numbers of rows: reader %s has read its %d rows %d times, "
                "and reader %s its %d or more only %d times. Rows of small shards are trained on more "
                "often: write shards of equal size, or as many as cannot be shared out, so that readers take turns.",
                first,
                rows,
                passes[first],
                last,
                seen,
                passes[last],
            )

    def _check_drift(self, read: int, ratio: float, warm: bool) -> None:
        if warm and not self._told_drift and read >= _ENOUGH_ROWS and abs(ratio - 1) > 0.25:
            self._told_drift = True
            logger.warning(
                "%.2f rows are trained on for each that is read, where it should be 1: the difficulties of the stream "
                "are not distributed as its quantiles say, and the effective fraction is not the planned one.",
                ratio,
            )
