"""How much of the dataset a training has seen so far: as measured, and as planned."""

import base64
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hf_curriculum.training.sampler import CurriculumSampler

_TRACKED = 1 << 16  # rows that are watched at the most
_NODES = 256  # steps whose temperatures stand for those of many


class Coverage:
    """Share of distinct rows among the draws of the first steps of a :class:`CurriculumSampler`.

    Where the dataset has more than 65,536 rows, every ``k``-th is watched, which measures the share with a standard
    error of at most 0.2 %.

    Args:
        sampler: Draws the rows.
        first_step: Step at which the count starts. Default 0.

    Attributes:
        steps: Steps of the training that are counted, or before the first one.
    """

    def __init__(self, sampler: CurriculumSampler, first_step: int = 0) -> None:
        self.steps = self._first_step = first_step
        self._sampler = sampler
        self._stride = math.ceil(sampler.rows / _TRACKED)
        self._seen = np.zeros(math.ceil(sampler.rows / self._stride), dtype=bool)
        self._log_missed = np.zeros(sampler.solver.counts.size)

    def advance(self, steps: int) -> NDArray[np.int64]:
        """Count on, up to the first ``steps`` steps, and return the rows that these new steps drew."""
        drawn = [self._sampler.indices(step) for step in range(self.steps, steps)]
        rows = np.concatenate([np.empty(0, np.int64), *drawn])
        self._seen[rows[rows % self._stride == 0] // self._stride] = True
        self._miss(self.steps, steps)
        self.steps = max(self.steps, steps)
        return rows

    def _miss(self, first: int, last: int) -> None:
        """Add up the log-probabilities that a row is missed by the draws of these steps of the warm-up."""
        last = min(last, self._sampler.warmup_steps)
        if first >= last:
            return
        # The temperature changes slowly: over many steps some of them stand for all (midpoint rule).
        count = min(last - first, _NODES)
        nodes = (first + (np.arange(count) + 0.5) * (last - first) / count).astype(np.int64)
        mean = sum(self._sampler.solver.log_miss(self._sampler.temperature(int(step))) for step in nodes) / count
        self._log_missed += mean * (last - first) * self._sampler.total_batch_size

    @property
    def measured(self) -> float:
        """Share of the rows that have been drawn at least once."""
        return float(self._seen.mean())

    @property
    def planned(self) -> float:
        """Share that the draws are expected to reach: the curriculum's first, then those of the uniform walk."""
        sampler = self._sampler
        counts = sampler.solver.counts
        unseen = (counts @ np.exp(self._log_missed) + sampler.rows - counts.sum()) / sampler.rows
        walked = max(0, self.steps - max(self._first_step, sampler.warmup_steps)) * sampler.total_batch_size
        return float(1 - unseen * max(0.0, 1 - walked / sampler.rows))

    def state(self) -> dict[str, Any]:
        """What :meth:`restore` needs, ready for JSON; 11 KB at the most."""
        seen = base64.b64encode(np.packbits(self._seen).tobytes()).decode()
        return {"first_step": self._first_step, "steps": self.steps, "seen": seen}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from where :meth:`state` was taken, without the draws before it."""
        packed = np.frombuffer(base64.b64decode(state["seen"]), np.uint8)
        self._seen = np.unpackbits(packed, count=self._seen.size).astype(bool)
        self._first_step, self.steps = state["first_step"], state["steps"]
        self._miss(self._first_step, self.steps)
