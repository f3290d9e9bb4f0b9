"""The command for a GPU runs at a small size, and goes on where it was cut off."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from launching import environment

pytestmark = pytest.mark.slow

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


def run(output, *parts):
    command = [sys.executable, str(BENCHMARK), *parts, "--smoke", "--output", str(output)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in output.read_text().splitlines()]


def test_every_part_runs_and_no_line_is_an_error(tmp_path):
    lines = run(tmp_path / "gpu.jsonl")
    assert {line["part"] for line in lines} == {"right", "embeddings", "kmeans", "training", "evidence"}
    assert not [line for line in lines if "error" in line]
    of_kmeans = {line["name"]: line for line in lines if line["part"] == "kmeans"}
    assert of_kmeans["held"]["same_bits"] and of_kmeans["held"]["inertia"] == of_kmeans["in chunks"]["inertia"]


def test_what_has_a_line_is_not_measured_again_and_what_failed_is(tmp_path):
    output = tmp_path / "gpu.jsonl"
    first = run(output, "kmeans")
    failed = {**first[0], "error": "a lost device"}
    output.write_text("".join(json.dumps(line) + "\n" for line in [failed, *first[1:]]) + '{"part": "kme')
    output.write_text(output.read_text() + "\n")
    lines = output.read_text().splitlines()
    command = [sys.executable, str(BENCHMARK), "kmeans", "--smoke", "--output", str(output)]
    subprocess.run(command, env=environment(), check=True, timeout=600)
    added = [json.loads(line) for line in output.read_text().splitlines()[len(lines) :]]
    assert [line["name"] for line in added] == [first[0]["name"]]
