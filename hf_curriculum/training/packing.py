"""Packs of rows of similar difficulty, made by TRL's own packing."""

import logging
from bisect import bisect_left, insort

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from accelerate import PartialState
from datasets import Dataset, IterableDataset
from numpy.typing import NDArray

from hf_curriculum.data import arrow_column, read_difficulty

logger = logging.getLogger(__name__)
_TRL_WINDOW = 1000  # rows that TRL packs together: the batch of `Dataset.map`
_SMALLEST_WINDOW = 125
_MORE_PACKS = 1.005  # at most, than TRL makes
_SAMPLE = 50_000  # rows of which packs are counted


def pack_by_difficulty(
    dataset: Dataset, column: str, max_length: int, strategy: str, num_proc: int | None = None
) -> Dataset:
    """Pack rows with rows of similar difficulty; a pack has the mean difficulty of its tokens.

    The rows are sorted by difficulty and packed by TRL's ``pack_dataset``, which packs windows of rows. By the
    strategies that keep rows whole, the smallest window is taken that makes at most 0.5 % more packs than TRL makes of
    the rows as they stand: where difficulty follows length, rows of one difficulty do not fit together.

    Args:
        dataset: Tokenised rows: ``input_ids`` and, of the same lengths, ``labels`` or masks.
        column: Of difficulties.
        max_length: Tokens of a pack.
        strategy: One of TRL's.
        num_proc: Processes that pack.

    Returns:
        The packs, from low to high difficulty, with the column.

    Raises:
        TypeError: If ``dataset`` is a stream.
        ValueError: If the column is missing, cannot rank rows or lacks the difficulty of a row, or ``max_length`` is
            ``None``.
    """
    from trl.data_utils import pack_dataset

    if isinstance(dataset, IterableDataset):
        raise TypeError("Packs of a stream's rows have no difficulty: set packing=False, or pass a datasets.Dataset.")
    if max_length is None:
        raise ValueError("packing=True needs max_length, the tokens of a pack.")
    difficulty = read_difficulty(dataset, column)
    if missing := int(np.ma.getmaskarray(difficulty).sum()):
        raise ValueError(
            f"{missing} of {difficulty.size} rows have no difficulty, so a pack with one of them would have none: "
            f"drop them, dataset.filter(lambda row: row[{column!r}] is not None), or set packing=False."
        )
    order = np.argsort(difficulty, kind="stable")
    lengths = pc.list_value_length(arrow_column(dataset, "input_ids")).to_numpy(zero_copy_only=False)
    window = _TRL_WINDOW if strategy == "wrapped" else _window(lengths, order, max_length, strategy)
    kept = ["labels"] if "labels" in dataset.column_names else ["completion_mask", "assistant_masks"]
    kept = [name for name in ("input_ids", *kept) if name in dataset.column_names]
    with PartialState().main_process_first():
        tokens = dataset.select_columns([*kept, column]).select(order)
        tokens = tokens.with_format("arrow").map(
            _spread, batched=True, fn_kwargs={"column": column}, num_proc=num_proc
        )
        packs = pack_dataset(tokens, max_length, strategy, {"batch_size": window, "num_proc": num_proc})
        packs = packs.with_format("arrow").map(_average, batched=True, fn_kwargs={"column": column}, num_proc=num_proc)
    logger.info("Packed %d rows into %d packs, %d at a time.", lengths.size, len(packs), min(window, lengths.size))
    return packs.with_format(None)


def count_packs(lengths: NDArray[np.integer], max_length: int) -> int:
    """Packs that best-fit-decreasing makes of rows of these lengths, none longer than ``max_length``.

    Args:
        lengths: Tokens of each row, shape ``(n,)``.
        max_length: Tokens of a pack.

    Returns:
        Their number.
    """
    spaces: list[int] = []  # sorted
    packs = 0
    for length in sorted(lengths.tolist(), reverse=True):
        fitting = bisect_left(spaces, length)
        packs += fitting == len(spaces)
        space = (spaces.pop(fitting) if fitting < len(spaces) else max_length) - length
        if space:
            insort(spaces, space)
    return packs


def _window(lengths: NDArray[np.integer], order: NDArray[np.intp], max_length: int, strategy: str) -> int:
    """Rows that are packed together."""
    allowed = _MORE_PACKS * _packs_per_row(lengths, _TRL_WINDOW, max_length, strategy)
    window, ranked = _SMALLEST_WINDOW, lengths[order]
    while window < lengths.size and _packs_per_row(ranked, window, max_length, strategy) > allowed:
        window *= 2
    return window


def _packs_per_row(lengths: NDArray[np.integer], window: int, max_length: int, strategy: str) -> float:
    """Of as many windows, evenly spread over the rows, as a sample has."""
    starts = np.arange(0, lengths.size, window)
    starts = starts[:: max(1, lengths.size // _SAMPLE)]
    parts = [lengths[start : start + window] for start in starts]
    packs = sum(count_packs(_fragments(part, max_length, strategy), max_length) for part in parts)
    return packs / sum(part.size for part in parts)


def _fragments(lengths: NDArray[np.integer], max_length: int, strategy: str) -> NDArray[np.integer]:
    lengths = lengths[lengths > 0]
    if strategy != "bfd_split":
        return np.minimum(lengths, max_length)
    whole = np.full((lengths // max_length).sum(), max_length)
    rest = lengths % max_length
    return np.concatenate([whole, rest[rest > 0]])


def _spread(rows: pa.Table, column: str) -> pa.Table:
    """Give each token of a row the row's difficulty, so that packing moves it with the token."""
    tokens = rows["input_ids"].combine_chunks()
    lengths = pc.list_value_length(tokens).to_numpy(zero_copy_only=False)
    difficulty = rows[column].to_numpy().astype(np.float64)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(tokens.offsets.type.to_pandas_dtype())
    lists = type(tokens).from_arrays(offsets, np.repeat(difficulty, lengths))
    return rows.set_column(rows.column_names.index(column), column, lists)


def _average(packs: pa.Table, column: str) -> pa.Table:
    """The mean over the tokens of each pack."""
    lists = packs[column].combine_chunks()
    lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    starts = np.cumsum(lengths) - lengths
    means = np.add.reduceat(lists.flatten().to_numpy(), starts) / lengths
    return packs.set_column(packs.column_names.index(column), column, pa.array(means))
