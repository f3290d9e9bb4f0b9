"""What an experiment asks: one JSON file, read into a frozen dataclass that checks itself."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.evidence.samplers import ARMS
from benchmarks.evidence.tasks import TASKS
from hf_curriculum import CurriculumConfig
from hf_curriculum.training.config import UNIFORM_FRACTION

SPLITS = ("held_out", "test")
DECAYS = ("cosine", "none")
WRONG_LABELS = ("any", "next")
NORMALIZATIONS = ("minmax", "rank", None, "position")
_GRID = {"question", "budgets", "arms", "seeds", "curriculum", "variants"}


@dataclass(frozen=True)
class Run:
    """One training of the grid.

    Attributes:
        rows: Rows that are trained on.
        steps: Optimiser steps.
        variant: Name of the recipe of the curriculum; ``None`` for the uniform arm, which has none.
        arm: Name of the sampler.
        seed: Seed of the initial weights, of the masks and augmentations, of the draws.
    """

    rows: int
    steps: int
    variant: str | None
    arm: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How difficulties are made, and how a curriculum opens.

    Attributes:
        features: What is embedded by: ``"bootstrap"``, the model itself after a short uniform training;
            ``"supervised"``, its encoder after a short training on the labels; ``"minilm"``; or a ``model_id`` of
            ``add_embeddings``, such as ``"builtin/hog"``.
        n_clusters: Number of clusters; ``None`` chooses it by the Davies-Bouldin index.
        normalize: ``"minmax"``, ``"rank"``, ``None``, or ``"position"``: the place in the own cluster, by distance, as
            a share of the largest cluster's rows. By position every cluster is drawn from alike while a pool is
            small.
        by_class: Cluster inside each class, of the labels that the training has.
        repeats: Clusterings whose difficulties are averaged.
        initial_fraction: Of ``CurriculumConfig``, as are the three below.
        final_fraction: The pool's effective fraction at the end of the warm-up.
        warmup_steps: Length of the warm-up, a share of the steps.
        schedule: Shape of the opening.
        arms: Samplers that run beside ``"uniform"``.
    """

    features: str
    arms: list[str]
    n_clusters: int | None = None
    normalize: str | None = "minmax"
    by_class: bool = False
    repeats: int = 1
    initial_fraction: float = 0.3
    final_fraction: float = UNIFORM_FRACTION
    warmup_steps: float = 0.5
    schedule: str = "cosine"

    def __post_init__(self) -> None:
        _one_of("arms", self.arms, [arm for arm in ARMS if arm != "uniform"])
        _one_of("normalize", [self.normalize], NORMALIZATIONS)
        if self.normalize == "position" and self.repeats > 1:
            raise ValueError("normalize='position' is a place in one clustering: leave repeats at 1.")
        CurriculumConfig(**self.opening())

    def opening(self) -> dict[str, Any]:
        """Options of ``CurriculumConfig``, but for the order, which is the arm's."""
        names = ("initial_fraction", "final_fraction", "warmup_steps", "schedule")
        return {name: getattr(self, name) for name in names}

    def scoring(self) -> dict[str, Any]:
        """All that the difficulties depend on, beside the rows."""
        return {name: getattr(self, name) for name in ("features", "n_clusters", "normalize", "by_class", "repeats")}


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A grid of budgets, variants of the curriculum, arms and seeds, and what all of its runs share.

    Attributes:
        question: What the experiment asks, in a sentence; the title of its tables.
        dataset: ``"digits"``, or a Hub id; the command line can name files in its place.
        task: One of ``tasks.TASKS``: a model of a size, and what it learns.
        budgets: Pairs (rows trained on, optimiser steps).
        seeds: Seeds; each is a pair of runs for every arm beside uniform. Without any, there is something for
            ``drawn.py`` alone.
        arms: Samplers beside ``"uniform"``, which always runs.
        curriculum: Settings of ``Recipe``.
        variants: For each name, the settings in which a curriculum differs from ``curriculum``.
        teacher_steps: Steps of the short training behind the features ``"bootstrap"`` and ``"supervised"``.
        batch_size: Rows a step.
        learning_rate: Peak of the schedule; the first twentieth of the steps warms up.
        decay: ``"cosine"`` to 0, or ``"none"``: constant after the warm-up.
        shift: Images are moved by up to so many pixels.
        flip: Half of the images are mirrored.
        label_noise: Share of the labels that are replaced by another one, in what is trained on alone.
        wrong_label: What replaces a label: ``"any"`` other class, each as likely; or the ``"next"``, so that all wrong
            labels of a class are one other class, the hardest case.
        evaluations: Times that a run is evaluated after its start, evenly spaced; the last is at its end.
        evaluate_on: ``"held_out"``, part of the training split that no run trains on: for every choice. ``"test"``,
            the test split: for the final figures, once.
        held_out: Rows of the training split that are held out, whatever ``evaluate_on`` says.
        bank: Labelled rows of the training split that k-NN and probe learn from, the same in all runs.
        queries: Rows of ``evaluate_on`` that are classified.

    Raises:
        ValueError: If a value is outside its range.
    """

    question: str
    dataset: str
    task: str
    budgets: list[tuple[int, int]]
    seeds: list[int]
    arms: list[str]
    curriculum: dict[str, Any]
    variants: dict[str, dict[str, Any]]
    teacher_steps: int
    batch_size: int
    learning_rate: float
    decay: str
    shift: int
    flip: bool
    label_noise: float
    wrong_label: str
    evaluations: int
    evaluate_on: str
    held_out: int
    bank: int
    queries: int

    def __post_init__(self) -> None:
        _one_of("task", [self.task], TASKS)
        _one_of("evaluate_on", [self.evaluate_on], SPLITS)
        _one_of("decay", [self.decay], DECAYS)
        _one_of("wrong_label", [self.wrong_label], WRONG_LABELS)
        for name in self.variants:
            self.recipe(name)
        for rows, steps in self.budgets:
            if rows < self.batch_size or steps < self.evaluations:
                raise ValueError(
                    f"A budget is (rows, steps), at least a batch of {self.batch_size} rows and a step for each "
                    f"of {self.evaluations} evaluations; got ({rows}, {steps})."
                )
        if self.evaluate_on == "held_out" and self.queries > self.held_out:
            raise ValueError(f"queries={self.queries} of held_out={self.held_out} rows: hold more out, or ask fewer.")

    @classmethod
    def read(cls, path: Path) -> "Experiment":
        """The experiment of a JSON file, which names every field."""
        values = json.loads(path.read_text("utf-8"))
        differing = sorted(set(values) ^ {field.name for field in fields(cls)})
        if differing:
            raise ValueError(f"{path} must name every setting, and no other; look at {differing}.")
        return cls(**values | {"budgets": [tuple(budget) for budget in values["budgets"]]})

    def recipe(self, variant: str) -> Recipe:
        """The curriculum of a variant."""
        values = {"arms": self.arms} | self.curriculum | self.variants[variant]
        unknown = sorted(set(values) - {field.name for field in fields(Recipe)})
        if unknown:
            raise ValueError(f"variants: {variant!r} has unknown settings {unknown}.")
        return Recipe(**values)

    def runs(self) -> list[Run]:
        """All trainings, seed by seed, so that an interrupted experiment has whole pairs."""
        found = []
        for seed, (rows, steps) in product(self.seeds, self.budgets):
            found.append(Run(rows, steps, None, "uniform", seed))
            for variant in self.variants:
                found += [Run(rows, steps, variant, arm, seed) for arm in self.recipe(variant).arms]
        return found

    def fingerprint(self) -> str:
        """Hash of what all runs share: lines of one fingerprint can be compared. The grid may grow."""
        return digest({name: value for name, value in asdict(self).items() if name not in _GRID})

    def made_by(self, run: Run) -> dict[str, Any] | None:
        """Settings of a run's curriculum; lines of one variant can be compared if these are the same."""
        if run.variant is None:
            return None
        recipe = self.recipe(run.variant)
        return recipe.scoring() | recipe.opening()


def digest(values: dict[str, Any]) -> str:
    """Short name of some settings."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def _one_of(name: str, values: list[Any], known: Any) -> None:
    unknown = sorted(set(values) - set(known), key=str)
    if unknown:
        raise ValueError(f"{name}: {unknown} must be among {list(known)}.")
