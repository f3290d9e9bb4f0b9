"""A training that stops at any moment goes on as if it had not, or says why it cannot."""

import json
import logging
import math
import os
import random
import re
import shutil
import signal
import subprocess
import time
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from launching import environment
from transformers import Trainer
from worker_training import (
    SEED,
    TRANSFORMERS_4,
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

from hf_curriculum import CurriculumSampler, CurriculumTrainer

pytestmark = pytest.mark.costly

STOP = 17  # of 40 steps, 13 an epoch, 20 of warm-up: inside an epoch that is not the first, and inside the warm-up


def run_all(runs, processes):
    done = subprocess.run(
        command(runs, processes), env=environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def keyed(curriculum, name):
    """Of the curriculum's file of a checkpoint."""
    return json.loads((Path(curriculum) / "curriculum.json").read_text())[name]


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """Checkpoint of a training that stopped at step 17."""
    path = tmp_path_factory.mktemp("cut")
    train(path, stop=STOP)
    assert stream(path) == drawn(reference(8), range(STOP))
    return path / f"checkpoint-{STOP}"


# --- killed -------------------------------------------------------------------------------------------------------


def checkpoints(path):
    return sorted(Path(path).glob("checkpoint-*"), key=lambda folder: int(folder.name.split("-")[1]), reverse=True)


def last_complete(path):
    """The newest checkpoint that can be loaded, or None, and whether a newer one cannot.

    transformers 4.57 and 5.23 write model.safetensors, training_args.bin, optimizer.pt, scheduler.pt, rng_state*.pth
    and, last, trainer_state.json, each straight to its place. So a checkpoint that was cut short has no
    trainer_state.json, or a part of one. After that they delete the checkpoints beyond save_total_limit, file by file
    in no order: one whose deletion was cut short may have a whole trainer_state.json and lack the others. With two
    processes rank 1 writes rng_state_1.pth in its own time. A training resumes without, but not with a part of it.
    """
    found = checkpoints(path)
    for newer, checkpoint in enumerate(found):
        try:
            json.loads((checkpoint / "trainer_state.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            continue
        files = ("model.safetensors", "training_args.bin", "optimizer.pt", "scheduler.pt")
        generators = checkpoint.glob("rng_state*.pth")  # zip files, whose table of contents comes last
        if all((checkpoint / file).exists() for file in files) and all(map(zipfile.is_zipfile, generators)):
            return str(checkpoint), newer > 0
    return None, bool(found)


def noted(attempt, rank):
    """Its micro-batches so far."""
    return micro_batches(attempt, rank) if Path(attempt, f"rows-{rank}.txt").exists() else []


def start_and_kill(run, processes, victim, steps, delay, saving):
    """Start a training and, after so many of its steps, kill a rank, or, for None, all of them as they import.

    With ``saving``, the kill waits for the next moment at which the newest checkpoint is there in part.
    """
    with open(Path(run["out"]).with_suffix(".txt"), "w") as output:
        parent = subprocess.Popen(
            command([run], processes), env=environment(), stdout=output, stderr=output, start_new_session=True
        )
    notes = [Path(run["out"]) / f"pid-{rank}" for rank in range(processes)]
    try:
        if victim is None:
            time.sleep(delay)
            os.killpg(parent.pid, signal.SIGKILL)
        else:
            while not all(note.exists() and note.read_text() for note in notes):
                assert parent.poll() is None, Path(output.name).read_text()
                time.sleep(0.005)
            while len(set(step for step, _ in noted(run["out"], victim))) < steps:
                assert parent.poll() is None, Path(output.name).read_text()
                time.sleep(0.002)
            time.sleep(delay)
            while saving and all(
                (path / "trainer_state.json").exists() for path in checkpoints(run["output_dir"])[:1]
            ):
                assert parent.poll() is None, Path(output.name).read_text()
            os.killpg(int(notes[victim].read_text()), signal.SIGKILL)  # and with it, its data loader workers
        assert parent.wait(timeout=120) != 0
    finally:
        if parent.poll() is None:
            parent.terminate()  # the launcher ends its ranks


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "kills"), [(1, 10), (2, 4)])
def test_a_training_killed_at_random_moments_trains_on_the_stream_of_one_that_was_not(tmp_path, processes, kills):
    rng, rows = random.Random(processes), 500
    after = [rng.randrange(60) for _ in range(kills)]  # steps, so that a slow machine is killed at the same ones
    steps = 200 + sum(after)  # no kill comes too late
    options = {
        "rows": rows,
        "max_steps": steps,
        "per_device_train_batch_size": 8 // processes,
        "gradient_accumulation_steps": 2,
        "dataloader_num_workers": 2,
        "save_strategy": "steps",
        "save_steps": 2,
        "save_total_limit": 3,
        "pause": 0.004,
    }
    attempts, starts, cut_short = [], [], 0
    for kill, done in enumerate(after):
        checkpoint, incomplete = last_complete(tmp_path)
        cut_short += incomplete
        starts.append(checkpoint)
        attempts.append(tmp_path / f"attempt-{kill}")
        attempts[-1].mkdir()
        run = {"out": str(attempts[-1]), "output_dir": str(tmp_path), "resume": checkpoint, **options}
        victim = None if kill % 10 == 9 else rng.randrange(processes)
        start_and_kill(run, processes, victim, done, rng.uniform(0, 0.02), saving=kill % 4 == 2)
    checkpoint, incomplete = last_complete(tmp_path)
    attempts.append(tmp_path / "last")
    run_all(
        [{"out": str(attempts[-1]), "output_dir": str(tmp_path), "resume": checkpoint, **options, "pause": 0}],
        processes,
    )

    train(tmp_path / "whole", **options | {"per_device_train_batch_size": 8, "pause": 0})
    whole = stream(tmp_path / "whole")
    assert whole == drawn(reference(16, rows=rows, max_steps=steps), range(steps))
    last = {}
    for attempt in attempts:
        for rank in range(processes):
            trained = {}
            for step, some_rows in noted(attempt, rank):
                trained.setdefault(step, []).append(some_rows)
            for step, batches in trained.items():  # the killed step may lack its second batch
                slots = np.reshape(whole[step], (2, processes, -1))[:, rank].tolist()
                assert batches == slots[: len(batches)]
            last |= {(rank, step): len(batches) for step, batches in trained.items()}
    assert last == {(rank, step): 2 for rank in range(processes) for step in range(steps)}
    assert logged(end(attempts[-1])["logs"]).keys() == logged(end(tmp_path / "whole")["logs"]).keys()
    # The kills came at different phases: in several epochs of 32 steps, and some while a checkpoint was written.
    assert len(set(starts)) >= kills / 2
    if processes == 1:
        assert int(checkpoint.split("-")[-1]) > 64
        assert cut_short + incomplete > 0


# --- the stream goes on -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory, cut):
    """Trainings on two processes: whole, cut, resumed, and from the checkpoint of one process."""
    path = tmp_path_factory.mktemp("two")
    half = {"per_device_train_batch_size": 4}
    split = {"per_device_train_batch_size": 8, "accelerator_config": {"split_batches": True}}
    dispatch = half | {"accelerator_config": {"dispatch_batches": True}}
    checkpoint = {
        name: str(path / name / f"checkpoint-{STOP}") for name in ("cut", "cut_split", "cut_dispatched", "one")
    }
    train(path / "one", stop=STOP, per_device_train_batch_size=4, gradient_accumulation_steps=2)
    runs = {
        "whole": half,
        "cut": half | {"stop": STOP},
        "resumed": half | {"resume": checkpoint["cut"], "dataloader_num_workers": 2},
        "ignore_data_skip": half | {"resume": checkpoint["cut"], "ignore_data_skip": True},
        "cut_split": split | {"stop": STOP},
        "resumed_split": split | {"resume": checkpoint["cut_split"]},
        "cut_dispatched": dispatch | {"stop": STOP},
        "resumed_dispatched": dispatch | {"resume": checkpoint["cut_dispatched"], "ignore_data_skip": True},
        "from_one_process": half | {"resume": checkpoint["one"]},
        "changed": half | {"resume": checkpoint["cut"], "seed": 3, "allow_changed_resume": True},
    }
    if not TRANSFORMERS_4:
        runs["from_one_process_and_twice_the_batch"] = half | {"resume": str(cut)}
    stderr = run_all([{"out": str(path / name), **run} for name, run in runs.items()], 2)
    (path / "stderr.txt").write_text(stderr)
    assert stream(path / "whole", 2) == drawn(reference(8), range(40))
    assert stream(path / "cut", 2) == drawn(reference(8), range(STOP))
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "resumed",
        "ignore_data_skip",
        "resumed_split",
        "resumed_dispatched",
        "from_one_process",
        *([] if TRANSFORMERS_4 else ["from_one_process_and_twice_the_batch"]),
    ],
)
def test_two_processes_resumed_inside_a_later_epoch_continue_the_stream(two_processes, name):
    assert stream(two_processes / name, 2) == drawn(reference(8), range(STOP, 40))


@pytest.mark.slow
def test_one_of_two_processes_warns_that_the_training_went_otherwise(two_processes):
    assert stream(two_processes / "changed", 2) == drawn(reference(8, seed=3), range(STOP, 40))
    assert (two_processes / "stderr.txt").read_text().count("joins a training that went otherwise") == 1


@pytest.mark.slow
def test_dispatched_batches_cannot_be_skipped_and_say_so(two_processes, tmp_path):
    dispatch = {"per_device_train_batch_size": 4, "accelerator_config": {"dispatch_batches": True}}
    checkpoint = str(two_processes / "cut_dispatched" / f"checkpoint-{STOP}")
    runs = [{"out": str(tmp_path), **dispatch, "resume": checkpoint}]
    done = subprocess.run(
        command(runs, 2), env=environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode != 0
    assert "Pass ignore_data_skip=True" in done.stderr
    assert not "".join(note.read_text() for note in tmp_path.glob("rows-*.txt"))


@pytest.mark.slow
def test_one_process_continues_the_stream_of_two(two_processes, tmp_path):
    checkpoint = two_processes / "cut" / f"checkpoint-{STOP}"
    batch = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    train(tmp_path, resume=str(checkpoint), **batch)
    assert stream(tmp_path) == drawn(reference(8), range(STOP, 40))


@pytest.mark.parametrize("stop", [12, 13, 14, 27])  # before, at and after the end of an epoch; in the third
@pytest.mark.parametrize("ignore", [False, True], ids=["skip", "ignore_data_skip"])
@pytest.mark.parametrize("epochs", [False, True], ids=["steps", "epochs"])
def test_a_resumed_run_follows_the_sampler_by_global_step(tmp_path, stop, ignore, epochs):
    length = {"num_train_epochs": 3, "max_steps": -1} if epochs else {}
    train(tmp_path / "cut", stop=stop, **length)
    checkpoint = str(tmp_path / "cut" / f"checkpoint-{stop}")
    train(tmp_path / "resumed", resume=checkpoint, ignore_data_skip=ignore, **length)
    steps = 39 if epochs else 40
    assert stream(tmp_path / "resumed") == drawn(reference(8, max_steps=steps), range(stop, steps))


def test_a_training_resumed_twice_continues_the_stream(tmp_path, cut):
    train(tmp_path / "second", resume=str(cut), stop=30)
    train(tmp_path / "third", resume=str(tmp_path / "second" / "checkpoint-30"))
    assert stream(tmp_path / "second") | stream(tmp_path / "third") == drawn(reference(8), range(STOP, 40))


def test_a_training_can_be_prolonged(tmp_path):
    curriculum = {"warmup_steps": 20}
    train(tmp_path / "short", max_steps=25, curriculum=curriculum, save_strategy="steps", save_steps=25)
    train(tmp_path / "long", resume=str(tmp_path / "short" / "checkpoint-25"), curriculum=curriculum)
    assert stream(tmp_path / "long") == drawn(reference(8, curriculum=curriculum), range(25, 40))


def test_a_length_that_leaves_the_warmup_as_it_is_can_change(tmp_path, cut):
    train(tmp_path, resume=str(cut), max_steps=41)  # half of it, to the nearest step, is 20 too
    assert stream(tmp_path) == drawn(reference(8), range(STOP, 41))


@pytest.mark.parametrize("steps", [60, 30])
def test_a_training_of_another_length_keeps_its_warmup(tmp_path, cut, caplog, steps):
    """A share of the training is one of the length that it had first."""
    with caplog.at_level(logging.WARNING, "hf_curriculum"):
        train(tmp_path / "on", resume=str(cut), max_steps=steps, stop=25)
        train(tmp_path / "end", resume=str(tmp_path / "on" / "checkpoint-25"), max_steps=steps)
    assert [record.getMessage() for record in caplog.records] == [
        f"This training has {steps} steps, that of the checkpoint had 40: its warm-up of 20 steps is kept."
    ] * 2
    expected = drawn(reference(8, max_steps=steps, curriculum={"warmup_steps": 20}), range(STOP, steps))
    assert stream(tmp_path / "on") | stream(tmp_path / "end") == expected


def test_with_leave_to_change_the_warmup_is_a_share_of_the_new_length(tmp_path, cut):
    train(tmp_path, resume=str(cut), max_steps=60, allow_changed_resume=True)
    assert stream(tmp_path) == drawn(reference(8, max_steps=60), range(STOP, 60))


def test_a_checkpoint_that_kept_its_curriculum_in_the_state_of_the_trainer(tmp_path, cut):
    """As all did before they had a file for it."""
    old = tmp_path / f"checkpoint-{STOP}"
    shutil.copytree(cut, old)
    state = json.loads((old / "trainer_state.json").read_text())
    state["stateful_callbacks"]["curriculum"] = json.loads((old / "curriculum.json").read_text())
    for name in ("curriculum.json", "checksums.json"):
        (old / name).unlink()
    (old / "trainer_state.json").write_text(json.dumps(state))
    with pytest.raises(ValueError, match="seed was 7 and is 3"):
        train(tmp_path / "refused", resume=str(old), seed=3)
    trainer = train(tmp_path / "resumed", resume=str(old))
    assert stream(tmp_path / "resumed") == drawn(reference(8), range(STOP, 40))
    assert "curriculum" not in trainer.state.stateful_callbacks


def test_rows_grouped_by_length_depend_on_the_length_of_the_training(tmp_path):
    options = {"curriculum": {"warmup_steps": 20}, "group_by_length": True}
    train(tmp_path / "cut", stop=STOP, **options)
    with pytest.raises(ValueError, match="group_by_length was .*'total_steps': 40} and is .*'total_steps': 60}"):
        train(tmp_path / "long", resume=str(tmp_path / "cut" / f"checkpoint-{STOP}"), max_steps=60, **options)


def test_an_epoch_that_a_callback_ends_early_is_followed_by_the_next_step(tmp_path):
    train(tmp_path, end_epoch=5, max_steps=18)  # two epochs, since one takes 13
    assert stream(tmp_path) == drawn(reference(8, max_steps=18), range(18))


def test_the_loader_that_is_read_after_the_training_gives_rows_of_the_next_steps(tmp_path):
    trainer = train(tmp_path)
    rows = [batch["row"].tolist() for batch in trainer.get_train_dataloader()]
    expected = list(drawn(reference(8), range(40, 53)).values())
    assert rows == expected[: len(rows)] != []


def test_grouping_by_length_resumes_inside_a_window(tmp_path):
    options = {"group_by_length": True, "gradient_accumulation_steps": 2, "logging_steps": 4}
    train(tmp_path / "cut", stop=STOP, **options)
    train(tmp_path / "resumed", resume=str(tmp_path / "cut" / f"checkpoint-{STOP}"), **options)
    grouped = reference(16, lengths=scored()["length"][:], micro_batch_size=8)
    assert stream(tmp_path / "resumed") == drawn(grouped, range(STOP, 40))


def test_a_callback_state_of_the_checkpoint_can_be_restored(tmp_path, cut, caplog):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.getLogger("transformers"), "propagate", True)
        for trainer_class in (CurriculumTrainer, Trainer):
            train(
                tmp_path / trainer_class.__name__,
                resume=str(cut),
                restore_callback_states_from_checkpoint=True,
                trainer_class=trainer_class,
            )
    assert "callbacks not included" not in caplog.text
    assert stream(tmp_path / "CurriculumTrainer") == drawn(reference(8), range(STOP, 40))


class StatefulLoaders(CurriculumTrainer):
    """Switches on what TrainingArguments has no option for."""

    def create_accelerator_and_postprocess(self):
        super().create_accelerator_and_postprocess()
        self.accelerator.dataloader_config.use_stateful_dataloader = True


@pytest.mark.parametrize("ignore", [False, True], ids=["skip", "ignore_data_skip"])
def test_a_stateful_loader_continues_the_stream(tmp_path, cut, ignore):
    trainer = train(tmp_path, trainer_class=StatefulLoaders, resume=str(cut), ignore_data_skip=ignore)
    assert type(trainer.callback_handler.train_dataloader.base_dataloader).__name__ == "StatefulDataLoader"
    assert stream(tmp_path) == drawn(reference(8), range(STOP, 40))


def test_a_stateful_loader_with_workers_draws_too_early_and_is_refused(tmp_path):
    with pytest.raises(ValueError, match="use_stateful_dataloader.*Set dataloader_num_workers=0"):
        train(tmp_path, trainer_class=StatefulLoaders, dataloader_num_workers=2)


# --- what a resume costs ------------------------------------------------------------------------------------------


@pytest.fixture
def blocks(monkeypatch):
    """Blocks that samplers draw, in the order of time."""
    numbers, draw = [], CurriculumSampler._draw_block
    monkeypatch.setattr(
        CurriculumSampler, "_draw_block", lambda self, block: numbers.append(block) or draw(self, block)
    )
    return numbers


def test_nothing_is_drawn_for_the_batches_that_a_resumed_run_skips(tmp_path, blocks):
    options = {"rows": 40_000, "per_device_train_batch_size": 2000, "logging_steps": 1}  # 20 steps an epoch
    train(tmp_path / "cut", stop=37, **options)
    assert blocks == [0, 1, 2, 3, 4]  # of 8 steps each
    blocks.clear()
    train(tmp_path / "resumed", resume=str(tmp_path / "cut" / "checkpoint-37"), **options)
    assert blocks == [4]
    assert stream(tmp_path / "resumed") == drawn(reference(2000, rows=40_000), range(37, 40))


@pytest.mark.parametrize("warmup", [1000, 2_000_000])
def test_a_far_step_draws_one_block(blocks, warmup):
    reference(8, rows=100_000, curriculum={"warmup_steps": warmup}).indices(1_000_000)
    assert len(blocks) == 1


# --- what may not change ------------------------------------------------------------------------------------------


def power(exponent):
    def rise(progress):
        return progress**exponent

    return rise


CHECKSUM = "'[0-9a-f]{8}'"
CURRICULUM_CHANGES = {
    "initial_fraction": (0.2, "initial_fraction was 0.3 and is 0.2"),
    "final_fraction": (0.5, r"final_fraction was 0.632\d* and is 0.5"),
    "warmup_steps": (30, "warmup_steps was 20 and is 30"),
    "schedule": ("linear", "schedule was 'cosine' and is 'linear'"),
    "order": ("hard_first", "order was 'easy_first' and is 'hard_first'"),
    "difficulty_column": ("length", "difficulty_column was 'difficulty' and is 'length'"),
    "seed": (3, "seed was 7 and is 3"),
}
CHANGES = {name: ({"curriculum": {name: value}}, message) for name, (value, message) in CURRICULUM_CHANGES.items()} | {
    "function": (
        {"curriculum": {"schedule": power(2)}},
        r"schedule was 'cosine' and is 'power.<locals>.rise [0-9a-f]{8}'",
    ),
    "seed_of_the_trainer": ({"seed": 3}, "seed was 7 and is 3"),
    "data_seed": ({"data_seed": 4}, "seed was 7 and is 4"),
    "difficulties": ({"dataset": scored(seed=1)}, f"difficulties was {CHECKSUM} and is {CHECKSUM}"),
    "rows": ({"rows": 90}, "rows was 100 and is 90"),
    "accumulation": ({"gradient_accumulation_steps": 2}, "total_batch_size was 8 and is 16"),
    "share": (
        {"max_steps": 60, "curriculum": {"warmup_steps": 0.6}},
        r"was 20 and is 36, a share .*\(max_steps or .*: total_steps was 40 and is 60\.",
    ),
    "group_by_length": ({"group_by_length": True}, "group_by_length was None and is {'lengths': "),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_refused_unless_it_is_allowed(tmp_path, cut, name):
    options, message = CHANGES[name]
    with pytest.raises(ValueError, match=rf"Cannot resume at step 17.*{message}.*allow_changed_resume=True"):
        train(tmp_path / "refused", resume=str(cut), **options)
    assert micro_batches(tmp_path / "refused") == []

    trainer = train(tmp_path / "allowed", resume=str(cut), allow_changed_resume=True, **options)
    steps = options.get("max_steps", 40)
    accumulation = options.get("gradient_accumulation_steps", 1)
    changed = {key: options[key] for key in ("rows", "dataset", "curriculum", "max_steps") if key in options}
    changed["seed"] = options.get("seed", options.get("data_seed", SEED))
    if name == "group_by_length":
        changed["lengths"] = scored()["length"][:]
    rows = drawn(reference(8 * accumulation, **changed), range(STOP, steps))
    unchanged = drawn(reference(8), range(STOP, 40))
    assert {step: rows[step] for step in unchanged} != unchanged
    assert trainer.state.global_step == steps
    assert stream(tmp_path / "allowed") == rows


class Power:
    """A schedule whose ``repr`` tells where in memory it is."""

    def __call__(self, progress):
        return progress**2


@pytest.mark.parametrize(
    ("make", "name"), [(lambda: partial(power(2)), "power.<locals>.rise"), (Power, "Power")], ids=["partial", "object"]
)
def test_a_function_that_has_no_name_of_its_own_is_the_same_in_another_process(make, name, tmp_path):
    train(tmp_path / "cut", stop=STOP, curriculum={"schedule": make()})
    checkpoint = tmp_path / "cut" / f"checkpoint-{STOP}"
    train(tmp_path / "resumed", resume=str(checkpoint), curriculum={"schedule": make()})
    assert stream(tmp_path / "resumed") == drawn(reference(8, curriculum={"schedule": power(2)}), range(STOP, 40))
    assert re.fullmatch(rf"{name} \w{{8}}", keyed(checkpoint, "settings")["schedule"])


def test_a_function_of_the_same_name_is_told_from_another_by_what_it_returns(tmp_path):
    train(tmp_path / "cut", stop=STOP, curriculum={"schedule": power(1)})
    checkpoint = str(tmp_path / "cut" / f"checkpoint-{STOP}")
    message = r"schedule was 'power.<locals>.rise (\w{8})' and is 'power.<locals>.rise (\w{8})'\. Set them back"
    with pytest.raises(ValueError, match=message) as error:
        train(tmp_path / "refused", resume=checkpoint, curriculum={"schedule": power(2)})
    before, now = re.search(message, str(error.value)).groups()
    assert before != now
    train(tmp_path / "resumed", resume=checkpoint, curriculum={"schedule": power(1)})
    sampler = reference(8, curriculum={"schedule": power(1)})
    assert stream(tmp_path / "resumed") == drawn(sampler, range(STOP, 40))


def test_a_share_that_changed_is_not_laid_to_the_length_of_the_training(tmp_path, cut):
    train(tmp_path / "cut", stop=STOP, curriculum={"warmup_steps": 30})
    checkpoint = str(tmp_path / "cut" / f"checkpoint-{STOP}")
    with pytest.raises(ValueError, match=r"curriculum: warmup_steps was 30 and is 20\. Set"):
        train(tmp_path / "from_steps", resume=checkpoint)
    with pytest.raises(ValueError, match=r"curriculum: warmup_steps was 20 and is 10\. Set"):
        train(tmp_path / "from_share", resume=str(cut), curriculum={"warmup_steps": 0.25})


def test_all_that_changed_is_named(tmp_path, cut):
    with pytest.raises(ValueError, match="initial_fraction was 0.3 and is 0.1; .*seed was 7 and is 3"):
        train(tmp_path, resume=str(cut), seed=3, curriculum={"initial_fraction": 0.1})


def test_another_batch_per_device(tmp_path, cut):
    options = {"resume": str(cut), "per_device_train_batch_size": 16}
    if TRANSFORMERS_4:  # takes the batch per device from the checkpoint, whatever its arguments say
        train(tmp_path, **options)
        assert stream(tmp_path) == drawn(reference(8), range(STOP, 40))
    else:
        with pytest.raises(ValueError, match="total_batch_size was 8 and is 16"):
            train(tmp_path / "refused", **options)
        train(tmp_path / "allowed", allow_changed_resume=True, **options)
        assert stream(tmp_path / "allowed") == drawn(reference(16), range(STOP, 40))


def test_another_split_of_the_same_batch(tmp_path, cut):
    options = {"resume": str(cut), "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    if TRANSFORMERS_4:  # 8 x 2, see above
        with pytest.raises(ValueError, match="total_batch_size was 8 and is 16"):
            train(tmp_path, **options)
    else:
        train(tmp_path, **options)
        assert stream(tmp_path) == drawn(reference(8), range(STOP, 40))
        assert {len(rows) for _, rows in micro_batches(tmp_path)} == {4}


def test_the_checkpoint_holds_what_the_rows_depend_on(cut):
    settings = keyed(cut, "settings")
    assert settings.pop("difficulties")
    assert settings == {
        "initial_fraction": 0.3,
        "final_fraction": 1 - 1 / math.e,
        "warmup_steps": 20,
        "schedule": "cosine",
        "order": "easy_first",
        "difficulty_column": "difficulty",
        "seed": 7,
        "rows": 100,
        "total_batch_size": 8,
        "group_by_length": None,
        "total_steps": 40,
    }
    assert keyed(cut, "coverage")["steps"] == 15  # the last log


def test_the_curriculum_joins_the_checkpoint_of_a_plain_trainer(tmp_path, caplog):
    train(tmp_path / "plain", stop=STOP, trainer_class=Trainer)
    with caplog.at_level(logging.WARNING, "hf_curriculum"):
        train(tmp_path / "joined", resume=str(tmp_path / "plain" / f"checkpoint-{STOP}"), stop=30)
    assert "joins a training that went otherwise up to step 17" in caplog.text
    caplog.clear()
    joined = str(tmp_path / "joined" / "checkpoint-30")
    train(tmp_path / "resumed", resume=joined)
    assert not caplog.text
    rows = stream(tmp_path / "joined") | stream(tmp_path / "resumed")
    assert rows == drawn(reference(8), range(STOP, 40))
    for step, log in logged(end(tmp_path / "resumed")["logs"]).items():
        if log:
            seen = {row for new in range(STOP, step) for row in rows[new]}
            assert log["curriculum/distinct_fraction"] == len(seen) / 100
    with pytest.raises(ValueError, match="initial_fraction was 0.3 and is 0.2"):
        train(tmp_path / "refused", resume=joined, curriculum={"initial_fraction": 0.2})


def test_a_plain_trainer_takes_the_checkpoint_of_the_curriculum(tmp_path, cut):
    assert train(tmp_path, resume=str(cut), trainer_class=Trainer).state.global_step == 40


# --- logs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "batch", "steps"),
    [(100, 8, 40), (70_000, 5000, 24)],  # every row is watched; every second
)
def test_a_resumed_run_logs_the_curriculum_as_the_whole_run_does(tmp_path, rows, batch, steps):
    options = {"rows": rows, "per_device_train_batch_size": batch, "max_steps": steps, "logging_steps": 4}
    train(tmp_path / "whole", **options)
    whole = logged(end(tmp_path / "whole")["logs"])
    for stop in (6, steps // 2 + 3):
        train(tmp_path / f"cut-{stop}", stop=stop, **options)
        train(tmp_path / f"{stop}", resume=str(tmp_path / f"cut-{stop}" / f"checkpoint-{stop}"), **options)
        resumed = logged(end(tmp_path / f"{stop}")["logs"])
        assert list(resumed) == list(whole) == list(range(4, steps + 1, 4))
        for step, log in resumed.items():
            planned, expected = "curriculum/distinct_fraction_planned", dict(whole[step])
            assert log.pop(planned) == pytest.approx(expected.pop(planned), abs=1e-3)
            assert log == expected


# --- a batch that does not fit ------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit_from", [0, 5], ids=["at_once", "at_step_5"])
def test_a_batch_size_found_by_trying_is_that_of_the_stream(tmp_path, limit_from):
    options = {"per_device_train_batch_size": 16, "auto_find_batch_size": True, "limit": 12}
    train(tmp_path / "cut", stop=STOP, limit_from=limit_from, **options)  # 16, 14, 12: accelerate takes 9/10
    tried = micro_batches(tmp_path / "cut")
    found = [(step, rows) for step, rows in tried if len(rows) == 12]
    sampler = reference(12)
    assert found == list(drawn(sampler, range(STOP)).items())
    assert len(tried) - len(found) == 2 * limit_from
    train(tmp_path / "resumed", resume=str(tmp_path / "cut" / f"checkpoint-{STOP}"), **options)
    assert stream(tmp_path / "resumed") == drawn(sampler, range(STOP, 40))
    logs = logged(end(tmp_path / "resumed")["logs"])
    seen = {row for rows in drawn(sampler, range(20)).values() for row in rows}
    assert logs[20]["curriculum/distinct_fraction"] == len(seen) / 100


def test_the_rows_do_not_depend_on_the_weights_or_their_precision(tmp_path):
    torch.manual_seed(1)
    train(tmp_path, bf16=True, learning_rate=1.0)
    assert stream(tmp_path) == drawn(reference(8), range(40))
