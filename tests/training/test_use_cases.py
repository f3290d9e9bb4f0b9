"""Each use case of the list trains by the curriculum, and goes on from a checkpoint as if it had not stopped."""

import math
from importlib.util import find_spec

import pytest
import torch
from use_case_data import scored
from use_case_training import CUT, STEPS, planned
from use_cases import README, TABLE, USE_CASES, UseCase, table

pytestmark = pytest.mark.costly


def parameter(case: UseCase):
    missing = case.requires is not None and find_spec(case.requires) is None
    marks = pytest.mark.skipif(missing, reason=f"{case.name} needs {case.requires}, which is not installed")
    return pytest.param(case, id=f"{case.task}-{case.name}".replace(" ", "_"), marks=marks)


@pytest.mark.slow
@pytest.mark.parametrize("case", [parameter(case) for case in USE_CASES])
def test_a_use_case_trains_by_the_curriculum_and_resumes(tmp_path, case):
    whole = case.train(tmp_path / "whole")
    assert whole.rows == [planned(scored(case.data)).indices(step).tolist() for step in range(STEPS)]
    assert all(map(math.isfinite, whole.losses))
    assert any(not torch.equal(weights, whole.before[name]) for name, weights in whole.after.items())

    resumed = case.train(tmp_path / "resumed", tmp_path / "whole" / f"checkpoint-{CUT}")
    assert resumed.rows == whole.rows[CUT:]
    assert resumed.losses == whole.losses[CUT:]
    torch.testing.assert_close(resumed.after, whole.after, rtol=0, atol=0)


def test_the_table_of_the_readme_is_that_of_the_list():
    assert TABLE.search(README.read_text()).group() == table(), "write it anew: python tests/helpers/use_cases.py"
