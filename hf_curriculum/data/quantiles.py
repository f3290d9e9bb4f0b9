"""The distribution of a column of difficulties in 257 numbers: what a temperature needs, without the rows."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

_COUNT = 257
_POINTS = 1 << 16


def _levels(count: int) -> NDArray[np.float64]:
    """Levels from 0 to 1, dense at both ends: low temperatures see the easiest few rows alone."""
    return (1 - np.cos(np.pi * np.arange(count) / (count - 1))) / 2


def difficulty_quantiles(difficulty: ArrayLike) -> list[float]:
    """257 quantiles of some difficulties, lowest and highest among them.

    The effective fraction at a temperature that they give is within 0.001 of that of all rows, at fractions from 0.05
    up; 1,025 quantiles at even levels do no better.

    Args:
        difficulty: Finite numbers, shape ``(n,)``, at least one; masked entries do not count.

    Returns:
        Ascending numbers, rounded to float32, ready for JSON.
    """
    scores = np.ma.masked_array(difficulty).compressed()
    found = np.quantile(scores.astype(np.float64), _levels(_COUNT))
    return [float(str(np.float32(value))) for value in found]


def spread_quantiles(quantiles: ArrayLike) -> NDArray[np.float64]:
    """65,536 difficulties distributed as the quantiles say, in ascending order.

    Args:
        quantiles: From :func:`difficulty_quantiles`, or of another number of rows: ascending, finite, at least two.

    Raises:
        ValueError: If they are not.
    """
    try:
        values = np.asarray(quantiles, dtype=np.float64)
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.ndim != 1 or values.size < 2 or not np.isfinite(values).all() or (np.diff(values) < 0).any():
        raise ValueError(
            f"quantiles must be at least two finite numbers in ascending order, got {quantiles!r:.80}. Take them from "
            "difficulty_quantiles(difficulty), or leave them out."
        )
    return np.interp((np.arange(_POINTS) + 0.5) / _POINTS, _levels(values.size), values)
