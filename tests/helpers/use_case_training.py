"""A short training, and what is seen of it: the rows and the loss of each step, the weights before and after."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from tiny import options
from transformers import Trainer, TrainingArguments, set_seed

from hf_curriculum import CurriculumConfig, CurriculumMixin, CurriculumSampler

STEPS, CUT, BATCH, SEED = 6, 3, 4, 7
CURRICULUM = CurriculumConfig(warmup_steps=4)  # the cut lies inside the warm-up, and the resumed run goes beyond it
Weights = dict[str, torch.Tensor]
Rows = list[dict[str, Any]]
Batch = dict[str, Any]


@dataclass(frozen=True)
class Trained:
    """Of a training from its start, or from the checkpoint at ``CUT``: what went through it."""

    rows: list[list[int]]
    losses: list[float]
    before: Weights
    after: Weights


@dataclass(frozen=True)
class Recipe:
    """What a ``Trainer`` needs beside a scored dataset; ``collate=None`` leaves the trainer its own collator."""

    model: torch.nn.Module
    collate: Callable[[Rows], Batch] | None = None
    arguments: type[TrainingArguments] = TrainingArguments
    settings: dict[str, Any] = field(default_factory=dict)
    others: dict[str, Any] = field(default_factory=dict)


def planned(dataset: Dataset) -> CurriculumSampler:
    return CurriculumSampler(
        dataset["difficulty"][:],
        CURRICULUM,
        total_batch_size=BATCH,
        total_steps=STEPS,
        steps_per_epoch=STEPS,
        seed=SEED,
    )


def weights_of(*models: torch.nn.Module) -> Weights:
    return {f"{i}.{name}": w.clone() for i, model in enumerate(models) for name, w in model.state_dict().items()}


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    numpy_state = np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        set_seed(seed)
        yield
    np.random.set_state(numpy_state)  # noqa: NPY002


class WithRows:
    """A collator that says which rows a batch holds.

    Loaders collate ahead of the step that a checkpoint saves, so what a collator draws, such as a mask, would not be
    drawn again after a resume. Here it depends on the rows, so that a resumed run must end with the same weights.
    """

    def __init__(self, collate: Callable[[Rows], Batch]) -> None:
        self.collate = collate

    def __call__(self, rows: Rows) -> Batch:
        numbers = [row["row"] for row in rows]
        with seeded(numbers[0]):
            batch = self.collate([{name: row[name] for name in row if name != "row"} for row in rows])
        return {**batch, "row": torch.tensor(numbers)}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.collate, name)


def train(trainer: type, recipe: Recipe, dataset: Dataset, path: Path, resume: Path | None) -> Trained:
    rows: list[list[int]] = []
    losses: list[float] = []

    class Watched(trainer):
        def training_step(self, model: Any, inputs: Batch, *args: Any, **kwargs: Any) -> torch.Tensor:
            rows.append(inputs.pop("row").tolist())
            loss = super().training_step(model, inputs, *args, **kwargs)
            losses.append(loss.item())
            return loss

    model = recipe.model
    before = weights_of(model)
    settings = {
        "max_steps": STEPS,
        "per_device_train_batch_size": BATCH,
        "save_strategy": "steps",
        "save_steps": CUT,
        "seed": SEED,
        "logging_steps": 1,
        "learning_rate": 1e-3,
        "remove_unused_columns": False,
    }
    watched = Watched(
        model=model,
        args=recipe.arguments(**options(path, **settings | recipe.settings)),
        data_collator=recipe.collate,
        train_dataset=dataset,
        curriculum=CURRICULUM,
        **recipe.others,
    )
    watched.data_collator = WithRows(watched.data_collator)
    watched.train(resume_from_checkpoint=resume and str(resume))
    return Trained(rows, losses, before, weights_of(model))


def called(trainer: type[Trainer] | None) -> str:
    """What a reader would write: the class of this library, or the mixin and the class behind it."""
    if trainer is None:
        return "`CurriculumSampler` in an Accelerate loop"
    public = next(cls for cls in trainer.__mro__ if not cls.__module__.startswith("use_case"))
    if public is CurriculumMixin:
        behind = next(cls for cls in trainer.__mro__ if not cls.__module__.startswith(("use_case", "hf_curriculum")))
        return f"`CurriculumMixin, {behind.__name__}`"
    return f"`{public.__name__}`" + (", own `compute_loss`" if "compute_loss" in vars(trainer) else "")
