"""Embedding on two and three processes that Accelerate starts: one result, one job, one failure."""

import os
import signal
import subprocess
import time
from types import SimpleNamespace

import numpy as np
import pytest
from datasets import load_from_disk
from launching import launch
from worker_embedding import (
    command,
    environment,
    error,
    noted,
    phrases,
    result,
    shards,
    vectors,
)

from hf_curriculum import add_difficulty, add_embeddings

pytestmark = pytest.mark.slow

ROWS, SHARD = 100, 8
OPTIONS = {"shard_size": SHARD, "batch_size": 4, "num_workers": 0}


def run(words, path):
    return subprocess.run(
        words, env=environment(path), cwd=path, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture(
    scope="module",
    params=[2, 3],
    ids=lambda processes: f"{processes}_processes",
)
def embedded(request, tmp_path_factory, tiny_bert):
    """Calls that so many processes of one process group have made, one after the other."""
    path = tmp_path_factory.mktemp("embedded")
    bad = SHARD * (request.param - 1) + 2  # in the first shard of the last process
    call = {"out": str(path), "rows": ROWS, "options": OPTIONS}
    calls = [
        {"name": "shared", **call},
        {"name": "again", **call},
        {"name": "own", "own_cache": True, **call},
        {"name": "few", **call, "rows": 3},
        {"name": "model", "model": tiny_bert, **call},
        {"name": "bad", "bad": [bad], **call},
        {"name": "null", "bad": [bad], **call, "options": {**OPTIONS, "on_error": "null"}},
    ]
    done = run(command(calls, request.param), path)
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(processes=request.param, path=path, bad=bad, stderr=done.stderr)


def rows_of(starts, rows=ROWS):
    return [row for start in starts for row in range(start, min(start + SHARD, rows))]


STARTS = range(0, ROWS, SHARD)


@pytest.mark.parametrize("name", ["shared", "again", "own"])
def test_each_process_returns_all_rows_in_their_order(embedded, name):
    for rank in range(embedded.processes):
        np.testing.assert_array_equal(result(embedded.path, name, rank), vectors(range(ROWS)))


@pytest.mark.parametrize("name", ["shared", "own"])
def test_each_process_computes_its_share_and_the_row_that_tells_the_length(embedded, name):
    for rank in range(embedded.processes):
        assert noted(embedded.path, name, rank) == [0, *rows_of(STARTS[rank :: embedded.processes])]
        assert noted(embedded.path, "again", rank) == [0]


def test_parts_travel_where_each_process_has_a_cache_of_its_own(embedded):
    for rank in range(embedded.processes):
        (folder,) = (embedded.path / "cache" / str(rank) / "hf_curriculum").iterdir()
        assert list(shards(folder)) == list(STARTS)
        assert list(shards(folder).values()) == sorted(folder.iterdir())


def test_processes_without_a_share_get_the_rows_of_the_others(embedded):
    for rank in range(embedded.processes):
        np.testing.assert_array_equal(result(embedded.path, "few", rank), vectors(range(3)))
        assert noted(embedded.path, "few", rank) == ([0, 0, 1, 2] if rank == 0 else [0])


def test_vectors_are_those_of_a_single_process(embedded, tiny_bert, tmp_path):
    expected = add_embeddings(phrases(ROWS), tiny_bert, cache_dir=str(tmp_path)).with_format("numpy")["embedding"][:]
    for rank in range(embedded.processes):
        np.testing.assert_allclose(result(embedded.path, "model", rank), expected, rtol=0, atol=1e-6)


def test_a_bad_row_of_one_process_is_named_by_all(embedded):
    named = f"Row {embedded.bad} of column 'text' cannot be embedded: the row is null"
    last = embedded.processes - 1
    assert error(embedded.path, "bad", last).startswith(f"ValueError: {named}")
    for rank in range(last):
        assert error(embedded.path, "bad", rank).startswith(
            f"RuntimeError: Failed while embedding column 'text', what is finished is kept; process {last}: "
            f"ValueError: {named}"
        )


def test_what_the_others_had_finished_is_kept(embedded):
    for rank in range(embedded.processes):
        computed = noted(embedded.path, "bad", rank)[1:]
        first = rows_of(STARTS[rank : rank + 1])
        whole = rank < embedded.processes - 1
        assert computed == (first if whole else [row for row in first[:4] if row != embedded.bad])  # nobody went on
    left = [start for start in STARTS if start >= SHARD * (embedded.processes - 1)]
    for rank in range(embedded.processes):
        mine = [row for row in rows_of(left[rank :: embedded.processes]) if row != embedded.bad]
        assert noted(embedded.path, "null", rank) == [0, *mine]
        values = result(embedded.path, "null", rank)
        assert np.isnan(values[embedded.bad]).all()
        others = [row for row in range(ROWS) if row != embedded.bad]
        np.testing.assert_array_equal(values[others], vectors(others))


def test_one_process_warns_for_all(embedded):
    assert embedded.stderr.count(f"1 of {ROWS} rows of column 'text' have no embedding") == 1


@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_is_killed_ends_the_job_and_the_next_goes_on(tmp_path, victim):
    call = {"out": str(tmp_path), "rows": ROWS, "options": OPTIONS}
    with open(tmp_path / "output.txt", "w") as output:
        job = subprocess.Popen(
            command([{"name": "killed", "pause": 0.1, **call}], 2),
            env=environment(tmp_path),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        while len(noted(tmp_path, "killed", victim)) < 20:
            assert job.poll() is None, (tmp_path / "output.txt").read_text()
            time.sleep(0.01)
        os.kill(int((tmp_path / f"pid-{victim}").read_text()), signal.SIGKILL)
        assert job.wait(timeout=60) != 0
    finally:
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGTERM)
    kept = rows_of(shards(tmp_path / "cache"))
    assert 4 * SHARD <= len(kept) < ROWS
    done = run(command([{"name": "next", **call}]), tmp_path)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(result(tmp_path, "next"), vectors(range(ROWS)))
    assert noted(tmp_path, "next") == [0, *(row for row in range(ROWS) if row not in kept)]


# --- the command line ---------------------------------------------------------------------------------------------


def cli(path, *words, processes):
    return run([*launch(processes), "-m", "hf_curriculum.cli", *words], path)


def test_the_command_line_on_two_processes_saves_and_reports_once(tiny_bert, tmp_path):
    phrases(ROWS).to_parquet(tmp_path / "a.parquet")
    words = ["score", "a.parquet", "--model", tiny_bert, "--clusters", "3", "--output", "scored"]
    done = cli(tmp_path, *words, processes=2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Saved 100 rows") == 1
    expected = add_difficulty(phrases(ROWS), tiny_bert, n_clusters=3, cache_dir=str(tmp_path / "cache"))
    scored = load_from_disk(tmp_path / "scored")
    np.testing.assert_allclose(scored["difficulty"][:], expected["difficulty"][:], atol=1e-5)


def test_the_command_line_on_two_processes_names_what_is_wrong(tmp_path):
    phrases(ROWS).to_parquet(tmp_path / "a.parquet")
    done = cli(tmp_path, "score", "a.parquet", "--model", "builtin/hog", "--output", "scored", processes=2)
    assert done.returncode != 0
    assert "Error: builtin/hog embeds image, but the dataset has no such column" in done.stderr
    assert "hf_curriculum/" not in done.stderr  # no traceback of ours
    assert not (tmp_path / "scored").exists()
