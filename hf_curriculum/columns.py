"""The columns we add to a dataset, and how columns are found, checked, read and written."""

import json
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
    IterableDatasetDict,
    List,
    Value,
    concatenate_datasets,
)
from numpy.typing import NDArray

_ROWS_AT_ONCE = 65_536
SCORES = EMBEDDING, CLUSTER, DISTANCE, DIFFICULTY = "embedding", "cluster", "distance", "difficulty"


def require_dataset(dataset: object) -> None:
    """Raise unless ``dataset`` is a map-style dataset with at least one row.

    Raises:
        TypeError: For a streaming or any other object.
        ValueError: For an empty dataset.
    """
    if isinstance(dataset, IterableDataset | IterableDatasetDict):
        raise TypeError(
            f"Expected a Dataset, got a streaming {type(dataset).__name__}, whose rows cannot be drawn by index. "
            "Load it with streaming=False, or write its first rows to a Dataset: "
            "Dataset.from_list(list(dataset.take(n)), features=dataset.features)."
        )
    if not isinstance(dataset, Dataset):
        hint = f" Pass one split, e.g. dataset[{next(iter(dataset))!r}]." if isinstance(dataset, DatasetDict) else ""
        raise TypeError(f"Expected a datasets.Dataset, got {type(dataset).__name__}.{hint}")
    if len(dataset) == 0:
        raise ValueError("The dataset has no rows. Did an earlier `dataset.filter(...)` remove all of them?")


def splits_of(dataset: Dataset | DatasetDict) -> dict[str, Dataset]:
    """The splits by name, each checked; a lone ``Dataset`` counts as ``"train"``.

    Raises:
        TypeError: For a streaming or any other object.
        ValueError: For an empty split, or no split.
    """
    splits = dict(dataset) if isinstance(dataset, DatasetDict) else {"train": dataset}
    if not splits:
        raise ValueError("The DatasetDict has no splits.")
    for split in splits.values():
        require_dataset(split)
    return splits


def fit_split(splits: Mapping[str, Dataset]) -> str:
    """Name of the split that vocabularies and centroids are fitted on: ``"train"``, or else the first."""
    return "train" if "train" in splits else next(iter(splits))


def require_column(dataset: Dataset, column: str, *, made_by: str | None = None) -> None:
    """Raise unless ``dataset`` has ``column``; name the columns there are and the call that makes it.

    Raises:
        ValueError: If the column is missing.
    """
    if column in dataset.column_names:
        return
    close = get_close_matches(column, dataset.column_names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    remedy = f" Create it with `{made_by}`." if made_by else ""
    raise ValueError(f"Column {column!r} is not in the dataset (columns: {dataset.column_names}).{hint}{remedy}")


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
    require_column(dataset, column, made_by="add_difficulty(dataset, model_id)")
    array = _arrow_column(dataset, column)
    if not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type)):
        numeric = [name for name, feature in dataset.features.items() if _is_number(feature)]
        raise ValueError(f"Column {column!r} holds {array.type}, not numbers; numeric columns: {numeric}.")
    if array.null_count == len(array):
        raise ValueError(f"Column {column!r} is null in all {len(array)} rows.")
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
    array = _arrow_column(dataset, column)
    if not _is_list(array.type):
        raise ValueError(f"Column {column!r} holds {array.type}, not embeddings (a list of numbers a row).")
    if array.null_count == len(array):
        raise ValueError(f"Column {column!r} is null in all {len(array)} rows.")
    there = array.is_valid().to_numpy()
    rows = np.flatnonzero(there)
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
    return blocks, there


def read_labels(dataset: Dataset, column: str) -> NDArray[Any]:
    """The class of each row: integers or strings, shape ``(N,)``.

    Raises:
        ValueError: If the column is missing, has a null, or holds neither integers nor strings.
    """
    require_column(dataset, column)
    array = _arrow_column(dataset, column)
    if array.null_count:
        row = int(np.argmax(array.is_null().to_numpy(zero_copy_only=False)))
        raise ValueError(f"Label column {column!r} is null in {array.null_count} rows, the first is row {row}.")
    if not (pa.types.is_integer(array.type) or pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        raise ValueError(f"Label column {column!r} holds {array.type}; labels must be integers or strings.")
    labels = array.to_numpy(zero_copy_only=False)
    return labels.astype(str) if labels.dtype == object else labels


def read_clusters(dataset: Dataset) -> NDArray[np.int64]:
    """The cluster of each row, -1 where it has none; int64, shape ``(N,)``.

    Raises:
        ValueError: If there is no such column, or it does not hold integers.
    """
    require_column(dataset, CLUSTER, made_by="add_difficulty(dataset, model_id)")
    array = _arrow_column(dataset, CLUSTER)
    if not pa.types.is_integer(array.type):
        raise ValueError(f"Column {CLUSTER!r} holds {array.type}, not the number of a cluster.")
    return array.fill_null(-1).to_numpy().astype(np.int64)


def hide_columns(dataset: Any, columns: Collection[str]) -> Any:
    """The dataset with rows that no longer show ``columns``, for trainers that take every column as an input.

    The columns stay, and :func:`read_difficulty` reads them. Each split of a ``DatasetDict`` is treated so; what is
    neither comes back as it is.
    """
    if isinstance(dataset, DatasetDict):
        return DatasetDict({name: hide_columns(split, columns) for name, split in dataset.items()})
    if not isinstance(dataset, Dataset):
        return dataset
    shown = [name for name in dataset.format["columns"] if name not in columns]
    return dataset.with_format(dataset.format["type"], columns=shown, **dataset.format["format_kwargs"])


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
    array = _arrow_column(dataset, found[0])
    if found[0] == input_column and _is_list(array.type):
        array = pc.list_value_length(array)
    if not pa.types.is_integer(array.type):
        raise ValueError(f"Length column {found[0]!r} holds {array.type}, not integers.")
    return array.fill_null(0).to_numpy().astype(np.int64)


def require_finite(matrix: NDArray[np.floating], what: str, rows: NDArray[np.integer[Any]] | None = None) -> None:
    """Raise a ``ValueError`` that names the first row with a NaN or infinite number; ``rows`` are their numbers."""
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


def append_dataset(dataset: Dataset, added: Dataset) -> Dataset:
    """Append the columns of ``added``, row by row; columns of the same name are replaced."""
    kept = dataset.remove_columns([name for name in added.column_names if name in dataset.column_names])
    if not kept.column_names:
        return added
    return concatenate_datasets([kept, added], axis=1)


def embedding_feature(dim: int, record: Mapping[str, Any]) -> List:
    """Feature of an embedding column: fixed-size list of float32, whose items carry the provenance."""
    return List(Value("float32", id=_dump(record)), length=dim)


def score_features(record: Mapping[str, Any]) -> dict[str, Value]:
    """Features of the cluster, distance and difficulty columns; difficulty carries the provenance."""
    return {
        CLUSTER: Value("int32"),
        DISTANCE: Value("float32"),
        DIFFICULTY: Value("float32", id=_dump(record)),
    }


def provenance(dataset: Dataset, column: str = DIFFICULTY) -> dict[str, Any]:
    """Where the numbers of a column came from: model, pooling, K, index, normalisation, seed, version.

    The record lives in the column's feature (its ``id``), so that it follows the column through ``map``, ``select``,
    ``concatenate_datasets``, ``save_to_disk``, Parquet and ``push_to_hub``.

    Args:
        dataset: A scored or embedded dataset.
        column: ``"difficulty"`` (default) or ``"embedding"``.

    Returns:
        The record; empty for a column that this library did not write.

    Raises:
        ValueError: If the column is missing.

    Example:
        >>> from datasets import Dataset
        >>> provenance(Dataset.from_dict({"difficulty": [0.1]}))
        {}
    """
    require_column(dataset, column)
    feature = dataset.features[column]
    text = getattr(feature.feature if isinstance(feature, List) else feature, "id", None)
    try:
        record = json.loads(text) if isinstance(text, str) else {}
    except json.JSONDecodeError:  # another tool's id
        return {}
    return record if isinstance(record, dict) else {}


def part(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A part of a provenance record, such as ``"embedding"``; empty where another tool wrote anything else there."""
    value = record.get(name)
    return value if isinstance(value, dict) else {}


def _dump(record: Mapping[str, Any]) -> str:
    return json.dumps(record, sort_keys=True)


def _is_number(feature: object) -> bool:
    return isinstance(feature, Value) and feature.dtype.startswith(("int", "uint", "float"))


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _arrow_column(dataset: Dataset, column: str) -> pa.ChunkedArray:
    array = dataset.data.column(column)
    if dataset._indices is not None:  # after shuffle or select; the public way gathers row by row, 300 times slower
        array = array.take(dataset._indices.column(0))
    if isinstance(array.type, pa.ExtensionType):  # a fixed-shape Array2D... column
        raise ValueError(f"Column {column!r} holds {array.type}; expected numbers or a list of numbers a row.")
    return array
