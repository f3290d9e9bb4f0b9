"""add_difficulty: embed, cluster, normalise, in a row."""

import inspect
import logging
import reprlib
from collections.abc import Callable, Collection
from difflib import get_close_matches
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset

from hf_curriculum.data import (
    CLUSTER,
    DIFFICULTY,
    DISTANCE,
    EMBEDDING,
    add_columns,
    as_dataset,
    encoder_fields,
    fit_split,
    provenance,
    read_embeddings,
    read_labels,
    rejoined,
    require_own,
    score_features,
    splits_of,
)
from hf_curriculum.embedding import AnyDataset, add_embeddings
from hf_curriculum.scoring.points import Points
from hf_curriculum.scoring.scorer import DifficultyScorer, Scores, require_seen

logger = logging.getLogger(__name__)
_WRITTEN = (CLUSTER, DISTANCE, DIFFICULTY)
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
        n_clusters: Number of clusters, with ``label_column`` of each class; ``None`` chooses it by the Davies-Bouldin
            index.
        cluster_range: Inclusive range of the numbers to try; default a geometric grid up to ``sqrt(N)``.
        label_column: Cluster inside each class of this column. Labels that may be wrong want ``n_clusters=1``: with
            more, the wrong ones of a class get prototypes of their own (docs/scorer.md).
        normalize: ``"minmax"`` (default, the paper), ``"rank"`` or ``None``.
        seed: Seed of k-means. Default 42.
        scorer: Instead of these options: a fitted one scores the rows against its own prototypes; another one is
            fitted, and can be saved then. Default a new one of ``n_clusters``, ``cluster_range``, ``normalize`` and
            ``seed``.
        embedding_column: Column of the embeddings, written if ``model_id`` is given. Default ``"embedding"``.
        **embedding_options: Further options of :func:`add_embeddings`, such as ``input_column`` or ``batch_size``.

    Returns:
        The dataset, rows in the same order and other columns untouched, with ``embedding`` (list of float32),
        ``cluster`` (int32), ``distance`` (float32) and ``difficulty`` (float32 in [0, 1]).

    Raises:
        TypeError: For a streaming dataset, an unknown option, or one beside ``scorer``.
        ValueError: For an empty dataset, a missing column, an unknown model, more clusters than rows, columns of
            these names that this library did not write, or embeddings or labels that a fitted ``scorer`` does not
            know.

    Example:
        >>> from datasets import Dataset
        >>> dataset = Dataset.from_dict({"embedding": [[0.0, 1.0], [0.1, 1.0], [1.0, 0.0], [1.0, 0.2]]})
        >>> add_difficulty(dataset, n_clusters=2).column_names
        ['embedding', 'cluster', 'distance', 'difficulty']
    """
    _check_options(embedding_options)
    if scorer is None:
        scorer = DifficultyScorer(n_clusters, cluster_range, normalize, seed=seed)
    elif (n_clusters, cluster_range, normalize, seed) != (None, None, "minmax", 42):
        raise TypeError("n_clusters, cluster_range, normalize and seed are those of the scorer: pass them to it.")
    dataset = as_dataset(dataset)
    splits = splits_of(dataset)
    labels = {name: read_labels(split, label_column) if label_column else None for name, split in splits.items()}
    _check_rows(splits, labels, scorer)
    _check_columns(splits, embedding_column, embed=model_id is not None)
    if model_id is not None:
        dataset = add_embeddings(dataset, model_id, output_column=embedding_column, **embedding_options)
        splits = splits_of(dataset)
    elif embedding_options:
        raise TypeError(f"Without model_id nothing is embedded: drop {sorted(embedding_options)} or pass model_id.")
    embeddings = {name: read_embeddings(split, embedding_column) for name, split in splits.items()}
    reference = fit_split(splits)
    encoder = provenance(splits[reference], embedding_column)
    if scorer.is_fitted:
        _check_encoder(scorer.trained_on_, encoder)
    else:
        blocks, has_embedding = embeddings[reference]
        logger.info("Clustering %d rows.", np.sum(has_embedding))
        scorer.fit(Points.of(blocks, shared=True), _of_rows(labels[reference], has_embedding), encoder)
    scored = {}
    for name, split in splits.items():
        blocks, has_embedding = embeddings[name]
        if not has_embedding.all():
            without = np.sum(~has_embedding)
            logger.warning("%d of %d rows have no embedding, and so no difficulty.", without, has_embedding.size)
        scores = scorer.score(Points.of(blocks, shared=True), _of_rows(labels[name], has_embedding))
        scored[name] = _add_scores(split, scorer, scores, has_embedding, embedding_column, label_column)
    return rejoined(scored, dataset)


def _check_options(given: Collection[str]) -> None:
    """Raise if an option is none of ours; before anything is done, and with the one that was meant."""
    own, embedding = (inspect.signature(function).parameters for function in (add_difficulty, add_embeddings))
    known = (own.keys() | embedding.keys()) - {"dataset", "output_column", "embedding_options"}
    for name in given:
        if name == "output_column":
            raise TypeError("add_difficulty() has no option 'output_column': the embeddings go to embedding_column.")
        if name not in known:
            close = get_close_matches(name, sorted(known), n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"It has {sorted(known)}."
            raise TypeError(f"add_difficulty() has no option {name!r}. {hint}")


def _check_rows(splits: dict[str, Dataset], labels: dict[str, Any], scorer: DifficultyScorer) -> None:
    """Raise if the rows cannot be fitted or scored, before any is embedded."""
    reference = fit_split(splits)
    if not scorer.is_fitted:
        scorer.check_rows(len(splits[reference]))
    for values in labels.values():
        if scorer.is_fitted:
            scorer.check_labels(values)
        elif values is not None:
            require_seen(values, labels[reference])


def _check_columns(splits: dict[str, Dataset], embedding_column: str, embed: bool) -> None:
    """Raise if what will be written takes the place of what the user has."""
    if embedding_column in _WRITTEN:
        raise ValueError(f"embedding_column={embedding_column!r} is a column of scores; name another one.")
    for split in splits.values():
        require_own(split, _WRITTEN)
        if embed:
            require_own(split, [embedding_column], ", or pass another embedding_column")


def _of_rows(labels: np.ndarray | None, has_embedding: np.ndarray) -> np.ndarray | None:
    return None if labels is None else labels[has_embedding]


def _check_encoder(trained_on: dict[str, Any] | None, encoder: dict[str, Any]) -> None:
    """Raise if the embeddings are known to be of another encoder than those that the scorer was fitted on."""
    fitted = encoder_fields(trained_on)
    if not fitted or not encoder:
        return
    names = (fitted.keys() | encoder.keys()) - _NOT_THE_ENCODER
    if fitted.get("weights") and encoder.get("weights"):
        names -= {"model_id"}  # of a local model its folder, which may move
    differing = [
        f"{name} was {reprlib.repr(fitted.get(name))} and is {reprlib.repr(encoder.get(name))}"
        for name in sorted(names)
        if fitted.get(name) != encoder.get(name)
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
    has_embedding: np.ndarray,
    embedding_column: str,
    label_column: str | None,
) -> Dataset:
    record = scorer.record(provenance(dataset, embedding_column), label_column)
    columns = {
        name: _with_nulls(values, has_embedding)
        for name, values in ((CLUSTER, scores.cluster), (DISTANCE, scores.distance), (DIFFICULTY, scores.difficulty))
    }
    return add_columns(dataset, columns, score_features(record))


def _with_nulls(values: np.ndarray, has_embedding: np.ndarray) -> pa.Array:
    """The values in the rows that have an embedding, null in the others."""
    if has_embedding.all():
        return pa.array(values)
    spread = np.zeros(has_embedding.size, values.dtype)
    spread[has_embedding] = values
    return pa.array(spread, mask=~has_embedding)
