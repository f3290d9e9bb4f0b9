"""The command for a GPU runs at a small size, and goes on where it was cut off."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from launching import environment

from benchmarks.evidence.config import Experiment
from benchmarks.evidence.difficulties import Place
from benchmarks.evidence.run import missing_runs
from benchmarks.evidence.work import train, unfinished_run
from benchmarks.gpu_parts import evidence
from benchmarks.gpu_parts.lines import Lines, Size

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


def test_a_part_that_its_deadline_cuts_off_goes_on_in_the_next_call(tmp_path):
    size = Size(smoke=True, device="cpu", data=None, output=tmp_path / "gpu.jsonl")
    lines = Lines(size.output, size)
    ((name, measure),) = evidence.measurements(size, time.monotonic())  # there is a second for it, too little to begin
    place = Place(None, tmp_path / "evidence", "cpu", "")
    experiment = Experiment.read(place.output / "experiment.json")
    uniform = experiment.runs()[0]
    line = train(place, experiment, uniform)
    state = unfinished_run(place, experiment, uniform).read()
    state["training"]["done"], state["curve"] = 20, line["curve"][:3]
    unfinished_run(place, experiment, uniform).write(state)
    lines.measure("evidence", name, measure)
    (cut,) = [json.loads(line) for line in size.output.read_text().splitlines()]
    others = [f"{variant} {arm}" for variant in ("hog", "bootstrap") for arm in experiment.arms]
    assert cut["runs"] == 0 and cut["unfinished"] == {"uniform": 20} | dict.fromkeys(others, 0)
    assert not lines.failures
    _, whole = run(size.output, "evidence")
    assert whole["runs"] == 7 and "unfinished" not in whole
    found = [json.loads(line) for line in (place.output / "runs.jsonl").read_text().splitlines()]
    assert {line["arm"]: line["occasions"] for line in found}["uniform"] == 2
    assert run(size.output, "evidence") == [cut, whole]


def test_what_is_stopped_leaves_no_process_and_goes_on(tmp_path):
    output, results = tmp_path / "gpu.jsonl", tmp_path / "evidence"
    command = [sys.executable, str(BENCHMARK), "evidence", "--smoke", "--output", str(output)]
    with subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL) as process:
        while not (results / "runs.jsonl").exists():
            assert process.poll() is None
            time.sleep(0.01)
        started = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
    assert len(started) >= 2 and process.returncode == 1
    assert not psutil.wait_procs(started, timeout=30)[1]
    missing = missing_runs(Experiment.read(results / "experiment.json"), results / "runs.jsonl")
    assert 0 < len(missing) < 7 and not output.exists()
    (line,) = run(output, "evidence")
    assert line["runs"] == 7
