"""Rows that are there more than once: the same text, picture or sound has the same embedding."""

import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from hf_curriculum.scoring.difficulty import pieces, rows_by_group
from hf_curriculum.scoring.points import ROUNDING, Points

DUPLICATES = ("keep", "first")
FIRST_FRACTION = 0.3
"""Effective fraction at which first draws are looked at: the default of a curriculum."""
_LINES = 3  # that directions are projected on: what differs does so on one of them
_DEVIATIONS = 6  # of the projection of a difference: a larger one is not met with
_BUCKET = 1024  # rows
_BUCKETS = 64  # that are sorted together
_SAMPLED = 1 << 18  # rows that say where buckets end
_BINS = 4096
_ROWS = 2048  # that are read together
_HEADS = 32  # that others are compared with at once
_HALVINGS = 60


def first_of_equals(points: Points) -> NDArray[np.integer]:
    """The first row with the same embedding, for each row.

    Each row is placed by its direction, projected on three lines, and its length, once. Rows that are close in all
    three places are then compared.

    Args:
        points: ``N`` of them, in no space.

    Returns:
        Positions, int32 where that counts ``N`` rows, shape ``(N,)``: a row's own where no earlier row equals it up
        to rounding. 24 bytes a row are held on the way, these among them.
    """
    points = replace(points, device=torch.device("cpu"), copied=None)  # not every other one knows float64
    places, near = _placed(points)
    first = np.arange(len(points), dtype=np.int32 if len(points) <= np.iinfo(np.int32).max else np.int64)
    cuts = _cuts(places[:, 0], near)
    for rows in _ranges(places[:, 0], cuts[_BUCKETS - 1 :: _BUCKETS]):
        _find(points, places, rows, np.searchsorted(cuts, places[rows, 0]), near, first)
    beside, cut = _beside(places[:, 0], cuts, near)
    _find(points, places, beside, cut, near, first)
    for some in pieces(len(first)):  # rows that a cut has kept from the first
        first[some] = first[first[some]]
    return first


def _find(
    points: Points,
    places: NDArray[np.float32],
    rows: NDArray[np.integer],
    part: NDArray[np.integer],
    near: float,
    first: NDArray[np.integer],
) -> None:
    """Write down the first of equal rows, of these, that are in the same part."""
    alone = first[rows] == rows
    rows, part = _neighbours(places, rows[alone], part[alone], near)
    head = rows[np.flatnonzero(np.diff(part, prepend=-1))][part]
    equal = _equal_pairs(points, rows, head, (np.abs(places[rows] - places[head]) <= near).all(axis=1))
    np.minimum.at(first, head[equal], rows[equal])
    first[rows[equal]] = first[head[equal]]
    rows, part = _several(rows[~equal], part[~equal])
    for group in np.split(rows, np.flatnonzero(np.diff(part)) + 1) if rows.size else []:
        _compare(points, group, places[group], near, first)


def _placed(points: Points) -> tuple[NDArray[np.float32], float]:
    """Places of the rows, shape ``(N, 3)``, and how far apart those of equal rows may be."""
    lines = torch.randn(points.dim, _LINES, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    lines /= torch.linalg.vector_norm(lines, dim=0)
    usual = min(1.0, _DEVIATIONS / math.sqrt(points.dim))  # of a projection of what has length 1
    share = points.share
    own, start = np.empty((len(share), _LINES), np.float32), 0
    for chunk in share.chunks():
        rows = chunk.double()
        length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
        length[length == 0] = 1
        own[start : start + len(rows)] = rows / length @ lines + usual * length.log()
        start += len(rows)
    places = points.joined(own)
    return places, 2 * usual * ROUNDING + 4 * float(np.finfo(np.float32).eps) * max(-places.min(), places.max())


def _cuts(places: NDArray[np.float32], near: float) -> NDArray[np.float64]:
    """Where to cut a line, so that parts have about 1,024 rows, and are wide beside ``near``."""
    ranked = np.sort(places[:: math.ceil(len(places) / _SAMPLED)])
    wanted = ranked[:: max(1, round(_BUCKET * len(ranked) / len(places)))].astype(np.float64)
    kept = wanted[:1].tolist()
    for cut in wanted.tolist():
        if cut >= kept[-1] + 8 * near:
            kept.append(cut)
    return np.array(kept)


def _ranges(places: NDArray[np.float32], edges: NDArray[np.float64]) -> list[NDArray[np.integer]]:
    """The rows between each two edges."""
    between = np.empty(len(places), np.min_scalar_type(len(edges)))
    for some in pieces(len(places)):
        between[some] = np.searchsorted(edges, places[some])
    return rows_by_group(between, len(edges) + 1)


def _beside(
    places: NDArray[np.float32], cuts: NDArray[np.float64], near: float
) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Rows that may equal one across a cut, and that cut; it is one alone, since cuts are farther apart."""
    found = []
    for some in pieces(len(places)):
        place = places[some].astype(np.float64)
        cut = np.searchsorted((cuts[1:] + cuts[:-1]) / 2, place)
        rows = np.flatnonzero(np.abs(place - cuts[cut]) <= near)
        found.append((rows + some.start, cut[rows]))
    rows, cut = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return rows, cut


def _equal_pairs(
    points: Points, rows: NDArray[np.integer], others: NDArray[np.integer], close: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which rows equal that beside them, of those that are close."""
    equal: NDArray[np.bool_] = rows == others
    pairs = np.flatnonzero(close & ~equal)
    for start in range(0, pairs.size, _ROWS):
        some = pairs[start : start + _ROWS]
        own, other = _read(points, rows[some]), _read(points, others[some])
        size = torch.linalg.vector_norm(own, dim=1)
        equal[some] = (torch.linalg.vector_norm(own - other, dim=1) <= ROUNDING * size).numpy()
    return equal


def _neighbours(
    places: NDArray[np.float32], rows: NDArray[np.integer], part: NDArray[np.integer], near: float
) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Rows of a part that no line keeps apart, two and more, in the order of their first places; and their numbers."""
    for line in (1, 2, 0):
        order = np.lexsort((places[rows, line], part))
        rows, part = rows[order], part[order]
        apart = np.diff(places[rows, line]) > near
        rows, part = _several(rows, np.concatenate([[0], np.cumsum(apart | (np.diff(part) > 0))])[: rows.size])
    return rows, part


def _several(rows: NDArray[np.integer], part: NDArray[np.integer]) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Rows that are not the only one of their part; parts are counted anew."""
    several = np.bincount(part)[part] > 1
    part = part[several]
    return rows[several], np.cumsum(np.diff(part, prepend=part[:1]) > 0)


def _compare(
    points: Points, group: NDArray[np.integer], places: NDArray[np.float32], near: float, first: NDArray[np.integer]
) -> None:
    """Write down the first row that each of a group, in the order of their first places, equals."""
    while group.size > 1:
        heads = slice(_HEADS)
        reach = np.searchsorted(places[:, 0], places[heads][-1, 0] + near, side="right")
        equal = np.concatenate(
            [
                _equal(points, group[some], group[heads], _close(places[some], places[heads], near))
                for some in (slice(start, min(start + _ROWS, reach)) for start in range(0, reach, _ROWS))
            ]
        )
        left = np.ones(group.size, bool)
        for head, same in enumerate(equal.T):
            if left[head]:
                found = np.flatnonzero(same & left[:reach])
                first[group[found]] = group[found].min()
                left[found] = False
        group, places = group[left], places[left]


def _close(places: NDArray[np.float32], others: NDArray[np.float32], near: float) -> NDArray[np.bool_]:
    """Which places are close to which others on all lines, shape ``(n, m)``."""
    close: NDArray[np.bool_] = np.logical_and.reduce(
        [np.abs(own[:, None] - other) <= near for own, other in zip(places.T, others.T, strict=True)]
    )
    return close


def _equal(
    points: Points, rows: NDArray[np.integer], others: NDArray[np.integer], close: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which rows equal which of the others that are close, shape ``(n, m)``; each row equals itself."""
    equal: NDArray[np.bool_] = rows[:, None] == others
    close &= ~equal
    own, other = np.flatnonzero(close.any(axis=1)), np.flatnonzero(close.any(axis=0))
    if own.size:
        vectors, of_others = _read(points, rows[own]), _read(points, others[other])
        size = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
        apart = torch.cdist(vectors - of_others[0], of_others - of_others[0])  # float64 tells them apart in products
        equal[np.ix_(own, other)] |= (apart <= ROUNDING * size).numpy()
    return equal


def _read(points: Points, rows: NDArray[np.integer]) -> torch.Tensor:
    """Rows in any order, float64."""
    ascending, position = np.unique(rows, return_inverse=True)
    return points.select(ascending).all().double()[position]


def share_of_first_draws(
    difficulty: NDArray[np.float32], chosen: NDArray[np.bool_], fraction: float = FIRST_FRACTION
) -> float:
    """Chance that the first draw of a curriculum is one of some rows.

    Args:
        difficulty: Finite, shape ``(N,)``.
        chosen: Which rows, shape ``(N,)``.
        fraction: Effective fraction at the start. Default 0.3.

    Returns:
        Between 0 and 1.
    """
    n, lowest = difficulty.size, float(difficulty.min())
    spread = float(difficulty.max()) - lowest or 1.0
    counts, edges = np.zeros(_BINS, np.int64), np.linspace(0, 1, _BINS + 1)
    for some in pieces(n):
        counts += np.histogram((difficulty[some].astype(np.float64) - lowest) / spread, edges)[0]
    low, high = 0.0, 40.0 * _BINS  # inverse temperatures
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        weights = np.exp(-middle * edges[:-1])
        chance = weights / (counts @ weights)
        reached = -counts @ np.expm1(n * np.log1p(-np.minimum(chance, 1 - 1e-16))) / n
        low, high = (middle, high) if reached > fraction else (low, middle)
    total = of_chosen = 0.0
    for some in pieces(n):
        weights = np.exp(-low * (difficulty[some].astype(np.float64) - lowest) / spread)
        total, of_chosen = total + weights.sum(), of_chosen + weights[chosen[some]].sum()
    return float(of_chosen / total)
