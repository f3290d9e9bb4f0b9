"""What an experiment asks: one JSON file, read into a frozen dataclass that checks itself."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.evidence.models import MODELS
from benchmarks.evidence.samplers import ARMS
from hf_curriculum import CurriculumConfig

FEATURES = ("hog", "bootstrap")
SPLITS = ("held_out", "test")
_GRID = {"question", "budgets", "features", "arms", "seeds"}


@dataclass(frozen=True)
class Run:
    """One training of the grid.

    Attributes:
        rows: Images that are trained on.
        steps: Optimiser steps.
        features: What the difficulties come from; ``None`` for the uniform arm, which has none.
        arm: Name of the sampler.
        seed: Seed of the initial weights, of the masks and augmentations, of the draws.
    """

    rows: int
    steps: int
    features: str | None
    arm: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A grid of budgets, features, arms and seeds, and what all of its runs share.

    Attributes:
        question: What the experiment asks, in a sentence; the title of its tables.
        dataset: ``"digits"``, or a Hub id; the command line can name a folder in its place.
        model: One of ``models.MODELS``.
        budgets: Pairs (images trained on, optimiser steps).
        seeds: Seeds; each is a pair of runs for every arm beside uniform.
        features: ``"hog"`` and ``"bootstrap"``: the model's own features after a short uniform training.
        arms: Samplers beside ``"uniform"``, which always runs.
        curriculum: Options of ``CurriculumConfig``, but for the order, which is the arm's.
        n_clusters: Clusters of the difficulties; ``None`` chooses by the Davies-Bouldin index.
        bootstrap_steps: Steps of the short uniform training.
        batch_size: Images a step.
        learning_rate: Peak of a cosine schedule; the first twentieth of the steps warms up.
        shift: Images are moved by up to so many pixels.
        flip: Half of the images are mirrored.
        evaluations: Times that a run is evaluated after its start, evenly spaced; the last is at its end.
        evaluate_on: ``"held_out"``, part of the training split that no run trains on: for every choice. ``"test"``,
            the test split: for the final figures, once.
        held_out: Images of the training split that are held out, whatever ``evaluate_on`` says.
        bank: Labelled images of the training split that k-NN and probe learn from, the same in all runs.
        queries: Images of ``evaluate_on`` that are classified.

    Raises:
        ValueError: If a value is outside its range.
    """

    question: str
    dataset: str
    model: str
    budgets: list[tuple[int, int]]
    seeds: list[int]
    features: list[str]
    arms: list[str]
    curriculum: dict[str, Any]
    n_clusters: int | None
    bootstrap_steps: int
    batch_size: int
    learning_rate: float
    shift: int
    flip: bool
    evaluations: int
    evaluate_on: str
    held_out: int
    bank: int
    queries: int

    def __post_init__(self) -> None:
        _one_of("model", [self.model], MODELS)
        _one_of("features", self.features, FEATURES)
        _one_of("arms", self.arms, [arm for arm in ARMS if arm != "uniform"])
        _one_of("evaluate_on", [self.evaluate_on], SPLITS)
        CurriculumConfig(**self.curriculum)
        for rows, steps in self.budgets:
            if rows < self.batch_size or steps < self.evaluations:
                raise ValueError(
                    f"A budget is (images, steps), at least a batch of {self.batch_size} images and a step for each "
                    f"of {self.evaluations} evaluations; got ({rows}, {steps})."
                )
        if self.evaluate_on == "held_out" and self.queries > self.held_out:
            raise ValueError(
                f"queries={self.queries} of held_out={self.held_out} images: hold more out, or ask fewer."
            )

    @classmethod
    def read(cls, path: Path) -> "Experiment":
        """The experiment of a JSON file, which names every field."""
        values = json.loads(path.read_text("utf-8"))
        differing = sorted(set(values) ^ {field.name for field in fields(cls)})
        if differing:
            raise ValueError(f"{path} must name every setting, and no other; look at {differing}.")
        return cls(**values | {"budgets": [tuple(budget) for budget in values["budgets"]]})

    def runs(self) -> list[Run]:
        """All trainings, seed by seed, so that an interrupted experiment has whole pairs."""
        found = []
        for seed, (rows, steps) in product(self.seeds, self.budgets):
            found.append(Run(rows, steps, None, "uniform", seed))
            found += [Run(rows, steps, name, arm, seed) for name, arm in product(self.features, self.arms)]
        return found

    def fingerprint(self) -> str:
        """Hash of what all runs share: lines of one fingerprint can be compared. The grid may grow."""
        shared = {name: value for name, value in asdict(self).items() if name not in _GRID}
        return hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()[:12]


def _one_of(name: str, values: list[str], known: Any) -> None:
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f"{name}: {unknown} must be among {list(known)}.")
