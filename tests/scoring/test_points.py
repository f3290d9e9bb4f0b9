"""Rows of a matrix in parts, against the whole matrix."""

import numpy as np
import pytest
import torch

from hf_curriculum.scoring.points import Points, Space

MATRIX = np.random.default_rng(0).normal(size=(10_000, 5)).astype(np.float32)
CUTS = [[], [1], [10, 11, 4000, 9999], list(range(7, 10_000, 7))]


def points(cuts=(), dtype=np.float32):
    return Points.of([block.astype(dtype) for block in np.split(MATRIX, cuts)])


@pytest.mark.parametrize("cuts", CUTS, ids=len)
def test_all_and_chunks_are_the_rows_in_their_order(cuts):
    assert len(points(cuts)) == 10_000 and points(cuts).dim == 5
    np.testing.assert_array_equal(points(cuts).all(), MATRIX)
    chunks = list(points(cuts).chunks())
    assert len(chunks) > 1
    np.testing.assert_array_equal(torch.cat(chunks), MATRIX)


@pytest.mark.parametrize("cuts", CUTS, ids=len)
def test_a_selection_of_a_selection_has_the_rows_that_are_meant(cuts):
    rows = np.flatnonzero(np.random.default_rng(1).random(10_000) < 0.3)
    first = points(cuts).select(rows)
    np.testing.assert_array_equal(first.all(), MATRIX[rows])
    np.testing.assert_array_equal(first.select(slice(5, 900, 2)).all(), MATRIX[rows[5:900:2]])
    np.testing.assert_array_equal(torch.cat(list(first.chunks())), MATRIX[rows])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8])
def test_any_type_becomes_float32(dtype):
    rows = points([3], dtype).all()
    assert rows.dtype == torch.float32
    np.testing.assert_array_equal(rows, MATRIX.astype(dtype).astype(np.float32))


def test_blocks_that_cannot_be_written_are_left_as_they_are():
    frozen = MATRIX.copy()
    frozen.flags.writeable = False
    space = Space(torch.ones(5), torch.full((5,), 2.0), unit=True)
    changed = Points.of([frozen]).inside(space)
    for rows in (changed.all(), *changed.chunks()):
        rows += 1  # a caller may overwrite what it gets
    np.testing.assert_array_equal(frozen, MATRIX)


@pytest.mark.parametrize("unit", [True, False])
def test_a_space_shifts_scales_and_normalises(unit):
    mean, scale = np.arange(5, dtype=np.float32), np.arange(1, 6, dtype=np.float32)
    changed = points([17]).inside(Space(torch.from_numpy(mean), torch.from_numpy(scale), unit)).select(slice(10, 30))
    expected = ((MATRIX.astype(np.float64) - mean) / scale)[10:30]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True) if unit else 1
    np.testing.assert_allclose(changed.all(), expected, atol=1e-6)


def test_a_zero_vector_has_no_direction_and_stays():
    zero = Points.of([np.zeros((3, 5))]).inside(Space(torch.zeros(5), torch.ones(5), unit=True))
    assert zero.all().tolist() == [[0] * 5] * 3


def test_a_sample_is_rows_in_order_without_repetition_by_the_seed():
    first, again, other = (points().sample(500, seed).rows for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (np.diff(first) > 0).all() and first.size == 500
    assert set(first) != set(other)
    counts = sum(np.bincount(points().sample(500, seed).rows // 1000, minlength=10) for seed in range(40))
    assert np.abs(counts - 2000).max() < 5 * np.sqrt(2000)
    assert len(points().sample(10_000, 0).rows) == len(points().sample(10**9, 0).rows) == 10_000


def test_points_that_are_held_are_the_same_rows_of_which_callers_may_write():
    space = Space(torch.ones(5), torch.full((5,), 2.0), unit=True)
    plain = points([17])
    held = plain.held().inside(space)
    assert torch.equal(held.all(), plain.inside(space).all())
    picked = np.array([3, 17, 18, 9000])
    assert torch.equal(held.select(picked).all(), plain.inside(space).select(picked).all())
    np.testing.assert_array_equal(held.select(picked).rows, picked)  # what an error names
    for rows in (held.all(), *held.chunks()):
        rows += 1
    assert torch.equal(held.all(), plain.inside(space).all())


@pytest.mark.parametrize("first", [slice(10, 9000), slice(0, 10_000, 3), np.arange(5, 9000, 7)])
@pytest.mark.parametrize("second", [slice(4, 900), slice(1, 1000, 2), np.array([0, 2, 700])])
def test_numbers_of_rows_are_those_of_a_whole_array(first, second):
    chosen = points([4000]).select(first).select(second)
    expected = np.arange(10_000)[first][second]
    np.testing.assert_array_equal(np.asarray(chosen.rows), expected)
    np.testing.assert_array_equal(chosen.all(), MATRIX[expected])


def test_points_that_are_too_many_are_not_held(monkeypatch):
    monkeypatch.setattr("hf_curriculum.scoring.points._HELD", 10_000)
    assert points().held().copied is None
    assert points().select(slice(0, 500)).held().copied is not None


def test_points_that_are_held_in_one_space_can_go_to_another():
    one = Space(torch.ones(5), torch.full((5,), 2.0), unit=True)
    other = Space(torch.ones(5), torch.full((5,), 2.0), unit=True, directions=torch.eye(5).roll(1, 0) * 3)
    held = points([17]).inside(one).held()
    assert held.copied is not None
    np.testing.assert_array_equal(held.inside(other).all(), points([17]).inside(other).all())


@pytest.mark.parametrize("hold", [False, True])
def test_errors_name_the_row_of_the_dataset(hold):
    present = np.random.default_rng(3).random(10_000) < 0.4
    of_column = Points.of_column([MATRIX[present]], present, "v")
    picked = np.array([0, 7, 3000])
    chosen = (of_column.held() if hold else of_column).select(slice(5, None)).select(picked)
    assert [chosen.number(i) for i in range(3)] == np.flatnonzero(present)[5:][picked].tolist()
    np.testing.assert_array_equal(chosen.all(), MATRIX[present][5:][picked])


def test_a_row_has_its_place_to_the_last_bit_whatever_rows_are_beside_it():
    """Products of float32 are summed in an order that the number of rows decides."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(3000, 96, generator=generator)
    directions = torch.randn(96, 96, generator=generator)
    space = Space(rows.mean(0), rows.std(0), unit=True, directions=directions)
    whole = space.change(rows.clone())
    for size in (1, 7, 300, 2048):
        assert torch.equal(torch.cat([space.change(part.clone()) for part in rows.split(size)]), whole)
    plain = Space(space.mean, space.scale, unit=True).change(rows.clone())
    torch.testing.assert_close(whole, plain @ directions)
