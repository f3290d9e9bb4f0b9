"""Finished work on disk: one Arrow file a shard, whole or absent, shared by all processes of a job."""

import errno
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from uuid import uuid4

import pyarrow as pa
from accelerate.utils import broadcast_object_list, gather_object
from datasets import Dataset, Features
from datasets.table import MemoryMappedTable, concat_tables

from hf_curriculum.processes import agree, this_process

logger = logging.getLogger(__name__)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_BATCH_ROWS = 2048


class ShardFolder:
    """The shards of one job, ``shard-<first row>.arrow`` in a folder of their own.

    Args:
        path: The folder; made if it is missing.
        starts: First row of each shard.
        features: Features of each shard.
        nulls: Whether a shard counts as finished if an earlier call left rows out.
    """

    def __init__(self, path: Path, starts: list[int], features: Features, nulls: bool) -> None:
        self.path = path
        self.starts = starts
        self.features = features
        self.nulls = nulls
        path.mkdir(parents=True, exist_ok=True)

    def missing(self) -> list[int]:
        """Shards that are not finished, as far as this process sees."""
        return [start for start in self.starts if not self._is_finished(start)]

    def missing_everywhere(self) -> list[int]:
        """Shards that no process has; all processes have to call."""
        gone, *others = gather_object([self.missing()])
        return sorted(set(gone).intersection(*others))

    def write(self, start: int, tables: Iterable[pa.Table]) -> None:
        """Write a shard as a stream; it appears under its name once it is whole.

        Raises:
            OSError: If the disk is full.
        """
        schema = self.features.arrow_schema
        with self._appears_whole(start) as file, pa.ipc.new_stream(file, schema) as writer:
            for batch in _gathered(tables):
                writer.write_table(batch.cast(schema))

    def read(self) -> Dataset:
        """All shards as one dataset on their files."""
        return Dataset(concat_tables([self._table(start) for start in self.starts]))

    def share(self) -> None:
        """Give every process all shards: where processes do not see one folder, the files travel between them.

        Raises:
            OSError: If the disk is full.
        """
        state = this_process()
        if state.num_processes == 1:
            return
        missing = gather_object([self.missing()])
        lacking = set().union(*missing)
        if lacking:
            logger.info("The processes do not share %s: %d shards travel between them.", self.path, len(lacking))
        for start in sorted(lacking):
            owner = next(rank for rank, gone in enumerate(missing) if start not in gone)
            with agree("sharing finished shards"):
                parcel = [self._file(start).read_bytes() if state.process_index == owner else None]
                (content,) = broadcast_object_list(parcel, from_process=owner)
                if start in missing[state.process_index]:
                    with self._appears_whole(start) as file:
                        file.write(content)

    def sweep(self) -> None:
        """Once all shards are there, remove what killed calls left unfinished."""
        for path in self.path.glob("unfinished-*"):
            path.unlink(missing_ok=True)

    def _file(self, start: int) -> Path:
        return self.path / f"shard-{start:012d}.arrow"

    def _table(self, start: int) -> MemoryMappedTable:
        return MemoryMappedTable.from_file(str(self._file(start)))

    def _is_finished(self, start: int) -> bool:
        return self._file(start).exists() and (self.nulls or not self._table(start)[0].null_count)

    @contextmanager
    def _appears_whole(self, start: int) -> Iterator[IO[bytes]]:
        """A file that takes the name of the shard once all of it is on the disk."""
        path = self.path / f"unfinished-{uuid4().hex}.arrow"
        try:
            with path.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if path.exists() or not self._file(start).exists():  # else another call has finished all, and swept
                path.replace(self._file(start))
        except BaseException as error:
            path.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.errno in _FULL:
                raise self._full(error.errno) from error
            raise

    def _full(self, number: int) -> OSError:
        done = len(self.starts) - len(self.missing())
        return OSError(
            number,
            f"The disk of {self.path} is full. {done} of {len(self.starts)} shards are finished and kept: make room "
            "and call again, or pass another cache_dir",
        )


def _gathered(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The rows of the tables in fewer, larger ones.

    A shard of small record batches is slow to read, and to look at the head of each maps the whole file into memory.
    """
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        if sum(map(len, held)) >= _BATCH_ROWS:
            yield pa.concat_tables(held).combine_chunks()
            held = []
    if held:
        yield pa.concat_tables(held).combine_chunks()
