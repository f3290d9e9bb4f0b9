"""Rows in the order of their difficulty, and that order cut into bins."""

import math
import sys
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", np.float32, np.float64, np.floating[Any])


def ordered(difficulty: NDArray[Number], order: str) -> NDArray[Number]:
    """Difficulties shifted so that the row to draw first has 0; the softmax does not see the shift.

    Args:
        difficulty: Finite, shape ``(N,)``.
        order: ``"easy_first"`` or ``"hard_first"``, which turns them round.

    Returns:
        Numbers from 0 up, low = drawn first; of the type of ``difficulty``, shape ``(N,)``.

    Raises:
        ValueError: If their range is more than the type can hold.
    """
    with np.errstate(over="ignore"):
        shifted = difficulty - difficulty.min() if order == "easy_first" else difficulty.max() - difficulty
    if not np.isfinite(shifted.max()):
        low, high = int(difficulty.argmin()), int(difficulty.argmax())
        raise ValueError(
            f"difficulty goes from {difficulty[low]:g} in row {low} to {difficulty[high]:g} in row {high}, farther "
            f"than {difficulty.dtype} can tell. Scale it down."
        )
    return shifted + 0  # 0, not -0, whose bits are not in the order of the numbers


def rank_rows(scores: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.integer[Any]]]:
    """Scores in ascending order, and the row of each; rows that tie keep their order, on any processor.

    Args:
        scores: Non-negative, float32 or float64, shape ``(n,)``.

    Returns:
        Sorted scores, shape ``(n,)``; row numbers, uint32 (int64 from 2^32 rows on), shape ``(n,)``.
    """
    if scores.dtype != np.float32 or scores.size > 2**32:
        order = np.argsort(scores, kind="stable").astype(np.uint32 if scores.size <= 2**32 else np.int64, copy=False)
        return scores[order], order
    # The bits of floats >= 0 are in the order of the floats: one sort of integers, several times faster.
    keys = scores.view(np.uint32).astype(np.uint64)
    keys <<= np.uint64(32)
    keys |= np.arange(scores.size, dtype=np.uint64)
    keys.sort()
    halves = keys.view(np.uint32).reshape(-1, 2)
    low, high = (0, 1) if sys.byteorder == "little" else (1, 0)
    return halves[:, high].copy().view(np.float32), halves[:, low].copy()


def rank_bins(n: int, per_fold: int = 64) -> NDArray[np.int64]:
    """Edges that cut ``n`` ranked rows into bins, single rows at both ends and geometrically wider to the middle.

    A bin at rank ``r`` holds about ``r / per_fold`` rows. So every bin is narrow in comparison with the rows before
    it, at any temperature, with heavy tails, and at any ``n`` (1,300 bins for 1.28 M rows, 1,900 for 100 M).

    Args:
        n: Number of rows, at least 1.
        per_fold: Bins per e-fold of rank.

    Returns:
        Increasing ranks from 0 to ``n``, int64.
    """
    half = (n + 1) // 2
    ranks = np.geomspace(1, half, max(2, math.ceil(per_fold * math.log(half + 1)))).astype(np.int64)
    return np.unique(np.concatenate([[0, n], ranks, n - ranks]))


def difficulty_bins(ranked: NDArray[np.floating]) -> NDArray[np.int64]:
    """Edges of :func:`rank_bins`, and further cuts where a bin would not be narrow.

    There is a cut at each of the 256 widest gaps, so that no bin bridges two clumps; one behind the rows that tie for
    the lowest difficulty, which alone count at the lowest temperatures; and inside bins that span a factor of more
    than 1.15, at each eighth of an octave.

    Args:
        ranked: Difficulties in ascending order, from 0. Shape ``(N,)``.

    Returns:
        Increasing ranks from 0 to ``N``, int64.
    """
    gaps = np.diff(ranked)
    least = np.partition(gaps, -256)[-256] if gaps.size > 256 else -np.inf
    wider = np.flatnonzero(gaps > least)
    # Of gaps that tie the first are taken: argpartition's choice, and so the draws, would depend on the processor.
    widest = np.concatenate([wider, np.flatnonzero(gaps == least)[: 256 - wider.size]])
    tied = int(np.searchsorted(ranked, ranked[0], side="right"))
    edges = np.union1d(rank_bins(ranked.size), np.append(widest + 1, tied))
    starts, stops = edges[:-1], edges[1:]
    wide = (ranked[starts] > 0) & (ranked[stops - 1].astype(np.float64) / 1.15 > ranked[starts])
    cuts = [start + 1 + np.flatnonzero(np.diff(_eighths(ranked[start:stop]))) for start, stop in _pairs(edges, wide)]
    return np.union1d(edges, np.concatenate(cuts)) if cuts else edges


def _pairs(edges: NDArray[np.int64], chosen: NDArray[np.bool_]) -> list[tuple[int, int]]:
    return list(zip(edges[:-1][chosen].tolist(), edges[1:][chosen].tolist(), strict=True))


def _eighths(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """The eighth of an octave that each of these positive numbers is in."""
    return np.floor(8 * np.log2(values.astype(np.float64)))
