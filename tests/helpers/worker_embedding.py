"""Embeddings that note in files which rows they computed; as a script, for tests that start processes.

``python worker_embedding.py '[{"out": ..., "rows": 50, "options": {...}}, ...]'`` calls :func:`add_embeddings` with
each set of options in turn. Under ``accelerate launch`` it does so on all ranks, in one process group.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import launching
import numpy as np
from datasets import Dataset
from launching import launch

from hf_curriculum import add_embeddings

RANK = int(os.environ.get("RANK", 0))


def embed(rows):
    """Embeds the text of a number as a function of the number; notes it, and takes as long as NOTES_PAUSE says.

    Where and how long is told by the environment, so that it is no part of what datasets hashes. One ``write`` a
    batch, without a buffer: a process that is killed has noted all that it computed.
    """
    file = os.open(f"{os.environ['NOTES']}-{os.environ.get('RANK', 0)}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, (" ".join(rows) + "\n").encode())
    os.close(file)
    time.sleep(float(os.environ.get("NOTES_PAUSE", 0)))
    return vectors(rows)


def vectors(rows, dim=8):
    """What :func:`embed` makes of texts or numbers."""
    return np.stack([np.cos(np.arange(dim) * int(row)) for row in rows]).astype(np.float32)


def numbers(rows, bad=()):
    """Texts of the row's number, null in the bad rows."""
    return Dataset.from_dict({"text": [None if i in bad else str(i) for i in range(rows)]})


def phrases(rows):
    """Texts of one to nine words that the tiny BERT knows."""
    rng = random.Random(0)
    words = ("red", "green", "blue", "cat", "dog", "bird", "small", "large")
    return Dataset.from_dict({"text": [" ".join(rng.choices(words, k=1 + i % 9)) for i in range(rows)]})


def call(out, *, rows, options, pause=0, bad=(), model=None, own_cache=False, remove=None, name="call"):
    """Embed numbers, or phrases with a model of the Hub.

    ``out`` gets NAME-RANK.npy, or NAME-RANK.txt with the error; the rows in notes-NAME-RANK; and pid-RANK.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    if remove:
        Path(remove).unlink()
    os.environ |= {"NOTES": str(out / f"notes-{name}"), "NOTES_PAUSE": str(pause)}
    cache = out / "cache" / str(RANK) if own_cache else out / "cache"
    dataset = phrases(rows) if model else numbers(rows, bad)
    (out / f"pid-{RANK}").write_text(str(os.getpid()))
    try:
        embedded = add_embeddings(dataset, model or embed, **({"cache_dir": str(cache)} | options))
    except (ValueError, OSError, RuntimeError) as error:
        (out / f"{name}-{RANK}.txt").write_text(f"{type(error).__name__}: {error}")
        return
    assert embedded["text"][:] == dataset["text"][:]
    missing = [np.nan] * embedded.features["embedding"].length
    np.save(out / f"{name}-{RANK}.npy", np.array([row or missing for row in embedded["embedding"]], np.float32))


def killed(out, *, delays, **options):
    """Start so many calls, kill each so long after it has embedded 1, 9, 17 or 25 rows, and keep what each left."""
    for i, delay in enumerate(delays):
        process = started(out, name=f"killed-{i}", **options)
        while len(noted(out, f"killed-{i}")) <= 8 * (i % 4):
            time.sleep(0.001)
        time.sleep(delay)
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        assert os.WIFSIGNALED(status), f"call {i} ended before it was killed"
        shutil.copytree(Path(out) / "cache", Path(out) / f"left-{i}")


def at_once(out, *, processes, **options):
    """Make the same call in several processes that know nothing of each other."""
    for process in [started(out, name=f"at-once-{i}", **options) for i in range(processes)]:
        os.waitpid(process, 0)


def started(out, **options):
    """Process that makes this call. It is forked, which takes no seconds to import torch."""
    (Path(out) / "cache").mkdir(parents=True, exist_ok=True)
    process = os.fork()
    if process == 0:
        try:
            call(out, **options)
        finally:
            os._exit(0)
    return process


# --- what the tests read ------------------------------------------------------------------------------------------


def noted(out, name="call", rank=0):
    """Rows in the order in which they were computed; the first is the probe for the length of the vectors."""
    file = Path(out) / f"notes-{name}-{rank}"
    return [int(row) for row in file.read_text().split()] if file.exists() else []


def result(out, name="call", rank=0):
    return np.load(Path(out) / f"{name}-{rank}.npy")


def error(out, name="call", rank=0):
    return (Path(out) / f"{name}-{rank}.txt").read_text()


def shards(cache):
    """Finished shards below a folder, by first row."""
    return {int(file.stem.split("-")[1]): file for file in sorted(Path(cache).rglob("shard-*.arrow"))}


def command(calls, processes=1):
    """Command line that makes these calls."""
    return [*launch(processes), __file__, json.dumps(calls)]


def environment(out):
    """Environment of a child process, with a cache of its own for datasets."""
    return launching.environment() | {"HF_DATASETS_CACHE": f"{out}/hf"}


if __name__ == "__main__":
    actions = {"delays": killed, "processes": at_once}
    for options in json.loads(sys.argv[1]):
        next((action for key, action in actions.items() if key in options), call)(**options)
