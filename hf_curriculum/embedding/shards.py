"""Finished work on disk: one Arrow file a shard, whole or absent, shared by all processes of a job."""

import errno
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import xxhash
from accelerate.utils import broadcast_object_list, gather_object
from datasets import (
    Dataset,
    Features,
    are_progress_bars_disabled,
    concatenate_datasets,
    disable_progress_bars,
    enable_progress_bars,
)

from hf_curriculum.processes import agree, this_process

logger = logging.getLogger(__name__)

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk that has no room."""
_UNFINISHED = "unfinished-"
_NAME = re.compile(r"shard-(\d{12})-([0-9a-f]{32})\.arrow")
_BATCH_ROWS = 2048
"""Rows of a record batch: a shard of small ones is slow to read, and the head of each maps all of the file."""


class ShardFolder:
    """The shards of one job, in a folder of their own.

    A shard is the file ``shard-<first row>-<checksum>.arrow``. The checksum is of the job, its place and its content,
    so a file that was damaged, cut off, or put in the place of another, of this job or another, is not taken for
    finished.

    Args:
        path: The folder; made if it is missing.
        starts: First row of each shard.
        features: Features of each shard: one column.
        nulls: Whether a shard counts as finished if an earlier call left rows out.
    """

    def __init__(self, path: Path, starts: list[int], features: Features, nulls: bool) -> None:
        self.path = path
        self.starts = starts
        self.features = features
        self.nulls = nulls
        self._finished: dict[int, Path] = {}
        self._damaged: set[str] = set()
        path.mkdir(parents=True, exist_ok=True)

    def missing(self) -> list[int]:
        """Shards that are not finished, as far as this process sees; files that are none are removed."""
        self._finished = {start: file for start, file in self._finished.items() if file.is_file()}
        for file in sorted(self.path.glob("shard-*")):
            start = self._start(file)
            if start is None:
                _remove(file)
                self._damaged.add(str(file))
            elif start not in self._finished and (self.nulls or not _has_nulls(file)):
                self._finished[start] = file
        return [start for start in self.starts if start not in self._finished]

    def missing_everywhere(self) -> list[int]:
        """Shards that no process has; all processes have to call. One of them warns of all that were damaged.

        Raises:
            OSError: If the folder cannot be read.
        """
        with agree("looking for finished shards"):
            mine = self.missing()
        gone, *others = gather_object([mine])
        damaged = set().union(*gather_object([self._damaged]))
        self._damaged = set()
        if damaged and this_process().is_main_process:
            logger.warning("%d shards in %s are damaged, and are embedded again.", len(damaged), self.path)
        return sorted(set(gone).intersection(*others))

    def _start(self, file: Path) -> int | None:
        """First row of a finished shard; ``None`` for a file that is none, or no longer."""
        name = _NAME.fullmatch(file.name)
        if name is None or file in self._finished.values():
            return int(name[1]) if name else None
        try:
            whole = self._checksum(int(name[1]), file) == name[2]
        except OSError:  # a folder, without permission, on a bad sector; or another process has removed it
            return None
        return int(name[1]) if whole else None

    def _checksum(self, start: int, file: Path) -> str:
        """Of job, place and content; read in parts, since pages of a mapped file would count as memory."""
        found = xxhash.xxh3_128(f"{self.path.name} {start}".encode())
        with file.open("rb") as content:
            while part := content.read(1 << 20):
                found.update(part)
        return found.hexdigest()

    def write(self, start: int, count: int, window: int, embed: Callable[[list[int]], pa.Array]) -> None:
        """Write a shard by ``Dataset.map``; it appears under its name once it is whole.

        Args:
            start: Its first row.
            count: Its number of rows.
            window: Rows that are embedded together.
            embed: From row numbers, counted from ``start`` and in order, some windows of them, to their vectors.

        Raises:
            OSError: If the disk is full.
        """
        (column,) = self.features
        batch_size = window * -(-_BATCH_ROWS // window)
        with self._appears_whole(start) as file, _one_bar():
            _row_numbers(count).map(
                lambda batch: pa.table({column: embed(batch["row"])}),
                batched=True,
                batch_size=batch_size,
                writer_batch_size=batch_size,
                remove_columns="row",
                features=self.features,
                cache_file_name=str(file),
                load_from_cache_file=False,
                new_fingerprint=file.stem,
            )

    def read(self) -> Dataset:
        """All shards as one dataset on their files.

        Raises:
            OSError: If they were deleted or damaged since they were found whole.
        """
        try:
            return concatenate_datasets([Dataset.from_file(str(self._finished[start])) for start in self.starts])
        except (OSError, pa.ArrowException) as error:
            raise self._deleted("read from", error) from error

    def _deleted(self, done: str, error: BaseException) -> OSError:
        number = getattr(error, "errno", None) or errno.ENOENT
        return OSError(number, f"{self.path} was deleted or damaged while vectors were {done} it: call again")

    def share(self) -> None:
        """Give every process all shards: where processes do not see one folder, the files travel between them.

        Raises:
            OSError: If the disk is full.
        """
        state = this_process()
        missing = gather_object([self.missing()])
        lacking = set().union(*missing)
        if lacking and state.num_processes > 1:
            logger.info("The processes do not share %s: %d shards travel between them.", self.path, len(lacking))
        for start in sorted(lacking):
            owner = next((rank for rank, gone in enumerate(missing) if start not in gone), None)
            if owner is None:
                raise self._deleted("written to", FileNotFoundError())
            with agree("reading finished shards"):  # before the others wait for what it reads
                parcel = [self._finished[start].read_bytes() if state.process_index == owner else None]
            (content,) = broadcast_object_list(parcel, from_process=owner)
            with agree("writing finished shards"):
                if start in missing[state.process_index]:
                    with self._appears_whole(start) as file:
                        file.write_bytes(content)

    def sweep(self) -> None:
        """Once all shards are there, remove what killed calls left unfinished."""
        for folder in self.path.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def _appears_whole(self, start: int) -> Iterator[Path]:
        """A path; the file that is written there takes the name of the shard once all of it is on the disk."""
        folder = self.path / f"{_UNFINISHED}{uuid4().hex}"
        file = folder / "shard.arrow"
        try:
            folder.mkdir(parents=True)
            yield file
            with file.open("rb+") as written:
                os.fsync(written.fileno())
            finished = self.path / f"shard-{start:012d}-{self._checksum(start, file)}.arrow"
            self._finished[start] = file.replace(finished)
        except Exception as error:
            cause = _os_error_behind(error)
            if cause is None:
                raise
            if cause.errno in FULL:
                raise self._full(cause.errno) from error
            if folder.exists() and folder.name not in str(cause):  # it may be half removed: what it held is named
                raise
            if start in self.missing():  # else another call has finished all, and swept
                raise self._deleted("written to", cause) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _full(self, number: int) -> OSError:
        done = len(self.starts) - len(self.missing())
        return OSError(
            number,
            f"The disk of {self.path} is full. {done} of {len(self.starts)} shards are finished and kept: make room "
            "and call again, or pass another cache_dir",
        )


def _os_error_behind(error: BaseException | None) -> OSError | None:
    """The first one in the chain: where a disk is full, ``map`` fails once more as it closes its file."""
    while error is not None and not isinstance(error, OSError):
        error = error.__context__
    return error


@lru_cache(maxsize=2)  # all shards but the last have as many; to make it takes longer than to write their vectors
def _row_numbers(count: int) -> Dataset:
    """What ``map`` walks over: the rows themselves are read ahead, by workers."""
    return Dataset.from_dict({"row": range(count)})


def _remove(file: Path) -> None:
    if file.is_dir() and not file.is_symlink():
        shutil.rmtree(file, ignore_errors=True)
        return
    with suppress(OSError):  # where nothing may be removed, nothing can be written either, which will be said
        file.unlink(missing_ok=True)


def _has_nulls(file: Path) -> bool:
    return bool(Dataset.from_file(str(file)).data.column(0).null_count)


@contextmanager
def _one_bar() -> Iterator[None]:
    """Keep the bar of each ``map`` off the screen: the job has one for all shards."""
    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
