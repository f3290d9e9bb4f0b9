"""Batches of rows of similar length, so that little is padded."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import (
    Dataset,
)
from numpy.typing import NDArray

from hf_curriculum.data import arrow_column, is_list


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


def read_lengths(dataset: Dataset, length_column: str, input_column: str) -> NDArray[np.int64]:
    """Length of each row, for batches of similar length.

    Args:
        dataset: Has one of the columns.
        length_column: Column of integers; comes first.
        input_column: Column of lists, such as ``"input_ids"``, whose lengths are taken.

    Returns:
        int64, shape ``(N,)``; 0 where the column is null.

    Raises:
        ValueError: If neither column is there, or is of another type.
    """
    found = [name for name in (length_column, input_column) if name in dataset.column_names]
    if not found:
        raise ValueError(
            f"Grouping by length needs a column {length_column!r} of integers or {input_column!r} of lists (columns: "
            f"{dataset.column_names}). Add one with dataset.map, or name it in length_column_name."
        )
    array = arrow_column(dataset, found[0])
    if found[0] == input_column and is_list(array.type):
        array = pc.list_value_length(array)
    if not pa.types.is_integer(array.type):
        raise ValueError(f"Length column {found[0]!r} holds {array.type}, not integers.")
    return array.fill_null(0).to_numpy().astype(np.int64)
