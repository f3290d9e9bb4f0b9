"""add_difficulty: embed, cluster, normalise, in a row."""

import inspect
import logging
import reprlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset

from hf_curriculum.data import (
    CLUSTER,
    DIFFICULTY,
    DISTANCE,
    EMBEDDING,
    SUGGESTED_LABEL,
    add_columns,
    as_dataset,
    encoder_fields,
    fit_split,
    hint,
    provenance,
    read_embeddings,
    read_labels,
    rejoined,
    require_own,
    score_features,
    splits_of,
)
from hf_curriculum.embedding import AnyDataset, add_embeddings
from hf_curriculum.scoring.duplicates import DUPLICATES, FIRST_FRACTION, first_of_equals, share_of_first_draws
from hf_curriculum.scoring.inputs import require_classes, require_seen
from hf_curriculum.scoring.margin import looks_wrong
from hf_curriculum.scoring.points import Points
from hf_curriculum.scoring.scorer import DifficultyScorer
from hf_curriculum.scoring.scores import Scores

logger = logging.getLogger(__name__)
_MANY = 0.05  # of the first draws
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
    measure: str | None = None,
    duplicates: str = "keep",
    scorer: DifficultyScorer | None = None,
    embedding_column: str = EMBEDDING,
    **embedding_options: Any,
) -> AnyDataset:
    """Score each row by its distance to the prototype of its cluster; with labels, by that to other classes too.

    Under ``accelerate launch`` all processes call it: they divide the work, and each returns the whole dataset.

    Args:
        dataset: A ``Dataset``, a map-style torch dataset (which becomes a ``Dataset``), or a ``DatasetDict``:
            prototypes then come from its ``"train"`` split (or its first) and all splits are scored against them.
        model_id: What embeds the rows, see :func:`add_embeddings`; ``None`` takes the embeddings that the dataset has.
        n_clusters: Number of clusters, with ``label_column`` of each class. ``None`` is one a class with
            ``measure="margin"``; else the number at which the Davies-Bouldin index has a minimum, or ``sqrt(N)`` where
            it has none.
        cluster_range: Inclusive range of the numbers to try instead; that of the lowest index is taken.
        label_column: Classes of the rows, which are clustered inside each. Their labels may be wrong.
        normalize: ``"minmax"`` (default, the paper), ``"rank"`` or ``None``.
        seed: Seed of k-means. Default 42.
        measure: ``"distance"`` (the paper; default without ``label_column``) or ``"margin"`` (default with it): how
            near a row is to another class in comparison with its own, so that wrong labels are hard; see
            :class:`DifficultyScorer` and docs/labels.md.
        duplicates: Rows whose embeddings are equal up to rounding are counted. ``"keep"`` (default) scores them as all
            others; of many copies the prototype is soon one of them, and they are the easiest rows. ``"first"`` lets
            the first of each stand for them, in the fit too: the others get null, and so join after the warm-up.
        scorer: Instead of these options: a fitted one scores the rows against its own prototypes; another one is
            fitted, and can be saved then. Default a new one of ``n_clusters``, ``cluster_range``, ``normalize``,
            ``seed`` and ``measure``.
        embedding_column: Column of the embeddings, written if ``model_id`` is given. Default ``"embedding"``.
        **embedding_options: Further options of :func:`add_embeddings`, such as ``input_column`` or ``batch_size``.

    Returns:
        The dataset, rows in the same order and other columns untouched, with ``embedding`` (list of float32),
        ``cluster`` (int32), ``distance`` (float32) and ``difficulty`` (float32 in [0, 1]), null in rows without an
        embedding or a label, and in copies with ``duplicates="first"``. With ``measure="margin"`` also
        ``suggested_label``, the class that fits best: where it is another than the row's own, the label may be wrong.

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
    if duplicates not in DUPLICATES:
        raise ValueError(f"duplicates must be one of {list(DUPLICATES)}, got {duplicates!r}.")
    if scorer is None:
        measure = default_measure(label_column) if measure is None else measure
        scorer = DifficultyScorer(n_clusters, cluster_range, normalize, seed=seed, measure=measure)
    elif not isinstance(scorer, DifficultyScorer):
        raise TypeError(
            f"scorer must be a DifficultyScorer, got {scorer!r}: make one, or load it by "
            "DifficultyScorer.from_pretrained(folder_or_repo_id)."
        )
    else:
        require_default((n_clusters, cluster_range, normalize, seed, measure))
    dataset = as_dataset(dataset)
    splits = splits_of(dataset)
    labels = {name: read_labels(split, label_column) if label_column else None for name, split in splits.items()}
    _check_rows(splits, labels, scorer)
    _check_columns(splits, embedding_column, embed=model_id is not None, measure=scorer.measure)
    if model_id is not None:
        dataset = add_embeddings(dataset, model_id, output_column=embedding_column, **embedding_options)
        splits = splits_of(dataset)
    elif embedding_options:
        raise TypeError(f"Without model_id nothing is embedded: drop {sorted(embedding_options)} or pass model_id.")
    rows = {name: _Rows.of(split, embedding_column, labels[name]) for name, split in splits.items()}
    is_copy = {name: _is_copy(of.points) for name, of in rows.items()}
    if duplicates == "first":
        rows = {name: of.select(~is_copy[name]) for name, of in rows.items()}
    reference = fit_split(splits)
    encoder = provenance(splits[reference], embedding_column)
    if scorer.is_fitted:
        check_encoder(scorer.trained_on_, encoder)
        scores = {}
    else:
        points = rows[reference].points
        logger.info("Clustering %d rows.", len(points))
        scores = {reference: scorer.fit_score(points, rows[reference].labels, encoder)}
    scores |= {name: scorer.score(of.points, of.labels) for name, of in rows.items() if name not in scores}
    record = scorer.record(encoder, label_column) | {
        "duplicates": duplicates,
        "copies": _count_copies(is_copy, None if duplicates == "first" else scores[reference].difficulty, reference),
    }
    if scorer.measure == "margin":
        record["doubtful_labels"] = _count_doubtful(scores, rows)
    scored = {
        name: _add_scores(split, record | {"embedding": provenance(split, embedding_column)}, scores[name], rows[name])
        for name, split in splits.items()
    }
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
        points, present = Points.of_column(blocks, has_embedding, embedding_column), has_embedding
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

    def select(self, chosen: np.ndarray) -> "_Rows":
        """Some of them, by a mask."""
        present = self.present.copy()
        present[present] = chosen
        labels = None if self.labels is None else self.labels[chosen]
        return replace(self, points=self.points.select(np.flatnonzero(chosen)), labels=labels, present=present)


def _is_copy(points: Points) -> np.ndarray:
    """Which rows equal an earlier one."""
    first = first_of_equals(points)
    return first != np.arange(first.size, dtype=first.dtype)


def _count_copies(is_copy: dict[str, np.ndarray], difficulty: np.ndarray | None, reference: str) -> int:
    """Say how many rows equal an earlier one, and whether they are many of the first that are trained on."""
    copies, rows = sum(int(mask.sum()) for mask in is_copy.values()), sum(mask.size for mask in is_copy.values())
    if copies:
        logger.info("%d of %d rows have the embedding of an earlier row.", copies, rows)
    if copies and difficulty is not None:
        share = share_of_first_draws(difficulty, is_copy[reference])
        if share > _MANY:
            logger.warning(
                "%d of %d rows have the embedding of an earlier row, and would be %.0f %% of the first draws of a "
                'curriculum (effective fraction %s). Pass duplicates="first" to let one of each stand for them.',
                is_copy[reference].sum(),
                is_copy[reference].size,
                100 * share,
                FIRST_FRACTION,
            )
    return copies


def _count_doubtful(scores: dict[str, Scores], rows: dict[str, _Rows]) -> int:
    """Say how many labels look wrong."""
    nearer, doubtful, total = 0, 0, 0
    for name, found in scores.items():
        labels = rows[name].labels
        assert labels is not None and found.suggested_label is not None and found.margin is not None
        nearer += int(np.sum(found.suggested_label != labels))
        doubtful += int(looks_wrong(found.margin, labels, found.suggested_label).sum())
        total += labels.size
    logger.info(
        "About %d of %d labels look wrong, an estimate that is far too high where the embeddings do not tell classes "
        "apart; %d rows fit another class better: see suggested_label, the highest difficulties first.",
        doubtful,
        total,
        nearer,
    )
    return doubtful


def _check_options(given: Collection[str]) -> None:
    """Raise if an option is none of ours; before anything is done, and with the one that was meant."""
    own, embedding = (inspect.signature(function).parameters for function in (add_difficulty, add_embeddings))
    known = (own.keys() | embedding.keys()) - {"dataset", "output_column", "embedding_options"}
    for name in given:
        if name == "output_column":
            raise TypeError("add_difficulty() has no option 'output_column': the embeddings go to embedding_column.")
        if name not in known:
            raise TypeError(f"add_difficulty() has no option {name!r}. {hint(name, sorted(known))}")


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


def _check_columns(splits: dict[str, Dataset], embedding_column: str, embed: bool, measure: str) -> None:
    """Raise if what will be written takes the place of what the user has."""
    written = [*_WRITTEN, *([SUGGESTED_LABEL] if measure == "margin" else [])]
    if embedding_column in written:
        raise ValueError(f"embedding_column={embedding_column!r} is a column of scores; name another one.")
    for split in splits.values():
        require_own(split, written)
        if embed:
            require_own(split, [embedding_column], ", or pass another embedding_column")


def default_measure(label_column: str | None) -> str:
    """What is hard, where nobody says it.

    Args:
        label_column: Column of the labels, if there are any.

    Returns:
        ``"margin"`` with labels: it keeps more wrong ones out of the first draws (docs/labels.md). Else
        ``"distance"``, as in the paper.
    """
    return "distance" if label_column is None else "margin"


def require_default(options: tuple[Any, ...]) -> None:
    """Raise unless options that a scorer brings are left alone beside one.

    Args:
        options: ``n_clusters``, ``cluster_range``, ``normalize``, ``seed`` and ``measure``.

    Raises:
        TypeError: If one is not its default.
    """
    if options != (None, None, "minmax", 42, None):
        raise TypeError(
            "n_clusters, cluster_range, normalize, seed and measure are those of the scorer: pass them to it."
        )


def check_encoder(trained_on: dict[str, Any] | None, encoder: dict[str, Any]) -> None:
    """Raise if the embeddings are known to be of another encoder than those that the scorer was fitted on.

    Args:
        trained_on: Provenance of the embeddings in ``fit``; ``None`` or empty where it is not known.
        encoder: That of those to be scored; empty where it is not known.

    Raises:
        ValueError: If they differ; what differs is named.
    """
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


def _add_scores(dataset: Dataset, record: dict[str, Any], scores: Scores, rows: _Rows) -> Dataset:
    features: dict[str, Any] = dict(score_features(record))
    if scores.suggested_label is not None:
        features[SUGGESTED_LABEL] = dataset.features[record["label_column"]]
    return add_columns(dataset, score_columns(scores, rows.present), features)


def score_columns(scores: Scores, present: np.ndarray) -> dict[str, pa.Array]:
    """Scores as columns.

    Args:
        scores: Of the rows that are present.
        present: Which rows these are, bool, shape ``(N,)``.

    Returns:
        Arrays of ``N`` values, null in the other rows, by name.
    """
    columns = {CLUSTER: scores.cluster, DISTANCE: scores.distance, DIFFICULTY: scores.difficulty}
    if scores.suggested_label is not None:
        columns[SUGGESTED_LABEL] = scores.suggested_label
    return {name: _with_nulls(values, present) for name, values in columns.items()}


def _with_nulls(values: np.ndarray, present: np.ndarray) -> pa.Array:
    """The values in the rows that are present, null in the others."""
    if present.all():
        return pa.array(values)
    spread = np.zeros(present.size, values.dtype)
    spread[present] = values
    return pa.array(spread, mask=~present)
