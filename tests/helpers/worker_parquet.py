"""Encoders that each process can import, and drivers that score Parquet until they are done or killed.

``python worker_parquet.py in out count_slowly 2`` scores with two actors, and ends with 5 for an error of the disk.
With ``--each`` after it a driver is forked for each line of the input: they import what they need once.
"""

import os
import sys
import time

import numpy as np

from hf_curriculum import score_parquet

FULL = 5


def count_letters(texts):
    """Nine numbers a text, at once."""
    return np.array([[text.count(letter) + 0.1 for letter in "aeioubdtr"] for text in texts], np.float32)


def count_slowly(texts):
    """The same, 50 ms a batch."""
    time.sleep(0.05)
    return count_letters(texts)


def refuse_some(texts):
    """The same; but a batch with the text "bad" fails."""
    if "bad" in texts:
        raise ValueError("a bad text")
    return count_letters(texts)


def drive(source, output, encoder, actors):
    """Score, and see that a Ray that was not there before is not there after, whatever happened."""
    import ray

    options = {"n_clusters": 5, "sample_rows": 2000, "batch_size": 256, "input_column": "text"}
    code = 0
    try:
        score_parquet(source, output, globals()[encoder], concurrency=int(actors), **options)
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        code = FULL
    assert not ray.is_initialized() and os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    return code


def drive_each(*words):
    """For each line of the input fork a driver, and tell its process number; then how it ended."""
    for _ in sys.stdin:
        child = os.fork()
        if not child:
            try:
                os._exit(drive(*words))
            finally:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
        os.write(1, f"{child}\n".encode())
        os.write(1, f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n".encode())


if __name__ == "__main__":
    *words, last = sys.argv[1:]
    sys.exit(drive_each(*words) if last == "--each" else drive(*words, last))
