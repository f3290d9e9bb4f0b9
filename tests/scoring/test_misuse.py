"""What is not a dataset, and options that are none: each error says what to do, before any work is done."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from datasets import Dataset, DatasetDict, load_dataset

import hf_curriculum
from hf_curriculum import (
    CurriculumConfig,
    CurriculumSampler,
    DifficultyScorer,
    Embedder,
    add_difficulty,
    add_embeddings,
    report,
)

TEXTS = Dataset.from_dict({"text": ["red cat", "blue dog", "green bird"] * 4})
OTHERS = {
    "DataFrame": (pd.DataFrame({"text": ["a"]}), r"Dataset\.from_pandas\(df\)"),
    "Series": (pd.Series(["a"]), "got Series"),
    "Table": (pa.table({"text": ["a"]}), r"Dataset\(table\)"),
    "name": ("stanfordnlp/imdb", r"load_dataset\(name\)"),
    "path": ("data.parquet", r"Dataset\.from_parquet"),
    "Path": (Path("scored"), r"load_from_disk\(folder\)"),
    "rows": ([{"text": "a"}], r"Dataset\.from_list\(rows\)"),
    "texts": (["a", "b"], r"Dataset\.from_dict\(\{'text': texts\}\)"),
    "columns": ({"text": ["a"]}, r"Dataset\.from_dict\(columns\)"),
    "splits": ({"train": TEXTS}, r"DatasetDict\(splits\)"),
    "array": (np.zeros((3, 2)), r"Dataset\.from_dict\(\{'embedding': array\}\)"),
    "tensor": (torch.zeros(3, 2), r"Dataset\.from_dict\(\{'embedding': tensor\.numpy\(\)\}\)"),
    "generator": ((row for row in [{"text": "a"}]), r"Dataset\.from_generator\(function\)"),
    "loader": (torch.utils.data.DataLoader([1]), r"loader\.dataset"),
    "nothing": (None, "a function that changes a dataset returns it"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_dataset_is_told_how_to_become_one(kind, tmp_path):
    other, way = OTHERS[kind]
    for call in (
        lambda: add_difficulty(other, "builtin/tfidf"),
        lambda: add_difficulty(other),
        lambda: add_embeddings(other, "builtin/tfidf"),
        lambda: report(other, tmp_path / "report.html"),
    ):
        with pytest.raises(TypeError, match=rf"Expected a datasets\.Dataset, got {type(other).__name__}.*{way}|{way}"):
            call()


def test_the_ways_that_the_errors_name_lead_to_a_dataset(tmp_path):
    TEXTS.to_parquet(tmp_path / "data.parquet")
    rows = TEXTS.to_list()
    ways = [
        Dataset.from_pandas(pd.DataFrame(rows)),
        Dataset(pa.table({"text": TEXTS["text"][:]})),
        load_dataset("parquet", data_files=str(tmp_path / "data.parquet"), split="train"),
        Dataset.from_parquet(str(tmp_path / "data.parquet")),
        Dataset.from_list(rows),
        Dataset.from_dict(TEXTS.to_dict()),
        Dataset.from_generator(lambda: iter(rows)),
        DatasetDict({"train": TEXTS})["train"],
    ]
    wanted = add_difficulty(TEXTS, "builtin/tfidf", n_clusters=2)["difficulty"][:]
    assert all(add_difficulty(way, "builtin/tfidf", n_clusters=2)["difficulty"][:] == wanted for way in ways)
    vectors = torch.randn(5, 2)
    assert len(add_difficulty(Dataset.from_dict({"embedding": vectors.numpy()}), n_clusters=1)) == 5


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("num_clusters", "n_clusters"),
        ("clusters", "n_clusters"),
        ("cluster_rang", "cluster_range"),
        ("labels_column", "label_column"),
        ("normalise", "normalize"),
        ("batchsize", "batch_size"),
        ("input_col", "input_column"),
        ("workers", "num_workers"),
        ("model", "modality"),
    ],
)
@pytest.mark.parametrize("model_id", ["builtin/tfidf", None])
def test_an_option_that_is_none_is_told_with_the_one_that_was_meant(wrong, right, model_id):
    with pytest.raises(TypeError, match=rf"add_difficulty\(\) has no option '{wrong}'. Did you mean '\w+'\?") as found:
        add_difficulty(TEXTS, model_id, **{wrong: 3})
    assert right in str(found.value) or wrong == "model"


def test_an_option_that_is_like_none_is_told_with_all():
    with pytest.raises(TypeError, match=r"has no option 'xyz'. It has \['batch_size', .*'n_clusters'"):
        add_difficulty(TEXTS, "builtin/tfidf", xyz=1)
    with pytest.raises(TypeError, match="'output_column': the embeddings go to embedding_column"):
        add_difficulty(TEXTS, "builtin/tfidf", output_column="vector")


OPTIONS = [
    ({"batchsize": 8}, TypeError, r"add_embeddings\(\) has no option 'batchsize'. Did you mean 'batch_size'\?"),
    ({"zzz": 8}, TypeError, r"has no option 'zzz'. It has \['dataset', 'model_id', 'input_column'"),
    ({"batch_size": "8"}, TypeError, "batch_size must be an integer, got '8'"),
    ({"batch_size": 1.5}, TypeError, "batch_size must be an integer, got 1.5"),
    ({"batch_size": None}, TypeError, "batch_size must be an integer, got None"),
    ({"batch_size": True}, TypeError, "batch_size must be an integer, got True"),
    ({"num_workers": "2"}, TypeError, "num_workers must be an integer, got '2'"),
    ({"shard_size": "a"}, TypeError, "shard_size must be an integer, got 'a'"),
    ({"max_seconds": "3"}, TypeError, "max_seconds must be a number, got '3'"),
    ({"layer": 1.5}, TypeError, "layer must be an index of hidden states or the name of a module, got 1.5"),
    ({"input_column": ["text"]}, TypeError, r"A column is named by a string, got \['text'\]"),
    ({"input_column": 0}, TypeError, "A column is named by a string, got 0"),
    ({"output_column": None}, TypeError, "The new column needs a name, got None"),
    ({"output_column": ["e"]}, TypeError, r"The new column needs a name, got \['e'\]"),
    ({"transform": len}, ValueError, r"transform=<built-in function len> is an option of a torch.nn.Module"),
]


@pytest.mark.parametrize(("options", "error", "message"), OPTIONS)
def test_an_option_of_another_type_is_told_with_its_value(options, error, message):
    with pytest.raises(error, match=message):
        add_embeddings(TEXTS, "builtin/tfidf", **options)


MODELS = [
    (None, "model_id must be the name of a model.*got None"),
    (3, "model_id must be .*got 3"),
    (["builtin/tfidf"], r"model_id must be .*got \['builtin/tfidf'\]"),
    (torch.nn.Linear, "model_id must be .*got <class"),
    (torch.nn.Linear(2, 2), r"Linear failed on a list of 1 rows: .*pass transform=\.\.\."),
    (lambda rows: "abc", "must turn 1 rows into an array of numbers.*'abc'"),
    (lambda rows: [["a"] for _ in rows], "must turn 1 rows into an array of numbers.*'a'"),
    (lambda rows: [[1.0], [1.0, 2.0]], "must turn 1 rows into an array of numbers.*inhomogeneous"),
]


@pytest.mark.parametrize(("model", "message"), MODELS)
def test_what_is_no_model_is_told_what_one_is(model, message):
    with pytest.raises((TypeError, ValueError), match=message):
        add_embeddings(TEXTS, model)
    with pytest.raises((TypeError, ValueError), match=message):
        Embedder(model)(TEXTS[:1])


OF_HUB = [{"pooling": "mean"}, {"layer": 1}, {"long_inputs": "mean"}, {"max_seconds": 5}, {"revision": "main"}]


@pytest.mark.parametrize("options", OF_HUB)
@pytest.mark.parametrize("model", [lambda rows: [[1.0]] * len(rows), "builtin/tfidf"], ids=["function", "built-in"])
def test_an_option_that_only_models_of_the_hub_heed_is_refused(model, options):
    (name,) = options
    with pytest.raises(ValueError, match=f"{name}=.* is an option of a model of the Hub: leave it out"):
        add_embeddings(TEXTS, model, **options)


def test_an_option_of_another_modality_is_refused(tiny_bert, tiny_dinov2, digits):
    with pytest.raises(ValueError, match="max_seconds=5 is an option of audio models: leave it out"):
        add_embeddings(TEXTS, tiny_bert, max_seconds=5)
    with pytest.raises(ValueError, match="long_inputs='mean' is an option of text and audio models: leave it out"):
        add_embeddings(digits, tiny_dinov2, long_inputs="mean")


DAMAGE = {
    "weights": (lambda path: (path / "model.safetensors").write_bytes(b"0" * 99), "weights.*damaged"),
    "weights of a pickle": (
        lambda path: ((path / "model.safetensors").unlink(), (path / "pytorch_model.bin").write_bytes(b"0" * 99)),
        "weights.*damaged",
    ),
    "modules.json": (lambda path: (path / "modules.json").write_text("{"), "modules.json of .* is damaged: JSON"),
    "modules": (lambda path: (path / "modules.json").write_text('{"a": 1}'), "modules.json of .* is damaged"),
    "config.json": (lambda path: (path / "config.json").write_text("{"), "is neither a built-in descriptor"),
    "tokenizer": (lambda path: (path / "tokenizer.json").write_text("{"), "prepares its text inputs.*damaged"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_model_is_told_as_such(tiny_bert, tmp_path, name):
    damage, message = DAMAGE[name]
    shutil.copytree(tiny_bert, tmp_path / "model")
    damage(tmp_path / "model")
    with pytest.raises(ValueError, match=message):
        add_embeddings(TEXTS, str(tmp_path / "model"))


def test_a_folder_may_be_a_path(tiny_bert):
    wanted = add_embeddings(TEXTS, tiny_bert)["embedding"][:]
    assert add_embeddings(TEXTS, Path(tiny_bert))["embedding"][:] == wanted
    assert Embedder(Path(tiny_bert)).model_id == tiny_bert


SCORED = Dataset.from_dict({"embedding": np.eye(6).tolist(), "label": [0, 1, 0, 1, 0, 1]})
SCORING = [
    ({"n_clusters": "2"}, "n_clusters must be an integer, got '2'"),
    ({"n_clusters": 1.5}, "n_clusters must be an integer, got 1.5"),
    ({"seed": "a"}, "seed must be an integer, got 'a'"),
    ({"seed": None}, "seed must be an integer, got None"),
    ({"seed": -1}, "seed must be at least 0, got -1"),
    ({"scorer": "me/scorer"}, r"scorer must be a DifficultyScorer, got 'me/scorer': .*from_pretrained"),
    ({"scorer": DifficultyScorer}, "scorer must be a DifficultyScorer, got <class"),
    ({"label_column": ["label"]}, r"A column is named by a string, got \['label'\]"),
    ({"embedding_column": None}, "A column is named by a string, got None"),
]


@pytest.mark.parametrize(("options", "message"), SCORING)
def test_an_option_of_scoring_of_another_type_is_told_with_its_value(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        add_difficulty(SCORED, **options)


@pytest.mark.parametrize(
    ("embeddings", "message"),
    [
        (SCORED, r'pass its column, dataset\["embedding"\]\[:\]'),
        ("x", "must be a matrix of numbers, shape .*'x'"),
        ([["a"]], "must be a matrix of numbers, shape .*'a'"),
        ([[1], [1, 2]], "must be a matrix of numbers, shape .*inhomogeneous"),
        ([{"a": 1}], "must be a matrix of numbers, shape .*dict"),
    ],
)
def test_what_is_no_matrix_is_told_so(embeddings, message):
    with pytest.raises((TypeError, ValueError), match=message):
        DifficultyScorer(n_clusters=1).fit(embeddings)


MISSPELT = {
    "CurriculumConfig": ("warmup", "warmup_steps"),
    "DifficultyScorer": ("normalise", "normalize"),
    "Embedder": ("batchsize", "batch_size"),
    "CurriculumSampler": ("batch_size", "total_batch_size"),
    "curriculum_stream": ("totalsteps", "total_steps"),
    "LearnedDifficulty": ("evry", "every"),
    "curriculum_weights": ("totalsteps", "total_steps"),
    "effective_fraction": ("temp", "temperature"),
    "solve_temperature": ("fractions", "fraction"),
    "report": ("totalsteps", "total_steps"),
    "plot_schedule": ("totalsteps", "total_steps"),
    "plot_difficulty": ("colum", "column"),
    "show_extremes": ("cluster", "clusters"),
}


@pytest.mark.parametrize("name", MISSPELT)
def test_a_misspelt_option_of_any_public_function_is_told_with_the_one_that_was_meant(name):
    wrong, right = MISSPELT[name]
    with pytest.raises(TypeError, match=rf"{name}\(\) has no option '{wrong}'. (Did you mean|It has).*'{right}'"):
        getattr(hf_curriculum, name)(**{wrong: 1})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hf_curriculum.solve_temperature([0.1, 0.2], "0.3"), "fraction must be a number, got '0.3'"),
        (lambda: hf_curriculum.effective_fraction([0.1, 0.2], None), "temperature must be a number, got None"),
        (
            lambda: hf_curriculum.curriculum_weights([0.1], "a", CurriculumConfig(), 9),
            "step must be a number, got 'a'",
        ),
        (lambda: hf_curriculum.curriculum_weights([0.1], 5, CurriculumConfig(), 0), "total_steps must be at least 1"),
        (lambda: sampler(total_batch_size="8"), "total_batch_size must be an integer, got '8'"),
        (lambda: sampler(total_batch_size=1.5), "total_batch_size must be an integer, got 1.5"),
        (lambda: sampler(total_steps=-1), "total_steps must be at least 1, got -1"),
        (lambda: sampler(total_steps="9"), "total_steps must be an integer, got '9'"),
        (lambda: sampler(seed="a"), "seed must be an integer, got 'a'"),
    ],
)
def test_a_number_of_another_type_is_told_with_its_value(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def sampler(**options):
    return CurriculumSampler([0.1, 0.2], **{"total_batch_size": 2, "total_steps": 9, **options})
