"""The API of the paper's reference code, over this library: its users change one import.

Names, arguments, defaults and returned types are those of ``curriculum_learning.py`` in JonnesLin/Datawarmup, and with
the same features and seed so are the numbers, but for what docs/reference_api.md lists.
"""

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.cluster import KMeans, MiniBatchKMeans
from torch.utils.data import DataLoader, IterableDataset

from hf_curriculum.curriculum_learning.features import FeatureExtractor, PretrainedModelExtractor
from hf_curriculum.curriculum_learning.weights_file import StoredWeights, read_weights, write_weights
from hf_curriculum.scoring import DifficultyScorer, difficulty_of, rows_by_class
from hf_curriculum.training import UNIFORM_FRACTION, TemperatureSolver, difficulty_bins, ordered, row_weights

__all__ = [
    "CurriculumLearning",
    "FeatureExtractor",
    "PretrainedModelExtractor",
    "create_curriculum_learning",
    "create_curriculum_learning_with_dino",
]
logger = logging.getLogger(__name__)
_LARGE = 10_000  # rows above which MiniBatchKMeans clusters, in the reference too
_LARGE_CLASS = 1000  # the same for the rows of one class
_ORDERS = {"difficulty": "easy_first", "easy": "hard_first"}
_DINO = {f"dino_{size}": f"facebook/dino-{size}" for size in ("vits16", "vits8", "vitb16", "vitb8")}


class CurriculumLearning:
    """Difficulty weights from k-means on features, and sampling weights that open up as training goes on.

    Args:
        feature_extractor: Gives the features, such as ``PretrainedModelExtractor(model)``.
        n_clusters: Number of clusters; looked at only with ``auto_select_clusters=False``, as in the reference.
        auto_select_clusters: Choose the number by the lowest Davies-Bouldin index. Default ``True``.
        cluster_range: Inclusive range of numbers to try; with labels, up to the number of classes. Default (2, 20).
        use_labels: Cluster inside each class. Default ``False``.
        normalize_weights: Scale distances to [0, 1] inside each cluster, or with labels inside each class.
        batch_size: Rows of a forward pass. Default 256.
        use_minibatch_kmeans: scikit-learn's ``MiniBatchKMeans`` for more than 10,000 rows, or 1,000 of a class; else
            its ``KMeans`` with 10 starts.
        initial_effective_percentage: Share of the distinct rows that N draws visit at iteration 0, in (0, 1]. Default
            0.3. The reference refuses less than 0.1, though its README passes 0.08.
        warmup_iterations: Iterations until sampling is uniform; 0 for none. Default 1000.
        random_state: Seed of k-means. Default 42.
        max_effective_ratio: That share at the end of the warm-up, in (0, 1]; default ``1 - 1/e``, which uniform
            sampling has and nothing exceeds.

    Attributes:
        weights_: Difficulty of each row, 0 = prototype, float32, shape ``(N,)``; ``None`` before :meth:`fit`.
        optimal_clusters_: Number of clusters used.
        features_: What was clustered, float32, shape ``(N, dim)``.
        labels_: Class of each row, shape ``(N,)``, or ``None``.

    Raises:
        ValueError: If a share or ``warmup_iterations`` is outside its range.

    Source:
        Lin et al., CVPR 2025; public library JonnesLin/Datawarmup.
    """

    def __init__(
        self,
        feature_extractor: FeatureExtractor,
        n_clusters: int | None = None,
        auto_select_clusters: bool = True,
        cluster_range: tuple[int, int] = (2, 20),
        use_labels: bool = False,
        normalize_weights: bool = True,
        batch_size: int = 256,
        use_minibatch_kmeans: bool = True,
        initial_effective_percentage: float = 0.3,
        warmup_iterations: int = 1000,
        random_state: int = 42,
        max_effective_ratio: float | None = None,
    ) -> None:
        self.feature_extractor = feature_extractor
        self.n_clusters = n_clusters
        self.auto_select_clusters = auto_select_clusters
        self.cluster_range = cluster_range
        self.use_labels = use_labels
        self.normalize_weights = normalize_weights
        self.batch_size = batch_size
        self.use_minibatch_kmeans = use_minibatch_kmeans
        self.initial_effective_percentage = initial_effective_percentage
        self.warmup_iterations = warmup_iterations
        self.random_state = random_state
        self.max_effective_ratio = UNIFORM_FRACTION if max_effective_ratio is None else max_effective_ratio
        for name in ("initial_effective_percentage", "max_effective_ratio"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in (0, 1], got {getattr(self, name)}; uniform sampling has 0.632.")
        if warmup_iterations < 0:
            raise ValueError(f"warmup_iterations must be at least 0 (no curriculum), got {warmup_iterations}.")
        self.weights_: NDArray[np.floating[Any]] | None = None
        self.optimal_clusters_: int | None = None
        self.features_: NDArray[np.floating[Any]] | None = None
        self.labels_: NDArray[Any] | None = None
        self._solvers: dict[str, tuple[NDArray[np.floating[Any]], TemperatureSolver]] = {}

    def fit(
        self, dataset: Any, labels: ArrayLike | None = None, device: torch.device | str = "cpu"
    ) -> "CurriculumLearning":
        """Embed and cluster a dataset, and weigh its rows by their distance to the prototypes.

        Args:
            dataset: A map-style torch dataset of tensors or tuples ``(input, label)``, or a ``DataLoader`` of one:
                weights are in the order of the dataset, in whatever order the loader goes.
            labels: Class of each row, shape ``(N,)``; default the dataset's ``targets`` or ``labels``.
            device: Where the model runs. Default the CPU.

        Returns:
            The object itself.

        Raises:
            TypeError: For a stream.
            ValueError: If there are fewer rows than clusters, or labels that are not one a row.
        """
        loader = dataset if isinstance(dataset, DataLoader) else DataLoader(dataset, self.batch_size)
        rows = loader.dataset
        if isinstance(rows, IterableDataset):
            raise TypeError("A stream has no rows to draw by weight: pass a map-style dataset.")
        if labels is None:
            labels = getattr(rows, "targets", getattr(rows, "labels", None))
        self.features_ = self.feature_extractor.extract_features(loader, device).numpy()
        self.labels_ = None if labels is None else np.asarray(labels)
        if self.labels_ is not None and self.labels_.shape != (len(self.features_),):
            raise ValueError(f"labels must be one a row, shape ({len(self.features_)},), got {self.labels_.shape}.")
        if self.use_labels and self.labels_ is None:
            logger.warning("use_labels=True, but the dataset has no `targets` or `labels`: pass fit(labels=...).")
        classes = self.labels_ if self.use_labels else None
        self.optimal_clusters_ = self._number_of_clusters(self.features_, classes)
        self.weights_ = self._difficulties(self.features_, classes, self.optimal_clusters_)
        return self

    def get_difficulty_weights(self) -> NDArray[np.floating[Any]]:
        """A copy of the difficulties, low = near a prototype, float32, shape ``(N,)``."""
        return self._fitted().copy()

    def get_curriculum_weights(
        self, strategy: str = "difficulty", current_iteration: int = 0, warmup_iterations: int | None = None
    ) -> NDArray[np.floating[Any]]:
        """Weights to sample rows by at an iteration.

        The effective share rises linearly from ``initial_effective_percentage`` to ``max_effective_ratio``. Mind the
        names, which are the reference's: its docstring says that ``"difficulty"`` favours hard rows; its code does
        the opposite, and so does this.

        Args:
            strategy: ``"difficulty"`` (default) favours rows near a prototype: easy first; ``"easy"`` favours those
                far from it: hard first.
            current_iteration: Iteration of the training, from 0.
            warmup_iterations: Default that of the object.

        Returns:
            Shape ``(N,)``: float32 that sum to 1 during the warm-up, float64 ones after it.

        Raises:
            ValueError: If nothing is fitted or loaded, the strategy is unknown, or the iteration is negative.
        """
        weights = self._fitted()
        if strategy not in _ORDERS:
            raise ValueError(f"strategy must be one of {list(_ORDERS)}, got {strategy!r}.")
        warmup = self.warmup_iterations if warmup_iterations is None else warmup_iterations
        if current_iteration >= warmup:
            return np.ones(len(weights))
        if current_iteration < 0:
            raise ValueError(f"current_iteration counts from 0, got {current_iteration}.")
        first, last = self.initial_effective_percentage, self.max_effective_ratio
        fraction = min(last, first + (last - first) * current_iteration / warmup)
        from_first = ordered(weights, _ORDERS[strategy]).astype(np.float64)
        return row_weights(from_first, float(self._solver(strategy).temperature(fraction))).astype(np.float32)

    def save_weights(self, filepath: str | Path) -> None:
        """Save difficulties, number of clusters, features and labels, without pickle.

        Args:
            filepath: Where to; ``.npy`` is appended where it is missing. See
                ``hf_curriculum.curriculum_learning.weights_file.write_weights`` for the format.

        Raises:
            ValueError: If nothing is fitted or loaded.
        """
        weights = self._fitted()
        assert self.optimal_clusters_ is not None
        stored = StoredWeights(
            weights=weights, n_clusters=self.optimal_clusters_, features=self.features_, labels=self.labels_
        )
        write_weights(filepath, stored)

    def load_weights(self, filepath: str | Path) -> None:
        """Load what :meth:`save_weights` saved.

        Args:
            filepath: The file; ``.npy`` is appended where it is missing.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is damaged, or one that the reference code saved: that is a pickle, which can run
                code. ``python -m hf_curriculum.curriculum_learning.weights_file OLD.npy NEW.npy`` converts it.
        """
        stored = read_weights(filepath)
        self.weights_, self.optimal_clusters_ = stored.weights, stored.n_clusters
        self.features_, self.labels_ = stored.features, stored.labels

    def _fitted(self) -> NDArray[np.floating[Any]]:
        if self.weights_ is None:
            raise ValueError("There are no weights yet: call fit(dataset) or load_weights(filepath) first.")
        return self.weights_

    def _solver(self, strategy: str) -> TemperatureSolver:
        """From effective share to temperature; kept, since making it takes longer than an iteration's weights."""
        weights = self._fitted()
        if self._solvers.get(strategy, (None,))[0] is not weights:
            ranked = np.sort(ordered(weights.astype(np.float64), _ORDERS[strategy]))
            self._solvers[strategy] = weights, TemperatureSolver(ranked, difficulty_bins(ranked), ranked.size)
        return self._solvers[strategy][1]

    def _number_of_clusters(self, features: NDArray[np.float32], classes: NDArray[Any] | None) -> int:
        n = len(features)
        if self.n_clusters is not None and not self.auto_select_clusters:
            chosen = self.n_clusters
        else:
            if self.n_clusters is not None:
                logger.warning("n_clusters=%d counts only with auto_select_clusters=False.", self.n_clusters)
            low, high = self.cluster_range
            high = min(high, n - 1, high if classes is None else len(np.unique(classes)))
            indices = {k: self._index(features, k) for k in range(low, high + 1)}
            chosen = min(indices, key=indices.__getitem__, default=low)
        if chosen > n:
            raise ValueError(f"{chosen} clusters need at least as many rows, but there are {n}.")
        return chosen

    def _index(self, features: NDArray[np.float32], k: int) -> float:
        index = self._scorer(features, k, _LARGE, min(1024, len(features) // 10)).davies_bouldin_
        return math.inf if index is None else index

    def _difficulties(
        self, features: NDArray[np.float32], classes: NDArray[Any] | None, k: int
    ) -> NDArray[np.float32]:
        if classes is None:
            scores = self._scorer(features, k, _LARGE, min(2048, len(features) // 10)).score(features)
            return scores.difficulty if self.normalize_weights else scores.distance
        weights = np.ones(len(features), np.float32)  # a class of fewer rows than clusters keeps them
        for rows in rows_by_class(classes)[1]:
            if rows.size >= k:
                members = features[rows]
                scorer = self._scorer(members, k, _LARGE_CLASS, min(512, rows.size // 5))
                distance = scorer.score(members).distance
                weights[rows] = _scaled(distance, scorer) if self.normalize_weights else distance
        return weights

    def _scorer(self, features: NDArray[np.float32], k: int, large: int, batch_size: int) -> DifficultyScorer:
        """Prototypes of ``k`` clusters, by mini-batches for more than ``large`` rows."""
        if self.use_minibatch_kmeans and len(features) > large:
            clusterer = MiniBatchKMeans(k, random_state=self.random_state, batch_size=batch_size)
        else:
            clusterer = KMeans(k, random_state=self.random_state, n_init=10)
        return DifficultyScorer(standardize=False, l2_normalize=False, clusterer=clusterer).fit(features)


def create_curriculum_learning(
    model: torch.nn.Module | str,
    dataset: Any,
    n_clusters: int | None = None,
    use_labels: bool = False,
    device: torch.device | str = "cpu",
    initial_effective_percentage: float = 0.3,
    warmup_iterations: int = 1000,
    **kwargs: Any,
) -> tuple[NDArray[np.floating[Any]], CurriculumLearning]:
    """Difficulty weights of a dataset by the features of a model.

    Args:
        model: What :class:`PretrainedModelExtractor` takes.
        dataset: What :meth:`CurriculumLearning.fit` takes.
        n_clusters: See :class:`CurriculumLearning`, as for the next four and for ``kwargs``.
        use_labels: Cluster inside each class of the dataset's ``targets`` or ``labels``.
        device: Where the model runs. Default the CPU.
        initial_effective_percentage: Effective share at iteration 0.
        warmup_iterations: Iterations until sampling is uniform.
        **kwargs: Further arguments of :class:`CurriculumLearning`.

    Returns:
        The difficulties, float32, shape ``(N,)``, and the fitted object.

    Raises:
        ValueError: As the classes above.
    """
    curriculum = CurriculumLearning(
        PretrainedModelExtractor(model),
        n_clusters,
        use_labels=use_labels,
        initial_effective_percentage=initial_effective_percentage,
        warmup_iterations=warmup_iterations,
        **kwargs,
    )
    curriculum.fit(dataset, device=device)
    return curriculum.get_difficulty_weights(), curriculum


def create_curriculum_learning_with_dino(
    dataset: Any,
    n_clusters: int | None = None,
    use_labels: bool = False,
    device: torch.device | str = "cpu",
    dino_model: str = "dino_vits16",
    initial_effective_percentage: float = 0.3,
    warmup_iterations: int = 1000,
    **kwargs: Any,
) -> tuple[NDArray[np.floating[Any]], CurriculumLearning]:
    """Difficulty weights of a dataset of images by the features of DINO: its class token.

    Args:
        dataset: Rows are tensors that are resized and normalised as DINO takes them, or PIL images.
        n_clusters: See :func:`create_curriculum_learning`, as for all others.
        use_labels: Cluster inside each class.
        device: Where the model runs. Default the CPU.
        dino_model: ``"dino_vits16"`` (default), ``"dino_vits8"``, ``"dino_vitb16"`` or ``"dino_vitb8"``, which are the
            Hub's ``facebook/dino-vits16`` and so on; or any other Hub id or local directory of an image encoder.
        initial_effective_percentage: Effective share at iteration 0.
        warmup_iterations: Iterations until sampling is uniform.
        **kwargs: Further arguments of :class:`CurriculumLearning`.

    Returns:
        The difficulties, float32, shape ``(N,)``, and the fitted object.

    Raises:
        ValueError: As the classes above, or if the model cannot be loaded.
    """
    return create_curriculum_learning(
        _DINO.get(dino_model, dino_model),
        dataset,
        n_clusters,
        use_labels,
        device,
        initial_effective_percentage,
        warmup_iterations,
        **kwargs,
    )


def _scaled(distance: NDArray[np.float32], scorer: DifficultyScorer) -> NDArray[np.float32]:
    """Distances scaled to [0, 1] from the nearest to the farthest row of any prototype, not inside each cluster."""
    ends = scorer.prototypes_[0].quantiles
    return difficulty_of(distance, np.zeros(len(distance), np.int32), np.array([[ends.min(), ends.max()]]))
