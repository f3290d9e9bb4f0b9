"""What a scored dataset holds: its clusters, what the schedule will draw from it, a map of its embeddings."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from hf_curriculum.columns import CLUSTER, DIFFICULTY, read_clusters, read_difficulty, read_embeddings
from hf_curriculum.config import CurriculumConfig
from hf_curriculum.points import Points, fit_space
from hf_curriculum.ranking import ordered
from hf_curriculum.sampler import CurriculumSampler

_COMPONENTS, _PERPLEXITY, _FEW = 50, 30, 10


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
    ranks = ordered(scores, config.order)
    ranks -= ranks.min()
    bins = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, edges.size - 2)
    drawn = []
    for step in np.unique(np.linspace(0, total_steps, positions).round().astype(int)).tolist():
        temperature = sampler.temperature(step)
        weights = np.exp(-ranks / temperature)
        weights /= weights.sum()
        drawn.append(
            Drawn(
                step,
                sampler.effective_fraction(step),
                temperature,
                float(weights @ scores),
                np.bincount(bins, weights, edges.size - 1).astype(np.float64),
                np.unique(sampler.indices(step)),
            )
        )
    return drawn


def map_of(
    dataset: Dataset, column: str, record: dict[str, Any], size: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Embeddings in two dimensions: t-SNE of a sample of the rows, in the space in which they were clustered.

    Args:
        dataset: Has the embeddings.
        column: Their column.
        record: Of the scores, see :func:`hf_curriculum.provenance`: tells the space.
        size: Rows at the most.

    Returns:
        Row numbers, ascending, int64, shape ``(n,)``; coordinates, float32, shape ``(n, 2)``.

    Raises:
        ValueError: If the column is missing or does not hold embeddings.

    Source:
        van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 2008.
    """
    blocks, there = read_embeddings(dataset, column)
    points = Points.of(blocks).sample(size, seed=0)
    space = fit_space(points, record.get("standardize", True), record.get("l2_normalize", True))
    vectors = points.inside(space).all().cpu().numpy()
    return np.flatnonzero(there)[points.rows], _flattened(vectors)


def _flattened(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    rows, dim = vectors.shape
    if (vectors == vectors[0]).all():
        return np.zeros((rows, 2), np.float32)
    flat = PCA(min(_COMPONENTS, rows, dim), random_state=0).fit_transform(vectors)
    if rows < _FEW:  # t-SNE has no neighbourhoods to keep
        return np.pad(flat, ((0, 0), (0, 2)))[:, :2]
    start, perplexity = "pca" if flat.shape[1] > 1 else "random", min(_PERPLEXITY, (rows - 1) / 3)
    with threadpool_limits(1):  # where others compute, its threads wait for each other, ten times as long as one needs
        return TSNE(2, init=start, perplexity=perplexity, random_state=0).fit_transform(flat)
