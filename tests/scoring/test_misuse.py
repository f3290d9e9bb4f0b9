"""What is not a dataset, and options that are none: each error says what to do, before any work is done."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from datasets import Dataset, DatasetDict, load_dataset

from hf_curriculum import add_difficulty, add_embeddings, report

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
