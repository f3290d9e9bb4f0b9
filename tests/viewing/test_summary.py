"""Clusters, preview of the schedule and map against brute force."""

import numpy as np
import pytest
from datasets import Dataset
from sklearn.manifold import trustworthiness

from hf_curriculum import CurriculumConfig, CurriculumSampler, add_difficulty, curriculum_weights, effective_fraction
from hf_curriculum.viewing.embedding_map import map_of
from hf_curriculum.viewing.preview import expected_draws
from hf_curriculum.viewing.summary import summarize

# --- clusters -----------------------------------------------------------------------------------------------------


def test_clusters_are_ranked_and_the_largest_comes_first():
    rng = np.random.default_rng(0)
    cluster, difficulty = rng.choice([0, 3, 4, 9], 200, p=[0.1, 0.2, 0.3, 0.4]), rng.random(200)
    summaries = summarize(Dataset.from_dict({"cluster": cluster, "difficulty": difficulty}))
    assert [summary.cluster for summary in summaries] == [9, 4, 3, 0]
    for summary in summaries:
        rows = np.flatnonzero(cluster == summary.cluster)
        np.testing.assert_array_equal(summary.ranked, rows[np.argsort(difficulty[rows])])
        assert summary.mean_difficulty == pytest.approx(difficulty[rows].mean())


def test_rows_without_difficulty_are_in_no_cluster():
    dataset = Dataset.from_dict({"cluster": [0, None, 1, 0], "difficulty": [0.5, None, 0.2, 0.1]})
    assert [(summary.cluster, summary.ranked.tolist()) for summary in summarize(dataset)] == [(0, [3, 0]), (1, [2])]


def test_another_column_ranks_the_rows():
    dataset = Dataset.from_dict({"cluster": [0, 0, 0], "difficulty": [0.0, 0.5, 1.0], "loss": [3, 1, 2]})
    [summary] = summarize(dataset, "loss")
    assert summary.ranked.tolist() == [1, 2, 0]
    assert summary.mean_difficulty == 2


def test_a_dataset_without_clusters_is_one():
    [summary] = summarize(Dataset.from_dict({"loss": [3, 1, None, 2]}), "loss")
    assert (summary.cluster, summary.ranked.tolist()) == (None, [1, 3, 0])


def test_the_rows_of_a_shuffled_dataset_are_its_own():
    dataset = Dataset.from_dict({"cluster": [0, 1, 0, 1], "difficulty": [0.4, 0.3, 0.2, 0.1]}).select([3, 2, 1, 0])
    assert {summary.cluster: summary.ranked.tolist() for summary in summarize(dataset)} == {0: [1, 3], 1: [0, 2]}


def test_a_cluster_column_of_another_tool_is_refused():
    with pytest.raises(ValueError, match="'cluster' holds string, not the number of a cluster"):
        summarize(Dataset.from_dict({"cluster": ["a"], "difficulty": [0.1]}))


# --- preview of the schedule --------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["easy_first", "hard_first"])
def test_a_preview_is_what_the_curriculum_draws(order):
    config = CurriculumConfig(order=order, initial_fraction=0.1, warmup_steps=60)
    difficulty, edges = np.random.default_rng(0).beta(2, 4, 500), np.linspace(0, 1, 11)
    drawn = expected_draws(difficulty, config, 100, edges, positions=5, rows=12)
    assert [one.step for one in drawn] == [0, 25, 50, 75, 100]
    sampler = CurriculumSampler(difficulty, config, total_batch_size=12, total_steps=100)
    for one in drawn:
        weights = curriculum_weights(difficulty, one.step, config)
        np.testing.assert_allclose(one.share, np.histogram(difficulty, edges, weights=weights)[0], atol=1e-4)
        assert one.mean_difficulty == pytest.approx(weights @ difficulty, abs=1e-4)
        np.testing.assert_array_equal(one.rows, np.unique(sampler.indices(one.step)))
    scores = difficulty if order == "easy_first" else 1 - difficulty
    assert [effective_fraction(scores, one.temperature) for one in drawn] == pytest.approx(
        [one.fraction for one in drawn], abs=1e-4
    )
    assert [one.temperature for one in drawn[3:]] == [np.inf, np.inf]


def test_masked_rows_count_once_sampling_is_uniform():
    difficulty = np.ma.masked_array([0.0, 0.5, 1.0, 0.0], [False, False, False, True])
    first, last = expected_draws(difficulty, CurriculumConfig(warmup_steps=2), 4, np.array([0, 0.6, 1.0]), 2, 64)
    assert 3 not in first.rows
    assert last.rows.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(last.share, [2 / 3, 1 / 3])


def test_a_short_training_has_no_step_twice():
    drawn = expected_draws(np.linspace(0, 1, 50), CurriculumConfig(), 2, np.linspace(0, 1, 3), positions=21, rows=4)
    assert [one.step for one in drawn] == [0, 1, 2]


def test_a_temperature_near_zero_draws_the_easiest_alone():
    difficulty = np.r_[0.25, np.full(99, 1.0)]  # a fraction of 0.02 asks for less than two rows
    config = CurriculumConfig(initial_fraction=0.001)
    first = expected_draws(difficulty, config, 10, np.linspace(0.25, 1, 4), 2, 16)[0]
    np.testing.assert_allclose(first.share, [1, 0, 0], atol=1e-6)
    assert first.rows.tolist() == [0]


# --- map ----------------------------------------------------------------------------------------------------------


def clustered(rows=300, dim=20, planted=4):
    rng = np.random.default_rng(0)
    kind = rng.integers(0, planted, rows)
    return rng.normal(0, 6, (planted, dim))[kind] + rng.normal(size=(rows, dim)), kind


def test_neighbours_in_the_map_are_neighbours_in_the_space():
    vectors, kind = clustered()
    scored = add_difficulty(Dataset.from_dict({"embedding": vectors.tolist()}), n_clusters=4)
    rows, places = map_of(scored, "embedding", {}, size=1000)
    np.testing.assert_array_equal(rows, np.arange(300))
    assert (places.shape, places.dtype) == ((300, 2), np.float32)
    space = (vectors - vectors.mean(0)) / vectors.std(0)
    assert trustworthiness(space / np.linalg.norm(space, axis=1, keepdims=True), places) > 0.9
    centres = np.stack([places[kind == k].mean(0) for k in range(4)])
    nearest = np.linalg.norm(places[:, None] - centres, axis=2).argmin(1)
    assert (nearest == kind).mean() > 0.95


def test_the_space_is_that_of_the_record():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(40, 3)) * [1000, 1, 1]
    dataset = Dataset.from_dict({"embedding": vectors.tolist()})
    raw = map_of(dataset, "embedding", {"standardize": False, "l2_normalize": False}, 1000)[1]
    distances = np.abs(vectors[:, None, 0] - vectors[None, :, 0])
    near = np.argsort(distances, axis=1)[:, 1]
    ours = np.linalg.norm(raw[:, None] - raw, axis=2)
    assert (ours[np.arange(40), near] < np.median(ours, axis=1)).all()  # the long dimension decides
    assert not np.allclose(raw, map_of(dataset, "embedding", {}, 1000)[1])


def test_a_large_dataset_is_sampled_and_the_same_rows_come_again():
    vectors, _ = clustered()
    dataset = Dataset.from_dict({"embedding": vectors.tolist()})
    (rows, places), again = map_of(dataset, "embedding", {}, 50), map_of(dataset, "embedding", {}, 50)
    assert rows.size == 50 and (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(rows, again[0])
    np.testing.assert_array_equal(places, again[1])


def test_rows_without_an_embedding_are_not_on_the_map():
    dataset = Dataset.from_dict({"embedding": [[0.0, 1.0], None, [1.0, 0.0], None, [1.0, 1.0]]})
    assert map_of(dataset, "embedding", {}, 10)[0].tolist() == [0, 2, 4]


@pytest.mark.parametrize(
    "vectors",
    [[[1.0, 2.0]], [[1.0], [2.0]], [[1.0, 2.0]] * 30, [[float(i)] for i in range(30)], [[i, 0.0] for i in range(12)]],
    ids=["one row", "one number", "all equal", "one dimension", "a constant dimension"],
)
def test_data_too_plain_for_a_map_still_has_places(vectors):
    rows, places = map_of(Dataset.from_dict({"embedding": vectors}), "embedding", {}, 1000)
    assert places.shape == (len(vectors), 2)
    assert np.isfinite(places).all()
