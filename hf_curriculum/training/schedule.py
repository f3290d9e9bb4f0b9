"""From a training step to a sampling distribution: effective fraction, temperature, weights."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hf_curriculum.data import require_number, suggesting
from hf_curriculum.training.bins import difficulty_bins, ordered
from hf_curriculum.training.config import UNIFORM_FRACTION, CurriculumConfig, require_config
from hf_curriculum.training.permutation import random_difficulty
from hf_curriculum.training.temperature import FloatArray, TemperatureSolver, log_miss


def planned_fraction(step: ArrayLike, config: CurriculumConfig, warmup_steps: int) -> FloatArray:
    """Effective fraction that the schedule asks for at each step of the warm-up.

    Args:
        step: Optimiser steps, any shape. Steps after the warm-up count as its end.
        config: Gives the shape, the initial and the final fraction.
        warmup_steps: Length of the warm-up in steps, at least 1.

    Returns:
        Fractions in ``[initial_fraction, final_fraction]``, float64, of the shape of ``step``.

    Source:
        Cosine: Lin et al., CVPR 2025. Root: Platanios et al., NAACL 2019, equation 7.
        Step: Hacohen and Weinshall, ICML 2019, "single-step pacing".
    """
    progress = np.clip(np.asarray(step, dtype=np.float64) / warmup_steps, 0, 1)
    first, last = config.initial_fraction, config.final_fraction
    if config.schedule == "root":
        return np.sqrt(first**2 + (last**2 - first**2) * progress)
    if callable(config.schedule):
        return first + (last - first) * np.vectorize(config.schedule, otypes=[np.float64])(progress)
    rise = {
        "cosine": (1 - np.cos(np.pi * progress)) / 2,
        "linear": progress,
        "step": np.floor(progress),
    }[config.schedule]
    return first + (last - first) * rise


def planned_curve(step: ArrayLike, config: CurriculumConfig, total_steps: int | None = None) -> FloatArray:
    """Effective fraction that is planned for each step of a training, the warm-up and after it.

    Args:
        step: Optimiser steps from 0, any shape.
        config: The curriculum.
        total_steps: Optimiser steps of the training; needed when ``config.warmup_steps`` is a share.

    Returns:
        Fractions, float64, of the shape of ``step``; ``1 - 1/e``, that of uniform sampling, once the warm-up is over.

    Raises:
        ValueError: If ``total_steps`` is missing.
    """
    warmup = config.resolve_warmup(total_steps)
    return np.where(np.asarray(step) < warmup, planned_fraction(step, config, warmup), UNIFORM_FRACTION)


def row_weights(ordered_difficulty: FloatArray, temperature: float) -> FloatArray:
    """Probability with which each row is drawn at a temperature, ``softmax(-difficulty / temperature)``.

    Args:
        ordered_difficulty: From :func:`hf_curriculum.training.bins.ordered`: at least 0, the row to draw first has 0.
            float64, shape ``(N,)``.
        temperature: Positive, in the unit of the difficulties; ``math.inf`` is uniform sampling.

    Returns:
        Probabilities that sum to 1, float64, shape ``(N,)``.
    """
    with np.errstate(over="ignore"):  # a row infinitely many temperatures away is never drawn
        weights = np.exp(-ordered_difficulty / temperature)
    return np.asarray(weights / weights.sum())


@suggesting
def effective_fraction(difficulty: ArrayLike, temperature: float) -> float:
    """Share of the dataset that as many draws as it has rows are expected to visit.

    With ``p = softmax(-difficulty / temperature)``, row ``i`` is among ``N`` draws with replacement with probability
    ``1 - (1 - p[i]) ** N``; this is the mean of that over the rows. It rises with the temperature.

    Args:
        difficulty: Finite scores, low = easy. Shape ``(N,)``.
        temperature: Positive, in the unit of ``difficulty``; ``math.inf`` is uniform sampling.

    Returns:
        A fraction in ``(0, 1]``; at most ``1 - (1 - 1/N) ** N``, close to ``1 - 1/e`` = 0.632 but for tiny ``N``.

    Raises:
        ValueError: If ``temperature`` is not positive, or ``difficulty`` is empty, not finite or not 1-D.

    Example:
        >>> scores = np.linspace(0, 1, 1000)
        >>> round(effective_fraction(scores, temperature=0.05), 3)
        0.179
        >>> round(effective_fraction(scores, temperature=np.inf), 3)
        0.632

    Source:
        Lin et al., CVPR 2025 (temperature annealing by the effective dataset size).
    """
    require_number(temperature, "temperature")
    if not temperature > 0:
        raise ValueError(f"temperature must be > 0, got {temperature}. For uniform sampling pass math.inf.")
    scores = ordered(check_difficulty(difficulty).astype(np.float64), "easy_first").astype(np.float64, copy=False)
    p = row_weights(scores, temperature)
    return float(-np.expm1(scores.size * log_miss(p)).mean())


@suggesting
def solve_temperature(difficulty: ArrayLike, fraction: float) -> float:
    """Temperature at which the effective fraction is ``fraction``.

    Args:
        difficulty: Finite scores, low = easy. Shape ``(N,)``.
        fraction: Target effective fraction in ``(0, 1]``.

    Returns:
        The temperature, in the unit of ``difficulty``; its effective fraction is within 1e-6 of the target. A target
        that uniform sampling does not exceed has no finite answer and gives ``math.inf`` (uniform sampling). A target
        below what the easiest rows alone give (one row, or all that tie for the lowest difficulty) gives a
        temperature so low that only these are drawn; those within 1e-306 of it count as tied.

    Raises:
        ValueError: If ``fraction`` is not in ``(0, 1]``, or ``difficulty`` is empty, not finite or not 1-D.

    Example:
        >>> scores = np.linspace(0, 1, 1000)
        >>> round(solve_temperature(scores, 0.3), 4)
        0.1066
        >>> round(effective_fraction(scores, solve_temperature(scores, 0.3)), 6)
        0.3
    """
    require_number(fraction, "fraction")
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must be in (0, 1], got {fraction}. Uniform sampling covers 1 - 1/e = 0.632.")
    ranked = np.sort(ordered(check_difficulty(difficulty).astype(np.float64), "easy_first"))
    return float(TemperatureSolver(ranked, difficulty_bins(ranked), ranked.size).temperature(fraction))


@suggesting
def curriculum_weights(
    difficulty: ArrayLike, step: int, config: CurriculumConfig, total_steps: int | None = None
) -> FloatArray:
    """Probability with which each row is drawn at a training step.

    Args:
        difficulty: Finite scores, low = easy. Shape ``(N,)``. With ``order="random"`` only their number counts.
        step: Optimiser step, from 0.
        config: The curriculum; without a seed of its own, ``order="random"`` takes 0.
        total_steps: Optimiser steps of the training; needed when ``config.warmup_steps`` is a share.

    Returns:
        Probabilities that sum to 1, float64, shape ``(N,)``; uniform once the warm-up is over.

    Raises:
        ValueError: If ``step`` is negative, ``difficulty`` is empty, not finite or not 1-D, or ``total_steps`` is
            missing.
    """
    require_number(step, "step")
    if not step >= 0:
        raise ValueError(f"step counts from 0, got {step}.")
    config = require_config(config, "config")
    scores = check_difficulty(difficulty).astype(np.float64)
    if config.order == "random":
        scores = random_difficulty(scores.size, (config.seed or 0) % 2**64).astype(np.float64)
    else:
        scores = ordered(scores, config.order).astype(np.float64, copy=False)
    warmup = config.resolve_warmup(total_steps)
    if step >= warmup:
        return np.full(scores.size, 1 / scores.size)
    return row_weights(scores, solve_temperature(scores, float(planned_fraction(step, config, warmup))))


def check_difficulty(difficulty: ArrayLike) -> NDArray[np.floating]:
    """The difficulties as a vector, float32 as it is, else float64; or an error that names what is wrong with them.

    Raises:
        TypeError: If they are not real numbers.
        ValueError: If they are not 1-D, there are none, or one is not finite.
    """
    require_vector(difficulty)
    scores = np.asarray(difficulty)
    if scores.dtype.kind not in "biufO":
        raise TypeError(f"difficulty holds {scores.dtype}, not real numbers.")
    scores = scores if scores.dtype == np.float32 else scores.astype(np.float64, copy=False)
    if scores.ndim != 1:
        raise ValueError(f"difficulty must be one number a row, shape (N,), got shape {scores.shape}.")
    if scores.size == 0:
        raise ValueError("difficulty is empty. Did an earlier `dataset.filter(...)` remove every row?")
    bad = np.flatnonzero(~np.isfinite(scores))
    if bad.size:
        raise ValueError(f"difficulty of row {bad[0]} is {scores[bad[0]]} ({bad.size} such rows); it must be finite.")
    return scores


def require_vector(difficulty: object) -> None:
    """Raise if a dataset, or the name of its column, stands in the place of the difficulties.

    Raises:
        TypeError: If it does; the message says how to take the column.
    """
    if isinstance(difficulty, str | Mapping) or hasattr(difficulty, "column_names"):
        got = repr(difficulty) if isinstance(difficulty, str) else type(difficulty).__name__
        raise TypeError(
            f'difficulty must be one number a row, got {got}. Of a dataset, pass the column: dataset["difficulty"][:].'
        )
