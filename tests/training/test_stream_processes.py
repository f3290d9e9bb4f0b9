"""Several processes and workers train on one stream: one curriculum over all of it, however it is divided."""

import random
import subprocess
from collections import Counter

import numpy as np
import pytest
from launching import environment
from test_resume import last_complete, noted, start_and_kill
from worker_training import command, end, logged, micro_batches, reference, scored, stream

ROWS, WARMUP, STEPS, STOP = 3000, 120, 200, 71
DIFFICULTY = np.array(scored(ROWS)["difficulty"][:])
DISPATCHED = {"accelerator_config": {"dispatch_batches": True}}
RUNS = {
    f"{shards} shards, {workers} workers{', dispatched' if more else ''}": {
        "shards": shards,
        "dataloader_num_workers": workers,
        **more,
    }
    for shards in (3, 4)
    for workers in (0, 2)
    for more in ({}, DISPATCHED)
}
SPLIT = {"shards": 4, "accelerator_config": {"split_batches": True}}
ONE_SHARD = {"shards": 1, "gradient_accumulation_steps": 2}


def options_of(run, processes, path, **more):
    per_device = 24 // processes if "split_batches" not in str(run) else 24
    accumulation = run.get("gradient_accumulation_steps", 1)
    sizes = {"per_device_train_batch_size": per_device // accumulation, "max_steps": STEPS, "rows": ROWS}
    return {"out": str(path), "curriculum": {"warmup_steps": WARMUP}, **sizes, **run, **more}


def run_all(runs, processes):
    done = subprocess.run(
        command(runs, processes), env=environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def assert_is_a_curriculum(path, processes):
    steps = stream(path, processes)
    assert list(steps) == list(range(STEPS)) and {len(rows) for rows in steps.values()} == {24}
    sampler = reference(24, rows=ROWS, max_steps=STEPS, curriculum={"warmup_steps": WARMUP})
    for start in range(0, STEPS, 20):
        found, copies = np.unique(
            np.concatenate([steps[step] for step in range(start, start + 20)]), return_counts=True
        )
        mean = copies @ DIFFICULTY[found] / copies.sum()
        error = np.sqrt(copies**2 @ (DIFFICULTY[found] - mean) ** 2) / copies.sum()
        planned = []
        for step in range(start, start + 20):
            weights = np.exp(-DIFFICULTY.astype(float) / sampler.temperature(step))
            planned.append(weights @ DIFFICULTY / weights.sum())
        assert abs(mean - np.mean(planned)) < 0.012 + 4 * error
    late = Counter(row for step in range(WARMUP + 2, STEPS) for row in steps[step])
    assert max(late.values()) <= 2 and len(late) > 0.6 * sum(late.values())  # two passes, if readers begin again


@pytest.mark.slow
def test_three_shards_on_two_processes(tmp_path):
    errors = run_all([options_of({"shards": 3}, 2, tmp_path)], 2)
    assert_is_a_curriculum(tmp_path, 2)
    assert errors.count("cannot be shared out evenly to 2 readers") == 1  # by process 0 alone


@pytest.fixture(scope="module", params=[1, 2, 3])
def trained(request, tmp_path_factory):
    path, processes = tmp_path_factory.mktemp("streams"), request.param
    more = {"one shard": ONE_SHARD} | ({"split": SPLIT} if processes < 3 else {})
    errors = run_all([options_of(run, processes, path / name) for name, run in (RUNS | more).items()], processes)
    return path, processes, RUNS | more, errors


@pytest.mark.slow
def test_all_processes_together_follow_the_curriculum(trained):
    path, processes, runs, errors = trained
    for name in runs:
        assert_is_a_curriculum(path / name, processes)
        logs = logged(end(path / name)["logs"])
        assert abs(logs[STEPS]["curriculum/rows_per_row_read"] - 1) < 0.15
    assert ("cannot be shared out evenly" in errors) == (processes > 1 or "3 shards, 2 workers" in runs)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_processes_resume_a_stream_exactly(tmp_path, processes):
    runs = RUNS | {"one shard": ONE_SHARD, "split": SPLIT}
    cut = [options_of(run, processes, tmp_path / "cut" / name, stop=STOP) for name, run in runs.items()]
    whole = [options_of(run, processes, tmp_path / "whole" / name) for name, run in runs.items()]
    resumed = [
        options_of(run, processes, tmp_path / "resumed" / name, resume=f"{tmp_path}/cut/{name}/checkpoint-{STOP}")
        for name, run in runs.items()
    ]
    run_all([*whole, *cut, *resumed], processes)
    for name in runs:
        parts = [stream(tmp_path / part / name, processes) for part in ("cut", "resumed")]
        assert list(parts[1]) == list(range(STOP, STEPS))
        assert parts[0] | parts[1] == stream(tmp_path / "whole" / name, processes)
        logs = [logged(end(tmp_path / part / name)["logs"])[STEPS] for part in ("whole", "resumed")]
        assert logs[0] == logs[1]


@pytest.mark.slow
def test_another_number_of_processes_is_refused_and_shards_of_unequal_size_are_told(tmp_path):
    """By two processes: the smaller shard begins again; then one process cannot go on, and it is said why."""
    options = options_of({"cuts": [0, 2500, ROWS]}, 2, tmp_path / "cut", stop=STOP, curriculum={"warmup_steps": 5})
    errors = run_all([options], 2)
    assert errors.count("unequal numbers of rows: reader 1 has read its 500 rows 1 times, and reader 0") == 1
    more = {"out": str(tmp_path / "on"), "resume": f"{tmp_path}/cut/checkpoint-{STOP}", "stop": None}
    batch = 2 * options["per_device_train_batch_size"]
    one = command([options | more | {"per_device_train_batch_size": batch}], 1)
    done = subprocess.run(one, env=environment(), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode and "processes that read was 2 and is 1" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_training_on_a_stream_that_is_killed_goes_on_exactly(tmp_path, processes):
    rng = random.Random(processes)
    after = [rng.randrange(60) for _ in range(20)]  # steps, so that a slow machine is killed at the same ones
    steps = 200 + sum(after)  # no kill comes too late
    options = {
        "rows": 500,
        "shards": 4,
        "max_steps": steps,
        "per_device_train_batch_size": 8 // processes,
        "gradient_accumulation_steps": 2,
        "dataloader_num_workers": 2,
        "save_strategy": "steps",
        "save_steps": 2,
        "save_total_limit": 3,
        "pause": 0.004,
    }
    attempts = []
    for kill, done in enumerate(after):
        checkpoint, _ = last_complete(tmp_path)
        attempts.append(tmp_path / f"attempt-{kill}")
        attempts[-1].mkdir()
        run = {"out": str(attempts[-1]), "output_dir": str(tmp_path), "resume": checkpoint, **options}
        victim = None if kill % 10 == 9 else rng.randrange(processes)
        start_and_kill(run, processes, victim, done, rng.uniform(0, 0.02), saving=kill % 4 == 2)
    checkpoint, _ = last_complete(tmp_path)
    attempts.append(tmp_path / "last")
    last = {"out": str(attempts[-1]), "output_dir": str(tmp_path), "resume": checkpoint, **options, "pause": 0}
    run_all([last, {"out": str(tmp_path / "whole"), **options, "save_strategy": "no", "pause": 0}], processes)
    for rank in range(processes):
        whole: dict[int, list[list[int]]] = {}
        for step, rows in micro_batches(tmp_path / "whole", rank):
            whole.setdefault(step, []).append(rows)
        final = {}
        for attempt in attempts:
            trained: dict[int, list[list[int]]] = {}
            for step, rows in noted(attempt, rank):
                trained.setdefault(step, []).append(rows)
            for step, batches in trained.items():  # the killed step may lack its second batch
                assert batches == whole[step][: len(batches)]
            final |= {step: len(batches) for step, batches in trained.items()}
        assert final == dict.fromkeys(range(steps), 2)
