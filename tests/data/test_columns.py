import io

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from datasets import (
    Array2D,
    Audio,
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    Image,
    IterableDatasetDict,
    LargeList,
    List,
    Value,
    concatenate_datasets,
    load_dataset,
    load_from_disk,
)
from PIL import Image as PILImage

from hf_curriculum.data.columns import (
    add_columns,
    hide_columns,
    read_difficulty,
    read_embeddings,
    read_labels,
    require_column,
    require_finite,
)
from hf_curriculum.data.record import embedding_feature, provenance, score_features
from hf_curriculum.data.splits import fit_split, require_dataset, splits_of
from hf_curriculum.training.lengths import read_lengths

NAN, INF = float("nan"), float("inf")
TEN = Dataset.from_dict({"x": list(range(10))})
STREAM = TEN.to_iterable_dataset()


def column(values, feature) -> Dataset:
    return Dataset.from_dict({"c": values}, features=Features({"c": feature}))


def in_chunks(*parts) -> Dataset:
    return concatenate_datasets([column(values, feature) for values, feature in parts])


# --- which datasets are taken -------------------------------------------------------------------------------------

NOT_DATASETS = [
    (
        STREAM,
        TypeError,
        r"got a streaming IterableDataset, .*streaming=False, .*Dataset\.from_list\(list\(dataset\.ta",
    ),
    (IterableDatasetDict(train=STREAM), TypeError, r"got a streaming IterableDatasetDict, .*Dataset\.from_list\("),
    ([{"x": 1}], TypeError, r"Expected a datasets\.Dataset, got list\."),
    (None, TypeError, "got NoneType"),
    (TEN.select([]), ValueError, r"no rows\. Did an earlier `dataset\.filter"),
]


@pytest.mark.parametrize("dataset, error, message", NOT_DATASETS)
def test_what_is_no_dataset_with_rows_is_refused(dataset, error, message):
    with pytest.raises(error, match=message):
        require_dataset(dataset)
    with pytest.raises(error, match=message):
        splits_of(dataset)


@pytest.mark.parametrize("split", [STREAM, TEN.select([])])
def test_every_split_is_checked(split):
    with pytest.raises((TypeError, ValueError), match=r"streaming IterableDataset|no rows"):
        splits_of(DatasetDict({"train": TEN, "test": split}))


def test_the_way_out_of_a_stream_works():
    rows = Dataset.from_list(list(STREAM.take(3)), features=STREAM.features)
    require_dataset(rows)
    assert rows["x"][:] == [0, 1, 2]


def test_one_dataset_is_wanted_so_a_dict_is_told_to_pass_a_split():
    with pytest.raises(TypeError, match=r"got DatasetDict\. Pass one split, e\.g\. dataset\['dev'\]"):
        require_dataset(DatasetDict({"dev": TEN}))


def test_a_dict_without_splits_is_refused():
    with pytest.raises(ValueError, match="The DatasetDict has no splits"):
        splits_of(DatasetDict())


def test_splits_keep_their_names_and_a_lone_dataset_is_train():
    assert splits_of(TEN) == {"train": TEN}
    assert list(splits_of(DatasetDict({"b": TEN, "a": TEN}))) == ["b", "a"]


@pytest.mark.parametrize("names, expected", [(["test", "train"], "train"), (["dev", "test"], "dev")])
def test_prototypes_come_from_train_or_the_first_split(names, expected):
    assert fit_split(dict.fromkeys(names, TEN)) == expected


@pytest.mark.parametrize(
    "name, made_by, message",
    [
        ("y", None, r"Column 'y' is not in the dataset \(columns: \['text', 'label'\]\)\.$"),
        ("texts", None, r"\. Did you mean 'text'\?$"),
        ("y", "add_difficulty(dataset)", r"\. Create it with `add_difficulty\(dataset\)`\.$"),
        ("lable", "f()", r"\. Did you mean 'label'\? Create it with `f\(\)`\.$"),
    ],
)
def test_a_missing_column_names_the_others_and_the_remedy(name, made_by, message):
    with pytest.raises(ValueError, match=message):
        require_column(Dataset.from_dict({"text": ["a"], "label": [0]}), name, made_by=made_by)


# --- read_difficulty ----------------------------------------------------------------------------------------------

INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
FLOATS = ["float16", "float32", "float64"]


@pytest.mark.parametrize("dtype", INTEGERS + FLOATS)
def test_difficulties_of_any_number_type_are_read(dtype):
    values = read_difficulty(column([3, 0, 100], Value(dtype)), "c")
    assert values.tolist() == [3, 0, 100]
    assert values.dtype == (np.float32 if dtype == "float32" else np.float64)
    assert not np.ma.isMaskedArray(values)


@pytest.mark.parametrize("dtype", INTEGERS + FLOATS)
def test_null_difficulties_are_masked(dtype):
    values = read_difficulty(column([None, 3, 0, None, 7], Value(dtype)), "c")
    assert np.ma.isMaskedArray(values)
    assert values.mask.tolist() == [True, False, False, True, False]
    assert values.compressed().tolist() == [3, 0, 7]


@pytest.mark.parametrize(
    "values, feature, message",
    [
        ([None, None], Value("float32"), "Column 'c' is null in all 2 rows"),
        ([None, None, None], Value("int8"), "Column 'c' is null in all 3 rows"),
        ([0.5, 0.1, NAN], Value("float32"), r"is nan in row 2 \(1 such rows\); difficulties must be finite and >= 0"),
        ([0.5, INF, NAN], Value("float64"), r"is inf in row 1 \(2 such rows\)"),
        ([-INF, 1.0], Value("float64"), r"is -inf in row 0 \(1 such rows\)"),
        ([0, 4, -3], Value("int64"), r"is -3\.0 in row 2 .* shift the column so that its minimum is 0"),
        ([None, -1.0, -2.0], Value("float32"), r"is -1\.0 in row 1 \(2 such rows\)"),
        ([None, NAN], Value("float16"), "is nan in row 1"),
        (["a", "b"], Value("string"), r"Column 'c' holds string, not numbers; numeric columns: \[\]"),
        ([True, False], Value("bool"), "holds bool, not numbers"),
        ([[1.0], [2.0]], List(Value("float32")), "holds list<.*>, not numbers"),
    ],
)
def test_difficulties_that_are_no_numbers_from_0_up_are_refused(values, feature, message):
    with pytest.raises(ValueError, match=message):
        read_difficulty(column(values, feature), "c")


def test_a_missing_difficulty_says_which_call_makes_it():
    with pytest.raises(
        ValueError, match=r"Column 'difficulty' .*Create it with `add_difficulty\(dataset, model_id\)`"
    ):
        read_difficulty(TEN, "difficulty")


def test_a_column_that_is_no_number_names_those_that_are():
    dataset = Dataset.from_dict({"text": ["a"], "loss": [0.5], "length": [3], "tags": [["b"]]})
    with pytest.raises(ValueError, match=r"numeric columns: \['loss', 'length'\]"):
        read_difficulty(dataset, "text")


def test_difficulties_follow_the_indices_mapping():
    dataset = column([5, None, 2, 7, 0], Value("int32"))
    values = read_difficulty(dataset.select([4, 1, 1, 0]), "c")
    assert values.mask.tolist() == [False, True, True, False]
    assert values.compressed().tolist() == [0, 5]
    assert not np.ma.isMaskedArray(read_difficulty(dataset.select([4, 0]), "c"))
    with pytest.raises(ValueError, match="is -1.0 in row 1 "):
        read_difficulty(column([-1, 0, 1], Value("int32")).select([2, 0]), "c")


def test_difficulties_of_several_chunks_are_read():
    dataset = in_chunks(([1, 2], Value("int64")), ([None], Value("int64")), ([3], Value("int64")))
    assert read_difficulty(dataset, "c").tolist() == [1, 2, None, 3]


@pytest.mark.parametrize("feature", [List(Value("float32"), length=2), List(Value("float32")), List(Value("float64"))])
def test_rows_without_an_embedding_are_left_out(feature):
    dataset = concatenate_datasets([column([[1, 2], None, [3, 4]], feature), column([None, [5, 6]], feature)])
    for rows in (range(5), [4, 1, 0, 3, 2]):
        blocks, there = read_embeddings(dataset.select(rows), "c")
        kept = [row for row in rows if row in (0, 2, 4)]
        np.testing.assert_array_equal(np.concatenate(blocks), [[row + 1, row + 2] for row in kept])
        np.testing.assert_array_equal(there, [row in (0, 2, 4) for row in rows])


class InBulk(Dataset):
    """Refuses to give its rows one by one, which takes over a minute for 500,000 of them."""

    def __getitem__(self, key):
        assert not isinstance(key, int)
        return super().__getitem__(key)

    def __iter__(self):
        raise AssertionError


@pytest.mark.parametrize(
    "move",
    [
        lambda dataset: dataset,
        lambda dataset: dataset.shuffle(seed=0),
        lambda dataset: dataset.sort("key"),
        lambda dataset: dataset.select(range(0, len(dataset), 3)),
        lambda dataset: dataset.shuffle(seed=0).select(range(1000)).flatten_indices(),
    ],
    ids=["as_it_is", "shuffle", "sort", "select", "flattened"],
)
def test_difficulties_are_read_in_bulk_and_follow_their_rows(move):
    numbers = np.arange(100_000)
    difficulty = np.random.default_rng(0).random(numbers.size, np.float32)
    dataset = move(Dataset(pa.table({"row": numbers, "key": numbers[::-1] % 1000, "c": difficulty})))
    dataset.__class__ = InBulk  # only now, since shuffle and the others return a Dataset
    rows = dataset.with_format("arrow")[:]["row"].to_numpy()
    np.testing.assert_array_equal(read_difficulty(dataset, "c"), difficulty[rows])


def test_rows_that_are_read_one_by_one_would_be_noticed():
    dataset = InBulk(pa.table({"c": [0.5, 0.25]}))
    for read in (list, np.array, lambda lazy: lazy[1]):
        with pytest.raises(AssertionError):
            read(dataset["c"])


# --- read_embeddings ----------------------------------------------------------------------------------------------

MATRIX = np.array([[0, 1, 2], [-3, 4, 5], [6, 7, -8], [1, 0, 1]], np.float32)
LISTS = [
    List(Value("float32"), length=3),
    List(Value("float32")),
    List(Value("float64"), length=3),
    List(Value("float64")),
    List(Value("float16")),
    List(Value("int8")),
    LargeList(Value("float32")),
]


@pytest.mark.parametrize("feature", LISTS, ids=str)
def test_embeddings_of_any_list_of_numbers_are_read(feature):
    dataset = column(MATRIX.astype(int).tolist(), feature)
    for rows in (range(4), range(1, 3), [3, 0, 0, 2]):  # whole, a slice, an indices mapping
        blocks, there = read_embeddings(dataset.select(rows), "c")
        assert there.all()
        assert blocks[0].dtype == feature.feature.dtype
        np.testing.assert_array_equal(np.concatenate(blocks), MATRIX[list(rows)])


def arrow_floats(dataset) -> np.ndarray:
    (chunk,) = dataset.data.column("c").chunks
    return chunk.flatten().to_numpy(zero_copy_only=True)


@pytest.mark.parametrize("feature", LISTS[:2], ids=str)
def test_embeddings_are_read_without_a_copy(feature, tmp_path):
    dataset = column(MATRIX.tolist(), feature)
    dataset.save_to_disk(tmp_path)
    for rows in (dataset, load_from_disk(tmp_path)):
        (block,), _ = read_embeddings(rows, "c")
        np.testing.assert_array_equal(block, MATRIX)
        assert np.shares_memory(block, arrow_floats(rows))


@pytest.mark.parametrize("feature", LISTS[:2], ids=str)
def test_each_chunk_is_a_block_of_its_own_memory(feature):
    dataset = in_chunks((MATRIX[:1], feature), (MATRIX[1:3], feature), (MATRIX[3:], feature))
    blocks, _ = read_embeddings(dataset, "c")
    assert [len(block) for block in blocks] == [1, 2, 1]
    np.testing.assert_array_equal(np.concatenate(blocks), MATRIX)
    for block, chunk in zip(blocks, dataset.data.column("c").chunks, strict=True):
        assert np.shares_memory(block, chunk.flatten().to_numpy(zero_copy_only=True))


@pytest.mark.parametrize(
    "values, feature, message",
    [
        ([None, None], List(Value("float32"), length=2), "null in all 2 rows"),
        ([None, [3, 4], None, [1]], List(Value("float32")), "row 1 has 2 numbers, row 3 has 1"),
        ([None, [3, 4], [1, NAN]], List(Value("float32"), length=2), r"infinite number in row 2 \(1 such rows\)"),
        ([[1, 2], [3, 4], [5]], List(Value("float32")), "row 0 has 2 numbers, row 2 has 1"),
        ([[1, 2], [], [5, 6]], List(Value("float64")), "row 0 has 2 numbers, row 1 has 0"),
        ([[1, 2], [NAN, 4], [5, NAN]], List(Value("float32")), r"NaN or infinite number in row 1 \(2 such rows\)"),
        ([[1, 2], [3, 4], [5, None]], List(Value("float32")), "'c' has a NaN or infinite number in row 2"),
        ([[1, 2], [3, 4], [5, None]], List(Value("int64")), "'c' has a NaN or infinite number in row 2"),
        ([[INF, -INF], [3, 4]], List(Value("float32"), length=2), "NaN or infinite number in row 0"),
        ([[1, 2], [3, 1e39]], List(Value("float64")), "NaN or infinite number in row 1"),
        ([1.0, 2.0], Value("float32"), r"holds float, not embeddings \(a list of numbers a row\)"),
        ([["a"], ["b"]], List(Value("string")), "holds list<.*string>, not embeddings"),
        ([[[1.0]], [[2.0]]], List(List(Value("float32"))), "holds list<.*>, not embeddings"),
        ([[], []], List(Value("float32")), "holds list<.*float>, not embeddings"),
        ([[[1, 2]], [[3, 4]]], Array2D((1, 2), "float32"), "expected numbers or a list of numbers a row"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast", "ignore:invalid value encountered in reduce")
def test_what_is_no_finite_matrix_is_refused_with_its_row(values, feature, message):
    with pytest.raises(ValueError, match=message):
        read_embeddings(column(values, feature), "c")


def test_the_row_at_fault_is_counted_through_chunks_and_indices():
    feature = List(Value("float32"))
    dataset = in_chunks(([[1, 2]], feature), ([[3, 4], [5, NAN], None, [6]], feature))
    with pytest.raises(ValueError, match="in row 2 "):
        read_embeddings(dataset.select(range(3)), "c")
    with pytest.raises(ValueError, match="in row 1 "):
        read_embeddings(dataset.select([0, 2, 1]), "c")
    with pytest.raises(ValueError, match="in row 2 "):
        read_embeddings(dataset.select([3, 0, 2]), "c")
    with pytest.raises(ValueError, match="row 0 has 1 numbers, row 1 has 2"):
        read_embeddings(dataset.select([4, 1]), "c")


def test_a_missing_embedding_says_which_call_makes_it():
    with pytest.raises(ValueError, match=r"Create it with `add_embeddings\(dataset, model_id\)`"):
        read_embeddings(TEN, "embedding")


def test_finite_numbers_of_any_size_pass_and_the_subject_is_named():
    require_finite(np.full((2, 1000), 3e38, np.float32), "it")
    with pytest.raises(ValueError, match=r"^The matrix has a NaN or infinite number in row 2 \(1 such rows\)\.$"):
        require_finite(np.array([[1, 1], [0, 0], [INF, 1]], np.float32), "The matrix")


# --- read_labels --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values, feature",
    [
        ([3, -1, 3], Value("int64")),
        ([3, 0, 255], Value("uint8")),
        ([1, 0, 1], ClassLabel(names=["cat", "dog"])),
        (["dog", "cat", ""], Value("string")),
        (["dog", "ö", "dog"], Value("large_string")),
    ],
)
def test_labels_are_integers_or_strings(values, feature):
    dataset = column(values, feature)
    labels = read_labels(dataset, "c")
    assert labels.tolist() == values
    assert labels.dtype.kind in "iuU"
    assert read_labels(dataset.select([2, 1]), "c").tolist() == [values[2], values[1]]


@pytest.mark.parametrize(
    "values, feature, message",
    [
        ([None, None], Value("int64"), "Label column 'c' is null in all 2 rows"),
        ([0.5, 1.0], Value("float32"), "holds float; labels must be integers or strings"),
        ([True, False], Value("bool"), "holds bool; labels must be"),
        ([[0], [1]], List(Value("int64")), "holds list<.*>; labels must be"),
    ],
)
def test_other_labels_are_refused(values, feature, message):
    with pytest.raises(ValueError, match=message):
        read_labels(column(values, feature), "c")


@pytest.mark.parametrize("values, feature", [([0, None, 2], Value("int64")), (["a", None, "b"], Value("string"))])
def test_missing_labels_are_masked(values, feature):
    labels = read_labels(column(values, feature), "c")
    assert labels.tolist() == values
    assert np.ma.getmaskarray(labels).tolist() == [False, True, False]
    assert labels.dtype.kind in "iU"


def test_a_missing_label_column_asks_for_the_near_one():
    with pytest.raises(ValueError, match=r"Column 'lable' is not in the dataset .*Did you mean 'label'\?"):
        read_labels(Dataset.from_dict({"label": [0]}), "lable")


# --- read_lengths -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "feature", [List(Value("int32")), LargeList(Value("int64")), List(List(Value("float32"))), List(Value("string"))]
)
def test_lengths_are_those_of_the_lists(feature):
    item = {"Value('string')": "a", "List(Value('float32'))": [0.5]}.get(str(feature.feature), 7)
    dataset = column([[item] * 3, [], None, [item]], feature)
    lengths = read_lengths(dataset, "length", "c")
    assert (lengths.dtype, lengths.tolist()) == (np.int64, [3, 0, 0, 1])
    assert read_lengths(dataset.select([3, 0]), "length", "c").tolist() == [1, 3]


def test_a_column_of_lengths_comes_before_the_lists():
    dataset = Dataset.from_dict({"input_ids": [[1], [2, 3], [4]], "length": [9, None, 7]})
    assert read_lengths(dataset, "length", "input_ids").tolist() == [9, 0, 7]
    assert read_lengths(dataset, "len", "input_ids").tolist() == [1, 2, 1]


@pytest.mark.parametrize(
    "length_column, input_column, message",
    [
        (
            "len",
            "ids",
            r"needs a column 'len' of integers or 'ids' of lists \(columns: \['text', 'size', 'tokens'\]\)",
        ),
        ("size", "tokens", "Length column 'size' holds double, not integers"),
        ("tokens", "ids", "Length column 'tokens' holds list<.*>, not integers"),
        ("len", "text", "Length column 'text' holds string, not integers"),
    ],
)
def test_what_has_no_length_is_refused(length_column, input_column, message):
    dataset = Dataset.from_dict({"text": ["abc"], "size": [0.5], "tokens": [[1, 2]]})
    with pytest.raises(ValueError, match=message):
        read_lengths(dataset, length_column, input_column)


# --- add_columns --------------------------------------------------------------------------------------------------

RECORD = {"model_id": "me/model", "n_clusters": 3, "davies_bouldin": 1.25, "label_column": None, "ü": [1]}


def jpeg(seed) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (9, 9, 3), np.uint8)
    buffer = io.BytesIO()
    PILImage.fromarray(pixels).save(buffer, "JPEG", quality=30)
    return buffer.getvalue()


def flac(seed) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.random.default_rng(seed).normal(0, 0.1, 300), 8000, format="FLAC")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def media(tmp_path_factory) -> Dataset:
    """12 rows of lossy and compressed media, as bytes and as files; encoded again they would have other bytes."""
    path = tmp_path_factory.mktemp("media")
    files = [path / f"{i}.jpg" for i in range(12)]
    for i, file in enumerate(files):
        file.write_bytes(jpeg(i))
    features = Features(
        {
            "image": Image(),
            "file": Image(),
            "audio": Audio(8000),
            "label": ClassLabel(names=["a", "b"]),
            "id": Value("int8"),
        }
    )
    storage = {
        "image": [{"bytes": jpeg(i), "path": None} for i in range(12)],
        "file": [{"bytes": None, "path": str(file)} for file in files],
        "audio": [{"bytes": flac(i), "path": None} for i in range(12)],
        "label": [i % 2 for i in range(12)],
        "id": list(range(12)),
    }
    arrow = {name: pa.array(values, features.arrow_schema.field(name).type) for name, values in storage.items()}
    return Dataset(pa.table(arrow).cast(features.arrow_schema))


def scores(n, offset=0.0):
    numbers = np.arange(n) + offset
    return {name: pa.array(numbers.astype(dtype)) for name, dtype in SCORE_TYPES.items()}


SCORE_TYPES = {"cluster": "int32", "distance": "float32", "difficulty": "float32"}
VIEWS = {
    "whole": lambda d: d,
    "slice": lambda d: d.select(range(3, 9)),
    "indices": lambda d: d.shuffle(seed=3).select(range(2, 10)),
    "repeated": lambda d: d.select([5, 5, 0]),
    "chunks": lambda d: concatenate_datasets([d.select(range(4)), d.select(range(4, 12))]),
}


@pytest.mark.parametrize("view", VIEWS)
def test_other_columns_keep_their_features_and_encoded_bytes(media, view):
    dataset = VIEWS[view](media)
    result = add_columns(dataset, scores(len(dataset)), score_features(RECORD))
    before, after = (d.with_format("arrow")[:] for d in (dataset, result))
    for name, feature in dataset.features.items():
        assert result.features[name] == feature
        assert after[name].to_pylist() == before[name].to_pylist()
    assert before["image"][0]["bytes"].as_py() == jpeg(
        before["id"][0].as_py()
    )  # the comparison is of the encoded bytes
    assert result.column_names == [*dataset.column_names, *SCORE_TYPES]
    assert {name: result.features[name].dtype for name in SCORE_TYPES} == SCORE_TYPES
    for name in SCORE_TYPES:
        assert result[name][:] == list(range(len(dataset)))
    assert result.select_columns("image")[1]["image"].size == (9, 9)


def test_the_dataset_given_is_not_changed(media):
    names = media.column_names
    add_columns(media, scores(12), score_features(RECORD))
    assert media.column_names == names


def test_columns_of_the_same_name_are_replaced_and_others_stay():
    dataset = Dataset.from_dict({"id": [4, 5], "cluster": ["my", "own"], "difficulty": [[1], [2]]})
    once = add_columns(dataset, scores(2), score_features(RECORD))
    twice = add_columns(once, scores(2, offset=7), score_features({"seed": 1}))
    assert once["cluster"][:] == [0, 1]
    assert twice.column_names == ["id", *SCORE_TYPES]
    assert twice["id"][:] == [4, 5]
    assert [twice[name][:] for name in SCORE_TYPES] == [[7, 8]] * 3
    assert provenance(twice) == {"seed": 1}


@pytest.mark.parametrize("rows", [range(3), [2, 0]])
def test_a_dataset_of_nothing_but_the_replaced_columns_is_replaced(rows):
    dataset = Dataset.from_dict({name: [0.5, 0.25, 0.125] for name in SCORE_TYPES}).select(rows)
    replaced = add_columns(dataset, scores(len(rows)), score_features(RECORD))
    assert replaced.to_dict() == dict.fromkeys(SCORE_TYPES, list(range(len(rows))))


def test_numbers_are_cast_to_the_feature_and_embeddings_are_of_fixed_size():
    features = {"embedding": embedding_feature(3, RECORD)}
    dataset = add_columns(TEN.select(range(4)), {"embedding": pa.array(MATRIX.astype(np.float64).tolist())}, features)
    assert dataset.features["embedding"] == features["embedding"]
    assert dataset.features["embedding"].length == 3
    assert dataset.data.column("embedding").type == pa.list_(pa.float32(), 3)
    np.testing.assert_array_equal(np.concatenate(read_embeddings(dataset, "embedding")[0]), MATRIX)


def test_other_values_give_another_fingerprint():
    first, again, other = (
        add_columns(TEN, scores(10, offset), score_features(RECORD))._fingerprint for offset in (0, 0, 1)
    )
    assert (
        first == again != other
    )  # or datasets.map would take the results for one dataset from the cache of the other


# --- provenance ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scored() -> Dataset:
    columns = {"embedding": pa.array(np.zeros((10, 3), np.float32).tolist()), **scores(10)}
    features = {"embedding": embedding_feature(3, {"model_id": "me/model"}), **score_features(RECORD)}
    return add_columns(TEN, columns, features)


def through_disk(dataset, path):
    dataset.save_to_disk(path / "saved")
    return load_from_disk(path / "saved")


def through_dict(dataset, path):
    DatasetDict({"train": dataset, "test": dataset}).save_to_disk(path / "saved")
    return load_from_disk(path / "saved")["test"]


def through_parquet(dataset, path):
    dataset.to_parquet(path / "scored.parquet")
    return load_dataset(
        "parquet", data_files=str(path / "scored.parquet"), split="train", cache_dir=str(path / "cache")
    )


WAYS = {
    "map": lambda d, _: d.map(lambda row: {"y": row["x"] + 1}),
    "batched map": lambda d, _: d.map(lambda rows: {"x": rows["x"]}, batched=True),
    "filter": lambda d, _: d.filter(lambda row: row["x"] % 2 == 0),
    "select": lambda d, _: d.select([7, 1]),
    "shuffle": lambda d, _: d.shuffle(seed=0).flatten_indices(),
    "sort": lambda d, _: d.sort("difficulty", reverse=True),
    "split": lambda d, _: d.train_test_split(0.3, seed=0)["test"],
    "format": lambda d, _: d.with_format("numpy"),
    "columns": lambda d, _: d.remove_columns("x").select_columns(["difficulty", "embedding"]),
    "more rows": lambda d, _: concatenate_datasets([d.select(range(5)), d]),
    "more columns": lambda d, _: concatenate_datasets([TEN.rename_column("x", "z"), d], axis=1),
    "disk": through_disk,
    "dict on disk": through_dict,
    "parquet": through_parquet,
}


@pytest.mark.parametrize("way", WAYS)
def test_the_record_travels_with_its_column(scored, way, tmp_path):
    travelled = WAYS[way](scored, tmp_path)
    assert provenance(travelled) == RECORD
    assert provenance(travelled, "embedding") == {"model_id": "me/model"}
    assert travelled.features["embedding"].length == 3


@pytest.mark.parametrize("text", [None, "another tool's id", "[1, 2]", "3", '"text"', "", 5])
def test_a_column_of_another_hand_has_no_record(text):
    dataset = column([0.5], Value("float32", id=text))
    assert provenance(dataset, "c") == {}


@pytest.mark.parametrize(
    "feature", [Value("string"), ClassLabel(names=["a"]), List(Value("string")), {"a": Value("int8")}]
)
def test_a_column_of_any_type_has_no_record(feature):
    row = {"a": 1} if isinstance(feature, dict) else ["a"] if isinstance(feature, List) else "a"
    assert provenance(column([row], feature), "c") == {}


def test_a_renamed_column_keeps_its_record_under_the_new_name(scored):
    assert provenance(scored.rename_column("difficulty", "hardness"), "hardness") == RECORD


def test_the_record_of_a_missing_column_is_an_error():
    with pytest.raises(ValueError, match="Column 'difficulty' is not in the dataset"):
        provenance(TEN)


@pytest.mark.parametrize("shown", [None, ["label"], ["label", "difficulty"]])
@pytest.mark.parametrize(
    ("kind", "every"),
    [(None, False), *((kind, every) for kind in ("numpy", "torch") for every in (False, True))]
    + [("pandas", False), ("arrow", False)],  # which datasets joins with no others
)
def test_hiding_a_column_hides_no_other(kind, every, shown):
    dataset = Dataset.from_dict({"text": ["a", "b"], "label": [0, 1], "difficulty": [0.1, 0.2]})
    seen = dataset.with_format(kind, columns=shown, output_all_columns=every)
    names = lambda rows: set(getattr(rows, "column_names", None) or list(rows))  # noqa: E731
    before = names(seen[0])
    hidden = hide_columns(seen, ["difficulty", "embedding"])
    assert names(hidden[0]) == before - {"difficulty"}
    assert hidden.format["type"] == seen.format["type"] and hidden.column_names == dataset.column_names
    assert read_difficulty(hidden, "difficulty").tolist() == [0.1, 0.2]


def test_hiding_a_column_keeps_a_transform():
    dataset = Dataset.from_dict({"label": [0, 1], "difficulty": [0.1, 0.2]})
    hidden = hide_columns(dataset.with_transform(lambda rows: {"names": [sorted(rows)] * 2}), ["difficulty"])
    assert hidden[:]["names"][0] == ["label"]
