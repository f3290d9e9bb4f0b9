"""The rows that a training on a dataset has drawn, as its logs tell them."""

import math
from typing import Any

import numpy as np

from hf_curriculum.training.coverage import Coverage
from hf_curriculum.training.trainer_sampler import TrainerSampler


class DrawnRows:
    """What is logged of the rows that a training has drawn.

    Args:
        sampler: Draws the rows.
        difficulty: Of all rows; ``None`` where rows are drawn without one.
        first_step: Optimiser step at which this curriculum starts. Default 0.
    """

    def __init__(self, sampler: TrainerSampler, difficulty: np.ndarray | None, first_step: int = 0) -> None:
        self._sampler, self._difficulty = sampler, difficulty
        self._coverage = Coverage(sampler, sampler.begun(first_step))
        self._since_log = (0.0, 0)  # sum and number of difficulties

    def note(self, step: int) -> None:
        """Take the rows drawn up to an optimiser step, by the tables of difficulties that they were drawn by."""
        sampler, first = self._sampler, self._coverage.steps
        rows = self._coverage.advance(sampler.begun(step)).reshape(-1, sampler.total_batch_size)
        if self._difficulty is None:
            return
        for at, drawn in enumerate(rows, start=first):
            table = sampler.table(at)
            difficulty = (self._difficulty if table is None else table)[drawn]
            if count := int(np.ma.count(difficulty)):
                total = float(difficulty.sum(dtype=np.float64))
                self._since_log = self._since_log[0] + total, self._since_log[1] + count

    def logs(self, step: int) -> dict[str, float]:
        """What is logged after an optimiser step, and of the rows drawn since the log before."""
        sampler = self._sampler
        trained = sampler.begun(step) - 1
        logs = {"curriculum/effective_fraction": sampler.effective_fraction(trained)}
        temperature = sampler.temperature(trained)
        if math.isfinite(temperature):  # JSON, and so trainer_state.json, knows no infinity
            logs["curriculum/temperature"] = temperature
        self.note(step)
        (total, count), self._since_log = self._since_log, (0.0, 0)
        if count:
            logs["curriculum/mean_difficulty"] = total / count
        logs["curriculum/distinct_fraction"] = self._coverage.measured
        logs["curriculum/distinct_fraction_planned"] = self._coverage.planned
        return logs

    def state(self) -> dict[str, Any]:
        """What :meth:`restore` needs, ready for JSON."""
        return {"coverage": self._coverage.state(), "drawn": list(self._since_log)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from where :meth:`state` was taken; checkpoints of earlier releases have less."""
        if "coverage" in state:
            self._coverage.restore(state["coverage"])
            total, count = state.get("drawn", (0.0, 0))
            self._since_log = total, count
