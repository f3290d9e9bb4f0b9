"""From rows without a score to a trained model, with all that a user has on the way; whoever is killed."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import worker_parquet
from datasets import Dataset, load_dataset
from hub_client import client
from hub_server import hub
from launching import environment
from needs import needs
from test_resume import last_complete, run_all, start_and_kill
from worker_parquet import count_slowly
from worker_training import end, logged, micro_batches, reference, stream

from hf_curriculum import DifficultyScorer, add_difficulty

ROWS, BATCH, STEPS, WARMUP = 12_000, 48, 400, 150


@pytest.fixture
def parquet(tmp_path):
    """Three files, whose rows know their number."""
    texts = ["aeioubdtr"[row % 9] * (1 + row % 13) + "ab" * (row * row % 7) for row in range(ROWS)]
    rows = Dataset.from_dict({"text": texts})
    (tmp_path / "in").mkdir()
    for name, start, stop in (("a", 0, 7000), ("b", 7000, 7010), ("c", 7010, ROWS)):
        rows.select(range(start, stop)).to_parquet(str(tmp_path / "in" / f"{name}.parquet"))
    return rows


def score(tmp_path, moment=None):
    """A driver with a Ray of its own, which is killed once so many parts are embedded."""
    words = [sys.executable, worker_parquet.__file__, str(tmp_path / "in"), str(tmp_path / "out"), "count_slowly", "1"]
    driver = subprocess.Popen(words, env=environment(), stderr=subprocess.PIPE, text=True)
    vectors = tmp_path / "out" / ".job" / "vectors"
    while moment and driver.poll() is None and len([*vectors.glob("0*.parquet")]) < moment:
        time.sleep(0.02)
    if moment:
        driver.kill()
    _, errors = driver.communicate(timeout=600)
    assert driver.returncode == (-signal.SIGKILL if moment else 0), errors


@pytest.mark.slow
def test_a_folder_of_parquet_becomes_a_training_that_was_killed_twice(tmp_path, parquet):
    """Scored by a driver that is killed once, then streamed by two processes that are killed once."""
    needs("ray")
    score(tmp_path, moment=2)
    assert not [*(tmp_path / "out").glob("*.parquet")]
    score(tmp_path)
    files = str(tmp_path / "out" / "*.parquet")
    scored = load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache")).sort("row")
    scorer = DifficultyScorer.from_pretrained(tmp_path / "out" / "scorer")
    alone = add_difficulty(parquet, count_slowly, input_column="text", batch_size=256, scorer=scorer)
    for column in ("text", "embedding", "cluster", "distance", "difficulty"):
        assert scored[column][:] == alone[column][:]
    assert scored["row"][:] == list(range(ROWS))

    options = {
        "files": files,
        "max_steps": STEPS,
        "per_device_train_batch_size": BATCH // 2,
        "curriculum": {"warmup_steps": WARMUP},
        "save_strategy": "steps",
        "save_steps": 5,
        "save_total_limit": 3,
    }
    (tmp_path / "killed").mkdir()
    killed = {"out": str(tmp_path / "killed"), "output_dir": str(tmp_path / "run"), **options, "pause": 0.02}
    start_and_kill(killed, processes=2, victim=1, steps=8, delay=0, saving=False)  # after a checkpoint
    checkpoint, _ = last_complete(tmp_path / "run")
    assert checkpoint is not None
    resumed = {"out": str(tmp_path / "on"), "output_dir": str(tmp_path / "run"), "resume": checkpoint, **options}
    whole = {"out": str(tmp_path / "whole"), "output_dir": str(tmp_path / "other"), **options}
    run_all([resumed, whole], 2)
    stop = int(checkpoint.rpartition("-")[2])
    assert 0 < stop < STEPS
    for rank in range(2):
        expected = micro_batches(tmp_path / "whole", rank)
        before, after = (micro_batches(tmp_path / name, rank) for name in ("killed", "on"))
        assert len(before) >= stop and before == expected[: len(before)] and after == expected[stop:]
    assert logged(end(tmp_path / "on")["logs"])[STEPS] == logged(end(tmp_path / "whole")["logs"])[STEPS]
    assert_is_a_curriculum(stream(tmp_path / "whole", 2), scored)


def assert_is_a_curriculum(steps, scored):
    difficulty = np.array(scored["difficulty"][:])
    sampler = reference(BATCH, dataset=scored, max_steps=STEPS, curriculum={"warmup_steps": WARMUP})
    planned = []
    for step in range(WARMUP):
        weights = np.exp(-difficulty.astype(float) / sampler.temperature(step))
        planned.append(weights @ difficulty / weights.sum())
    found = [difficulty[steps[step]].mean() for step in range(WARMUP)]
    assert abs(np.mean(found) - np.mean(planned)) < 0.01
    passed = np.concatenate([steps[step] for step in range(WARMUP + 10, STEPS)])
    assert np.bincount(passed).max() <= 2 and len(np.unique(passed)) > 0.6 * passed.size  # the ends of two passes


@pytest.mark.slow
def test_a_scored_dataset_goes_over_the_hub_to_a_training_on_its_stream(tmp_path):
    code = """
import worker_training
from datasets import Dataset, load_dataset
from hf_curriculum import add_difficulty, push_scored

rows = Dataset.from_dict({"row": range(900), "text": [f"row {row * row % 71} of texts" for row in range(900)]})
scored = add_difficulty(rows, "builtin/tfidf", n_clusters=3)
push_scored(scored, "me/scored", num_shards=3)
options = {"max_steps": 60, "per_device_train_batch_size": 24}
columns = ["row", "difficulty"]
worker_training.train("here", dataset=scored.select_columns(columns).to_iterable_dataset(3), **options)
there = load_dataset("me/scored", split="train", streaming=True).select_columns(columns)
trainer = worker_training.train("there", dataset=there, **options)
answer = [worker_training.stream(name) for name in ("here", "there")], scored["difficulty"][:]
"""
    with hub() as server, client(server, tmp_path) as user:
        (here, there), difficulty = user.run(code)
        read = [line for line in server.log if "GET" in line and ".parquet" in line]
    assert len(read) >= 3
    assert here == there and len(there) == 60
    trained = np.array(difficulty)[np.array(list(there.values()))].mean(axis=1)
    assert trained[:10].mean() < 0.7 * np.mean(difficulty) and abs(trained[35:].mean() - np.mean(difficulty)) < 0.03
