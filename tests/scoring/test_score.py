"""add_difficulty on images, texts and audio, from the dataset to its scored copy."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from datasets import (
    Audio,
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    Image,
    IterableDatasetDict,
    List,
    Value,
    concatenate_datasets,
    load_dataset,
    load_from_disk,
)
from PIL import Image as PILImage
from sklearn.cluster import MiniBatchKMeans
from sklearn.metrics import davies_bouldin_score
from sklearn.preprocessing import StandardScaler, minmax_scale, normalize

from hf_curriculum import DifficultyScorer, __version__, add_difficulty, provenance
from hf_curriculum.data import difficulty_quantiles

SCORES = {"cluster": "int32", "distance": "float32", "difficulty": "float32"}
ADDED = ["embedding", *SCORES]


def vectors(n=60, dim=5, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, dim)) * rng.uniform(0.1, 20, dim) + rng.uniform(-5, 5, dim)).astype(np.float32)


def embedded(n=60, seed=0, **columns) -> Dataset:
    return Dataset.from_dict({"id": list(range(n)), "embedding": vectors(n, seed=seed), **columns})


def never(rows):
    raise AssertionError("rows were embedded before the arguments were checked")


def numbers(dataset, column) -> np.ndarray:
    return np.array(dataset[column][:])


def encoded(dataset):
    """All columns but ours as they lie in the Arrow table, media undecoded."""
    others = [name for name in dataset.column_names if name not in ADDED]
    return dataset.select_columns(others).with_format("arrow")[:].to_pydict()


def shares_of_nearer(distance, rounding=0):
    return (distance[None] < distance[:, None] - rounding).sum(1) / max(1, distance.size - 1)


PLACES = {"minmax": (minmax_scale, 1e-4), "rank": (shares_of_nearer, 1.01e-3), None: (lambda distance: distance, 1e-6)}


def assert_scores_follow_from_embeddings(scored, normalize_by="minmax", labels=None):
    """Everything from the embeddings and clusters in float64: centroids are the means of clusters, rows are nearest to
    their own (among those of their class), and difficulty is the place of the distance in the cluster."""
    embeddings, cluster = (numbers(scored, name) for name in ("embedding", "cluster"))
    distance, difficulty = (numbers(scored, name) for name in ("distance", "difficulty"))
    points = normalize(StandardScaler().fit_transform(embeddings.astype(np.float64)))
    used = np.unique(cluster)
    centroids = np.stack([points[cluster == c].mean(0) for c in used])
    every = np.linalg.norm(points[:, None] - centroids, axis=2)
    if labels is not None:
        classes = [set(labels[cluster == c]) for c in used]
        assert all(len(found) == 1 for found in classes)
        every[labels[:, None] != np.array([found.pop() for found in classes])] = np.inf
    own = every[np.arange(len(scored)), np.searchsorted(used, cluster)]
    np.testing.assert_allclose(own, every.min(1), atol=1e-5)
    np.testing.assert_allclose(distance, own, atol=1e-5)
    place, tolerance = PLACES[normalize_by]
    for c in used:
        rows = cluster == c
        expected = place(distance[rows].astype(np.float64))
        if normalize_by and rows.sum() <= 2:
            expected = 2 - rows.sum()  # two rows are equally far from their mean, one is no prototype of others
        if normalize_by == "rank" and rows.sum() > 2:  # rows that differ by rounding have the place of the first
            assert (difficulty[rows] <= expected + tolerance).all()
            expected = np.maximum(difficulty[rows], place(distance[rows].astype(np.float64), 1e-5))
        np.testing.assert_allclose(difficulty[rows], expected, atol=tolerance)


def assert_only_added(scored, dataset, dim):
    """The four columns are there, of their types, and nothing else has changed."""
    assert scored.column_names == [*dataset.column_names, *ADDED]
    assert encoded(scored) == encoded(dataset)
    assert {name: scored.features[name] for name in dataset.features} == dict(dataset.features)
    assert scored.features["embedding"].length == dim
    assert scored.features["embedding"].feature.dtype == "float32"
    assert {name: scored.features[name].dtype for name in SCORES} == SCORES
    assert 0 <= min(scored["difficulty"]) < max(scored["difficulty"]) <= 1


# --- images, texts and audio --------------------------------------------------------------------------------------

LINES = {
    "dinov2": ("digits", "tiny_dinov2", 32),
    "hog": ("digits", "builtin/hog", 324),
    "minilm": ("sentences", "minilm", 384),
    "tfidf": ("sentences", "builtin/tfidf", 8),
    "wav2vec2": ("clips", "tiny_wav2vec2", 32),
    "logmel": ("clips", "builtin/logmel", 128),
}


@pytest.mark.parametrize("line", LINES)
def test_one_line_scores_images_texts_and_audio(line, request):
    data, model, dim = LINES[line]
    dataset = request.getfixturevalue(data)
    model_id = model if model.startswith("builtin") else request.getfixturevalue(model)
    scored = add_difficulty(dataset, model_id)
    assert_only_added(scored, dataset, dim)
    assert_scores_follow_from_embeddings(scored)
    record = provenance(scored)
    assert record["embedding"]["model_id"] == (model_id if model.startswith("builtin") else Path(model_id).name)
    assert record["n_clusters"] == len(set(scored["cluster"]))
    assert provenance(scored, "embedding") == record["embedding"]


def test_digits_of_one_kind_come_together(digits):
    scored = add_difficulty(digits, "builtin/hog", n_clusters=10)
    cluster, label = numbers(scored, "cluster"), numbers(scored, "label")
    largest = [np.bincount(label[cluster == c]).max() for c in range(10)]
    assert sum(largest) / len(scored) > 0.6  # 0.1 by chance


@pytest.mark.parametrize("data, model_id", [("digits", "builtin/hog"), ("clips", "builtin/logmel")])
def test_an_indices_mapping_gives_the_scores_of_the_rows_it_picks(data, model_id, request):
    dataset = request.getfixturevalue(data).shuffle(seed=5).select(range(3, 28))
    assert dataset._indices is not None
    scored = add_difficulty(dataset, model_id, n_clusters=3)
    flat = add_difficulty(dataset.flatten_indices(), model_id, n_clusters=3)
    assert encoded(scored) == encoded(dataset)
    for name in ADDED:
        np.testing.assert_array_equal(numbers(scored, name), numbers(flat, name))
    assert_scores_follow_from_embeddings(scored)


def test_lossy_images_keep_their_bytes():
    buffers = [io.BytesIO() for _ in range(12)]
    for i, buffer in enumerate(buffers):
        pixels = np.random.default_rng(i).integers(0, 255, (16, 16, 3), np.uint8)
        PILImage.fromarray(pixels).save(buffer, "JPEG", quality=20)
    features = Features({"image": Image(), "n": Value("int8")})
    rows = {"image": [{"bytes": buffer.getvalue(), "path": None} for buffer in buffers], "n": range(12)}
    table = {name: pa.array(rows[name], features.arrow_schema.field(name).type) for name in features}
    dataset = Dataset(pa.table(table).cast(features.arrow_schema)).shuffle(seed=0)
    scored = add_difficulty(dataset, "builtin/hog", n_clusters=2)
    assert [row["bytes"] for row in encoded(scored)["image"]] == [buffers[n].getvalue() for n in scored["n"]]
    assert scored.features["image"] == Image()


def test_audio_keeps_its_feature_and_bytes(clips):
    scored = add_difficulty(clips, "builtin/logmel", n_clusters=2)
    assert scored.features["audio"] == Audio(sampling_rate=8000)
    assert all(row["bytes"].startswith(b"RIFF") for row in encoded(scored)["audio"])


def test_a_function_embeds_rows():
    dataset = Dataset.from_dict({"text": [f"{'a' * i}{'b' * (i * i % 7)}" for i in range(1, 31)]})
    scored = add_difficulty(dataset, lambda rows: np.array([[t.count("a"), t.count("b")] for t in rows]), n_clusters=3)
    np.testing.assert_array_equal(numbers(scored, "embedding")[:, 0], np.arange(1, 31))
    assert_scores_follow_from_embeddings(scored)


# --- embeddings that are there already ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "feature",
    [
        List(Value("float32"), length=5),
        List(Value("float32")),
        List(Value("float64"), length=5),
        List(Value("float64")),
        List(Value("float16")),
        List(Value("int16")),
    ],
    ids=str,
)
def test_embeddings_of_any_list_type_are_scored_and_kept(feature):
    values = np.round(vectors()).astype(int).tolist()
    features = Features({"embedding": feature, "id": Value("int64")})
    dataset = Dataset.from_dict({"embedding": values, "id": range(60)}, features=features)
    scored = add_difficulty(dataset, n_clusters=4)
    assert scored.column_names == ["embedding", "id", *SCORES]
    assert scored.features["embedding"] == feature
    assert scored["embedding"][:] == dataset["embedding"][:]
    assert_scores_follow_from_embeddings(scored)
    assert provenance(scored)["embedding"] == {}


@pytest.mark.parametrize("normalize_by", ["minmax", "rank", None])
@pytest.mark.parametrize("n_clusters", [None, 1, 7])
def test_difficulty_follows_from_the_embeddings(n_clusters, normalize_by):
    scored = add_difficulty(embedded(), n_clusters=n_clusters, normalize=normalize_by)
    assert_scores_follow_from_embeddings(scored, normalize_by)
    assert len(set(scored["cluster"])) == (n_clusters or provenance(scored)["n_clusters"])


def test_a_planted_prototype_is_the_easiest_and_the_odd_row_the_hardest():
    rng = np.random.default_rng(0)
    centres = 10 * np.eye(3)[np.repeat([0, 1, 2], 20)]
    points = centres + rng.normal(0, 0.3, (60, 3))
    points[7] = centres[7]
    points[13] = centres[13] + [0, 4, 0]
    scored = add_difficulty(Dataset.from_dict({"embedding": points}), n_clusters=3)
    group = numbers(scored, "cluster")[:20]
    assert len(set(group)) == 1
    difficulty = numbers(scored, "difficulty")[:20]
    assert difficulty[13] == 1 == difficulty.max()
    assert difficulty[7] < np.delete(difficulty, [7, 13]).mean()


def test_another_embedding_column_is_read_or_written(sentences):
    dataset = embedded().rename_column("embedding", "vec")
    scored = add_difficulty(dataset, n_clusters=4, embedding_column="vec")
    assert scored.column_names == ["id", "vec", *SCORES]
    assert scored["difficulty"][:] == add_difficulty(embedded(), n_clusters=4)["difficulty"][:]
    written = add_difficulty(sentences, "builtin/tfidf", n_clusters=4, embedding_column="vec")
    assert written.column_names == ["text", "vec", *SCORES]
    assert provenance(written)["embedding"] == provenance(written, "vec") != {}


def test_scoring_again_replaces_the_columns(sentences):
    first = add_difficulty(sentences, "builtin/tfidf", n_clusters=3)
    second = add_difficulty(first, n_clusters=6, normalize="rank")
    assert second.column_names == first.column_names
    assert second["embedding"][:] == first["embedding"][:]
    assert_scores_follow_from_embeddings(second, "rank")
    assert [provenance(scored)["n_clusters"] for scored in (first, second)] == [3, 6]
    lengths = add_difficulty(second, lambda rows: np.array([[len(t), t.count(" ")] for t in rows]), n_clusters=2)
    assert lengths.column_names == first.column_names
    assert lengths.features["embedding"].length == 2
    assert_scores_follow_from_embeddings(lengths)


def test_equal_seeds_give_equal_scores_and_other_seeds_others():
    first, again, other = (add_difficulty(embedded(), n_clusters=9, seed=seed) for seed in (1, 1, 2))
    assert first.to_dict() == again.to_dict()
    assert first["cluster"][:] != other["cluster"][:]
    assert first._fingerprint == again._fingerprint != other._fingerprint  # the cache of datasets.map goes by these


# --- classes ------------------------------------------------------------------------------------------------------

CLASSES = np.array([0] * 30 + [1] * 27 + [2] * 2 + [3])
LABELS = {
    "integers": (CLASSES.tolist(), Value("int64")),
    "strings": ([["tench", "owl", "ö", ""][c] for c in CLASSES], Value("string")),
    "class label": (CLASSES.tolist(), ClassLabel(names=["tench", "owl", "ö", "none"])),
}


@pytest.mark.parametrize("kind", LABELS)
def test_clusters_never_mix_classes(kind):
    values, feature = LABELS[kind]
    features = Features({"embedding": List(Value("float32")), "label": feature})
    dataset = Dataset.from_dict({"embedding": vectors(), "label": values}, features=features).shuffle(seed=1)
    scored = add_difficulty(dataset, n_clusters=4, label_column="label", measure="distance")
    labels, cluster, difficulty = (numbers(scored, name) for name in ("label", "cluster", "difficulty"))
    assert labels.tolist() == dataset["label"][:]
    assert_scores_follow_from_embeddings(scored, labels=labels)
    found = [len(set(cluster[labels == values[row]])) for row in (0, 30, 57, 59)]
    assert found == [4, 4, 1, 1]  # at most half as many as rows
    assert difficulty[labels == values[57]].tolist() == [0, 0]
    assert difficulty[labels == values[59]].tolist() == [1]
    assert provenance(scored)["n_clusters"] == 10
    assert provenance(scored)["label_column"] == "label"


def test_the_number_of_clusters_is_chosen_in_each_class():
    scored = add_difficulty(embedded(label=CLASSES), label_column="label", measure="distance", cluster_range=(3, 6))
    assert_scores_follow_from_embeddings(scored, labels=CLASSES)
    found = [len(set(numbers(scored, "cluster")[c == CLASSES])) for c in range(4)]
    assert all(3 <= k <= 6 for k in found[:2])
    assert found[2:] == [1, 1]


# --- splits -------------------------------------------------------------------------------------------------------


def test_splits_are_scored_against_the_prototypes_of_train():
    splits = DatasetDict({"test": embedded(25, seed=1), "train": embedded(60)})
    scored = add_difficulty(splits, n_clusters=4)
    assert list(scored) == ["test", "train"]
    assert scored["train"].to_dict() == add_difficulty(splits["train"], n_clusters=4).to_dict()
    scaler = StandardScaler().fit(vectors().astype(np.float64))
    train, test = (normalize(scaler.transform(vectors(n, seed=seed))) for n, seed in ((60, 0), (25, 1)))
    cluster, distance = (numbers(scored["train"], name) for name in ("cluster", "distance"))
    centroids = np.stack([train[cluster == c].mean(0) for c in range(4)])
    every = np.linalg.norm(test[:, None] - centroids, axis=2)
    low, high = (np.array([f(distance[cluster == c]) for c in range(4)])[every.argmin(1)] for f in (np.min, np.max))
    expected = np.clip((every.min(1) - low) / (high - low), 0, 1)
    assert scored["test"]["cluster"][:] == every.argmin(1).tolist()
    np.testing.assert_allclose(scored["test"]["distance"][:], every.min(1), atol=1e-5)
    np.testing.assert_allclose(scored["test"]["difficulty"][:], expected, atol=1e-4)
    assert splits["test"].column_names == ["id", "embedding"]


def test_without_train_the_first_split_has_the_prototypes():
    splits = DatasetDict({"dev": embedded(40), "test": embedded(25, seed=1)})
    scored = add_difficulty(splits, n_clusters=3)
    assert scored["dev"].to_dict() == add_difficulty(splits["dev"], n_clusters=3).to_dict()


def test_splits_of_texts_are_embedded_scored_and_joined_again(sentences):
    splits = DatasetDict({"train": sentences.select(range(45)), "test": sentences.select(range(45, 60))})
    scored = add_difficulty(splits, "builtin/tfidf", n_clusters=3)
    for name in splits:
        assert_only_added(scored[name], splits[name], 8)
    joined = concatenate_datasets([scored["train"], scored["test"]])
    assert joined["text"][:] == sentences["text"][:]
    assert provenance(joined) == provenance(scored["train"])


# --- provenance ---------------------------------------------------------------------------------------------------


def test_the_record_says_where_the_numbers_came_from(sentences, tiny_bert):
    scored = add_difficulty(sentences, tiny_bert, n_clusters=5, pooling="max", seed=3, normalize="rank")
    points = normalize(StandardScaler().fit_transform(numbers(scored, "embedding").astype(np.float64)))
    record = provenance(scored)
    embedding = record.pop("embedding")
    assert (
        embedding.items()
        >= {
            "model_id": Path(tiny_bert).name,
            "local": True,
            "pooling": "max",
            "input_column": "text",
            "version": __version__,
        }.items()
    )
    assert record == {
        "n_clusters": 5,
        "chosen_by": "given",
        "measure": "distance",
        "options": {"n_clusters": 5, "cluster_range": None},
        "outliers": 0,
        "davies_bouldin_curve": {},
        "repeats": 1,
        "clusterer": None,
        "davies_bouldin": pytest.approx(davies_bouldin_score(points, numbers(scored, "cluster")), rel=1e-3),
        "label_column": None,
        "duplicates": "keep",
        "copies": len(sentences) - len(set(sentences["text"])),
        "normalize": "rank",
        "standardize": True,
        "l2_normalize": True,
        "seed": 3,
        "quantiles": difficulty_quantiles(numbers(scored, "difficulty")),
        "version": __version__,
    }
    assert json.loads(scored.features["difficulty"].id) == provenance(scored)


def test_the_record_holds_the_index_of_each_number_that_was_tried():
    record = provenance(add_difficulty(embedded(), cluster_range=(2, 5)))
    curve = record["davies_bouldin_curve"]
    assert list(curve) == ["2", "3", "4", "5"]
    assert record["n_clusters"] == int(min(curve, key=curve.get))


def test_the_record_is_json_where_clusters_coincide():
    dataset = Dataset.from_dict({"embedding": [[1.0, 2.0]] * 20})
    scored = add_difficulty(dataset, scorer=DifficultyScorer(clusterer=MiniBatchKMeans(2, n_init=1)))
    record = json.loads(scored.features["difficulty"].id, parse_constant=pytest.fail)
    assert record["davies_bouldin"] == "inf"  # as in the files of a scorer; null is the index of one cluster
    assert record["clusterer"] == "MiniBatchKMeans(n_clusters=2, n_init=1)"


def test_one_cluster_has_no_index():
    assert provenance(add_difficulty(embedded(), n_clusters=1))["davies_bouldin"] is None


def test_a_scored_dataset_comes_back_from_disk_and_parquet(digits, tmp_path):
    scored = add_difficulty(digits.select(range(40)), "builtin/hog", n_clusters=3)
    scored.save_to_disk(tmp_path / "disk")
    scored.to_parquet(tmp_path / "scored.parquet")
    file, cache = str(tmp_path / "scored.parquet"), str(tmp_path / "cache")
    for copy in (
        load_from_disk(tmp_path / "disk"),
        load_dataset("parquet", data_files=file, split="train", cache_dir=cache),
    ):
        assert copy.features == scored.features
        assert provenance(copy) == provenance(scored)
        assert provenance(copy, "embedding") == provenance(scored, "embedding")
        assert copy.with_format("arrow")[:].to_pydict() == scored.with_format("arrow")[:].to_pydict()
    again = add_difficulty(load_from_disk(tmp_path / "disk"), n_clusters=3)  # without embedding it again
    assert again["difficulty"][:] == scored["difficulty"][:]
    assert provenance(again)["embedding"] == provenance(scored)["embedding"]


# --- bad input ----------------------------------------------------------------------------------------------------

TEXTS = Dataset.from_dict({"text": ["a b", "b c", "c d"], "label": [0, 1, 0]})
TWO_TEXTS = Dataset.from_dict({"title": ["a", "b"], "body": ["c", "d"], "id": [1, 2]})
NO_MEDIA = Dataset.from_dict({"id": [1, 2], "score": [0.5, 0.25]})


@pytest.mark.parametrize(
    "dataset, options, message",
    [
        (TEXTS, {"input_column": "texts"}, r"Column 'texts' .*\['text', 'label'\]\)\. Did you mean 'text'\?"),
        (TEXTS, {"label_column": "lable"}, r"Column 'lable' .*Did you mean 'label'\?"),
        (TWO_TEXTS, {}, r"Several columns could be embedded: \['title', 'body'\]\. Choose one with input_column="),
        (NO_MEDIA, {}, r"function embeds any media, but the dataset has no such column \(id: Value, score: Value\)"),
        (TEXTS, {"n_clusters": 4}, "4 clusters need at least as many rows, but there are 3"),
        (TEXTS, {"cluster_range": (4, 6)}, "4 clusters need at least as many rows, but there are 3"),
        (TEXTS, {"n_clusters": 0}, "n_clusters must be at least 1, got 0"),
        (TEXTS, {"normalize": "zscore"}, r"normalize must be one of \['minmax', 'rank', None\], got 'zscore'"),
        (TEXTS, {"cluster_range": (1, 3)}, r"2 <= low <= high, got \(1, 3\)"),
        (TEXTS, {"cluster_range": (3, 2)}, r"2 <= low <= high, got \(3, 2\)"),
        (TEXTS, {"cluster_range": 3}, "2 <= low <= high, got 3"),
        (TEXTS, {"cluster_range": (2, 3), "n_clusters": 2}, "Pass one of n_clusters, cluster_range"),
        (TEXTS, {"pooling": "sum"}, "pooling must be one of .*, got 'sum'"),
        (TEXTS, {"modality": "txt"}, r"modality must be one of \['image', 'audio', 'video', 'text'\], got 'txt'"),
        (TEXTS, {"batch_size": 0}, "batch_size must be at least 1, got 0"),
        (TEXTS.select([]), {}, "The dataset has no rows"),
        (DatasetDict(), {}, "The DatasetDict has no splits"),
        (DatasetDict({"train": TEXTS, "test": TEXTS.select([])}), {}, "The dataset has no rows"),
        (DatasetDict({"test": TWO_TEXTS, "train": TEXTS}), {"label_column": "label"}, "Column 'label' is not in"),
        (
            DatasetDict({"train": TEXTS, "test": TEXTS.map(lambda row: {"label": row["label"] - 1})}),
            {"label_column": "label"},
            r"Labels \[-1\] were not among those",
        ),
    ],
)
def test_bad_values_are_refused_before_a_row_is_embedded(dataset, options, message):
    with pytest.raises(ValueError, match=message):
        add_difficulty(dataset, never, **options)


@pytest.mark.parametrize("model_id", ["image", "builtin/hog", "builtin/logmel", "audio"])
def test_a_modality_that_the_model_cannot_take_is_refused(model_id, tiny_dinov2, tiny_wav2vec2):
    model = {"image": tiny_dinov2, "audio": tiny_wav2vec2}.get(model_id, model_id)
    own = "image" if model_id in ("image", "builtin/hog") else "audio"
    with pytest.raises(
        ValueError, match=rf"embeds {own}, but the dataset has no such column \(text: text, label: Valu"
    ):
        add_difficulty(TEXTS, model)
    with pytest.raises(ValueError, match=rf"embeds {own}, but column 'text' is Value\('string'\)"):
        add_difficulty(TEXTS, model, input_column="text")
    with pytest.raises(ValueError, match=rf"embeds {own}, not text\. Drop modality='text'"):
        add_difficulty(TEXTS, model, modality="text")


def test_a_text_model_does_not_take_images(digits, tiny_bert):
    with pytest.raises(
        ValueError, match=r"embeds text, but the dataset has no such column \(image: image, label: Class"
    ):
        add_difficulty(digits, tiny_bert)


@pytest.mark.parametrize(
    "model_id, message",
    [
        ("builtin/sift", r"Unknown model_id 'builtin/sift'; built-in are \['builtin/hog', .*'builtin/tfidf'\]"),
        ("nobody/no-such-model", "model_id 'nobody/no-such-model' is neither a built-in descriptor .* nor a model of"),
        ("./no/such/folder", r"model_id '\./no/such/folder' is neither a built-in .* nor a local directory"),
    ],
)
def test_an_unknown_model_is_refused(model_id, message):
    with pytest.raises(ValueError, match=message):
        add_difficulty(TEXTS, model_id)


@pytest.mark.parametrize(
    "stream",
    [TEXTS.to_iterable_dataset(), IterableDatasetDict({"train": TEXTS.to_iterable_dataset()})],
    ids=["dataset", "dict"],
)
def test_a_stream_is_told_how_to_become_a_dataset(stream):
    with pytest.raises(
        TypeError, match=r"streaming Iterable.*streaming=False, .*Dataset\.from_list\(list\(dataset\.tak"
    ):
        add_difficulty(stream, never)


@pytest.mark.parametrize("dataset", [[{"text": "a"}], {"text": ["a"]}, None])
def test_what_is_no_dataset_is_refused(dataset):
    with pytest.raises(TypeError, match=rf"Expected a datasets\.Dataset, got {type(dataset).__name__}"):
        add_difficulty(dataset, never)


def test_embedding_options_need_a_model():
    with pytest.raises(
        TypeError, match=r"Without model_id nothing is embedded: drop \['batch_size', 'pooling'\] or pass"
    ):
        add_difficulty(embedded(), pooling="mean", batch_size=8)


def test_an_unknown_option_is_refused():
    with pytest.raises(TypeError, match="has no option 'n_cluster'. Did you mean 'n_clusters'"):
        add_difficulty(TEXTS, never, n_cluster=3)


@pytest.mark.parametrize(
    "dataset, message",
    [
        (TEXTS, r"Column 'embedding' is not in the dataset .*Create it with `add_embeddings\(dataset, model_id\)`"),
        (embedded().rename_column("embedding", "embeddings"), "Did you mean 'embeddings'"),
        (DatasetDict({"train": embedded(), "test": TEXTS}), "Column 'embedding' is not in the dataset"),
        (embedded(3).map(lambda row: {"embedding": row["embedding"][: 5 - row["id"]]}), "row 0 has 5 .*row 1 has 4"),
        (embedded().map(lambda row: {"embedding": None}), "null in all 60 rows"),
        (Dataset.from_dict({"embedding": [[1.0], [float("nan")]]}), "NaN or infinite number in row 1"),
    ],
)
def test_embeddings_that_cannot_be_read_are_refused(dataset, message):
    with pytest.raises(ValueError, match=message):
        add_difficulty(dataset, n_clusters=1)


@pytest.mark.parametrize("measure", ["distance", "margin"])
def test_rows_without_a_label_are_left_out_and_counted(caplog, measure):
    labels = ["a", "b"] * 30
    known = [i for i in range(60) if i % 7]
    options = {"n_clusters": 1, "label_column": "label", "measure": measure}
    alone = add_difficulty(embedded(label=labels).select(known), **options)
    missing = embedded(label=[label if i % 7 else None for i, label in enumerate(labels)])
    scored = add_difficulty(missing, **options)
    assert "9 of 60 rows have no label" in caplog.text
    for column in SCORES:
        assert [scored[i][column] for i in range(0, 60, 7)] == [None] * 9
        np.testing.assert_array_equal(scored.select(known)[column][:], alone[column][:])
    dumb = missing.map(lambda row: {"embedding": row["embedding"] if row["label"] is None else None})
    with pytest.raises(ValueError, match="No row has both an embedding"):
        add_difficulty(dumb, **options)


# --- a scorer of one's own ----------------------------------------------------------------------------------------


def test_a_scorer_is_fitted_on_the_first_dataset_and_scores_the_next_by_it(sentences, tmp_path):
    train, test = sentences.select(range(40)), sentences.select(range(40, 60))
    scorer = DifficultyScorer(n_clusters=3, normalize="rank")
    scored = add_difficulty(DatasetDict(train=train, test=test), length_of, scorer=scorer)
    assert scorer.n_clusters_ == 3 and provenance(scored["train"])["normalize"] == "rank"
    scorer.save_pretrained(tmp_path)
    again = add_difficulty(test, length_of, scorer=DifficultyScorer.from_pretrained(tmp_path))
    for name in ("cluster", "distance", "difficulty"):
        assert again[name][:] == scored["test"][name][:]
    assert add_difficulty(train, length_of, n_clusters=3)["difficulty"][:] != scored["train"]["difficulty"][:]


def length_of(rows):
    return np.array([[len(row), row.count("a"), row.count(" ")] for row in rows], np.float32)


def initials_of(rows):
    return np.array([[ord(row[0]), ord(row[-1]), len(row)] for row in rows], np.float32)


def test_a_fitted_scorer_refuses_what_it_was_not_fitted_on(sentences):
    scorer = DifficultyScorer(n_clusters=3)
    add_difficulty(sentences, length_of, scorer=scorer)
    with pytest.raises(ValueError, match="other embeddings: model_id was 'length_of' and is 'initials_of'"):
        add_difficulty(sentences, initials_of, scorer=scorer)
    labelled = sentences.add_column("label", [0] * 30 + [1] * 30)
    with pytest.raises(ValueError, match="fitted without labels: leave the labels of these rows out"):
        add_difficulty(labelled, never, input_column="text", label_column="label", scorer=scorer)
    scorer = DifficultyScorer(n_clusters=3)
    add_difficulty(labelled, length_of, label_column="label", scorer=scorer)
    with pytest.raises(ValueError, match="fitted with labels: pass the labels of these rows too"):
        add_difficulty(labelled, never, input_column="text", scorer=scorer)
    other = sentences.add_column("label", [2] * 60)
    with pytest.raises(ValueError, match=r"Labels \[2\] were not among those"):
        add_difficulty(other, never, input_column="text", label_column="label", scorer=scorer)


@pytest.mark.parametrize("options", [{"n_clusters": 3}, {"cluster_range": (2, 3)}, {"normalize": None}, {"seed": 0}])
def test_options_of_the_scorer_belong_to_the_scorer(options):
    with pytest.raises(TypeError, match="are those of the scorer: pass them to it"):
        add_difficulty(embedded(), scorer=DifficultyScorer(n_clusters=4), **options)
