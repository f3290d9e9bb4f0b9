"""Embedder: the function of a batch that ``Dataset.map``, streams and other processes call."""

import logging
import multiprocessing
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from datasets import Audio, Dataset, Image
from datasets.fingerprint import Hasher
from launching import environment
from transformers import (
    AutoModel,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
)

from hf_curriculum import Embedder, add_difficulty, add_embeddings, provenance
from hf_curriculum.embedding import embedder as module
from hf_curriculum.processes import this_process

pytestmark = [pytest.mark.costly, pytest.mark.usefixtures("own_cache")]


class Counts(torch.nn.Module):
    """A tensor times a weight."""

    def __init__(self, weight=1.0):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(weight))

    def forward(self, rows):
        return rows * self.weight


def letters(row):
    return torch.tensor([float(len(row)), row.count("a"), 1.0])


def lengths(texts):
    return np.array([[len(text), 1.0] for text in texts], np.float32)


def vectors_of(dataset, column="embedding"):
    return np.array(dataset.with_format(None)[column][:], np.float32)


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory, tiny_bert):
    path = tmp_path_factory.mktemp("clip")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(f"{tiny_bert}/{file}", path)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    text = sizes | {"vocab_size": 10, "eos_token_id": 1, "bos_token_id": 0, "pad_token_id": 0}
    CLIPModel(
        CLIPConfig(text_config=text, vision_config=sizes | {"image_size": 28, "patch_size": 14}, projection_dim=16)
    ).save_pretrained(path)
    CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}).save_pretrained(path)
    return str(path)


KINDS = {
    "image": ("digits", "tiny_dinov2", {}),
    "image, a layer": ("digits", "tiny_dinov2", {"layer": 1, "pooling": "mean"}),
    "audio": ("clips", "tiny_wav2vec2", {"long_inputs": "mean", "max_seconds": 0.1}),
    "video": ("films", "tiny_videomae", {}),
    "text": ("sentences", "tiny_bert", {"pooling": "max"}),
    "one of several modalities": ("digits", "tiny_clip", {}),
    "another of them": ("sentences", "tiny_clip", {}),
    "module": ("sentences", Counts(2.0), {"transform": letters}),
    "function": ("sentences", lengths, {}),
    "builtin image": ("digits", "builtin/hog", {}),
    "builtin audio": ("clips", "builtin/logmel", {}),
}
kinds = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def given(request, kind):
    data, model, options = KINDS[kind]
    model = request.getfixturevalue(model) if isinstance(model, str) and model.startswith("tiny") else model
    return request.getfixturevalue(data), model, options


@kinds
def test_map_gives_the_vectors_of_add_embeddings(given):
    dataset, model, options = given
    expected = vectors_of(add_embeddings(dataset, model, **options))
    mapped = dataset.map(Embedder(model, **options), batched=True, batch_size=16)
    np.testing.assert_allclose(vectors_of(mapped), expected, rtol=0, atol=2e-6)
    assert mapped.column_names == [*dataset.column_names, "embedding"]
    assert mapped.features["embedding"].feature.dtype == "float32"


@kinds
def test_a_stream_gives_them_too(given):
    dataset, model, options = given
    if isinstance(dataset.features[dataset.column_names[0]], Audio):  # decoded by torchcodec, see below
        dataset = dataset.cast_column("audio", Audio(decode=False))
    stream = dataset.to_iterable_dataset(num_shards=2).map(Embedder(model, **options), batched=True, batch_size=7)
    found = np.array([row["embedding"] for row in stream], np.float32)
    np.testing.assert_allclose(found, vectors_of(add_embeddings(dataset, model, **options)), rtol=0, atol=2e-6)


@pytest.mark.parametrize("order", ["as they are", "shuffled", "in a format"])
def test_media_are_written_as_they_were_and_rows_stay_in_order(digits, tiny_dinov2, order):
    dataset = {
        "as they are": digits,
        "shuffled": digits.shuffle(seed=3),
        "in a format": digits.with_format("numpy"),
    }[order]
    mapped = dataset.map(Embedder(tiny_dinov2), batched=True, batch_size=32)

    def stored(rows):
        return rows.with_format(None).cast_column("image", Image(decode=False))["image"][:]

    assert stored(mapped) == stored(dataset)
    assert mapped.with_format(None)["label"][:] == dataset.with_format(None)["label"][:]
    np.testing.assert_allclose(vectors_of(mapped), vectors_of(add_embeddings(dataset, tiny_dinov2)), rtol=0, atol=2e-6)


def test_a_sentence_transformer_embeds(sentences, minilm):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    model = sentence_transformers.SentenceTransformer(minilm, device="cpu")
    mapped = sentences.map(Embedder(model), batched=True)
    np.testing.assert_allclose(vectors_of(mapped), model.encode(sentences["text"][:]), rtol=0, atol=1e-5)


def test_the_mapped_column_scores_as_the_other(digits, tiny_dinov2):
    mapped = digits.map(Embedder(tiny_dinov2), batched=True)
    scored = add_difficulty(mapped, n_clusters=4)
    expected = add_difficulty(digits, tiny_dinov2, n_clusters=4)
    np.testing.assert_allclose(scored["difficulty"][:], expected["difficulty"][:], atol=1e-4)


def test_features_carry_the_provenance_of_add_embeddings(digits, tiny_dinov2):
    embedder = Embedder(tiny_dinov2, batch_size=8)
    expected = add_embeddings(digits, tiny_dinov2)
    for dataset in (digits, digits.to_iterable_dataset()):
        mapped = dataset.map(embedder, batched=True, features=embedder.features(dataset))
        assert mapped.features["embedding"] == expected.features["embedding"]
    assert provenance(
        digits.map(embedder, batched=True, features=embedder.features(digits)), "embedding"
    ) == provenance(expected, "embedding")


def test_features_are_told_by_the_first_row_that_can_be_embedded(tiny_bert):
    dataset = Dataset.from_dict({"text": [None, "", "red cat"]})
    embedder = Embedder(tiny_bert, on_error="null")
    assert embedder.features(dataset)["embedding"].length == 32
    with pytest.raises(ValueError, match="No row of column 'text' can be embedded"):
        Embedder(tiny_bert, on_error="null").features(dataset.select(range(2)))
    with pytest.raises(ValueError, match=r"does not know its features: cast it, stream\.cast"):
        embedder.features(dataset.to_iterable_dataset().map(lambda row: row))


# --- what a batch may look like ------------------------------------------------------------------------------------

TEXTS = ["red cat", "blue", "a small dog"]


@pytest.mark.parametrize(
    "batch",
    [{"text": TEXTS, "id": [0, 1, 2]}, pa.table({"text": TEXTS, "id": [0, 1, 2]}), pd.DataFrame({"text": TEXTS})],
    ids=["dictionary", "arrow", "pandas"],
)
def test_a_batch_of_any_kind(batch):
    found = Embedder(lengths)(batch)
    column = found["embedding"].to_pylist() if isinstance(batch, pa.Table) else list(found["embedding"])
    np.testing.assert_array_equal(np.array(column), lengths(TEXTS))
    if not isinstance(batch, dict):
        assert list(found["text"]) == list(batch["text"])


@pytest.mark.parametrize("format", ["arrow", "pandas", "numpy", "torch"])
def test_map_in_a_format(sentences, format):
    mapped = sentences.with_format(format).map(Embedder(lengths), batched=True)
    np.testing.assert_array_equal(vectors_of(mapped), lengths(sentences["text"]))


def test_one_row_at_a_time(sentences, digits, films, tiny_bert, tiny_dinov2, tiny_videomae):
    for dataset, model in ((sentences, tiny_bert), (digits.select(range(20)), tiny_dinov2), (films, tiny_videomae)):
        expected = vectors_of(add_embeddings(dataset, model))
        np.testing.assert_allclose(vectors_of(dataset.map(Embedder(model))), expected, rtol=0, atol=2e-6)
        stream = dataset.to_iterable_dataset().map(Embedder(model))
        np.testing.assert_allclose([row["embedding"] for row in stream], expected, rtol=0, atol=2e-6)


def test_an_empty_batch_has_no_vectors():
    assert Embedder(lengths)({"text": []}) == {"embedding": []}
    assert len(Embedder(lengths)(pa.table({"text": pa.array([], pa.string())}))["embedding"]) == 0


def test_a_row_that_cannot_be_embedded(tiny_bert):
    dataset = Dataset.from_dict({"text": ["red cat", "blue dog", None, "", "bird"]})
    left_out = dataset.map(Embedder(tiny_bert, on_error="null"), batched=True)
    assert [row is None for row in left_out["embedding"]] == [False, False, True, True, False]
    np.testing.assert_array_equal(
        vectors_of(left_out.select([0, 1, 4])), vectors_of(add_embeddings(dataset.select([0, 1, 4]), tiny_bert))
    )
    stream = dataset.to_iterable_dataset().map(Embedder(tiny_bert, on_error="null"), batched=True, batch_size=2)
    assert [row["embedding"] is None for row in stream] == [False, False, True, True, False]
    with pytest.raises(ValueError, match=r"Row 2 of a batch \(with_indices=True tells .* 'text' .*: the text is null"):
        dataset.map(Embedder(tiny_bert), batched=True)
    with pytest.raises(ValueError, match=r"^Row 3 of column 'text' cannot be embedded: the text is empty"):
        dataset.select([0, 1, 4, 3]).map(Embedder(tiny_bert), batched=True, batch_size=2, with_indices=True)


def test_what_is_cut_is_told_once(tiny_bert, caplog):
    dataset = Dataset.from_dict({"text": ["red " * 100] * 30})
    with caplog.at_level(logging.WARNING, "hf_curriculum"):
        dataset.map(Embedder(tiny_bert), batched=True, batch_size=5)
    assert caplog.text.count("were cut: long_inputs='mean' takes all") == 1


# --- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "columns, options, message",
    [
        ({"number": [1, 2]}, {}, r"embeds text, but the dataset has no such column \(number: Value\)"),
        (
            {"a": ["x"], "b": ["y"]},
            {},
            r"Several columns could be embedded: \['a', 'b'\]\. Choose one with input_column=",
        ),
        ({"text": ["x"]}, {"input_column": "texts"}, r"'texts' is not in the dataset .*Did you mean 'text'\?"),
        (
            {"text": ["x"], "n": [1]},
            {"input_column": "n"},
            r"embeds text, but column 'n' is .*Columns of text: \['text'\]",
        ),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_dataset_without_one_fitting_column(tiny_bert, columns, options, message, streamed):
    dataset = Dataset.from_dict(columns)
    if streamed and "number" in columns:
        message = "embeds text, but the dataset has no such column"  # a batch of a stream does not know its types
    with pytest.raises(ValueError, match=message):
        if streamed:
            list(dataset.to_iterable_dataset().map(Embedder(tiny_bert, **options), batched=True))
        else:
            dataset.map(Embedder(tiny_bert, **options), batched=True)


def test_words_that_have_to_be_learned_are_refused_with_a_way_out(sentences):
    with pytest.raises(
        ValueError, match=r"builtin/tfidf learns its words from a whole dataset.*add_embeddings\(dataset"
    ):
        Embedder("builtin/tfidf")


@pytest.mark.parametrize(
    "model, options, message",
    [
        ("nobody/nothing", {}, "'nobody/nothing' is neither a built-in descriptor"),
        ("builtin/sift", {}, "Unknown model_id 'builtin/sift'"),
        ("builtin/hog", {"modality": "text"}, "builtin/hog embeds image, not text"),
        (lengths, {"pooling": "sum"}, "pooling must be one of"),
        (lengths, {"dtype": "int8"}, "dtype must be one of"),
        (lengths, {"on_error": "skip"}, "on_error must be 'raise' or 'null', got 'skip'"),
        (lengths, {"batch_size": 0}, "batch_size must be at least 1, got 0"),
    ],
)
def test_bad_options_are_refused_when_it_is_made(model, options, message):
    with pytest.raises(ValueError, match=message):
        Embedder(model, **options)


def test_a_model_of_vectors_that_differ_in_length_is_refused(sentences):
    embedder = Embedder(lambda texts: np.zeros((len(texts), len(texts))))
    with pytest.raises(ValueError, match="vectors of length 4 for a batch, and of length 7 for the first row"):
        list(sentences.to_iterable_dataset().map(embedder, batched=True, batch_size=7))


# --- processes and hashes ------------------------------------------------------------------------------------------


def test_two_processes_of_map(sentences, digits, tiny_bert, tiny_dinov2):
    for dataset, model in ((sentences, tiny_bert), (digits, tiny_dinov2)):
        mapped = dataset.map(Embedder(model), batched=True, num_proc=2)
        np.testing.assert_allclose(vectors_of(mapped), vectors_of(add_embeddings(dataset, model)), rtol=0, atol=2e-6)


def test_two_processes_after_this_one_has_computed_with_threads(sentences, tiny_bert):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        embedder = Embedder(tiny_bert)
        first = sentences.map(embedder, batched=True)
        torch.randn(500, 500) @ torch.randn(500, 500)
        again = sentences.map(embedder, batched=True, num_proc=2, load_from_cache_file=False)
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_allclose(vectors_of(again), vectors_of(first), rtol=0, atol=2e-6)


@pytest.mark.slow
def test_a_spawned_process_loads_the_weights_itself(sentences, tiny_bert):
    embedder = Embedder(tiny_bert, pooling="max")
    expected = embedder({"text": sentences["text"][:5]})["embedding"]
    assert (
        len(pickle.dumps(embedder)) < 2000 < sum(p.nelement() for p in embedder._encoders["text"].model.parameters())
    )
    script = (
        "import pickle, sys\n"
        "embedder = pickle.load(sys.stdin.buffer)\n"
        "texts = pickle.load(sys.stdin.buffer)\n"
        "sys.stdout.buffer.write(pickle.dumps(embedder({'text': texts})['embedding']))"
    )
    sent = pickle.dumps(embedder) + pickle.dumps(sentences["text"][:5])
    done = subprocess.run(
        [sys.executable, "-c", script], input=sent, stdout=subprocess.PIPE, env=environment(), check=True
    )
    np.testing.assert_allclose(pickle.loads(done.stdout), expected, rtol=0, atol=2e-6)


def test_weights_that_have_changed_meanwhile_are_no_longer_the_same_function(tiny_bert, tmp_path, sentences):
    path = tmp_path / "model"
    shutil.copytree(tiny_bert, path)
    sent = pickle.dumps(Embedder(str(path)))
    assert pickle.loads(sent)({"text": ["red"]})
    model = AutoModel.from_pretrained(path)
    with torch.no_grad():
        next(model.parameters()).add_(1)
    model.save_pretrained(path)
    with pytest.raises(RuntimeError, match="is no longer what it was when this Embedder was made: make a new one"):
        pickle.loads(sent)({"text": ["red"]})


def test_equal_embedders_find_each_others_work_and_no_other(sentences, tiny_bert, tiny_wav2vec2, tmp_path):
    first = sentences.map(Embedder(tiny_bert), batched=True)
    assert sentences.map(Embedder(tiny_bert), batched=True)._fingerprint == first._fingerprint
    hashes = [
        Hasher.hash(Embedder(tiny_bert, **options))
        for options in (
            {},
            {"pooling": "max"},
            {"layer": 1},
            {"layer": "encoder.layer.0"},
            {"long_inputs": "mean"},
            {"dtype": "bfloat16"},
            {"input_column": "text"},
            {"output_column": "vector"},
            {"on_error": "null"},
        )
    ]
    hashes += [Hasher.hash(Embedder(tiny_wav2vec2, max_seconds=seconds)) for seconds in (3.0, 30.0)]
    assert len(set(hashes)) == len(hashes)
    assert Hasher.hash(Embedder(tiny_bert, pooling="auto", modality=None)) == hashes[0]
    path = tmp_path / "model"
    shutil.copytree(tiny_bert, path)
    before = Hasher.hash(Embedder(str(path)))
    assert Hasher.hash(Embedder(str(path))) == before
    config = path / "tokenizer.json"
    config.write_text(config.read_text().replace('"normalizer": null', '"normalizer": {"type": "Lowercase"}'))
    assert Hasher.hash(Embedder(str(path))) != before


def test_modules_hash_by_their_weights(sentences):
    hashes = [Hasher.hash(Embedder(Counts(weight), transform=letters)) for weight in (1.0, 1.0, 2.0)]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.slow
def test_another_interpreter_hashes_alike(tiny_bert):
    script = (
        "from datasets.fingerprint import Hasher\nfrom hf_curriculum import Embedder\n"
        f"print(Hasher.hash(Embedder({tiny_bert!r})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment(), check=True
    )
    assert done.stdout.strip() == Hasher.hash(Embedder(tiny_bert))


def device_in_a_child(device, rank, results):
    this_process().device = torch.device(device)
    try:
        results.put(str(module._device(rank)))
    except RuntimeError as error:
        results.put(str(error))


@pytest.mark.slow
def test_processes_that_would_share_an_accelerator_are_told_what_to_do():
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    for device, rank in (("cpu", None), ("cuda", None)):
        process = context.Process(target=device_in_a_child, args=(device, rank, results))
        process.start()
        process.join()
    assert results.get(timeout=60) == "cpu"
    assert "Leave num_proc out; with several GPUs call multiprocess.set_start_method('spawn')" in results.get(
        timeout=60
    )


def test_a_rank_on_the_cpu_changes_nothing(sentences):
    mapped = sentences.map(Embedder(lengths), batched=True, with_rank=True, with_indices=True)
    np.testing.assert_array_equal(vectors_of(mapped), lengths(sentences["text"]))
    mapped = sentences.map(Embedder(lengths), batched=True, with_rank=True, num_proc=2)
    np.testing.assert_array_equal(vectors_of(mapped), lengths(sentences["text"]))
