"""Encoders that each process can import, and a driver that scores Parquet until it is done or killed."""

import sys
import time

import numpy as np

from hf_curriculum import score_parquet


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


if __name__ == "__main__":
    source, output, encoder, *more = sys.argv[1:]
    options = {"n_clusters": 5, "sample_rows": 2000, "batch_size": 256, "input_column": "text", "concurrency": 2}
    score_parquet(source, output, globals()[encoder], **options)
