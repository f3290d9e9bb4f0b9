"""The embedding of one column, shard by shard: cached, resumed, divided among processes."""

import logging
import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from accelerate.utils import gather_object
from datasets import Dataset, Features
from datasets.fingerprint import Hasher, generate_random_fingerprint, get_temporary_cache_files_directory
from datasets.utils.tqdm import tqdm

from hf_curriculum._version import __version__
from hf_curriculum.data import EMBEDDING, embedding_feature, undecoded
from hf_curriculum.embedding.forward import Forward
from hf_curriculum.embedding.prefetch import Window, Windows, load_windows, worker_death_explained
from hf_curriculum.embedding.shards import ShardFolder
from hf_curriculum.processes import agree, this_process

logger = logging.getLogger(__name__)
_SHARD_SIZE = 2048
_SHARDS = 256  # at the most: datasets takes seconds to append a column of 1,000 files, with the square of their number
_NOT_FINITE = "the model returned a NaN or infinite number"


@dataclass(frozen=True)
class Work:
    """How the work is done; none of it changes the vectors. See :func:`hf_curriculum.add_embeddings`."""

    batch_size: int = 64
    shard_size: int | None = None
    num_workers: int | None = None
    on_error: str = "raise"
    cache_dir: str | None = None

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("shard_size", 1), ("num_workers", 0)):
            if (value := getattr(self, name)) is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}.")
        if self.on_error not in ("raise", "null"):
            raise ValueError(f"on_error must be 'raise' or 'null', got {self.on_error!r}.")


class EmbeddingJob:
    """Embeds one column of one dataset.

    Args:
        dataset: Has the column.
        column: Column to embed.
        forward: Embeds prepared rows.
        work: How the work is done.

    Raises:
        ValueError: If no row can be embedded, or with ``on_error="raise"`` the first one cannot.
    """

    def __init__(self, dataset: Dataset, column: str, forward: Forward, work: Work) -> None:
        encoder = forward.encoder
        self.rows = undecoded(dataset.with_format(None).select_columns([column]), column)
        self.column, self.forward, self.work = column, forward, work
        self.shard_size = work.shard_size or max(_SHARD_SIZE, -(-len(dataset) // _SHARDS))
        record = {**encoder.record, "input_column": column, "dtype": forward.dtype, "version": __version__}
        self.dim = self._probe()
        self.features = Features({EMBEDDING: embedding_feature(self.dim, record)})
        decisive = [self.rows._fingerprint, encoder.identity(), self.features.to_dict(), self.shard_size]
        self.folder = ShardFolder(
            _shard_path(decisive, work.cache_dir),
            list(range(0, len(dataset), self.shard_size)),
            self.features,
            nulls=work.on_error == "null",
        )

    def run(self) -> Dataset:
        """The vectors as column ``"embedding"``, null where a row has none; every process returns the same.

        Raises:
            ValueError: With ``on_error="raise"``, if a row cannot be embedded.
            OSError: If the disk is full.
            RuntimeError: If a worker or another process fails.
        """
        self._compute(self.folder.missing_everywhere())
        self.folder.share()
        self.folder.sweep()
        embedded = self.folder.read()
        null = embedded.data.column(EMBEDDING).is_null().to_numpy()
        if null.any():
            self._report(np.flatnonzero(null))
        return embedded

    def _compute(self, todo: list[int]) -> None:
        """Finish these shards; each process takes one at a time, and all go on together or not at all."""
        state = this_process()
        rank, processes = state.process_index, state.num_processes
        own = [window for start in todo[rank::processes] for window in self._ranges(start)]
        windows = load_windows(self._windows(own), self._num_workers(), self.forward.device.type == "cuda")
        bar = tqdm(
            total=sum(stop - start for start, stop in own),
            desc=f"Embedding {self.column}",
            unit=" rows",
            disable=not todo or rank > 0,
        )
        truncated = 0

        def tables(count: int) -> Iterator[pa.Table]:
            nonlocal truncated
            for window in islice(windows, count):
                yield self._embed(window)
                truncated += window.prepared.truncated
                bar.update(window.stop - window.start)

        with closing(windows), bar:
            for turn in range(0, len(todo), processes):
                with agree(f"embedding column {self.column!r}"), worker_death_explained(self.column):
                    for start in todo[turn : turn + processes][rank : rank + 1]:  # the last turn may have none
                        self.folder.write(start, tables(len(self._ranges(start))))
        self._warn_of_cuts(sum(gather_object([truncated])), todo)

    def _warn_of_cuts(self, truncated: int, todo: list[int]) -> None:
        rows = sum(stop - first for start in todo for first, stop in self._ranges(start))
        if truncated and this_process().is_main_process:
            logger.warning(
                "%d of %d rows (%.1f %%) are longer than the model takes and were cut; long_inputs='mean' averages "
                "over all of their parts.",
                truncated,
                rows,
                100 * truncated / rows,
            )

    def _embed(self, window: Window) -> pa.Table:
        vectors = np.zeros((window.stop - window.start, self.dim), np.float32)
        bad = dict(window.bad)
        if window.good:
            try:
                found = self.forward(window.prepared, len(window.good))
            except Exception as error:
                raise RuntimeError(
                    f"The model failed on rows {window.start} to {window.stop - 1} of column {self.column!r}: "
                    f"{type(error).__name__}: {error}"
                ) from error
            if found.shape[1] != self.dim:
                raise ValueError(
                    f"The model returned vectors of length {found.shape[1]} for rows from {window.start} on, and of "
                    f"length {self.dim} for the first row."
                )
            vectors[window.good] = found
            bad |= dict.fromkeys(np.flatnonzero(~np.isfinite(vectors).all(axis=1)).tolist(), _NOT_FINITE)
        if bad and self.work.on_error == "raise":
            row = min(bad)
            raise self._error(window.start + row, bad[row])
        null = np.zeros(len(vectors), bool)
        null[list(bad)] = True
        array = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), self.dim, mask=pa.array(null))
        return pa.table({EMBEDDING: array})

    def _probe(self) -> int:
        """Length of a vector, from the first row that can be read."""
        causes = []
        for row in range(len(self.rows)):
            window = self._windows([(row, row + 1)])[0]
            if window.good:
                return self.forward(window.prepared, 1).shape[1]
            causes.append(window.bad[0])
            if self.work.on_error == "raise":
                raise self._error(row, window.bad[0])
        raise self._error_of_all(causes[0])

    def _report(self, rows: np.ndarray) -> None:
        """Say which rows have no embedding."""
        first = int(rows[0])
        cause = self._windows([(first, first + 1)])[0].bad.get(0, _NOT_FINITE)
        if rows.size == len(self.rows):
            raise self._error_of_all(cause)
        if this_process().is_main_process:
            logger.warning(
                "%d of %d rows of column %r have no embedding; the first is row %d: %s. Once they are mended, "
                "on_error='raise' embeds them.",
                rows.size,
                len(self.rows),
                self.column,
                first,
                cause,
            )

    def _error_of_all(self, cause: str) -> ValueError:
        return ValueError(f"No row of column {self.column!r} can be embedded; row 0: {cause}.")

    def _error(self, row: int, cause: str) -> ValueError:
        return ValueError(
            f"Row {row} of column {self.column!r} cannot be embedded: {cause}. Mend or drop it, or pass "
            "on_error='null' to leave such rows without an embedding."
        )

    def _windows(self, ranges: list[tuple[int, int]]) -> Windows:
        return Windows(self.rows, self.column, self.forward.encoder, self.work.batch_size, ranges)

    def _ranges(self, start: int) -> list[tuple[int, int]]:
        """The windows of a shard, as many rows as are best prepared together."""
        size = self.work.batch_size * max(1, self.forward.encoder.window // self.work.batch_size)
        stop = min(start + self.shard_size, len(self.rows))
        return [(first, min(first + size, stop)) for first in range(start, stop, size)]

    def _num_workers(self) -> int:
        if self.work.num_workers is not None:
            return self.work.num_workers
        beside_model = self.forward.encoder.model is not None and self.forward.device.type == "cpu"
        return 0 if beside_model or len(self.rows) < self.work.batch_size else min(8, os.cpu_count() or 1)


def _shard_path(decisive: list[Any], cache_dir: str | None) -> Path:
    """Folder of the shards whose vectors these things decide."""
    temporary = Path(get_temporary_cache_files_directory())  # lasts as long as this process
    try:
        key = Hasher.hash(decisive)
    except Exception as error:
        logger.warning("The vectors are not kept for later calls, since the model cannot be hashed: %s.", error)
        return temporary / generate_random_fingerprint()
    if cache_dir is None and not datasets.is_caching_enabled():
        return temporary / key
    return Path(cache_dir or datasets.config.HF_DATASETS_CACHE) / "hf_curriculum" / key
