"""How a row stands between its own class and the nearest other one: prototypes for labels that may be wrong."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hf_curriculum.scoring.difficulty import Ranges, fit_normalizer
from hf_curriculum.scoring.kmeans import assign
from hf_curriculum.scoring.points import ROUNDING, Points, Space
from hf_curriculum.scoring.prototypes import FindCentroids, Prototypes, rows_by_class

_REFITS = 3  # each on the easier half of every class
_SHRINKAGE = 0.3  # of the covariance towards that of a ball: few rows do not tell it in all directions


@dataclass(frozen=True)
class Standing:
    """Where rows stand between the classes.

    Attributes:
        cluster: Nearest prototype of the own class, int32, shape ``(N,)``.
        distance: Distance to it, float32, shape ``(N,)``.
        other: Nearest prototype of another class, int32, shape ``(N,)``.
        margin: ``distance / (distance + distance to other)``, float32, shape ``(N,)``: 0 at the own prototype, 0.5 as
            near to the other class, 1 at its prototype.
    """

    cluster: NDArray[np.int32]
    distance: NDArray[np.float32]
    other: NDArray[np.int32]
    margin: NDArray[np.float32]


def fit_margin(
    points: Points, labels: NDArray[Any], find: FindCentroids, normalize: str | None
) -> tuple[Prototypes, Space]:
    """Prototypes of each class that wrong labels hardly move, and a space in which they are told apart.

    Prototypes are found on all rows, then three times on the half of each class that has the lowest margins. In the
    space the rows lie around their prototypes alike in all directions, so that those in which the classes differ
    count (Mahalanobis distances with a covariance that all prototypes share).

    Args:
        points: ``N`` of them, in the space in which prototypes are found.
        labels: Class of each, shape ``(N,)``; two or more classes.
        find: From the points of a class and the highest number of clusters to centroids.
        normalize: ``"minmax"``, ``"rank"`` or ``None``; decides which quantiles of the margins are kept, the same for
            all prototypes but those of a class of one row, whose margin tells nothing.

    Returns:
        The prototypes, in the space; the space.
    """
    assert points.space is not None
    kept: NDArray[np.int64] = np.arange(len(points))
    for refits in range(_REFITS + 1):
        some, classes = points.select(kept), labels[kept]
        found, _ = Prototypes.fit(some, classes, find, None)
        space = replace(points.space, directions=_directions(some, classes, found))
        assert space.directions is not None
        found = replace(found, centroids=found.centroids @ space.directions)
        margin = standing(found, points.inside(space), labels).margin
        if refits < _REFITS:
            kept = _easier_half(margin, labels)
    assert found.labels is not None
    quantiles = fit_normalizer(margin, np.zeros(len(points), np.int64), 1, normalize, ROUNDING)
    quantiles = quantiles.repeat(len(found.labels), 0)
    classes, counts = np.unique(labels, return_counts=True)
    quantiles[np.isin(found.labels, classes[counts == 1])] = -1
    return replace(found, quantiles=quantiles), space


def standing(prototypes: Prototypes, points: Points, labels: NDArray[Any]) -> Standing:
    """Distances of rows to the prototypes of their own class and of the others.

    Args:
        prototypes: Of two or more classes.
        points: ``N`` of them, in the space of the prototypes.
        labels: Class of each, shape ``(N,)``, all known.

    Returns:
        Where they stand.
    """
    assert prototypes.labels is not None
    points = points.held()  # they are asked for twice
    cluster, distance = prototypes.nearest(points, labels)
    other, away = np.empty(len(points), np.int32), np.empty(len(points), np.float32)
    for label, rows in zip(*rows_by_class(labels), strict=True):
        of_others = np.flatnonzero(prototypes.labels != label)
        found, away[rows] = assign(points.select(rows), prototypes.centroids[torch.from_numpy(of_others)])
        other[rows] = of_others[found]
    total = distance + away
    margin = np.divide(distance, total, out=np.full_like(total, 0.5), where=total > 0)
    return Standing(cluster, distance, other, margin)


def margin_ranges(prototypes: Prototypes, points: Points, labels: NDArray[Any]) -> Ranges:
    """Ranges of the margins of some rows, of all classes together, as :func:`fit_margin` normalises them.

    Args:
        prototypes: Of two or more classes.
        points: ``N`` of them, at least 1, in the space of the prototypes.
        labels: Class of each, shape ``(N,)``, all known.

    Returns:
        For each prototype the rows of its class, and the lowest and highest margin of all rows.
    """
    assert prototypes.labels is not None
    margin = standing(prototypes, points, labels).margin
    count = np.sum(prototypes.labels[:, None] == labels, 1)
    return Ranges(count, np.full(count.size, margin.min()), np.full(count.size, margin.max()))


def looks_wrong(margin: NDArray[np.float32], labels: NDArray[Any], suggested: NDArray[Any]) -> NDArray[np.bool_]:
    """Rows that stand as near to another class as half of that class's rows do.

    Their number is an estimate of the wrong labels: good where classes are told apart, far too high where they overlap
    (docs/labels.md).

    Args:
        margin: Of each row, shape ``(N,)``.
        labels: Its class, shape ``(N,)``.
        suggested: The class that fits best, shape ``(N,)``.

    Returns:
        Shape ``(N,)``.
    """
    classes, rows_of_class = rows_by_class(labels)
    usual = np.array([np.median(margin[rows]) for rows in rows_of_class])
    place = np.searchsorted(classes, suggested).clip(max=classes.size - 1)
    has_rows = classes[place] == suggested
    return (suggested != labels) & has_rows & (1 - margin <= usual[place])


def _easier_half(margin: NDArray[np.float32], labels: NDArray[Any]) -> NDArray[np.int64]:
    """The half of each class with the lowest margins, ascending."""
    _, rows_of_class = rows_by_class(labels)
    halves = [rows[np.argsort(margin[rows], kind="stable")[: (rows.size + 1) // 2]] for rows in rows_of_class]
    return np.sort(np.concatenate(halves))


def _directions(points: Points, labels: NDArray[Any], prototypes: Prototypes) -> torch.Tensor:
    """A matrix after which the rows deviate from their prototypes alike in all directions."""
    cluster, _ = prototypes.nearest(points, labels)
    centroids = prototypes.centroids.to(points.device)
    nearest = torch.from_numpy(cluster[points.own]).to(points.device)
    covariance = torch.zeros(points.dim, points.dim, dtype=torch.float64)
    start = 0
    for rows in points.share.chunks():
        rows -= centroids[nearest[start : start + len(rows)]]
        covariance += (rows.T @ rows).cpu().double()
        start += len(rows)
    covariance = points.total(covariance) / len(points)
    mean = covariance.diagonal().mean()
    if mean == 0:  # each row is its own prototype
        return torch.eye(points.dim)
    covariance = (1 - _SHRINKAGE) * covariance + _SHRINKAGE * mean * torch.eye(points.dim, dtype=torch.float64)
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.rsqrt()).float()
