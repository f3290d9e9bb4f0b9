"""The benchmarks of difficulties that learn run at a small size, go on where they were cut off, and count right."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from launching import environment
from needs import needs

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(script, *options):
    command = [sys.executable, str(BENCHMARKS / f"{script}.py"), *map(str, options)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def module(monkeypatch):
    """A benchmark, by name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return import_module


@pytest.mark.slow
def test_losses_are_learned_and_a_run_that_was_cut_off_goes_on_to_the_same_figures(tmp_path):
    rng, labels = np.random.default_rng(0), np.arange(300) % 4
    features = rng.normal(size=(4, 16))[labels] * 2 + rng.normal(size=(300, 16))
    np.savez(tmp_path / "agnews-300.npz", matrix=features.astype(np.float32), labels=labels)
    output = tmp_path / "losses.jsonl"
    size = ["--rows", 300, "--tested", 100, "--seeds", 1, "--epochs", 60]
    run("learned_losses", tmp_path, "--output", output, *size)
    lines = read(output)
    wrong = {(line["share"], line["arm"], line["pool"]): line["wrong"] for line in lines}
    assert len(lines) == len(wrong) == 18
    for share in (0.4, 0.2):
        assert wrong[share, "margin", "stays"] < 0.3 * share and wrong[share, "loss", "stays"] < 0.7 * share
        assert abs(wrong[share, "uniform", "-"] - share) < 0.06 and wrong[share, "loss, hard", "stays"] > 1.2 * share
    output.write_text("".join(json.dumps(line) + "\n" for line in lines[:4] + lines[5:]))
    run("learned_losses", tmp_path, "--output", output, *size)
    assert read(output)[-1] == lines[4]
    table = run("learned_losses", tmp_path, "--output", output, "--summary")
    assert table.count("1 of 1") + table.count("0 of 1") == 16


@pytest.mark.slow
def test_rewards_are_learned_and_a_run_that_was_cut_off_goes_on_to_the_same_figures(tmp_path):
    needs("trl")
    output = tmp_path / "rewards.jsonl"
    size = ["--output", output, "--steps", 30, "--seeds", 1]
    run("learned_rewards", *size)
    lines = read(output)
    assert [line["arm"] for line in lines] == ["uniform", "random", "static", "reward", "reward"]
    assert all([point["step"] for point in line["curve"]] == [10, 20, 30] for line in lines)
    assert lines[2]["impossible"] < 0.42 < 0.45 < lines[0]["impossible"] < 0.55
    output.write_text("".join(json.dumps(line) + "\n" for line in lines[:3]))
    run("learned_rewards", *size, "--arms", "reward")
    assert read(output) == lines
    warm = tmp_path / "warm.jsonl"
    run("learned_rewards", "--output", warm, "--warm", 10, "--steps", 10, "--seeds", 1, "--arms", "uniform")
    assert read(warm)[0]["curve"][0]["reward"] != lines[0]["curve"][0]["reward"]
    assert "| static  | opens |" in run("learned_rewards", "--output", output, "--summary")


def test_expected_rewards_are_those_of_sampled_answers(module):
    needs("trl")
    rewards = module("learned_rewards")
    dataset, held_out = rewards.prompts()
    assert not {*dataset["prompt"][:]} & {*held_out["prompt"][:]}
    shares = {kind: np.mean([of_row == kind for of_row in dataset["kind"][:]]) for kind in rewards.KINDS}
    assert shares == {"easy": 0.25, "medium": 0.25, "impossible": 0.5}
    torch.manual_seed(0)
    model = rewards.new_model()
    torch.nn.init.normal_(model.lm_head.weight, std=0.3)  # far from even
    look, given = rewards.Look(held_out), rewards.Rewards()
    expected = look.rewards(model)
    made = model.generate(look.prompts.repeat(100, 1), do_sample=True, top_k=0, max_new_tokens=2, min_new_tokens=2)
    made = made[:, look.prompts.shape[1] :].tolist()
    sampled = np.array(given(made, held_out["answer"][:] * 100, held_out["kind"][:] * 100))
    kinds = np.tile(look.kinds, 100)
    for kind in ("easy", "medium"):
        chance, of_kind = expected[kind], sampled[kinds == kind]
        assert abs(of_kind.mean() - chance) < 4 * np.sqrt(chance / len(of_kind)) and of_kind.any()
    assert expected["reward"] == pytest.approx((expected["easy"] + expected["medium"]) / 2, abs=1e-4)
    assert given.all == len(made) and given.impossible == 0


def test_the_table_of_rewards_compares_within_a_seed(module, capsys):
    needs("trl")

    def line(arm, seed, *rewards):
        curve = [{"step": 10 * i, "reward": x, "easy": x, "medium": x} for i, x in enumerate(rewards, 1)]
        return {"arm": arm, "pool": "-", "seed": seed, "impossible": 0.5, "curve": curve}

    lines = [line("uniform", 0, 0.1, 0.6, 0.8), line("uniform", 1, 0.1, 0.2, 0.6)]
    lines += [line("static", 0, 0.5, 0.7, 0.7), line("static", 1, 0.1, 0.2, 0.3), line("static", 2, 0, 0, 0)]
    module("learned_rewards").summary(lines)
    uniform, static = (
        [cell.strip() for cell in row.split("|")[1:-1]] for row in capsys.readouterr().out.splitlines()[-3:-1]
    )
    assert uniform == ["uniform", "-", "50%", "25 (2 of 2)", "> 30 (1 of 2)", "-", "-", "70.0 ± 10.0", "-", "70, 70"]
    # 10 and "never", counted as 30, instead of 20 and 30; 70 and 30 instead of 80 and 60
    assert static[3:] == [
        "> 30 (1 of 3)",
        "> 30 (0 of 3)",
        "-5.0 ± 5.0",
        "1 of 2",
        "33.3 ± 20.3",
        "-20.0 ± 10.0",
        "33, 33",
    ]


def test_the_table_of_losses_compares_within_a_seed(module, capsys):
    def line(arm, seed, accuracy):
        pool = "-" if arm == "uniform" else "opens"
        return {"share": 0.4, "epochs": 5, "arm": arm, "pool": pool, "seed": seed, "wrong": 0.4, "accuracy": accuracy}

    lines = [line("uniform", 0, 0.5), line("uniform", 1, 0.6), line("loss", 0, 0.7), line("loss", 1, 0.5)]
    module("learned_losses").summary([*lines, line("loss", 2, 0.9)])
    uniform, loss = (
        [cell.strip() for cell in row.split("|")[1:-1]] for row in capsys.readouterr().out.splitlines()[-3:-1]
    )
    assert uniform == ["40%", "5", "uniform", "-", "40.0 ± 0.0", "55.0 ± 5.0", "-", "-"]
    assert loss == ["40%", "5", "loss", "opens", "40.0 ± 0.0", "70.0 ± 11.5", "+5.0 ± 15.0", "1 of 2"]


def test_the_table_of_labels_compares_within_a_seed(module, capsys):
    def line(arm, seed, accuracy, share=0.4, pool="-"):
        cell = {"data": "fsdd", "noise": "next", "share": share, "seed": seed, "epochs": 5}
        return {**cell, "arm": arm, "pool": pool, "accuracy": accuracy, "loss": 1 - accuracy}

    lines = [line("uniform", 0, 0.5), line("uniform", 1, 0.6), line("margin", 0, 0.7, pool="late")]
    lines += [
        line("margin", 1, 0.5, pool="late"),
        line("margin", 2, 0.9, pool="late"),
        line("uniform", 0, 0.9, share=0),
    ]
    module("labels_training").summary(lines)
    accuracy, loss = capsys.readouterr().out.split("loss, 3 seeds")
    none, wrong = ([cell.strip() for cell in row.split("|")[1:-1]] for row in accuracy.splitlines()[-3:-1])
    assert none[:4] == ["spoken digits", "none", "5", "90.0 ± nan"]
    assert wrong[:4] == ["spoken digits", "40%, one other", "5", "55.0 ± 5.0"]
    assert wrong[-1] == "+5.0 ± 15.0" and set(wrong[4:-1]) == {"-"}
    assert loss.splitlines()[-2].split("|")[-2].strip() == "-0.05 ± 0.15"


@pytest.mark.parametrize(
    ("script", "result"),
    [
        ("learned_losses", "learned_losses"),
        ("learned_rewards", "learned_rewards"),
        ("learned_rewards", "learned_rewards_warm"),
        ("labels_training", "labels_training"),
    ],
)
def test_the_docs_show_the_tables_of_the_lines(module, capsys, script, result):
    lines = BENCHMARKS / "evidence" / "results" / f"{result}.jsonl"
    if not lines.exists():
        pytest.skip("the sdist has no results")
    if script == "learned_rewards":
        needs("trl")
    module(script).summary(read(lines))
    table = capsys.readouterr().out.partition("\n\n")[2].partition("\n\n")[0].strip()
    page = "labels" if script == "labels_training" else "evidence"
    assert table in (BENCHMARKS.parent / "docs" / f"{page}.md").read_text()
