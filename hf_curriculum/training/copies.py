"""How often a row of a stream is trained on, and how many rows are read at once: the law of the stream."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hf_curriculum.data import require_count, spread_quantiles
from hf_curriculum.training.bins import difficulty_bins
from hf_curriculum.training.config import CurriculumConfig
from hf_curriculum.training.schedule import planned_fraction
from hf_curriculum.training.temperature import FloatArray, TemperatureSolver

_NODES = 32
_LARGEST_BLOCK = 4096


class CopyLaw:
    """Copies of the rows of a stream: Poisson with mean ``w / E[w]``, ``w = exp(-difficulty / tau)``.

    The step of a row is that in which it is trained on: rows handed out so far, over the rows of a step. So the
    schedule keeps to the optimiser's clock even where the stream's difficulties are not distributed as the quantiles.

    Args:
        quantiles: Distribution of the difficulties.
        config: The curriculum.
        total_batch_size: Rows of one optimiser step, of all readers together.
        warmup_steps: Length of the warm-up in steps.
        block_size: Rows of a block; ``None`` takes 4,096, and during the warm-up as few as the schedule needs.
        batch_size: Rows that a loader takes from one of its workers before it turns to the next; ``None`` ignores
            that they take turns.

    Raises:
        ValueError: If a number is not positive, or ``block_size`` too large for the warm-up.
    """

    def __init__(
        self,
        quantiles: ArrayLike,
        config: CurriculumConfig,
        *,
        total_batch_size: int,
        warmup_steps: int,
        block_size: int | None = None,
        batch_size: int | None = None,
    ) -> None:
        require_count(total_batch_size, "total_batch_size")
        require_count(block_size, "block_size", optional=True)
        points = spread_quantiles(quantiles)
        self.quantiles = np.asarray(quantiles, dtype=np.float64)
        self._lowest, self._highest = points[0], points[-1]
        self.config = config
        self.total_batch_size = total_batch_size
        self.warmup_steps = warmup_steps
        self.block_size = block_size
        self.batch_size = batch_size
        ranked = np.sort(self._scores(points))
        self.solver = TemperatureSolver(ranked, difficulty_bins(ranked), ranked.size)
        self.check_block(1)

    def _scores(self, difficulty: FloatArray) -> FloatArray:
        """Scores from 0, the row to draw first, on; difficulties outside the quantiles count as their nearest."""
        inside = np.clip(difficulty, self._lowest, self._highest)
        return self._highest - inside if self.config.order == "hard_first" else inside - self._lowest

    def warmup_rows(self, readers: int) -> int:
        """Rows that one of ``readers`` hands out during the warm-up."""
        return math.ceil(self.warmup_steps * self.total_batch_size / readers)

    def check_block(self, readers: int) -> None:
        """Raise if ``block_size`` is so large that shuffling a block blurs the schedule.

        Args:
            readers: Readers of such blocks.

        Raises:
            ValueError: If so; the largest that fits is named.
        """
        largest = max(1, self.warmup_rows(readers) // 10)
        if self.block_size is not None and self.block_size > largest:
            raise ValueError(
                f"block_size={self.block_size} is too large: {readers} readers of such blocks blur a warm-up of "
                f"{self.warmup_steps} steps of {self.total_batch_size} rows. The largest that fits is {largest}; or "
                "leave block_size out."
            )

    def block_rows(self, emitted: int, readers: int) -> int:
        """Rows of the block that a reader reads after it has handed out ``emitted`` rows.

        Shuffling a block blurs the schedule by up to half its length: of 20 steps in a row the mean difficulty then
        moves by less than 0.005, if a block is at most 8 steps and 1/20 of the warm-up, or at most 1/128 of it.

        Args:
            emitted: Rows that the reader has handed out.
            readers: Number of readers.

        Returns:
            At least 1; a block never bridges the end of the warm-up.
        """
        left = self.warmup_rows(readers) - emitted
        if left <= 0:
            return self.block_size or _LARGEST_BLOCK
        if self.block_size is None:
            steps = max(self.warmup_steps / 128, min(8, self.warmup_steps / 20))
            rows = min(_LARGEST_BLOCK, int(steps * self.total_batch_size / readers))
        else:
            rows = self.block_size
        return max(1, min(rows, left))

    def steps(self, emitted: int, rows: int, readers: int, worker: int = 0, workers: int = 1) -> NDArray[np.int64]:
        """Optimiser step in which each of the next rows of a reader is trained on.

        Args:
            emitted: Rows that it handed out before.
            rows: How many are next, if each comes once.
            readers: Number of readers.
            worker: Number of the reader among the workers of its loader.
            workers: Number of these.

        Returns:
            Shape ``(rows,)``.
        """
        number = emitted + np.arange(rows)
        if self.batch_size is None:
            return number * readers // self.total_batch_size
        batches = (number // self.batch_size * workers + worker) * (readers // workers)
        return batches * self.batch_size // self.total_batch_size

    def rates(self, difficulty: FloatArray, steps: NDArray[np.int64]) -> FloatArray:
        """Expected copies of each row, at the temperature of its step.

        Args:
            difficulty: NaN for none, whose rate is 0. Shape ``(n,)``.
            steps: Steps of the warm-up, shape ``(n,)``.

        Returns:
            Shape ``(n,)``.
        """
        rates = np.zeros(difficulty.size)
        present = ~np.isnan(difficulty)
        inverse_temperature = 1 / self.temperatures(steps[present])
        rates[present] = np.exp(
            -inverse_temperature * self._scores(difficulty[present]) - self._log_mean_weights(inverse_temperature)
        )
        return rates

    def temperatures(self, steps: ArrayLike) -> FloatArray:
        """Temperature of each step of the warm-up."""
        distinct, where = np.unique(np.asarray(steps), return_inverse=True)
        return self.solver.temperature(planned_fraction(distinct, self.config, self.warmup_steps))[where]

    def _log_mean_weights(self, inverse_temperature: FloatArray) -> FloatArray:
        distinct, where = np.unique(inverse_temperature, return_inverse=True)
        if distinct.size <= _NODES:
            return self.solver.log_mean_weight(distinct)[where]
        # A smooth function (its second derivative is a variance), and in a block the temperature moves little.
        nodes = np.linspace(distinct[0], distinct[-1], _NODES)
        return np.interp(inverse_temperature, nodes, self.solver.log_mean_weight(nodes))

    def draw(
        self, difficulty: FloatArray, emitted: int, readers: int, key: list[int], worker: int = 0, workers: int = 1
    ) -> NDArray[np.int64]:
        """Draw from a block.

        Args:
            difficulty: Of its rows, NaN for none. Shape ``(n,)``.
            emitted: Rows that the reader handed out before.
            readers: Number of readers.
            key: What the random numbers follow from.
            worker: Number of the reader among the workers of its loader.
            workers: Number of these.

        Returns:
            Positions of the rows to train on, each as often as it is drawn, in random order.
        """
        rng = np.random.default_rng(key)
        if emitted >= self.warmup_rows(readers):
            return rng.permutation(difficulty.size)
        steps = self.steps(emitted, difficulty.size, readers, worker, workers)
        copies = rng.poisson(self.rates(difficulty, steps))
        return rng.permutation(np.repeat(np.arange(difficulty.size), copies))
