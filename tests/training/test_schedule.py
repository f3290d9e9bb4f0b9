import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_curriculum.training.config import CurriculumConfig
from hf_curriculum.training.schedule import (
    curriculum_weights,
    effective_fraction,
    planned_curve,
    planned_fraction,
    row_weights,
    solve_temperature,
)

UNIFORM = 1 - 1 / math.e
TOLERANCE = 1e-6

# --- references: the sums of the paper, written out ---------------------------------------------------------------


def softmax(difficulty, temperature):
    difficulty = np.asarray(difficulty, np.float64)
    with np.errstate(over="ignore"):
        weights = np.exp(-(difficulty - difficulty.min()) / temperature)
    return weights / weights.sum()


def fraction_of(p):
    """Expected share of distinct rows among ``len(p)`` draws."""
    return float(np.mean(1 - (1 - p) ** p.size))


def brute_fraction(difficulty, temperature):
    return fraction_of(softmax(difficulty, temperature))


def limits(difficulty):
    """Fractions when only the rows that tie for the minimum are drawn, and when all are drawn alike."""
    n, ties = len(difficulty), int(np.sum(difficulty == np.min(difficulty)))
    return ties / n * (1 - (1 - 1 / ties) ** n), 1 - (1 - 1 / n) ** n


# --- difficulties -------------------------------------------------------------------------------------------------

FAMILIES = {
    "spread": lambda rng, n: rng.random(n),
    "equal": lambda rng, n: np.full(n, 0.7),
    "two_valued": lambda rng, n: np.where(rng.random(n) < 0.01, 0.0, 1.0),
    "few_levels": lambda rng, n: rng.integers(0, 5, n) / 4,
    "min_ties": lambda rng, n: np.maximum(rng.random(n), 0.4),
    "one_easy_row": lambda rng, n: np.where(np.arange(n) == n // 2, 0.0, 1 + rng.random(n)),
    "one_hard_row": lambda rng, n: np.where(np.arange(n) == n // 2, 1e6, rng.random(n)),
    "pareto": lambda rng, n: rng.pareto(0.7, n),
    "lognormal": lambda rng, n: rng.lognormal(0, 5, n),
    "reversed_lognormal": lambda rng, n: -rng.lognormal(0, 3, n),
    "normal_offset": lambda rng, n: rng.normal(-1000, 3, n),
    "clusters": lambda rng, n: rng.choice([0, 10, 1000], n) + rng.random(n),
}
FAMILY = pytest.mark.parametrize("family", FAMILIES)


def make(family, n, seed=0):
    return FAMILIES[family](np.random.default_rng(seed), n)


drawn_families = st.builds(make, st.sampled_from(list(FAMILIES)), st.integers(1, 3000), st.integers(0, 2**32))
free_floats = st.floats(-1e6, 1e6, allow_subnormal=False, width=32)
free_lists = st.lists(free_floats | st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=30).map(np.array)
difficulties = drawn_families | free_lists


def assert_solved(difficulty, fraction):
    """The answer is within 1e-6 where the target can be reached, else the documented one."""
    temperature = solve_temperature(difficulty, fraction)
    assert temperature > 0  # a temperature, so it can be used as one
    lowest, highest = limits(difficulty)
    if fraction >= highest:
        assert temperature == math.inf
    elif fraction < lowest:
        only_ties = softmax(difficulty, temperature)[difficulty == difficulty.min()]
        assert only_ties.sum() == pytest.approx(1, abs=1e-9)
    else:
        assert brute_fraction(difficulty, temperature) == pytest.approx(fraction, abs=TOLERANCE, rel=0)


# --- effective_fraction -------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None, derandomize=True)
@given(difficulty=difficulties, relative=st.floats(-6, 6))
def test_effective_fraction_is_the_sum_over_rows(difficulty, relative):
    temperature = 10.0**relative * max(np.ptp(difficulty), 1e-3)
    expected = brute_fraction(difficulty, temperature)
    assert effective_fraction(difficulty, temperature) == pytest.approx(expected, abs=1e-9, rel=0)


@FAMILY
@pytest.mark.parametrize("n", [100_000, pytest.param(1_000_000, marks=pytest.mark.costly)])
def test_effective_fraction_is_the_sum_over_many_rows(family, n):
    difficulty = make(family, n)
    for temperature in (0.01, 0.3, 10):
        expected = brute_fraction(difficulty, temperature)
        assert effective_fraction(difficulty, temperature) == pytest.approx(expected, abs=1e-9, rel=0)


@pytest.mark.parametrize("n", [1, 2, 10, 1000, 100_000])
def test_infinite_temperature_is_uniform_sampling(n):
    assert effective_fraction(np.arange(n), math.inf) == pytest.approx(1 - (1 - 1 / n) ** n, abs=1e-11)


@pytest.mark.parametrize("ties, n", [(1, 1), (1, 5), (3, 5), (40, 1000)])
def test_a_tiny_temperature_draws_only_the_easiest_rows(ties, n):
    difficulty = np.r_[np.zeros(ties), np.ones(n - ties)]
    assert effective_fraction(difficulty, 1e-4) == pytest.approx(limits(difficulty)[0], abs=1e-12)


def test_effective_fraction_takes_lists_and_integers():
    assert effective_fraction([3, 1, 2], 0.5) == pytest.approx(brute_fraction([3.0, 1.0, 2.0], 0.5))


# --- solve_temperature --------------------------------------------------------------------------------------------


@pytest.mark.costly
@settings(max_examples=200, deadline=None, derandomize=True)
@given(difficulty=difficulties, share=st.floats(0, 1))
def test_solved_temperature_gives_the_fraction_or_the_documented_limit(difficulty, share):
    lowest = 1 / difficulty.size
    assert_solved(difficulty, lowest + share * (max(lowest, UNIFORM) - lowest))


@FAMILY
@pytest.mark.parametrize("n", [100_000, pytest.param(1_000_000, marks=pytest.mark.costly)])
def test_solved_temperature_gives_the_fraction_for_many_rows(family, n):
    difficulty = make(family, n)
    for fraction in (1 / n, 1e-3, 0.1, 0.15, 0.3, 0.6, UNIFORM):
        assert_solved(difficulty, fraction)


@pytest.mark.parametrize("n", [2, 100, 10_000, 100_000, pytest.param(1_000_000, marks=pytest.mark.costly)])
@pytest.mark.parametrize("easy", [1, 2, 0.01, 0.5])
def test_solved_temperature_gives_the_fraction_where_rows_have_two_values(n, easy):
    difficulty = np.ones(n)
    difficulty[: easy if isinstance(easy, int) else max(1, int(easy * n))] = 0
    for fraction in np.linspace(*limits(difficulty), 12)[1:-1]:
        assert_solved(difficulty, fraction)


@FAMILY
def test_fractions_that_uniform_sampling_does_not_exceed_give_infinity(family):
    for n in (1, 2, 10, 3000):
        difficulty = make(family, n)
        for fraction in (1.0, min(1.0, limits(difficulty)[1] + 1e-12)):
            assert solve_temperature(difficulty, fraction) == math.inf


@pytest.mark.parametrize("difficulty", [[4.0], [-1.0, -1.0], [0.3] * 1000])
@pytest.mark.parametrize("fraction", [1e-6, 0.3, UNIFORM])
def test_equal_difficulties_give_a_temperature_that_can_be_used(difficulty, fraction):
    temperature = solve_temperature(difficulty, fraction)
    assert effective_fraction(difficulty, temperature) == pytest.approx(limits(difficulty)[1], abs=1e-12)


@pytest.mark.parametrize("ties, n", [(1, 2), (1, 1000), (500, 1000), (99_999, 100_000)])
def test_fractions_below_that_of_the_ties_draw_only_the_ties(ties, n):
    difficulty = np.r_[np.full(n - ties, 0.001), np.zeros(ties)]
    lowest = limits(difficulty)[0]
    for fraction in (1e-9, lowest / 2, lowest * 0.999):
        p = softmax(difficulty, solve_temperature(difficulty, fraction))
        assert p[:-ties].sum() < 1e-9


@pytest.mark.costly
@settings(max_examples=60, deadline=None, derandomize=True)
@given(difficulty=difficulties, fractions=st.lists(st.floats(1e-6, 1), min_size=2, max_size=8))
def test_temperature_rises_with_the_fraction(difficulty, fractions):
    temperatures = [solve_temperature(difficulty, fraction) for fraction in sorted(fractions)]
    assert temperatures == sorted(temperatures)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(scale=st.floats(1e-6, 1e6), offset=st.floats(-10, 10), seed=st.integers(0, 2**32))
def test_temperature_is_in_the_unit_of_difficulty(scale, offset, seed):
    difficulty = np.random.default_rng(seed).random(500)
    expected = scale * solve_temperature(difficulty, 0.3)
    assert solve_temperature(scale * (difficulty + offset), 0.3) == pytest.approx(expected, rel=1e-5)


def test_row_order_does_not_matter():
    difficulty = make("lognormal", 1000)
    assert solve_temperature(difficulty[::-1], 0.3) == solve_temperature(difficulty, 0.3)


# --- planned_fraction ---------------------------------------------------------------------------------------------

PLANNED = [  # from 0.2 to 0.6 over 100 steps
    *[("cosine", step, f) for step, f in [(0, 0.2), (25, 0.2585786438), (50, 0.4), (75, 0.5414213562), (100, 0.6)]],
    *[("linear", step, f) for step, f in [(0, 0.2), (1, 0.204), (25, 0.3), (50, 0.4), (99, 0.596), (100, 0.6)]],
    *[("root", step, f) for step, f in [(0, 0.2), (25, 0.3464101615), (50, 0.4472135955), (100, 0.6)]],
    *[("step", step, f) for step, f in [(0, 0.2), (1, 0.2), (50, 0.2), (99, 0.2), (100, 0.6)]],
    *[(schedule, 10_000, 0.6) for schedule in ("cosine", "linear", "root", "step")],
]
SCHEDULE = pytest.mark.parametrize("schedule", ["cosine", "linear", "root", "step"])


@pytest.mark.parametrize("schedule, step, expected", PLANNED)
def test_planned_fraction(schedule, step, expected):
    config = CurriculumConfig(initial_fraction=0.2, final_fraction=0.6, schedule=schedule)
    assert planned_fraction(step, config, 100) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    "schedule, formula",
    [
        ("cosine", lambda first, last, t: first + (last - first) * (1 - math.cos(math.pi * t)) / 2),
        ("linear", lambda first, last, t: first + (last - first) * t),
        ("root", lambda first, last, t: math.sqrt(first**2 + (last**2 - first**2) * t)),
        ("step", lambda first, last, t: first if t < 1 else last),
    ],
)
@pytest.mark.parametrize("first, last", [(0.3, UNIFORM), (0.01, 0.5), (0.4, 0.4)])
@pytest.mark.parametrize("warmup_steps", [1, 7, 1000])
def test_planned_fraction_follows_the_formula(schedule, formula, first, last, warmup_steps):
    config = CurriculumConfig(initial_fraction=first, final_fraction=last, schedule=schedule)
    steps = np.arange(warmup_steps + 3)
    expected = [formula(first, last, min(step / warmup_steps, 1)) for step in steps]
    np.testing.assert_allclose(planned_fraction(steps, config, warmup_steps), expected, rtol=0, atol=1e-12)


@SCHEDULE
@pytest.mark.parametrize("warmup_steps", [1, 3, 999])
def test_planned_fraction_rises_from_initial_to_final(schedule, warmup_steps):
    config = CurriculumConfig(initial_fraction=0.1, final_fraction=0.55, schedule=schedule)
    planned = planned_fraction(np.arange(warmup_steps + 10), config, warmup_steps)
    assert planned[0] == pytest.approx(0.1, abs=1e-12)
    np.testing.assert_allclose(planned[warmup_steps:], 0.55, rtol=0, atol=1e-12)
    assert np.all(np.diff(planned) >= 0)


def test_planned_fraction_keeps_the_shape_of_steps():
    assert planned_fraction(np.zeros((2, 3)), CurriculumConfig(), 10).shape == (2, 3)


# --- curriculum_weights -------------------------------------------------------------------------------------------


@pytest.mark.costly
@SCHEDULE
@pytest.mark.parametrize("family", ["spread", "few_levels", "pareto", "lognormal", "normal_offset"])
def test_weights_are_the_softmax_at_the_planned_fraction(family, schedule):
    difficulty = make(family, 500)
    config = CurriculumConfig(initial_fraction=0.35, warmup_steps=40, schedule=schedule)
    for step in (0, 1, 13, 20, 39):
        fraction = float(planned_fraction(step, config, 40))
        p = curriculum_weights(difficulty, step, config)
        expected = softmax(difficulty, solve_temperature(difficulty, fraction))
        np.testing.assert_allclose(p, expected, rtol=1e-9, atol=1e-15)
        assert fraction_of(p) == pytest.approx(fraction, abs=TOLERANCE, rel=0)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    difficulty=difficulties,
    step=st.integers(0, 60),
    order=st.sampled_from(["easy_first", "hard_first"]),
    initial=st.floats(0.001, 0.6),
)
def test_weights_are_probabilities_that_favour_the_right_end(difficulty, step, order, initial):
    config = CurriculumConfig(initial_fraction=initial, warmup_steps=50, order=order)
    p = curriculum_weights(difficulty, step, config)
    assert p.shape == difficulty.shape and p.dtype == np.float64
    assert p.sum() == pytest.approx(1, abs=1e-12)
    assert np.all(p >= 0)
    rank = np.argsort(difficulty if order == "easy_first" else -difficulty)
    assert np.all(np.diff(p[rank]) <= 1e-15)


@FAMILY
@pytest.mark.parametrize("warmup_steps, total_steps", [(1, None), (30, None), (0.3, 100)])
def test_weights_are_uniform_once_the_warmup_is_over(family, warmup_steps, total_steps):
    difficulty = make(family, 40)
    config = CurriculumConfig(warmup_steps=warmup_steps)
    end = 1 if warmup_steps == 1 else 30
    for step in (end, end + 1, 10 * end):
        np.testing.assert_allclose(curriculum_weights(difficulty, step, config, total_steps), 1 / 40, rtol=1e-14)


def test_weights_are_not_uniform_in_the_last_step_of_the_warmup():
    config = CurriculumConfig(warmup_steps=0.3, schedule="step")
    p = curriculum_weights(make("spread", 1000), 29, config, total_steps=100)
    assert fraction_of(p) == pytest.approx(0.3, abs=TOLERANCE)


@pytest.mark.parametrize("step", [0, 7, 19])
def test_hard_first_is_easy_first_on_one_minus_difficulty(step):
    difficulty = make("spread", 300)
    hard = curriculum_weights(difficulty, step, CurriculumConfig(warmup_steps=20, order="hard_first"))
    easy = curriculum_weights(1 - difficulty, step, CurriculumConfig(warmup_steps=20))
    np.testing.assert_allclose(hard, easy, rtol=1e-9)
    assert np.argmax(hard) == np.argmax(difficulty)


@pytest.mark.parametrize("order", ["easy_first", "hard_first"])
@pytest.mark.parametrize("difficulty", [[5.0], [0.0, 0.0, 0.0], [-2.5] * 100])
def test_equal_difficulties_have_equal_weights_at_every_step(difficulty, order):
    config = CurriculumConfig(warmup_steps=10, order=order)
    for step in (0, 5, 9, 10):
        np.testing.assert_allclose(curriculum_weights(difficulty, step, config), 1 / len(difficulty), rtol=1e-12)


# --- errors -------------------------------------------------------------------------------------------------------

CALLS = {
    "effective_fraction": lambda difficulty: effective_fraction(difficulty, 0.1),
    "solve_temperature": lambda difficulty: solve_temperature(difficulty, 0.3),
    "curriculum_weights": lambda difficulty: curriculum_weights(difficulty, 0, CurriculumConfig(warmup_steps=10)),
}
BAD_DIFFICULTIES = {
    "empty": ([], r"difficulty is empty.*dataset\.filter"),
    "nan": ([0.1, float("nan"), 0.3, float("nan")], r"row 1 is nan \(2 such rows\); it must be finite"),
    "inf": ([0.1, 0.2, math.inf], r"row 2 is inf \(1 such rows\); it must be finite"),
    "-inf": ([-math.inf, 0.2, 0.3], r"row 0 is -inf .*must be finite"),
    "2-D": ([[0.1, 0.2], [0.3, 0.4]], r"one number a row, shape \(N,\), got shape \(2, 2\)"),
    "scalar": (0.5, r"one number a row, shape \(N,\), got shape \(\)"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("bad", BAD_DIFFICULTIES)
def test_bad_difficulty_is_named(call, bad):
    difficulty, message = BAD_DIFFICULTIES[bad]
    with pytest.raises(ValueError, match=message):
        CALLS[call](difficulty)


@pytest.mark.parametrize("temperature", [0, 0.0, -1, -math.inf, math.nan])
def test_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(ValueError, match=rf"temperature must be > 0, got {temperature}\. .*pass math\.inf"):
        effective_fraction([0.1, 0.2], temperature)


@pytest.mark.parametrize("fraction", [0, -0.1, 1.01, math.inf, math.nan])
def test_fraction_outside_zero_to_one_is_refused(fraction):
    with pytest.raises(ValueError, match=rf"fraction must be in \(0, 1\], got {fraction}\. .*0\.632"):
        solve_temperature([0.1, 0.2], fraction)


def test_negative_step_is_refused():
    with pytest.raises(ValueError, match="step counts from 0, got -1"):
        curriculum_weights([0.1, 0.2], -1, CurriculumConfig(warmup_steps=10))


def test_share_of_the_training_needs_total_steps():
    with pytest.raises(ValueError, match=r"warmup_steps=0\.5 is a share .*pass total_steps"):
        curriculum_weights([0.1, 0.2], 0, CurriculumConfig())


# --- the whole training -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("warmup, total, steps", [(10, None, 10), (0.5, 30, 15), (1.0, 30, 30)])
def test_the_curve_of_a_training_is_the_schedule_and_then_that_of_uniform_sampling(warmup, total, steps):
    config = CurriculumConfig(initial_fraction=0.2, final_fraction=0.5, warmup_steps=warmup, schedule="linear")
    curve = planned_curve(np.arange(40), config, total)
    np.testing.assert_allclose(curve[:steps], 0.2 + 0.3 * np.arange(steps) / steps)
    np.testing.assert_array_equal(curve[steps:], 1 - 1 / np.e)
    assert planned_curve(steps - 1, config, total) == curve[steps - 1]


def test_the_curve_of_a_share_needs_the_length_of_the_training():
    with pytest.raises(ValueError, match="pass total_steps"):
        planned_curve(0, CurriculumConfig(warmup_steps=0.5))


@pytest.mark.parametrize("temperature", [1e-300, 1e-3, 0.7, 1e6, np.inf])
def test_the_weights_of_rows_are_their_softmax(temperature):
    difficulty = np.array([0.0, 0.1, 0.1, 2.0, 50.0])
    weights = row_weights(difficulty, temperature)
    np.testing.assert_allclose(weights, softmax(difficulty, temperature), rtol=1e-12)
    assert weights.sum() == pytest.approx(1)
