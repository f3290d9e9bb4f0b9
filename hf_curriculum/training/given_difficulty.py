"""Difficulties that are given beside the training data, one number a row, instead of in a column of it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset, IterableDataset, Value
from numpy.typing import ArrayLike, NDArray

from hf_curriculum.data import add_columns, hide_columns, require_dataset
from hf_curriculum.training.schedule import check_difficulty


def check_given(difficulty: ArrayLike) -> NDArray[np.floating]:
    """The difficulties as a vector, as a column of a dataset would give them.

    Args:
        difficulty: One number a row, an array, a list or a tensor; rows that are masked (``numpy.ma``) have none.

    Returns:
        float32 as they are, else float64. Shape ``(N,)``.

    Raises:
        TypeError: If they are not real numbers.
        ValueError: If they are not 1-D, there are none, all are masked, or one is negative or not finite.
    """
    if isinstance(difficulty, torch.Tensor):
        difficulty = difficulty.detach().cpu().numpy()
    missing = np.ma.getmaskarray(difficulty) if np.ma.isMaskedArray(difficulty) else None
    scores = check_difficulty(difficulty if missing is None else np.ma.filled(difficulty, 0))
    if missing is not None and missing.all():
        raise ValueError(f"difficulty is masked in all {scores.size} rows.")
    if (negative := np.flatnonzero(scores < 0)).size:
        raise ValueError(
            f"difficulty of row {negative[0]} is {scores[negative[0]]} ({negative.size} such rows); it must be >= 0, "
            "low = easy. Subtract the minimum."
        )
    return scores if missing is None or not missing.any() else np.ma.masked_array(scores, missing)


def with_difficulty(dataset: Any, difficulty: NDArray[np.floating], column: str) -> Any:
    """A ``Dataset`` with the difficulties as a column, so that they stay with their rows whatever a trainer does.

    Rows do not show it. A torch dataset comes back as it is.

    Args:
        dataset: The training data.
        difficulty: From :func:`check_given`.
        column: Name for the column.

    Returns:
        A dataset with the same rows.

    Raises:
        TypeError: If the data is a stream, or no dataset.
        ValueError: If there is not one difficulty a row, or the dataset has the column.
    """
    if isinstance(dataset, IterableDataset | torch.utils.data.IterableDataset):
        raise TypeError(
            "difficulty= is one number a row, and a stream's rows have no numbers. Score them as they pass: "
            "stream.map(scorer, batched=True) of a datasets.IterableDataset."
        )
    require_rows(dataset)
    if len(dataset) != difficulty.size:
        raise ValueError(f"difficulty= has {difficulty.size} numbers, and the training data {len(dataset)} rows.")
    if not isinstance(dataset, Dataset):
        return dataset
    if column in dataset.column_names:
        raise ValueError(
            f"The dataset has a column {column!r}, and difficulty= is given too. Leave difficulty= out, or remove the "
            f"column: dataset.remove_columns({column!r})."
        )
    kind = "float32" if difficulty.dtype == np.float32 else "float64"
    array = pa.array(np.ma.getdata(difficulty), mask=np.ma.getmaskarray(difficulty))
    return hide_columns(add_columns(dataset, {column: array}, {column: Value(kind)}), {column})


def require_rows(dataset: Any) -> None:
    """Raise unless it is a ``Dataset``, or anything else that gives rows by number.

    Args:
        dataset: The training data.

    Raises:
        TypeError: If it is not.
        ValueError: If it has no rows.
    """
    by_number = hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
    if isinstance(dataset, Dataset | Mapping | str | torch.utils.data.IterableDataset) or not by_number:
        require_dataset(dataset)
    elif not len(dataset):
        raise ValueError(f"The {type(dataset).__name__} has no rows.")


def require_column_of(dataset: Any) -> None:
    """Raise unless difficulties can be a column of the training data.

    Args:
        dataset: The training data.

    Raises:
        TypeError: If not; for a torch dataset, the message says how to give them.
        ValueError: If the dataset is empty.
    """
    if isinstance(dataset, torch.utils.data.Dataset | list) and not isinstance(
        dataset, torch.utils.data.IterableDataset
    ):
        raise TypeError(
            f"A {type(dataset).__name__} has no difficulty column: pass difficulty=, one number a row, in their order."
        )
    require_dataset(dataset)
