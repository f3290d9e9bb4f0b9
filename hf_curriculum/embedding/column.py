"""The embedding of one column, shard by shard: cached, resumed, divided among processes."""

import logging
import os
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
from accelerate.utils import gather_object
from datasets import Dataset, Features
from datasets.fingerprint import generate_random_fingerprint, get_temporary_cache_files_directory
from datasets.utils.tqdm import tqdm

from hf_curriculum._version import __version__
from hf_curriculum.data import EMBEDDING, require_count, undecoded
from hf_curriculum.embedding.forward import Forward
from hf_curriculum.embedding.prefetch import Windows, load_windows, one_behind, worker_death_explained
from hf_curriculum.embedding.rows import NOT_FINITE, RowEmbedder, window_rows
from hf_curriculum.embedding.shards import ShardFolder
from hf_curriculum.embedding.sources import files_named, files_of
from hf_curriculum.encoders import digest
from hf_curriculum.processes import agree, this_process

logger = logging.getLogger(__name__)

_SHARD_SIZE = 2048
_SHARDS = 256  # at the most: datasets takes seconds to append a column of 1,000 files, with the square of their number


@dataclass(frozen=True, kw_only=True)
class Work:
    """How the work is done; none of it changes the vectors. See :func:`hf_curriculum.add_embeddings`."""

    batch_size: int = 64
    shard_size: int | None = None
    num_workers: int | None = None
    on_error: str = "raise"
    cache_dir: str | None = None

    def __post_init__(self) -> None:
        require_count(self.batch_size, "batch_size")
        require_count(self.shard_size, "shard_size", optional=True)
        require_count(self.num_workers, "num_workers", least=0, optional=True)
        if self.on_error not in ("raise", "null"):
            raise ValueError(f"on_error must be 'raise' or 'null', got {self.on_error!r}.")


class ColumnJob:
    """Embeds one column of one dataset; each shard is one ``Dataset.map``.

    Args:
        dataset: Has the column.
        column: Column to embed.
        forward: Embeds prepared rows.
        work: How the work is done.

    Raises:
        ValueError: If no row can be embedded, or with ``on_error="raise"`` the first one cannot.
    """

    def __init__(self, dataset: Dataset, column: str, forward: Forward, work: Work) -> None:
        self.rows = undecoded(dataset.with_format(None).select_columns([column]), column)
        self.column, self.forward, self.work = column, forward, work
        self.embedder = RowEmbedder(forward, column, work.on_error)
        self.shard_size = work.shard_size or max(_SHARD_SIZE, -(-len(dataset) // _SHARDS))
        path = self._path()  # before the probe, in which a model may change
        self._probe()
        features = Features({EMBEDDING: self.embedder.feature})
        self.folder = ShardFolder(
            path,
            list(range(0, len(dataset), self.shard_size)),
            features,
            nulls=work.on_error == "null",
        )

    def _path(self) -> Path:
        """Folder of the shards, named by all that decides their vectors."""
        temporary = Path(get_temporary_cache_files_directory())  # lasts as long as this process
        what = "model"
        try:
            model = self.forward.identity
            what = "data"
            named = [] if self.forward.encoder.modality == "text" else files_named(self.rows, self.column)
        except Exception as error:
            logger.warning("The vectors are not kept for later calls, since the %s cannot be hashed: %s.", what, error)
            return temporary / generate_random_fingerprint()
        data = self.rows._fingerprint, files_of(self.rows), named
        key = digest([data, model, self.column, self.shard_size, __version__])
        if self.work.cache_dir is None and not datasets.is_caching_enabled():
            return temporary / key
        return Path(self.work.cache_dir or datasets.config.HF_DATASETS_CACHE) / "hf_curriculum" / key

    def run(self) -> Dataset:
        """The vectors as column ``"embedding"``, null where a row has none; every process returns the same.

        Raises:
            ValueError: With ``on_error="raise"``, if a row cannot be embedded.
            OSError: If the disk is full, or the folder of the shards is deleted while they are written or read.
            RuntimeError: If a worker or another process fails.
        """
        self._compute(self.folder.missing_everywhere())
        if lost := self.folder.missing_everywhere():  # deleted meanwhile
            self._compute(lost)
        self.folder.share()
        self.folder.sweep()
        with agree("reading finished shards"):
            embedded = self.folder.read()
        null = embedded.data.column(EMBEDDING).is_null().to_numpy()
        if null.any():
            self._report(np.flatnonzero(null))
        return embedded

    def _compute(self, todo: list[int]) -> None:
        """Finish these shards; each process takes one at a time, and all go on together or not at all."""
        state = this_process()
        rank, processes = state.process_index, state.num_processes
        ranges = [window for start in todo[rank::processes] for window in self._ranges(start)]
        on_gpu = self.forward.device.type == "cuda"
        windows = load_windows(self._windows(ranges), self._num_workers(), on_gpu)
        bar = tqdm(
            total=sum(stop - start for start, stop in ranges),
            desc=f"Embedding {self.column}",
            unit=" rows",
            disable=not todo or rank > 0,
        )
        with closing(windows), bar:
            started = (
                self.embedder.start(window, range(start, stop))
                for (start, stop), window in zip(ranges, windows, strict=False)
            )
            # A GPU works while this process writes; elsewhere nothing is gained, and a kill would lose more.
            ahead = one_behind(started) if on_gpu else started

            def embed(positions: list[int]) -> pa.Array:
                """Vectors of as many rows as ``positions`` has, the next ones."""
                parts: list[pa.Array] = []
                while sum(map(len, parts)) < len(positions):
                    parts.append(next(ahead)())
                    bar.update(len(parts[-1]))
                return pa.concat_arrays(parts)

            for turn in range(0, len(todo), processes):
                with agree(f"embedding column {self.column!r}"), worker_death_explained(self.column):
                    for start in todo[turn : turn + processes][rank : rank + 1]:  # the last turn may have none
                        count = min(self.shard_size, len(self.rows) - start)
                        self.folder.write(start, count, self._window_size, embed)
        self._warn_of_cuts(sum(gather_object([self.embedder.truncated])), todo)
        self.embedder.truncated = 0

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

    def _probe(self) -> None:
        """Embed the first row that can be read, which tells the length of a vector."""
        for row in range(len(self.rows)):
            self.embedder.embed(self._windows([(row, row + 1)])[0], [row])
            if self.embedder.dim is not None:
                self.embedder.truncated = 0  # the row will be counted when it is embedded
                return
        raise self._error_of_all()

    def _report(self, rows: np.ndarray) -> None:
        """Say which rows have no embedding."""
        if rows.size == len(self.rows):
            raise self._error_of_all()
        if this_process().is_main_process:
            logger.warning(
                "%d of %d rows of column %r have no embedding; the first is row %d: %s. Once they are mended, "
                "on_error='raise' embeds them.",
                rows.size,
                len(self.rows),
                self.column,
                rows[0],
                self._cause(int(rows[0])),
            )

    def _error_of_all(self) -> ValueError:
        return ValueError(f"No row of column {self.column!r} can be embedded; row 0: {self._cause(0)}.")

    def _cause(self, row: int) -> str:
        return self._windows([(row, row + 1)])[0].bad.get(0, NOT_FINITE)

    def _windows(self, ranges: list[tuple[int, int]]) -> Windows:
        return Windows(self.rows, self.column, self.forward.encoder, self.work.batch_size, ranges)

    @property
    def _window_size(self) -> int:
        """Rows that are best prepared together."""
        return window_rows(self.forward.encoder, self.work.batch_size)

    def _ranges(self, start: int) -> list[tuple[int, int]]:
        """The windows of a shard."""
        stop = min(start + self.shard_size, len(self.rows))
        return [(first, min(first + self._window_size, stop)) for first in range(start, stop, self._window_size)]

    def _num_workers(self) -> int:
        if self.work.num_workers is not None:
            return self.work.num_workers
        beside_model = self.forward.encoder.model is not None and self.forward.device.type == "cpu"
        return 0 if beside_model or len(self.rows) < self.work.batch_size else min(8, os.cpu_count() or 1)
