"""The benchmark of streams runs, and its figures are what it says that they are."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from launching import environment

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "stream.py"


@pytest.mark.slow
def test_the_benchmark_of_streams_runs():
    command = [sys.executable, str(BENCHMARK), "--rows", "4000", "--pictures", "800", "--resume", "5"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(next(line for line in done.stdout.splitlines() if line.startswith('{"')))
    draws = figures["draws"]
    for fraction, measured in draws.items():
        read, means = measured["read"], measured["means"]
        assert 0.8 < read["ours"] < 1.25 < read["at most once"] < read["accept"], fraction
        assert abs(means["ours"] - means["with replacement"]) < 0.03
        assert measured["rates"]["ours"] > measured["rates"]["accept"]
    pictures = figures["pictures"]
    assert len(pictures) == 5 and all(one["arrow_mb"] > 0 for one in pictures.values())
    assert pictures["fraction 0.15, sorted files"]["bytes"] < 0.4 < pictures["fraction 0.15, plain files"]["bytes"]
    assert set(figures["resumed"]["5"]) == {"Trainer", "CurriculumTrainer"}
