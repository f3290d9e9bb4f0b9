"""The instrument of benchmarks/evidence as a whole: experiments, tables worked out by hand, the command."""

import json
import math
import subprocess
import sys
import time
from concurrent.futures import Future
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest
from launching import environment

from benchmarks.evidence import run, summary
from benchmarks.evidence.config import Experiment, Run
from benchmarks.evidence.difficulties import Place
from benchmarks.evidence.run import identity, read_lines
from benchmarks.evidence.summary import compare, estimate, steps_to_reach
from benchmarks.evidence.work import unfinished_run

pytestmark = pytest.mark.costly

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "benchmarks" / "evidence" / "experiments"


# Config


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.json")), ids=lambda path: path.stem)
def test_experiments_are_valid_and_have_every_pair(path):
    experiment = Experiment.read(path)
    runs = experiment.runs()
    assert len(set(runs)) == len(runs)
    for trained in runs:
        assert replace(trained, arm="uniform", variant=None) in runs


def test_a_variant_differs_where_it_says_so(smoke):
    variants = {"a": {"features": "bootstrap"}, "b": {"features": "x", "arms": ["easy_first"]}}
    experiment = replace(smoke, variants=variants)
    first, second = experiment.recipe("a"), experiment.recipe("b")
    assert (first.n_clusters, first.initial_fraction, first.arms) == (10, 0.15, smoke.arms)
    assert second == replace(first, features="x", arms=["easy_first"])
    assert len(experiment.runs()) == len(smoke.seeds) * len(smoke.budgets) * (1 + 3 + 1)


def test_the_grid_can_grow_but_nothing_else(smoke):
    grown = replace(smoke, seeds=[7], budgets=[(64, 8)], arms=[], variants={})
    assert grown.fingerprint() == smoke.fingerprint()
    for change in ({"learning_rate": 1.0}, {"evaluate_on": "test"}, {"label_noise": 0.1}, {"teacher_steps": 3}):
        assert replace(smoke, **change).fingerprint() != smoke.fingerprint()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "resnet"}, "task: .'resnet'. must be among .'mae-nano'"),
        ({"arms": ["uniform"]}, "arms: .'uniform'. must be among .'random_pool', 'easy_first', 'hard_first'"),
        ({"variants": {"a": {"feature": "sift"}}}, "variants: 'a' has unknown settings .'feature'."),
        ({"evaluate_on": "train"}, "evaluate_on"),
        ({"decay": "linear"}, "decay"),
        ({"wrong_label": "worse"}, "wrong_label: .'worse'. must be among .'any', 'next'"),
        ({"curriculum": {"initial_fraction": 2}}, "initial_fraction must be in"),
        ({"curriculum": {"normalize": "position", "repeats": 2}}, "leave repeats at 1"),
        ({"budgets": [(10, 100)]}, "at least a batch of 32 rows"),
        ({"queries": 301}, "queries=301 of held_out=200"),
    ],
)
def test_bad_settings_are_named(smoke, change, message):
    with pytest.raises(ValueError, match=message):
        replace(smoke, **change)


def test_a_file_names_every_setting(smoke, tmp_path):
    values = asdict(smoke) | {"momentum": 0.9}
    del values["seeds"]
    (tmp_path / "bad.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=r"look at \['momentum', 'seeds'\]"):
        Experiment.read(tmp_path / "bad.json")


# Summary


def curve(*values):
    return [{"step": 10 * i, "knn": value} for i, value in enumerate(values)]


def record(seed, *values):
    return {"seed": seed, "curve": curve(*values)}


def test_steps_to_reach():
    assert steps_to_reach(curve(0.1, 0.3, 0.5), "knn", 0.4) == pytest.approx(15)
    assert steps_to_reach(curve(0.1, 0.5, 0.3, 0.6), "knn", 0.5) == 10
    assert steps_to_reach(curve(0.4, 0.3), "knn", 0.4) == 0
    assert steps_to_reach(curve(0.1, 0.3), "knn", 0.31) == math.inf
    falling = [{"step": 10 * i, "loss": value} for i, value in enumerate((0.9, 0.6, 0.4))]
    assert steps_to_reach(falling, "loss", 0.5) == pytest.approx(15)
    assert steps_to_reach(falling, "loss", 0.3) == math.inf


def test_paired_differences_by_hand():
    uniform = [record(0, 0.1, 0.5), record(1, 0.1, 0.6), record(2, 0.1, 0.7)]
    arm = [record(1, 0.2, 0.8), record(0, 0.1, 0.6), record(2, 0.1, 0.6), record(9, 0, 1)]
    found = compare(arm, uniform, "knn")
    assert found.final.mean == pytest.approx(2 / 3)  # seed 9 has no pair
    assert found.difference.mean == pytest.approx(0.2 / 3)  # of 0.2, 0.1 and -0.1
    assert found.difference.error == pytest.approx(math.sqrt((0.06 - 3 * (0.2 / 3) ** 2) / 2 / 3))
    assert (found.better, found.seeds) == (2, 3)
    assert found.reached == [pytest.approx(20 / 3), pytest.approx(8), math.inf]


def test_a_lower_loss_is_better():
    low, high = ([{"seed": 0, "curve": [{"step": 0, "loss": value}]}] for value in (0.4, 0.5))
    found = compare(low, high, "loss")
    assert (found.difference.mean, found.better, found.reached) == (pytest.approx(-0.1), 1, [0])


def test_one_seed_has_no_error():
    assert math.isnan(estimate([0.5]).error) and str(estimate([0.5])) == "0.5000"
    assert str(estimate([0.4, 0.6])) == "0.5000 ± 0.1000"


def test_the_table_says_how_many_seeds_reached_the_goal(smoke, capsys):
    experiment = replace(
        smoke, budgets=[(200, 40)], arms=["random_pool", "easy_first"], variants={"hog": {"features": "builtin/hog"}}
    )
    ends = {"uniform": (0.5, 0.6), "random_pool": (0.5, 0.7), "easy_first": (0.4, 0.5)}
    records = [
        asdict(Run(200, 40, None if arm == "uniform" else "hog", arm, seed))
        | {"curve": [{"step": 0, "knn": 0.0, "probe": 0.0}, {"step": 40, "knn": end, "probe": end}]}
        for arm, values in ends.items()
        for seed, end in enumerate(values)
    ]
    summary.print_summary(experiment, records)
    table = [[cell.strip() for cell in line.split("|")[4:-1]] for line in capsys.readouterr().out.splitlines()]
    assert table[6] == ["-", "uniform", "0.5500 ± 0.0500", "-", "-", "-", "40 (2 of 2)"]
    assert table[7] == ["hog", "random_pool", "0.6000 ± 0.1000", "0.0500 ± 0.0500", "1 of 2", "-", "37 (2 of 2)"]
    assert table[8] == [
        "hog",
        "easy_first",
        "0.4500 ± 0.0500",
        "-0.1000 ± 0.0000",
        "0 of 2",
        "-0.1500 ± 0.0500",
        "> 40 (0 of 2)",
    ]


# The command


@pytest.fixture(scope="module")
def tiny(smoke, tmp_path_factory) -> Path:
    """An experiment of seven runs."""
    values = asdict(replace(smoke, budgets=[(200, 20)], seeds=[0], teacher_steps=4))
    path = tmp_path_factory.mktemp("experiment") / "tiny.json"
    path.write_text(json.dumps(values))
    return path


def command(experiment, output, *options):
    return [
        sys.executable,
        "-m",
        "benchmarks.evidence.run",
        experiment,
        "--output",
        output,
        "--device",
        "cpu",
        *options,
    ]


def execute(experiment, output, *options):
    return subprocess.run(
        command(experiment, output, *options), cwd=ROOT, env=environment(), check=True, capture_output=True, text=True
    ).stdout


def results(output):
    """Finished lines without what a clock or a machine adds."""
    whole, _, _ = (output / "runs.jsonl").read_text().rpartition("\n")
    lines = [json.loads(line) for line in whole.splitlines()]
    kept = [{key: line[key] for key in line if key not in ("seconds", "occasions", "machine")} for line in lines]
    return sorted(kept, key=str)  # runs end in any order


@pytest.mark.slow
def test_a_killed_experiment_goes_on_to_the_same_lines(tiny, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    table = execute(tiny, whole)
    assert "7 of 7 runs; evaluated on held-out training rows" in table
    assert {path.name for path in whole.glob("*.png")} == {
        f"{kind}-{metric}.png" for kind in ("curves", "differences") for metric in ("knn", "probe", "loss")
    }
    lines = killed / "runs.jsonl"
    with subprocess.Popen(command(tiny, killed), cwd=ROOT, env=environment(), stderr=subprocess.DEVNULL) as process:
        while not lines.exists() or not lines.read_text():
            assert process.poll() is None
            time.sleep(0.01)
        (worker,) = [child for child in psutil.Process(process.pid).children() if "spawn_main" in str(child.cmdline())]
        process.kill()
    worker.wait(timeout=30)  # it ends with its parent
    with lines.open("a") as file:
        file.write('{"rows": 200, "st')  # what a kill may leave
    assert 1 <= len(results(killed)) < 7
    assert execute(tiny, killed) == table
    assert results(killed) == results(whole)


@pytest.mark.slow
def test_resuming_trains_what_is_missing_alone(tiny, tmp_path, monkeypatch, capsys):
    """The same in one process, for the default suite: a pool that works at once."""
    monkeypatch.setattr(run, "ProcessPoolExecutor", lambda *_: AtOnce())
    arguments = ["run", str(tiny), "--output", str(tmp_path), "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", arguments)
    run.main()
    table, expected = capsys.readouterr().out, results(tmp_path)
    lines = (tmp_path / "runs.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "runs.jsonl").write_text("".join([*lines[:3], lines[3][:40]]))
    experiment = Experiment.read(tiny)
    unfinished_run(Place(None, tmp_path, "cpu", ""), experiment, experiment.runs()[0]).write({})  # it has its line
    run.main()
    assert not list((tmp_path / "unfinished").iterdir())
    output = capsys.readouterr()
    assert output.out == table and "1 of 4: Run" in output.err
    assert results(tmp_path) == expected
    monkeypatch.setattr(sys, "argv", [*arguments, "--summary"])
    monkeypatch.setattr(run, "run_missing", None)  # nothing is trained
    run.main()
    assert capsys.readouterr().out == table
    assert len(list(tmp_path.glob("*.png"))) == 6


class AtOnce:
    """A pool of no processes."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def submit(self, function, *args):
        future = Future()
        future.set_result(function(*args))
        return future

    def shutdown(self, cancel_futures):
        assert cancel_futures


def test_lines_of_other_settings_are_refused(smoke, tmp_path):
    path, first = tmp_path / "runs.jsonl", smoke.runs()[1]
    line = asdict(first) | {"recipe": smoke.made_by(first), "fingerprint": smoke.fingerprint(), "curve": []}
    path.write_text(json.dumps(line) + "\n")
    assert [identity(found) for found in read_lines(path, smoke)] == [first]
    less = replace(smoke, variants={"bootstrap": smoke.variants["bootstrap"]})
    assert [identity(found) for found in read_lines(path, less)] == [first]  # a variant may go
    for change in ({"shift": 0}, {"variants": {"hog": {"features": "builtin/hog", "n_clusters": 3}}}):
        with pytest.raises(ValueError, match="other settings"):
            read_lines(path, replace(smoke, **change))
