"""Files sorted by difficulty are read in part, and give the rows that reading all of them gives."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, interleave_datasets, load_dataset
from datasets.distributed import split_dataset_by_node
from hub_client import client
from hub_server import Repo, hub
from test_stream import BATCH, QUANTILES, by_step, expected_difficulty
from test_stream import DIFFICULTY as ALL

from hf_curriculum import CurriculumConfig, curriculum_stream, save_sorted
from hf_curriculum.data import write_sorted
from hf_curriculum.training import sorted_parquet

pytestmark = pytest.mark.slow

N = 12_000
DIFFICULTY = ALL[:N]
STEPS = N // BATCH


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("sorted") / "files"
    rng = np.random.default_rng(1)
    rows = {"row": range(N), "x": [rng.bytes(2000) for _ in range(N)], "difficulty": DIFFICULTY}
    save_sorted(Dataset.from_dict(rows), path)
    return path


def files(folder, **options):
    return load_dataset("parquet", data_files=f"{folder}/*.parquet", split="train", streaming=True, **options)


def curriculum(stream, config=None, **options):
    options = {"total_batch_size": BATCH, "total_steps": STEPS, "quantiles": QUANTILES, **options}
    return curriculum_stream(stream, config, **options)


def constant(fraction):
    return CurriculumConfig(initial_fraction=fraction, final_fraction=fraction, warmup_steps=10_000)


def unskipped(stream):
    """The same rows, seen by a step that sees them all."""
    return stream.map(lambda rows: rows, batched=True, batch_size=100)


def rows_of(stream):
    return [row["row"] for row in stream]


@pytest.fixture
def read(monkeypatch):
    """Bytes that are read of each file."""
    counts = []

    class Counting(io.FileIO):
        def readinto(self, buffer):
            counts.append(super().readinto(buffer))
            return counts[-1]

        def read(self, size=-1):
            data = super().read(size)
            counts.append(len(data))
            return data

    monkeypatch.setattr(sorted_parquet, "_open", lambda builder, path: Counting(path))
    return counts


def test_at_a_low_fraction_a_third_is_read_and_the_rows_are_those_of_all_that_is_there(folder, read):
    size = sum(path.stat().st_size for path in folder.iterdir())
    stream = curriculum(files(folder), constant(0.15))
    read.clear()
    rows = list(stream)
    assert len(rows) < sum(read) < size / 3
    whole = list(curriculum(unskipped(files(folder)), constant(0.15)))
    assert rows == whole  # all columns
    assert abs(len({row["row"] for row in rows}) / N - 0.15) < 0.015 and abs(len(rows) / N - 1) < 0.03


@pytest.mark.parametrize("config", [CurriculumConfig(), CurriculumConfig(order="hard_first", warmup_steps=150)])
@pytest.mark.parametrize(("world", "rank"), [(1, 0), (3, 1), (5, 4)])
def test_the_rows_do_not_depend_on_what_is_skipped(folder, config, world, rank):
    def share(stream):
        return rows_of(split_dataset_by_node(curriculum(stream.repeat(2), config), rank, world))

    rows = share(files(folder))
    assert rows == share(unskipped(files(folder)))
    assert len(rows) > 2 * N / world * 0.8


@pytest.mark.parametrize("steps", [unskipped, lambda stream: stream], ids=["mapped", "read in part"])
@pytest.mark.parametrize(("warmup", "readers"), [(150, 1), (150, 2), (300, 1)])
def test_the_schedule_is_kept(folder, steps, warmup, readers):
    config = CurriculumConfig(warmup_steps=warmup)
    parts = []
    for rank in range(readers):
        part = split_dataset_by_node(curriculum(steps(files(folder)), config), rank, readers)
        parts.append(np.array(rows_of(part)))
    share = BATCH // readers
    count = min(map(len, parts)) // share
    rows = np.concatenate([part[: count * share].reshape(count, share) for part in parts], axis=1).ravel()
    planned = expected_difficulty(tuple(range(340)), config)
    for start in (0, 10):
        means, errors = by_step(rows[start * BATCH : 340 * BATCH])
        windows = np.array([planned[start + 20 * i : start + 20 * i + 20].mean() for i in range(len(means))])
        assert (np.abs(means - windows) < 0.01 + 4 * errors).all()
        assert abs((means - windows).mean()) < 0.006
    late = rows[(warmup + 10) * BATCH :]
    assert len(set(late.tolist())) == len(late)


@pytest.mark.parametrize("stop", [1, 1234, 4090, 4100, 9000])
def test_it_is_resumed_exactly(folder, stop):
    config = CurriculumConfig(warmup_steps=150)
    whole = rows_of(curriculum(files(folder), config))
    begun = curriculum(files(folder), config)
    rows = iter(begun)
    head = [next(rows)["row"] for _ in range(stop)]
    resumed = curriculum(files(folder), config)
    resumed.load_state_dict(json.loads(json.dumps(begun.state_dict())))
    assert head + rows_of(resumed) == whole


def test_passes_differ(folder):
    stream = curriculum(files(folder).repeat(2), CurriculumConfig(warmup_steps=1), total_batch_size=1)
    rows = rows_of(stream)[-2 * N + 100 :]
    first, second = rows[: N - 100], rows[N - 100 :]
    assert sorted(second) == list(range(N)) and first[:500] != second[100:600]


def test_resharding_does_not_part_a_file(folder):
    rows = rows_of(curriculum(files(folder), constant(0.3)))
    assert rows_of(curriculum(files(folder).reshard(), constant(0.3))) == rows
    assert rows_of(curriculum(files(folder), constant(0.3)).reshard()) == rows


@pytest.mark.slow
def test_a_buffer_a_filter_and_an_interleaving_are_kept(folder):
    planned = expected_difficulty((0,), CurriculumConfig(initial_fraction=0.3))[0]
    for stream in (
        files(folder).shuffle(seed=1, buffer_size=100),
        files(folder).filter(lambda row: row["row"] % 2 == 0),
        interleave_datasets([files(folder), files(folder)]),
        files(folder).select_columns(["row", "difficulty"]),
        files(folder, columns=["row", "difficulty"]),
        files(folder, filters=[("row", "<", N // 2)]),
    ):
        rows = rows_of(curriculum(stream, constant(0.3)).take(2000))
        halves = np.array_split(DIFFICULTY[rows], 2)
        assert all(abs(half.mean() - planned) < 0.04 for half in halves)


def test_a_step_that_counts_rows_keeps_their_order_and_is_told(folder, caplog):
    stream = curriculum(files(folder).take(100), CurriculumConfig(warmup_steps=1), total_batch_size=1)
    rows = set(rows_of(stream))
    first = {row["row"] for row in files(folder).take(100)}
    assert rows <= first and "needs that order" in caplog.text and "Take" in caplog.text
    caplog.clear()
    curriculum(files(folder))
    assert not caplog.records


def test_rows_without_a_difficulty_wait_and_a_bad_one_is_named(tmp_path):
    values = [None if row % 3 == 0 else float(DIFFICULTY[row]) for row in range(4000)]
    save_sorted(Dataset.from_dict({"row": range(4000), "difficulty": values}), tmp_path / "nulls")
    rows = np.array(rows_of(curriculum(files(tmp_path / "nulls"), CurriculumConfig(warmup_steps=60))))
    assert (rows[: 60 * BATCH] % 3 != 0).all() and abs(np.mean(rows[61 * BATCH :] % 3 == 0) - 1 / 3) < 0.05
    values[50] = float("nan")
    save_sorted(Dataset.from_dict({"row": range(4000), "difficulty": values}), tmp_path / "bad")
    with pytest.raises(ValueError, match="'difficulty' is nan in row"):
        rows_of(curriculum(files(tmp_path / "bad")))


def test_difficulties_that_were_changed_since_count(tmp_path):
    """Where a tool writes a sorted file anew and keeps its metadata, the column is right."""
    old = io.BytesIO()
    write_sorted(pa.table({"row": range(2000), "difficulty": DIFFICULTY[:2000]}), old)
    table = pq.read_table(pa.BufferReader(old.getvalue()))
    turned = table.set_column(1, "difficulty", pa.array(np.sort(1 - table["difficulty"].to_numpy())))
    by = pq.SortingColumn.from_ordering(turned.schema, [("difficulty", "ascending")])
    with pq.ParquetWriter(tmp_path / "new.parquet", turned.schema, sorting_columns=by) as writer:
        writer.write_table(turned, row_group_size=8)
        writer.add_key_value_metadata(pq.read_metadata(pa.BufferReader(old.getvalue())).metadata)
    kept = {row["row"]: row["difficulty"] for row in files(tmp_path)}
    drawn = list(curriculum(files(tmp_path), constant(0.3), quantiles=None))
    assert all(row["difficulty"] == kept[row["row"]] for row in drawn)
    assert abs(len({row["row"] for row in drawn}) / 2000 - 0.3) < 0.05


@pytest.mark.parametrize("order", ["descending", "unsorted"])
def test_files_that_are_not_sorted_stay_in_their_order(tmp_path, order):
    table = pa.table({"row": range(3000), "difficulty": DIFFICULTY[:3000]})
    by = pq.SortingColumn.from_ordering(table.schema, [("difficulty", "descending")])
    pq.write_table(table, tmp_path / "x.parquet", sorting_columns=by if order == "descending" else None)
    rows = rows_of(curriculum(files(tmp_path), CurriculumConfig(warmup_steps=50), block_size=100).take(500))
    assert max(rows) < 1000


@pytest.mark.slow
def test_over_the_hub_no_more_is_read(tmp_path, folder):
    with hub() as server, client(server, tmp_path) as user:
        server.repos["datasets/me/data"] = Repo()
        user.run(f"""
import logging
from datasets import Dataset, disable_progress_bars, load_dataset
from huggingface_hub import HfFileSystem
from huggingface_hub.hf_file_system import HfFileSystemFile
from hf_curriculum import CurriculumConfig, curriculum_stream
from hf_curriculum.data import difficulty_quantiles
disable_progress_bars()
read, fetch = [], HfFileSystemFile._fetch_range
HfFileSystemFile._fetch_range = lambda self, start, end: read.append(end - start) or fetch(self, start, end)
import huggingface_hub
huggingface_hub.HfApi().upload_folder(repo_id="me/data", repo_type="dataset", folder_path={str(folder)!r},
                                      path_in_repo="data")
config = CurriculumConfig(initial_fraction=0.15, final_fraction=0.15, warmup_steps=10_000)
stream = load_dataset("me/data", split="train", streaming=True)
drawn = curriculum_stream(stream, config, total_batch_size={BATCH}, quantiles={QUANTILES!r})
read.clear()
rows = [row["row"] for row in drawn]
""")
        size = sum(path.stat().st_size for path in folder.iterdir())
        assert 0 < sum(user.run("answer = read")) < size / 3
        here = rows_of(curriculum(files(folder), constant(0.15), seed=0))
        assert user.run("answer = rows") == here
