"""The curriculum on a stream: rows that pass by are handed on as often as they are drawn.

**What is drawn.** With ``w = exp(-difficulty / tau)``, a row is handed on ``Poisson(w / E[w])`` times. In expectation
as many rows come out as go in; a row is trained on as often as :class:`CurriculumSampler` would draw it, and the share
of distinct rows of a pass is ``E[1 - exp(-w / E[w])]``, the effective fraction. ``E[w]``, and the temperature that
gives a fraction, need the distribution of the difficulties alone: 257 quantiles of it. After the warm-up each row is
handed on once.

**The clock.** A reader counts the rows that it has handed out: row ``n`` of one of ``R`` readers is trained on in step
``n * R / total_batch_size``, exactly where all readers take turns, whatever was drawn. So neither chance nor
difficulties that drift away from the quantiles move the schedule.

**Blocks.** A reader takes a block of rows, draws the copies of each at the temperature of its own step, and hands them
out in random order; a block is the only memory, and takes the place of a shuffle buffer. During the warm-up a block is
as short as the schedule needs (:meth:`CopyLaw.block_rows`), and it ends where the warm-up does.

**Random numbers.** Those of a block follow from (seed, number and name of the reader, rows that it has read before):
not from global generators, the time, or what other readers do.

**Readers.** A process, or each of its loader's workers, is a reader. ``datasets`` tells a stream into how many parts
it is cut, whether by ``shard``, ``split_dataset_by_node``, Accelerate or a loader's workers, and so each reader knows
``R``. Shards are shared out where their number allows it; else readers share shards and take turns with the rows
(:class:`Source`), so that none is idle and no row of a pass is read by two.

**State.** Where the block starts in the source; the rows read and handed out before it, and those read before its
pass; the rows of it handed out since: the block is read and drawn again. It is the ``state_dict`` of the dataset, and
what a trainer keeps in its checkpoints. A shuffle buffer upstream is not part of any state: there the pass is read
again from its start.
"""

import logging
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import numpy as np
from datasets import IterableDataset, Value
from datasets.iterable_dataset import _BaseExamplesIterable
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import get_worker_info

from hf_curriculum.data import DIFFICULTY, difficulty_quantiles, provenance, require_column, suggesting
from hf_curriculum.training.config import CurriculumConfig, require_config
from hf_curriculum.training.copies import CopyLaw
from hf_curriculum.training.journal import Journal
from hf_curriculum.training.stream_rows import Reading, Rows, Source, rebuilt, steps_of

logger = logging.getLogger(__name__)
_SAMPLE = 8192
_DIVISIBLE = 2880
_MOST_NULLS = 1 << 17
START: dict[str, Any] = {"source": None, "skip": 0, "pass": 0, "began": 0, "read": 0, "emitted": 0, "handed": 0}
_RANDOM_ORDER = 1  # the numbers of that order are none that copies are drawn with
"""State of a reader before its first row."""


@suggesting
def curriculum_stream(
    stream: IterableDataset,
    config: CurriculumConfig | None = None,
    *,
    total_batch_size: int,
    total_steps: int | None = None,
    quantiles: ArrayLike | None = None,
    block_size: int | None = None,
    seed: int = 0,
) -> IterableDataset:
    """A stream whose rows come as often as the curriculum draws them: few and easy ones often, then each once.

    It is one pass over ``stream``, for any loop; for more, pass ``stream.repeat(n)``. Where the stream is divided
    (``split_dataset_by_node``, ``shard``, Accelerate, workers of a loader), before or after, each part is a curriculum
    over its rows and all follow the same schedule. ``state_dict`` and ``load_state_dict`` resume it exactly.

    Media are decoded after the copies are drawn. What ``stream.map`` does is done before: where that is costly, map
    the result instead.

    Args:
        stream: Has a difficulty column, unless ``config.order`` is ``"random"``. Its order should be random with
            respect to difficulty.
        config: The curriculum; the default is the paper's.
        total_batch_size: Rows of one optimiser step: batch per device x processes x gradient accumulation.
        total_steps: Optimiser steps of the training; needed when ``config.warmup_steps`` is a share.
        quantiles: Distribution of the difficulties, lowest and highest first and last, at the levels of
            ``DifficultyScorer.quantiles_``. Default that which the column's provenance or the scorer that the stream
            was mapped with keeps; else the first 8,192 rows are read for it, which a warning says.
        block_size: Rows that a reader holds, and shuffles. Default 4,096, and during the warm-up as few as the
            schedule needs.
        seed: Seed of the draws, used where ``config.seed`` is ``None``.

    Returns:
        A stream with the same columns.

    Raises:
        TypeError: If ``stream`` is not a ``datasets.IterableDataset``.
        ValueError: If the column is missing, null in all of the first rows, or has a value that is negative, NaN or
            infinite (while it is read), a count is not positive, ``block_size`` too large for the warm-up, or
            ``total_steps`` missing.

    Example:
        >>> from datasets import Dataset
        >>> stream = Dataset.from_dict({"difficulty": np.linspace(0, 1, 1000)}).to_iterable_dataset()
        >>> drawn = curriculum_stream(stream, total_batch_size=4, total_steps=250, quantiles=[0, 0.5, 1])
        >>> next(iter(drawn))["difficulty"] < 0.5
        True
    """
    require_stream(stream)
    config = require_config(config, "config")
    require_difficulty(stream, config.difficulty_column)
    law = CopyLaw(
        stream_quantiles(stream, config.difficulty_column) if quantiles is None else quantiles,
        config,
        total_batch_size=total_batch_size,
        warmup_steps=config.resolve_warmup(total_steps),
        block_size=block_size,
    )
    return with_copies(stream, law, seed if config.seed is None else config.seed)


def with_copies(
    stream: IterableDataset, law: CopyLaw, seed: int, *, endless: bool = False, journal: Journal | None = None
) -> IterableDataset:
    """The stream with as many copies of each row as the law says.

    Args:
        stream: The rows.
        law: Says how often each is drawn.
        seed: Seed of the draws.
        endless: Begin again whenever the stream ends.
        journal: Where readers start, and note what they do, if a trainer wants it.

    Returns:
        A stream with the same columns.
    """
    if threads := getattr(next(steps_of(stream)), "decoding_pool", None):  # decodes ahead, before the draw
        copies = with_copies(stream.decode(False), law, seed, endless=endless, journal=journal)
        return copies.decode(num_threads=threads.max_workers)
    source = Source(stream, law.config.difficulty_column or DIFFICULTY)
    return rebuilt(stream, _Copies(source, law, seed % 2**64, None if endless else source.passes, journal))


def require_stream(stream: Any) -> None:
    """Raise unless it is a stream of ``datasets``.

    Raises:
        TypeError: For anything else.
    """
    if not isinstance(stream, IterableDataset):
        raise TypeError(
            f"Expected a datasets.IterableDataset, got {type(stream).__name__}. A Dataset becomes one by "
            "to_iterable_dataset(num_shards=...); but its rows can be drawn by number: use CurriculumSampler."
        )


def require_difficulty(stream: IterableDataset, column: str | None) -> None:
    """Raise if the stream's features, where it knows them, have no such column of numbers.

    Args:
        stream: Any.
        column: Its name; ``None`` where none is read.

    Raises:
        ValueError: If so.
    """
    if stream.features is None or column is None:
        return
    require_column(stream, column, made_by="stream.map(scorer, batched=True)")
    kind = stream.features[column]
    if not isinstance(kind, Value) or not kind.dtype.startswith(("int", "uint", "float")):
        raise ValueError(f"Column {column!r} holds {getattr(kind, 'dtype', kind)}, not numbers.")


def stream_quantiles(stream: IterableDataset, column: str | None) -> ArrayLike:
    """Quantiles of a stream's difficulties, from the column's provenance, the scorer that made it, or the first rows.

    Args:
        stream: Has the column.
        column: Its name; ``None`` for the numbers that ``order="random"`` draws.

    Returns:
        257 numbers in ascending order, or as many as the record has.

    Raises:
        ValueError: If the column is missing, null in all of the first rows, or has a value that cannot rank.
    """
    if column is None:
        return [0.0, 1.0]
    if stream.features is not None and (kept := provenance(stream, column).get("quantiles")):
        return kept
    for step in steps_of(stream):
        if kept := getattr(getattr(step, "function", None), "quantiles_", None):
            return kept
    reading = Reading(Source(stream, column), START)
    if not reading.more():
        raise ValueError("The stream has no rows.")
    rows = reading.read(_SAMPLE)
    difficulty = _difficulty(rows, column, 0)
    if not difficulty.count():
        raise ValueError(f"Column {column!r} is null in the first {len(rows)} rows of the stream.")
    logger.warning(
        "Nothing says how the difficulties of the stream are distributed: the first %d rows do. If their order is not "
        "random, pass quantiles.",
        len(rows),
    )
    return difficulty_quantiles(difficulty)


def _difficulty(rows: Rows, column: str, first: int) -> "np.ma.MaskedArray[Any, Any]":
    """The difficulties of rows, of which the reader has read ``first`` before; float64, masked where null."""
    try:
        values = rows.column(column)
    except KeyError:
        raise ValueError(
            f"The stream's rows have no column {column!r}. Score them on the way with `stream.map(scorer, "
            "batched=True)`, or name another column in CurriculumConfig(difficulty_column=...)."
        ) from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"Column {column!r} of the stream does not hold one number a row: {error}") from error
    bad = np.flatnonzero(~(np.isfinite(values.data) & (values.data >= 0)) & ~values.mask)
    if bad.size:
        raise ValueError(
            f"Column {column!r} is {values.data[bad[0]]} in row {first + bad[0]} of the stream; difficulties must be "
            "finite and >= 0, low = easy. Drop such rows with stream.filter, or shift the column."
        )
    return values


class _Copies(_BaseExamplesIterable):
    """One reader: the step of a ``datasets`` pipeline that hands rows on."""

    def __init__(
        self,
        source: Source,
        law: CopyLaw,
        seed: int,
        passes: int | None,
        journal: Journal | None,
        readers: int = 1,
        reader: int = 0,
    ) -> None:
        super().__init__()
        # Not named ex_iterable: workers would shift the random numbers of shuffle buffers, each in its own way.
        self.source = source
        self.law, self.seed, self.passes, self.journal = law, seed, passes, journal
        self.readers, self.reader = readers, reader
        self._division: tuple[_Copies, int, int] | None = None

    @property
    def is_typed(self) -> bool:
        return self.source.is_table or self.source.examples.is_typed

    @property
    def features(self) -> Any:
        return self.source.features

    @property
    def sleep_on_threads_shutdown(self) -> bool:
        return bool(getattr(self.source.examples, "sleep_on_threads_shutdown", False))

    @property
    def num_shards(self) -> int:
        # Rows can be dealt to any number of readers; one that has many divisors passes all checks on the way.
        shards: int = self.source.examples.num_shards
        return shards * -(-_DIVISIBLE // shards)

    def _with(self, **changed: Any) -> "_Copies":
        names = ("source", "law", "seed", "passes", "journal", "readers", "reader")
        return _Copies(**{name: getattr(self, name) for name in names} | changed)

    def shard_data_sources(self, num_shards: int, index: int, contiguous: bool = True) -> "_Copies":
        share = self._with(
            source=self.source.split(num_shards, index),
            readers=self.readers * num_shards,
            reader=self.reader + self.readers * index,
        )
        share._division = self, num_shards, index
        return share

    def shuffle_data_sources(self, generator: np.random.Generator) -> "_Copies":
        if self.journal is not None:  # a trainer's epoch is the whole training, and each pass is shuffled anew
            return self
        seed = int(deepcopy(generator).integers(2**63))
        return self._with(source=self.source.shuffled(seed), seed=self.seed ^ seed)

    def reshard_data_sources(self) -> "_Copies":
        return self._with(source=self.source.resharded())

    def _init_state_dict(self) -> dict[str, Any]:
        self._state_dict = dict(START)
        return self._state_dict

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        state = dict(START) if self._state_dict is None else self._state_dict
        return self._in_turn()._read(state)

    def _in_turn(self) -> "_Copies":
        """The reader whose turn it is: a loader begins with its first worker, where another one was to go on."""
        turn = 0 if self.journal is None else self.journal.turn
        if not turn or self._division is None:
            return self
        whole, count, index = self._division
        return whole.shard_data_sources(count, (index + turn) % count)

    def _read(self, state: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
        self.law.check_block(self.readers)
        if self.journal is not None:
            state |= self.journal.state(self.reader)
        elif self.reader == 0 and self.source.turns > 1:
            logger.warning(turns_warning(self.source.turns, self.readers))
        while self.passes is None or state["pass"] < self.passes:
            yield from self._read_pass(state)
            state |= {"source": None, "skip": 0, "pass": state["pass"] + 1, "began": state["read"]}
            # Where it should end there, chance may let it end before; and what begins again is told of once.
            in_warmup = state["emitted"] < 0.9 * self.law.warmup_rows(self.readers)
            if in_warmup and self.reader == 0 and state["pass"] == (self.passes or 1):
                logger.warning(
                    "The stream ended after %d rows of each reader, and %s: the warm-up has %d steps of %d rows.",
                    state["read"],
                    "the curriculum is not over" if state["pass"] == self.passes else "begins again",
                    self.law.warmup_steps,
                    self.law.total_batch_size,
                )

    def _read_pass(self, state: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Rows of a pass, from the state on, which is that of the row handed out last."""
        anew, read, ranked = state["source"] is None and not state["skip"], state["read"], False
        number = state["pass"]
        reading = Reading(self.source.shuffled(self.seed + number) if number else self.source, state)
        while reading.more():
            state |= reading.state
            rows = reading.read(self.law.block_rows(state["emitted"], self.readers))
            difficulty = self._difficulty(rows, state["read"])
            ranked |= bool(difficulty.count()) or state["emitted"] >= self.law.warmup_rows(self.readers)
            if not ranked and state["read"] - read > _MOST_NULLS:
                break
            drawn = self._draw(difficulty, state)
            for row in rows.take(drawn[state["handed"] :]):
                state["handed"] += 1
                yield state["emitted"] + state["handed"], row
            state |= {"read": state["read"] + len(rows), "emitted": state["emitted"] + drawn.size, "handed": 0}
        state |= reading.state
        if anew and state["read"] == read:
            raise ValueError("The stream has no rows.")
        if anew and not ranked:
            raise ValueError(
                f"Column {self.law.config.difficulty_column!r} is null in all {state['read'] - read} rows that were "
                "read: there is none to train on while the curriculum warms up."
            )

    def _difficulty(self, rows: Rows, read: int) -> "np.ma.MaskedArray[Any, Any]":
        """Of a block, behind the ``read`` rows before it; without a column, numbers at random."""
        if (column := self.law.config.difficulty_column) is not None:
            return _difficulty(rows, column, read)
        numbers = np.random.default_rng([*self._key(read), _RANDOM_ORDER]).random(len(rows))
        return np.ma.masked_array(numbers, mask=np.zeros(len(rows), bool))

    def _key(self, read: int) -> list[int]:
        """What the random numbers of a block follow from."""
        return [self.seed, self.readers, self.reader, read]

    def _draw(self, difficulty: "np.ma.MaskedArray[Any, Any]", state: dict[str, Any]) -> NDArray[np.int64]:
        info = get_worker_info()
        workers = 1 if info is None else info.num_workers
        worker = self.reader * workers // self.readers
        values = difficulty.filled(np.nan)
        drawn = self.law.draw(values, state["emitted"], self.readers, self._key(state["read"]), worker, workers)
        if self.journal is not None:
            self.journal.note(self.reader, state, drawn, values)
        return drawn


def turns_warning(turns: int, readers: int) -> str:
    """What to say where readers share shards.

    Args:
        turns: Readers that read the same shards.
        readers: All readers.

    Returns:
        The warning.
    """
    return (
        f"The shards of the stream cannot be shared out evenly to {readers} readers (processes x workers): {turns} "
        f"readers read the same shards and take turns with the rows, so that all is read {turns} times. Give it a "
        f"multiple of {readers} shards, with stream.reshard() or more files, or change the number of workers."
    )
