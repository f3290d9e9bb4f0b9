"""Labels that look wrong: beside another class, or beside the others of their cluster."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from datasets import ClassLabel, Dataset
from numpy.typing import NDArray

from hf_curriculum.data import DIFFICULTY, SUGGESTED_LABEL, arrow_column, provenance, read_embeddings
from hf_curriculum.scoring import Points, fit_space

_MOST = 2_000  # classes: more are numbers of rows, or of no use to an eye
_ROUNDING = 1e-4  # share of a distance by which two may differ and be equal


@dataclass(frozen=True)
class Labels:
    """The classes of the rows.

    Attributes:
        column: Their column.
        names: Of the classes.
        given: Position in ``names`` of the class of each row, -1 where it has none, int64, shape ``(N,)``.
    """

    column: str
    names: list[str]
    given: NDArray[np.int64]


@dataclass(frozen=True)
class Doubts:
    """Rows that another class fits better.

    Attributes:
        rows: Their numbers, the most doubtful first, int64.
        suggested: Position in the names of the class that fits better, one for each of them.
        prototypes: The row that fits each class best, by the position of the class.
    """

    rows: NDArray[np.int64]
    suggested: NDArray[np.int64]
    prototypes: dict[int, int]


def read_classes(dataset: Dataset, record: Mapping[str, Any]) -> Labels | None:
    """The labels of a scored dataset.

    Args:
        dataset: Has them.
        record: Of the scores: tells the column inside whose classes rows were clustered.

    Returns:
        The labels of that column, else of the first column of classes; ``None`` where there is no such column, it
        tells no two classes apart, or nearly every row has a class of its own.
    """
    classes = [
        name for name, kind in dataset.features.items() if isinstance(kind, ClassLabel) and name != SUGGESTED_LABEL
    ]
    column = record.get("label_column")
    column = column if column in dataset.column_names else next(iter(classes), None)
    if column is None:
        return None
    values, given = _coded(arrow_column(dataset, column))
    if not 2 <= len(values) <= min(_MOST, max(2, len(dataset) // 2)):
        return None
    return Labels(column, [_name(dataset.features[column], value) for value in values], given)


def doubts(dataset: Dataset, labels: Labels, embeddings: str, record: Mapping[str, Any]) -> Doubts | None:
    """Rows that lie nearer to the prototype of another class than to that of their own.

    Args:
        dataset: Scored. Its column ``suggested_label`` is taken where there is one; else a class's prototype is the
            mean of its rows (the row itself left out) in the space of the clusters.
        labels: Its classes.
        embeddings: Column of the embeddings.
        record: Of the scores.

    Returns:
        The doubts; ``None`` if the dataset has neither column.
    """
    if _has_suggestions(dataset):
        margin = arrow_column(dataset, DIFFICULTY).to_numpy(zero_copy_only=False).astype(np.float64)
        suggested = _codes_of(arrow_column(dataset, SUGGESTED_LABEL), arrow_column(dataset, labels.column))
        differs = (suggested >= 0) & (suggested != labels.given)
    elif embeddings in dataset.column_names:
        margin, suggested = _margins(dataset, labels, embeddings, record)
        differs = margin > _ROUNDING
    else:
        return None
    known = (labels.given >= 0) & np.isfinite(margin)
    rows = np.flatnonzero(known & differs)
    rows = rows[np.argsort(-margin[rows], kind="stable")]
    best = np.flatnonzero(known)
    best = best[np.lexsort((margin[best], labels.given[best]))]
    codes, first = np.unique(labels.given[best], return_index=True)
    return Doubts(rows, suggested[rows], dict(zip(codes.tolist(), best[first].tolist(), strict=True)))


def strangers(labels: Labels, cluster: NDArray[np.int64], difficulty: NDArray[np.floating]) -> NDArray[np.int64]:
    """Rows of another label than most of their cluster, the rarest label first, then the nearest to the prototype.

    Args:
        labels: Of the rows.
        cluster: Of each, -1 where it has none.
        difficulty: Of each, masked where it has none.

    Returns:
        Row numbers, int64; of clusters in which one label has more than half of the rows.
    """
    counts = label_counts(labels, cluster)
    rows = np.flatnonzero((cluster >= 0) & (labels.given >= 0))
    of, own = cluster[rows], labels.given[rows]
    sizes, most = counts.sum(1), counts.max(1)
    share = counts[of, own] / sizes[of]
    odd = (2 * most[of] > sizes[of]) & (counts[of, own] < most[of])
    rows, share = rows[odd], share[odd]
    return rows[np.lexsort((np.ma.filled(difficulty, np.inf)[rows], share))]


def label_counts(labels: Labels, cluster: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of each label in each cluster.

    Args:
        labels: Of the rows.
        cluster: Of each, from 0 up, -1 where it has none.

    Returns:
        Counts, int64, shape ``(clusters, labels)``.
    """
    rows = (cluster >= 0) & (labels.given >= 0)
    shape = int(cluster.max(initial=0)) + 1, len(labels.names)
    flat = np.ravel_multi_index((cluster[rows], labels.given[rows]), shape)
    return np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape)


def _has_suggestions(dataset: Dataset) -> bool:
    """Whether the difficulties rank the suggestions: a later scoring by distance leaves the column, but not that."""
    if not {SUGGESTED_LABEL, DIFFICULTY} <= set(dataset.column_names):
        return False
    return provenance(dataset, DIFFICULTY).get("measure", "margin") == "margin"


def _margins(
    dataset: Dataset, labels: Labels, column: str, record: Mapping[str, Any]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """How much farther than the nearest other class the own one is, as a share of that; and the other one."""
    blocks, has_embedding = read_embeddings(dataset, column)
    points = Points.of(blocks)
    points = points.inside(fit_space(points, record.get("standardize", True), record.get("l2_normalize", True)))
    given = torch.from_numpy(labels.given[has_embedding]).to(points.device)
    counts = torch.bincount(given[given >= 0], minlength=len(labels.names)).double()
    sums = torch.zeros(len(labels.names), points.dim, dtype=torch.float64, device=points.device)
    start = 0
    for rows in points.chunks():
        own = given[start : start + len(rows)]
        sums.index_add_(0, own[own >= 0], rows[own >= 0].double())
        start += len(rows)
    means = (sums / counts[:, None].clamp(min=1)).float()
    lone = counts < 2  # no measure of others, and without its row nothing is left
    margin, other = np.full(len(dataset), np.nan), np.full(len(dataset), -1)
    found, start = [], 0
    for rows in points.chunks():
        own = given[start : start + len(rows)].clamp(min=0)
        start += len(rows)
        apart = torch.cdist(rows, means).masked_fill(lone, torch.inf)
        to_own = apart.gather(1, own[:, None])[:, 0] * (counts / (counts - 1))[own]
        nearest = apart.scatter(1, own[:, None], torch.inf).min(1)
        found.append((((to_own - nearest.values) / nearest.values.clamp(min=1e-12)).cpu(), nearest.indices.cpu()))
    margin[has_embedding], other[has_embedding] = (torch.cat(part).numpy() for part in zip(*found, strict=True))
    return margin, other


def _coded(values: pa.ChunkedArray) -> tuple[list[Any], NDArray[np.int64]]:
    coded = values.combine_chunks().dictionary_encode()
    return coded.dictionary.to_pylist(), coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)


def _codes_of(values: pa.ChunkedArray, known: pa.ChunkedArray) -> NDArray[np.int64]:
    """Positions among the values of another column, -1 for what is not there."""
    names, codes = _coded(values)
    position = {value: i for i, value in enumerate(_coded(known)[0])}
    return np.array([*(position.get(name, -1) for name in names), -1])[codes]


def _name(feature: Any, value: Any) -> str:
    named = isinstance(feature, ClassLabel) and 0 <= value < feature.num_classes
    return str(feature.int2str(value) if named else value)
