"""Rows that are there more than once: the same text, picture or sound has the same embedding."""

import math
from collections.abc import Iterator
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
    points = replace(points, device=torch.device("cpu"))  # not every other one knows float64
    places, near = _placed(points)
    first = np.arange(len(points), dtype=np.int32 if len(points) <= np.iinfo(np.int32).max else np.int64)
    cuts = _cuts(places[:, 0], near)
    for edges in (cuts, (cuts[1:] + cuts[:-1]) / 2):  # what the first keep apart, the second do not
        _find(points, places, edges, near, first)
    for some in pieces(len(first)):  # rows that an edge has kept from the first
        first[some] = first[first[some]]
    return first


def _find(
    points: Points, places: NDArray[np.float32], edges: NDArray[np.float64], near: float, first: NDArray[np.integer]
) -> None:
    """Write down the first of equal rows that no edge keeps apart."""
    for rows in _ranges(places[:, 0], edges[_BUCKETS - 1 :: _BUCKETS]):
        for group in _neighbours(places, rows, edges, near):
            group = group[first[group] == group]
            if group.size > 1:
                _compare(points, group, places[group, 0], near, first)


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


def _neighbours(
    places: NDArray[np.float32], rows: NDArray[np.integer], edges: NDArray[np.float64], near: float
) -> Iterator[NDArray[np.integer]]:
    """Groups of two and more of these rows that neither an edge nor a line keeps apart, in the order of the first."""
    group = np.searchsorted(edges, places[rows, 0])
    for line in (1, 2, 0):
        order = np.lexsort((places[rows, line], group))
        rows, group = rows[order], group[order]
        apart = np.diff(places[rows, line]) > near
        group = np.concatenate([[0], np.cumsum(apart | (np.diff(group) > 0))])[: rows.size]
        several = np.bincount(group)[group] > 1
        rows, group = rows[several], group[several]
    yield from np.split(rows, np.flatnonzero(np.diff(group)) + 1) if rows.size else []


def _compare(
    points: Points, group: NDArray[np.integer], places: NDArray[np.float32], near: float, first: NDArray[np.integer]
) -> None:
    """Write down the first row that each of a group, in the order of their places, equals."""
    left = np.ones(group.size, bool)
    for start in range(group.size):
        if not left[start]:
            continue
        stop = np.searchsorted(places, places[start] + near, side="right")
        beside = start + np.flatnonzero(left[start:stop])
        beside = beside[np.argsort(group[beside])]
        origin = points.select(group[start : start + 1]).all().double()
        chunks = points.select(group[beside]).chunks()
        equal = beside[np.concatenate([_equal(rows.double(), origin) for rows in chunks])]
        first[group[equal]] = group[equal].min()
        left[equal] = False


def _equal(rows: torch.Tensor, origin: torch.Tensor) -> NDArray[np.bool_]:
    size = torch.linalg.vector_norm(rows, dim=1)
    equal: NDArray[np.bool_] = (torch.linalg.vector_norm(rows - origin, dim=1) <= ROUNDING * size).numpy()
    return equal


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
