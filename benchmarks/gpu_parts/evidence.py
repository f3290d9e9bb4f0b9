"""The experiment of docs/evidence.md that wants a GPU, over as many occasions as it takes."""

import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from benchmarks.evidence.config import Experiment, Run
from benchmarks.evidence.difficulties import Place
from benchmarks.evidence.run import missing_runs
from benchmarks.evidence.work import steps_done
from benchmarks.gpu_parts.lines import Figures, Measurements, Size

PROCESSES = 8
"""Runs at the same time: a small model leaves most of a GPU idle while the next step is prepared."""
EXPERIMENTS = Path(__file__).parents[1] / "evidence" / "experiments"


def measurements(size: Size, deadline: float) -> Measurements:
    experiment = EXPERIMENTS / size.of("gpu_cifar.json", "smoke.json")
    settings = json.loads(experiment.read_text())
    results = size.output.parent / "evidence"
    results.mkdir(parents=True, exist_ok=True)
    for budget in settings["budgets"][: size.of(None, 1)]:
        for seed in settings["seeds"][: size.of(None, 1)]:
            part = results / "experiment.json"
            part.write_text(json.dumps(settings | {"budgets": [budget], "seeds": [seed]}))
            yield f"{budget[1]} steps, seed {seed}", lambda part=part: run(part, size, deadline)


def run(experiment: Path, size: Size, deadline: float) -> Figures:
    """Train what has no line yet, until the deadline: what is unfinished by then goes on in the next call.

    Returns:
        How many runs are finished, and of each other run how many steps.
    """
    command = [sys.executable, "-m", "benchmarks.evidence.run", experiment, "--output", experiment.parent]
    command += ["--device", size.device, *(["--data", size.data] if size.data else [])]
    command += ["--processes", str(size.of(PROCESSES, 1))]
    left = max(1.0, deadline - time.monotonic())
    with suppress(subprocess.TimeoutExpired):
        subprocess.run(command, cwd=Path(__file__).parents[2], check=True, timeout=left)
    return progress(Experiment.read(experiment), Place(None, experiment.parent, size.device, ""))


def progress(experiment: Experiment, place: Place) -> Figures:
    """What is finished, and what is not."""
    missing = missing_runs(experiment, place.output / "runs.jsonl")
    figures: Figures = {"runs": len(experiment.runs()) - len(missing)}
    if missing:
        figures["unfinished"] = {_title(run): steps_done(place, experiment, run) for run in missing}
    return figures


def _title(run: Run) -> str:
    return f"{run.variant} {run.arm}" if run.variant else run.arm
