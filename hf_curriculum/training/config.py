"""How training moves from prototypes to the whole dataset."""

import json
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, SupportsFloat

from hf_curriculum.data import function_name, is_number, plain_number, require_count, suggesting

logger = logging.getLogger(__name__)
UNIFORM_FRACTION = 1 - 1 / math.e
"""Share of distinct rows among N uniform draws with replacement from N rows, for large N."""
SCHEDULES = ("cosine", "linear", "root", "step")
ORDERS = ("easy_first", "hard_first", "random")


@suggesting
@dataclass(frozen=True, kw_only=True)
class CurriculumConfig:
    """Settings of a curriculum; frozen, and checked when it is made.

    Attributes:
        initial_fraction: Effective fraction of the dataset at step 0, in ``(0, 1 - 1/e]``. Default 0.3.
        final_fraction: Effective fraction at the end of the warm-up, in ``[initial_fraction, 1 - 1/e]``.
            Default ``1 - 1/e``, the share that uniform sampling covers.
        warmup_steps: Optimiser steps until the distribution is uniform. An ``int`` counts steps; a ``float`` in
            ``(0, 1]`` is a share of the training. So ``1`` is one step, of which a warning is logged, and ``1.0`` is
            all of the training. Default 0.5, half of the training.
        schedule: Shape of the rise from initial to final fraction: ``"cosine"`` (default, the paper),
            ``"linear"``, ``"root"`` (competence-based, Platanios et al. 2019), ``"step"`` (initial fraction until
            the warm-up ends: single-step pacing, Hacohen and Weinshall 2019), or a function from progress in
            ``[0, 1]`` to the share of the rise that is done, in ``[0, 1]``.
        order: ``"easy_first"`` (default), ``"hard_first"``, or ``"random"``: a pool of random rows that grows by the
            same schedule, chosen by the seed, without a difficulty.
        difficulty_column: Numeric column, non-negative, that ranks the rows. Default ``"difficulty"``; ``None`` with
            ``order="random"``, which reads none.
        seed: Seed of the draws; ``None`` (default) takes the ``data_seed`` or ``seed`` of the trainer.

    Numbers of numpy become those of Python.

    Raises:
        ValueError: If a value is outside its range; the message says what to pass instead.

    Example:
        >>> CurriculumConfig(initial_fraction=0.2, warmup_steps=1000).schedule
        'cosine'

    Source:
        Lin et al., "From Prototypes to General Distributions", CVPR 2025, arXiv 2411.10685.
    """

    initial_fraction: float = 0.3
    final_fraction: float = UNIFORM_FRACTION
    warmup_steps: int | float = 0.5
    schedule: str | Callable[[float], float] = "cosine"
    order: str = "easy_first"
    difficulty_column: str | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        for name in ("initial_fraction", "final_fraction", "warmup_steps", "seed"):
            object.__setattr__(self, name, plain_number(getattr(self, name)))
        self._check_types()
        if not 0 < self.initial_fraction <= UNIFORM_FRACTION:
            raise ValueError(
                f"initial_fraction must be in (0, {UNIFORM_FRACTION:.3f}], got {self.initial_fraction}. "
                "1 - 1/e = 0.632 is what uniform sampling covers; use 0.3 for the paper's curriculum."
            )
        if not self.initial_fraction <= self.final_fraction <= UNIFORM_FRACTION:
            raise ValueError(
                f"final_fraction must be in [initial_fraction = {self.initial_fraction}, {UNIFORM_FRACTION:.3f}], "
                f"got {self.final_fraction}."
            )
        self._check_warmup()
        if callable(self.schedule):
            self._check_shape(self.schedule)
        elif self.schedule not in SCHEDULES:
            raise ValueError(f"schedule must be one of {list(SCHEDULES)} or a function, got {self.schedule!r}.")
        if self.order not in ORDERS:
            raise ValueError(f"order must be one of {list(ORDERS)}, got {self.order!r}.")
        if self.order != "random":
            object.__setattr__(self, "difficulty_column", self.difficulty_column or "difficulty")
        elif self.difficulty_column is not None:
            raise ValueError(
                f"order='random' draws rows without looking at difficulties: leave difficulty_column="
                f"{self.difficulty_column!r} out, or choose another order."
            )

    def _check_types(self) -> None:
        for name in ("initial_fraction", "final_fraction"):
            if not is_number(getattr(self, name)):
                raise ValueError(f"{name} must be a number, got {getattr(self, name)!r}.")
        if self.seed is not None and not is_number(self.seed, int):
            raise ValueError(f"seed must be an integer or None, got {self.seed!r}.")
        if self.difficulty_column is not None and not isinstance(self.difficulty_column, str):
            raise ValueError(f"difficulty_column must be the name of a column, got {self.difficulty_column!r}.")

    @staticmethod
    def _check_shape(shape: Callable[[float], float]) -> None:
        for progress in (i / 100 for i in range(101)):
            share = shape(progress)
            if not isinstance(share, SupportsFloat) or not 0 <= float(share) <= 1:
                raise ValueError(
                    f"schedule({progress}) returned {share!r}; a schedule maps progress in [0, 1] to the share of the "
                    "rise from initial_fraction to final_fraction that is done, also in [0, 1]."
                )

    def _check_warmup(self) -> None:
        steps = self.warmup_steps
        if not is_number(steps) or not steps > 0:
            raise ValueError(
                f"warmup_steps must be positive, got {steps!r}. Pass a number of optimiser steps (int) or a share of "
                "the training (float in (0, 1]). To train without a curriculum, use Trainer."
            )
        if isinstance(steps, float) and steps > 1:
            raise ValueError(
                f"warmup_steps={steps} is a float, so a share of the training, and must be at most 1. "
                f"For {steps:g} optimiser steps pass an int."
            )
        if isinstance(steps, int) and steps == 1:
            logger.warning(
                "warmup_steps=1 (an int) is a warm-up of one optimiser step, after which sampling is uniform. If all "
                "of the training is meant, pass the float 1.0."
            )

    def resolve_warmup(self, total_steps: int | None) -> int:
        """Length of the warm-up in optimiser steps, at least 1.

        Args:
            total_steps: Optimiser steps of the whole training; needed when ``warmup_steps`` is a share.

        Returns:
            ``warmup_steps``, or that share of ``total_steps`` rounded to the nearest step.

        Raises:
            ValueError: If ``total_steps`` is not a positive integer, or ``None`` and ``warmup_steps`` is a share.
        """
        require_count(total_steps, "total_steps", optional=True)
        if isinstance(self.warmup_steps, int):
            return self.warmup_steps
        if total_steps is None:
            raise ValueError(
                f"warmup_steps={self.warmup_steps} is a share of the training: pass total_steps, "
                "or give warmup_steps as an int."
            )
        return max(1, round(self.warmup_steps * total_steps))

    def to_dict(self) -> dict[str, Any]:
        """All fields by name, which :meth:`from_dict` takes; a schedule of your own is in it as the function it is."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def to_json(self) -> str:
        """All fields as one JSON object, which :meth:`from_json` takes.

        Raises:
            ValueError: If the schedule is a function, which JSON cannot hold.
        """
        if callable(self.schedule):
            raise ValueError(
                f"schedule is the function {function_name(self.schedule)}, which JSON cannot hold. Keep it in code "
                "and write the rest: replace(config, schedule='linear').to_json(), with dataclasses.replace; after "
                "from_json put it back in the same way."
            )
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "CurriculumConfig":
        """The config with these values; fields left out keep their defaults.

        Raises:
            ValueError: If a name is not a field of the config.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(f"Unknown curriculum settings {unknown}; known are {known}.")
        return cls(**values)

    @classmethod
    def from_json(cls, text: str) -> "CurriculumConfig":
        """The config that :meth:`to_json` wrote."""
        return cls.from_dict(json.loads(text))


def require_config(config: object, name: str) -> CurriculumConfig:
    """``config``, or the default for ``None``.

    Args:
        config: What was given.
        name: Of the argument, for the error.

    Returns:
        The config.

    Raises:
        TypeError: If it is something else, such as a dict; the message says how to make a config of it.
    """
    if config is None:
        return CurriculumConfig()
    if not isinstance(config, CurriculumConfig):
        remedy = "CurriculumConfig(**settings)" if isinstance(config, dict) else "CurriculumConfig(...)"
        raise TypeError(f"{name} must be a CurriculumConfig, got {config!r}. Pass {name}={remedy}.")
    return config
