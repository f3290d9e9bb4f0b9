"""The output folder, on the disk and in a store of fsspec alike."""

import pickle
from uuid import uuid4

import fsspec
import numpy as np
import pyarrow as pa
import pytest

from hf_curriculum import DifficultyScorer
from hf_curriculum.scoring.parquet_output import ParquetOutput


@pytest.fixture(params=["disk", "store"])
def folder(request, tmp_path):
    return str(tmp_path / "out") if request.param == "disk" else f"memory://{uuid4().hex}/out"


def test_names_tell_what_is_finished(folder):
    output = pickle.loads(pickle.dumps(ParquetOutput(folder, 3)))
    output.begin({"seed": 1})
    assert output.finished() == output.embedded() == set() and not output.has_scorer
    vectors = pa.table({"embedding": [[1.0, 2.0], None]})
    output.write_vectors(1, vectors)
    assert output.embedded() == {1} and output.is_embedded(1) and not output.is_embedded(0)
    assert output.read_vectors(1).equals(vectors) and output.vectors_schema(1).equals(vectors.schema)
    for number, difficulty in enumerate([[0.1, None], [0.2, 0.3, None], [0.4]]):
        output.write(number, pa.table({"nested": [{"a": [1], "b": 2}] * len(difficulty), "difficulty": difficulty}))
    assert output.finished() == {0, 1, 2} and output.is_finished(2)
    assert output.count() == (6, 2)
    assert ParquetOutput(folder, 4).finished() == set()  # of another division


def test_what_is_finished_is_not_written_again(folder):
    """By an actor whose driver was killed, say, while the actor of the next one was at the same part."""
    output = ParquetOutput(folder, 1)
    output.begin({"seed": 1})
    for number in (0.5, 0.25):
        output.write_vectors(0, pa.table({"embedding": [[number]]}))
        output.write(0, pa.table({"difficulty": [number] * int(1 / number)}))
    assert output.read_vectors(0)["embedding"].to_pylist() == [[0.5]]
    assert output.count() == (2, 0)


def test_the_scorer_comes_back_and_the_rest_is_swept(folder):
    output = ParquetOutput(folder, 1)
    output.begin({"seed": 1})
    scorer = DifficultyScorer(2).fit(np.random.default_rng(0).normal(size=(30, 3)))
    output.save_scorer(scorer)
    np.testing.assert_array_equal(output.load_scorer().centroids_, scorer.centroids_)
    output.write_vectors(0, pa.table({"embedding": [[1.0]]}))
    fs, root = fsspec.core.url_to_fs(folder)
    fs.pipe_file(f"{root}/unfinished-1.parquet", b"a killed writer's")
    output.sweep()
    left = sorted(path.removeprefix(root) for path in fs.find(root))
    files = ["/.job/arguments.json", "/scorer/README.md", "/scorer/config.json", "/scorer/model.safetensors"]
    assert left == files


def test_a_job_goes_on_with_its_own_arguments_only(folder):
    given = {"seed": 1, "on_error": "raise"}
    ParquetOutput(folder, 1).begin({"seed": 3})  # and came to nothing
    ParquetOutput(folder, 1).begin(given)
    ParquetOutput(folder, 1).write_vectors(0, pa.table({"embedding": [[1.0]]}))
    ParquetOutput(folder, 1).begin(given)
    with pytest.raises(ValueError, match="other arguments: label was None and is 'x'; seed was 1 and is 2. Call with"):
        ParquetOutput(folder, 1).begin(given | {"seed": 2, "label": "x"})
    ParquetOutput(folder, 1).begin(given | {"on_error": "null"})
    with pytest.raises(ValueError, match="on_error was 'null' and is 'raise'"):
        ParquetOutput(folder, 1).begin(given)


def test_something_else_is_left_alone(folder):
    fs, root = fsspec.core.url_to_fs(folder)
    fs.makedirs(root)
    fs.pipe_file(f"{root}/thesis.tex", b"mine")
    with pytest.raises(ValueError, match=r"holds something else already \(thesis.tex\)"):
        ParquetOutput(folder, 1).begin({})
    with pytest.raises(ValueError, match="is a file"):
        ParquetOutput(f"{folder}/thesis.tex", 1).begin({})
    assert fs.find(root) == [f"{root}/thesis.tex"]
