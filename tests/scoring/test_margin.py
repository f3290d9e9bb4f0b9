"""measure="margin": rows between their own class and another one."""

import json

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from safetensors.numpy import load_file
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from hf_curriculum import DifficultyScorer, add_difficulty, provenance
from hf_curriculum.data import difficulty_quantiles
from hf_curriculum.scoring.margin import looks_wrong


@pytest.fixture(scope="module")
def digits():
    """Vectors, labels of which 30 % are those of the next class, and the true ones."""
    matrix, truth = load_digits(return_X_y=True)
    wrong = np.random.default_rng(0).random(len(truth)) < 0.3
    return matrix.astype(np.float32), np.where(wrong, (truth + 1) % 10, truth), truth


@pytest.fixture(scope="module")
def scorer(digits):
    matrix, labels, _ = digits
    return DifficultyScorer(measure="margin").fit(matrix, labels)


def dataset_of(matrix, labels):
    names = [str(i) for i in range(int(max(labels)) + 1)]
    features = Features(
        {"embedding": List(Value("float32"), length=matrix.shape[1]), "label": ClassLabel(names=names)}
    )
    return Dataset.from_dict({"embedding": matrix, "label": labels}, features=features)


def margins(matrix, labels):
    """The definition, in float64: class means and a whitening by the covariance around them, four times."""
    deviation = matrix.std(0, dtype=np.float64)
    rows = (matrix - matrix.mean(0, dtype=np.float64)) / np.where(deviation > 0, deviation, 1)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    kept = np.ones(len(rows), bool)
    for _ in range(4):
        means = np.stack([rows[kept & (labels == k)].mean(0) for k in range(labels.max() + 1)])
        around = (rows - means[labels])[kept]
        covariance = around.T @ around / len(around)
        covariance = 0.7 * covariance + 0.3 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        apart = rows[:, None] - means
        distance = np.sqrt(np.einsum("nkd,de,nke->nk", apart, np.linalg.inv(covariance), apart, optimize=True))
        own = distance[np.arange(len(rows)), labels]
        others = distance.copy()
        others[np.arange(len(rows)), labels] = np.inf
        margin = own / (own + others.min(1))
        kept = np.zeros(len(rows), bool)
        for k in range(labels.max() + 1):
            of_class = np.flatnonzero(labels == k)
            kept[of_class[np.argsort(margin[of_class], kind="stable")[: -(-of_class.size // 2)]]] = True
    return margin, own, distance.argmin(1)


def test_it_is_the_definition(digits, scorer):
    matrix, labels, _ = digits
    margin, own, best = margins(matrix, labels)
    scores = scorer.score(matrix, labels)
    low, high = margin.min(), margin.max()
    np.testing.assert_allclose(scores.difficulty, (margin - low) / (high - low), atol=1e-4)
    np.testing.assert_allclose(scores.distance, own, rtol=1e-3)
    np.testing.assert_array_equal(
        scores.suggested_label[np.abs(margin - 0.5) > 1e-4], best[np.abs(margin - 0.5) > 1e-4]
    )
    np.testing.assert_array_equal(scorer.centroid_labels_[scores.cluster], labels)
    assert scores.outside == 0
    raw = DifficultyScorer(measure="margin", normalize=None).fit(matrix, labels).score(matrix, labels)
    np.testing.assert_allclose(raw.difficulty, margin, atol=1e-4)
    ranks = DifficultyScorer(measure="margin", normalize="rank").fit(matrix, labels).score(matrix, labels)
    np.testing.assert_allclose(ranks.difficulty, np.argsort(np.argsort(margin)) / (len(margin) - 1), atol=2e-3)


def test_wrong_labels_are_hard_and_the_right_one_is_suggested(digits, scorer):
    matrix, labels, truth = digits
    wrong = labels != truth
    margin, distance = (
        one.fit(matrix, labels).score(matrix, labels).difficulty
        for one in (DifficultyScorer(measure="margin"), DifficultyScorer(n_clusters=1))
    )
    assert roc_auc_score(wrong, margin) > 0.96 > roc_auc_score(wrong, distance) + 0.03
    easiest = np.argsort(margin)[: len(margin) // 2]
    assert wrong[easiest].mean() < wrong[np.argsort(distance)[: len(margin) // 2]].mean() / 2
    assert np.mean(scorer.score(matrix, labels).suggested_label[wrong] == truth[wrong]) > 0.85


def test_classes_may_have_several_prototypes():
    generator = np.random.default_rng(0)
    centers = np.array([[0, 0], [20, 20], [0, 20], [20, 0]])  # of two classes that share their mean
    lump = np.arange(400) % 4
    matrix, labels = centers[lump] + generator.normal(size=(400, 2)), lump // 2
    wrong = generator.random(400) < 0.1
    given = np.where(wrong, 1 - labels, labels)
    options = {"measure": "margin", "standardize": False, "l2_normalize": False}
    one, two = (DifficultyScorer(k, **options).fit(matrix, given).score(matrix, given) for k in (1, 2))
    assert roc_auc_score(wrong, two.difficulty) == 1 > roc_auc_score(wrong, one.difficulty)
    np.testing.assert_array_equal(two.suggested_label, labels)


def test_it_is_a_function_of_a_row(digits, scorer):
    matrix, labels, _ = digits
    whole = scorer.score(matrix, labels)
    parts = [scorer.score(matrix[i : i + 7], labels[i : i + 7]).difficulty for i in range(0, 70, 7)]
    np.testing.assert_allclose(np.concatenate(parts), whole.difficulty[:70], atol=1e-6)
    rows = dataset_of(matrix[:70], labels[:70]).to_iterable_dataset()
    streamed = list(rows.map(scorer, batched=True, batch_size=9, fn_kwargs={"label_column": "label"}))
    np.testing.assert_allclose([row["difficulty"] for row in streamed], whole.difficulty[:70], atol=1e-6)
    assert [row["suggested_label"] for row in streamed] == whole.suggested_label[:70].tolist()
    half = scorer({"embedding": [matrix[0], matrix[1], None], "label": [labels[0], None, 0]}, label_column="label")
    assert [value is None for value in half["difficulty"]] == [False, True, True]
    assert half["suggested_label"] == [whole.suggested_label[0], None, None]


def test_to_fit_and_score_at_once_gives_the_same_bits_and_quantiles_are_those_of_the_difficulty(digits, scorer):
    matrix, labels, _ = digits
    together = DifficultyScorer(measure="margin")
    found, expected = together.fit_score(matrix, labels), scorer.score(matrix, labels)
    for name in ("cluster", "distance", "difficulty", "outside", "suggested_label", "margin"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert together.quantiles_ == scorer.quantiles_ == difficulty_quantiles(expected.difficulty)


def test_a_class_of_one_row_is_hard():
    matrix = np.random.default_rng(0).normal(size=(101, 4))
    labels = np.repeat([0, 1, 2], [50, 50, 1])
    for normalize in ("minmax", "rank"):
        scores = DifficultyScorer(measure="margin", normalize=normalize).fit(matrix, labels).score(matrix, labels)
        assert scores.difficulty[-1] == 1
        assert np.median(scores.difficulty[:-1]) < 1


def test_rows_that_coincide_have_finite_scores():
    labels = np.arange(20) % 2
    for matrix in (np.ones((20, 3)), np.eye(2, 3)[labels]):
        scores = DifficultyScorer(measure="margin").fit(matrix, labels).score(matrix, labels)
        assert np.isfinite(scores.difficulty).all() and np.isfinite(scores.distance).all()


def test_it_is_saved_and_loaded(tmp_path, digits, scorer):
    matrix, labels, _ = digits
    scorer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["measure"], config["format_version"]) == ("margin", 2)  # which older readers refuse
    assert load_file(tmp_path / "model.safetensors")["directions"].shape == (64, 64)
    assert "margin own / (own + other)" in (tmp_path / "README.md").read_text()
    loaded, before = DifficultyScorer.from_pretrained(tmp_path).score(matrix, labels), scorer.score(matrix, labels)
    for name in ("cluster", "distance", "difficulty", "suggested_label"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(before, name))


def test_a_scorer_of_an_earlier_release_measures_distances(tmp_path, digits):
    matrix, labels, _ = digits
    scorer = DifficultyScorer(1).fit(matrix, labels)
    scorer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config.pop("measure") == "distance"
    assert config["format_version"] == 1  # which earlier releases read
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = DifficultyScorer.from_pretrained(tmp_path)
    assert loaded.measure == "distance"
    np.testing.assert_array_equal(loaded.score(matrix, labels).difficulty, scorer.score(matrix, labels).difficulty)


def test_add_difficulty_says_which_labels_look_wrong(caplog, digits):
    matrix, labels, truth = digits
    caplog.set_level("INFO", "hf_curriculum")
    scored = add_difficulty(dataset_of(matrix, labels), label_column="label")
    assert scored.features["suggested_label"] == scored.features["label"]
    suggested = np.array(scored["suggested_label"][:])
    count = int(np.sum(suggested != labels))
    record = provenance(scored)
    assert record["measure"] == "margin"
    assert abs(record["doubtful_labels"] / np.sum(labels != truth) - 1) < 0.1  # an estimate of the planted ones
    assert f"About {record['doubtful_labels']} of 1797 labels look wrong, an estimate" in caplog.text
    assert f"{count} rows fit another class better" in caplog.text
    assert "10 clusters: one prototype a class. Difficulty is by measure='margin'." in caplog.text
    hardest = scored.sort("difficulty", reverse=True).select(range(100))
    assert np.mean(np.array(hardest["suggested_label"][:]) != np.array(hardest["label"][:])) == 1
    by_distance = add_difficulty(dataset_of(matrix, labels), label_column="label", measure="distance")
    assert "suggested_label" not in by_distance.column_names


def test_labels_look_wrong_that_stand_as_near_to_another_class_as_half_of_its_rows():
    """By hand: class 0 has the margins .1, .2, .3 (half at .2 or less), class 1 .2, .4, .9."""
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 0])
    margin = np.array([0.1, 0.2, 0.3, 0.2, 0.4, 0.45, 0.9, 0.55], np.float32)
    suggested = np.array([0, 0, 0, 1, 1, 1, 0, 1])
    # the medians are .25 and .425: .9 is at .1 of class 0; .55 at .45 of class 1
    np.testing.assert_array_equal(np.flatnonzero(looks_wrong(margin, labels, suggested)), [6])
    only = looks_wrong(margin[6:], np.array([1, 1]), np.array([0, 0]))  # rows of class 0 are not there
    assert not only.any()


def test_without_wrong_labels_few_look_wrong(digits):
    matrix, _, truth = digits
    record = provenance(add_difficulty(dataset_of(matrix, truth), label_column="label", measure="margin"))
    assert record["doubtful_labels"] < 0.02 * truth.size


@pytest.mark.parametrize(
    "options, labels, message",
    [
        ({}, None, 'measure="margin" compares the classes of rows: pass labels'),
        ({}, np.zeros(20, int), "all 20 rows are of class"),
        ({}, np.array([0, 1, None] * 6 + [0, 1]), "label of row 2 is missing \\(6 such rows\\)"),
        ({}, np.array([0, 1.0, np.nan] * 6 + [0, 1]), "label of row 2 is missing"),
        ({"repeats": 2}, np.arange(20) % 2, "repeats=2 averages"),
        ({"measure": "Margin"}, np.arange(20) % 2, "measure must be one of .*got 'Margin'"),
    ],
)
def test_bad_input_is_refused(options, labels, message):
    with pytest.raises(ValueError, match=message):
        DifficultyScorer(**{"measure": "margin"} | options).fit(np.random.default_rng(0).normal(size=(20, 3)), labels)


def test_add_difficulty_refuses_bad_input_before_it_embeds(digits, scorer):
    matrix, labels, _ = digits
    dataset = dataset_of(matrix[:50], labels[:50])

    def never(batch):
        raise AssertionError

    with pytest.raises(ValueError, match="pass labels"):
        add_difficulty(dataset, never, measure="margin")
    with pytest.raises(ValueError, match="all 50 rows are of class 3"):
        add_difficulty(dataset.map(lambda row: {"label": 3}), never, measure="margin", label_column="label")
    with pytest.raises(ValueError, match="measure must be one of"):
        add_difficulty(dataset, never, measure="votes", label_column="label")
    with pytest.raises(TypeError, match="measure are those of the scorer"):
        add_difficulty(dataset, scorer=DifficultyScorer(1), measure="margin", label_column="label")
    with pytest.raises(ValueError, match="fitted with labels"):
        add_difficulty(dataset, never, scorer=scorer)
    with pytest.raises(ValueError, match="fitted with labels"):
        scorer.score(matrix)


def test_quantiles_are_those_of_the_difficulties_in_the_space_of_the_margin():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 400)
    embeddings = rng.normal(size=(400, 6)) * [1, 1, 1, 1, 9, 9] + 3 * np.eye(6)[labels]
    scorer = DifficultyScorer(measure="margin").fit(embeddings, labels)
    found = scorer.score(embeddings, labels).difficulty
    np.testing.assert_array_equal(scorer.quantiles_, difficulty_quantiles(found))
