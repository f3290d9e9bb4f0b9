"""Embedding goes on after whatever stops it: a kill, a full disk, a lost worker, too little memory; and is cached."""

import multiprocessing
import os
import random
import re
import resource
import subprocess
import time

import datasets
import numpy as np
import pytest
import torch
from embedding import vectors_of
from transformers import AutoModel, AutoTokenizer
from worker_embedding import command, environment, error, noted, numbers, result, shards, vectors

from hf_curriculum import add_embeddings

pytestmark = pytest.mark.costly

ROWS, SHARD = 640, 16


def run(path, *calls, prefix=()):
    done = subprocess.run(
        [*prefix, *command(calls)], env=environment(path), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr


# --- killed, not alone, and short of room -------------------------------------------------------------------------

OPTIONS = {"shard_size": SHARD, "batch_size": 8}


def kills(path, count, num_workers):
    """So many calls that are killed one after the other, and one that is not."""
    rng = random.Random(num_workers)
    delays = [rng.uniform(0, 0.25) for _ in range(count)]
    pause = 1.1 * sum(delays) / (ROWS // 16)  # so much for each batch that no kill comes too late
    call = {"out": str(path), "rows": ROWS, "options": {**OPTIONS, "num_workers": num_workers}}
    return [{"delays": delays, "pause": pause, **call}, call]


def in_a_small_cache():
    """Words before a command that give it a cache of 240 kB at ``$0``; none where nobody may mount a disk."""
    script = 'mount -t tmpfs -o size=240k none "$0" && head -c 150000 /dev/zero > "$0/ballast" && exec "$@"'
    for words in (["unshare", "--mount"], ["unshare", "--mount", "--map-root-user"], ["sudo", "-n", "unshare", "-m"]):
        try:
            if subprocess.run([*words, "mount", "-t", "tmpfs", "none", "/mnt"], check=False).returncode == 0:
                return [*words, "sh", "-c", script]
        except FileNotFoundError:
            continue
    return []


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """What several calls left, each in a folder of its own."""
    path = tmp_path_factory.mktemp("ran")
    once = {"out": str(path / "once"), "rows": ROWS, "options": {**OPTIONS, "num_workers": 0}}
    small = {"out": str(path / "small"), "rows": ROWS, "options": {**OPTIONS, "num_workers": 0}}
    (path / "small" / "cache").mkdir(parents=True)
    ballast = path / "small" / "cache" / "ballast"
    prefix = in_a_small_cache()
    if prefix:
        prefix.append(str(ballast.parent))
    else:
        ballast.touch()
    run(
        path,
        *kills(path / "killed", 6, num_workers=0),
        {**once, "processes": 2, "pause": 0.01},
        {**small, "name": "full"},
        {**small, "name": "again", "remove": str(ballast)},
        prefix=prefix,
    )
    return path


def check_kills(path, count):
    np.testing.assert_array_equal(result(path), vectors(range(ROWS)))
    whole = {start: file.read_bytes() for start, file in shards(path / "cache").items()}
    assert list(whole) == list(range(0, ROWS, SHARD))
    finished, unfinished = [], 0
    for i in range(count + 1):
        computed = noted(path, f"killed-{i}" if i < count else "call")
        assert computed[0] == 0  # the probe
        left = [row for start in whole if start not in finished for row in range(start, start + SHARD)]
        assert computed[1:] == left[: len(computed[1:])]  # no row of a finished shard, and no row twice
        if i < count:
            found = shards(path / f"left-{i}")
            assert all(file.read_bytes() == whole[start] for start, file in found.items())
            finished, unfinished = list(found), len(list(path.glob(f"left-{i}/**/unfinished-*")))
    assert computed[1:] == left
    assert 0 < len(finished) < len(whole) and unfinished > 0


def only_shards(path):
    files = [file for file in path.glob("cache/**/*") if file.is_file()]
    return sorted(files) == list(shards(path / "cache").values()) and list(shards(path / "cache")) == [
        *range(0, ROWS, SHARD)
    ]


def test_a_call_that_is_killed_goes_on_after_its_last_shard(ran):
    check_kills(ran / "killed", 6)
    assert only_shards(ran / "killed")


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_call_that_is_killed_at_twenty_moments_goes_on_after_its_last_shard(tmp_path, num_workers):
    run(tmp_path, *kills(tmp_path, 20, num_workers))
    check_kills(tmp_path, 20)
    assert only_shards(tmp_path)


def test_two_calls_at_once_share_a_cache_in_peace(ran):
    for name in ("at-once-0", "at-once-1"):
        np.testing.assert_array_equal(result(ran / "once", name), vectors(range(ROWS)))
    assert only_shards(ran / "once")


def test_a_full_disk_says_how_much_is_kept_and_the_next_call_goes_on(ran):
    np.testing.assert_array_equal(result(ran / "small", "again"), vectors(range(ROWS)))
    before, after = noted(ran / "small", "full"), noted(ran / "small", "again")
    if in_a_small_cache():
        kept = len(before) // SHARD - 1
        assert re.search(rf"Errno 28.* is full\. {kept} of 40 shards .* make room", error(ran / "small", "full"))
        assert after == [0, *range(kept * SHARD, ROWS)]


# --- the cache ----------------------------------------------------------------------------------------------------

EMBEDDED, PREPARED = [], []  # in this module, so that they are no part of what datasets hashes


class Scaled(torch.nn.Module):
    """Numbers times a weight, and how often."""

    def __init__(self, weight=1.0):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(weight))

    def forward(self, rows):
        EMBEDDED.extend(rows[:, 0].tolist())
        return rows * self.weight


def number(row):
    PREPARED.append(row)
    return torch.tensor([float(row), 1.0])


def negative(row):
    return -number(row)


@pytest.fixture(autouse=True)
def forget():
    EMBEDDED.clear()
    PREPARED.clear()


@pytest.mark.parametrize("other", [{}, {"batch_size": 7}, {"on_error": "null"}, {"num_workers": 1}])
def test_a_second_call_prepares_and_embeds_no_more_than_the_row_that_tells_the_length(tmp_path, other):
    options = {"transform": number, "num_workers": 0, "cache_dir": str(tmp_path)}
    first = add_embeddings(numbers(100), Scaled(), **options)
    assert EMBEDDED == [0, *range(100)]
    EMBEDDED.clear(), PREPARED.clear()
    second = add_embeddings(numbers(100), Scaled(), **options | other)
    assert (EMBEDDED, PREPARED) == ([0], ["0"])
    np.testing.assert_array_equal(vectors_of(second), vectors_of(first))


@pytest.fixture(scope="module")
def settings(request, tmp_path_factory):
    """A call for each family, that the tables below change in one thing."""
    sentences, clips, tiny_bert, tiny_wav2vec2 = map(
        request.getfixturevalue, ("sentences", "clips", "tiny_bert", "tiny_wav2vec2")
    )
    turned = [" ".join(reversed(text.split())) for text in sentences["text"]]
    other = tmp_path_factory.mktemp("other")
    torch.manual_seed(1)
    AutoModel.from_config(AutoModel.from_pretrained(tiny_bert).config).save_pretrained(other)
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(other)
    return {
        "text": {"dataset": sentences.add_column("turned", turned), "model_id": tiny_bert, "input_column": "text"},
        "audio": {"dataset": clips, "model_id": tiny_wav2vec2},
        "module": {"dataset": numbers(40), "model_id": Scaled(2.0), "transform": number, "num_workers": 0},
        "other weights": {"model_id": str(other)},
        "other rows": {"dataset": sentences.add_column("turned", turned).select(range(1, 60))},
    }


CHANGES = {
    "weights": ("text", "other weights"),
    "weights of a module": ("module", {"model_id": Scaled(3.0)}),
    "pooling": ("text", {"pooling": "max"}),
    "layer": ("text", {"layer": 1}),
    "named layer": ("text", {"layer": "encoder.layer.0"}),
    "long_inputs": ("text", {"long_inputs": "mean"}),
    "column": ("text", {"input_column": "turned"}),
    "rows": ("text", "other rows"),
    "dtype": ("text", {"dtype": "bfloat16"}),
    "max_seconds": ("audio", {"max_seconds": 0.1}),
    "transform": ("module", {"transform": negative}),
}
SAME = {
    "batch_size": ("text", {"batch_size": 7}),
    "num_workers": ("text", {"num_workers": 1}),
    "on_error": ("text", {"on_error": "null"}),
    "trust_remote_code": ("text", {"trust_remote_code": False}),
    "dtype that is the default": ("text", {"dtype": "float32"}),
    "pooling that is the default": ("text", {"pooling": "mean"}),
    "modality": ("text", {"modality": "text"}),
    "max_seconds": ("audio", {"max_seconds": 30}),
}


def keys_of(settings, family, change, tmp_path):
    """Folders of shards that a call makes, and those that are there after it is made once more with a change."""
    plain = {**settings[family], "cache_dir": str(tmp_path)}
    add_embeddings(**plain)
    first = set((tmp_path / "hf_curriculum").iterdir())
    add_embeddings(**plain | (settings[change] if isinstance(change, str) else change))
    return first, set((tmp_path / "hf_curriculum").iterdir())


@pytest.mark.parametrize("name", CHANGES)
def test_what_changes_the_vectors_is_computed_anew(settings, tmp_path, name):
    first, both = keys_of(settings, *CHANGES[name], tmp_path)
    assert len(first) == 1 and len(both) == 2


@pytest.mark.parametrize("name", SAME)
def test_what_does_not_change_the_vectors_is_found(settings, tmp_path, name):
    first, both = keys_of(settings, *SAME[name], tmp_path)
    assert len(first) == 1 and both == first


def length(rows):
    return np.array([[len(row)] for row in rows], np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("rows, shard", [(2049, 2048), (600_000, 2344)])
def test_no_dataset_has_more_shards_than_datasets_appends_in_a_second(tmp_path, rows, shard):
    embedded = add_embeddings(numbers(rows), length, batch_size=2048, num_workers=0, cache_dir=str(tmp_path))
    assert list(shards(tmp_path)) == list(range(0, rows, shard))
    assert len(shards(tmp_path)) <= 256
    assert len(embedded) == rows


def test_a_shard_is_written_in_few_record_batches(tmp_path):
    embedded = add_embeddings(numbers(5000), length, batch_size=10, num_workers=0, cache_dir=str(tmp_path))
    assert embedded.data.column("embedding").num_chunks == 3
    assert embedded["embedding"][:] == [[len(str(i))] for i in range(5000)]


def test_without_caching_nothing_is_written_to_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    datasets.disable_caching()
    try:
        embedded = add_embeddings(numbers(50), Scaled(), transform=number)
        np.testing.assert_array_equal(vectors_of(embedded)[:, 0], np.arange(50))
        assert list(tmp_path.rglob("*")) == []
    finally:
        datasets.enable_caching()
    add_embeddings(numbers(50), Scaled(), transform=number)
    assert len(shards(tmp_path)) == 1


def test_a_model_that_cannot_be_hashed_works_and_says_that_it_is_not_cached(tmp_path, caplog):
    session = (i for i in range(3))  # as an ONNX session, it cannot be pickled

    def own(rows):
        assert session is not None
        return [[float(row)] for row in rows]

    for _ in range(2):
        embedded = add_embeddings(numbers(20), own, cache_dir=str(tmp_path))
        np.testing.assert_array_equal(vectors_of(embedded)[:, 0], np.arange(20))
        assert "not kept for later calls, since the model cannot be hashed: cannot pickle 'generator'" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_global_generators_do_not_tell_whether_a_call_was_cached(tmp_path):
    states = []
    for _ in range(2):
        torch.manual_seed(0)
        add_embeddings(numbers(50), Scaled(), transform=number, num_workers=2, cache_dir=str(tmp_path))
        states.append(torch.get_rng_state())
    assert states[0].equal(states[1])


def test_files_have_the_permissions_that_the_user_gives(tmp_path):
    before = os.umask(0o022)
    try:
        add_embeddings(numbers(5), Scaled(), transform=number, cache_dir=str(tmp_path))
    finally:
        os.umask(before)
    assert {oct(file.stat().st_mode & 0o777) for file in shards(tmp_path).values()} == {"0o644"}


FULL_FROM = []  # rows at which the disk becomes full


def wide(rows):
    EMBEDDED.extend(rows)
    if rows[0] in FULL_FROM:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    return vectors(rows, 512)


def test_a_limit_on_the_size_of_files_is_as_a_full_disk(tmp_path):
    room = resource.getrlimit(resource.RLIMIT_FSIZE)
    options = {"shard_size": SHARD, "batch_size": SHARD, "num_workers": 0, "cache_dir": str(tmp_path)}
    FULL_FROM.append("48")
    try:
        with pytest.raises(OSError, match=r"disk of .* is full\. 3 of 40 shards are finished and kept: make room and"):
            add_embeddings(numbers(ROWS), wide, **options)
    finally:
        FULL_FROM.clear()
        resource.setrlimit(resource.RLIMIT_FSIZE, room)
    assert list(shards(tmp_path)) == [0, 16, 32]
    assert len(list(tmp_path.rglob("*.arrow"))) == 3
    EMBEDDED.clear()
    embedded = add_embeddings(numbers(ROWS), wide, **options)
    assert EMBEDDED == ["0", *map(str, range(48, ROWS))]
    np.testing.assert_array_equal(vectors_of(embedded), vectors(range(ROWS), 512))


# --- lost workers and little memory -------------------------------------------------------------------------------


def workers_end():
    """Whether the processes that this one has started end by themselves, on cores that other tests use too."""
    end = time.monotonic() + 10
    while multiprocessing.active_children() and time.monotonic() < end:
        time.sleep(0.01)
    return multiprocessing.active_children() == []


def dies(row):
    if row == "60":
        os._exit(1)
    return number(row)


def killed(row):
    if row == "60":
        os.kill(os.getpid(), 9)
    return number(row)


class Slow(Scaled):
    """Takes so long that it is at work when a worker dies."""

    def forward(self, rows):
        time.sleep(0.2)
        return super().forward(rows)


@pytest.mark.parametrize("model, transform", [(Scaled(), dies), (Slow(), killed)])
def test_a_worker_that_dies_is_named_and_what_is_finished_is_kept(tmp_path, model, transform):
    options = {"num_workers": 2, "batch_size": 5, "shard_size": 5, "cache_dir": str(tmp_path)}
    with pytest.raises(RuntimeError, match=r"worker process that read column 'text' died; .*kept: call again, with a"):
        add_embeddings(numbers(80), model, transform=transform, **options)
    assert workers_end()
    kept = list(shards(tmp_path))
    assert kept == list(range(0, 5 * len(kept), 5))


def test_no_worker_outlives_an_error(tmp_path):
    options = {"num_workers": 2, "batch_size": 5, "cache_dir": str(tmp_path)}
    with pytest.raises(ValueError, match="Row 40 of column 'text' cannot be embedded: the row is null") as error:
        add_embeddings(numbers(80, bad=[40]), Scaled(), transform=number, **options)
    assert error.value is not None  # it is still there, and with it all that it refers to
    assert workers_end()


def uneven(row):
    return torch.zeros(1 + (row == "60"))


def test_an_error_of_a_worker_that_lives_is_its_own(tmp_path):
    with pytest.raises(RuntimeError, match="stack expects each tensor to be equal size"):
        add_embeddings(numbers(80), Scaled(), transform=uneven, num_workers=2, cache_dir=str(tmp_path))


class Greedy(Scaled):
    """Runs out of memory for more than four rows at once, in one of the ways in which devices say so."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def forward(self, rows):
        if len(rows) > 4:
            raise self.error
        return super().forward(rows)


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("CUDA out of memory."),
    RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:66] DefaultCPUAllocator: can't allocate memory: you tried to"),
]


@pytest.mark.parametrize("out_of_memory", OUT_OF_MEMORY, ids=lambda error: str(error)[:20])
def test_batches_are_halved_until_memory_suffices(tmp_path, caplog, out_of_memory):
    embedded = add_embeddings(numbers(50), Greedy(out_of_memory), transform=number, cache_dir=str(tmp_path))
    np.testing.assert_array_equal(vectors_of(embedded)[:, 0], np.arange(50))
    halved = [record.args for record in caplog.records if "Out of memory" in record.msg]
    assert halved == [(50, 25), (25, 12), (7, 3)]  # and 12 and 13 are 6, 6, 6 and 7


def test_an_error_that_is_not_of_memory_is_not_tried_again(tmp_path, caplog):
    failed = "^The model failed on rows 0 to 49 of column 'text': RuntimeError: mat1 and mat2$"
    with pytest.raises(RuntimeError, match=failed):
        add_embeddings(numbers(50), Greedy(RuntimeError("mat1 and mat2")), transform=number, cache_dir=str(tmp_path))
    assert "Out of memory" not in caplog.text
