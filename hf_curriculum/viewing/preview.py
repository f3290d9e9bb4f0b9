"""What a curriculum will draw over a training."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hf_curriculum.training import (
    CurriculumConfig,
    CurriculumSampler,
    log_miss,
    ordered,
    random_difficulty,
    row_weights,
)

LIKELIEST = 0.03


@dataclass(frozen=True)
class Drawn:
    """What a training step draws.

    Attributes:
        step: The optimiser step.
        fraction: Its effective fraction.
        temperature: In the unit of difficulty; ``inf`` once sampling is uniform.
        mean_difficulty: Of a row drawn, as expected.
        half: Number of rows, those drawn first, from which half of the draws come.
        most: Times that the row drawn most is expected among as many draws as there are rows.
        share: Share of the draws that falls into each bin, sums to 1.
        likeliest: Share of the draws that falls on the 3 % of the rows that it draws most.
        rows: Some that it draws, each once.
        chance: Of each row of the map, to be among as many draws as there are rows; their mean over the dataset is the
            effective fraction.
    """

    step: int
    fraction: float
    temperature: float
    mean_difficulty: float
    half: int
    most: float
    share: NDArray[np.float64]
    likeliest: float
    rows: NDArray[np.int64]
    chance: NDArray[np.float64]


def expected_draws(
    difficulty: NDArray[np.floating],
    config: CurriculumConfig,
    total_steps: int,
    edges: NDArray[np.float64],
    positions: int,
    rows: int,
    *,
    also: Sequence[int] = (),
    mapped: Sequence[int] = (),
) -> list[Drawn]:
    """What a curriculum will draw at even distances over a training.

    Args:
        difficulty: One number a row, masked where there is none.
        config: The curriculum.
        total_steps: Optimiser steps of the training.
        edges: Of the bins of difficulty.
        positions: Number of steps, the first and the last one included.
        rows: Draws to show of each.
        also: Steps that are wanted beside these.
        mapped: Row numbers of the map.

    Returns:
        What each of these steps draws, in their order.
    """
    options: dict[str, int] = {"total_batch_size": rows, "total_steps": total_steps}
    scores = np.ma.compressed(difficulty).astype(np.float64)
    has_score = ~np.ma.getmaskarray(difficulty)
    if config.order == "random":
        sampler = CurriculumSampler(None, config, rows=difficulty.size, **options)
        in_pool = np.ones(difficulty.size, bool)
        from_first = random_difficulty(difficulty.size, sampler.seed).astype(np.float64)
    else:
        sampler = CurriculumSampler(difficulty, config, **options)
        in_pool = has_score
        from_first = ordered(scores, config.order)
    bins = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, edges.size - 2)
    by_rank = np.argsort(from_first)
    of_map = np.array(mapped, np.int64)
    drawn = []
    for step in np.unique([*np.linspace(0, total_steps, positions).round(), *also]).astype(int).tolist():
        temperature = sampler.temperature(step)
        weights = row_weights(from_first, temperature)
        probability = np.full(difficulty.size, 1 / difficulty.size)
        if math.isfinite(temperature):
            probability = np.zeros(difficulty.size)
            probability[in_pool] = weights
        of_scored = probability[has_score] / probability[has_score].sum()
        drawn.append(
            Drawn(
                step=step,
                fraction=sampler.effective_fraction(step),
                temperature=temperature,
                mean_difficulty=float(of_scored @ scores),
                half=int(np.searchsorted(np.cumsum(weights[by_rank]), 0.5) + 1),
                most=float(difficulty.size * weights.max()),
                share=np.bincount(bins, of_scored, edges.size - 1).astype(np.float64),
                likeliest=float(np.sort(weights)[-math.ceil(LIKELIEST * weights.size) :].sum()),
                rows=np.unique(sampler.indices(step)),
                chance=-np.expm1(difficulty.size * log_miss(probability[of_map])),
            )
        )
    return drawn
