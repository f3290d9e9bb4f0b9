"""The rows of a step, on one, two and three processes and through every way in which a loader shares them out."""

import contextlib
import io
import math
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from launching import environment
from worker_training import (
    ROWS,
    command,
    drawn,
    end,
    logged,
    micro_batches,
    reference,
    scored,
    stream,
    train,
)

pytestmark = pytest.mark.costly

BATCH = 12  # rows of a step, on any number of processes
DISPATCH, SPLIT = {"dispatch_batches": True}, {"split_batches": True}
RUNS = {  # options, and how often a step accumulates
    "one_batch_a_step": ({}, 1),
    "accumulation": ({}, 2),
    "workers": ({"dataloader_num_workers": 2, "dataloader_prefetch_factor": 3}, 2),
    "epochs": ({"num_train_epochs": 2.5, "max_steps": -1}, 2),
    "drop_last": ({"num_train_epochs": 3, "max_steps": -1, "dataloader_drop_last": True}, 1),
    "less_than_a_batch": ({"rows": 7}, 2),
    "split_batches": ({"accelerator_config": SPLIT, "dataloader_num_workers": 2}, 2),
    "dispatch_batches": ({"accelerator_config": DISPATCH}, 2),
    "dispatch_and_split_batches": ({"accelerator_config": DISPATCH | SPLIT}, 2),
    "group_by_length": ({"group_by_length": True}, 2),
    "random_augmentation": ({"augment": True}, 1),
}
STEPS = {"epochs": 23, "drop_last": 24}  # 100 rows are 9 steps, 8 with drop_last; the other runs take 40


@pytest.fixture(
    scope="module",
    params=[1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)],
    ids=lambda processes: f"{processes}_processes",
)
def trained(request, tmp_path_factory):
    """All runs, made by so many processes in one process group."""
    processes, path = request.param, tmp_path_factory.mktemp("trained")
    runs = []
    for name, (options, accumulation) in RUNS.items():
        per_device = BATCH // accumulation
        if "split_batches" not in options.get("accelerator_config", {}):  # there, it is the batch of all processes
            per_device //= processes
        runs.append(
            {
                "out": str(path / name),
                "per_device_train_batch_size": per_device,
                "gradient_accumulation_steps": accumulation,
                **options,
            }
        )
    if processes == 1:
        with contextlib.redirect_stdout(io.StringIO()) as stdout:
            for run in runs:
                train(**run)
        return SimpleNamespace(processes=1, path=path, stdout=stdout.getvalue())
    runs.append({"out": str(path / "mesh"), "epochs": 2})
    done = subprocess.run(
        command(runs, processes), env=environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(processes=processes, path=path, stdout=done.stdout)


def steps_of(name):
    return STEPS.get(name, 40)


def sampler_of(name):
    """A sampler that knows nothing of processes."""
    options, accumulation = RUNS[name]
    grouped = {"lengths": scored()["length"][:], "micro_batch_size": BATCH // accumulation}
    return reference(
        BATCH,
        rows=options.get("rows", ROWS),
        max_steps=steps_of(name),
        **(grouped if name == "group_by_length" else {}),
    )


@pytest.mark.parametrize("name", RUNS)
def test_processes_share_out_the_stream_of_the_sampler(trained, name):
    assert stream(trained.path / name, trained.processes) == drawn(sampler_of(name), range(steps_of(name)))
    share = BATCH // RUNS[name][1] // trained.processes
    for rank in range(trained.processes):  # so each has its own slots of each micro-batch, of the same number
        assert {len(rows) for _, rows in micro_batches(trained.path / name, rank)} == {share}


def test_all_processes_know_the_logs_and_one_prints_them(trained):
    printed = trained.stdout.count("'curriculum/mean_difficulty'")
    assert printed == sum(steps_of(name) // 5 for name in RUNS)
    for name, (options, _) in RUNS.items():
        logs, *others = (logged(end(trained.path / name, rank)["logs"]) for rank in range(trained.processes))
        assert all(other == logs for other in others)
        difficulty = np.asarray(scored(options.get("rows", ROWS))["difficulty"][:])
        rows = stream(trained.path / name, trained.processes)
        for step, log in logs.items():
            new, all_rows = ([row for s in range(first, step) for row in rows[s]] for first in (step - 5, 0))
            assert log["curriculum/mean_difficulty"] == pytest.approx(difficulty[new].mean(), abs=1e-6)
            assert log["curriculum/distinct_fraction"] == len(set(all_rows)) / difficulty.size


def test_global_generators_that_the_data_moves_apart_leave_the_processes_in_agreement(trained):
    generators = {
        name: {end(trained.path / name, rank)["generators"] for rank in range(trained.processes)}
        for name in ("one_batch_a_step", "random_augmentation")
    }
    assert len(generators["one_batch_a_step"]) == 1
    assert len(generators["random_augmentation"]) == trained.processes  # the run whose stream is compared above


@pytest.mark.slow
@pytest.mark.parametrize("trained", [2, 3], indirect=True)
def test_ranks_of_one_tensor_parallel_model_get_the_same_batches(trained):
    expected = list(drawn(reference(8), range(26)).values())  # two epochs of 13 steps
    for rank in range(trained.processes):
        assert end(trained.path / "mesh", rank) == expected


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    rows=st.integers(1, 40),
    per_device=st.integers(1, 9),
    accumulation=st.integers(1, 4),
    length=st.one_of(st.integers(1, 30), st.floats(0.1, 3)),
    drop_last=st.booleans(),
    dispatch=st.booleans(),
    split=st.booleans(),
)
def test_any_loader_follows_the_sampler(
    tmp_path_factory, rows, per_device, accumulation, length, drop_last, dispatch, split
):
    path = tmp_path_factory.mktemp("any")
    batches = rows // per_device if drop_last else math.ceil(rows / per_device)
    steps_per_epoch = max(1, math.ceil(batches / accumulation))  # those of a plain Trainer
    epochs = isinstance(length, float)
    steps = math.ceil(length * steps_per_epoch) if epochs else length
    train(
        path,
        rows=rows,
        per_device_train_batch_size=per_device,
        gradient_accumulation_steps=accumulation,
        dataloader_drop_last=drop_last,
        accelerator_config={"dispatch_batches": dispatch, "split_batches": split},
        **({"num_train_epochs": length, "max_steps": -1} if epochs else {"max_steps": length}),
    )
    sampler = reference(per_device * accumulation, rows=rows, max_steps=steps)
    assert stream(path) == drawn(sampler, range(steps))


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize(("workers", "prefetch", "persistent"), [(0, None, False), (1, 8, False), (2, 4, True)])
def test_workers_that_run_ahead_draw_by_the_step_that_will_train_on_the_rows(
    tmp_path, workers, prefetch, persistent, accumulation
):
    train(
        tmp_path,
        per_device_train_batch_size=5,
        gradient_accumulation_steps=accumulation,
        max_steps=30,
        dataloader_num_workers=workers,
        dataloader_prefetch_factor=prefetch,
        dataloader_persistent_workers=persistent,
    )
    assert stream(tmp_path) == drawn(reference(5 * accumulation, max_steps=30), range(30))
