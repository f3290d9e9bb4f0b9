"""add_difficulty: embed, cluster, normalise, in a row."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset

from hf_curriculum._version import __version__
from hf_curriculum.data import (
    CLUSTER,
    DIFFICULTY,
    DISTANCE,
    EMBEDDING,
    SUGGESTED_LABEL,
    add_columns,
    as_dataset,
    fit_split,
    provenance,
    read_embeddings,
    read_labels,
    rejoined,
    score_features,
    splits_of,
)
from hf_curriculum.embedding import AnyDataset, add_embeddings
from hf_curriculum.scoring.points import Points
from hf_curriculum.scoring.scorer import DifficultyScorer, Scores, require_classes, require_seen
from hf_curriculum.scoring.scorer_config import plain_index

logger = logging.getLogger(__name__)
_NOT_THE_ENCODER = {"input_column", "dtype", "version"}  # in the record of embeddings


def add_difficulty(
    dataset: AnyDataset,
    model_id: str | Callable[..., Any] | None = None,
    *,
    n_clusters: int | None = None,
    cluster_range: tuple[int, int] | None = None,
    label_column: str | None = None,
    normalize: str | None = "minmax",
    seed: int = 42,
    measure: str = "distance",
    scorer: DifficultyScorer | None = None,
    embedding_column: str = EMBEDDING,
    **embedding_options: Any,
) -> AnyDataset:
    """Score each row by its distance to the prototype of its cluster.

    Under ``accelerate launch`` all processes call it: they divide the work, and each returns the whole dataset.

    Args:
        dataset: A ``Dataset``, a map-style torch dataset (which becomes a ``Dataset``), or a ``DatasetDict``:
            prototypes then come from its ``"train"`` split (or its first) and all splits are scored against them.
        model_id: What embeds the rows, see :func:`add_embeddings`; ``None`` takes the embeddings that the dataset has.
        n_clusters: Number of clusters, with ``label_column`` of each class; ``None`` takes the one at which
            the Davies-Bouldin index has a minimum, or ``sqrt(N)`` where it has none.
        cluster_range: Inclusive range of the numbers to try instead; that of the lowest index is taken.
        label_column: Cluster inside each class of this column. Labels that may be wrong want ``n_clusters=1``: with
            more, the wrong ones of a class get prototypes of their own (docs/scorer.md).
        normalize: ``"minmax"`` (default, the paper), ``"rank"`` or ``None``.
        seed: Seed of k-means. Default 42.
        measure: ``"distance"`` (default, the paper) or ``"margin"``, for labels that may be wrong: how near a row is
            to another class in comparison with its own, see :class:`DifficultyScorer`. Needs ``label_column``.
        scorer: Instead of these options: a fitted one scores the rows against its own prototypes; another one is
            fitted, and can be saved then. Default a new one of ``n_clusters``, ``cluster_range``, ``normalize``,
            ``seed`` and ``measure``.
        embedding_column: Column of the embeddings, written if ``model_id`` is given. Default ``"embedding"``.
        **embedding_options: Further options of :func:`add_embeddings`, such as ``input_column`` or ``batch_size``.

    Returns:
        The dataset, rows in the same order and other columns untouched, with ``embedding`` (list of float32),
        ``cluster`` (int32), ``distance`` (float32) and ``difficulty`` (float32 in [0, 1]), null in rows without an
        embedding or a label. With ``measure="margin"`` also ``suggested_label``, the class that fits best: where it is
        another than the row's own, the label looks wrong.

    Raises:
        TypeError: For a streaming dataset, an unknown option, or one beside ``scorer``.
        ValueError: For an empty dataset, a missing column, an unknown model, more clusters than rows, or embeddings
            or labels that a fitted ``scorer`` does not know.

    Example:
        >>> from datasets import Dataset
        >>> dataset = Dataset.from_dict({"embedding": [[0.0, 1.0], [0.1, 1.0], [1.0, 0.0], [1.0, 0.2]]})
        >>> add_difficulty(dataset, n_clusters=2).column_names
        ['embedding', 'cluster', 'distance', 'difficulty']
    """
    if scorer is None:
        scorer = DifficultyScorer(n_clusters, cluster_range, normalize, seed=seed, measure=measure)
    elif (n_clusters, cluster_range, normalize, seed, measure) != (None, None, "minmax", 42, "distance"):
        raise TypeError(
            "n_clusters, cluster_range, normalize, seed and measure are those of the scorer: pass them to it."
        )
    dataset = as_dataset(dataset)
    splits = splits_of(dataset)
    labels = {name: read_labels(split, label_column) if label_column else None for name, split in splits.items()}
    _check_rows(splits, labels, scorer)
    if model_id is not None:
        dataset = add_embeddings(dataset, model_id, output_column=embedding_column, **embedding_options)
        splits = splits_of(dataset)
    elif embedding_options:
        raise TypeError(f"Without model_id nothing is embedded: drop {sorted(embedding_options)} or pass model_id.")
    rows = {name: _Rows.of(split, embedding_column, labels[name]) for name, split in splits.items()}
    reference = fit_split(splits)
    encoder = provenance(splits[reference], embedding_column)
    if scorer.is_fitted:
        _check_encoder(scorer.trained_on_, encoder)
    else:
        scorer.fit(rows[reference].points, rows[reference].labels, encoder)
    scored = {}
    for name, split in splits.items():
        scores = scorer.score(rows[name].points, rows[name].labels)
        scored[name] = _add_scores(split, scorer, scores, rows[name], embedding_column, label_column)
    return rejoined(scored, dataset)


@dataclass(frozen=True)
class _Rows:
    """The rows of a split that can be scored.

    Attributes:
        points: Their embeddings.
        labels: Their classes; ``None`` without a label column.
        present: Which rows of the split they are, bool.
    """

    points: Points
    labels: np.ndarray | None
    present: np.ndarray

    @classmethod
    def of(cls, split: Dataset, embedding_column: str, labels: np.ndarray | None) -> "_Rows":
        blocks, has_embedding = read_embeddings(split, embedding_column)
        points, present = Points.of(blocks, shared=True), has_embedding
        if not has_embedding.all():
            without = np.sum(~has_embedding)
            logger.warning("%d of %d rows have no embedding, and so no difficulty.", without, has_embedding.size)
        if labels is None:
            return cls(points, None, present)
        if np.ma.is_masked(labels):
            has_label = ~np.ma.getmaskarray(labels)
            without = np.sum(~has_label)
            logger.warning("%d of %d rows have no label, and so no difficulty.", without, has_label.size)
            points = points.select(np.flatnonzero(has_label[has_embedding]))
            present = has_embedding & has_label
            if not present.any():
                raise ValueError(f"No row has both an embedding (column {embedding_column!r}) and a label.")
        return cls(points, np.ma.getdata(labels)[present], present)


def _check_rows(splits: dict[str, Dataset], labels: dict[str, Any], scorer: DifficultyScorer) -> None:
    """Raise if the rows cannot be fitted or scored, before any is embedded."""
    reference = fit_split(splits)
    known = {name: None if values is None else np.ma.compressed(values) for name, values in labels.items()}
    if not scorer.is_fitted:
        scorer.check_rows(len(splits[reference]))
        if scorer.measure == "margin":
            require_classes(known[reference])
    fitted = known[reference]
    for values in known.values():
        if scorer.is_fitted:
            scorer.check_labels(values)
        elif values is not None and fitted is not None:
            require_seen(values, fitted)


def _check_encoder(trained_on: dict[str, Any] | None, encoder: dict[str, Any]) -> None:
    """Raise if the embeddings are known to be of another encoder than those that the scorer was fitted on."""
    if not trained_on or not encoder:
        return
    differing = [
        f"{name} was {trained_on.get(name)!r} and is {encoder.get(name)!r}"
        for name in sorted((trained_on.keys() | encoder.keys()) - _NOT_THE_ENCODER)
        if trained_on.get(name) != encoder.get(name)
    ]
    if differing:
        raise ValueError(
            f"The scorer was fitted on other embeddings: {'; '.join(differing)}. Its prototypes mean nothing for "
            "these: embed as it was done there, or fit a new scorer."
        )


def _add_scores(
    dataset: Dataset,
    scorer: DifficultyScorer,
    scores: Scores,
    rows: _Rows,
    embedding_column: str,
    label_column: str | None,
) -> Dataset:
    record = {
        "embedding": provenance(dataset, embedding_column),
        "n_clusters": scorer.n_clusters_,
        "chosen_by": scorer.chosen_by_,
        "options": {"n_clusters": scorer.n_clusters, "cluster_range": scorer.cluster_range},
        "outliers": scorer.outliers_,
        "davies_bouldin": plain_index(scorer.davies_bouldin_),
        "davies_bouldin_curve": {str(k): plain_index(index) for k, index in scorer.davies_bouldin_curve_.items()},
        "label_column": label_column,
        "normalize": scorer.normalize,
        "standardize": scorer.standardize,
        "l2_normalize": scorer.l2_normalize,
        "seed": scorer.seed,
        "repeats": scorer.repeats,
        "measure": scorer.measure,
        "clusterer": None if scorer.clusterer is None else repr(scorer.clusterer),
        "version": __version__,
    }
    values = {CLUSTER: scores.cluster, DISTANCE: scores.distance, DIFFICULTY: scores.difficulty}
    features = {}
    if scores.suggested_label is not None and label_column is not None:
        doubtful = int(np.sum(scores.suggested_label != rows.labels))
        logger.info("%d of %d rows fit another class better: see suggested_label.", doubtful, len(rows.points))
        record["doubtful_labels"] = doubtful
        values[SUGGESTED_LABEL] = scores.suggested_label
        features[SUGGESTED_LABEL] = dataset.features[label_column]
    columns = {name: _with_nulls(given, rows.present) for name, given in values.items()}
    return add_columns(dataset, columns, score_features(record) | features)


def _with_nulls(values: np.ndarray, present: np.ndarray) -> pa.Array:
    """The values in the rows that are present, null in the others."""
    if present.all():
        return pa.array(values)
    spread = np.zeros(present.size, values.dtype)
    spread[present] = values
    return pa.array(spread, mask=~present)
