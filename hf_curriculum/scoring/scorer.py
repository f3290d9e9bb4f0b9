"""DifficultyScorer: learns prototypes from embeddings, scores rows by their distance to them."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from datasets import Features
from numpy.typing import ArrayLike, NDArray

from hf_curriculum._version import __version__
from hf_curriculum.data import (
    CLUSTER,
    DIFFICULTY,
    DISTANCE,
    EMBEDDING,
    SUGGESTED_LABEL,
    difficulty_quantiles,
    require_count,
    score_features,
    suggesting,
    without_folders,
)
from hf_curriculum.scoring.choice import why_of_all
from hf_curriculum.scoring.clusters import find_centroids
from hf_curriculum.scoring.difficulty import NORMALIZATIONS
from hf_curriculum.scoring.inputs import as_labels, as_points, require_classes, require_seen
from hf_curriculum.scoring.kmeans import kmeans
from hf_curriculum.scoring.margin import fit_margin
from hf_curriculum.scoring.points import Points, fit_space
from hf_curriculum.scoring.pretrained import Shareable
from hf_curriculum.scoring.prototypes import Nearest, Prototypes
from hf_curriculum.scoring.scorer_config import MEASURES, plain_index
from hf_curriculum.scoring.scorer_files import OPTIONS, StoredScorer
from hf_curriculum.scoring.scores import Scores, by_distance, by_margin, warn_if_alike

logger = logging.getLogger(__name__)
_SAMPLE = 1 << 16  # rows whose difficulties say how all are distributed


@suggesting
class DifficultyScorer(Shareable):
    """Fits prototypes on embeddings and scores rows by their distance to the nearest one.

    A cluster of one row, or of at most a quarter of the mean cluster's rows and 16, has no prototype, since an outlier
    that owns a cluster would be at distance 0 of it: its rows are scored against the nearest other prototype, at the
    end of its range if they are farther than all of its own rows. All other scores are those of plain k-means.

    Args:
        n_clusters: Number of clusters K; with labels, in each class. ``None`` takes the one at which the
            Davies-Bouldin index has a minimum, or ``sqrt(N)`` where it has none (docs/scorer.md).
        cluster_range: Inclusive range ``(low, high)`` of the K to try instead; that of the lowest index is taken. Not
            together with ``n_clusters``.
        normalize: ``"minmax"`` (default, the paper), ``"rank"`` or ``None`` (difficulty is the distance).
        standardize: Bring each dimension to mean 0 and standard deviation 1 first. Default ``True``.
        l2_normalize: Then bring each embedding to length 1. Default ``True``.
        seed: Seed of k-means. Default 42.
        repeats: Clusterings, each from a seed of its own, whose difficulties are averaged: single ones agree on the
            order of the rows less than one would wish (docs/scorer.md). Default 1, as in the paper.
        clusterer: A scikit-learn estimator with ``cluster_centers_``, such as ``MiniBatchKMeans(100)``, instead of our
            k-means; it gets all embeddings in memory. Not together with ``n_clusters`` or ``cluster_range``.
        measure: What is hard. ``"distance"`` (default, the paper): a row far from its prototype. ``"margin"``, for
            labels that may be wrong: a row near to a prototype of another class in comparison with its own,
            ``own / (own + other)`` of the two distances, normalised over all rows. Its prototypes, one a class unless
            ``n_clusters`` or ``cluster_range`` says more, are found again on the easier half of each class, three
            times, and distances count in a space in which rows lie around them alike in all directions
            (docs/labels.md). Needs labels; not together with ``repeats``.

    Raises:
        ValueError: If an option is outside its range.

    Example:
        >>> embeddings = np.random.default_rng(0).normal(size=(100, 8))
        >>> scorer = DifficultyScorer(n_clusters=4).fit(embeddings)
        >>> scorer.score(embeddings).difficulty.shape
        (100,)

    Saving::

        scorer.save_pretrained("scorer")  # or scorer.push_to_hub("me/scorer")
        scorer = DifficultyScorer.from_pretrained("scorer")  # or "me/scorer"

    Source:
        Lin et al., CVPR 2025, section 3: prototypes are the rows nearest to the k-means centroids.
    """

    def __init__(
        self,
        n_clusters: int | None = None,
        cluster_range: tuple[int, int] | None = None,
        normalize: str | None = "minmax",
        standardize: bool = True,
        l2_normalize: bool = True,
        seed: int = 42,
        repeats: int = 1,
        clusterer: Any = None,
        measure: str = "distance",
    ) -> None:
        if measure not in MEASURES:
            raise ValueError(f"measure must be one of {list(MEASURES)}, got {measure!r}.")
        if measure == "margin" and repeats != 1:
            raise ValueError(f'repeats={repeats} averages clusterings, which measure="margin" does not: leave it out.')
        if normalize not in NORMALIZATIONS:
            raise ValueError(f"normalize must be one of {list(NORMALIZATIONS)}, got {normalize!r}.")
        require_count(n_clusters, "n_clusters", optional=True)
        if cluster_range is not None and not _is_range(cluster_range):
            raise ValueError(f"cluster_range must be (low, high) with 2 <= low <= high, got {cluster_range!r}.")
        require_count(repeats, "repeats")
        if sum(option is not None for option in (n_clusters, cluster_range, clusterer)) > 1:
            raise ValueError("Pass one of n_clusters, cluster_range (to choose it) and clusterer (which knows it).")
        self.n_clusters = n_clusters
        self.cluster_range = cluster_range
        self.normalize = normalize
        self.standardize = standardize
        self.l2_normalize = l2_normalize
        require_count(seed, "seed", least=0)
        self.seed = int(seed) % 2**63
        self.repeats = repeats
        self.clusterer = clusterer
        self.measure = measure

    def check_rows(self, n: int) -> None:
        """Raise a ``ValueError`` if ``n`` rows are too few for the clusters asked for.

        Raises:
            ValueError: If they are.
        """
        wanted = self.n_clusters or (self.cluster_range or (1, 1))[0]
        if wanted > n:
            raise ValueError(f"{wanted} clusters need at least as many rows, but there are {n}. Lower n_clusters.")

    def check_labels(self, labels: NDArray[Any] | None) -> None:
        """Raise a ``ValueError`` if rows of these classes cannot be scored by the fitted prototypes.

        Raises:
            ValueError: If labels are missing, or not asked for, or one of them was not seen in ``fit``.
        """
        if labels is None and self.centroid_labels_ is not None:
            raise ValueError("The scorer was fitted with labels: pass the labels of these rows too.")
        if labels is not None and self.centroid_labels_ is None:
            raise ValueError("The scorer was fitted without labels: leave the labels of these rows out.")
        if labels is not None and self.centroid_labels_ is not None:
            require_seen(labels, self.centroid_labels_)

    def fit(
        self,
        embeddings: ArrayLike | Points,
        labels: ArrayLike | None = None,
        trained_on: Mapping[str, Any] | None = None,
    ) -> "DifficultyScorer":
        """Learn the centroids, and the range of distances around each.

        Args:
            embeddings: Finite numbers, shape ``(N, dim)``; any float type.
            labels: Class of each row, shape ``(N,)``; clusters are then found inside each class, of ``n`` rows at most
                ``n / 2``.
            trained_on: Where the embeddings came from, such as ``provenance(dataset, "embedding")``, for the record
                of a saved scorer; JSON. Default ``None``, not known.

        Returns:
            The scorer itself, with ``prototypes_``, one for each of the ``repeats``; and, of the first,
            ``centroids_`` of shape ``(K, dim)``, ``centroid_labels_`` of shape ``(K,)`` or ``None``, ``n_clusters_``,
            ``outliers_`` (rows of clusters that are too small for a prototype), ``davies_bouldin_`` (with labels the
            mean over the classes; ``None`` for one cluster), ``davies_bouldin_curve_`` (index by candidate; empty
            with labels) and ``chosen_by_`` (where ``n_clusters_`` comes from, in words). ``quantiles_`` say how
            difficulties are distributed, which a curriculum on a stream needs.

        Raises:
            ValueError: If the embeddings are not a finite matrix, are fewer than the clusters, or the labels do not
                match them.
        """
        points = as_points(embeddings)
        some = np.unique(np.linspace(0, len(points) - 1, _SAMPLE).astype(np.int64))
        self._fit(points, labels, trained_on, some)
        return self

    def fit_score(
        self,
        embeddings: ArrayLike | Points,
        labels: ArrayLike | None = None,
        trained_on: Mapping[str, Any] | None = None,
    ) -> Scores:
        """Fit, and score the same rows: as :meth:`fit` and :meth:`score`, but cheaper.

        Args:
            embeddings: As of :meth:`fit`.
            labels: As there.
            trained_on: As there.

        Returns:
            What :meth:`score` gives. The nearest prototype of each row, found to fit, is not looked for again, unless
            clusters were too small for a prototype, or with ``measure="margin"``.

        Raises:
            ValueError: As of :meth:`fit`.
        """
        return self._fit(as_points(embeddings), labels, trained_on, slice(None))

    def _fit(
        self,
        points: Points,
        labels: ArrayLike | None,
        trained_on: Mapping[str, Any] | None,
        rows: NDArray[np.int64] | slice,
    ) -> Scores:
        """Learn from all points, and score some of them."""
        self.check_rows(len(points))
        self.trained_on_ = None if trained_on is None else dict(trained_on)
        points = points.held()
        self.space_ = fit_space(points, self.standardize, self.l2_normalize)
        points = points.inside(self.space_)
        classes = None if labels is None else as_labels(labels, len(points))
        if self.measure == "margin":
            require_classes(classes)
        curves: list[dict[int, float]] = []
        reasons: list[str] = []

        def find(points: Points, most: int) -> torch.Tensor:
            centroids, curve, reason = self._cluster(points, most, self.seed + len(prototypes))
            curves.append(curve)
            reasons.append(reason)
            return centroids

        def fitted() -> Iterator[tuple[Prototypes, Nearest | None]]:
            for _ in range(self.repeats):
                one, found = Prototypes.fit(points, classes, find, self.normalize)
                prototypes.append(one)
                yield one, None if found is None else (found[0][rows], found[1][rows])

        prototypes: list[Prototypes] = []
        known: Iterable[tuple[Prototypes, Nearest | None]] = fitted()
        if self.measure == "margin":
            assert classes is not None
            one, self.space_ = fit_margin(points, classes, find, self.normalize)
            prototypes.append(one)
            points, known = points.inside(self.space_), [(one, None)]
        scores = self._scores(points.select(rows), None if classes is None else classes[rows], known)
        self.prototypes_ = prototypes
        self.davies_bouldin_curve_ = curves[0] if labels is None else {}  # each class has its own
        self.chosen_by_: str | None = why_of_all(reasons)
        logger.info("%d clusters: %s. Difficulty is by measure=%r.", self.n_clusters_, self.chosen_by_, self.measure)
        some = np.unique(np.linspace(0, len(scores.difficulty) - 1, _SAMPLE).astype(np.int64))
        self.quantiles_: list[float] | None = difficulty_quantiles(scores.difficulty[some])
        if self.outliers_:
            logger.info("%d rows are in clusters too small for a prototype.", self.outliers_)
        warn_if_alike(scores.difficulty)
        return scores

    def score(self, embeddings: ArrayLike | Points, labels: ArrayLike | None = None) -> Scores:
        """Score rows against the fitted prototypes.

        Args:
            embeddings: Finite numbers, shape ``(N, dim)``, of the encoder that the scorer was fitted on.
            labels: Class of each row, shape ``(N,)``; needed if the scorer was fitted with labels.

        Returns:
            Cluster, distance and difficulty of each row; distances outside the range seen in ``fit`` give 0 or 1, and
            are counted.

        Raises:
            ValueError: If the scorer is not fitted, the shape differs, or a label was not seen in ``fit``.
        """
        self._require_fitted()
        points = as_points(embeddings)
        if points.dim != self.centroids_.shape[1]:
            raise ValueError(
                f"The scorer was fitted on {self.centroids_.shape[1]} dimensions, got embeddings of {points.dim}."
            )
        classes = None if labels is None else as_labels(labels, len(points))
        self.check_labels(classes)
        known = ((prototypes, None) for prototypes in self.prototypes_)
        return self._scores(points.inside(self.space_), classes, known)

    def _scores(
        self,
        points: Points,
        classes: NDArray[Any] | None,
        clusterings: Iterable[tuple[Prototypes, Nearest | None]],
    ) -> Scores:
        """Scores by each of the clusterings, and what is known of the nearest prototypes of these."""
        if self.measure == "margin":
            assert classes is not None
            ((prototypes, _),) = clusterings
            scores = by_margin(prototypes, points, classes)
        else:
            only_scaled = not (self.standardize or self.l2_normalize)
            scores = by_distance(clusterings, points, classes, float(self.space_.scale[0]) if only_scaled else 1.0)
        if scores.outside:
            logger.info("%d of %d rows are outside the range of their cluster.", scores.outside, len(points))
        return scores

    def __call__(
        self, batch: dict[str, Any], embedding_column: str = EMBEDDING, label_column: str | None = None
    ) -> dict[str, Any]:
        """Scores of some rows, for ``dataset.map(scorer, batched=True)``; streams too.

        Args:
            batch: Columns of a batch, or one row. Rows whose embedding or label is null get null
                scores.
            embedding_column: Column of the embeddings; pass another by ``fn_kwargs``. Default ``"embedding"``.
            label_column: Column of the classes, if the scorer was fitted with labels.

        Returns:
            Columns ``"cluster"``, ``"distance"`` and ``"difficulty"``, and ``"suggested_label"`` with
            ``measure="margin"``.
        """
        rows, single = batch[embedding_column], False
        labels = batch[label_column] if label_column else None
        if rows is None or np.ndim(rows[0]) == 0 and rows[0] is not None:  # a row by itself
            rows, labels, single = [rows], None if labels is None else [labels], True
        embedded = [i for i, row in enumerate(rows) if row is not None and (labels is None or labels[i] is not None)]
        names = (CLUSTER, DISTANCE, DIFFICULTY, *([SUGGESTED_LABEL] if self.measure == "margin" else []))
        columns: dict[str, list[Any]] = {name: [None] * len(rows) for name in names}
        if embedded:
            # On the CPU: in a process that `map` has forked, a GPU cannot be used.
            points = replace(as_points([rows[i] for i in embedded]), device=torch.device("cpu"))
            scores = self.score(points, None if labels is None else [labels[i] for i in embedded])
            for name, column in columns.items():
                for i, value in zip(embedded, getattr(scores, name), strict=True):
                    column[i] = value
        return {name: column[0] for name, column in columns.items()} if single else columns

    def record(self, embedding: Mapping[str, Any], label_column: str | None = None) -> dict[str, Any]:
        """How it scores: the provenance of a difficulty column.

        Args:
            embedding: Provenance of the embeddings; empty where it is not known.
            label_column: Column of the classes, if the scorer was fitted with labels.

        Returns:
            The record, see :func:`hf_curriculum.provenance`.
        """
        self._require_fitted()
        return {
            "embedding": dict(embedding),
            "measure": self.measure,
            "n_clusters": self.n_clusters_,
            "chosen_by": self.chosen_by_,
            "options": {"n_clusters": self.n_clusters, "cluster_range": self.cluster_range},
            "outliers": self.outliers_,
            "davies_bouldin": plain_index(self.davies_bouldin_),
            "davies_bouldin_curve": {str(k): plain_index(index) for k, index in self.davies_bouldin_curve_.items()},
            "label_column": label_column,
            "normalize": self.normalize,
            "standardize": self.standardize,
            "l2_normalize": self.l2_normalize,
            "seed": self.seed,
            "repeats": self.repeats,
            "clusterer": None if self.clusterer is None else without_folders(repr(self.clusterer)),
            "quantiles": self.quantiles_,
            "version": __version__,
        }

    def features(self, features: Features, label_column: str | None = None) -> Features:
        """Features for ``stream.map(scorer, batched=True, features=...)``, with provenance.

        Args:
            features: Those of the stream.
            label_column: Column of the classes, if the scorer was fitted with labels.

        Returns:
            The same, and those of the scores.
        """
        scores: dict[str, Any] = dict(score_features(self.record(self.trained_on_ or {}, label_column)))
        if self.measure == "margin":
            scores[SUGGESTED_LABEL] = features[label_column]
        return Features({**features, **scores})

    def _stored(self) -> StoredScorer:
        self._require_fitted()
        return StoredScorer(
            options={name: getattr(self, name) for name in OPTIONS},
            clusterer=None if self.clusterer is None else without_folders(repr(self.clusterer)),
            prototypes=self.prototypes_,
            space=self.space_,
            davies_bouldin_curve=self.davies_bouldin_curve_,
            chosen_by=self.chosen_by_,
            trained_on=self.trained_on_,
            difficulty_quantiles=self.quantiles_,
        )

    @classmethod
    def _restored(cls, stored: StoredScorer) -> "DifficultyScorer":
        scorer = cls(**stored.options)
        scorer.prototypes_ = stored.prototypes
        scorer.space_ = stored.space
        scorer.davies_bouldin_curve_ = stored.davies_bouldin_curve
        scorer.chosen_by_ = stored.chosen_by
        scorer.trained_on_ = stored.trained_on
        scorer.quantiles_ = stored.difficulty_quantiles
        return scorer

    @property
    def is_fitted(self) -> bool:
        """Whether there are prototypes to score by."""
        return hasattr(self, "davies_bouldin_curve_")

    @property
    def centroids_(self) -> torch.Tensor:
        """Prototypes of the first clustering, float32, shape ``(K, dim)``."""
        return self.prototypes_[0].centroids

    @property
    def centroid_labels_(self) -> NDArray[Any] | None:
        """Their classes, shape ``(K,)``."""
        return self.prototypes_[0].labels

    @property
    def n_clusters_(self) -> int:
        """Their number ``K``."""
        return len(self.centroids_)

    @property
    def davies_bouldin_(self) -> float | None:
        """Their index."""
        return self.prototypes_[0].davies_bouldin

    @property
    def outliers_(self) -> int:
        """Rows of ``fit`` in clusters that were too small for a prototype."""
        return self.prototypes_[0].outliers

    def _require_fitted(self) -> None:
        if not self.is_fitted:
            raise ValueError("This scorer has no centroids yet: call fit(embeddings) first.")

    def _cluster(self, points: Points, most: int, seed: int) -> tuple[torch.Tensor, dict[int, float], str]:
        """At most so many centroids, the index of each number that was tried, and where the number comes from."""
        ways = (self.n_clusters, self.cluster_range, self.clusterer)
        if self.measure == "margin" and all(way is None for way in ways):
            return kmeans(points, 1, seed), {}, "one prototype a class"
        return find_centroids(points, most, seed, *ways)


def _is_range(value: object) -> bool:
    """Two integers, of which the first is 2 or more and the second no less."""
    return (
        isinstance(value, tuple | list)
        and len(value) == 2
        and all(isinstance(k, int | np.integer) for k in value)
        and 2 <= value[0] <= value[1]
    )
