"""A training of benchmarks/evidence that was cut off goes on to the very result of one that was not."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from launching import environment

from benchmarks.evidence import difficulties, unfinished
from benchmarks.evidence.config import Experiment, Run
from benchmarks.evidence.difficulties import Place, embeddings
from benchmarks.evidence.train import Training
from benchmarks.evidence.unfinished import Unfinished
from benchmarks.evidence.work import steps_done, train, unfinished_run

pytestmark = pytest.mark.costly

ROOT = Path(__file__).parents[2]
STEPS = 40
NEVER, ALWAYS = 1e6, 0.0  # seconds between two writings


class CutOff(BaseException):
    """In place of a kill."""


class Trained:
    """Steps that were trained, in order; the next time that ``cut_at`` is reached, the training is cut off there."""

    def __init__(self) -> None:
        self.steps, self.cut_at = [], None

    def cut_off(self, step, function, *arguments):
        self.cut_at = step
        with pytest.raises(CutOff):
            function(*arguments)
        self.steps, self.cut_at = [], None


@pytest.fixture
def trained(monkeypatch):
    seen, whole = Trained(), Training._step

    def step(training, number):
        if number == seen.cut_at:
            raise CutOff
        whole(training, number)
        seen.steps.append(number)

    monkeypatch.setattr(Training, "_step", step)
    return seen


def place_in(folder, name="results"):
    (folder / name).mkdir()
    return Place(None, folder / name, "cpu", "")


@pytest.mark.parametrize(("task", "arm"), [("mae-nano", "easy_first"), ("classify-images-small", "uniform")])
@pytest.mark.parametrize(("seconds", "kept"), [(ALWAYS, 27), (NEVER, 20)])
def test_a_run_goes_on_where_it_was_kept(smoke, task, arm, seconds, kept, trained, tmp_path, monkeypatch):
    experiment = replace(smoke, task=task)
    run = Run(200, STEPS, None if arm == "uniform" else "hog", arm, seed=3)
    whole, cut = place_in(tmp_path, "whole"), place_in(tmp_path, "cut")
    expected, chance = train(whole, experiment, run), torch.get_rng_state()
    monkeypatch.setattr(unfinished, "SECONDS", seconds)
    trained.cut_off(27, train, cut, experiment, run)
    assert steps_done(cut, experiment, run) == kept
    found = train(cut, experiment, run)
    assert trained.steps == list(range(kept, STEPS))
    assert found["curve"] == expected["curve"] and len(found["curve"]) == smoke.evaluations + 1
    assert torch.equal(torch.get_rng_state(), chance)  # an evaluation of an MAE asks it
    assert (expected["occasions"], found["occasions"]) == (1, 2)
    differing = {"seconds", "occasions", "machine", "curve"}
    assert {key: found[key] for key in found.keys() - differing} == {
        key: expected[key] for key in expected.keys() - differing
    }


def test_a_line_has_the_time_of_all_occasions(smoke, trained, tmp_path, monkeypatch):
    place, run = place_in(tmp_path), Run(200, STEPS, None, "uniform", seed=0)
    trained.cut_off(27, train, place, smoke, run)
    file = unfinished_run(place, smoke, run)
    state = file.read()
    file.write(state | {"seconds": state["seconds"] + 1000.0, "devices": ["an older one"]})
    line = train(place, smoke, run)
    assert 1000 < line["seconds"] < 1100
    assert (line["device"], line["occasions"]) == ("an older one, cpu", 2)


def test_a_run_that_only_wants_its_line_is_not_trained(smoke, trained, tmp_path):
    place, run = place_in(tmp_path), Run(200, STEPS, None, "uniform", seed=0)
    expected = train(place, smoke, run)
    trained.steps.clear()
    assert train(place, smoke, run)["curve"] == expected["curve"] and not trained.steps


@pytest.mark.parametrize("features", ["bootstrap", "supervised"])
def test_a_teacher_goes_on_too(smoke, features, trained, tmp_path, monkeypatch):
    whole, cut = place_in(tmp_path, "whole"), place_in(tmp_path, "cut")
    expected = embeddings(whole, smoke, features, 200)
    monkeypatch.setattr(unfinished, "SECONDS", ALWAYS)
    trained.cut_off(13, embeddings, cut, smoke, features, 200)
    np.testing.assert_array_equal(embeddings(cut, smoke, features, 200), expected)
    assert trained.steps == list(range(13, smoke.teacher_steps))
    assert not list((cut.output / "unfinished").iterdir())
    monkeypatch.setattr(difficulties, "teacher", None)  # the vectors are kept
    np.testing.assert_array_equal(embeddings(cut, smoke, features, 200), expected)


def of_another_recipe(file, smoke, place, run):
    variants = {"hog": {"features": "builtin/hog", "n_clusters": 3}}
    unfinished_run(place, replace(smoke, variants=variants), run).write(file.read())


def of_another_experiment(file, smoke, place, run):
    unfinished_run(place, replace(smoke, learning_rate=0.1), run).write(file.read())


def of_a_gpu(file, smoke, place, run):
    unfinished_run(replace(place, device="cuda"), smoke, run).write(file.read())


def of_other_versions(file, smoke, place, run):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unfinished, "machine", lambda: {"versions": {"torch": "0.1"}})
        unfinished_run(place, smoke, run).write(file.read())


def half(file, *_):
    file.path.write_bytes(file.path.read_bytes()[: file.path.stat().st_size // 2])


def foreign(file, *_):
    file.path.write_text("a letter")


def of_something_else(file, *_):
    torch.save([1, 2], file.path)


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (of_another_recipe, "is of other settings"),
        (of_another_experiment, "is of other settings"),
        (of_a_gpu, "is of other settings"),
        (of_other_versions, "is of other settings"),
        (half, "cannot be read"),
        (foreign, "cannot be read"),
        (of_something_else, "cannot be read"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_does_not_belong_to_a_run_is_told_and_not_taken(smoke, spoil, word, trained, tmp_path, capsys):
    place, run = place_in(tmp_path), Run(200, STEPS, "hog", "easy_first", seed=0)
    trained.cut_off(27, train, place, smoke, run)
    file = unfinished_run(place, smoke, run)
    spoil(file, smoke, place, run)
    capsys.readouterr()
    assert train(place, smoke, run)["occasions"] == 1 and trained.steps == list(range(STEPS))
    told = capsys.readouterr().err
    assert f"{file.path} {word}" in told and told.rstrip().endswith("its training begins anew.")


def test_a_kill_in_the_middle_of_a_writing_leaves_the_one_before(tmp_path, monkeypatch):
    file = Unfinished(tmp_path, "a", {"seed": 0}, "cpu")
    file.write({"done": 1})

    def cut(value, path):
        Path(path).write_bytes(b"PK")
        raise CutOff

    monkeypatch.setattr(torch, "save", cut)
    with pytest.raises(CutOff):
        file.write({"done": 2})
    assert file.read() == {"done": 1}
    file.remove()
    assert not list((tmp_path / "unfinished").iterdir()) and file.read() is None


def test_a_writing_is_due_after_a_while(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    file = Unfinished(tmp_path, "a", {}, "cpu")
    for _ in range(2):
        now[0] += unfinished.SECONDS - 1
        assert not file.is_due()
        now[0] += 1
        assert file.is_due()
        file.write({})


# The command


LONG = 400


@pytest.fixture(scope="module")
def long(smoke, tmp_path_factory) -> Path:
    """Two runs, long enough for a kill between two evaluations."""
    hog = {"hog": smoke.variants["hog"]}
    values = asdict(replace(smoke, budgets=[(200, LONG)], seeds=[0], arms=["easy_first"], variants=hog))
    path = tmp_path_factory.mktemp("experiment") / "long.json"
    path.write_text(json.dumps(values))
    return path


def start(experiment, output):
    command = [sys.executable, "-m", "benchmarks.evidence.run", experiment, "--output", output, "--device", "cpu"]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )


def lines_of(output):
    lines = [json.loads(line) for line in (output / "runs.jsonl").read_text().splitlines()]
    return {line["arm"]: line for line in lines}


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_curve(long, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    uncut = start(long, whole)
    experiment = Experiment.read(long)
    first = experiment.runs()[0]
    place = Place(None, killed, "cpu", "")
    with start(long, killed) as process:
        while steps_done(place, experiment, first) < LONG // 4:
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)  # the pool, too
    assert not (killed / "runs.jsonl").exists()
    assert LONG // 4 <= steps_done(place, experiment, first) < LONG
    table, _ = uncut.communicate(timeout=300)
    again, _ = start(long, killed).communicate(timeout=300)
    assert again == table
    expected, found = lines_of(whole), lines_of(killed)
    assert {arm: line["curve"] for arm, line in found.items()} == {
        arm: line["curve"] for arm, line in expected.items()
    }
    assert {arm: line["occasions"] for arm, line in found.items()} == {"uniform": 2, "easy_first": 1}
    assert not list((killed / "unfinished").iterdir())
