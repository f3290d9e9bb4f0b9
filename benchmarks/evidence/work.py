"""One run of the grid: trained, and evaluated on the way."""

import time
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.evidence.config import Experiment, Run
from benchmarks.evidence.data import parts
from benchmarks.evidence.difficulties import Place, scored
from benchmarks.evidence.evaluate import quality
from benchmarks.evidence.samplers import make_sampler
from benchmarks.evidence.tasks import TASKS
from benchmarks.evidence.train import evaluation_steps, fit
from benchmarks.report import machine


def train(place: Place, experiment: Experiment, run: Run) -> dict[str, Any]:
    """Train one run; its line of results."""
    found, task = parts(experiment, place.source, place.device), TASKS[experiment.task]
    rows = found.pool.take(slice(run.rows))
    difficulty, opening = np.zeros(run.rows), {}  # uniform draws do not look at them
    if run.variant:
        recipe = experiment.recipe(run.variant)
        difficulty, opening = scored(place, experiment, recipe, run.rows).difficulty, recipe.opening()
    start, at = time.perf_counter(), evaluation_steps(run.steps, experiment.evaluations)
    model = task.build(rows.inputs, rows.labels, run.seed).to(rows.inputs.device)
    sampler = make_sampler(
        run.arm, difficulty, opening, batch_size=experiment.batch_size, steps=run.steps, seed=run.seed
    )
    training = fit(model, partial(task.loss, model), sampler, rows, experiment, run.seed)
    curve = [{"step": done} | quality(task, model, found.bank, found.queries) for done in training if done in at]
    return {
        **asdict(run),
        "recipe": experiment.made_by(run),
        "fingerprint": experiment.fingerprint(),
        "curve": curve,
        "seconds": time.perf_counter() - start,
        "device": torch.cuda.get_device_name() if rows.inputs.is_cuda else place.device,
        "machine": machine(),
    }
