"""Batches of rows of similar length, so that little is padded."""

import numpy as np
from numpy.typing import NDArray


def group_by_length(
    rows: NDArray[np.int64], lengths: NDArray[np.int32], batch_size: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """The same rows, cut into batches of similar length; the batches stand in random order.

    Args:
        rows: Row indices, shape ``(n,)``, ``n`` a multiple of ``batch_size``. A row may stand in it more than once.
        lengths: Length of each row of the dataset, shape ``(N,)``.
        batch_size: Rows that are padded to one length.
        rng: Shuffles the batches.

    Returns:
        A permutation of ``rows``, shape ``(n,)``; inside a batch the longest row comes first.
    """
    longest_first = np.argsort(-lengths[rows], kind="stable").reshape(-1, batch_size)
    return rows[rng.permutation(longest_first).ravel()]
