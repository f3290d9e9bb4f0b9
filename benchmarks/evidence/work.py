"""One run of the grid: trained, evaluated on the way, and kept there, so that it goes on where it was cut off."""

import time
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.evidence.config import Experiment, Run, digest
from benchmarks.evidence.data import parts
from benchmarks.evidence.difficulties import Place, scored
from benchmarks.evidence.evaluate import quality
from benchmarks.evidence.samplers import make_sampler
from benchmarks.evidence.tasks import TASKS
from benchmarks.evidence.train import Training, evaluation_steps
from benchmarks.evidence.unfinished import Unfinished
from benchmarks.report import machine


def train(place: Place, experiment: Experiment, run: Run) -> dict[str, Any]:
    """Train one run, from where it was cut off; its line of results.

    The time of a line is that of all occasions, without what was done after the last writing of each but the last.
    """
    found, task = parts(experiment, place.source, place.device), TASKS[experiment.task]
    rows = found.pool.take(slice(run.rows))
    difficulty, opening = np.zeros(run.rows), {}  # uniform draws do not look at them
    if run.variant:
        recipe = experiment.recipe(run.variant)
        difficulty, opening = scored(place, experiment, recipe, run.rows).difficulty, recipe.opening()
    start, unfinished = time.perf_counter(), unfinished_run(place, experiment, run)
    model = task.build(rows.inputs, rows.labels, run.seed).to(rows.inputs.device)
    sampler = make_sampler(
        run.arm, difficulty, opening, batch_size=experiment.batch_size, steps=run.steps, seed=run.seed
    )
    training = Training(model, partial(task.loss, model), sampler, rows, experiment, run.seed)
    curve, before, devices = [], 0.0, []
    if state := unfinished.read():
        training.resume(state["training"])
        curve, before, devices = state["curve"], state["seconds"], state["devices"]
    devices.append(torch.cuda.get_device_name() if rows.inputs.is_cuda else place.device)
    left = evaluation_steps(run.steps, experiment.evaluations) - {point["step"] for point in curve}
    for done in training:
        if done in left:
            curve.append({"step": done} | quality(task, model, found.bank, found.queries))
        if done in left or unfinished.is_due():
            seconds = before + time.perf_counter() - start
            unfinished.write({"training": training.state(), "curve": curve, "seconds": seconds, "devices": devices})
    return {
        **asdict(run),
        "recipe": experiment.made_by(run),
        "fingerprint": experiment.fingerprint(),
        "curve": curve,
        "seconds": before + time.perf_counter() - start,
        "occasions": len(devices),
        "device": ", ".join(dict.fromkeys(devices)),
        "machine": machine(),
    }


def unfinished_run(place: Place, experiment: Experiment, run: Run) -> Unfinished:
    """The file of a run that has no line yet."""
    settings = asdict(run) | {"recipe": experiment.made_by(run), "fingerprint": experiment.fingerprint()}
    return Unfinished(place.output, f"run-{digest(asdict(run))}", settings, place.device)


def steps_done(place: Place, experiment: Experiment, run: Run) -> int:
    """Steps that a run without a line has behind it."""
    state = unfinished_run(place, experiment, run).read()
    return state["training"]["done"] if state else 0
