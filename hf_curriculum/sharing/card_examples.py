"""What the card shows of the rows: the labels of the clusters, examples, and what is drawn first."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from hf_curriculum.data import DIFFICULTY, modality_of, read_clusters, read_difficulty
from hf_curriculum.markdown import inline, table
from hf_curriculum.training import CurriculumConfig
from hf_curriculum.viewing import expected_draws, label_counts, read_classes, read_row, shown_column, summarize

_CLUSTERS = 5  # with examples
_MIX = 3  # labels of a cluster that are told apart
_CHARACTERS = 160  # of a text
_DRAWN = 8  # rows that are drawn first
_STEPS = 100  # of a training: the first draws are the same in any


def label_mix(dataset: Dataset, record: Mapping[str, Any], clusters: list[int]) -> list[str] | None:
    """The most frequent labels of some clusters.

    Args:
        dataset: Scored.
        record: Of its scores.
        clusters: Their numbers.

    Returns:
        A text for each, such as ``"cat 60 %, dog 30 %, 10 % others"``, quoted; ``None`` if there are no labels, or
        each cluster has one.
    """
    labels = read_classes(dataset, record)
    if labels is None or record.get("label_column") == labels.column:
        return None
    has_score = ~np.ma.getmaskarray(np.ma.masked_array(read_difficulty(dataset, DIFFICULTY)))
    cluster = np.where(has_score, read_clusters(dataset), -1)
    numbers = np.unique(cluster[cluster >= 0])
    counts = label_counts(labels, np.where(cluster < 0, -1, np.searchsorted(numbers, cluster)))
    return [_mix(labels.names, counts[place]) for place in np.searchsorted(numbers, clusters)]


def _mix(names: list[str], counts: NDArray[np.int64]) -> str:
    most = np.argsort(-counts, kind="stable")[:_MIX]
    shares = 100 * counts / max(counts.sum(), 1)
    told = [f"{inline(names[code], 40)} {shares[code]:.0f} %" for code in most if counts[code]]
    rest = shares.sum() - shares[most].sum()
    return ", ".join([*told, *([f"{rest:.0f} % others"] if rest >= 0.5 else [])])


def text_column(dataset: Dataset) -> str | None:
    """The column that shows what a row is, if it holds texts: a table shows these better than a picture."""
    column = shown_column(dataset, None)
    return column if column and modality_of(dataset.features[column]) == "text" else None


def text_examples(dataset: Dataset, column: str) -> str:
    """A table of the easiest and the hardest text of each of the larger clusters.

    Args:
        dataset: Scored.
        column: Of the texts.

    Returns:
        The table.
    """
    rows = [
        [str(one.cluster), *(_text(dataset, int(one.ranked[end]), column) for end in (0, -1))]
        for one in summarize(dataset)[:_CLUSTERS]
    ]
    return table(["cluster", "prototype", "hardest row"], rows)


def first_draws(dataset: Dataset) -> tuple[str, list[int]]:
    """What a curriculum as by default draws at first.

    Args:
        dataset: Scored.

    Returns:
        A sentence, and some of the rows.
    """
    difficulty = np.ma.masked_array(read_difficulty(dataset, DIFFICULTY))
    config = CurriculumConfig()
    [first, *_] = expected_draws(difficulty, config, _STEPS, np.array([0.0, np.inf]), positions=1, rows=_DRAWN)
    return (
        f"A curriculum as by default starts at an effective fraction of {config.initial_fraction:g}: half of its "
        f"first draws come from {first.half:,} of {difficulty.size:,} rows, and the likeliest 3 % of the rows are "
        f"{100 * first.likeliest:.0f} % of them.\n"
    ), first.rows.tolist()


def text_draws(dataset: Dataset, rows: list[int], column: str) -> str:
    """A table of texts that are drawn.

    Args:
        dataset: Scored.
        rows: Row numbers.
        column: Of the texts.

    Returns:
        The table.
    """
    difficulty = np.ma.masked_array(read_difficulty(dataset, DIFFICULTY))
    lines = [[f"{difficulty[row]:.2f}", _text(dataset, row, column)] for row in rows]
    return table(["difficulty", "drawn first"], lines)


def _text(dataset: Dataset, row: int, column: str) -> str:
    return inline(read_row(dataset, row, column), _CHARACTERS)
