"""Embedding takes as much memory for many rows as for few."""

import sys
import time

import psutil
import pytest
from datasets import Dataset
from worker_embedding import environment

FEW, MANY = 20_000, 200_000
EMBED = """
import sys
import numpy as np
from datasets import Dataset
from hf_curriculum import add_embeddings

def embed(rows):
    return np.array([[len(row), ord(row[-1])] for row in rows], np.float32).repeat(192, axis=1)

folder, rows, num_workers = sys.argv[1], *map(int, sys.argv[2:])
dataset = Dataset.from_parquet(f"{folder}/{rows}.parquet", cache_dir=f"{folder}/arrow")
embedded = add_embeddings(dataset, embed, num_workers=num_workers, cache_dir=f"{folder}/{num_workers}")
assert len(embedded) == rows and embedded.features["embedding"].length == 384
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Parquet files of few and of many texts, and these as Arrow files, as the first load leaves them."""
    path = tmp_path_factory.mktemp("memory")
    for rows in (FEW, MANY):
        dataset = Dataset.from_dict({"text": [f"text {i} of a dataset, as long as a title" for i in range(rows)]})
        dataset.to_parquet(path / f"{rows}.parquet")
        Dataset.from_parquet(str(path / f"{rows}.parquet"), cache_dir=str(path / "arrow"))
    return path


def resident(process):
    """MB of memory that a process occupies, with the pages of the files that it has mapped."""
    try:
        return process.memory_info().rss / 2**20
    except psutil.NoSuchProcess:
        return 0


def peaks(folder, rows, num_workers):
    """Most memory that the process, and that one of its workers, held."""
    words = [sys.executable, "-c", EMBED, str(folder), str(rows), str(num_workers)]
    own, worker = [], [0.0]
    with open(folder / "output.txt", "w") as output:
        child = psutil.Popen(words, env=environment(folder), stdout=output, stderr=output)
    while child.poll() is None:
        own.append(resident(child))
        worker += [resident(process) for process in child.children()] if num_workers else []
        time.sleep(0.01)
    assert child.returncode == 0, (folder / "output.txt").read_text()
    return max(own), max(worker)


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_memory_does_not_grow_with_the_number_of_rows(folder, num_workers):
    few, many = (peaks(folder, rows, num_workers) for rows in (FEW, MANY))
    assert many[0] < 1.1 * few[0]
    assert many[1] <= 1.1 * few[1]
