import functools
import json
import math
import re
from dataclasses import FrozenInstanceError, replace
from fractions import Fraction

import numpy as np
import pytest

from hf_curriculum.training.config import ORDERS, SCHEDULES, UNIFORM_FRACTION, CurriculumConfig

NAN = float("nan")


@pytest.mark.parametrize("value", [0, -0.1, -1, 0.64, 1, NAN])
def test_initial_fraction_outside_its_range_names_the_range_and_the_paper_s_value(value):
    with pytest.raises(ValueError, match=r"initial_fraction must be in \(0, 0\.632\], got .*use 0\.3") as error:
        CurriculumConfig(initial_fraction=value)
    assert f"got {value}" in str(error.value)


@pytest.mark.parametrize("value", [0, 0.29, -1, 0.64, 1, NAN])
def test_final_fraction_below_the_initial_or_above_uniform_names_both_limits(value):
    message = r"final_fraction must be in \[initial_fraction = 0\.3, 0\.632\], got "
    with pytest.raises(ValueError, match=message) as error:
        CurriculumConfig(initial_fraction=0.3, final_fraction=value)
    assert f"got {value}" in str(error.value)


@pytest.mark.parametrize("value", [0, -1, 0.0, -0.1, True, False, NAN, None])
def test_warmup_that_is_no_positive_number_says_what_both_types_mean(value):
    message = r"warmup_steps must be positive, got .*optimiser steps \(int\) or a share of the training \(float in"
    with pytest.raises(ValueError, match=message) as error:
        CurriculumConfig(warmup_steps=value)
    assert f"got {value!r}" in str(error.value)


@pytest.mark.parametrize("value", [1.5, 500.0])
def test_float_warmup_above_one_asks_for_an_int(value):
    with pytest.raises(ValueError, match=rf"warmup_steps={value} .*For {value:g} optimiser steps pass an int"):
        CurriculumConfig(warmup_steps=value)


@pytest.mark.parametrize("name, choices", [("schedule", SCHEDULES), ("order", ORDERS)])
@pytest.mark.parametrize("value", ["polynomial", "", "COSINE", None, 1])
def test_unknown_choice_lists_all_choices(name, choices, value):
    with pytest.raises(ValueError, match=f"{name} must be one of") as error:
        CurriculumConfig(**{name: value})
    assert all(repr(choice) in str(error.value) for choice in [*choices, value])


@pytest.mark.parametrize(
    "values",
    [
        {"initial_fraction": 1e-9},
        {"initial_fraction": UNIFORM_FRACTION},
        {"initial_fraction": 0.4, "final_fraction": 0.4},
        {"warmup_steps": 1},
        {"warmup_steps": 1.0},
        {"warmup_steps": 1e-6},
        *({"schedule": schedule} for schedule in ("cosine", "linear", "root", "step")),
        *({"order": order} for order in ("easy_first", "hard_first")),
        {"difficulty_column": "perplexity"},
        {"seed": 0},
    ],
)
def test_values_at_the_limits_are_taken_as_they_are(values):
    config = CurriculumConfig(**values)
    assert {name: getattr(config, name) for name in values} == values


def test_defaults_are_the_paper_s_curriculum_over_half_of_the_training():
    assert CurriculumConfig().to_dict() == {
        "initial_fraction": 0.3,
        "final_fraction": pytest.approx(0.6321205588285577, abs=1e-15),
        "warmup_steps": 0.5,
        "schedule": "cosine",
        "order": "easy_first",
        "difficulty_column": "difficulty",
        "seed": None,
    }


@pytest.mark.parametrize("name", list(CurriculumConfig().to_dict()))
def test_fields_cannot_be_changed(name):
    config = CurriculumConfig()
    before = getattr(config, name)
    with pytest.raises(FrozenInstanceError):
        setattr(config, name, before)


CONFIGS = [
    CurriculumConfig(),
    CurriculumConfig(initial_fraction=0.1, final_fraction=0.5, warmup_steps=1, schedule="root", seed=7),
    CurriculumConfig(warmup_steps=1.0, schedule="step", order="hard_first", difficulty_column="längd"),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_json_and_dict_bring_back_the_same_config(config):
    for copy in (CurriculumConfig.from_json(config.to_json()), CurriculumConfig.from_dict(config.to_dict())):
        assert copy == config
        assert type(copy.warmup_steps) is type(config.warmup_steps)  # 1 is one step, 1.0 the whole training


@pytest.mark.parametrize("config", CONFIGS)
def test_json_is_the_fields_by_name(config):
    assert json.loads(config.to_json()) == {name: getattr(config, name) for name in config.__dataclass_fields__}


def test_missing_fields_keep_their_defaults():
    assert CurriculumConfig.from_dict({"seed": 3}) == CurriculumConfig(seed=3)
    assert CurriculumConfig.from_json("{}") == CurriculumConfig()


def test_unknown_names_are_named_beside_the_known_ones():
    with pytest.raises(ValueError, match=r"\['shape', 'warmup'\]; known are .*'warmup_steps', 'schedule'"):
        CurriculumConfig.from_dict({"warmup": 10, "shape": "cosine", "seed": 1})


def test_values_from_json_are_checked_too():
    with pytest.raises(ValueError, match="initial_fraction must be in"):
        CurriculumConfig.from_json('{"initial_fraction": 0.9}')


@pytest.mark.parametrize(
    "warmup_steps, total_steps, expected",
    [
        (30, None, 30),
        (30, 1000, 30),
        (30, 10, 30),  # a warm-up may outlast the training
        (0.5, 1000, 500),
        (1.0, 77, 77),
        (0.1, 104, 10),
        (0.1, 106, 11),
        (0.3, 9, 3),  # 2.7
        (0.001, 100, 1),  # 0.1 steps, but never none
        (0.5, 1, 1),
    ],
)
def test_warmup_in_steps(warmup_steps, total_steps, expected):
    resolved = CurriculumConfig(warmup_steps=warmup_steps).resolve_warmup(total_steps)
    assert resolved == expected
    assert isinstance(resolved, int)


def test_share_without_total_steps_says_what_to_pass():
    with pytest.raises(ValueError, match=r"warmup_steps=0\.25 is a share .*pass total_steps, or give .* as an int"):
        CurriculumConfig(warmup_steps=0.25).resolve_warmup(None)


def with_numpy(name, value):
    return [pytest.param(name, kind(value), id=f"{name}-{kind.__name__}") for kind in KINDS[type(value)]]


KINDS = {int: [np.int8, np.int64, np.uint16], float: [np.float16, np.float32, np.float64]}
NUMBERS = [
    *with_numpy("seed", 7),
    *with_numpy("warmup_steps", 30),
    *with_numpy("warmup_steps", 0.25),
    *with_numpy("warmup_steps", 1.0),
    *with_numpy("initial_fraction", 0.125),
    *with_numpy("final_fraction", 0.5),
    pytest.param("warmup_steps", Fraction(1, 4), id="fraction"),
]


@pytest.mark.parametrize("name, value", NUMBERS)
def test_numbers_of_numpy_are_those_of_python_and_come_back_from_json(name, value):
    config = CurriculumConfig(**{name: value})
    assert type(getattr(config, name)) is (int if isinstance(value, np.integer) else float)
    assert getattr(config, name) == value
    assert CurriculumConfig.from_json(config.to_json()) == config == CurriculumConfig.from_dict(config.to_dict())


@pytest.mark.parametrize(
    "schedule",
    [math.sqrt, lambda progress: progress, functools.partial(pow, exp=2)],
    ids=["builtin", "lambda", "partial"],
)
def test_a_config_that_json_cannot_hold_says_so_when_it_is_written(schedule):
    config = CurriculumConfig(schedule=schedule, seed=3)
    with pytest.raises(ValueError, match=r"schedule is the function .*, which JSON cannot hold\. Keep it in code"):
        config.to_json()
    assert CurriculumConfig.from_dict(config.to_dict()) == config
    assert CurriculumConfig.from_json(replace(config, schedule="linear").to_json()).seed == 3  # what the error advises


@pytest.mark.parametrize(
    "values",
    [
        {"seed": 1.5},
        {"seed": "7"},
        {"seed": True},
        {"initial_fraction": "0.3"},
        {"final_fraction": None},
        {"difficulty_column": 3},
        {"difficulty_column": ["difficulty"]},
        {"warmup_steps": np.True_},
        {"warmup_steps": "10"},
        {"warmup_steps": np.float32(500)},
    ],
)
def test_a_value_of_another_type_is_named(values):
    ((name, value),) = values.items()
    with pytest.raises(ValueError, match=f"{name}.*{re.escape(str(value))}"):
        CurriculumConfig(**values)


@pytest.mark.parametrize("value", [1, np.int64(1)])
def test_one_as_an_int_is_said_to_be_a_single_step(value, caplog):
    CurriculumConfig(warmup_steps=value)
    assert "a warm-up of one optimiser step" in caplog.text and "pass the float 1.0" in caplog.text


@pytest.mark.parametrize("value", [1.0, np.float32(1), 2, 0.5])
def test_no_other_warm_up_is_ambiguous(value, caplog):
    CurriculumConfig(warmup_steps=value)
    assert not caplog.text
