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
    """
    return difficulty - difficulty.min() if order == "easy_first" else difficulty.max() - difficulty


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
    """Edges of :func:`rank_bins`, and a cut at each of the 256 widest gaps, so that no bin bridges two clumps.

    Args:
        ranked: Difficulties in ascending order. Shape ``(N,)``.

    Returns:
        Increasing ranks from 0 to ``N``, int64.
    """
    gaps = np.diff(ranked)
    least = np.partition(gaps, -256)[-256] if gaps.size > 256 else -np.inf
    wider = np.flatnonzero(gaps > least)
    # Of gaps that tie the first are taken: argpartition's choice, and so the draws, would depend on the processor.
    widest = np.concatenate([wider, np.flatnonzero(gaps == least)[: 256 - wider.size]])
    return np.union1d(rank_bins(ranked.size), widest + 1)
