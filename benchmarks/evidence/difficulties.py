"""Difficulties of the rows that a budget trains on, made by a recipe and kept in files."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from benchmarks.evidence.config import Experiment, Recipe, digest
from benchmarks.evidence.data import Parts, Rows, parts
from benchmarks.evidence.evaluate import encode
from benchmarks.evidence.samplers import make_sampler
from benchmarks.evidence.tasks import TASKS
from benchmarks.evidence.train import Training
from benchmarks.evidence.unfinished import Unfinished
from hf_curriculum import DifficultyScorer, add_embeddings

_TEACHER_SEED = 1_000_003  # not among the seeds that anyone compares


@dataclass(frozen=True)
class Place:
    """Where an experiment runs.

    Attributes:
        source: File or folder of the dataset, or ``None`` for the Hub.
        output: Folder of the results.
        device: Name of torch's device.
        minilm: Where MiniLM is: a Hub id or a folder.
    """

    source: str | None
    output: Path
    device: str
    minilm: str


@dataclass(frozen=True)
class Scored:
    """Rows of a budget as a recipe sees them.

    Attributes:
        difficulty: float32, shape ``(n,)``.
        cluster: int32, shape ``(n,)``.
    """

    difficulty: NDArray[np.float32]
    cluster: NDArray[np.int32]


def scored(place: Place, experiment: Experiment, recipe: Recipe, rows: int) -> Scored:
    """Clusters and difficulties of the first rows of the pool: made once, then read."""

    def make() -> NDArray[np.void]:
        vectors = embeddings(place, experiment, recipe.features, rows)
        labels = parts(experiment, place.source, place.device).pool.labels[:rows].cpu().numpy()
        found = _score(vectors, labels if recipe.by_class else None, recipe)
        return np.rec.fromarrays([found.difficulty, found.cluster], names="difficulty,cluster")

    found = _once(place, f"difficulty-{digest(recipe.scoring())}-{rows}-{experiment.fingerprint()}.npy", make)
    return Scored(found["difficulty"], found["cluster"])


def embeddings(place: Place, experiment: Experiment, features: str, rows: int) -> NDArray[np.float32]:
    """Embeddings of the first rows of the pool, shape ``(rows, dim)``: made once, then read."""
    name = f"embedding-{digest({'of': features})}-{rows}-{experiment.fingerprint()}"
    unfinished = Unfinished(place.output, name, {}, place.device)

    def make() -> NDArray[np.float32]:
        found = parts(experiment, place.source, place.device)
        if features in ("bootstrap", "supervised"):
            taught = found.pool.take(slice(rows))
            model = teacher(experiment, features, taught, unfinished)
            return encode(TASKS[experiment.task], model, taught.inputs).cpu().numpy()
        return _embedded(place.minilm if features == "minilm" else features, found, rows)

    vectors = _once(place, f"{name}.npy", make)
    unfinished.remove()
    return vectors


def _once(place: Place, name: str, make: Callable[[], NDArray]) -> NDArray:
    path = place.output / name
    if not path.exists():
        unfinished = path.with_suffix(".part.npy")
        np.save(unfinished, make())
        unfinished.rename(path)
    return np.load(path)


def _score(vectors: NDArray[np.float32], labels: NDArray[np.int64] | None, recipe: Recipe) -> Scored:
    by_position = recipe.normalize == "position"
    scorer = DifficultyScorer(
        recipe.n_clusters, normalize=None if by_position else recipe.normalize, repeats=recipe.repeats
    )
    scores = scorer.fit(vectors, labels).score(vectors, labels)
    difficulty = position(scores.cluster, scores.distance) if by_position else scores.difficulty
    return Scored(difficulty, scores.cluster)


def position(cluster: NDArray[np.integer], distance: NDArray[np.floating]) -> NDArray[np.float32]:
    """Place of each row in its cluster, nearest first, as a share of the largest cluster's rows."""
    order = np.lexsort((distance, cluster))
    _, starts, counts = np.unique(cluster[order], return_index=True, return_counts=True)
    places = np.empty(len(cluster), np.float32)
    places[order] = np.arange(len(cluster)) - np.repeat(starts, counts)
    return places / counts.max()


def _embedded(model_id: str, found: Parts, rows: int) -> NDArray[np.float32]:
    embedded = add_embeddings(found.raw.select(range(rows)), model_id)
    return np.array(embedded.with_format("numpy")["embedding"][:], np.float32)


def teacher(experiment: Experiment, by: str, rows: Rows, unfinished: Unfinished | None = None) -> PreTrainedModel:
    """The task's model after a short uniform training from weights that no run starts with.

    Args:
        experiment: What the runs share.
        by: ``"bootstrap"``, by the task's own loss, or ``"supervised"``, by a linear layer on its features.
        rows: What it is trained on.
        unfinished: Where it is kept while it is trained, to go on from there; by default nowhere.
    """
    task, steps = TASKS[experiment.task], experiment.teacher_steps
    model = task.build(rows.inputs, rows.labels, _TEACHER_SEED).to(rows.inputs.device)
    classes = nn.Linear(task.features(model, rows.inputs[:2]).shape[1], int(rows.labels.max()) + 1).to(model.device)

    def supervised(inputs: torch.Tensor, labels: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        return cross_entropy(classes(task.features(model, inputs)), labels)

    trained, loss = model, partial(task.loss, model)
    if by == "supervised":
        trained, loss = nn.ModuleList([model, classes]), supervised
    sampler = make_sampler(
        "uniform", np.zeros(len(rows.labels)), {}, batch_size=experiment.batch_size, steps=steps, seed=_TEACHER_SEED
    )
    training = Training(trained, loss, sampler, rows, experiment, _TEACHER_SEED)
    if unfinished and (state := unfinished.read()):
        training.resume(state)
    for _ in training:
        if unfinished and unfinished.is_due():
            unfinished.write(training.state())
    return model
