"""Parts: each row once, whatever the files look like."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hf_curriculum.scoring.difficulty import Ranges, fit_normalizer
from hf_curriculum.scoring.parquet_input import WINDOW, ParquetInput, read_part


def write(path, first, rows, row_group_size):
    table = pa.table(
        {
            "n": np.arange(first, first + rows),
            "text": pa.array([f"row {i}" for i in range(first, first + rows)], pa.string()),
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=row_group_size)


@pytest.mark.parametrize(
    "sizes, row_group_size",
    [([9000], 10**6), ([1] * 70, 10), ([3000, 0, 1, 5000], 77), ([WINDOW, WINDOW], WINDOW), ([5], 2)],
)
def test_each_row_is_in_one_part_in_the_order_of_the_files(tmp_path, sizes, row_group_size):
    for i, size in enumerate(sizes):
        write(tmp_path / f"{i:03d}.parquet", sum(sizes[:i]), size, row_group_size)
    source = ParquetInput.of(tmp_path)
    assert len(source) == sum(sizes)
    assert [part.number for part in source.parts] == list(range(len(source.parts)))
    found = []
    for part in source.parts:
        assert part.first == len(found) and part.first % WINDOW == 0
        rows = read_part(part, source.schema)
        assert rows["text"].to_pylist() == [f"row {i}" for i in rows["n"].to_pylist()]
        assert len(rows) == len(part)
        assert read_part(part, source.schema, ["text"]).column_names == ["text"]
        found += rows["n"].to_pylist()
    assert found == list(range(sum(sizes)))


def test_parts_are_small_where_rows_are_large(tmp_path):
    big = pa.table(
        {"bytes": [b"0123456789" * 100_000] * 300}
    )  # repeats, so that the file is small and its size is not
    pq.write_table(big, tmp_path / "big.parquet", row_group_size=100, use_dictionary=False)
    parts = ParquetInput.of(tmp_path).parts
    assert [len(part) for part in parts] == [256, 44]


def test_files_are_found_by_folder_glob_list_and_name(tmp_path):
    for name in ("b.parquet", "a.parquet", "sub/c.parquet", "_hidden.parquet", ".job/d.parquet", "notes.txt"):
        write(tmp_path / name, 0, 3, 10)
    names = ["a.parquet", "b.parquet", "sub/c.parquet"]

    def found(paths):
        pieces = [piece for part in ParquetInput.of(paths).parts for piece in part.pieces]
        return [piece.file.removeprefix(f"file://{tmp_path}/") for piece in pieces]

    assert found(tmp_path) == found(str(tmp_path)) == found(f"file://{tmp_path}") == names
    assert found(tmp_path / "*.parquet") == ["_hidden.parquet", *names[:2]]
    assert found([tmp_path / "sub", tmp_path / "a.parquet"]) == ["sub/c.parquet", "a.parquet"]


def test_a_store_of_fsspec_is_read():
    import fsspec

    with fsspec.open("memory://rows/a.parquet", "wb") as file:
        pq.write_table(pa.table({"n": [1, 2, 3]}), file)
    source = ParquetInput.of("memory://rows")
    assert read_part(source.parts[0], source.schema)["n"].to_pylist() == [1, 2, 3]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda path: None, "no Parquet file"),
        (lambda path: write(path / "a.parquet", 0, 0, 10), "have no rows"),
        (
            lambda path: (path / "a.parquet").write_bytes(b"PAR1 no, not at all PAR1"),
            "a.parquet is not a whole Parquet",
        ),
        (
            lambda path: (
                pq.write_table(pa.table({"n": [1], "same": [1]}), path / "a.parquet"),
                pq.write_table(pa.table({"n": ["1"], "same": [1]}), path / "b.parquet"),
            ),
            "b.parquet has other columns than .*a.parquet: column 'n' is string there and int64 here",
        ),
        (
            lambda path: (
                pq.write_table(pa.table({"n": [1]}), path / "a.parquet"),
                pq.write_table(pa.table({"n": [1], "more": [1]}), path / "b.parquet"),
            ),
            "column 'more' is int64 there and missing here",
        ),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(ValueError, match=message):
        ParquetInput.of(tmp_path)


def test_a_missing_file_and_one_named_twice_are_refused(tmp_path):
    with pytest.raises(ValueError, match="nowhere does not exist"):
        ParquetInput.of(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="nowhere.parquet does not exist"):
        ParquetInput.of(tmp_path / "nowhere.parquet")
    write(tmp_path / "a.parquet", 0, 3, 10)
    with pytest.raises(ValueError, match="a.parquet is named twice"):
        ParquetInput.of([tmp_path, tmp_path / "a.parquet"])


def test_a_store_that_refuses_is_quoted(monkeypatch):
    import fsspec

    class Locked(fsspec.AbstractFileSystem):
        protocol = "locked"

        def ls(self, path, detail=True, **kwargs):
            raise PermissionError("Unable to locate credentials")

    fsspec.register_implementation("locked", Locked, clobber=True)
    for name in ("locked://bucket/a.parquet", "locked://bucket/folder", "locked://bucket/*.parquet"):
        with pytest.raises(OSError, match="(?s)locked://.*Unable to locate credentials.*AWS_ACCESS_KEY_ID"):
            ParquetInput.of(name)


@pytest.mark.parametrize("normalize", ["minmax", "rank"])
def test_ranges_of_parts_are_those_of_all_rows(normalize):
    rng = np.random.default_rng(0)
    cluster, distance = rng.integers(0, 7, 3000), rng.gamma(3, 1, 3000).astype(np.float32)
    cluster[cluster == 5] = 4  # 5 has no rows
    cluster[0], cluster[1:][cluster[1:] == 6] = 6, 3  # and 6 has one
    merged = Ranges.of(distance[:10], cluster[:10], 7)
    for start in range(10, 3000, 499):
        merged = merged.merged(Ranges.of(distance[start : start + 499], cluster[start : start + 499], 7))
    everything = fit_normalizer(distance, cluster, 7, normalize)
    sample = fit_normalizer(distance[:400], cluster[:400], 7, normalize)
    found = merged.stretch(sample)
    assert (np.diff(found, axis=1) >= 0).all()
    np.testing.assert_array_equal(found[:, [0, -1]], everything[:, [0, -1]])
    if normalize == "rank":
        np.testing.assert_array_equal(found[:5, 1:-1], sample[:5, 1:-1])
