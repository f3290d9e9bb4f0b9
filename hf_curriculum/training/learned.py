"""Difficulties that follow the model while it trains: what the user sets."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from hf_curriculum.data import function_name, plain_number, require_count, require_number, suggesting

if TYPE_CHECKING:
    from transformers import Trainer


@suggesting
@dataclass(frozen=True)
class LearnedDifficulty:
    """Difficulties that follow the model while it trains.

    Every ``every`` optimiser steps a new table of difficulties is made of all that was seen so far. It is used from
    ``every`` steps later on, so that a loader may read ahead, until the next one is. Before the first, rows have the
    difficulty of their column; if the dataset lacks it, all rows have the same.

    Args:
        source: What is seen. ``"loss"``: the row's own loss, of the forward pass that trains on it; ``"reward"``: the
            mean reward of a prompt's completions, in TRL's ``GRPOTrainer`` and ``RLOOTrainer``: prompts whose pass
            rate is near ``target`` come first; or a function of the trainer that returns one number a row, low =
            easy, called on all processes, of which the answer of the first counts.
        every: Optimiser steps between two tables. Default 100.
        target: Of ``"reward"``: mean reward of the prompts that come first. Default 0.5.

    Raises:
        TypeError: If ``source`` is something else, ``every`` no integer, or ``target`` no number.
        ValueError: If ``every`` is not at least 1, or ``target`` not finite, or given with another source.
    """

    source: str | Callable[["Trainer"], ArrayLike]
    every: int = 100
    target: float = 0.5

    def __post_init__(self) -> None:
        if self.source not in ("loss", "reward") and not callable(self.source):
            raise TypeError(f"source must be 'loss', 'reward' or a function of the trainer, got {self.source!r}.")
        require_count(self.every, "every")
        require_number(self.target, "target")
        for name in ("every", "target"):
            object.__setattr__(self, name, plain_number(getattr(self, name)))
        if not np.isfinite(self.target):
            raise ValueError(f"target must be a finite reward, got {self.target!r}.")
        if self.source != "reward" and self.target != LearnedDifficulty.target:
            raise ValueError(f"target={self.target} is an option of source='reward': leave it out.")

    @property
    def name(self) -> str:
        """The source, or the name of the function."""
        return self.source if isinstance(self.source, str) else function_name(self.source)
