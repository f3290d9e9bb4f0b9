"""Rows by the difficulties of their time: a table of difficulties has a number, and a step has one table."""

import math
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hf_curriculum.training.sampler import CurriculumSampler

_KEPT = 3  # tables: the one in use, the one that the loader may read ahead of, and the one that logs look back to
_SORTING = ThreadPoolExecutor(1, "curriculum")  # a table is sorted while the training goes on: it is used later


class VersionedSampler(CurriculumSampler):
    """A :class:`CurriculumSampler` whose difficulties can be replaced from a step on.

    The rows of a step depend on the arguments, the step and the table that is valid for it, so any process that has
    the table draws the same. Without :meth:`use` it is a plain :class:`CurriculumSampler`.

    Args:
        *args: Those of :class:`CurriculumSampler`.
        **kwargs: Those of :class:`CurriculumSampler`.

    Attributes:
        known: Steps before this one have a table; ``math.inf`` where tables are never replaced.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._versions: dict[int, Future[CurriculumSampler]] = {}  # by the first step
        self._tables: dict[int, NDArray[np.floating]] = {}
        self.known: float = math.inf

    def use(self, first_step: int, difficulty: ArrayLike) -> None:
        """Draw by another table of difficulties from a step on, that no row has been drawn for.

        Args:
            first_step: The step.
            difficulty: Finite scores, low = easy. Shape ``(N,)``.
        """
        self._versions[first_step] = _SORTING.submit(self._make, difficulty)
        self._tables[first_step] = np.asarray(difficulty)
        for old in sorted(self._versions)[:-_KEPT]:
            del self._versions[old], self._tables[old]

    def _make(self, difficulty: ArrayLike) -> CurriculumSampler:
        version = CurriculumSampler(
            difficulty, self.config, total_batch_size=self.total_batch_size, seed=self.seed, total_steps=1
        )
        version.warmup_steps = self.warmup_steps
        return version

    def table(self, step: int) -> NDArray[np.floating] | None:
        """Difficulties by which the rows of a step are drawn; ``None`` before any were replaced."""
        first = self._first(step)
        return None if first is None else self._tables[first]

    def indices(self, step: int) -> NDArray[np.int64]:
        """As :meth:`CurriculumSampler.indices`, by the table that is valid for the step.

        Raises:
            RuntimeError: If the step has no table yet.
        """
        if step >= self.known:
            raise RuntimeError(
                f"The rows of step {step} were asked for while difficulties are known up to step {self.known}: the "
                "loader reads further ahead than LearnedDifficulty(every=...) steps. Raise every, or lower "
                "dataloader_num_workers or dataloader_prefetch_factor."
            )
        version = self._at(step)
        return super().indices(step) if version is None else version.indices(step)

    def temperature(self, step: int) -> float:
        """As :meth:`CurriculumSampler.temperature`, by the table that is valid for the step."""
        version = self._at(step)
        return super().temperature(step) if version is None else version.temperature(step)

    def effective_fraction(self, step: int) -> float:
        """As :meth:`CurriculumSampler.effective_fraction`, by the table that is valid for the step."""
        version = self._at(step)
        return super().effective_fraction(step) if version is None else version.effective_fraction(step)

    def _at(self, step: int) -> CurriculumSampler | None:
        first = self._first(step)
        return None if first is None else self._versions[first].result()

    def _first(self, step: int) -> int | None:
        return max((first for first in self._versions if first <= step), default=None)
