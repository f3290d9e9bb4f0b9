import logging
import math

import numpy as np
import pytest
import torch
from accelerate import PartialState
from datasets import Dataset
from scipy.stats import spearmanr
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import (
    adjusted_rand_score,
    davies_bouldin_score,
    pairwise_distances,
    pairwise_distances_argmin_min,
)
from sklearn.preprocessing import StandardScaler, minmax_scale, normalize

from hf_curriculum.scoring import prototypes
from hf_curriculum.scoring.inputs import require_seen
from hf_curriculum.scoring.points import Points
from hf_curriculum.scoring.scorer import DifficultyScorer

NAN, INF = float("nan"), float("inf")
SEEDS = range(3)


def cloud(n=120, dim=6, seed=0):
    """Rows of no particular shape, whose dimensions have other means and scales."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, dim)) * rng.uniform(0.1, 50, dim) + rng.uniform(-9, 9, dim)).astype(np.float32)


def space(embeddings, standardize=True, l2_normalize=True):
    """Where distances are taken, in float64 and by scikit-learn."""
    points = np.asarray(embeddings, np.float64)
    points = StandardScaler().fit_transform(points) if standardize else points
    return normalize(points) if l2_normalize else points


def assert_scores_follow_from_centroids(scorer, embeddings, labels=None, **options):
    """Nearest centroid of the own class, distance to it, and its place among those of the cluster."""
    scores = scorer.score(embeddings, labels)
    every = pairwise_distances(space(embeddings, **options), scorer.centroids_.numpy())
    if labels is not None:
        every[np.asarray(labels)[:, None] != scorer.centroid_labels_[None]] = np.inf
    np.testing.assert_array_equal(scores.cluster, every.argmin(1))
    np.testing.assert_allclose(scores.distance, every.min(1), atol=1e-5)
    for c in np.unique(scores.cluster):
        expected = minmax_scale(scores.distance[scores.cluster == c].astype(np.float64))
        size = (scores.cluster == c).sum()
        expected = expected if size > 2 else 2 - size  # two are equally far from their mean, one is no prototype
        np.testing.assert_allclose(scores.difficulty[scores.cluster == c], expected, atol=1e-5)
    return scores


# --- the numbers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("l2_normalize", [True, False])
@pytest.mark.parametrize("n_clusters", [1, 2, 4])
def test_scores_agree_with_scikit_learn(n_clusters, standardize, l2_normalize):
    options = {"standardize": standardize, "l2_normalize": l2_normalize}
    embeddings = cloud()
    scorer = DifficultyScorer(n_clusters, **options).fit(embeddings)
    scores = assert_scores_follow_from_centroids(scorer, embeddings, **options)
    points = space(embeddings, **options)
    assert scorer.n_clusters_ == len(scorer.centroids_) == n_clusters
    for c in range(n_clusters):
        np.testing.assert_allclose(scorer.centroids_[c], points[scores.cluster == c].mean(0), atol=1e-4)
    if n_clusters > 1:
        assert scorer.davies_bouldin_ == pytest.approx(davies_bouldin_score(points, scores.cluster), rel=1e-4)
    else:
        assert scorer.davies_bouldin_ is None
    assert [scores.cluster.dtype, scores.distance.dtype, scores.difficulty.dtype] == [np.int32, np.float32, np.float32]


def test_scores_are_those_worked_out_by_hand():
    embeddings = [[0.0], [1.0], [5.0], [20.0], [23.0], [27.0]]  # means 2 and 70 / 3
    scores = DifficultyScorer(2, standardize=False, l2_normalize=False).fit(embeddings).score(embeddings)
    assert scores.cluster[0] == scores.cluster[1] == scores.cluster[2] != scores.cluster[3]
    np.testing.assert_allclose(scores.distance, [2, 1, 3, 10 / 3, 1 / 3, 11 / 3], atol=3e-6)
    np.testing.assert_allclose(scores.difficulty, [0.5, 0, 1, 0.9, 0, 1], atol=1e-6)


def test_rank_and_raw_difficulties_come_from_the_same_distances():
    embeddings = cloud()
    minmax, rank, raw = (
        DifficultyScorer(4, normalize=normalize).fit(embeddings).score(embeddings)
        for normalize in ("minmax", "rank", None)
    )
    for scores in (rank, raw):
        np.testing.assert_array_equal(scores.cluster, minmax.cluster)
        np.testing.assert_array_equal(scores.distance, minmax.distance)
    np.testing.assert_array_equal(raw.difficulty, raw.distance)
    for c in range(4):
        nearest_first = np.argsort(rank.distance[rank.cluster == c])
        expected = np.linspace(0, 1, len(nearest_first))
        np.testing.assert_allclose(rank.difficulty[rank.cluster == c][nearest_first], expected, atol=1.01e-3)


def test_the_prototype_is_0_and_the_farthest_row_is_1():
    embeddings = cloud()
    scores = DifficultyScorer(4).fit(embeddings).score(embeddings)
    for c in range(4):
        own = scores.cluster == c
        assert scores.difficulty[own][scores.distance[own].argmin()] == 0
        assert scores.difficulty[own][scores.distance[own].argmax()] == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_units_of_the_dimensions_do_not_matter(seed):
    embeddings = cloud(seed=seed)
    expected = DifficultyScorer(5).fit(embeddings).score(embeddings)
    other = embeddings * np.float32([1, 1e-3, 1e3, 7, 0.5, 2]) + np.float32([0, 0.1, 1e3, -5, 3, 0])
    scores = DifficultyScorer(5).fit(other).score(other)
    np.testing.assert_array_equal(scores.cluster, expected.cluster)
    np.testing.assert_allclose(scores.difficulty, expected.difficulty, atol=1e-3)


@pytest.mark.parametrize("constant", [0, 0.1, -1e4, 1 / 3])
def test_a_constant_dimension_does_not_matter(constant):
    embeddings = cloud(1000)
    expected = DifficultyScorer(5).fit(embeddings).score(embeddings)
    wider = np.c_[embeddings, np.full(1000, constant, np.float32)]
    scores = DifficultyScorer(5).fit(wider).score(wider)
    np.testing.assert_array_equal(scores.cluster, expected.cluster)
    np.testing.assert_allclose(scores.difficulty, expected.difficulty, atol=1e-5)


def test_embeddings_far_from_the_origin_are_scored_exactly():
    embeddings = cloud() / 50 + 3000
    options = {"standardize": False, "l2_normalize": False}
    assert_scores_follow_from_centroids(DifficultyScorer(6, **options).fit(embeddings), embeddings, **options)


@pytest.mark.parametrize("kind", ["list", "float64", "float16", "read only", "reversed", "columns first", "torch"])
def test_any_matrix_is_taken_and_left_as_it_is(kind):
    embeddings = np.round(cloud(40)).astype(np.float32)
    given = {
        "list": embeddings.tolist(),
        "float64": embeddings.astype(np.float64),
        "float16": embeddings.astype(np.float16),
        "read only": np.frombuffer(embeddings.tobytes(), np.float32).reshape(embeddings.shape),
        "reversed": np.ascontiguousarray(embeddings[::-1])[::-1],
        "columns first": np.asfortranarray(embeddings),
        "torch": torch.from_numpy(embeddings.copy()),
    }[kind]
    expected = DifficultyScorer(3).fit(embeddings).score(embeddings)
    scores = DifficultyScorer(3).fit(given).score(given)
    np.testing.assert_array_equal(scores.difficulty, expected.difficulty)
    np.testing.assert_array_equal(np.asarray(given, np.float32), embeddings)


def test_equal_seeds_give_equal_scores_and_others_other_clusters():
    embeddings = cloud(300)
    first, again, other = (DifficultyScorer(12, seed=s).fit(embeddings).score(embeddings) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.difficulty, again.difficulty)
    assert adjusted_rand_score(first.cluster, other.cluster) < 1


@pytest.mark.parametrize(
    "n, distinct, n_clusters", [(2, 2, 1), (12, 1, 1), (12, 1, 4), (12, 3, 3), (12, 3, 5), (12, 3, 12)]
)
def test_duplicate_rows_are_prototypes(n, distinct, n_clusters):
    embeddings = np.tile(cloud(distinct), (n // distinct, 1))
    scores = DifficultyScorer(n_clusters).fit(embeddings).score(embeddings)
    assert np.isfinite(scores.distance).all()
    assert scores.difficulty.tolist() == [0] * n
    assert len(set(scores.cluster.tolist())) == min(distinct, n_clusters)


@pytest.mark.parametrize("n", [1, 2, 9])
def test_where_each_row_is_a_cluster_none_is_easier_than_another(n):
    scores = DifficultyScorer(n).fit(cloud(n)).score(cloud(n))
    assert sorted(scores.cluster.tolist()) == list(range(n))
    np.testing.assert_allclose(scores.distance, 0, atol=1e-6)
    assert scores.difficulty.tolist() == [1] * n


# --- new rows -----------------------------------------------------------------------------------------------------


def test_new_rows_are_scored_against_the_fitted_prototypes():
    embeddings, new = cloud(), cloud(seed=7)
    scorer = DifficultyScorer(5).fit(embeddings)
    fitted, scores = scorer.score(embeddings), scorer.score(new)
    points = normalize(StandardScaler().fit(embeddings).transform(new))
    cluster, distance = pairwise_distances_argmin_min(points, scorer.centroids_.numpy())
    np.testing.assert_array_equal(scores.cluster, cluster)
    np.testing.assert_allclose(scores.distance, distance, atol=1e-5)
    for c in np.unique(cluster):
        low, high = (f(fitted.distance[fitted.cluster == c]) for f in (np.min, np.max))
        expected = np.clip((distance[cluster == c] - low) / (high - low), 0, 1)
        np.testing.assert_allclose(scores.difficulty[cluster == c], expected, atol=1e-4)
    assert scores.difficulty.max() == 1  # some new rows are farther than all fitted ones
    np.testing.assert_array_equal(scorer.score(new[:1]).difficulty, scores.difficulty[:1])


def test_a_second_fit_forgets_the_first():
    scorer = DifficultyScorer(3).fit(cloud(60), np.repeat([0, 1], 30))
    scorer.fit(cloud(seed=1))
    expected = DifficultyScorer(3).fit(cloud(seed=1))
    assert scorer.centroid_labels_ is None
    assert torch.equal(scorer.centroids_, expected.centroids_)


# --- labels -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [[0, 1, 2], ["cat", "dog", "a long name"], [-1, 5, 2**40]])
def test_clusters_never_mix_classes(names):
    embeddings = cloud(90)
    labels = np.array(names)[np.random.default_rng(0).integers(0, 3, 90)]
    scorer = DifficultyScorer(4).fit(embeddings, labels)
    scores = assert_scores_follow_from_centroids(scorer, embeddings, labels)
    assert scorer.n_clusters_ == 12
    for cluster in range(12):
        assert set(labels[scores.cluster == cluster].tolist()) == {scorer.centroid_labels_[cluster].item()}


def test_small_classes_have_at_most_half_as_many_clusters_as_rows():
    embeddings, labels = cloud(33), np.array(["one"] + ["two"] * 2 + ["many"] * 30)
    scorer = DifficultyScorer(5).fit(embeddings, labels)
    counts = {label: (scorer.centroid_labels_ == label).sum() for label in ("one", "two", "many")}
    assert counts == {"one": 1, "two": 1, "many": 5}
    scores = scorer.score(embeddings, labels)
    assert len(set(scores.cluster[:3])) == 2
    assert scores.difficulty[:3].tolist() == [1, 0, 0]  # one row is no prototype; two are equally far from their mean


@pytest.mark.parametrize("cluster_range", [None, (2, 6), (5, 10)])
def test_the_number_is_chosen_in_each_class_however_small(cluster_range):
    embeddings = cloud(110)
    labels = np.repeat([1, 2, 3, 4, 5], [1, 2, 3, 4, 100])
    scorer = DifficultyScorer(cluster_range=cluster_range).fit(embeddings, labels)
    chosen = dict(zip(*np.unique(scorer.centroid_labels_, return_counts=True), strict=True))
    assert list(chosen) == [1, 2, 3, 4, 5]
    assert all(chosen[label] <= max(1, label // 2) for label in (1, 2, 3, 4))
    low, high = cluster_range or (2, 10)
    assert low <= chosen[5] <= high
    assert scorer.davies_bouldin_curve_ == {}  # that of one class would mislead
    assert_scores_follow_from_centroids(scorer, embeddings, labels)


def test_new_rows_stay_in_their_class_even_if_another_is_nearer():
    embeddings = np.array([[0.0], [1.0], [10.0], [11.0]])
    scorer = DifficultyScorer(1, normalize=None, standardize=False, l2_normalize=False).fit(embeddings, list("aabb"))
    scores = scorer.score([[10.0], [10.0]], ["a", "b"])
    assert scorer.centroid_labels_[scores.cluster].tolist() == ["a", "b"]
    assert scores.distance.tolist() == [9.5, 0.5]


# --- the number of clusters ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("planted", [4, 9])
def test_planted_clusters_are_found_and_counted(planted):
    embeddings, cluster = make_blobs(planted * 15, 16, centers=planted, random_state=0)
    scorer = DifficultyScorer(cluster_range=(2, 12)).fit(embeddings)
    assert scorer.n_clusters_ == planted
    assert adjusted_rand_score(cluster, scorer.score(embeddings).cluster) == 1
    assert list(scorer.davies_bouldin_curve_) == list(range(2, 13))
    assert scorer.davies_bouldin_ == pytest.approx(scorer.davies_bouldin_curve_[planted])


def test_without_a_range_the_minimum_of_the_index_is_taken_or_the_root(caplog):
    caplog.set_level("INFO", "hf_curriculum")
    scorer = DifficultyScorer().fit(cloud(100))
    assert scorer.chosen_by_ == "the index has no minimum; K = sqrt(N)"
    assert "clusters: the index has no minimum; K = sqrt(N)" in caplog.text
    assert 8 <= scorer.n_clusters_ <= 10  # tiny ones have no prototype
    embeddings, _ = make_blobs(300, 16, centers=6, random_state=0)
    scorer = DifficultyScorer().fit(embeddings)
    assert (scorer.n_clusters_, scorer.chosen_by_) == (6, "minimum of the Davies-Bouldin index")
    assert scorer.davies_bouldin_curve_[6] == min(scorer.davies_bouldin_curve_.values())


@pytest.mark.parametrize(
    "options, words",
    [
        ({"n_clusters": 3}, "given"),
        ({"cluster_range": (2, 4)}, "lowest Davies-Bouldin index, 2 to 4"),
        ({"clusterer": MiniBatchKMeans(3, n_init=1)}, "clusterer"),
    ],
)
def test_it_says_where_the_number_comes_from(options, words, tmp_path):
    scorer = DifficultyScorer(**options).fit(cloud(100))
    assert scorer.chosen_by_ == words
    scorer.save_pretrained(tmp_path)
    assert DifficultyScorer.from_pretrained(tmp_path).chosen_by_ == words
    assert words in (tmp_path / "README.md").read_text()


def test_classes_that_differ_in_that_are_counted():
    embeddings, _ = make_blobs(300, 16, centers=6, random_state=0)
    labels = np.repeat([0, 1, 2], [300, 100, 100])
    scorer = DifficultyScorer().fit(np.concatenate([embeddings, cloud(200, 16)]), labels)
    assert scorer.chosen_by_ == (
        "in 1 of 3 clusterings: minimum of the Davies-Bouldin index; "
        "in 2 of 3 clusterings: the index has no minimum; K = sqrt(N)"
    )


@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_rows_are_one_cluster_unless_more_are_asked_for(n):
    assert DifficultyScorer().fit(cloud(n)).n_clusters_ == 1
    assert DifficultyScorer(n).fit(cloud(n)).n_clusters_ == n


@pytest.mark.parametrize(
    "cluster_range, n, tried", [((2, 9), 6, [2, 3, 4, 5]), ((4, 9), 4, [4]), ((3, 3), 9, [3]), ([2, 3], 9, [2, 3])]
)
def test_a_cluster_for_each_row_is_tried_only_if_nothing_else_is_in_the_range(cluster_range, n, tried):
    scorer = DifficultyScorer(cluster_range=cluster_range).fit(cloud(n))
    assert list(scorer.davies_bouldin_curve_) == tried


# --- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, message",
    [
        ({"n_clusters": 0}, "n_clusters must be at least 1, got 0"),
        ({"repeats": 0}, "repeats must be at least 1, got 0"),
        ({"n_clusters": -3}, "n_clusters must be at least 1, got -3"),
        ({"normalize": "max"}, r"normalize must be one of \['minmax', 'rank', None\], got 'max'"),
        ({"cluster_range": (1, 5)}, r"\(low, high\) with 2 <= low <= high, got \(1, 5\)"),
        ({"cluster_range": (6, 5)}, r"2 <= low <= high, got \(6, 5\)"),
        ({"cluster_range": (2,)}, r"2 <= low <= high, got \(2,\)"),
        ({"cluster_range": (2, 3, 4)}, r"2 <= low <= high, got \(2, 3, 4\)"),
        ({"cluster_range": (2, 5.5)}, r"2 <= low <= high, got \(2, 5\.5\)"),
        ({"cluster_range": (2, None)}, r"2 <= low <= high, got \(2, None\)"),
        ({"cluster_range": 5}, "2 <= low <= high, got 5"),
        ({"cluster_range": "23"}, "2 <= low <= high, got '23'"),
        ({"n_clusters": 3, "cluster_range": (2, 5)}, "Pass one of n_clusters, cluster_range"),
    ],
)
def test_options_outside_their_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DifficultyScorer(**options)


@pytest.mark.parametrize(
    "options, n", [({"n_clusters": 6}, 5), ({"cluster_range": (6, 9)}, 5), ({"n_clusters": 1}, 0), ({}, 0)]
)
def test_more_clusters_than_rows_are_refused(options, n):
    wanted = options.get("n_clusters", options.get("cluster_range", [1])[0])
    with pytest.raises(ValueError, match=rf"^{wanted} clusters need .* there are {n}\. Lower n_clusters\."):
        DifficultyScorer(**options).check_rows(n)
    DifficultyScorer(**options).check_rows(wanted)


@pytest.mark.parametrize(
    "embeddings, message",
    [
        ([1.0, 2.0], r"matrix of shape \(N, dim\) with rows, got shape \(2,\)"),
        (np.zeros((2, 3, 4)), r"got shape \(2, 3, 4\)"),
        (np.zeros((0, 4)), r"got shape \(0, 4\)"),
        (np.zeros((4, 0)), r"got shape \(4, 0\)"),
        ([[0, 1], [NAN, 1], [INF, 1]], r"embeddings has a NaN or infinite number in row 1 \(2 such rows\)"),
        (np.zeros((2, 4)), "3 clusters need at least as many rows, but there are 2"),
    ],
)
def test_what_is_no_finite_matrix_of_enough_rows_is_refused(embeddings, message):
    with pytest.raises(ValueError, match=message):
        DifficultyScorer(3).fit(embeddings)


@pytest.mark.parametrize("labels, shape", [([0, 1], r"\(2,\)"), ([[0], [1], [1], [0]], r"\(4, 1\)"), (3, r"\(\)")])
def test_labels_that_are_not_one_a_row_are_refused(labels, shape):
    with pytest.raises(ValueError, match=rf"labels must be one a row, shape \(4,\), got shape {shape}"):
        DifficultyScorer(1).fit(cloud(4), labels)


def test_scoring_needs_what_fitting_had():
    with pytest.raises(ValueError, match=r"no centroids yet: call fit\(embeddings\) first"):
        DifficultyScorer(2).score(cloud())
    scorer = DifficultyScorer(1).fit(cloud(4), ["a", "b", "a", "b"])
    with pytest.raises(ValueError, match="fitted on 6 dimensions, got embeddings of 5"):
        scorer.score(cloud(dim=5), ["a"] * 120)
    with pytest.raises(ValueError, match="fitted with labels: pass the labels"):
        scorer.score(cloud(4))
    with pytest.raises(ValueError, match=r"Labels \['c', 'd'\] were not among those that the scorer was fitted on"):
        scorer.score(cloud(4), ["d", "a", "c", "d"])


def test_the_first_five_unseen_labels_are_named():
    require_seen(np.array([1, 1, 2]), np.array([2, 1, 0]))
    with pytest.raises(ValueError, match=r"Labels \[3, 4, 5, 6, 7\] were not"):
        require_seen(np.arange(10), np.array([0, 1, 2, 2]))


def test_clusters_of_equal_rows_have_the_worst_index():
    scorer = DifficultyScorer(4).fit(np.ones((12, 3)))
    assert scorer.davies_bouldin_ == math.inf


# --- outliers -----------------------------------------------------------------------------------------------------


def with_outliers(seed, dim=32, n=5000, outliers=50):
    """Rows around 25 centres, and last some that are far from all of them and from each other."""
    rng = np.random.default_rng(seed)
    centres = 3 * rng.normal(size=(25, dim))
    rows = centres[rng.integers(25, size=n - outliers)] + rng.normal(size=(n - outliers, dim))
    return np.concatenate([rows, 12 * rng.normal(size=(outliers, dim))])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n_clusters", [25, 50, 100, 200])
def test_outliers_that_own_a_cluster_are_not_easy(n_clusters, seed):
    embeddings = with_outliers(seed)
    scorer = DifficultyScorer(n_clusters, standardize=False, l2_normalize=False).fit(embeddings)
    difficulty = scorer.score(embeddings).difficulty
    planted = difficulty[-50:]
    assert (planted > np.quantile(difficulty, 0.01)).all()  # by chance half a row would be among these
    assert (planted >= np.quantile(difficulty, 0.9)).mean() > 0.9
    plain = KMeans(n_clusters, n_init=1, random_state=seed).fit(embeddings)
    if n_clusters >= 100:  # what would happen without the rule
        assert np.isin(plain.labels_, np.flatnonzero(np.bincount(plain.labels_) == 1))[-50:].any()


def test_scores_of_large_clusters_do_not_change_for_the_outliers():
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal(size=(100, 2)), rng.normal(size=(100, 2)) + 30, [[300.0, 0], [301, 0]]])
    scorer = DifficultyScorer(3, standardize=False, l2_normalize=False).fit(rows)
    assert (scorer.n_clusters_, scorer.outliers_) == (2, 2)
    scores = scorer.score(rows)
    assert scores.outside == 2
    for own in (slice(0, 100), slice(100, 200)):
        distance = np.linalg.norm(rows[own] - rows[own].mean(0), axis=1)
        np.testing.assert_allclose(scores.distance[own], distance, atol=1e-4)
        np.testing.assert_allclose(scores.difficulty[own], minmax_scale(distance), atol=1e-4)
    assert scores.difficulty[200:].tolist() == [1, 1]
    assert scores.cluster[200] == scores.cluster[150]  # the nearer of the two
    np.testing.assert_allclose(scores.distance[200], np.linalg.norm(rows[200] - rows[100:200].mean(0)), rtol=1e-5)


@pytest.mark.parametrize("small, kept", [(5, False), (16, False), (17, True), (40, True)])
def test_a_small_cluster_of_many_rows_has_its_prototype(small, kept):
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal(size=(300, 2)), rng.normal(size=(small, 2)) + 40])
    scorer = DifficultyScorer(2, standardize=False, l2_normalize=False).fit(rows)
    assert (scorer.n_clusters_, scorer.outliers_) == ((2, 0) if kept else (1, small))
    assert (scorer.score(rows).difficulty[300:].min() < 1) == kept


# --- degenerate data ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalize_by", ["minmax", "rank"])
@pytest.mark.parametrize(
    "embeddings",
    [
        np.ones((50, 4)),
        np.zeros((50, 4)),
        np.repeat(cloud(5), 10, axis=0),
        np.arange(50.0)[:, None],
        np.random.default_rng(0).normal(size=(50, 4096)),
        np.random.default_rng(0).normal(size=(50, 4)) * 1e-20,
        np.random.default_rng(0).normal(size=(50, 4)) * 1e15,
        np.eye(50),
    ],
    ids=["equal", "zero", "duplicates", "1 dimension", "4096 dimensions", "tiny", "huge", "orthogonal"],
)
@pytest.mark.parametrize("n_clusters", [None, 1, 5, 50])
def test_any_finite_matrix_gets_difficulties_in_the_unit_interval(embeddings, n_clusters, normalize_by):
    for options in ({}, {"standardize": False, "l2_normalize": False}):
        scorer = DifficultyScorer(n_clusters, normalize=normalize_by, **options).fit(embeddings)
        scores = scorer.score(embeddings)
        assert np.isfinite(scores.distance).all() and (scores.distance >= 0).all()
        assert (scores.difficulty >= 0).all() and (scores.difficulty <= 1).all()
        assert scores.cluster.min() >= 0 and scores.cluster.max() < scorer.n_clusters_ <= 50


# --- other ways in ------------------------------------------------------------------------------------------------


def test_bfloat16_is_taken():
    embeddings = torch.from_numpy(cloud()).bfloat16()
    expected = DifficultyScorer(3).fit(embeddings.float()).score(embeddings.float())
    np.testing.assert_array_equal(
        DifficultyScorer(3).fit(embeddings).score(embeddings).difficulty, expected.difficulty
    )


@pytest.mark.parametrize("labels", [None, [0] * 100 + [1] * 17 + [2] * 3])
def test_a_clusterer_of_scikit_learn_finds_the_centroids(labels):
    embeddings = cloud()
    clusterer = MiniBatchKMeans(4, n_init=3, random_state=1)
    scorer = DifficultyScorer(clusterer=clusterer, standardize=False).fit(embeddings, labels)
    assert not hasattr(clusterer, "cluster_centers_")  # a clone was fitted
    if labels is None:
        expected = MiniBatchKMeans(4, n_init=3, random_state=1).fit(space(embeddings, standardize=False))
        np.testing.assert_allclose(scorer.centroids_, expected.cluster_centers_, atol=1e-4)
    else:
        assert np.bincount(scorer.centroid_labels_).tolist() == [4, 4, 1]
    difficulty = scorer.score(embeddings, labels).difficulty
    assert 0 <= difficulty.min() < difficulty.max() <= 1


def test_a_clusterer_without_a_seed_takes_that_of_the_scorer():
    embeddings = cloud(300)
    first, again, other = (
        DifficultyScorer(clusterer=MiniBatchKMeans(9), seed=seed).fit(embeddings).centroids_ for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
@pytest.mark.parametrize("streaming", [False, True])
def test_a_map_scores_any_split_or_stream_as_score_does(batch_size, streaming):
    labels = np.arange(120) % 3
    scorer = DifficultyScorer(4).fit(cloud(), labels)
    new = Dataset.from_dict({"vec": [*cloud(50, seed=1).tolist(), None], "class": [*labels[:50].tolist(), 0]})
    expected = scorer.score(cloud(50, seed=1), labels[:50])
    rows = new.to_iterable_dataset() if streaming else new
    options = {"embedding_column": "vec", "label_column": "class"}
    scored = list(rows.map(scorer, batched=True, batch_size=batch_size, fn_kwargs=options))
    assert [scored[50][name] for name in ("cluster", "distance", "difficulty")] == [None] * 3
    assert [row["cluster"] for row in scored[:50]] == expected.cluster.tolist()
    np.testing.assert_allclose([row["difficulty"] for row in scored[:50]], expected.difficulty, atol=1e-6)
    one_by_one = list(rows.map(scorer, fn_kwargs=options))
    assert [row["cluster"] for row in one_by_one] == [row["cluster"] for row in scored]
    assert set(scored[0]) == {"vec", "class", "cluster", "distance", "difficulty"}


# --- repeats ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [None, np.arange(120) % 2])
def test_repeats_average_the_difficulties_of_seeds_that_follow(labels):
    embeddings = cloud()
    scores = DifficultyScorer(5, seed=7, repeats=3).fit(embeddings, labels).score(embeddings, labels)
    single = [DifficultyScorer(5, seed=s).fit(embeddings, labels).score(embeddings, labels) for s in (7, 8, 9)]
    np.testing.assert_array_equal(scores.cluster, single[0].cluster)
    np.testing.assert_array_equal(scores.distance, single[0].distance)
    expected = np.mean([run.difficulty for run in single], axis=0)
    np.testing.assert_allclose(scores.difficulty, expected, atol=1e-6)
    assert scores.difficulty.dtype == np.float32


def test_repeats_make_the_order_of_the_rows_stable():
    embeddings = np.random.default_rng(0).normal(size=(2000, 20))
    agree = []
    for repeats in (1, 8):
        runs = [DifficultyScorer(20, seed=s, repeats=repeats).fit(embeddings).score(embeddings) for s in (0, 100)]
        agree.append(spearmanr(runs[0].difficulty, runs[1].difficulty).statistic)
    assert agree[1] > agree[0] + 0.3  # rows of no clusters, on which two runs hardly agree at all


def test_a_map_uses_no_gpu_since_it_may_run_in_a_forked_process(monkeypatch):
    scorer = DifficultyScorer(4).fit(cloud())
    monkeypatch.setitem(PartialState._shared_state, "device", torch.device("meta"))  # stands for a GPU
    assert scorer({"embedding": cloud().tolist()})["cluster"] == scorer({"embedding": cloud()})["cluster"]
    with pytest.raises(NotImplementedError, match="meta"):  # torch's own: elsewhere the device is used
        scorer.score(cloud())


@pytest.mark.parametrize("repeats, normalize", [(1, "minmax"), (1, None), (3, "rank")])
@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("outliers", [0, 3])
def test_to_fit_and_score_at_once_gives_the_same_bits(repeats, normalize, labelled, outliers):
    rows, labels = make_blobs(300, 6, centers=4, random_state=0)
    rows[:outliers] += 1e4  # in clusters of their own, without prototypes
    labels = labels if labelled else None
    options = {"n_clusters": 5, "repeats": repeats, "normalize": normalize}
    options |= {"standardize": False, "l2_normalize": False}
    together, apart = DifficultyScorer(**options), DifficultyScorer(**options)
    found, expected = together.fit_score(rows, labels), apart.fit(rows, labels).score(rows, labels)
    assert together.outliers_ >= outliers
    for name in ("cluster", "distance", "difficulty", "outside"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert together.quantiles_ == apart.quantiles_
    assert torch.equal(together.centroids_, apart.centroids_)


def test_rows_that_were_assigned_to_fit_are_not_assigned_again(monkeypatch):
    rows = make_blobs(3000, 6, centers=4, random_state=0)[0]
    calls = []
    original = prototypes.assign
    monkeypatch.setattr(prototypes, "assign", lambda *args: calls.append(1) or original(*args))
    DifficultyScorer(4).fit_score(rows)
    assert len(calls) == 1


@pytest.mark.parametrize("labelled", [False, True])
def test_a_selection_is_fitted_and_scored_as_its_rows_alone(labelled):
    rows, labels = make_blobs(3000, 6, centers=4, random_state=0)
    chosen = np.flatnonzero(np.random.default_rng(0).random(3000) < 0.7)
    classes = labels[chosen] if labelled else None
    selection = Points.of([rows[:1000], rows[1000:]]).select(chosen)
    found = DifficultyScorer(3).fit_score(selection, classes)
    expected = DifficultyScorer(3).fit(rows[chosen], classes).score(rows[chosen], classes)
    for name in ("cluster", "distance", "difficulty"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize("n_clusters", [6, 3])
def test_difficulties_that_are_all_the_same_are_told(n_clusters, caplog):
    matrix = np.random.default_rng(0).normal(size=(6, 4))[np.arange(90) % 6]
    with caplog.at_level(logging.WARNING, "hf_curriculum"):
        found = DifficultyScorer(n_clusters).fit_score(matrix)
    told = "All 90 difficulties are 0: a curriculum by them draws as without one." in caplog.text
    assert told == (np.unique(found.difficulty).size == 1) == (n_clusters == 6)
    caplog.clear()
    DifficultyScorer(1).fit(matrix[:1])
    assert not caplog.records
