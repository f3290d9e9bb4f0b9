"""The columns we add to a dataset, and how columns are found, checked, read and written."""

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import (
    Dataset,
    DatasetDict,
    Features,
    IterableDataset,
    Value,
    concatenate_datasets,
)
from datasets.arrow_dataset import transmit_format
from numpy.typing import NDArray

_ROWS_AT_ONCE = 65_536
SCORES = EMBEDDING, CLUSTER, DISTANCE, DIFFICULTY = "embedding", "cluster", "distance", "difficulty"
SUGGESTED_LABEL = "suggested_label"


def require_column(
    dataset: Dataset | IterableDataset | Collection[str], column: str, *, made_by: str | None = None
) -> None:
    """Raise unless ``dataset`` has ``column``; name the columns there are and the call that makes it.

    Args:
        dataset: The dataset, a stream that knows its columns, or their names.
        column: The column asked for.
        made_by: The call that makes it. Default ``None``, a column of the user's own.

    Raises:
        TypeError: If its name is no string.
        ValueError: If the column is missing.
    """
    if not isinstance(column, str):
        raise TypeError(f"A column is named by a string, got {column!r}.")
    names = list((dataset.column_names or ()) if isinstance(dataset, Dataset | IterableDataset) else dataset)
    if column in names:
        return
    close = get_close_matches(column, names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    remedy = f" Create it with `{made_by}`." if made_by else ""
    raise ValueError(f"Column {column!r} is not in the dataset (columns: {names}).{hint}{remedy}")


def read_difficulty(dataset: Dataset, column: str) -> NDArray[np.floating]:
    """The difficulties of all rows, checked.

    Args:
        dataset: Has the column, of any integer or float type.
        column: Its name.

    Returns:
        Non-negative finite numbers, low = easy; float32 as they are, other types as float64. Shape ``(N,)``. A masked
        array where the column has nulls.

    Raises:
        ValueError: If the column is missing, not numeric, all null, or has a NaN, infinite or negative value.
    """
    made_by = "add_difficulty(dataset, model_id)" if column in SCORES else None  # a column of the user's own
    require_column(dataset, column, made_by=made_by)
    array = arrow_column(dataset, column)
    if not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type)):
        numeric = [name for name, feature in dataset.features.items() if _is_number(feature)]
        raise ValueError(f"Column {column!r} holds {array.type}, not numbers; numeric columns: {numeric}.")
    if array.null_count == len(array):
        raise ValueError(f"Column {column!r} is null in all {len(array)} rows.")
    if pa.types.is_integer(array.type) and pc.max(array).as_py() > 2**53:
        row = int(array.fill_null(0).to_numpy().argmax())
        raise ValueError(
            f"Column {column!r} is {pc.max(array)} in row {row}, more than float64 holds exactly (2^53). Subtract the "
            "minimum of the column, or scale it down."
        )
    null = array.is_null().to_numpy(zero_copy_only=False)
    values = array.to_numpy(zero_copy_only=False)
    values = values if values.dtype == np.float32 else values.astype(np.float64)
    bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0) | null))
    if bad.size:
        raise ValueError(
            f"Column {column!r} is {values[bad[0]]} in row {bad[0]} ({bad.size} such rows); difficulties must be "
            "finite and >= 0, low = easy. Drop these rows, or shift the column so that its minimum is 0."
        )
    return np.ma.masked_array(values, null) if array.null_count else values


def read_embeddings(dataset: Dataset, column: str) -> tuple[list[NDArray[np.floating]], NDArray[np.bool_]]:
    """The embeddings as a matrix in parts.

    Args:
        dataset: Has the column, a list of numbers of one length.
        column: Its name.

    Returns:
        Embeddings of the rows that have one, a matrix of shape ``(n, dim)`` for each Arrow chunk, in the type of the
        column, and a view of the Arrow memory unless rows of the chunk are null; and which rows these are, bool, shape
        ``(N,)``.

    Raises:
        ValueError: If the column is missing, null in all rows, is not a list of numbers of one length, or has a value
            that is not finite; the row at fault is named.
    """
    require_column(dataset, column, made_by="add_embeddings(dataset, model_id)")
    array = arrow_column(dataset, column)
    if not is_list(array.type):
        raise ValueError(f"Column {column!r} holds {array.type}, not embeddings (a list of numbers a row).")
    if array.null_count == len(array):
        raise ValueError(f"Column {column!r} is null in all {len(array)} rows.")
    has_embedding = array.is_valid().to_numpy()
    rows = np.flatnonzero(has_embedding)
    lengths = pc.list_value_length(array).to_numpy()[rows]
    if (odd := np.flatnonzero(lengths != lengths[0])).size:
        raise ValueError(
            f"Embeddings in column {column!r} must have one length: row {rows[0]} has {lengths[0]:.0f} numbers, "
            f"row {rows[odd[0]]} has {lengths[odd[0]]:.0f}."
        )
    dim = int(lengths[0])
    flat = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in array.chunks if chunk.null_count < len(chunk)]
    if dim == 0 or flat[0].dtype == object:
        raise ValueError(f"Column {column!r} holds {array.type}, not embeddings (a list of numbers a row).")
    blocks = [numbers.reshape(-1, dim) for numbers in flat]
    for block, first in zip(blocks, np.cumsum([0, *map(len, blocks)]), strict=False):
        require_finite(block, f"Embedding in column {column!r}", rows[first:])
    return blocks, has_embedding


def read_labels(dataset: Dataset, column: str) -> NDArray[Any]:
    """The class of each row: integers or strings, shape ``(N,)``.

    Args:
        dataset: Has the column, of integers or strings.
        column: Its name.

    Returns:
        The class of each row, of integers or strings of numpy, shape ``(N,)``. A masked array where the column has
        nulls.

    Raises:
        ValueError: If the column is missing, null in all rows, or holds neither integers nor strings.
    """
    require_column(dataset, column)
    array = arrow_column(dataset, column)
    if 0 < len(array) == array.null_count:
        raise ValueError(f"Label column {column!r} is null in all {len(array)} rows.")
    if not (pa.types.is_integer(array.type) or pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        raise ValueError(f"Label column {column!r} holds {array.type}; labels must be integers or strings.")
    null = array.is_null().to_numpy(zero_copy_only=False)
    if null.any():
        array = array.fill_null(0 if pa.types.is_integer(array.type) else "")
    labels = array.to_numpy(zero_copy_only=False)
    labels = labels.astype(str) if labels.dtype == object else labels
    return np.ma.masked_array(labels, null) if null.any() else labels


def read_clusters(dataset: Dataset) -> NDArray[np.int64]:
    """The cluster of each row, -1 where it has none; int64, shape ``(N,)``.

    Raises:
        ValueError: If there is no such column, or it does not hold integers.
    """
    require_column(dataset, CLUSTER, made_by="add_difficulty(dataset, model_id)")
    array = arrow_column(dataset, CLUSTER)
    if not pa.types.is_integer(array.type):
        raise ValueError(f"Column {CLUSTER!r} holds {array.type}, not the number of a cluster.")
    return array.fill_null(-1).to_numpy().astype(np.int64)


def hide_columns(dataset: Any, columns: Collection[str]) -> Any:
    """The dataset with rows that no longer show ``columns``, for trainers that take every column as an input.

    The columns stay, and :func:`read_difficulty` reads them. Each split of a ``DatasetDict`` is treated so; what is
    neither comes back as it is.

    Args:
        dataset: A ``Dataset``, or a ``DatasetDict``.
        columns: Names to hide; those that it lacks do not matter.

    Returns:
        A dataset with the same rows and columns.
    """
    if isinstance(dataset, DatasetDict):
        return DatasetDict({name: hide_columns(split, columns) for name, split in dataset.items()})
    if not isinstance(dataset, Dataset):
        return dataset
    every = dataset.format["output_all_columns"]  # which shows the others, too, as they are: now in the format
    shown = [name for name in (dataset.column_names if every else dataset.format["columns"]) if name not in columns]
    return dataset.with_format(dataset.format["type"], columns=shown, **dataset.format["format_kwargs"])


def require_finite(matrix: NDArray[np.floating], what: str, rows: NDArray[np.integer[Any]] | None = None) -> None:
    """Raise a ``ValueError`` that names the first row with a NaN or infinite number; ``rows`` are their numbers.

    Args:
        matrix: Numbers, shape ``(n, dim)``.
        what: They are, the subject of the error.
        rows: Row number of each, for the error; default their position.

    Raises:
        ValueError: If a number is not finite.
    """
    bad: list[int] = []
    for start in range(0, len(matrix), _ROWS_AT_ONCE):
        part = matrix[start : start + _ROWS_AT_ONCE].astype(np.float32, copy=False)  # where 1e39 is infinite, too
        # A sum is finite if its terms are (float64 cannot overflow on float32 terms): no mask of the full size.
        bad += (start + np.flatnonzero(~np.isfinite(part.sum(axis=1, dtype=np.float64)))).tolist()
    if bad:
        row = bad[0] if rows is None else rows[bad[0]]
        raise ValueError(f"{what} has a NaN or infinite number in row {row} ({len(bad)} such rows).")


def add_columns(dataset: Dataset, columns: Mapping[str, pa.Array], features: Mapping[str, Any]) -> Dataset:
    """Append columns, or replace those of the same name; all others stay untouched, encoded media included.

    Args:
        dataset: Any dataset.
        columns: Arrow arrays of ``len(dataset)`` rows, by name.
        features: Their feature types, by name.

    Returns:
        A dataset with the same rows in the same order.
    """
    added = Dataset(pa.table(dict(columns)).cast(Features(features).arrow_schema))
    return append_dataset(dataset, added)


@transmit_format  # type: ignore[untyped-decorator]
def append_dataset(dataset: Dataset, added: Dataset) -> Dataset:
    """Append the columns of ``added``, row by row; columns of the same name are replaced.

    Split, info, format and transform are those of ``dataset``, as ``Dataset.map`` keeps them.

    Args:
        dataset: Any dataset.
        added: Of as many rows.

    Returns:
        A dataset with the rows of ``dataset`` in their order.
    """
    plain = dataset.with_format(None)  # parts of different formats would be joined with a note in the log
    kept = plain.remove_columns([name for name in added.column_names if name in dataset.column_names])
    info = dataset.info.copy()
    info.features = Features({**kept.features, **added.features})
    parts = [kept, added] if kept.column_names else [added]
    return concatenate_datasets(parts, axis=1, info=info, split=dataset.split)


def _is_number(feature: object) -> bool:
    return isinstance(feature, Value) and feature.dtype.startswith(("int", "uint", "float"))


def is_list(kind: pa.DataType) -> bool:
    """Whether rows of this Arrow type are lists, of one length or not."""
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def arrow_column(dataset: Dataset, column: str) -> pa.ChunkedArray:
    """A column in the order of the rows.

    Args:
        dataset: Has it.
        column: Its name.

    Returns:
        The column, ``len(dataset)`` values, also after ``select`` or ``shuffle``.

    Raises:
        ValueError: If it is of an extension type, such as ``Array2D``.
    """
    array = dataset.data.column(column)
    if dataset._indices is not None:  # after shuffle or select; the public way gathers row by row, 118 times slower
        array = array.take(dataset._indices.column(0))
    if isinstance(array.type, pa.ExtensionType):  # a fixed-shape Array2D... column
        raise ValueError(f"Column {column!r} holds {array.type}; expected numbers or a list of numbers a row.")
    return array
