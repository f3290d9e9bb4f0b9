import numpy as np
import pytest
from scipy import stats

from hf_curriculum.training.draws import Draws

ALPHA = 1e-4  # all seeds are fixed: a test that passes once passes always
DIFFICULTY = np.array([0.3, 0.0, 2.0, 0.3, 0.9, 0.05, 1.4, 0.7])
DRAWN = 40_000


def drawn(draws, inverse_temperature, seed=0):
    return draws.draw(np.random.default_rng(seed), np.asarray(inverse_temperature, np.float64))


@pytest.mark.parametrize("order, sign", [("easy_first", -1), ("hard_first", 1)])
def test_draws_of_many_temperatures_at_once_follow_the_softmax_of_each(order, sign):
    temperatures = np.array([0.4, 1.0, 7.0, np.inf])
    rows = drawn(Draws(DIFFICULTY, order), np.repeat(1 / temperatures, DRAWN)).reshape(temperatures.size, DRAWN)
    for temperature, own in zip(temperatures, rows, strict=True):
        weights = np.exp(sign * DIFFICULTY / temperature)
        expected = weights / weights.sum() * DRAWN
        assert stats.chisquare(np.bincount(own, minlength=DIFFICULTY.size), expected).pvalue > ALPHA


def test_the_order_of_the_temperatures_is_that_of_the_draws():
    cold, warm = 1e4, 0.0
    rows = drawn(Draws(DIFFICULTY, "easy_first"), np.tile([cold, warm], 500)).reshape(-1, 2)
    assert set(rows[:, 0]) == {1} and set(rows[:, 1]) == set(range(DIFFICULTY.size))


def test_rows_without_a_difficulty_are_never_drawn_but_count():
    masked = np.ma.masked_array([np.nan, 0.5, 0.1, 0.2], [True, False, True, False])
    draws = Draws(masked, "easy_first")
    rows = drawn(draws, np.zeros(DRAWN))
    assert draws.rows == 4 and rows.dtype == np.int64
    assert stats.chisquare(np.bincount(rows, minlength=4)[[1, 3]]).pvalue > ALPHA and set(rows) == {1, 3}
    uniform = (1 - (1 - 1 / 2) ** 4) * 2 / 4  # four draws from two of four rows
    np.testing.assert_allclose(draws.solver.fraction(np.inf), uniform)


def test_the_same_chance_gives_the_same_rows():
    draws = Draws(np.random.default_rng(0).random(10_000), "easy_first")
    inverse_temperature = np.linspace(0, 50, 300)
    np.testing.assert_array_equal(drawn(draws, inverse_temperature), drawn(draws, inverse_temperature))
    assert (drawn(draws, inverse_temperature) != drawn(draws, inverse_temperature, seed=1)).any()


def test_no_draw_is_no_row():
    assert drawn(Draws(DIFFICULTY, "easy_first"), []).shape == (0,)


@pytest.mark.parametrize(
    "difficulty, message",
    [
        ([], "difficulty is empty"),
        ([[1.0]], r"shape \(N,\), got shape \(1, 1\)"),
        ([0.0, np.nan], "difficulty of row 1 is nan"),
        (np.ma.masked_array([1.0, 2.0], True), "masked in all 2 rows"),
    ],
)
def test_difficulties_that_rank_no_rows_are_refused(difficulty, message):
    with pytest.raises(ValueError, match=message):
        Draws(difficulty, "easy_first")
