"""What a scored dataset holds: its clusters, what the schedule will draw from it, a map of its embeddings."""

from dataclasses import dataclass

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from hf_curriculum.data import CLUSTER, DIFFICULTY, read_clusters, read_difficulty
from hf_curriculum.training import CurriculumConfig, CurriculumSampler, ordered, row_weights


@dataclass(frozen=True)
class ClusterSummary:
    """One cluster.

    Attributes:
        cluster: Its number; ``None`` where the dataset has no clusters and this is the whole of it.
        ranked: Its rows from the easiest to the hardest, int64.
        mean_difficulty: Over its rows.
    """

    cluster: int | None
    ranked: NDArray[np.int64]
    mean_difficulty: float


def summarize(dataset: Dataset, column: str = DIFFICULTY) -> list[ClusterSummary]:
    """The clusters, largest first; rows without difficulty count in none.

    Args:
        dataset: Scored. Without a ``cluster`` column, all its rows are one cluster.
        column: Its difficulty column.

    Raises:
        ValueError: If the difficulty column is missing or not one.
    """
    difficulty = np.ma.masked_array(read_difficulty(dataset, column))
    clustered = CLUSTER in dataset.column_names
    cluster = read_clusters(dataset) if clustered else np.zeros(difficulty.size, np.int64)
    rows = np.flatnonzero(~np.ma.getmaskarray(difficulty) & (cluster >= 0))
    rows = rows[np.lexsort((difficulty.data[rows], cluster[rows]))]
    numbers, starts = np.unique(cluster[rows], return_index=True)
    parts = np.split(rows, starts[1:])
    summaries = [
        ClusterSummary(int(number) if clustered else None, part, float(difficulty.data[part].mean(dtype=np.float64)))
        for number, part in zip(numbers, parts, strict=True)
    ]
    return sorted(summaries, key=lambda summary: -summary.ranked.size)


@dataclass(frozen=True)
class Drawn:
    """What a training step draws.

    Attributes:
        step: The optimiser step.
        fraction: Its effective fraction.
        temperature: In the unit of difficulty; ``inf`` once sampling is uniform.
        mean_difficulty: Of a row drawn, as expected.
        share: Share of the draws that falls into each bin, sums to 1.
        rows: Some that it draws, each once.
    """

    step: int
    fraction: float
    temperature: float
    mean_difficulty: float
    share: NDArray[np.float64]
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
    """
    sampler = CurriculumSampler(difficulty, config, total_batch_size=rows, total_steps=total_steps)
    scores = np.ma.compressed(difficulty).astype(np.float64)
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
                rows=np.unique(sampler.indices(step)),
            )
        )
    return drawn
