"""Rows that are there more than once: the same text, picture or sound has the same embedding."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from hf_curriculum.scoring.points import ROUNDING, Points

DUPLICATES = ("keep", "first")
FIRST_FRACTION = 0.3
"""Effective fraction at which first draws are looked at: the default of a curriculum."""
_LINES = 8  # that rows are projected on: what differs does so on one of them
_BINS = 4096
_HALVINGS = 60


def first_of_equals(points: Points) -> NDArray[np.int64]:
    """The first row with the same embedding, for each row.

    All rows are projected on eight lines, once. Only neighbours on all of them are then compared.

    Args:
        points: ``N`` of them, in no space.

    Returns:
        Positions, int64, shape ``(N,)``: a row's own where no earlier row equals it up to rounding.
    """
    points = replace(points, device=torch.device("cpu"))  # not every other one knows float64
    lines = torch.randn(points.dim, _LINES, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    lines /= torch.linalg.vector_norm(lines, dim=0)
    share = points.share
    own, start = np.empty((len(share), _LINES + 1)), 0
    for chunk in share.chunks():
        rows = chunk.double()
        stop = start + len(rows)
        own[start:stop, :_LINES] = rows @ lines
        own[start:stop, _LINES] = ROUNDING * torch.linalg.vector_norm(rows, dim=1)
        start = stop
    found = points.joined(own)
    first = np.arange(len(points))
    for group in _neighbours(found[:, :_LINES], found[:, _LINES]):
        _compare(points, group, found[group, 0], found[group, _LINES], first)
    return first


def _neighbours(projected: NDArray[np.float64], near: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    """Groups of two and more rows that no line keeps apart, in the order of the first."""
    rows, group = np.arange(len(projected)), np.zeros(len(projected), np.int64)
    for line in range(projected.shape[1]):
        order = np.lexsort((projected[rows, line], group))
        rows, group = rows[order], group[order]
        apart = np.diff(projected[rows, line]) > np.maximum(near[rows[1:]], near[rows[:-1]])
        group = np.concatenate([[0], np.cumsum(apart | (np.diff(group) > 0))])[: rows.size]
        several = np.bincount(group)[group] > 1
        rows, group = rows[several], group[several]
    order = np.lexsort((projected[rows, 0], group))
    return np.split(rows[order], np.flatnonzero(np.diff(group[order])) + 1) if rows.size else []


def _compare(
    points: Points,
    group: NDArray[np.int64],
    projected: NDArray[np.float64],
    near: NDArray[np.float64],
    first: NDArray[np.int64],
) -> None:
    """Write down the first row that each of a group, in the order of its projections, equals."""
    left = np.ones(group.size, bool)
    for start in range(group.size):
        if not left[start]:
            continue
        stop = np.searchsorted(projected, projected[start] + near[start], side="right")
        beside = start + np.flatnonzero(left[start:stop])
        beside = beside[np.argsort(group[beside])]
        origin = points.select(group[start : start + 1]).all().double()
        chunks = points.select(group[beside]).chunks()
        apart = np.concatenate([torch.linalg.vector_norm(rows.double() - origin, dim=1) for rows in chunks])
        equal = beside[apart <= near[beside]]
        first[group[equal]] = group[equal].min()
        left[equal] = False


def first_draws(difficulty: NDArray[np.float32], fraction: float = FIRST_FRACTION) -> NDArray[np.float64]:
    """Chance of each row at the start of a curriculum.

    Args:
        difficulty: Finite, shape ``(N,)``.
        fraction: Effective fraction there. Default 0.3.

    Returns:
        Shape ``(N,)``, sums to 1.
    """
    n, scores = difficulty.size, difficulty.astype(np.float64)
    scores -= scores.min()
    scores /= scores.max() or 1
    counts, edges = np.histogram(scores, _BINS, (0, 1))
    low, high = 0.0, 40.0 * _BINS  # inverse temperatures
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        weights = np.exp(-middle * edges[:-1])
        chance = weights / (counts @ weights)
        reached = -counts @ np.expm1(n * np.log1p(-np.minimum(chance, 1 - 1e-16))) / n
        low, high = (middle, high) if reached > fraction else (low, middle)
    weights = np.exp(-low * scores)
    found: NDArray[np.float64] = weights / weights.sum()
    return found
