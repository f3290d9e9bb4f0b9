import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import (
    Array2D,
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
    load_from_disk,
)
from embedding import vectors_of
from transformers import AutoConfig, AutoModel, AutoTokenizer, VisionEncoderDecoderConfig, ViTConfig
from worker_embedding import numbers

from hf_curriculum import __version__, add_embeddings, provenance

ENCODERS = {  # model, its dataset, length of its vectors
    "dinov2": ("tiny_dinov2", "digits", 32),
    "wav2vec2": ("tiny_wav2vec2", "clips", 32),
    "bert": ("tiny_bert", "sentences", 32),
    "hog": ("builtin/hog", "digits", 324),
    "logmel": ("builtin/logmel", "clips", 128),
    "tfidf": ("builtin/tfidf", "sentences", 8),
}
ENCODER = pytest.mark.parametrize("name", ENCODERS)

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def given(request, name):
    """Model, its dataset, length of its vectors."""
    model, data, dim = ENCODERS[name]
    path = model if model.startswith("builtin/") else request.getfixturevalue(model)
    return path, request.getfixturevalue(data), dim


def own_number(rows):
    """Embeds the text of a number as that number and its square."""
    return np.array([[float(row), float(row) ** 2] for row in rows])


# --- the column ---------------------------------------------------------------------------------------------------


@ENCODER
def test_column_is_a_list_of_float32_of_one_length(given, name):
    path, dataset, dim = given
    embedded = add_embeddings(dataset, path)
    feature = embedded.features["embedding"]
    assert isinstance(feature, List) and feature.length == dim
    assert feature.feature.dtype == "float32"
    assert vectors_of(embedded).shape == (len(dataset), dim)
    assert vectors_of(embedded).dtype == np.float32


@pytest.mark.parametrize("n, batch_size", [(1, 64), (10, 3), (1024, 64), (2500, 100), (2500, 2000)])
def test_rows_keep_their_order(n, batch_size):
    shuffled = numbers(n).shuffle(seed=1)
    embedded = add_embeddings(shuffled, own_number, batch_size=batch_size)
    expected = own_number(shuffled["text"][:])
    np.testing.assert_array_equal(vectors_of(embedded), expected.astype(np.float32))
    assert embedded["text"][:] == shuffled["text"][:]


@pytest.mark.parametrize(
    "change",
    [
        lambda dataset: dataset.select([5, 3, 3, 9]),
        lambda dataset: dataset.filter(lambda row: len(row["text"]) > 20),
        lambda dataset: dataset.shard(4, 1, contiguous=False),
    ],
    ids=["select", "filter", "shard"],
)
def test_a_part_of_a_dataset_has_the_embeddings_of_its_rows(sentences, tiny_bert, change):
    whole = dict(zip(sentences["text"][:], vectors_of(add_embeddings(sentences, tiny_bert)), strict=True))
    part = change(sentences)
    embedded = add_embeddings(part, tiny_bert)
    assert len(embedded) == len(part) > 1
    np.testing.assert_allclose(vectors_of(embedded), [whole[text] for text in part["text"][:]], atol=1e-6)


def test_other_columns_and_their_features_stay_as_they_are(digits, clips):
    sizes = range(12)
    others = Features(
        {
            "kind": ClassLabel(names=["even", "odd"]),
            "matrix": Array2D((2, 2), "float32"),
            "nested": {"tags": List(Value("string")), "score": Value("float64")},
            "caption": Value("string"),
        }
    )
    rows = {
        "kind": [i % 2 for i in sizes],
        "matrix": [[[i, 0], [0, 1]] for i in sizes],
        "nested": [{"tags": ["a"] * i, "score": i / 7} for i in sizes],
        "caption": [None if i == 4 else f"number {i}" for i in sizes],
    }
    parts = [digits.select(sizes), clips.remove_columns("label").select(sizes), Dataset.from_dict(rows, others)]
    dataset = concatenate_datasets(parts, axis=1)
    embedded = add_embeddings(dataset, "builtin/hog")
    assert embedded.column_names == [*dataset.column_names, "embedding"]
    assert {name: embedded.features[name] for name in dataset.features} == dataset.features
    before, after = dataset.with_format("arrow")[:], embedded.with_format("arrow")[:]
    assert all(after[name].equals(before[name]) for name in dataset.features)  # bytes of the media included


def test_output_column_gets_the_vectors_and_replaces_an_older_one(sentences):
    once = add_embeddings(sentences, "builtin/tfidf", output_column="vector")
    twice = add_embeddings(once, lambda rows: np.ones((len(rows), 3)), input_column="text", output_column="vector")
    assert once.column_names == twice.column_names == ["text", "vector"]
    assert twice.features["vector"].length == 3
    np.testing.assert_array_equal(vectors_of(twice, "vector"), 1)


def test_splits_are_embedded_each_and_keep_their_names(sentences, tiny_bert):
    splits = DatasetDict({"test": sentences.select(range(40, 60)), "train": sentences.select(range(40))})
    embedded = add_embeddings(splits, tiny_bert)
    assert isinstance(embedded, DatasetDict) and list(embedded) == ["test", "train"]
    whole = vectors_of(add_embeddings(sentences, tiny_bert))
    np.testing.assert_allclose(vectors_of(embedded["train"]), whole[:40], atol=1e-6)
    np.testing.assert_allclose(vectors_of(embedded["test"]), whole[40:], atol=1e-6)


@pytest.mark.parametrize("names, fitted", [(["test", "train"], "train"), (["b", "a"], "b")])
def test_words_are_those_of_the_train_split_or_else_of_the_first(names, fitted):
    texts = {name: ["red cat", "green cat"] if name == fitted else ["blue dog", "blue cat"] for name in names}
    splits = DatasetDict({name: Dataset.from_dict({"text": rows}) for name, rows in texts.items()})
    embedded = add_embeddings(splits, "builtin/tfidf", on_error="null")
    for name in names:
        known = [name == fitted, True]  # blue and dog are words of the other split alone
        assert [vector is not None for vector in embedded[name]["embedding"]] == known


@pytest.mark.parametrize("layout", ["torch", "numpy", "pandas", "arrow"])
def test_the_format_of_a_dataset_does_not_matter(digits, sentences, tiny_bert, tiny_dinov2, layout):
    for dataset, model_id in [(digits, tiny_dinov2), (sentences, tiny_bert), (sentences, "builtin/tfidf")]:
        formatted = add_embeddings(dataset.select(range(9)).with_format(layout), model_id)
        expected = vectors_of(add_embeddings(dataset.select(range(9)), model_id))
        np.testing.assert_allclose(vectors_of(formatted), expected, atol=1e-6)


def test_a_transform_of_the_dataset_does_not_matter(digits, tiny_dinov2):
    first = digits.select(range(9))
    transformed = first.with_transform(lambda rows: {"pixels": [np.asarray(image) for image in rows["image"]]})
    embedded = add_embeddings(transformed, tiny_dinov2)
    np.testing.assert_array_equal(vectors_of(embedded), vectors_of(add_embeddings(first, tiny_dinov2)))


def test_media_that_are_not_decoded_embed_as_those_that_are(digits, clips):
    for dataset, column, undecoded in [(digits, "image", Image(decode=False)), (clips, "audio", Audio(decode=False))]:
        model_id = "builtin/hog" if column == "image" else "builtin/logmel"
        embedded = add_embeddings(dataset.cast_column(column, undecoded), model_id)
        np.testing.assert_array_equal(vectors_of(embedded), vectors_of(add_embeddings(dataset, model_id)))
        assert embedded.features[column] == undecoded


# --- where the vectors came from ----------------------------------------------------------------------------------


def test_record_names_model_pooling_revision_column_and_version(sentences, tiny_bert):
    embedded = add_embeddings(sentences, tiny_bert, pooling="max", layer=-2, dtype="bfloat16")
    record = provenance(embedded, "embedding")
    assert re.fullmatch("[0-9a-f]{16}", record.pop("weights"))
    assert record == {
        "model_id": Path(tiny_bert).name,
        "local": True,
        "pooling": "max",
        "layer": -2,
        "normalize": False,
        "revision": None,
        "input_column": "text",
        "dtype": "bfloat16",
        "version": __version__,
    }


def test_record_of_a_descriptor_names_it(digits):
    record = provenance(add_embeddings(digits, "builtin/hog", dtype="float32"), "embedding")
    assert record == {
        "model_id": "builtin/hog",
        "input_column": "image",
        "dtype": "float32",
        "version": __version__,
    }


def test_record_and_vectors_survive_disk_and_parquet(sentences, tmp_path):
    embedded = add_embeddings(sentences, "builtin/tfidf")
    embedded.save_to_disk(tmp_path / "arrow")
    embedded.to_parquet(tmp_path / "data.parquet")
    parquet = Dataset.from_parquet(str(tmp_path / "data.parquet"), cache_dir=str(tmp_path / "cache"))
    for loaded in (load_from_disk(tmp_path / "arrow"), parquet):
        assert loaded.features == embedded.features
        assert provenance(loaded, "embedding") == provenance(embedded, "embedding") != {}
        np.testing.assert_array_equal(vectors_of(loaded), vectors_of(embedded))


# --- the column that is embedded ----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def captioned(digits):
    """Images with two texts."""
    first = digits.select(range(8))
    return first.add_column("title", [f"digit {i}" for i in range(8)]).add_column(
        "note", [f"seen {i}" for i in "abcdefgh"]
    )


def test_column_is_found_by_the_modality_of_the_model(captioned, tiny_dinov2, tiny_bert):
    titled = captioned.remove_columns("note")
    assert provenance(add_embeddings(titled, tiny_dinov2), "embedding")["input_column"] == "image"
    assert provenance(add_embeddings(titled, tiny_bert), "embedding")["input_column"] == "title"


def test_modality_chooses_the_column_of_a_function(captioned):
    def kind(rows):
        return [[float(isinstance(row, str))] for row in rows]

    titled = captioned.remove_columns("note")
    assert vectors_of(add_embeddings(titled, kind, modality="text")).all()
    assert not vectors_of(add_embeddings(titled, kind, modality="image")).any()


def test_a_function_may_embed_a_column_of_any_type(digits):
    embedded = add_embeddings(digits, lambda rows: np.array(rows)[:, None] * 2, input_column="label")
    np.testing.assert_array_equal(vectors_of(embedded)[:, 0], 2 * np.array(digits["label"][:]))


# --- the cache ----------------------------------------------------------------------------------------------------

FORWARDED = []  # rows of each forward pass; in this module, so that it is no part of what datasets hashes


class Counts(torch.nn.Module):
    """Number of characters times a weight."""

    def __init__(self, weight=1.0):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([[weight]]))

    def forward(self, rows):
        FORWARDED.append(len(rows))
        return torch.tensor([[float(len(row))] for row in rows]) @ self.weight


@pytest.fixture
def on_disk(request, tmp_path):
    """Saves a dataset in one of the ways that datasets caches, and loads it anew at each call."""

    def save(dataset, how):
        if how == "disk":
            dataset.save_to_disk(tmp_path / "data")
            return lambda: load_from_disk(tmp_path / "data")
        dataset.to_parquet(tmp_path / "data.parquet")
        return lambda: Dataset.from_parquet(str(tmp_path / "data.parquet"), cache_dir=str(tmp_path / "cache"))

    return save


def shards(folder):
    """The files of vectors in a cache, and when each was written."""
    return {path: path.stat().st_mtime_ns for path in folder.glob("*/shard-*.arrow")}


@pytest.mark.parametrize("how", ["disk", "parquet"])
def test_second_call_does_not_forward_again(sentences, on_disk, how):
    load = on_disk(sentences, how)
    FORWARDED.clear()
    first = add_embeddings(load(), Counts(2.0))
    assert sum(FORWARDED) >= len(sentences)
    FORWARDED.clear()
    second = add_embeddings(load(), Counts(2.0))
    assert sum(FORWARDED) <= 1  # one row, for the length of the vectors
    np.testing.assert_array_equal(vectors_of(second), vectors_of(first))


@ENCODER
@pytest.mark.parametrize("how", ["disk", "parquet"])
def test_second_call_writes_nothing(given, name, on_disk, how, own_cache):
    path, dataset, _ = given
    load = on_disk(dataset, how)
    first = add_embeddings(load(), path)
    written = shards(own_cache)
    second = add_embeddings(load(), path)
    assert len(written) == 1
    assert shards(own_cache) == written
    np.testing.assert_array_equal(vectors_of(second), vectors_of(first))


OWN = """
import torch

def embed(rows):
    return [[float(len(row))] for row in rows]

class Module(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1, 3))
        self.known = {"red", "green", "blue"}

    def forward(self, rows):
        return torch.tensor(embed(rows)) @ self.weight

module = Module()
"""


@pytest.mark.slow
def test_another_interpreter_finds_the_cache(sentences, clips, tiny_bert, tiny_wav2vec2, tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    sentences.save_to_disk(tmp_path / "text")
    clips.save_to_disk(tmp_path / "audio")
    calls = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import own
from datasets import load_from_disk
from hf_curriculum import add_embeddings
for model_id in ({tiny_bert!r}, "builtin/tfidf", own.embed, own.module):
    add_embeddings(load_from_disk({str(tmp_path / "text")!r}), model_id, cache_dir={str(tmp_path)!r})
add_embeddings(load_from_disk({str(tmp_path / "audio")!r}), {tiny_wav2vec2!r}, cache_dir={str(tmp_path)!r})
"""
    exec(calls)
    written = shards(tmp_path / "hf_curriculum")
    done = subprocess.run([sys.executable, "-c", calls], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(written) == 5
    assert shards(tmp_path / "hf_curriculum") == written


def test_how_the_work_is_done_does_not_change_what_is_found_in_the_cache(sentences, tiny_bert, on_disk, own_cache):
    load = on_disk(sentences, "disk")
    first = vectors_of(add_embeddings(load(), tiny_bert, batch_size=7))
    written = shards(own_cache)
    for work in ({"batch_size": 60}, {"num_workers": 1}, {"output_column": "vector"}, {"on_error": "null"}):
        again = add_embeddings(load(), tiny_bert, **work)
        np.testing.assert_array_equal(vectors_of(again, work.get("output_column", "embedding")), first)
    assert shards(own_cache) == written
    assert len(written) == 1


def test_options_that_change_the_vectors_change_the_cached_column(sentences, tiny_bert, on_disk, tmp_path):
    sentences = concatenate_datasets([sentences, Dataset.from_dict({"text": ["red cat large bird " * 40]})])
    turned = [" ".join(text.split()[::-1]) for text in sentences["text"]]
    load = on_disk(sentences.add_column("reversed", turned), "disk")
    plain = {"model_id": tiny_bert, "input_column": "text"}
    torch.manual_seed(1)
    AutoModel.from_config(AutoConfig.from_pretrained(tiny_bert)).save_pretrained(tmp_path / "other")
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(tmp_path / "other")
    variants = [
        plain,
        *({**plain, "pooling": pooling} for pooling in ("cls", "max", "last")),
        *({**plain, "layer": layer} for layer in (0, -2, "embeddings.word_embeddings")),
        {**plain, "long_inputs": "mean"},
        {**plain, "dtype": "bfloat16"},
        {**plain, "input_column": "reversed"},
        {**plain, "model_id": str(tmp_path / "other")},
        {**plain, "model_id": "builtin/tfidf"},
        {**plain, "model_id": Counts(1.0)},
        {**plain, "model_id": Counts(2.0)},
    ]
    columns = [vectors_of(add_embeddings(load(), **variant)) for variant in variants]
    for i, column in enumerate(columns):
        for other in columns[:i]:
            assert column.shape != other.shape or np.abs(column - other).max() > 1e-4


@pytest.mark.parametrize("name", ["dinov2", "wav2vec2", "bert"])
def test_new_weights_at_an_old_path_are_seen(given, name, on_disk, tmp_path):
    model, dataset, _ = given
    load, path = on_disk(dataset, "disk"), tmp_path / "model"
    shutil.copytree(model, path)
    torch.manual_seed(1)
    AutoModel.from_config(AutoConfig.from_pretrained(model)).save_pretrained(path)
    before = vectors_of(add_embeddings(load(), str(path)))
    AutoModel.from_pretrained(model).save_pretrained(path)
    after = vectors_of(add_embeddings(load(), str(path)))
    np.testing.assert_allclose(after, vectors_of(add_embeddings(load(), model)), atol=1e-6)
    assert np.abs(after - before).max() > 1e-3


def change_file(name, **settings):
    def change(path):
        file = path / name
        file.write_text(json.dumps(json.loads(file.read_text()) | settings))

    return change


@pytest.mark.parametrize(
    "name, change",
    [
        ("dinov2", change_file("preprocessor_config.json", do_normalize=False)),
        ("wav2vec2", change_file("preprocessor_config.json", do_normalize=False)),
        ("bert", change_file("tokenizer.json", normalizer={"type": "Prepend", "prepend": "small "})),
    ],
)
def test_new_settings_of_what_prepares_the_inputs_are_seen(given, name, change, on_disk, tmp_path):
    model, dataset, _ = given
    load, path = on_disk(dataset, "disk"), tmp_path / "model"
    shutil.copytree(model, path)
    before = vectors_of(add_embeddings(load(), str(path)))
    change(path)
    after = vectors_of(add_embeddings(load(), str(path)))
    assert np.abs(after - before).max() > 1e-4


def test_seconds_that_run_at_once_are_seen(clips, tiny_wav2vec2, on_disk):
    load = on_disk(clips, "disk")
    whole, cut = (vectors_of(add_embeddings(load(), tiny_wav2vec2, max_seconds=s)) for s in (30, 0.1))
    assert np.abs(whole - cut).max() > 1e-3


def test_words_of_another_train_split_are_seen(on_disk):
    load = on_disk(Dataset.from_dict({"text": ["red cat", "blue dog"]}), "disk")
    known = []
    for words in ("red cat", "blue dog"):
        train = Dataset.from_dict({"text": [words, f"{words} bird"]})
        embedded = add_embeddings(DatasetDict({"train": train, "test": load()}), "builtin/tfidf", on_error="null")
        known.append([vector is not None for vector in embedded["test"]["embedding"]])
    assert known == [[True, False], [False, True]]


def test_weights_of_a_module_changed_in_place_are_seen(sentences, on_disk):
    load, module = on_disk(sentences, "disk"), Counts(1.0)
    before = vectors_of(add_embeddings(load(), module))
    with torch.no_grad():
        module.weight.mul_(3)
    np.testing.assert_array_equal(vectors_of(add_embeddings(load(), module)), 3 * before)


def test_a_folder_has_no_revisions(sentences, tiny_bert):
    """Its own files are read whatever the revision, and the record would name one that was never seen."""
    with pytest.raises(ValueError, match="revision='v1' is an option of a model of the Hub, not of a folder: leave"):
        add_embeddings(sentences, tiny_bert, revision="v1")


def test_a_descriptor_has_one_precision_which_is_recorded(sentences):
    assert provenance(add_embeddings(sentences, "builtin/tfidf"), "embedding")["dtype"] == "float32"
    with pytest.raises(ValueError, match="dtype='bfloat16' is an option of models: builtin/tfidf computes in float32"):
        add_embeddings(sentences, "builtin/tfidf", dtype="bfloat16")


# --- bad rows and bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rows", [[7], [9, 5, 20]])
def test_a_number_that_is_not_finite_is_reported_with_its_row(bad, rows):
    def broken(texts):
        return [[float(text), bad if int(text) in rows else 0.0] for text in texts]

    message = rf"Row {min(rows)} of column 'text' cannot be embedded: the model returned a NaN or infinite number"
    with pytest.raises(ValueError, match=message):
        add_embeddings(numbers(30), broken, batch_size=4)


def test_the_row_of_a_nan_far_down_can_be_told():
    def broken(texts):
        return [[np.nan if text == "1500" else 0.0] for text in texts]

    with pytest.raises(ValueError, match=r"Row 1500 of column .*NaN"):
        add_embeddings(numbers(2000), broken)


def test_a_model_of_another_length_in_a_later_batch_is_refused():
    with pytest.raises(ValueError, match=r"vectors of length 7 for rows from 5 on, and of length 2 for the first row"):
        add_embeddings(numbers(10), lambda rows: np.zeros((len(rows), 2 + int(rows[0]))), batch_size=5)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_batch_size_below_one_is_refused(sentences, tiny_bert, batch_size):
    with pytest.raises(ValueError, match=f"batch_size must be at least 1, got {batch_size}"):
        add_embeddings(sentences, tiny_bert, batch_size=batch_size)


@pytest.mark.parametrize("make", [lambda d: d, lambda d: DatasetDict({"train": d, "test": d.select([])})])
def test_an_empty_dataset_or_split_is_refused(sentences, tiny_bert, make):
    dataset = make(sentences.select([]))
    with pytest.raises(ValueError, match=r"no rows\. Did an earlier `dataset\.filter"):
        add_embeddings(dataset, tiny_bert)


@pytest.mark.parametrize("kind", ["IterableDataset", "IterableDatasetDict"])
def test_a_stream_is_refused_with_a_way_out(sentences, tiny_bert, kind):
    stream = sentences.to_iterable_dataset()
    dataset = stream if kind == "IterableDataset" else IterableDatasetDict({"train": stream})
    with pytest.raises(TypeError, match=rf"got a streaming {kind}.*streaming=False.*Dataset\.from_list"):
        add_embeddings(dataset, tiny_bert)


@pytest.mark.parametrize("dataset", [["a text"], {"text": ["a"]}, None])
def test_what_is_no_dataset_is_refused(tiny_bert, dataset):
    with pytest.raises(TypeError, match=rf"Expected a datasets\.Dataset, got {type(dataset).__name__}"):
        add_embeddings(dataset, tiny_bert)


BAD = [
    # dataset, model, options, message
    ("sentences", "tiny_bert", {"input_column": "texts"}, r"'texts' is not in the dataset .*Did you mean 'text'\?"),
    ("captioned", "tiny_bert", {}, r"Several columns could be embedded: \['title', 'note'\].*input_column="),
    ("captioned", "own", {}, r"Several columns could be embedded: \['image', 'title', 'note'\]"),
    ("captioned", "own", {"modality": "text"}, r"Several columns could be embedded: \['title', 'note'\]"),
    (
        "digits",
        "tiny_bert",
        {},
        r"embeds text, but the dataset has no such column \(image: image, label: ClassLabel\)",
    ),
    ("digits", "builtin/tfidf", {}, r"builtin/tfidf embeds text, but the dataset has no such column"),
    ("sentences", "builtin/hog", {}, r"builtin/hog embeds image, but .*\(text: text\)"),
    ("sentences", "tiny_wav2vec2", {}, r"embeds audio, but the dataset has no such column"),
    ("digits", "own", {"modality": "audio"}, r"embeds audio, but the dataset has no such column"),
    (
        "captioned",
        "tiny_dinov2",
        {"input_column": "title"},
        r"embeds image, but column 'title'.*of image: \['image'\]",
    ),
    ("captioned", "tiny_bert", {"input_column": "image"}, r"embeds text, but column 'image'.*\['title', 'note'\]"),
    ("captioned", "builtin/hog", {"input_column": "label"}, r"embeds image, but column 'label'"),
    ("captioned", "tiny_dinov2", {"modality": "text"}, r"embeds image, not text\. Drop modality='text'"),
    ("clips", "builtin/logmel", {"modality": "image"}, r"builtin/logmel embeds audio, not image"),
    ("sentences", "tiny_bert", {"modality": "video"}, r"embeds text, not video\. Drop modality='video'"),
    (
        "sentences",
        "own",
        {"modality": "words"},
        r"modality must be one of \['image', 'audio', 'video', 'text'\], got 'words'",
    ),
    ("sentences", "tiny_bert", {"dtype": "int8"}, r"dtype must be one of \['auto', 'float32', .*got 'int8'"),
    ("sentences", "tiny_bert", {"long_inputs": "cut"}, r"long_inputs must be 'truncate' or 'mean', got 'cut'"),
    ("sentences", "tiny_bert", {"max_seconds": 0}, r"max_seconds must be > 0, got 0"),
    ("sentences", "tiny_bert", {"on_error": "skip"}, r"on_error must be 'raise' or 'null', got 'skip'"),
    ("sentences", "tiny_bert", {"num_workers": -1}, r"num_workers must be at least 0, got -1"),
    ("sentences", "tiny_bert", {"shard_size": 0}, r"shard_size must be at least 1, got 0"),
    (
        "sentences",
        "tiny_bert",
        {"pooling": "sum"},
        r"pooling must be one of .*'cls', 'mean', 'max', 'last'\], got 'sum'",
    ),
    ("sentences", "nobody/nothing", {}, r"'nobody/nothing' is neither a built-in descriptor \['builtin/hog'.*Hub"),
    ("sentences", "/no/such/folder", {}, r"'/no/such/folder' is neither .* nor a local directory with a config\.json"),
    (
        "sentences",
        "builtin/sift",
        {},
        r"Unknown model_id 'builtin/sift'; built-in are \['builtin/hog', 'builtin/logmel'",
    ),
]


@pytest.mark.parametrize("data, model, options, message", BAD)
def test_bad_input_says_what_is_wrong(request, data, model, options, message):
    dataset = request.getfixturevalue(data)
    model_id = request.getfixturevalue(model) if model.startswith("tiny") else model
    with pytest.raises(ValueError, match=message):
        add_embeddings(dataset, own_number if model == "own" else model_id, **options)


def test_bad_input_is_refused_before_the_weights_are_read(digits, tiny_bert, tmp_path):
    AutoConfig.from_pretrained(tiny_bert).save_pretrained(tmp_path)  # and no weights
    with pytest.raises(ValueError, match="embeds text, but the dataset has no such column"):
        add_embeddings(digits, str(tmp_path))


def test_a_model_that_is_no_encoder_of_one_modality_is_refused(digits, tiny_bert, tmp_path):
    bert = AutoConfig.from_pretrained(tiny_bert)
    VisionEncoderDecoderConfig.from_encoder_decoder_configs(ViTConfig(), bert).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"Cannot tell what .* \(vision-encoder-decoder\) embeds\. Pass modality="):
        add_embeddings(digits, str(tmp_path))
