"""Files sorted by difficulty hold every row, whole, and say truly what they hold."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict, Image, load_dataset
from PIL import Image as PILImage

from hf_curriculum import provenance, save_sorted
from hf_curriculum.data import difficulty_quantiles, score_features, sorted_difficulties, write_sorted

N = 9000
DIFFICULTY = np.random.default_rng(0).beta(2, 3, N).astype(np.float32)


def scored(difficulty=DIFFICULTY):
    dataset = Dataset.from_dict({"row": range(len(difficulty)), "difficulty": difficulty})
    feature = score_features({"quantiles": difficulty_quantiles(DIFFICULTY)})["difficulty"]
    return dataset.cast_column("difficulty", feature)


def written(table):
    file = io.BytesIO()
    write_sorted(table, file)
    return pq.ParquetFile(pa.BufferReader(file.getvalue()))


def test_every_row_is_there_once_sorted_in_its_file_and_each_file_has_all_difficulties(tmp_path):
    dataset = DatasetDict(train=scored(), test=scored().select(range(10)))
    save_sorted(dataset, tmp_path / "new")
    files = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert files == ["test-00000-of-00001.parquet", *(f"train-0000{i}-of-00003.parquet" for i in range(3))]
    rows = []
    for name in files[1:]:
        table = pq.read_table(tmp_path / "new" / name)
        difficulty = table["difficulty"].to_numpy()
        assert (np.diff(difficulty) >= 0).all() and len(table) == 3000
        assert abs(difficulty.mean() - DIFFICULTY.mean()) < 0.02
        rows += table["row"].to_pylist()
        np.testing.assert_array_equal(difficulty, DIFFICULTY[table["row"].to_numpy()])
    assert sorted(rows) == list(range(N))
    back = load_dataset(str(tmp_path / "new"), cache_dir=str(tmp_path / "cache"))
    assert back["train"].features == scored().features and provenance(back["train"]) == provenance(scored())
    assert len(back["test"]) == 10


def test_the_files_that_rows_name_are_in_them(tmp_path):
    for number in range(3):
        PILImage.new("RGB", (4, 4), (number, 0, 0)).save(tmp_path / f"{number}.png")
    paths = [str(tmp_path / f"{number}.png") for number in range(3)]
    dataset = Dataset.from_dict({"image": paths, "difficulty": [0.3, 0.1, 0.2]}).cast_column("image", Image())
    save_sorted(dataset, tmp_path / "new")
    for path in paths:
        (tmp_path / path).unlink()
    back = load_dataset(str(tmp_path / "new"), split="train", cache_dir=str(tmp_path / "cache"))
    assert [image.getpixel((0, 0))[0] for image in back["image"]] == [1, 2, 0]


def test_the_metadata_say_what_is_in_the_file():
    difficulty = [*DIFFICULTY[:3000].tolist(), *[None] * 500]
    table = pa.table({"words": ["w" * 1000] * 3500, "difficulty": pa.array(difficulty, pa.float32())})
    file = written(table)
    metadata, column = file.metadata, file.read(columns=["difficulty"]).column(0)
    assert column.null_count == 500 and column.slice(3000).null_count == 500
    assert sorted_difficulties(metadata, "difficulty").equals(column)
    assert metadata.num_row_groups > 300
    first = metadata.row_group(0)
    assert first.sorting_columns[0].column_index == 1 and first.column(0).statistics is None
    bounds = [metadata.row_group(i).column(1).statistics for i in range(metadata.num_row_groups)]
    found = [(one.min, one.max) for one in bounds if one.has_min_max]
    assert found == sorted(found) and found[0][0] == DIFFICULTY[:3000].min()


@pytest.mark.parametrize("size", [10, 100_000])
def test_row_groups_are_as_small_as_pays(size):
    file = written(pa.table({"words": ["w" * size] * 256, "difficulty": DIFFICULTY[:256]}))
    assert file.metadata.row_group(0).num_rows == (64 if size == 10 else 2)


@pytest.mark.parametrize(
    "change",
    [
        lambda values: np.where(np.arange(values.size) == 1234, values + 0.25, values),
        lambda values: np.r_[values[:-1], np.nan],
        lambda values: values[:-1],
        lambda values: np.r_[values, 1],
        lambda values: values.astype(np.float64) * 2,
    ],
)
def test_difficulties_of_the_metadata_that_are_not_those_of_the_file_do_not_count(change):
    table = pa.table({"difficulty": np.sort(DIFFICULTY[:3000])})
    metadata = written(table).metadata
    file = io.BytesIO()
    other = pa.table({"difficulty": change(np.sort(DIFFICULTY[:3000]))})
    with pq.ParquetWriter(file, other.schema) as writer:
        writer.write_table(other, row_group_size=2)
        writer.add_key_value_metadata(metadata.metadata)
    assert sorted_difficulties(pq.read_metadata(pa.BufferReader(file.getvalue())), "difficulty") is None
    assert sorted_difficulties(metadata, "other") is None


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("x")
    with pytest.raises(ValueError, match="holds something already"):
        save_sorted(scored(), tmp_path)
    with pytest.raises(ValueError, match="'loss' is not in the dataset"):
        save_sorted(scored(), tmp_path / "new", difficulty_column="loss")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
