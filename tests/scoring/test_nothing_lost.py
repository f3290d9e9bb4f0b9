"""What the user had stays as it was: split, info, format, columns of their own, the mode of a module; equal rows."""

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetInfo

from hf_curriculum import DifficultyScorer, add_difficulty, add_embeddings
from hf_curriculum.data import as_dataset

ROWS = {"text": ["red cat", "blue dog", "green bird", "red bird"] * 5, "x": list(range(20))}
VIEWS = {
    "plain": lambda d: d,
    "torch": lambda d: d.with_format("torch"),
    "some columns": lambda d: d.with_format("numpy", columns=["x"], output_all_columns=True, dtype=np.float32),
    "transform": lambda d: d.with_transform(dict),
    "shuffled": lambda d: d.shuffle(seed=1).with_format("numpy"),
    "scored before": lambda d: add_difficulty(d, "builtin/tfidf", n_clusters=3).with_format("torch"),
}


def format_of(dataset):
    return {name: sorted(value) if name == "columns" else value for name, value in dataset.format.items()}


@pytest.mark.parametrize("view", VIEWS)
def test_split_info_and_format_stay_as_map_keeps_them(view):
    info = DatasetInfo(description="d", license="MIT", citation="c", version="1.2.3")
    dataset = VIEWS[view](Dataset.from_dict(ROWS, split="test", info=info))
    scored = add_difficulty(dataset, "builtin/tfidf", n_clusters=2)
    new = {"embedding": [1.0], "cluster": 0, "distance": 1.0, "difficulty": 1.0}
    given, kept = ({k: v for k, v in d.format.items() if k != "columns"} for d in (dataset, scored))
    assert kept == given
    assert set(format_of(scored)["columns"]) == set(dataset.format["columns"]) | set(new)
    assert str(scored.split) == "test"
    assert (scored.info.description, scored.info.license, scored.info.citation) == ("d", "MIT", "c")
    assert str(scored.info.version) == "1.2.3" and scored.info.features == scored.features


@pytest.mark.parametrize("name", ["difficulty", "distance", "cluster", "embedding"])
def test_a_column_of_the_user_s_own_is_not_overwritten(name):
    dataset = Dataset.from_dict({**ROWS, name: [0.5] * 20})
    with pytest.raises(
        ValueError, match=rf"Column '{name}' .*rename_column\('{name}', 'own_{name}'\).*remove_columns"
    ):
        add_difficulty(dataset, "builtin/tfidf", n_clusters=2)
    renamed = add_difficulty(dataset.rename_column(name, f"own_{name}"), "builtin/tfidf", n_clusters=2)
    assert renamed[f"own_{name}"][:] == [0.5] * 20


@pytest.mark.parametrize(
    "last, message", [({"a": 1}, r"Row 2 lacks \['b'\]"), ({"a": 1, "b": 2, "c": 3}, r"has \['c'\]")]
)
def test_a_row_that_gains_or_loses_a_key_is_named(last, message):
    class Rows(torch.utils.data.Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return last if index == 2 else {"a": index, "b": 0}

    with pytest.raises(ValueError, match=message):
        as_dataset(Rows())


class Caching(torch.nn.Module):
    """Keeps a tensor of its first forward pass, as rotary embeddings do."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 3))
        self.layers[1].eval()
        self.kept = None

    def forward(self, rows):
        if self.kept is None:
            self.kept = rows.new_ones(2) * 2
        return self.layers(rows * self.kept)


def test_a_module_can_be_trained_after_it_embedded(tmp_path):
    module = Caching().train()
    module.layers[1].eval()
    before = [part.training for part in module.modules()]
    data = Dataset.from_dict({"x": [[float(i), 1.0] for i in range(8)]})
    add_embeddings(data, module, input_column="x", transform=torch.tensor, cache_dir=str(tmp_path))
    assert [part.training for part in module.modules()] == before
    module(torch.ones(2, 2)).sum().backward()
    assert module.layers[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("normalize", ["minmax", "rank", None])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("options", [{}, {"standardize": False}, {"standardize": False, "l2_normalize": False}])
def test_rows_that_are_equal_up_to_rounding_are_equal_in_difficulty(normalize, scale, options):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(1000, 24))
    rows[:60] = rows[0] * (1 + 3e-7 * rng.normal(size=(60, 24)))
    for k in (1, 8, 30):
        scorer = DifficultyScorer(k, normalize=normalize, **options).fit(scale * rows)
        found = scorer.score(scale * rows).difficulty[:60]
        assert np.ptp(found) <= 1e-5 * max(1, scale if not options.get("l2_normalize", True) else 1)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e20, 1e30])
def test_embeddings_of_extreme_size_have_right_distances(scale):
    rows = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
    options = {"standardize": False, "l2_normalize": False, "normalize": None, "n_clusters": 3}
    plain = DifficultyScorer(**options).fit(rows)
    unit = np.float32(2.0 ** round(np.log2(scale)))  # exact
    scaled = DifficultyScorer(**options).fit(rows * unit).score(rows * unit)
    np.testing.assert_allclose(scaled.distance / unit, plain.score(rows).distance, rtol=1e-5)
    np.testing.assert_array_equal(scaled.difficulty, scaled.distance)


TOPICS = {
    "zh": ["猫喜欢吃鱼和睡觉", "股票市场今天大幅上涨"],
    "ja": ["ねこはさかながすきです", "かぶしきしじょうがあがる"],
    "th": ["แมวชอบกินปลาและนอน", "ตลาดหุ้นวันนี้ปรับตัวขึ้น"],
}


@pytest.mark.parametrize("language", TOPICS)
def test_tfidf_tells_topics_apart_in_languages_without_spaces(language, tmp_path):
    rng = np.random.default_rng(0)
    topic = rng.integers(0, 2, 80)
    texts = []
    for which in topic:  # each text is a piece of its topic's sentence among common characters
        sentence = TOPICS[language][which]
        start = rng.integers(0, len(sentence) - 5)
        texts.append(sentence[start : start + 5] + "".join(rng.choice(list("".join(TOPICS[language])), 3)))
    data = Dataset.from_dict({"text": texts})
    vectors = np.array(add_embeddings(data, "builtin/tfidf", cache_dir=str(tmp_path))["embedding"][:])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    near = vectors @ vectors.T - 9 * np.eye(80)
    assert np.mean(topic[near.argmax(1)] == topic) > 0.75


@pytest.mark.parametrize("text", ["🙂🙂", "?!...", "x"])
def test_a_text_without_a_known_word_is_a_bad_row(text, tmp_path):
    data = Dataset.from_dict({"text": [*ROWS["text"], text]})
    with pytest.raises(ValueError, match="Row 20 .*no word that builtin/tfidf knows"):
        add_embeddings(data, "builtin/tfidf", cache_dir=str(tmp_path))


# --- embeddings that float32 cannot tell apart ---------------------------------------------------------------------

GAUSSIAN = np.random.default_rng(7).normal(size=(200, 4))


@pytest.mark.parametrize("options", [{}, {"standardize": False}, {"standardize": False, "l2_normalize": False}])
@pytest.mark.parametrize("offset", [1e6, 1e9])
def test_a_dimension_of_float64_that_float32_would_lose_is_told(options, offset):
    shifted = GAUSSIAN + [0, 0, offset, 0]
    with pytest.raises(ValueError, match=r"Dimension 2 of the embeddings goes from .* float32 cannot tell apart"):
        DifficultyScorer(3, **options).fit(shifted)
    assert DifficultyScorer(3, **options).fit(GAUSSIAN + [0, 0, 100, 0]).is_fitted
    constant = np.column_stack([GAUSSIAN, np.full(200, offset)])
    assert DifficultyScorer(3, **options).fit(constant).is_fitted


@pytest.mark.parametrize("size", [1e6, 1e12])
def test_a_row_that_dwarfs_the_others_is_told(size):
    outlier = GAUSSIAN.copy()
    outlier[13] *= size
    with pytest.raises(ValueError, match="Row 13 of the embeddings reaches .*Drop it"):
        DifficultyScorer(3, standardize=False, l2_normalize=False).fit(outlier)


def test_a_row_of_a_thousand_times_the_usual_size_costs_the_others_nothing():
    outlier = GAUSSIAN.copy()
    outlier[13] *= 1e3
    scorer = DifficultyScorer(3, standardize=False, l2_normalize=False, normalize=None).fit(outlier)
    scores = scorer.score(outlier)
    exact = np.linalg.norm(outlier - scorer.centroids_.double().numpy()[scores.cluster], axis=1)
    np.testing.assert_allclose(np.delete(scores.distance, 13), np.delete(exact, 13), rtol=1e-3)


@pytest.mark.parametrize("value", [1e39, -1e300])
def test_a_number_beyond_float32_names_its_row(value):
    huge = GAUSSIAN.copy()
    huge[21, 1] = value
    with pytest.raises(ValueError, match="row 21|Row 21"):
        DifficultyScorer(3).fit(huge)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1e9, r"Row 41 of the embeddings in column 'vector' reaches"),
        (1e300, r"Embedding in column 'vector' has a NaN or infinite number in row 41"),
        (np.nan, r"Embedding in column 'vector' has a NaN or infinite number in row 41"),
    ],
)
def test_errors_name_row_and_column_of_the_dataset_where_rows_have_no_embedding(value, message):
    rows = np.random.default_rng(0).normal(size=(60, 3)).tolist()
    rows[41][1] = value
    for row in (0, 7, 40, 50):
        rows[row] = None
    with pytest.raises(ValueError, match=message):
        add_difficulty(Dataset.from_dict({"vector": rows}), n_clusters=2, embedding_column="vector")


def test_a_dimension_at_fault_names_the_column():
    rows = np.random.default_rng(0).normal(size=(60, 3))
    rows[:, 2] = 1e6 + rows[:, 2] * 1e-3
    with pytest.raises(ValueError, match="Dimension 2 of the embeddings in column 'embedding' goes from"):
        add_difficulty(Dataset.from_dict({"embedding": rows}), n_clusters=2)


def test_a_distance_beyond_float32_names_its_row():
    rows: list = np.full((40, 3), 1e38).tolist()
    rows[0], rows[20] = None, [-3e38, 3e38, -3e38]
    scorer = DifficultyScorer(n_clusters=1, standardize=False, l2_normalize=False, normalize=None)
    with pytest.raises(ValueError, match=r"row 1 of the embeddings in column 'embedding' is more than float32"):
        add_difficulty(Dataset.from_dict({"embedding": rows}), scorer=scorer)
