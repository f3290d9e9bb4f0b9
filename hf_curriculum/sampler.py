"""Which rows a training step sees: a pure function of (seed, step)."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import Sampler

from hf_curriculum.config import CurriculumConfig
from hf_curriculum.permutation import shuffled
from hf_curriculum.schedule import TemperatureSolver, check_difficulty, difficulty_bins, ordered, planned_fraction

_BLOCK_DRAWS = 1 << 14
_BLOCKS_KEPT = 4
_LADDER = math.log(1.1)


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
        difficulty: Finite scores, low = easy. Shape ``(N,)``. Not kept: the sampler holds the sorted scores and
            their row numbers, 8 (float32 scores) or 12 bytes a row.
        config: The curriculum; the default is the paper's.
        total_batch_size: Rows of one optimiser step: batch per device x processes x gradient accumulation.
        total_steps: Optimiser steps of the training; needed when ``config.warmup_steps`` is a share.
        steps_per_epoch: Optimiser steps of one epoch; default ``ceil(N / total_batch_size)``.
        seed: Seed of the draws, used where ``config.seed`` is ``None``.

    Raises:
        ValueError: If ``difficulty`` is empty, not finite or not 1-D, a count is not positive, or ``total_steps`` is
            missing.

    Example:
        >>> sampler = CurriculumSampler(np.linspace(0, 1, 1000), total_batch_size=4, total_steps=100)
        >>> sampler.indices(0).shape, len(sampler)
        ((4,), 1000)
    """

    def __init__(
        self,
        difficulty: ArrayLike,
        config: CurriculumConfig | None = None,
        *,
        total_batch_size: int,
        total_steps: int | None = None,
        steps_per_epoch: int | None = None,
        seed: int = 0,
    ) -> None:
        config = config or CurriculumConfig()
        for name, count in (("total_batch_size", total_batch_size), ("steps_per_epoch", steps_per_epoch)):
            if count is not None and count < 1:
                raise ValueError(f"{name} must be at least 1, got {count}.")
        check_difficulty(difficulty)
        self.config = config
        self.total_batch_size = total_batch_size
        self.seed = (seed if config.seed is None else config.seed) % 2**64
        self.warmup_steps = config.resolve_warmup(total_steps)
        self._rank(np.asarray(difficulty))
        self.steps_per_epoch = steps_per_epoch or math.ceil(self._order.size / total_batch_size)
        self.epoch = 0
        self._steps_per_block = max(1, _BLOCK_DRAWS // total_batch_size)
        # The log looks back while the loader draws ahead: without a few blocks at hand they would undo each other.
        self._blocks: dict[int, NDArray[np.int64]] = {}

    def _rank(self, difficulty: NDArray[np.floating]) -> None:
        if difficulty.dtype not in (np.float32, np.float64):
            difficulty = difficulty.astype(np.float64)
        scores = ordered(difficulty, self.config.order)
        self._order = np.argsort(scores, kind="stable").astype(np.uint32 if scores.size <= 2**32 else np.int64)
        self._ranked = scores[self._order]
        edges = difficulty_bins(self._ranked)
        self._starts, self._counts = edges[:-1], np.diff(edges)
        self._lows = self._ranked[self._starts].astype(np.float64)
        self._solver = TemperatureSolver(self._ranked, edges)

    def temperature(self, step: int) -> float:
        """Temperature of an optimiser step, in the unit of difficulty; ``math.inf`` once sampling is uniform."""
        return float(self._temperatures(np.array([step]))[0])

    def effective_fraction(self, step: int) -> float:
        """Effective fraction at the temperature of an optimiser step."""
        return self._solver.fraction(self.temperature(step))

    def indices(self, step: int) -> NDArray[np.int64]:
        """Rows of one optimiser step, in the order in which they are drawn.

        Args:
            step: Optimiser step, from 0; any step can be asked for without the ones before it.

        Returns:
            Row indices, int64, shape ``(total_batch_size,)``.
        """
        block, offset = divmod(step, self._steps_per_block)
        if block not in self._blocks:
            if len(self._blocks) == _BLOCKS_KEPT:
                del self._blocks[next(iter(self._blocks))]
            self._blocks[block] = self._draw_block(block)
        return self._blocks[block][offset * self.total_batch_size : (offset + 1) * self.total_batch_size]

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next ``iter()`` yields."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.steps_per_epoch * self.total_batch_size

    def __iter__(self) -> Iterator[int]:
        first = self.epoch * self.steps_per_epoch
        for step in range(first, first + self.steps_per_epoch):
            yield from self.indices(step).tolist()

    def _temperatures(self, steps: NDArray[np.int64]) -> NDArray[np.float64]:
        solved = self._solver.temperature(planned_fraction(steps, self.config, self.warmup_steps))
        return np.where(steps < self.warmup_steps, solved, math.inf)

    def _draw_block(self, block: int) -> NDArray[np.int64]:
        first = block * self._steps_per_block
        steps = np.arange(first, first + self._steps_per_block)
        warmup = steps[steps < self.warmup_steps]
        rng = np.random.Generator(np.random.Philox(key=np.array([self.seed, block], np.uint64)))
        drawn = self._draw(rng, np.repeat(1 / self._temperatures(warmup), self.total_batch_size))
        start = max(0, first - self.warmup_steps) * self.total_batch_size
        return np.concatenate([drawn, self._walk(start, (steps.size - warmup.size) * self.total_batch_size)])

    def _draw(self, rng: np.random.Generator, coldness: NDArray[np.float64]) -> NDArray[np.int64]:
        """One row for each inverse temperature, exactly from its softmax, by rejection.

        A bin is proposed with probability proportional to ``count * exp(-coldness * low)``, then a row uniformly in
        it. The proposal's coldness is the next lower rung of a ladder of ratio 1.1, so that slots share one table.
        """
        with np.errstate(divide="ignore"):
            rungs = np.exp(np.floor(np.log(coldness) / _LADDER) * _LADDER)
        ranks = np.empty(coldness.size, np.int64)
        for rung in np.unique(rungs):
            slots = np.flatnonzero(rungs == rung)
            cumulative = np.cumsum(self._counts * np.exp(-rung * self._lows))
            cumulative /= cumulative[-1]
            while slots.size:
                choose_bin, choose_row, accept = rng.random((3, slots.size))
                bins = np.searchsorted(cumulative, choose_bin, side="right")
                rank = self._starts[bins] + (choose_row * self._counts[bins]).astype(np.int64)
                accepted = accept < np.exp(rung * self._lows[bins] - coldness[slots] * self._ranked[rank])
                ranks[slots[accepted]] = rank[accepted]
                slots = slots[~accepted]
        return self._order[ranks].astype(np.int64)

    def _walk(self, start: int, size: int) -> NDArray[np.int64]:
        """Draws ``start`` to ``start + size`` of the permutations that follow the warm-up."""
        passes, positions = np.divmod(np.arange(start, start + size), self._order.size)
        rows = [shuffled(positions[passes == p], self._order.size, self.seed, int(p)) for p in np.unique(passes)]
        return np.concatenate([np.empty(0, np.int64), *rows])
