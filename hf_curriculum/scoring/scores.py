"""Scores of rows by fitted prototypes: distances, or how a row stands between classes."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hf_curriculum.scoring.margin import standing
from hf_curriculum.scoring.points import Points
from hf_curriculum.scoring.prototypes import Nearest, Prototypes

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scores:
    """Scores of ``N`` rows.

    Attributes:
        cluster: Index of the nearest centroid, int32, shape ``(N,)``.
        distance: Distance to it in the space of the standardised embeddings, float32, shape ``(N,)``.
        difficulty: Distance normalised inside the cluster, 0 = prototype, float32 in [0, 1], shape ``(N,)``.
        outside: Rows whose distance (with ``measure="margin"``, margin) is outside the range that their cluster had in
            ``fit``, and so clipped.
        suggested_label: With ``measure="margin"``, the class of the nearest of all prototypes, shape ``(N,)``: where
            it is not the row's own, the label may be wrong. ``None`` with ``"distance"``.
        margin: With ``measure="margin"``, ``own / (own + other)`` of the two distances, float32, shape ``(N,)``; above
            0.5 another class is nearer. ``None`` with ``"distance"``.
    """

    cluster: NDArray[np.int32]
    distance: NDArray[np.float32]
    difficulty: NDArray[np.float32]
    outside: int
    suggested_label: NDArray[Any] | None = None
    margin: NDArray[np.float32] | None = None


def by_margin(prototypes: Prototypes, points: Points, classes: NDArray[Any]) -> Scores:
    """How each row stands between its class and the nearest other one.

    Args:
        prototypes: Of classes.
        points: ``N`` of them, in the space of the prototypes.
        classes: Of the points, shape ``(N,)``.

    Returns:
        The scores, with the class that fits best.
    """
    assert prototypes.labels is not None
    stands = standing(prototypes, points, classes)
    difficulty, outside = prototypes.place(stands.margin, stands.cluster)
    suggested = prototypes.labels[np.where(stands.margin > 0.5, stands.other, stands.cluster)]
    return Scores(stands.cluster, stands.distance, difficulty, outside, suggested, stands.margin)


def by_distance(
    clusterings: Iterable[tuple[Prototypes, Nearest | None]],
    points: Points,
    classes: NDArray[Any] | None,
    unit: float,
) -> Scores:
    """The distance of each row to its prototype, normalised.

    Args:
        clusterings: Prototypes, and what is known of the nearest of these; difficulties are averaged over them, the
            rest is of the first.
        points: ``N`` of them, in the space of the prototypes.
        classes: Of the points, shape ``(N,)``, where prototypes have classes.
        unit: What a distance of 1 in this space is in the user's; 1 unless the space only scales.

    Returns:
        The scores.

    Raises:
        ValueError: If a distance in the user's unit is more than float32 can hold.
    """
    parts = iter(clusterings)
    first, found = next(parts)
    cluster, distance, difficulty, outside = first.score(points, classes, found)
    averaged = 1
    for other, found in parts:
        difficulty += other.score(points, classes, found)[2]
        averaged += 1
    difficulty /= np.float32(averaged)
    if unit != 1:
        with np.errstate(over="ignore"):
            distance *= np.float32(unit)
            if first.quantiles.shape[1] == 0:  # the difficulty is the distance
                difficulty *= np.float32(unit)
        if not np.isfinite(distance).all():
            row = points.number(int(np.argmax(~np.isfinite(distance))))
            raise ValueError(
                f"The distance of row {row} of {points.name} is more than float32 can hold. Scale the embeddings "
                "down, or pass standardize=True."
            )
    return Scores(cluster, distance, difficulty, outside)


def warn_if_alike(difficulty: NDArray[np.float32]) -> None:
    """Say so where difficulties tell no row from another.

    Args:
        difficulty: Of the rows of a fit, shape ``(N,)``, at least 1.
    """
    if difficulty.size > 1 and np.ptp(difficulty) == 0:
        logger.warning(
            "All %d difficulties are %g: a curriculum by them draws as without one. Pass fewer clusters (n_clusters), "
            "or another encoder.",
            difficulty.size,
            difficulty[0],
        )
