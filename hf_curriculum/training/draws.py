"""Draws of rows by their difficulty: exact, independent, and at a cost that does not grow with the rows."""

import logging
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hf_curriculum.training.bins import difficulty_bins, ordered, rank_rows
from hf_curriculum.training.schedule import check_difficulty
from hf_curriculum.training.temperature import TemperatureSolver

logger = logging.getLogger(__name__)
_LADDER = math.log(1.1)  # between two rungs at most one proposal in ten is refused for the rung's sake


class Draws:
    """Rows drawn from ``softmax(-difficulty / temperature)``, with replacement.

    Args:
        difficulty: Finite scores, low = easy. Shape ``(N,)``. Rows that are masked (``numpy.ma``) have no difficulty
            and are never drawn. Not kept: the sorted scores and their row numbers are, 8 (float32 scores) or 12 bytes
            a row.
        order: ``"easy_first"`` or ``"hard_first"``.

    Attributes:
        rows: Number of rows ``N``, those without a difficulty included.
        solver: Effective fraction as a function of the temperature, for these difficulties.

    Raises:
        ValueError: If ``difficulty`` is empty, not finite, not 1-D or masked in all rows.
    """

    def __init__(self, difficulty: ArrayLike, order: str) -> None:
        difficulty = np.ma.asarray(difficulty)
        self.rows = difficulty.size
        masked = np.ma.getmaskarray(difficulty)
        scores = difficulty.compressed() if masked.any() else difficulty.data
        if self.rows and not scores.size:
            raise ValueError(f"difficulty is masked in all {self.rows} rows.")
        scores = check_difficulty(scores)
        self._ranked, self._row_of_rank = rank_rows(ordered(scores, order))
        if scores.size < self.rows:
            logger.warning(
                "%d of %d rows have no difficulty: they are left out while the curriculum warms up.",
                self.rows - scores.size,
                self.rows,
            )
            self._row_of_rank = np.flatnonzero(~masked).astype(self._row_of_rank.dtype)[self._row_of_rank]
        edges = difficulty_bins(self._ranked)
        self._starts, self._counts = edges[:-1], np.diff(edges)
        self._lows = self._ranked[self._starts].astype(np.float64)
        self.solver = TemperatureSolver(self._ranked, edges, self.rows)

    def draw(self, rng: np.random.Generator, inverse_temperature: NDArray[np.float64]) -> NDArray[np.int64]:
        """One row for each inverse temperature, exactly from its softmax, by rejection.

        A bin is proposed with probability proportional to ``count * exp(-inverse_temperature * low)``, then a row
        uniformly in it. The proposal's inverse temperature is the next lower rung of a ladder of ratio 1.1, so that
        draws of many temperatures share one table.

        Args:
            rng: Where chance comes from.
            inverse_temperature: ``1 / temperature``, 0 for uniform draws. Shape ``(n,)``.

        Returns:
            Row indices, int64, shape ``(n,)``.
        """
        with np.errstate(divide="ignore", over="ignore"):
            rungs = np.exp(np.floor(np.log(inverse_temperature) / _LADDER) * _LADDER)
        ranks = np.empty(inverse_temperature.size, np.int64)
        for rung in np.unique(rungs):
            slots = np.flatnonzero(rungs == rung)
            cumulative = np.cumsum(self._counts * np.exp(-rung * self._lows))
            cumulative /= cumulative[-1]
            while slots.size:
                choose_bin, choose_row, accept = rng.random((3, slots.size))
                bins = np.searchsorted(cumulative, choose_bin, side="right")
                rank = self._starts[bins] + (choose_row * self._counts[bins]).astype(np.int64)
                accepted = accept < np.exp(rung * self._lows[bins] - inverse_temperature[slots] * self._ranked[rank])
                ranks[slots[accepted]] = rank[accepted]
                slots = slots[~accepted]
        return self._row_of_rank[ranks].astype(np.int64)
