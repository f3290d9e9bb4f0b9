"""``average_tokens_across_devices``: several processes learn as one does that has their whole batch."""

import json
import subprocess
from pathlib import Path

import pytest
import torch
from launching import environment, launch
from tiny import flat, scored
from worker_tokens import STEPS, train

from hf_curriculum import CurriculumSampler

pytestmark = pytest.mark.slow
WORKER = Path(__file__).parents[1] / "helpers" / "worker_tokens.py"
RUNS = {
    "whole batches": {"batch": 4},
    "accumulated": {"batch": 2, "gradient_accumulation_steps": 2},
    "learned": {"batch": 4, "learned": True},
    "each by itself": {"batch": 4, "average_tokens_across_devices": False},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Rows, weights and losses of each run by two processes, and of one process with their batch."""
    path = tmp_path_factory.mktemp("tokens")
    averaged = {"average_tokens_across_devices": True}
    two = [{"out": str(path / name), **averaged, **changed} for name, changed in RUNS.items()]
    command = [*launch(2), str(WORKER), json.dumps(two)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    for learned in (False, True):
        train(str(path / f"one {learned}"), learned=learned, **averaged)
    return path


def result(path):
    rows = [json.loads(file.read_text()) for file in sorted(path.glob("rows-*.json"))]
    return rows, torch.load(path / "weights.pt"), json.loads((path / "losses.json").read_text())


@pytest.mark.parametrize("name", list(RUNS)[:3])
def test_two_processes_learn_as_one_with_their_batch(runs, name):
    (one,), weights, losses = result(runs / f"one {name == 'learned'}")
    ranks, weights_of_two, losses_of_two = result(runs / name)
    assert len(ranks) == 2 and sorted(ranks[0] + ranks[1]) == sorted(one) and len(one) == 8 * STEPS
    torch.testing.assert_close(weights_of_two, weights, rtol=1e-4, atol=1e-6)
    assert losses_of_two == pytest.approx(losses, rel=1e-4)


def test_without_the_option_they_do_not(runs):
    """Each process divides by its own tokens: the test above would tell."""
    _, weights, losses = result(runs / "one False")
    _, weights_of_two, losses_of_two = result(runs / "each by itself")
    away = max((weights_of_two[name] - weight).abs().max() for name, weight in weights.items())
    assert away > 1e-3 and losses_of_two != pytest.approx(losses, rel=1e-3)


def test_the_rows_are_those_of_the_curriculum(runs):
    sampler = CurriculumSampler(scored()["difficulty"][:], total_batch_size=8, total_steps=STEPS, seed=7)
    (one,), *_ = result(runs / "one False")
    assert one == flat(sampler.indices(step).tolist() for step in range(STEPS))
