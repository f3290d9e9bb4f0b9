"""What a curriculum will draw over a training."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hf_curriculum.training import CurriculumConfig, CurriculumSampler, ordered, random_difficulty, row_weights

LIKELIEST = 0.03


@dataclass(frozen=True)
class Drawn:
    """What a training step draws.

    Attributes:
        step: The optimiser step.
        fraction: Its effective fraction.
        temperature: In the unit of difficulty; ``inf`` once sampling is uniform.
        mean_difficulty: Of a row drawn, as expected.
        share: Share of the draws that falls into each bin, sums to 1.
        likeliest: Share of the draws that falls on the 3 % of the rows that it draws most.
        rows: Some that it draws, each once.
    """

    step: int
    fraction: float
    temperature: float
    mean_difficulty: float
    share: NDArray[np.float64]
    likeliest: float
    rows: NDArray[np.int64]


def preview(
    difficulty: NDArray[np.floating],
    config: CurriculumConfig,
    total_steps: int,
    edges: NDArray[np.float64],
    positions: int,
    rows: int,
) -> list[Drawn]:
    """What a curriculum will draw at even distances over a training.

    Args:
        difficulty: One number a row, masked where there is none.
        config: The curriculum.
        total_steps: Optimiser steps of the training.
        edges: Of the bins of difficulty.
        positions: Number of steps, the first and the last one included.
        rows: Draws to show of each.

    Returns:
        What each of these steps draws, in their order.
    """
    options: dict[str, int] = {"total_batch_size": rows, "total_steps": total_steps}
    scores = np.ma.compressed(difficulty).astype(np.float64)
    if config.order == "random":
        sampler = CurriculumSampler(None, config, rows=difficulty.size, **options)
        pool = random_difficulty(difficulty.size, sampler.seed).astype(np.float64)
        from_first = pool[~np.ma.getmaskarray(difficulty)]
    else:
        sampler = CurriculumSampler(difficulty, config, **options)
        from_first = ordered(scores, config.order)
    bins = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, edges.size - 2)
    drawn = []
    for step in np.unique(np.linspace(0, total_steps, positions).round().astype(int)).tolist():
        temperature = sampler.temperature(step)
        weights = row_weights(from_first, temperature)
        drawn.append(
            Drawn(
                step=step,
                fraction=sampler.effective_fraction(step),
                temperature=temperature,
                mean_difficulty=float(weights @ scores),
                share=np.bincount(bins, weights, edges.size - 1).astype(np.float64),
                likeliest=float(np.sort(weights)[-math.ceil(LIKELIEST * weights.size) :].sum()),
                rows=np.unique(sampler.indices(step)),
            )
        )
    return drawn
