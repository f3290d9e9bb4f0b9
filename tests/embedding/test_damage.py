"""Damage on disk: a shard that is not what was written is found, embedded again, and told of once."""

import random
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from datasets import Features, List, Value
from embedding import vectors_of
from worker_embedding import numbers, shards, vectors

from hf_curriculum import add_embeddings
from hf_curriculum.embedding.shards import ShardFolder

ROWS, SHARD = 48, 16
DELETED = []  # folders that the model deletes; begins empty, so that it is no part of the key


def embed(rows):
    if DELETED and rows[0] == "16":
        shutil.rmtree(DELETED.pop())
    return vectors(rows)


def other(rows):
    return -vectors(rows)


def run(path, model=embed):
    options = {"shard_size": SHARD, "batch_size": SHARD, "num_workers": 0, "cache_dir": str(path)}
    return vectors_of(add_embeddings(numbers(ROWS), model, **options))


def flip(file, rng):
    content = bytearray(file.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    file.write_bytes(content)


def of_another_job(file, path):
    run(path / "other", other)
    (stranger,) = (one for start, one in shards(path / "other").items() if start == 16)
    file.unlink()
    shutil.copy(stranger, file.with_name(stranger.name))


def to_a_folder(file, path):
    file.unlink()
    (file / "inside").mkdir(parents=True)


def renamed(file, path):
    file.rename(file.with_name(file.name.replace("000000000016", "000000000032")))


DAMAGE = {
    "a bit": lambda file, path: flip(file, random.Random(0)),
    "cut off": lambda file, path: file.write_bytes(file.read_bytes()[:-9]),
    "longer": lambda file, path: file.write_bytes(file.read_bytes() + b"0"),
    "empty": lambda file, path: file.write_bytes(b""),
    "another's content": lambda file, path: shutil.copy(shards(path)[0], file),
    "another's place": renamed,
    "another job's": of_another_job,
    "a folder": to_a_folder,
    "a dead link": lambda file, path: (file.unlink(), file.symlink_to(path / "nowhere")),
    "an earlier name": lambda file, path: file.rename(file.with_name("shard-000.arrow")),
    "a strange name": lambda file, path: file.rename(file.with_name("shard-x-y.arrow")),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_shard_is_embedded_again_with_one_warning(tmp_path, caplog, name):
    run(tmp_path)
    DAMAGE[name](shards(tmp_path)[16], tmp_path)
    np.testing.assert_array_equal(run(tmp_path), vectors(range(ROWS)))
    assert caplog.text.count("1 shards in ") == caplog.text.count("are damaged, and are embedded again") == 1
    caplog.clear()
    np.testing.assert_array_equal(run(tmp_path), vectors(range(ROWS)))
    assert caplog.text == ""


@pytest.mark.costly
def test_each_of_sixty_flips_of_a_bit_is_found(tmp_path, caplog):
    run(tmp_path)
    rng = random.Random(1)
    for _ in range(60):
        flip(rng.choice(list(shards(tmp_path).values())), rng)
        np.testing.assert_array_equal(run(tmp_path), vectors(range(ROWS)))
    assert caplog.text.count("are damaged, and are embedded again") == 60


def test_a_shard_that_another_call_sweeps_is_an_error_only_if_nobody_has_it(tmp_path):
    """That is, whose file is gone already, and whose folder not yet."""
    features = Features({"embedding": List(Value("float32"), length=1)})

    def embed(rows):
        return pa.FixedSizeListArray.from_arrays(pa.array(rows, pa.float32()), 1)

    def swept(rows):
        pa.memory_map(str(next(tmp_path.glob("unfinished-*")) / "shard.arrow"))

    def lost(rows):
        raise FileNotFoundError("a picture of the user's")

    mine, other = (ShardFolder(tmp_path, [0], features, nulls=False) for _ in range(2))
    with pytest.raises(OSError, match="deleted or damaged while vectors were written to it: call again"):
        mine.write(0, 3, 3, swept)
    other.write(0, 3, 3, embed)
    mine.write(0, 3, 3, swept)
    assert mine.read()["embedding"][:] == [[0.0], [1.0], [2.0]]
    with pytest.raises(FileNotFoundError, match="a picture of the user's"):
        mine.write(0, 3, 3, lost)


def test_a_folder_that_is_deleted_during_a_run_is_made_again(tmp_path):
    run(tmp_path)
    (folder,) = Path(tmp_path, "hf_curriculum").iterdir()
    shards(tmp_path)[16].unlink()
    DELETED.append(folder)
    np.testing.assert_array_equal(run(tmp_path), vectors(range(ROWS)))
    assert list(shards(tmp_path)) == [0, 16, 32]
