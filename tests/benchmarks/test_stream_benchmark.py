"""The benchmark of streams runs, and its figures are what it says that they are."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from launching import environment

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "stream.py"


@pytest.mark.costly
def test_the_benchmark_of_streams_runs():
    command = [sys.executable, str(BENCHMARK), "--rows", "4000", "--resume", "5"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(next(line for line in done.stdout.splitlines() if line.startswith('{"')))
    draws = figures["draws"]
    for fraction, measured in draws.items():
        assert 0.8 < measured["read"] < 1.25 < measured["once"] < measured["accept"], fraction
        ours, *_, replaced = measured["means"]
        assert abs(ours - replaced) < 0.03
    assert set(figures["resumed"]["5"]) == {"Trainer", "CurriculumTrainer"}
