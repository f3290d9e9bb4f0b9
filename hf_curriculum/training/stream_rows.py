"""Rows of a stream as they are stored, nothing decoded, in any number of shares, and what leads back to each."""

from collections.abc import Iterator
from itertools import groupby, islice
from math import gcd
from typing import Any, TypeAlias

import datasets
import numpy as np
import pyarrow as pa
from datasets import Features, IterableDataset, iterable_dataset
from datasets.formatting import PythonFormatter
from datasets.iterable_dataset import (
    BufferShuffledExamplesIterable,
    FormattedExamplesIterable,
    RebatchedArrowExamplesIterable,
    RepeatExamplesIterable,
    StepExamplesIterable,
    _BaseExamplesIterable,
)
from numpy.typing import NDArray

from hf_curriculum.training.sorted_parquet import SortedFile, SortedFiles, in_random_order

_PAGE = 256
_EXACT_STATES = int(datasets.__version__.split(".")[0]) > 4  # those of `map` and `filter`
_FIXED_ORDER = getattr(iterable_dataset, "DataSourcesShufflingDisallowed", ())  # of datasets 5, after skip and take


def steps_of(stream: IterableDataset) -> Iterator[Any]:
    """The steps that a stream is made of, the last one first."""
    yield from _steps(stream._ex_iterable)


def rebuilt(stream: IterableDataset, examples: _BaseExamplesIterable, *, whole: bool = False) -> IterableDataset:
    """The stream with other rows of the same kind.

    Args:
        stream: Gives features, format and access to the Hub.
        examples: The rows.
        whole: Whether to forget that nodes have shares of it.

    Returns:
        Another stream.
    """
    return IterableDataset(
        examples,
        info=stream.info.copy(),
        split=stream.split,
        formatting=stream._formatting,
        distributed=None if whole else stream._distributed,
        token_per_repo_id=stream._token_per_repo_id,
    )


def undivided(stream: IterableDataset, rank: int, world_size: int) -> IterableDataset:
    """The stream for a trainer, which divides it among its processes by itself.

    Args:
        stream: Whole, or divided by ``split_dataset_by_node``.
        rank: Number of this process.
        world_size: Number of processes.

    Returns:
        The whole of a stream that is divided into the parts of these processes; of one that is divided otherwise, the
        part, where one process trains.

    Raises:
        ValueError: If it is divided otherwise, and there are several processes.
    """
    division = stream._distributed
    if division is None:
        return stream
    whole = rebuilt(stream, stream._ex_iterable, whole=True)
    if (division.rank, division.world_size) == (rank, world_size):
        return whole
    if world_size > 1:
        raise ValueError(
            f"The stream is part {division.rank} of {division.world_size} (split_dataset_by_node), but this is "
            f"process {rank} of {world_size}. Pass the whole stream: the trainer divides it."
        )
    strategy = getattr(division, "strategy", "auto")  # cut as `datasets` would cut it
    if strategy == "shards" or (strategy == "auto" and whole.num_shards % division.world_size == 0):
        return whole.shard(division.world_size, division.rank, contiguous=False)
    return rebuilt(stream, StepExamplesIterable(stream._ex_iterable, division.world_size, division.rank), whole=True)


def _steps(examples: Any) -> Iterator[Any]:
    yield examples
    for part in [*getattr(examples, "ex_iterables", []), *filter(None, [getattr(examples, "ex_iterable", None)])]:
        yield from _steps(part)


def _other_generators(examples: Any, value: int) -> Any:
    """The same steps, shuffle buffers with other random numbers, where this version of ``datasets`` can."""
    shift = getattr(iterable_dataset, "shift_ex_examples_rngs", None)
    return examples if shift is None else shift(examples, value)


class _TableRows:
    """Rows of an Arrow table; ``features`` decode them."""

    def __init__(self, table: pa.Table, features: Features | None, token: Any) -> None:
        self._table, self._features, self._token = table, features, token

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def part(self, start: int, stop: int) -> "_TableRows":
        """Rows ``start`` to ``stop``."""
        return _TableRows(self._table.slice(start, stop - start), self._features, self._token)

    def join(self, others: list["_TableRows"]) -> "_TableRows":
        """These rows, and those of the others behind them."""
        tables = [self._table, *(other._table for other in others)]
        return _TableRows(pa.concat_tables(tables, promote_options="default"), self._features, self._token)

    def column(self, name: str) -> "np.ma.MaskedArray[Any, Any]":
        """A column of numbers as float64, masked where it is null."""
        array = self._table.column(name)
        return np.ma.masked_array(array.to_numpy().astype(np.float64), array.is_null().to_numpy())

    def take(self, positions: Any) -> Iterator[dict[str, Any]]:
        """The rows at these positions, a dictionary for each."""
        for start in range(0, len(positions), _PAGE):  # so that Python objects of a page are held, not of all rows
            columns = PythonFormatter().format_batch(self._table.take(pa.array(positions[start : start + _PAGE])))
            names = tuple(columns)
            rows = (dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True))
            yield from map(self._decoded, rows) if self._needs_decoding else rows

    @property
    def _needs_decoding(self) -> bool:
        return self._features is not None and any(self._features._column_requires_decoding.values())

    def _decoded(self, row: dict[str, Any]) -> dict[str, Any]:
        assert self._features is not None
        decoded: dict[str, Any] = self._features.decode_example(row, token_per_repo_id=self._token)
        return decoded


class _DictRows:
    """Rows as dictionaries, of which each copy gets its own."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def part(self, start: int, stop: int) -> "_DictRows":
        return _DictRows(self._rows[start:stop])

    def join(self, others: list["_DictRows"]) -> "_DictRows":
        return _DictRows([row for rows in (self, *others) for row in rows._rows])

    def column(self, name: str) -> "np.ma.MaskedArray[Any, Any]":
        values = [row[name] for row in self._rows]
        null = [value is None for value in values]
        return np.ma.masked_array(np.array([0 if value is None else value for value in values], np.float64), null)

    def take(self, positions: Any) -> Iterator[dict[str, Any]]:
        return (dict(self._rows[position]) for position in positions)


class _SortedRows:
    """Rows of sorted files, of which nothing is read but the difficulty until they are handed out."""

    def __init__(
        self,
        parts: list[tuple[SortedFile, NDArray[np.int64]]],
        column: str,
        features: Features | None,
        token: Any,
    ) -> None:
        self._parts, self._column, self._features, self._token = parts, column, features, token

    def __len__(self) -> int:
        return sum(places.size for _, places in self._parts)

    def part(self, start: int, stop: int) -> "_SortedRows":
        (file, places), *more = self._parts
        assert not more  # a page is of one file
        return self._of([(file, places[start:stop])])

    def join(self, others: list["_SortedRows"]) -> "_SortedRows":
        return self._of([part for rows in (self, *others) for part in rows._parts])

    def _of(self, parts: list[tuple[SortedFile, NDArray[np.int64]]]) -> "_SortedRows":
        return _SortedRows(parts, self._column, self._features, self._token)

    def column(self, name: str) -> "np.ma.MaskedArray[Any, Any]":
        if name != self._column:
            raise KeyError(name)
        tables = [pa.table({name: file.difficulty.take(pa.array(places))}) for file, places in self._parts]
        return _TableRows(pa.concat_tables(tables), None, None).column(name)

    def take(self, positions: Any) -> Iterator[dict[str, Any]]:
        distinct, where = np.unique(np.asarray(positions, dtype=np.int64), return_inverse=True)
        tables, start = [], 0
        for file, places in self._grouped():
            inside = distinct[(distinct >= start) & (distinct < start + places.size)] - start
            if inside.size:
                tables.append(file.table(places[inside]))
            start += places.size
        if tables:
            yield from _TableRows(pa.concat_tables(tables), self._features, self._token).take(where)

    def _grouped(self) -> Iterator[tuple[SortedFile, NDArray[np.int64]]]:
        """The parts, those of a file together, so that it is read once for all."""
        for _, parts in groupby(self._parts, key=lambda part: id(part[0])):
            files, places = zip(*parts, strict=True)
            yield files[0], np.concatenate(places)


Rows: TypeAlias = _TableRows | _DictRows | _SortedRows
"""Some rows, in the form in which the stream has them."""


class Source:
    """The rows of a stream, or a share of them.

    Shards are shared out where their number allows it. Otherwise several readers read the same shards, and take turns
    with the rows: of 3 shards and 2 readers, each reads all and keeps every second row.

    Args:
        stream: Any stream; that a node has a share of it is left out.
        column: Column of the difficulties. Rows of Parquet files that are sorted by it come in random order.

    Attributes:
        examples: What it is made of; without a repetition around it.
        passes: How often it is to be read; ``None`` for ever.
        turns: Readers that take turns with the rows.
        turn: Which of them has these rows.
    """

    def __init__(self, stream: IterableDataset, column: str) -> None:
        self.examples, self._features, self._token = stream._ex_iterable, stream.features, stream._token_per_repo_id
        self.passes: int | None = 1
        if isinstance(self.examples, RepeatExamplesIterable):  # so that no block bridges two passes
            self.examples, self.passes = self.examples.ex_iterable, self.examples.num_times
        self._column, self.examples = column, in_random_order(self.examples, column)
        self.turns, self.turn = 1, 0

    def split(self, count: int, index: int) -> "Source":
        """One share of ``count``; all of them together are these rows, each once.

        Args:
            count: Number of shares.
            index: Which one.

        Returns:
            The share.
        """
        groups = gcd(count, self.examples.num_shards)
        share = self._with(self.examples.shard_data_sources(groups, index % groups, contiguous=False))
        share.turns, share.turn = self.turns * count // groups, self.turn + self.turns * (index // groups)
        return share

    def shuffled(self, seed: int) -> "Source":
        """The same rows, shards in another order, shuffle buffers with other random numbers."""
        try:
            examples = self.examples.shuffle_data_sources(np.random.default_rng(seed))
        except _FIXED_ORDER:
            examples = self.examples
        return self._with(_other_generators(examples, seed % 2**16))

    def resharded(self) -> "Source":
        """The same rows, in as many shards as the files allow."""
        return self._with(self.examples.reshard_data_sources())

    def _with(self, examples: Any) -> "Source":
        other = Source.__new__(Source)
        other.__dict__ = {**self.__dict__, "examples": examples}
        return other

    @property
    def is_table(self) -> bool:
        """Whether rows come from Arrow tables, and are decoded as :meth:`Rows.take` hands them out."""
        return self.examples.iter_arrow is not None

    @property
    def features(self) -> Features | None:
        """Features of the rows that are handed out; ``None`` where the dataset has yet to apply them."""
        return self._features if self.is_table else self.examples.features

    @property
    def forgets(self) -> bool:
        """Whether a state does not lead back to the same rows: a shuffle buffer is not part of it."""
        if not self.is_table and not _EXACT_STATES:
            return True
        return any(isinstance(part, BufferShuffledExamplesIterable) for part in _steps(self.examples))

    def start(self) -> Any:
        """The examples, from the first on, with a state."""
        examples = self.examples
        if self._skips:
            examples._init_state_dict()
            return examples
        if self.turns > 1:
            examples = StepExamplesIterable(examples, self.turns, self.turn)
        if self.is_table:
            examples = RebatchedArrowExamplesIterable(examples, batch_size=_PAGE)
            examples = FormattedExamplesIterable(examples, None, self._features, self._token)
        examples._init_state_dict()
        return examples

    @property
    def _skips(self) -> bool:
        return isinstance(self.examples, SortedFiles) and self.examples.can_skip

    def pages(self, examples: Any) -> Iterator[Rows]:
        """A few hundred rows at a time."""
        if self._skips:
            for part in examples.pages(_PAGE, self.turns, self.turn):
                yield _SortedRows([part], self._column, self._features, self._token)
            return
        if self.is_table:
            features = None if self.examples.is_typed else self._features
            for _, table in examples.iter_arrow():
                yield _TableRows(table, features, self._token)
            return
        rows = (row for _, row in examples)
        while page := list(islice(rows, _PAGE)):
            yield _DictRows(page)


class Reading:
    """One pass over a source, from a state on."""

    def __init__(self, source: Source, state: dict[str, Any]) -> None:
        self._examples = source.start()
        if state["source"] is not None:
            self._examples.load_state_dict(state["source"])
        self._forgets = source.forgets
        self._pages = source.pages(self._examples)
        self._page: Rows | None = None
        self._page_state, self._used, self._earlier = state["source"], 0, 0
        self._skip(state["skip"])

    def _skip(self, rows: int) -> None:
        while rows and self.more():
            assert self._page is not None
            step = min(rows, len(self._page) - self._used)
            self._used, rows = self._used + step, rows - step

    def more(self) -> bool:
        """Whether there is another row."""
        while self._page is None or self._used == len(self._page):
            if self._forgets:
                self._earlier += self._used
            else:
                self._page_state = self._examples.state_dict()
            self._page, self._used = next(self._pages, None), 0
            if self._page is None:
                return False
        return True

    @property
    def state(self) -> dict[str, Any]:
        """What leads back to the next row, right after :meth:`more`."""
        return {"source": self._page_state, "skip": self._earlier + self._used}

    def read(self, count: int) -> Rows:
        """The next ``count`` rows, or as many as there are, right after :meth:`more`."""
        parts: list[Any] = []
        while count and self.more():
            assert self._page is not None
            parts.append(self._page.part(self._used, self._used + count))
            self._used, count = self._used + len(parts[-1]), count - len(parts[-1])
        return parts[0].join(parts[1:]) if len(parts) > 1 else parts[0]
