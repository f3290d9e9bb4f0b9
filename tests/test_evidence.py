"""The instrument of benchmarks/evidence: arms differ in their rows alone, figures are those worked out by hand."""

import json
import math
import subprocess
import sys
import time
from concurrent.futures import Future
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from launching import environment

from benchmarks.evidence import data, run, summary
from benchmarks.evidence.config import Experiment, Run
from benchmarks.evidence.evaluate import knn, probe, standardised
from benchmarks.evidence.models import build
from benchmarks.evidence.run import identity, read_lines
from benchmarks.evidence.samplers import ARMS, make_sampler
from benchmarks.evidence.summary import compare, estimate, steps_to_reach
from benchmarks.evidence.train import augment, chance, evaluation_steps, fit, learning_rate_share

ROOT = Path(__file__).parent.parent
EXPERIMENTS = ROOT / "benchmarks" / "evidence" / "experiments"
STEPS, BATCH, ROWS = 60, 50, 2000
DIFFICULTY = np.random.default_rng(3).beta(2, 5, ROWS).astype(np.float32)


@pytest.fixture(scope="module")
def smoke() -> Experiment:
    return Experiment.read(EXPERIMENTS / "smoke.json")


def sampler(arm, seed=0):
    return make_sampler(arm, DIFFICULTY, {"initial_fraction": 0.15}, batch_size=BATCH, steps=STEPS, seed=seed)


# Samplers


def test_the_random_pool_has_the_size_of_easy_first_at_every_step():
    easy, pool = sampler("easy_first"), sampler("random_pool")
    for step in range(STEPS):
        assert pool.effective_fraction(step) == easy.effective_fraction(step)
        assert pool.temperature(step) == easy.temperature(step)


def test_the_random_pool_is_easy_first_under_one_relabelling():
    easy, pool = sampler("easy_first"), sampler("random_pool")
    warmup = range(easy.warmup_steps)
    before, after = (np.concatenate([arm.indices(step) for step in warmup]) for arm in (easy, pool))
    assert len(set(zip(before, after, strict=True))) == len(set(before)) == len(set(after))
    for step in range(easy.warmup_steps, STEPS):
        np.testing.assert_array_equal(easy.indices(step), pool.indices(step))


def test_the_random_pool_does_not_know_the_difficulty():
    drawn = {arm: np.concatenate([sampler(arm, s).indices(0) for s in range(40)]) for arm in ARMS}
    error = DIFFICULTY.std() / math.sqrt(40 * BATCH)
    mean = {arm: DIFFICULTY[rows].mean() - DIFFICULTY.mean() for arm, rows in drawn.items()}
    assert abs(mean["random_pool"]) < 4 * error and abs(mean["uniform"]) < 4 * error
    assert mean["easy_first"] < -10 * error and mean["hard_first"] > 10 * error


def test_the_pool_is_another_for_each_seed():
    first, second = (
        np.bincount(np.concatenate([sampler("random_pool", seed).indices(step) for step in range(15)]), minlength=ROWS)
        for seed in (0, 1)
    )
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1


def test_uniform_walks_permutations_from_the_second_step_on():
    uniform = sampler("uniform")
    walk = np.concatenate([uniform.indices(1 + step) for step in range(ROWS // BATCH)])
    assert len(set(walk)) == ROWS


# Training


def test_patches_have_positions(smoke):
    model = build(smoke.model, 8, 1, seed=0)
    for positions in (model.vit.embeddings.position_embeddings, model.decoder.decoder_pos_embed):
        assert len(positions[0, 1:].unique(dim=0)) == 16 and not positions.requires_grad


def first_steps(experiment, arm, monkeypatch, steps=2):
    """Weights before the first step; images and mask noise of each, beside the rows."""
    pixels = torch.arange(ROWS, dtype=torch.int32)[:, None, None, None].expand(ROWS, 1, 8, 8) % 251
    pixels = pixels.to(torch.uint8)
    model = build(experiment.model, 8, 1, seed=5)
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    seen, forward = [], model.forward
    monkeypatch.setattr(model, "forward", lambda images, noise: seen.append((images, noise)) or forward(images, noise))
    drawn = make_sampler(arm, DIFFICULTY, {}, batch_size=experiment.batch_size, steps=steps, seed=5)
    for _ in fit(model, drawn, pixels, experiment, steps=steps, seed=5):
        pass
    return weights, seen, [pixels[torch.from_numpy(drawn.indices(step))] for step in range(steps)]


def test_arms_share_weights_masks_and_augmentations(smoke, monkeypatch):
    experiment = replace(smoke, flip=True)
    expected, *others = (first_steps(experiment, arm, monkeypatch) for arm in ARMS)
    for weights, seen, rows in others:
        assert all(torch.equal(weights[name], expected[0][name]) for name in weights)
        for step, (images, noise) in enumerate(seen):
            assert torch.equal(noise, expected[1][step][1])
            same = chance(experiment, noise.shape[1], seed=5, step=step)
            assert torch.equal(images, augment(rows[step], same, experiment.shift).float() / 127.5 - 1)
        assert not torch.equal(rows[0], expected[2][0])


def test_an_image_is_moved_and_mirrored_as_drawn(smoke):
    pixels = torch.arange(2 * 3 * 16, dtype=torch.uint8).reshape(2, 3, 4, 4)
    drawn = replace(
        chance(smoke, 16, 0, 0), mirrored=torch.tensor([False, True]), offsets=torch.tensor([[2, 1], [0, 1]])
    )
    moved = augment(pixels, drawn, shift=1)
    assert torch.equal(moved[0, :, :3, 1:], pixels[0, :, 1:, :3])
    assert not moved[0, :, 3].any() and not moved[0, :, :, 0].any()
    assert torch.equal(moved[1], pixels[1].flip(-1))
    assert torch.equal(augment(pixels, replace(drawn, mirrored=torch.tensor([False, False])), shift=0), pixels)


def test_evaluations_are_evenly_spaced_and_the_rate_rises_and_falls():
    assert sorted(evaluation_steps(10, 4)) == [0, 2, 5, 8, 10]
    rates = [learning_rate_share(step, 100) for step in range(101)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1]) and rates[100] == 0
    assert all(after <= before for before, after in zip(rates[5:], rates[6:], strict=False))


def test_knn_and_probe_tell_clouds_apart():
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 3
    centres = torch.tensor([[5.0, 0, 0], [0, 5, 0], [0, 0, 5]])
    known, asked = (centres[labels] + torch.randn(300, 3, generator=rng) for _ in range(2))
    known, asked = standardised(known, asked)
    torch.testing.assert_close(known.std(dim=0), torch.ones(3), rtol=1e-4, atol=0)
    assert (knn(known, labels, asked) == labels).float().mean() > 0.95
    assert (probe(known, labels, asked) == labels).float().mean() > 0.95


# Data


def test_held_out_images_are_in_no_budget_and_the_pool_is_the_same_for_both_splits(smoke):
    held_out, test = (
        data.parts(replace(smoke, evaluate_on=on, queries=250), None, "cpu") for on in ("held_out", "test")
    )
    assert torch.equal(held_out.pool.pixels, test.pool.pixels) and len(held_out.pool.labels) == 1200
    train, tested = data.splits("digits", "cpu")
    together = torch.cat([held_out.pool.pixels, held_out.queries.pixels, tested.pixels]).flatten(1).unique(dim=0)
    assert len(together) == 1200 + 250 + len(tested.labels)  # no two digits are the same image
    assert torch.equal(test.queries.labels, tested.labels[:250])
    with pytest.raises(ValueError, match="1201 images are asked for, but there are 1200"):
        data.parts(replace(smoke, bank=1201), None, "cpu")


def test_idx_files_are_read(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    for prefix in ("train", "t10k"):
        (tmp_path / f"{prefix}-images-idx3-ubyte").write_bytes(bytes(16) + pixels.tobytes())
        (tmp_path / f"{prefix}-labels-idx1-ubyte").write_bytes(bytes(8) + bytes([1, 0, 2]))
    train, test = data.splits(str(tmp_path), "cpu")
    np.testing.assert_array_equal(train.pixels[:, 0], pixels)
    assert test.labels.tolist() == [1, 0, 2]


def test_parquet_files_are_read(digits, tmp_path):
    digits.select(range(4)).to_parquet(tmp_path / "some-train.parquet")
    digits.select(range(2)).to_parquet(tmp_path / "some-test.parquet")
    train, test = data.splits(str(tmp_path), "cpu")
    np.testing.assert_array_equal(train.pixels[3, 0], np.asarray(digits[3]["image"]))
    assert test.labels.tolist() == digits["label"][:2]


# Config


@pytest.mark.parametrize("name", ["smoke", "cpu", "gpu_cifar"])
def test_experiments_are_valid_and_have_every_pair(name):
    experiment = Experiment.read(EXPERIMENTS / f"{name}.json")
    runs = experiment.runs()
    assert len(set(runs)) == len(runs)
    for trained in runs:
        assert replace(trained, arm="uniform", features=None) in runs


def test_the_grid_can_grow_but_nothing_else(smoke):
    assert replace(smoke, seeds=[7], budgets=[(64, 8)], arms=[]).fingerprint() == smoke.fingerprint()
    for change in ({"learning_rate": 1.0}, {"evaluate_on": "test"}, {"curriculum": {}}, {"bootstrap_steps": 3}):
        assert replace(smoke, **change).fingerprint() != smoke.fingerprint()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "resnet"}, "model: .'resnet'. must be among .'mae-nano'"),
        ({"arms": ["uniform"]}, "arms: .'uniform'. must be among .'random_pool', 'easy_first', 'hard_first'"),
        ({"features": ["sift"]}, "features"),
        ({"evaluate_on": "train"}, "evaluate_on"),
        ({"curriculum": {"initial_fraction": 2}}, "initial_fraction must be in"),
        ({"budgets": [(10, 100)]}, "at least a batch of 32 images"),
        ({"queries": 301}, "queries=301 of held_out=300"),
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


def test_paired_differences_by_hand():
    uniform = [record(0, 0.1, 0.5), record(1, 0.1, 0.6), record(2, 0.1, 0.7)]
    arm = [record(1, 0.2, 0.8), record(0, 0.1, 0.6), record(2, 0.1, 0.6), record(9, 0, 1)]
    found = compare(arm, uniform, "knn")
    assert found.final.mean == pytest.approx(2 / 3)  # seed 9 has no pair
    assert found.difference.mean == pytest.approx(0.2 / 3)  # of 0.2, 0.1 and -0.1
    assert found.difference.error == pytest.approx(math.sqrt((0.06 - 3 * (0.2 / 3) ** 2) / 2 / 3))
    assert (found.better, found.seeds) == (2, 3)
    assert found.reached == [pytest.approx(20 / 3), pytest.approx(8), math.inf]


def test_one_seed_has_no_error():
    assert math.isnan(estimate([0.5]).error) and str(estimate([0.5])) == "0.5000"
    assert str(estimate([0.4, 0.6])) == "0.5000 ± 0.1000"


def test_the_table_says_how_many_seeds_reached_the_goal(smoke, capsys):
    experiment = replace(smoke, budgets=[(200, 40)], features=["hog"], arms=["random_pool", "easy_first"])
    ends = {"uniform": (0.5, 0.6), "random_pool": (0.5, 0.7), "easy_first": (0.4, 0.5)}
    records = [
        asdict(Run(200, 40, None if arm == "uniform" else "hog", arm, seed))
        | {"curve": [{"step": 0, "knn": 0.0, "probe": 0.0}, {"step": 40, "knn": end, "probe": end}]}
        for arm, values in ends.items()
        for seed, end in enumerate(values)
    ]
    summary.print_summary(experiment, records)
    table = [[cell.strip() for cell in line.split("|")[5:-1]] for line in capsys.readouterr().out.splitlines()]
    assert table[6] == ["uniform", "0.5500 ± 0.0500", "-", "-", "-", "40 (2 of 2)"]
    assert table[7] == ["random_pool", "0.6000 ± 0.1000", "0.0500 ± 0.0500", "1 of 2", "-", "37 (2 of 2)"]
    assert table[8] == [
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
    values = asdict(replace(smoke, budgets=[(200, 20)], seeds=[0], bootstrap_steps=4, n_clusters=3))
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
    kept = [{key: line[key] for key in line if key not in ("seconds", "machine")} for line in lines]
    return sorted(kept, key=str)  # runs end in any order


@pytest.mark.slow
def test_a_killed_experiment_goes_on_to_the_same_lines(tiny, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    table = execute(tiny, whole)
    assert "7 of 7 runs; evaluated on held-out training images" in table
    assert {path.name for path in whole.glob("*.png")} == {
        f"{kind}-{metric}.png" for kind in ("curves", "differences") for metric in ("knn", "probe")
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


def test_resuming_trains_what_is_missing_alone(tiny, tmp_path, monkeypatch, capsys):
    """The same in one process, for the default suite: a pool that works at once."""
    monkeypatch.setattr(run, "ProcessPoolExecutor", lambda *_: AtOnce())
    arguments = ["run", str(tiny), "--output", str(tmp_path), "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", arguments)
    run.main()
    table, expected = capsys.readouterr().out, results(tmp_path)
    lines = (tmp_path / "runs.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "runs.jsonl").write_text("".join([*lines[:3], lines[3][:40]]))
    run.main()
    output = capsys.readouterr()
    assert output.out == table and "1 of 4: Run" in output.err
    assert results(tmp_path) == expected
    monkeypatch.setattr(sys, "argv", [*arguments, "--summary"])
    monkeypatch.setattr(run, "run_missing", None)  # nothing is trained
    run.main()
    assert capsys.readouterr().out == table
    assert len(list(tmp_path.glob("*.png"))) == 4


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
    path = tmp_path / "runs.jsonl"
    line = asdict(smoke.runs()[0]) | {"fingerprint": smoke.fingerprint(), "curve": []}
    path.write_text(json.dumps(line) + "\n")
    assert [identity(found) for found in read_lines(path, smoke)] == [smoke.runs()[0]]
    with pytest.raises(ValueError, match="other settings"):
        read_lines(path, replace(smoke, shift=0))
