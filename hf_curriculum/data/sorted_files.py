"""Scored rows as Parquet files that can be read in part: sorted by difficulty, in small row groups with statistics."""

import io
from base64 import b64decode, b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict
from datasets.table import embed_table_storage

from hf_curriculum.data.columns import DIFFICULTY, require_column
from hf_curriculum.data.splits import splits_of
from hf_curriculum.files import appears_whole

FILE_ROWS = 4096
"""Rows of a file, of which a reader holds what it draws: as many as a block of a stream."""
_KEPT = "hf_curriculum.difficulties"
_GROUP_BYTES = 1 << 13
_MOST_ROWS, _FEWEST_ROWS = 64, 2


def save_sorted(dataset: Dataset | DatasetDict, folder: str | Path, *, difficulty_column: str = DIFFICULTY) -> None:
    """Save a scored dataset as Parquet files of which a curriculum on a stream reads only what it draws.

    Rows are dealt out to files of at most 4,096, and sorted by difficulty in each, in row groups of about 8 KB. So
    the order of the rows changes. ``load_dataset(folder, streaming=True)`` reads them (docs/streams.md).

    Args:
        dataset: Has a difficulty column.
        folder: Missing or empty.
        difficulty_column: Column to sort by. Default ``"difficulty"``; rows without a difficulty come last.

    Raises:
        TypeError: For a streaming or any other object.
        ValueError: If the column is missing, or the folder holds something.
        OSError: If it cannot be written.

    Example:
        >>> import tempfile
        >>> from datasets import Dataset, load_dataset
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_sorted(Dataset.from_dict({"difficulty": [0.3, 0.1, 0.2]}), folder)
        ...     load_dataset(folder, split="train", cache_dir=folder + "/cache")["difficulty"][:]
        [0.1, 0.2, 0.3]
    """
    splits, folder = splits_of(dataset), Path(folder)
    if isinstance(dataset, Dataset):
        splits = {str(dataset.split or "train"): dataset}
    for split in splits.values():
        require_column(split, difficulty_column)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ValueError(f"{folder} holds something already; name a new folder.")
    for name, split in splits.items():
        files = number_of_files(split)
        for index in range(files):
            shard = split.shard(files, index, contiguous=False)
            with appears_whole(folder / f"{name}-{index:05d}-of-{files:05d}.parquet") as file:
                write_sorted(stored_table(shard), file, difficulty_column)


def number_of_files(dataset: Dataset) -> int:
    """Files that hold a dataset, each with at most :data:`FILE_ROWS` rows."""
    return -(-len(dataset) // FILE_ROWS)


def stored_table(dataset: Dataset) -> pa.Table:
    """All rows of a dataset as they are stored, with the bytes of the files that they name, features in the schema."""
    table = embed_table_storage(dataset.with_format("arrow")[:])
    return table.replace_schema_metadata(dataset.features.arrow_schema.metadata)


def write_sorted(table: pa.Table, file: IO[bytes] | str, difficulty_column: str = DIFFICULTY) -> None:
    """Write rows as one Parquet file, the easiest first and those without a difficulty last.

    The file says in its metadata that it is sorted, by which column, and the range of the column in each row group;
    and it repeats the column there, so that it can be read at once.

    Args:
        table: The rows, at least one.
        file: Open for bytes, or a path.
        difficulty_column: Column to sort by.

    Raises:
        OSError: If it cannot be written.
    """
    by = [(difficulty_column, "ascending")]
    order = pc.sort_indices(table, sort_keys=by).to_numpy()  # nulls last
    rows = min(_MOST_ROWS, max(_FEWEST_ROWS, _GROUP_BYTES * len(table) // max(1, table.nbytes)))
    # Of a picture, statistics would be as large as the picture; dictionaries do not pay in so few rows.
    options: Mapping[str, Any] = {
        "write_statistics": [difficulty_column],
        "sorting_columns": pq.SortingColumn.from_ordering(table.schema, by),
        "use_dictionary": False,
    }
    with pq.ParquetWriter(file, table.schema, **options) as writer:
        for start in range(0, len(table), rows):
            # Slices, since a column that does not fit into one array could not be taken from.
            group = pa.concat_tables([table.slice(row, 1) for row in order[start : start + rows].tolist()])
            writer.write_table(group.combine_chunks())
        kept = pa.table({difficulty_column: table.column(difficulty_column).take(pa.array(order))})
        writer.add_key_value_metadata({_KEPT: b64encode(_dumped(kept)).decode()})


def sorted_difficulties(metadata: pq.FileMetaData, difficulty_column: str) -> pa.ChunkedArray | None:
    """The difficulties of a sorted file, from its metadata: they lie all over the file.

    Args:
        metadata: Of the file.
        difficulty_column: Column of them.

    Returns:
        That column; ``None`` if the metadata has none, or one that does not agree with the statistics of the row
        groups, as it may be where another tool has written the file anew.
    """
    try:
        kept = pa.ipc.open_stream(b64decode((metadata.metadata or {})[_KEPT.encode()])).read_all()
        column = kept.column(difficulty_column)
        places = {metadata.schema.column(i).path: i for i in range(metadata.num_columns)}
        place = places[difficulty_column]
    except (KeyError, ValueError, pa.ArrowInvalid):
        return None
    start = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        rows, found = column.slice(start, group.num_rows), group.column(place).statistics
        some = rows.drop_null()
        ends = (some[0].as_py(), some[-1].as_py()) if len(some) else (None, None)
        if found is None or (found.null_count, found.min, found.max) != (rows.null_count, *ends):
            return None
        start += len(rows)
    return column if start == len(column) else None


def _dumped(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    with pa.ipc.new_stream(buffer, table.schema.remove_metadata()) as stream:
        stream.write_table(table)
    return buffer.getvalue()
