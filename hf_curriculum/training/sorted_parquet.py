"""Parquet files whose rows are sorted by difficulty: read in random order, and no more of them than is wanted.

Sorted rows cannot be read as they lie: a block of them would hold one band of difficulties. So the rows of a file come
in an order that is drawn for it, and since the difficulties alone say which rows are trained on, the row groups of
which none is are not read. A reader holds the row groups that it has read until it leaves the file.
"""

import logging
import zlib
from collections.abc import Iterable, Iterator
from copy import copy, deepcopy
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from datasets import DownloadConfig, iterable_dataset
from datasets.iterable_dataset import ArrowExamplesIterable, _BaseExamplesIterable
from datasets.packaged_modules.parquet.parquet import Parquet
from datasets.table import table_cast
from datasets.utils.file_utils import is_local_path, xopen
from fsspec.caching import BaseCache
from fsspec.spec import AbstractBufferedFile
from numpy.typing import NDArray

from hf_curriculum.data import sorted_difficulties

logger = logging.getLogger(__name__)
# Ranges that touch are read at once, and nothing between others.
_SCAN = ds.ParquetFragmentScanOptions(pre_buffer=True, cache_options=pa.CacheOptions(hole_size_limit=0))
_FORMAT = ds.ParquetFileFormat(default_fragment_scan_options=_SCAN)
_MANY = "ex_iterables"
_ANY_ORDER = tuple(
    getattr(iterable_dataset, name)
    for name in (
        "BufferShuffledExamplesIterable",
        "CyclingMultiSourcesExamplesIterable",
        "FilteredExamplesIterable",
        "FormattedExamplesIterable",
        "MappedExamplesIterable",
        "RebatchedArrowExamplesIterable",
        "RepeatExamplesIterable",
        "SelectColumnsIterable",
        "VerticallyConcatenatedMultiSourcesExamplesIterable",
    )
)
"""Steps that mean the same in whatever order rows come."""


class SortedFile:
    """One file: the difficulties of its rows, in the order in which they are handed out, and the rows on demand.

    Args:
        builder: Of ``datasets``; knows columns, features and the token.
        path: Path or URL.
        groups: Numbers of the row groups to read; ``None`` for all.
        column: Column of the difficulties.
        seed: Of the order.
    """

    def __init__(self, builder: Parquet, path: str, groups: list[int] | None, column: str, seed: int) -> None:
        self._fragment = _FORMAT.make_fragment(_open(builder, path))
        self._builder = builder
        metadata = self._fragment.metadata
        self._groups = list(range(metadata.num_row_groups)) if groups is None else groups
        sizes = [metadata.row_group(group).num_rows for group in self._groups]
        self._starts = np.r_[0, np.cumsum(sizes, dtype=np.int64)]
        self.order = row_order(path, int(self._starts[-1]), seed)
        self.difficulty = self._difficulty(column).take(pa.array(self.order))
        self._tables: dict[int, pa.Table] = {}

    def _difficulty(self, column: str) -> pa.ChunkedArray:
        whole = len(self._groups) == self._fragment.metadata.num_row_groups
        kept = sorted_difficulties(self._fragment.metadata, column) if whole else None
        return self._table(range(len(self._groups)), [column]).column(column) if kept is None else kept

    def table(self, places: NDArray[np.int64]) -> pa.Table:
        """Some of the rows.

        Args:
            places: In the order of the file, shape ``(n,)``, at least one.

        Returns:
            As many rows.
        """
        rows = self.order[places]
        groups = np.searchsorted(self._starts, rows, side="right") - 1
        needed, where = np.unique(groups, return_inverse=True)
        self._read([group for group in needed.tolist() if group not in self._tables])
        held = pa.concat_tables([self._tables[group] for group in needed.tolist()])
        starts = np.r_[0, np.cumsum(np.diff(self._starts)[needed])][:-1]
        return held.take(pa.array(starts[where] + rows - self._starts[groups]))

    def _read(self, groups: list[int]) -> None:
        if not groups:
            return
        table, start = self._table(groups, self._builder.config.columns), 0
        if (features := self._builder.info.features) is not None:
            table = table_cast(table, features.arrow_schema)
        for group in groups:
            size = int(self._starts[group + 1] - self._starts[group])
            self._tables[group], start = table.slice(start, size), start + size

    def _table(self, groups: Iterable[int], columns: list[str] | None) -> pa.Table:
        wanted = self._fragment.subset(row_group_ids=[self._groups[group] for group in groups])
        return wanted.to_table(columns=columns, use_threads=False)


class SortedFiles(_BaseExamplesIterable):
    """The first step of a stream, in the place of that which ``datasets`` made: reads sorted files in random order.

    Args:
        files: What ``datasets`` made.
        column: Column of the difficulties.
        seed: Of the order of the rows of a file.
    """

    def __init__(self, files: ArrowExamplesIterable, column: str, seed: int = 0) -> None:
        super().__init__()
        self._files, self._column, self._seed = _whole_files(files), column, seed

    @property
    def _builder(self) -> Parquet:
        return self._files.generate_tables_fn.__self__

    @property
    def can_skip(self) -> bool:
        """Whether rows can be read on demand."""
        config = self._builder.config
        return config.filters is None and (config.columns is None or self._column in config.columns)

    @property
    def iter_arrow(self) -> Any:
        """Whole files, for steps that see all rows."""
        return self._iter_arrow

    @property
    def sleep_on_threads_shutdown(self) -> bool:
        """As it was."""
        return bool(getattr(self._files, "sleep_on_threads_shutdown", False))

    @property
    def num_shards(self) -> int:
        """Number of files."""
        return int(self._files.num_shards)

    def shuffle_data_sources(self, generator: np.random.Generator) -> "SortedFiles":
        """The files in another order, and the rows of each.

        Args:
            generator: Says which; it stays as it is.

        Returns:
            Other files.
        """
        seed = int(deepcopy(generator).integers(2**63))
        return SortedFiles(self._files.shuffle_data_sources(generator), self._column, seed)

    def shard_data_sources(self, num_shards: int, index: int, contiguous: bool = True) -> "SortedFiles":
        """Some of the files.

        Args:
            num_shards: Number of shares.
            index: Which one.
            contiguous: Whether a share is of files that follow each other.

        Returns:
            The share.
        """
        return SortedFiles(self._files.shard_data_sources(num_shards, index, contiguous), self._column, self._seed)

    def reshard_data_sources(self) -> "SortedFiles":
        """These files: a part of one is one band of difficulties."""
        return self

    def _init_state_dict(self) -> dict[str, Any]:
        self._state_dict = {"shard_idx": 0, "shard_example_idx": 0, "passed": 0, "type": type(self).__name__}
        return self._state_dict

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for key, table in self._iter_arrow():
            for row in table.to_pylist():
                yield key, row

    def _iter_arrow(self) -> Iterator[tuple[int, pa.Table]]:
        state: dict[str, Any] = self._state_dict or {"shard_idx": 0, "shard_example_idx": 0}
        for number in range(state["shard_idx"], self.num_shards):
            if not state["shard_example_idx"]:
                file = self._files.shard_data_sources(self.num_shards, number)
                tables = [table for _, table in file.generate_tables_fn(**file.kwargs)]
                if tables:
                    table = pa.concat_tables(tables)
                    state["shard_example_idx"] = len(table)
                    yield number, table.take(pa.array(row_order(file.kwargs["files"][0], len(table), self._seed)))
            state |= {"shard_idx": number + 1, "shard_example_idx": 0}

    def pages(self, size: int, turns: int, turn: int) -> Iterator[tuple[SortedFile, NDArray[np.int64]]]:
        """Places in files of the next few rows, of which none is read.

        Args:
            size: Rows of a page.
            turns: Readers that take turns with the rows.
            turn: Which of them this one is.

        Yields:
            A file, and places in its order.
        """
        state: dict[str, Any] = self._state_dict
        for number in range(state["shard_idx"], self.num_shards):
            kwargs = self._files.shard_data_sources(self.num_shards, number).kwargs
            (path,), (groups,) = kwargs["files"], kwargs.get("row_groups_list") or [None]
            file = SortedFile(self._builder, path, groups, self._column, self._seed)
            while (start := state["shard_example_idx"]) < file.order.size:
                stop = min(start + size * turns, file.order.size)
                state["shard_example_idx"] = stop
                places = np.arange(start, stop)
                places = places[(state["passed"] + places) % turns == turn]
                if places.size:
                    yield file, places
            state |= {
                "shard_idx": number + 1,
                "shard_example_idx": 0,
                "passed": state["passed"] + file.order.size,
            }


def row_order(path: str, rows: int, seed: int) -> NDArray[np.int64]:
    """The order in which the rows of a sorted file are handed out.

    Args:
        path: Of the file, of which the name counts.
        rows: Number of them.
        seed: Of the pass.

    Returns:
        Their numbers, shape ``(rows,)``.
    """
    name = path.split("::")[0].replace("\\", "/").rsplit("/", 1)[-1]
    return np.random.default_rng([seed, zlib.crc32(name.encode())]).permutation(rows)


def in_random_order(examples: Any, column: str) -> Any:
    """The steps of a stream, its rows in random order where they come from files sorted by difficulty.

    Args:
        examples: The last of the steps.
        column: Column of the difficulties.

    Returns:
        Other steps; or the same, if no file is sorted, which the first one tells. Where a step counts rows, such as
        ``take``, their order stays and a warning says so.
    """
    if _is_sorted(examples, column):
        return SortedFiles(examples, column)
    if isinstance(examples, _ANY_ORDER) and not getattr(examples, "with_indices", False):
        before = _before(examples)
        changed = [in_random_order(step, column) for step in before]
        if any(new is not old for new, old in zip(changed, before, strict=True)):
            examples = copy(examples)
            vars(examples).update({_MANY: changed} if _MANY in vars(examples) else {"ex_iterable": changed[0]})
        return examples
    if any(_is_sorted(step, column) for step in _below(examples)):
        logger.warning(
            "The stream reads files that are sorted by %r, and %s needs that order: blocks will hold one band of "
            "difficulties each, and the schedule is not kept. Do it to what the curriculum hands on, or to files that "
            "are not sorted.",
            column,
            type(examples).__name__.removesuffix("Iterable").removesuffix("Examples"),
        )
    return examples


def _before(examples: Any) -> list[Any]:
    """The steps right before a step."""
    return [*getattr(examples, _MANY, []), *filter(None, [getattr(examples, "ex_iterable", None)])]


def _below(examples: Any) -> Iterator[Any]:
    for step in _before(examples):
        yield step
        yield from _below(step)


def _is_sorted(examples: Any, column: str) -> bool:
    """Whether these are Parquet files, the first of which says that it is sorted by this column."""
    builder = getattr(getattr(examples, "generate_tables_fn", None), "__self__", None)
    if not isinstance(examples, ArrowExamplesIterable) or not isinstance(builder, Parquet):
        return False
    try:
        with _open(builder, examples.kwargs["files"][0]) as file:
            metadata = pq.read_metadata(file)
    except (OSError, pa.ArrowInvalid):  # what reads the file will say what is wrong with it
        return False
    by: Any = metadata.row_group(0).sorting_columns if metadata.num_row_groups else ()
    return bool(by) and not by[0].descending and metadata.schema.column(by[0].column_index).path == column


def _open(builder: Parquet, path: str) -> Any:
    """The file, of which no more is read than is asked for."""
    if is_local_path(path):
        return pa.OSFile(path)
    access = DownloadConfig(token=builder.token, storage_options=builder.storage_options)
    file = xopen(path, "rb", download_config=access)
    if isinstance(file, AbstractBufferedFile):
        file.cache = BaseCache(file.blocksize, file._fetch_range, file.size)
    return file


def _whole_files(files: ArrowExamplesIterable) -> ArrowExamplesIterable:
    """The files, each with all its row groups together, which ``reshard`` parts."""
    parts: dict[str, list[int] | None] = {}
    for path, groups in zip(files.kwargs["files"], files.kwargs.get("row_groups_list") or [], strict=False):
        parts[path] = None if groups is None else [*(parts.get(path) or []), *groups]
    if len(parts) in (0, len(files.kwargs["files"])):
        return files
    files = copy(files)
    files.kwargs = {**files.kwargs, "files": [*parts], "row_groups_list": [*parts.values()]}
    return files
