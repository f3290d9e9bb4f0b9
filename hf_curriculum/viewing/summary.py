"""The clusters of a scored dataset."""

from dataclasses import dataclass

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from hf_curriculum.data import CLUSTER, DIFFICULTY, read_clusters, read_difficulty


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

    Returns:
        One summary a cluster.

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
