"""Parts: each row once, whatever the files look like."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features
from hub_client import client
from hub_server import Repo, hub

from hf_curriculum.scoring.difficulty import Ranges, fit_normalizer
from hf_curriculum.scoring.parquet_input import WINDOW, ParquetInput, read_part
from hf_curriculum.scoring.parquet_output import ParquetOutput
from hf_curriculum.scoring.parquet_work import CountClasses, Duplicates


def write(path, first, rows, row_group_size):
    table = pa.table(
        {
            "n": np.arange(first, first + rows),
            "text": pa.array([f"row {i}" for i in range(first, first + rows)], pa.string()),
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=row_group_size)


def classes(*names):
    return Features({"n": ClassLabel(names=list(names))})


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


@pytest.mark.costly
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
                Dataset.from_dict({"n": [1]}, classes("cat", "dog")).to_parquet(str(path / "a.parquet")),
                Dataset.from_dict({"n": [1]}, classes("dog", "cat")).to_parquet(str(path / "b.parquet")),
            ),
            "column 'n' is ClassLabel.*'dog', 'cat'.* there and ClassLabel.*'cat', 'dog'.* here",
        ),
        (
            lambda path: (
                pq.write_table(pa.table({"n": [1]}), path / "a.parquet"),
                pq.write_table(pa.table({"n": [1], "more": [1]}), path / "b.parquet"),
            ),
            "column 'more' is int64 there and missing here",
        ),
        *(
            (
                lambda path, info=info: pq.write_table(
                    pa.table({"n": [1]}).replace_schema_metadata({"huggingface": info}), path / "a.parquet"
                ),
                "a.parquet does not say what its columns are: its metadata cannot be read",
            )
            for info in (b"{", b'{"info": 3}', b'{"info": {"features": {"n": "x"}}}', b"\xff", b"[" * 100_000)
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


class Locked(fsspec.AbstractFileSystem):
    protocol = "locked"

    def ls(self, path, detail=True, **kwargs):
        raise PermissionError("Unable to locate credentials")

    def pipe_file(self, path, value, **kwargs):
        raise PermissionError("Unable to locate credentials")


def test_a_store_that_refuses_is_quoted():
    fsspec.register_implementation("locked", Locked, clobber=True)
    for name in ("locked://bucket/a.parquet", "locked://bucket/folder", "locked://bucket/*.parquet"):
        with pytest.raises(OSError, match="(?s)locked://.*cannot be read.*Unable to locate cred.*AWS_ACCESS_KEY_ID"):
            ParquetInput.of(name)
    with pytest.raises(OSError, match="(?s)locked://bucket/out cannot be written.*credentials.*AWS_ACCESS_KEY_ID"):
        ParquetOutput("locked://bucket/out", 1).begin({})


def test_a_store_whose_package_is_missing_is_told():
    fsspec.register_implementation("absent", "no_such.Store", errtxt="Install no_such for it", clobber=True)
    with pytest.raises(ModuleNotFoundError, match="absent://a/b.parquet cannot be read: Install no_such"):
        ParquetInput.of("absent://a/b.parquet")
    with pytest.raises(ModuleNotFoundError, match="absent://a/out cannot be written: Install no_such"):
        ParquetOutput("absent://a/out", 1)
    with pytest.raises(ValueError, match="unknown"):
        ParquetInput.of("unknown://a/b.parquet")


def test_files_of_a_web_server_are_read(tmp_path):
    write(tmp_path / "a.parquet", 0, 3000, 1000)
    write(tmp_path / "b.parquet", 3000, 5, 1000)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        source = ParquetInput.of([f"{url}/a.parquet", f"{url}/b.parquet"])
        found = [number for part in source.parts for number in read_part(part, source.schema)["n"].to_pylist()]
        with pytest.raises(ValueError, match="c.parquet does not exist, or the store does not show it"):
            ParquetInput.of(f"{url}/c.parquet")
        server.shutdown()
    assert found == list(range(3005))


@pytest.mark.slow
def test_a_dataset_of_the_hub_is_read_and_one_written(tmp_path):
    code = """
import numpy as np, pyarrow as pa
from datasets import Dataset
from hf_curriculum import DifficultyScorer
from hf_curriculum.scoring.parquet_input import ParquetInput, read_part
from hf_curriculum.scoring.parquet_output import ParquetOutput

Dataset.from_dict({"n": range(5000)}).push_to_hub("me/rows", num_shards=2)
source = ParquetInput.of("hf://datasets/me/rows")
output = ParquetOutput("hf://datasets/me/out/scored", 3)
output.begin({"seed": 1})
for part in source.parts:
    output.write_vectors(part.number, pa.table({"embedding": [[1.0]]}))
    rows = read_part(part, source.schema)
    output.write(part.number, rows.append_column("difficulty", rows["n"].cast("float32")))
output.save_scorer(DifficultyScorer(2).fit(np.random.default_rng(0).normal(size=(30, 3))))
answer = [output.count(), sorted(output.embedded()), output.load_scorer().n_clusters_]
output.sweep()
"""
    with hub() as server, client(server, tmp_path) as user:
        server.repos["datasets/me/out"] = Repo()
        assert user.run(code) == [[5000, 0], [0, 1, 2], 2]
        written = {name for name in server.repos["datasets/me/out"].files() if not name.endswith("README.md")}
        error, _ = user.error("ParquetInput.of('hf://datasets/me/private')")
    parts = {f"scored/part-00000{i}-of-000003.parquet" for i in range(3)}
    scorer = {f"scored/scorer/{name}" for name in ("config.json", "model.safetensors")}
    assert written == {"scored/.job/arguments.json", *parts, *scorer}
    assert "me/private" in error and "hf auth login" in error


@pytest.mark.parametrize("shares", [1, 3])
@pytest.mark.parametrize(
    "ids, message",
    [
        ([1, 2, 1], "has 1 in 2 rows"),
        (["a", "b", "b"], "has 'b' in 2 rows"),
        ([1, None, 2], "null in row 3001"),
        ([3, 4, 3009], "has 3009 in 2 rows"),
        ([3010, 3011, 9], None),
    ],
)
def test_ids_that_stand_in_two_rows_are_found(tmp_path, ids, message, shares):
    first = pa.array(np.arange(10, 3010)).cast(pa.array(ids).type)
    pq.write_table(pa.table({"key": first}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"key": ids}), tmp_path / "b.parquet")
    source = ParquetInput.of(tmp_path)
    look = Duplicates(source.parts, source.schema, "key", shares)
    if message is None:
        assert [look(share) for share in range(shares)] == [None] * shares
        return
    with pytest.raises(ValueError, match=message):
        for share in range(shares):
            look(share)


@pytest.mark.parametrize("labels, counts", [([2, None, 2, 1], {1: 1, 2: 2}), (["b", "a", None], {"a": 1, "b": 1})])
def test_rows_without_a_label_are_of_no_class(tmp_path, labels, counts):
    pq.write_table(pa.table({"label": labels}), tmp_path / "a.parquet")
    source = ParquetInput.of(tmp_path)
    assert CountClasses(source.schema, "label")(source.parts[0]) == (0, counts)


def test_labels_that_cannot_be_are_refused(tmp_path):
    pq.write_table(pa.table({"label": [0.5, 1.5, 1.5]}), tmp_path / "a.parquet")
    source = ParquetInput.of(tmp_path)
    with pytest.raises(ValueError, match="must be integers or strings"):
        CountClasses(source.schema, "label")(source.parts[0])


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
