"""Difficulties of extreme size, spread and ties, against exact sums over all rows."""

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset, Features, Value
from mpmath import mp, mpf

from hf_curriculum.data import read_difficulty
from hf_curriculum.training.bins import ordered, rank_rows
from hf_curriculum.training.config import CurriculumConfig
from hf_curriculum.training.sampler import CurriculumSampler
from hf_curriculum.training.schedule import curriculum_weights, effective_fraction, solve_temperature

pytestmark = pytest.mark.costly

RNG = np.random.default_rng(0)
U = RNG.random(1500)
DIFFICULTIES = {
    "across e^600": np.exp(RNG.uniform(-300, 300, 1500)),
    "across e^600, even": np.exp(np.linspace(-300, 300, 1500)),
    "across e^60": np.exp(RNG.uniform(-30, 30, 1500)),
    "a third tied at 0": np.r_[np.zeros(500), U[500:]],
    "a third tied in the middle": np.r_[np.full(500, 0.5), U[500:]],
    "a third tied at the end": np.r_[np.full(500, 1.0), U[500:]],
    "two ties": np.r_[np.zeros(500), np.full(400, 0.4), U[900:]],
    "1e200": 1e200 * U,
    "1e300": 1e300 * U,
    "1e-200": 1e-200 * U,
    "one outlier": np.r_[U[1:], 1e30],
    "one outlier of 1e300": np.r_[U[1:], 1e300],
    "near 2^53": 2.0**53 - np.arange(1500),
    "one row lower": np.r_[0.0, np.ones(1499)],
    "one row higher": np.r_[np.zeros(1499), 1.0],
    "negative": -5 * U,
}


def exact_fraction(scores, temperature):
    """The definition, in 50 digits."""
    mp.dps = 50
    lowest, n = mpf(float(scores.min())), len(scores)
    weights = [mp.exp(-(mpf(float(score)) - lowest) / mpf(temperature)) for score in scores]
    total = mp.fsum(weights)
    return float(mp.fsum(1 - (1 - weight / total) ** n for weight in weights) / n)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", DIFFICULTIES)
def test_a_solved_temperature_has_the_fraction_asked_for(name):
    scores = DIFFICULTIES[name]
    alone = np.mean(scores == scores.min())
    for fraction in (0.05, 0.31, 0.5):
        if fraction < alone:  # the easiest rows alone give more
            continue
        temperature = solve_temperature(scores, fraction)
        assert effective_fraction(scores, temperature) == pytest.approx(exact_fraction(scores, temperature), abs=1e-9)
        if np.isfinite(temperature) and name not in ("one row higher", "one row lower"):
            assert exact_fraction(scores, temperature) == pytest.approx(fraction, abs=1e-6)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("order", ["easy_first", "hard_first"])
@pytest.mark.parametrize("name", DIFFICULTIES)
def test_the_logged_fraction_is_that_of_the_temperature_and_rows_are_drawn(name, order):
    scores = DIFFICULTIES[name]
    config = CurriculumConfig(warmup_steps=100, initial_fraction=0.02, order=order)
    sampler = CurriculumSampler(scores, config, total_batch_size=64)
    signed = scores if order == "easy_first" else -scores
    for step in (0, 30, 60):
        temperature = sampler.temperature(step)
        assert sampler.effective_fraction(step) == pytest.approx(effective_fraction(signed, temperature), abs=2e-6)
        weights = curriculum_weights(scores, step, config)
        assert np.isfinite(weights).all() and weights.sum() == pytest.approx(1)
        assert weights[sampler.indices(step)].min() > 0


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("values", [[0.0, 0.0, 0.0], [0.0, 1e-200, 1.0], [1e300, 0, 5e-324], [-0.0, 0.0, 1.0]])
def test_one_to_three_rows_have_a_curriculum(n, values):
    sampler = CurriculumSampler(values[:n], CurriculumConfig(warmup_steps=10), total_batch_size=4)
    for step in (0, 9, 10, 20):
        assert set(sampler.indices(step).tolist()) <= set(range(n))
        assert 0 < sampler.effective_fraction(step) <= 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_negative_zero_is_zero(dtype):
    scores = np.array([1, -0.0, 0.0, -0.0, 2], dtype)
    for order, expected in (("easy_first", [1, 2, 3, 0, 4]), ("hard_first", [4, 0, 1, 2, 3])):
        assert rank_rows(ordered(scores, order))[1].tolist() == expected


@pytest.mark.parametrize(
    "scores, message",
    [
        ([1e308, -1e308], r"from -1e\+308 in row 1 to 1e\+308 in row 0, farther than float64"),
        ([0.0, 5e-324, 1e-310], "varies by 1e-310 only.*Scale it up"),
        ([0.0, 1e308, 1.7e308], r"varies by 1\.7e\+308, for which .*Scale it down"),
    ],
)
def test_difficulties_that_leave_the_range_of_floats_are_refused(scores, message):
    for call in (
        lambda: CurriculumSampler(scores, CurriculumConfig(warmup_steps=9), total_batch_size=2),
        lambda: curriculum_weights(np.asarray(scores), 0, CurriculumConfig(warmup_steps=9)),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("gap", [5e-324, 1e-320, 1e-309])
def test_difficulties_that_no_temperature_tells_apart_tie(gap):
    scores = np.r_[np.arange(50) * gap, np.ones(50)]
    temperature = solve_temperature(scores, 0.3)
    assert exact_fraction(scores, temperature) == pytest.approx(effective_fraction(scores, temperature), abs=1e-9)
    tied = np.r_[np.zeros(50), np.ones(50)]
    assert effective_fraction(scores, temperature) == pytest.approx(
        effective_fraction(tied, solve_temperature(tied, 0.3)), abs=1e-3
    )
    sampler = CurriculumSampler(scores, CurriculumConfig(warmup_steps=9), total_batch_size=64)
    assert sampler.indices(0).max() < 50
    assert sampler.effective_fraction(0) == pytest.approx(effective_fraction(scores, temperature), abs=1e-6)


def test_the_largest_unsigned_integer_is_named_by_row():
    column = Dataset(pa.table({"d": pa.array([1, None, 2**64 - 1], pa.uint64())}))
    with pytest.raises(ValueError, match=r"'d' is 18446744073709551615 in row 2, more than float64"):
        read_difficulty(column, "d")


@pytest.mark.parametrize("kind", ["bool", "string", "decimal128(5, 2)", "timestamp[s]", "duration[s]"])
def test_a_column_that_is_no_number_is_refused_by_its_type(kind):
    values = {"bool": [True], "string": ["1"], "decimal128(5, 2)": [Decimal("1.5")]}.get(kind, [1])
    column = Dataset.from_dict({"d": values}, features=Features({"d": Value(kind)}))
    with pytest.raises(ValueError, match=r"Column 'd' holds .*, not numbers; numeric columns: \[\]"):
        read_difficulty(column, "d")


def test_integers_beyond_the_exact_ones_of_float64_are_refused_by_row():
    for kind in ("int64", "uint64"):
        column = Dataset.from_dict({"d": [1, 2**53 + 1, None]}, features=Features({"d": Value(kind)}))
        with pytest.raises(ValueError, match=r"'d' is 9007199254740993 in row 1, more than float64 holds exactly"):
            read_difficulty(column, "d")
    exact = Dataset.from_dict({"d": [1, 2**53]})
    assert read_difficulty(exact, "d").tolist() == [1, 2**53]


def test_half_precision_columns_are_read_as_they_are():
    column = Dataset.from_dict({"d": np.array([0.5, 2, 6e-8], np.float16)})
    assert read_difficulty(column, "d").tolist() == np.array([0.5, 2, 6e-8], np.float16).tolist()
