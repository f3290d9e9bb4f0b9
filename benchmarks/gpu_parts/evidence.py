"""The experiment of docs/evidence.md that wants a GPU, as many pairs as the time allows."""

import json
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.gpu_parts.lines import Figures, Measurements, Size

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
    """Train what has no line yet. What a cut off call has finished is kept in ``runs.jsonl``."""
    command = [sys.executable, "-m", "benchmarks.evidence.run", experiment, "--output", experiment.parent]
    command += ["--device", size.device, *(["--data", size.data] if size.data else [])]
    left = max(1.0, deadline - time.monotonic())
    subprocess.run(command, cwd=Path(__file__).parents[2], check=True, timeout=left)
    return {"runs": len((experiment.parent / "runs.jsonl").read_text().splitlines())}
