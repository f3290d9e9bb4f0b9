"""Rows that are there more than once."""

import logging
import tracemalloc

import numpy as np
import pytest
from datasets import Dataset, DatasetDict

from hf_curriculum import CurriculumConfig, DifficultyScorer, add_difficulty, curriculum_weights, provenance
from hf_curriculum.scoring import difficulty, duplicates, prototypes
from hf_curriculum.scoring.duplicates import first_of_equals, share_of_first_draws
from hf_curriculum.scoring.points import Points


def rows(n=1000, dim=16, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


def with_copies(n=1000, copies=60, seed=0):
    """Rows of which 60 are one and the same, as another batch would round it, and which these are."""
    matrix, rng = rows(n, seed=seed), np.random.default_rng(seed + 1)
    same = np.sort(rng.choice(n, copies, replace=False))
    matrix[same] = matrix[same[0]] * (1 + 1e-7 * rng.normal(size=(copies, matrix.shape[1]))).astype(np.float32)
    return matrix, same


def by_comparing_all(matrix):
    """The first equal row of each, from all pairs."""
    apart = np.linalg.norm(matrix[:, None].astype(np.float64) - matrix[None], axis=2)
    return (apart <= 4e-6 * np.linalg.norm(matrix, axis=1)[None]).argmax(1)


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_the_first_of_equals_is_that_of_all_pairs(scale):
    matrix, same = with_copies(400)
    more = rows(8, seed=9)
    more[[1, 2, 3]] = 0
    more[4] = more[5]
    more[6] = more[7] * np.float32(1 + 1e-4)  # close, and another row
    matrix = np.concatenate([matrix, more])
    first = first_of_equals(Points.of([matrix * np.float32(scale)]))
    np.testing.assert_array_equal(first, by_comparing_all(matrix))
    assert set(first[same]) == {same[0]} and first[406] != first[407]


@pytest.mark.parametrize("dim", [1, 2])
def test_rows_of_few_numbers_that_lie_close_are_not_taken_for_one(dim):
    """On a line many rows are neighbours of neighbours: what is equal is so to the first of them."""
    matrix = np.sort(np.random.default_rng(0).random((3000, dim)), axis=0).astype(np.float32) + np.float32(1)
    first = first_of_equals(Points.of([matrix]))
    apart = np.linalg.norm(matrix - matrix[first], axis=1)
    assert (apart <= 1e-5).all()
    assert np.unique(first).size > (2500 if dim == 1 else 2990)


def test_all_rows_alike_and_blocks():
    matrix = np.ones((5000, 4), np.float16)
    assert not first_of_equals(Points.of([matrix[:3], matrix[3:]])).any()
    assert first_of_equals(Points.of([matrix[:1]])).tolist() == [0]


def test_first_draws_are_those_of_the_curriculum():
    difficulty = np.random.default_rng(0).beta(2, 5, 2000).astype(np.float32)
    difficulty[:100] = 0
    config = CurriculumConfig(initial_fraction=0.3)
    expected = curriculum_weights(difficulty, 0, config, total_steps=10)
    for rows in ([0], [1500], range(100), range(50, 1050)):
        chosen = np.isin(np.arange(2000), rows)
        assert share_of_first_draws(difficulty, chosen) == pytest.approx(expected[chosen].sum(), rel=1e-2)
    assert share_of_first_draws(difficulty, chosen | True) == 1
    alike = share_of_first_draws(np.full(9, 0.3, np.float32), np.arange(9) < 2)
    assert alike == pytest.approx(2 / 9)


def test_equal_rows_are_found_wherever_the_search_cuts(monkeypatch):
    """Small parts: many equal rows lie beside a cut, on either side of it."""
    monkeypatch.setattr(duplicates, "_BUCKET", 4)
    monkeypatch.setattr(duplicates, "_BUCKETS", 3)
    matrix, rng = rows(3000, dim=8), np.random.default_rng(3)
    origin = np.sort(rng.integers(1000, size=2000))  # of the others
    matrix[1000:] = matrix[origin] * (1 + 1e-7 * rng.normal(size=(2000, 8))).astype(np.float32)
    expected = np.concatenate([np.arange(1000), origin])
    np.testing.assert_array_equal(first_of_equals(Points.of([matrix])), expected)
    order = rng.permutation(3000)
    found = first_of_equals(Points.of([matrix[order]]))
    ends = {row: np.flatnonzero(expected[order] == row)[0] for row in range(1000)}
    np.testing.assert_array_equal(found, [ends[row] for row in expected[order]])


def test_rows_that_no_line_tells_apart_are_compared_in_parts(monkeypatch):
    monkeypatch.setattr(duplicates, "_HEADS", 3)
    monkeypatch.setattr(duplicates, "_ROWS", 50)
    rng = np.random.default_rng(0)
    matrix = (1 + 3e-5 * rng.normal(size=(400, 64))).astype(np.float32)
    copied = rng.integers(200, size=150)
    noise = (1 + 1e-7 * rng.normal(size=(150, 64))).astype(np.float32)
    matrix[rng.choice(np.arange(200, 400), 150, replace=False)] = matrix[copied] * noise
    first = first_of_equals(Points.of([matrix]))
    np.testing.assert_array_equal(first, by_comparing_all(matrix))
    assert np.unique(first).size == 250


@pytest.mark.parametrize("shape", ["far from 0", "two large dimensions"])
def test_few_rows_are_read_again_to_tell_them_apart(shape, monkeypatch):
    """As embeddings of language models are; to read all of them for each row would be quadratic."""
    matrix = rows(20_000, dim=64)
    matrix[:, [5, 17] if shape == "two large dimensions" else slice(None)] += 10_000 if "two" in shape else 100
    matrix[-10:] = matrix[:10]
    read, original = [], duplicates._read
    monkeypatch.setattr(duplicates, "_read", lambda points, some: read.append(len(some)) or original(points, some))
    first = first_of_equals(Points.of([matrix]))
    np.testing.assert_array_equal(first, [*range(19_990), *range(10)])
    assert 20 <= sum(read) < 5 * len(matrix)


def test_the_search_holds_few_bytes_a_row(monkeypatch):
    monkeypatch.setattr(duplicates, "_BUCKETS", 4)
    monkeypatch.setattr(difficulty, "_AT_ONCE", 1 << 14)
    monkeypatch.setattr(duplicates, "_SAMPLED", 1 << 14)
    matrix = rows(400_000, dim=4)
    matrix[-100:] = matrix[:100]
    points = Points.of([matrix])
    tracemalloc.start()
    first_of_equals(points)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= 24 * 400_000 + 4_000_000


def test_copies_are_counted_and_many_first_draws_of_them_are_told(caplog):
    matrix, same = with_copies()
    dataset = Dataset.from_dict({"embedding": matrix})
    with caplog.at_level(logging.INFO, "hf_curriculum"):
        scored = add_difficulty(dataset, n_clusters=8)
    assert "59 of 1000 rows have the embedding of an earlier row." in caplog.text
    record = provenance(scored)
    assert (record["copies"], record["duplicates"]) == (59, "keep")
    weights = curriculum_weights(np.array(scored["difficulty"][:]), 0, CurriculumConfig(), total_steps=10)
    share = weights[same[1:]].sum()
    assert share > 0.05
    (warning,) = [log.message for log in caplog.records if log.levelno == logging.WARNING]
    assert f"would be {100 * share:.0f} % of the first draws" in warning and 'duplicates="first"' in warning


def test_few_copies_are_counted_without_a_warning(caplog):
    matrix = rows()
    matrix[500] = matrix[20]
    with caplog.at_level(logging.WARNING, "hf_curriculum"):
        scored = add_difficulty(Dataset.from_dict({"embedding": matrix}), n_clusters=8)
    assert provenance(scored)["copies"] == 1 and not caplog.records


@pytest.mark.parametrize("options", [{"n_clusters": 8}, {"label_column": "label", "measure": "margin"}])
def test_the_first_stands_for_its_copies_as_if_they_were_not_there(options, caplog):
    matrix, same = with_copies()
    matrix[0, :3], label = 2, np.arange(1000) % 3
    dataset = Dataset.from_dict({"embedding": matrix, "label": label})
    with caplog.at_level(logging.WARNING, "hf_curriculum"):
        scored = add_difficulty(dataset, duplicates="first", **options)
    assert not caplog.records
    kept = np.setdiff1d(np.arange(1000), same[1:])
    alone = add_difficulty(dataset.select(kept), **options)
    for name in set(scored.column_names) - set(dataset.column_names):
        assert scored.select(same[1:])[name][:] == [None] * 59
        assert scored.select(kept)[name][:] == alone[name][:]
    assert (provenance(scored)["copies"], provenance(scored)["duplicates"]) == (59, "first")
    assert provenance(scored)["quantiles"] == provenance(alone)["quantiles"]


def test_copies_of_a_split_are_those_inside_it_and_all_splits_say_the_same():
    matrix = rows(200)
    train = Dataset.from_dict({"embedding": matrix[[0, *range(100)]]})
    test = Dataset.from_dict({"embedding": matrix[[0, 1, 1, 1]]})
    splits = DatasetDict(train=train, test=test)
    scored = add_difficulty(splits, n_clusters=4, duplicates="first")
    assert [value is None for value in scored["test"]["difficulty"]] == [False, False, True, True]
    assert provenance(scored["train"])["copies"] == provenance(scored["test"])["copies"] == 3
    assert scored["train"].features == scored["test"].features  # else they could not be pushed
    fitted = DifficultyScorer(4).fit(matrix[:100])
    again = add_difficulty(splits["test"], scorer=fitted, duplicates="first")
    assert again["difficulty"][:2] == pytest.approx(scored["test"]["difficulty"][:2])


def test_another_word_for_duplicates_is_refused():
    with pytest.raises(ValueError, match=r"duplicates must be one of \['keep', 'first'\], got 'drop'"):
        add_difficulty(Dataset.from_dict({"embedding": rows(9)}), duplicates="drop")


@pytest.mark.parametrize("duplicates", ["keep", "first"])
def test_the_rows_of_the_fit_are_assigned_once(duplicates, monkeypatch):
    calls, original = [], prototypes.assign
    monkeypatch.setattr(prototypes, "assign", lambda *args: calls.append(len(args[0])) or original(*args))
    matrix, same = with_copies()
    add_difficulty(Dataset.from_dict({"embedding": matrix}), n_clusters=4, duplicates=duplicates)
    assert calls == [1000 if duplicates == "keep" else 1000 - same.size + 1]
