"""Which rows a training step sees: a pure function of (seed, step)."""

import math
from collections.abc import Callable, Iterator
from itertools import chain

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import Sampler

from hf_curriculum.data import is_number, plain_number, require_count, suggesting
from hf_curriculum.training.config import CurriculumConfig, require_config
from hf_curriculum.training.draws import Draws
from hf_curriculum.training.lengths import group_by_length
from hf_curriculum.training.permutation import random_difficulty, walk
from hf_curriculum.training.schedule import planned_fraction, require_vector

WINDOW_STEPS = 32
"""Steps whose rows are grouped by length together."""
_BLOCK_DRAWS = 1 << 14  # rows drawn at once, or one step's if these are more
_KEPT = 4  # blocks, and windows, that are not drawn again


@suggesting
class CurriculumSampler(Sampler[int]):
    """Draws rows from prototypes to the whole dataset.

    During the warm-up, the rows of optimiser step ``s`` are independent draws, with replacement, from
    ``softmax(-difficulty / tau(s))``; afterwards the sampler walks random permutations of the whole dataset. The rows
    of a step depend on the arguments and the step alone: not on the steps before it, the number of processes or of
    workers. Every process yields the same global order, which Accelerate shards.

    An epoch is a whole number of steps, ``ceil(N / total_batch_size)`` unless ``steps_per_epoch`` says otherwise, so
    every batch is full. In a loop of your own, call ``set_epoch`` before each epoch, as for
    ``torch.utils.data.DistributedSampler``.

    Args:
        difficulty: Finite scores, low = easy; ``None`` with ``order="random"``, which needs ``rows``. Shape ``(N,)``.
            Rows that are masked (``numpy.ma``) have no difficulty:
            they are left out during the warm-up. Not kept: the sampler holds the sorted scores and their row numbers,
            8 (float32 scores) or 12 bytes a row.
        config: The curriculum; the default is the paper's.
        total_batch_size: Rows of one optimiser step: batch per device x processes x gradient accumulation.
        total_steps: Optimiser steps of the training; needed when ``config.warmup_steps`` is a share.
        steps_per_epoch: Optimiser steps of one epoch; default ``ceil(N / total_batch_size)``.
        rows: Number of rows ``N``, with ``order="random"`` alone.
        seed: Seed of the draws, used where ``config.seed`` is ``None``.
        lengths: Length of each row, shape ``(N,)``: the rows that 32 steps draw are then batched with rows of similar
            length, longest first in the first step.
        micro_batch_size: Rows that run at once, batch per device x processes, and so are grouped by length; default
            ``total_batch_size``.

    Attributes:
        rows: Number of rows ``N``.
        warmup_steps: Length of the warm-up in steps.
        steps_per_epoch: Steps of one epoch.
        lengths: Length of each row, int32, or ``None``.
        solver: Effective fraction as a function of the temperature, for these difficulties.

    Raises:
        TypeError: If ``difficulty`` is a dataset, or not of numbers, or ``config`` no :class:`CurriculumConfig`.
        ValueError: If ``difficulty`` is empty, not finite, not 1-D or masked in all rows, a count is not positive,
            ``micro_batch_size`` does not divide ``total_batch_size``, ``lengths`` are not one a row, or
            ``total_steps`` is missing.

    Example:
        >>> sampler = CurriculumSampler(np.linspace(0, 1, 1000), total_batch_size=4, total_steps=100)
        >>> sampler.indices(0).shape, len(sampler)
        ((4,), 1000)
    """

    def __init__(
        self,
        difficulty: ArrayLike | None,
        config: CurriculumConfig | None = None,
        *,
        total_batch_size: int,
        total_steps: int | None = None,
        steps_per_epoch: int | None = None,
        rows: int | None = None,
        seed: int = 0,
        lengths: ArrayLike | None = None,
        micro_batch_size: int | None = None,
    ) -> None:
        require_count(total_batch_size, "total_batch_size")
        require_count(steps_per_epoch, "steps_per_epoch", optional=True)
        require_count(rows, "rows", optional=True)
        self.config = require_config(config, "config")
        self.total_batch_size = total_batch_size
        self.micro_batch_size = micro_batch_size or total_batch_size
        if not is_number(plain_number(seed), int):
            raise TypeError(f"seed must be an integer, got {seed!r}.")
        self.seed = (seed if self.config.seed is None else self.config.seed) % 2**64
        self.warmup_steps = self.config.resolve_warmup(total_steps)
        self.total_steps = total_steps
        self._draws = self._draws_of(difficulty, rows)
        self.rows, self.solver = self._draws.rows, self._draws.solver
        self.lengths = None if lengths is None else self._check_lengths(lengths)
        self.steps_per_epoch = steps_per_epoch or math.ceil(self.rows / total_batch_size)
        self._next_step = 0
        self._set_step: int | None = None  # what `set_step` has chosen for the iteration that comes
        self._running_from: int | None = None  # what it chose for the one that runs
        self._steps_per_block = max(1, _BLOCK_DRAWS // total_batch_size)
        self._blocks: dict[int, NDArray[np.int64]] = {}
        self._windows: dict[int, NDArray[np.int64]] = {}

    def _draws_of(self, difficulty: ArrayLike | None, rows: int | None) -> Draws:
        if self.config.order == "random":
            if difficulty is not None or rows is None:
                raise ValueError("order='random' looks at no difficulty: pass None for it, and rows=N.")
            return Draws(random_difficulty(rows, self.seed), "easy_first")
        require_vector(difficulty)
        if difficulty is None or rows is not None:
            raise ValueError(f"order={self.config.order!r} draws by difficulty: pass one number a row, and no rows=.")
        return Draws(difficulty, self.config.order)

    def _check_lengths(self, lengths: ArrayLike) -> NDArray[np.int32]:
        array = np.asarray(lengths)
        if array.shape != (self.rows,):
            raise ValueError(f"lengths must be one number a row, shape ({self.rows},), got shape {array.shape}.")
        if self.total_batch_size % self.micro_batch_size:
            raise ValueError(
                f"micro_batch_size={self.micro_batch_size} must divide total_batch_size={self.total_batch_size}."
            )
        return array.astype(np.int32)

    def temperature(self, step: int) -> float:
        """Temperature of an optimiser step, in the unit of difficulty; ``math.inf`` once sampling is uniform."""
        return float(self._temperatures(np.array([step]))[0])

    def effective_fraction(self, step: int) -> float:
        """Effective fraction at the temperature of an optimiser step."""
        if step >= self.warmup_steps:
            return 1 - (1 - 1 / self.rows) ** self.rows
        return self.solver.fraction(self.temperature(step))

    def indices(self, step: int) -> NDArray[np.int64]:
        """Rows of one optimiser step, in the order in which they are drawn.

        Args:
            step: Optimiser step, from 0; any step can be asked for without the ones before it.

        Returns:
            Row indices, int64, shape ``(total_batch_size,)``.
        """
        if self.lengths is None:
            return self._drawn(step).copy()
        window, offset = divmod(step, WINDOW_STEPS)
        grouped = _recent(self._windows, window, self._group_window)
        return grouped[offset * self.total_batch_size : (offset + 1) * self.total_batch_size].copy()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next ``iter()`` yields; without this call, it yields epoch 0."""
        step = epoch * self.steps_per_epoch
        if step != self._running_from:  # else Lightning's call, which comes once its workers have begun this epoch
            self._next_step, self._set_step = step, None

    def set_step(self, step: int) -> None:
        """Choose the step at which the next ``iter()`` starts; it ends with the epoch of that step."""
        self._next_step = self._set_step = step

    def __len__(self) -> int:
        return (self.steps_per_epoch - self._next_step % self.steps_per_epoch) * self.total_batch_size

    def __iter__(self) -> Iterator[int]:
        first, last = self._next_step, self._next_step + len(self) // self.total_batch_size
        placed, self._set_step, self._next_step = self._set_step, None, 0  # of a run that follows, nothing is known
        return self._steps(first, last, placed)

    def _steps(self, first: int, last: int, placed: int | None = None) -> Iterator[int]:
        # chain hands rows on without a Python frame for each, which a generator of rows would cost.
        return chain.from_iterable(self._lists(first, last, placed))

    def _lists(self, first: int, last: int, placed: int | None) -> Iterator[list[int]]:
        self._running_from = placed
        try:
            for step in range(first, last):
                yield self.indices(step).tolist()
        finally:
            self._running_from = None

    def _drawn(self, step: int) -> NDArray[np.int64]:
        block, offset = divmod(step, self._steps_per_block)
        rows = _recent(self._blocks, block, self._draw_block)
        return rows[offset * self.total_batch_size : (offset + 1) * self.total_batch_size]

    def _group_window(self, window: int) -> NDArray[np.int64]:
        first, last = window * WINDOW_STEPS, (window + 1) * WINDOW_STEPS
        if self.total_steps is not None and first < self.total_steps:
            last = min(last, self.total_steps)  # rows that no step would train on are not drawn
        rows = np.concatenate([self._drawn(step) for step in range(first, last)])
        assert self.lengths is not None
        grouped = group_by_length(rows, self.lengths, self.micro_batch_size, self._generator(window, 2))
        if window == 0:  # the longest batch first: where memory does not suffice, that shows at once
            longest = np.argmax(self.lengths[grouped[:: self.micro_batch_size]])
            grouped = np.roll(grouped, -longest * self.micro_batch_size)
        return grouped

    def _generator(self, number: int, purpose: int) -> np.random.Generator:
        key, counter = np.array([self.seed, number], np.uint64), np.array([0, 0, 0, purpose], np.uint64)
        return np.random.Generator(np.random.Philox(key=key, counter=counter))

    def _temperatures(self, steps: NDArray[np.int64]) -> NDArray[np.float64]:
        solved = self.solver.temperature(planned_fraction(steps, self.config, self.warmup_steps))
        return np.where(steps < self.warmup_steps, solved, math.inf)

    def _draw_block(self, block: int) -> NDArray[np.int64]:
        first = block * self._steps_per_block
        steps = np.arange(first, first + self._steps_per_block)
        warmup = steps[steps < self.warmup_steps]
        inverse_temperature = np.repeat(1 / self._temperatures(warmup), self.total_batch_size)
        drawn = self._draws.draw(self._generator(block, 0), inverse_temperature)
        start = max(0, first - self.warmup_steps) * self.total_batch_size
        walked = walk(start, (steps.size - warmup.size) * self.total_batch_size, self.rows, self.seed)
        return np.concatenate([drawn, walked])


def _recent(
    kept: dict[int, NDArray[np.int64]], key: int, make: Callable[[int], NDArray[np.int64]]
) -> NDArray[np.int64]:
    """A few values by key: the log looks back while the loader draws ahead, and must not undo its work."""
    if key not in kept:
        while len(kept) >= _KEPT:
            del kept[next(iter(kept))]
        kept[key] = make(key)
    return kept[key]
