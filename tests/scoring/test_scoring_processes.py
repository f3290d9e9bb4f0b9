"""Clusters that two and three processes find together."""

import subprocess

import numpy as np
import pytest
import worker_scoring
from launching import environment, launch
from worker_scoring import RUNS, SCORES

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """What each rank has, by number of processes and name of the run."""

    def run(processes):
        out = tmp_path_factory.mktemp(f"{processes}_processes")
        words = [*launch(processes), worker_scoring.__file__, str(out)]
        subprocess.run(words, env=environment(), check=True, capture_output=True, timeout=300)
        left = {("group", rank): (out / f"group-{rank}").read_text() for rank in range(processes)}
        return left | {(name, rank): np.load(out / f"{name}-{rank}.npz") for name in RUNS for rank in range(processes)}

    return {processes: run(processes) for processes in (1, 2, 3)}


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("name", RUNS)
def test_processes_find_together_what_one_finds(scored, processes, name):
    alone = scored[1][name, 0]
    shares = [scored[processes][name, rank]["share"] for rank in range(processes)]
    assert sum(shares) == 7000 and max(shares) <= 7000 / processes + 1
    for rank in range(processes):
        together = scored[processes][name, rank]
        np.testing.assert_array_equal(together["cluster"], alone["cluster"])
        # Where ranks count, two rows that differ by rounding may change places: here two at the edge of a half.
        far, hard = {"chosen": (1e-5, 5e-3), "margin": (1e-2, 5e-3)}.get(name, (1e-5, 1e-4))
        np.testing.assert_allclose(together["distance"], alone["distance"], atol=far)
        np.testing.assert_allclose(together["difficulty"], alone["difficulty"], atol=hard)


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("name", RUNS)
def test_each_process_has_the_same_scores_to_the_last_bit(scored, processes, name):
    for rank in range(1, processes):
        for column in SCORES:
            np.testing.assert_array_equal(scored[processes][name, rank][column], scored[processes][name, 0][column])


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_leave_their_group_before_the_interpreter_ends(scored, processes):
    assert [scored[processes]["group", rank] for rank in range(processes)] == ["False"] * processes
