import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, make_blobs
from sklearn.metrics import adjusted_rand_score, davies_bouldin_score, pairwise_distances

from hf_curriculum.scoring import choice
from hf_curriculum.scoring import kmeans as clusters
from hf_curriculum.scoring.kmeans import davies_bouldin, plus_plus
from hf_curriculum.scoring.points import Points, fit_space

SEEDS = range(5)


def in_place(points):
    return Points.of([np.asarray(points)])


def kmeans(points, *args, **options):
    return clusters.kmeans(in_place(points), *args, **options)


def lloyd(points, *args):
    return clusters.lloyd(in_place(points), *args)


def assign(points, centroids):
    return clusters.assign(in_place(points), centroids)


def choose_k(points, *args, **options):
    return choice.choose_k(in_place(points), *args, **options)


def blobs(k, dim=32, rows=30, spread=1.0, seed=0):
    """``k`` planted clusters, whose centres are 10 or more apart in most dimensions, and the cluster of each row."""
    points, planted = make_blobs(rows * k, dim, centers=k, cluster_std=spread, random_state=seed)
    return torch.from_numpy(points.astype(np.float32)), planted


def rows_of(*values):
    return torch.tensor(values, dtype=torch.float32).reshape(len(values), -1)


def inertia(points, centroids):
    return float(np.square(pairwise_distances(points, centroids)).min(1).sum())


def group_means(points, cluster, k):
    return torch.from_numpy(np.stack([points.numpy()[cluster == c].mean(0, dtype=np.float64) for c in range(k)]))


# --- kmeans -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [2, 5, 20])
@pytest.mark.parametrize("seed", SEEDS)
def test_kmeans_finds_planted_blobs(k, seed):
    points, planted = blobs(k, seed=seed)
    cluster, _ = assign(points, kmeans(points, k, seed))
    assert adjusted_rand_score(planted, cluster) == 1


@pytest.mark.parametrize("k, spread", [(5, 1), (20, 1), (20, 6), (40, 10)])
def test_inertia_is_that_of_scikit_learn(k, spread):
    ours, theirs = [], []
    for seed in SEEDS:
        points, _ = blobs(k, dim=8, rows=20, spread=spread, seed=seed)
        ours.append(inertia(points, kmeans(points, k, seed)))
        theirs.append(KMeans(k, n_init=1, random_state=seed).fit(points.numpy()).inertia_)
    assert np.mean(ours) <= 1.03 * np.mean(theirs)
    assert np.median(np.divide(ours, theirs)) <= 1.03


@pytest.mark.parametrize("seed", SEEDS)
def test_centroids_are_those_worked_out_by_hand(seed):
    points = rows_of(0, 1, 10, 11, 30)
    expected = {1: [10.4], 2: [5.5, 30], 3: [0.5, 10.5, 30], 5: [0, 1, 10, 11, 30]}
    for k, values in expected.items():
        centroids = kmeans(points, k, seed)
        assert centroids.dtype == torch.float32
        assert sorted(centroids.flatten().tolist()) == pytest.approx(values, abs=1e-5)


def test_centroids_are_the_means_of_their_rows():
    points, _ = blobs(10, spread=3)
    centroids = kmeans(points, 10, seed=0)
    cluster, _ = assign(points, centroids)
    np.testing.assert_allclose(centroids, group_means(points, cluster, 10), atol=1e-5)


def test_iterations_lower_the_inertia():
    points, _ = blobs(20, dim=8, spread=8)
    start = plus_plus(in_place(points), 20, 0)
    values = [inertia(points, lloyd(points, start, iterations)) for iterations in range(8)]
    assert values == sorted(values, reverse=True) and values[0] > values[1] > values[7]


def test_lloyd_is_that_of_scikit_learn_from_the_same_start():
    points, _ = blobs(20, dim=8, spread=8)
    start = plus_plus(in_place(points), 20, 0)
    expected = KMeans(20, init=start.numpy(), n_init=1, max_iter=300, tol=0).fit(points.numpy())
    np.testing.assert_allclose(lloyd(points, start, 300), expected.cluster_centers_, atol=1e-4)


def test_a_start_on_a_sample_costs_hardly_any_inertia():
    points = torch.from_numpy(np.random.default_rng(0).normal(size=(20_000, 16)).astype(np.float32))
    ours = kmeans(points, 50, 0)  # three quarters of the iterations see 3,200 of the rows
    every = lloyd(points, plus_plus(in_place(points), 50, 0), 20)
    assert inertia(points, ours) <= 1.01 * inertia(points, every)


def test_the_first_rows_of_a_start_are_a_start_for_fewer_clusters():
    points, planted = blobs(8)
    start = plus_plus(in_place(points), 20, 3)
    assert torch.equal(plus_plus(in_place(points), 20, 3), start)
    rows = [int(np.flatnonzero((points == row).all(1))[0]) for row in start]
    assert len(set(rows)) == 20  # rows of the data, and no row twice
    assert sorted(planted[rows[:8]]) == list(range(8))  # one of each blob


def greedy_start(rows, k, seed):
    """k-means++ that keeps the best of several draws, in float64 and from the formula."""
    generator = torch.Generator().manual_seed(seed)
    chosen = [int(torch.randint(len(rows), (1,), generator=generator))]
    trials = min(64, max(8, 2048 // k))
    nearest = ((rows - rows[chosen]) ** 2).sum(1)
    for _ in range(k - 1):
        draws = torch.rand(trials, generator=generator, dtype=torch.float64).numpy()
        reach = np.cumsum(nearest)
        drawn = np.searchsorted(reach, draws * reach[-1], side="right").clip(max=len(rows) - 1)
        closer = np.minimum(nearest, ((rows[drawn, None] - rows) ** 2).sum(2))
        best = closer.sum(1).argmin()
        chosen.append(drawn[best])
        nearest = closer[best]
    return rows[chosen]


@pytest.mark.parametrize("scale", [1e-12, 1, 1e12])
@pytest.mark.parametrize("k", [1, 7, 60])
def test_a_start_is_that_of_the_formula(k, scale):
    points = blobs(20, dim=8, spread=3)[0][:1500] * np.float32(scale)
    start = plus_plus(in_place(points), k, 5)
    np.testing.assert_array_equal(start, greedy_start(points.numpy().astype(np.float64), k, 5))


def test_rows_that_are_prototypes_already_are_not_drawn_again():
    points = torch.eye(40)[[0] * 1000 + list(range(40))]  # one row a thousand times
    assert len(plus_plus(in_place(points), 40, 0).unique(dim=0)) == 40


def test_blobs_far_from_the_origin_are_found():
    points, planted = blobs(8, spread=0.5)
    points += 100_000
    assert adjusted_rand_score(planted, assign(points, kmeans(points, 8, 0))[0]) == 1


@pytest.mark.parametrize("distinct", [1, 2, 3, 7])
@pytest.mark.parametrize("k", [1, 2, 8])
def test_duplicates_give_no_nan_and_lie_on_their_centroids(distinct, k):
    points = torch.from_numpy(np.random.default_rng(0).normal(size=(distinct, 6)).astype(np.float32)).repeat(10, 1)
    centroids = kmeans(points, k, seed=0)
    assert centroids.shape == (k, 6)
    assert bool(centroids.isfinite().all())
    cluster, distance = assign(points, centroids)
    assert len(np.unique(cluster)) == min(k, distinct)
    if k >= distinct:
        assert float(distance.max()) < 1e-6


def test_more_rows_than_the_start_samples_are_clustered():
    points, planted = blobs(5, dim=4, rows=4400)
    assert adjusted_rand_score(planted, assign(points, kmeans(points, 5, 0))[0]) > 0.999


def test_a_centroid_without_rows_goes_beside_one_that_has_most():
    points = rows_of(*np.linspace(0, 1, 20), 50, 51)
    start = torch.tensor([[0.5], [50.5], [1e3], [-1e3]])  # the last two are nearest to no row
    moved = lloyd(points, start, 1).flatten().tolist()
    assert moved[:2] == pytest.approx([0.5, 50.5], abs=1e-5)
    assert sorted(moved[2:]) == pytest.approx([0.5 * (1 + 1 / 1024), 50.5 * (1 + 1 / 1024)], abs=1e-5)
    end = lloyd(points, start, 20)
    assert len(np.unique(assign(points, end)[0])) == 4
    assert inertia(points, end) < 0.5 * inertia(points, start[:2])


def test_blocks_are_one_matrix():
    points, _ = blobs(6)
    apart = Points.of([points[:7].numpy(), points[7:8].numpy(), points[8:].numpy().astype(np.float64)])
    assert torch.equal(clusters.kmeans(apart, 6, 0), kmeans(points, 6, 0))


def test_equal_seeds_give_equal_centroids_and_others_differ():
    points, _ = blobs(20, spread=10)
    first = kmeans(points, 20, seed=3)
    torch.rand(7)  # the global state has no part in it
    assert torch.equal(kmeans(points, 20, seed=3), first)
    assert not torch.equal(kmeans(points, 20, seed=4), first)


def test_kmeans_leaves_the_rows_and_the_global_random_state_alone():
    points, _ = blobs(3)
    before, state = points.clone(), torch.get_rng_state()
    centroids = kmeans(points, 3, seed=0)
    centroids += 1
    assert torch.equal(points, before)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("n, k", [(1, 1), (500, 40), (3000, 7)])
def test_segments_are_the_numbers_and_sums_of_the_rows_of_each_cluster(n, k):
    rng = np.random.default_rng(0)
    rows, cluster = (
        torch.from_numpy(rng.normal(size=(n, 5)).astype(np.float32)),
        torch.from_numpy(rng.integers(k, size=n)),
    )
    counts, sums = clusters.segments(rows, cluster, k + 2)  # the last two have no rows
    assert torch.equal(counts, torch.bincount(cluster, minlength=k + 2))
    torch.testing.assert_close(sums, torch.zeros(k + 2, 5).index_add_(0, cluster, rows), rtol=1e-4, atol=1e-4)
    assert torch.equal(sums[k:], torch.zeros(2, 5))


def test_sums_of_long_segments_are_hardly_rounded():
    """Added up one after the other, half a million numbers of one size are off by 1e-5 and more."""
    rows = torch.rand(500_000, 2, generator=torch.Generator().manual_seed(0))
    cluster = torch.zeros(len(rows), dtype=torch.int64)
    cluster[::5] = 1
    counts, sums = clusters.segments(rows, cluster, 2)
    assert counts.tolist() == [400_000, 100_000]
    for k in range(2):
        torch.testing.assert_close(sums[k].double(), rows[cluster == k].double().sum(0), rtol=1e-6, atol=0)


def test_points_that_are_held_give_the_same_bits():
    rows = np.random.default_rng(0).normal(2, 3, size=(9000, 6)).astype(np.float32)
    points = Points.of([rows[:5000], rows[5000:]])
    points = points.inside(fit_space(points, standardize=True, unit=True))
    held = points.held()
    assert held.copied is not None
    centroids = clusters.kmeans(points, 30, 0)
    assert torch.equal(clusters.kmeans(held, 30, 0), centroids)
    for found, expected in zip(clusters.assign(held, centroids), clusters.assign(points, centroids), strict=True):
        np.testing.assert_array_equal(found, expected)


# --- assign -------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    n=st.integers(1, 300),
    k=st.integers(1, 40),
    dim=st.integers(1, 20),
    offset=st.sampled_from([0, 1, 1000]),
    scale=st.sampled_from([1e-3, 1, 100]),
    seed=st.integers(0, 2**32 - 1),
)
def test_assign_is_the_nearest_of_all_centroids(n, k, dim, offset, scale, seed):
    rng = np.random.default_rng(seed)
    points = (offset + scale * rng.normal(size=(n, dim))).astype(np.float32)
    centroids = (offset + scale * rng.normal(size=(k, dim))).astype(np.float32)
    cluster, distance = assign(torch.from_numpy(points), torch.from_numpy(centroids))
    every = np.linalg.norm(points[:, None].astype(np.float64) - centroids[None], axis=2)
    rounding = 1e-6 * max(scale, np.abs(points).max())
    assert (cluster.dtype, distance.dtype) == (np.int32, np.float32)
    np.testing.assert_allclose(distance, every[np.arange(n), cluster], rtol=1e-5, atol=rounding)
    np.testing.assert_allclose(distance, every.min(1), rtol=1e-4, atol=rounding)


def test_assign_covers_more_rows_than_one_product_takes():
    points, planted = blobs(4, dim=3, rows=5000)
    centroids = group_means(points, planted, 4).float()
    cluster, distance = assign(points, centroids)
    every = pairwise_distances(points.double(), centroids.double())
    np.testing.assert_array_equal(cluster, every.argmin(1))
    np.testing.assert_allclose(distance, every.min(1), rtol=1e-5)


def test_distances_to_a_close_centroid_are_exact():
    centroids = rows_of([100.0, -50.0], [0.0, 0.0])
    points = centroids + torch.tensor([[0.0, 2.0**-12], [0.0, 0.0]])
    assert assign(points, centroids)[1].tolist() == [2.0**-12, 0]


# --- davies_bouldin -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n, k, dim", [(10, 2, 1), (60, 5, 3), (300, 25, 16)])
def test_davies_bouldin_is_that_of_scikit_learn(n, k, dim, seed):
    rng = np.random.default_rng(seed)
    cluster = rng.permutation(np.arange(n) % k)
    points = torch.from_numpy((rng.normal(size=(n, dim)) + 2 * cluster[:, None]).astype(np.float32))
    centroids = group_means(points, cluster, k).float()
    distance = (points - centroids[cluster]).norm(dim=1)
    expected = davies_bouldin_score(points.numpy(), cluster)
    assert davies_bouldin(centroids, cluster, distance.numpy()) == pytest.approx(expected, rel=1e-5)


def test_davies_bouldin_by_hand_leaves_out_clusters_without_rows():
    # Mean distances 1 and 2, centroids 10 apart: (1 + 2) / 10 both ways. The third centroid has no rows.
    index = davies_bouldin(rows_of(0, 10, 1), np.array([0, 0, 1, 1]), np.array([1.0, 1.0, 2.0, 2.0]))
    assert index == pytest.approx(0.3)


@pytest.mark.parametrize(
    "centroids, cluster, distance",
    [
        ([0, 0], [0, 0, 1, 1], 1),
        ([0, 0], [0, 0, 1, 1], 0),
        ([0, 9, 9], [0, 1, 2, 2], 1),
        ([0, 5], [0, 0, 0, 0], 1),
        ([3], [0, 0, 0, 0], 0),
    ],
)
def test_davies_bouldin_without_two_clusters_apart_is_the_worst(centroids, cluster, distance):
    assert davies_bouldin(rows_of(*centroids), np.array(cluster), np.full(4, float(distance))) == math.inf


# --- the number of clusters ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("planted", [5, 20])
def test_choose_k_finds_the_planted_number(planted, seed):
    points, _ = blobs(planted, rows=12, seed=seed)
    candidates = [2, 3, 4, 5, 6, 7, 10, 14, 18, 19, 20, 21, 22, 30]
    assert choose_k(points, candidates, seed)[0] == planted


def lumps(planted, dim, spread, equal, rows=6000):
    """Clusters whose radius is ``spread`` times the usual distance of a centre to the nearest other one."""
    generator = np.random.default_rng(planted + dim)
    centers = generator.normal(size=(planted, dim))
    apart = pairwise_distances(centers)
    np.fill_diagonal(apart, np.inf)
    shares = np.full(planted, 1 / planted) if equal else generator.dirichlet(np.full(planted, 3))
    noise = generator.normal(size=(rows, dim)) * spread * np.median(apart.min(1)) / np.sqrt(dim)
    points = Points.of([(centers[generator.choice(planted, rows, p=shares)] + noise).astype(np.float32)])
    return points.inside(fit_space(points, standardize=True, unit=True))


@pytest.mark.slow
@pytest.mark.costly
@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("dim, spread", [(8, 0.1), (8, 0.3), (32, 0.5), (384, 0.4)])
@pytest.mark.parametrize("planted", [3, 6, 24, 120, 300])
def test_the_planted_number_is_found_to_within_a_third(planted, dim, spread, equal):
    if dim == 384 and (equal or planted in (6, 24)):
        return  # the long ones
    points, missed = lumps(planted, dim, spread, equal), 0
    for seed in range(42, 45):
        k, curve, why = choice.find_k(points, seed)
        missed += abs(k - planted) > planted / 3
        assert abs(k - planted) <= 0.4 * planted
        assert why == choice.MINIMUM
        assert curve[k] <= min(curve[tried] for tried in curve if k / 1.4 < tried < 1.4 * k)
    assert missed <= 1  # one in 200 seeds is


@pytest.mark.parametrize("planted, rows", [(5, 20), (5, 80), (20, 20), (20, 60)])
def test_the_planted_number_of_few_rows_is_found(planted, rows):
    points, _ = blobs(planted, rows=rows)
    k, _, why = choice.find_k(in_place(points), seed=0)
    assert abs(k - planted) <= planted / 10
    assert why == choice.MINIMUM


def without_clusters(kind, n):
    generator = np.random.default_rng(0)
    return {
        "gaussian": lambda: generator.normal(size=(n, 32)),
        "uniform": lambda: generator.uniform(size=(n, 8)),
        "plane": lambda: generator.normal(size=(n, 2)),
        "heavy tails": lambda: generator.standard_t(3, size=(n, 16)),
        "digits": lambda: load_digits().data[:n],
    }[kind]()


@pytest.mark.parametrize("n", [100, 1700, 6000])
@pytest.mark.parametrize("kind", ["gaussian", "uniform", "plane", "heavy tails", "digits"])
def test_data_without_clusters_are_said_to_have_none(kind, n):
    matrix = without_clusters(kind, n)
    points = Points.of([matrix])
    k, curve, why = choice.find_k(points.inside(fit_space(points, standardize=True, unit=True)), seed=42)
    assert (k, why) == (round(math.sqrt(len(matrix))), "the index has no minimum; K = sqrt(N)")
    assert len(curve) > 2


@settings(max_examples=30, deadline=None, derandomize=True)
@given(n=st.integers(1, 60), distinct=st.integers(1, 8), seed=st.integers(0, 99))
def test_any_number_of_rows_gets_a_possible_number(n, distinct, seed):
    matrix = np.random.default_rng(seed).normal(size=(distinct, 3))[np.arange(n) % distinct]
    k, curve, _ = choice.find_k(in_place(matrix), seed)
    assert 1 <= k <= n
    assert all(2 <= tried <= n for tried in curve)


def test_rows_that_coincide_are_as_many_clusters_as_are_distinct():
    matrix = np.random.default_rng(0).normal(size=(10, 6))[np.arange(400) % 10]
    assert choice.find_k(in_place(matrix), 0) == (10, {}, choice.DISTINCT)
    matrix = np.random.default_rng(0).normal(size=(100, 6))[np.arange(2000) % 100]
    k, curve, why = choice.find_k(in_place(matrix), 0)
    assert (k, why, max(curve)) == (45, choice.NO_MINIMUM, 16)  # four distinct rows a cluster, and more


@pytest.mark.parametrize("copies", [60, 600])
def test_copies_are_no_clusters(copies):
    """Of rows without clusters, some are one and the same: beside them all others would be the second cluster."""
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(2000, 16)) * np.geomspace(1, 0.2, 16)
    same = rng.choice(2000, copies, replace=False)
    matrix[same] = 4 * matrix[same[0]]
    k, curve, why = choice.find_k(in_place(matrix), 0)
    assert (k, why, max(curve)) == (45, choice.NO_MINIMUM, 256)


def test_clusters_are_found_whatever_rows_are_there_again():
    points, _ = blobs(12, dim=16, rows=100)
    rows = np.random.default_rng(0).choice(len(points), 3000)
    k, _, why = choice.find_k(in_place(points[rows]), 0)
    assert why == choice.MINIMUM and 9 <= k <= 15


def test_curve_is_the_index_of_each_candidate():
    points, _ = blobs(6, dim=3, spread=3)
    best, curve = choose_k(points, [1, 2, 4, 8], seed=5)
    assert list(curve) == [1, 2, 4, 8]
    assert curve.pop(1) == math.inf
    start = plus_plus(in_place(points), 8, 5)
    for k, index in curve.items():
        cluster, _ = assign(points, lloyd(points, start[:k], 10))
        assert index == pytest.approx(
            davies_bouldin_score(points.numpy(), cluster), rel=0.02
        )  # centroids may yet move
    assert best == min(curve, key=curve.get)


def test_choose_k_takes_a_sample_of_many_rows():
    points, _ = blobs(5, dim=8, rows=4200)
    best, curve = choose_k(points, [2, 5, 9], seed=0)
    of_all = davies_bouldin(centroids := kmeans(points, 5, seed=0), *assign(points, centroids))
    assert best == 5
    assert curve[5] == pytest.approx(of_all, rel=0.02)
    assert curve[5] != of_all


@pytest.mark.parametrize("planted, rows", [(5, 400), (20, 2000), (200, 40_000)])
def test_planted_numbers_are_found_whatever_the_number_of_rows(planted, rows):
    points, _ = blobs(planted, rows=rows // planted)
    k, _, why = choice.find_k(in_place(points), seed=0)
    assert abs(k - planted) <= planted / 10
    assert why == choice.MINIMUM


def test_the_number_is_that_of_an_exhaustive_scan_by_scikit_learn():
    points, _ = blobs(7, dim=16, spread=4)
    expected = {}
    for k in range(2, 21):
        cluster = KMeans(k, n_init=10, random_state=0).fit_predict(points.numpy())
        expected[k] = davies_bouldin_score(points.numpy(), cluster)
    assert choose_k(points, list(range(2, 21)), seed=0)[0] == min(expected, key=expected.get) == 7
