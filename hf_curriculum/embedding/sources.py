"""Files on disk that the rows of a dataset lie in or name, and whether they have changed."""

import os
import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from datasets import Dataset
from datasets.fingerprint import get_temporary_cache_files_directory

_REMOTE = re.compile(r"[a-z][a-z0-9+.-]*://")
_FIXED = re.compile(r"hf://[^:]*@[0-9a-f]{40}/")


def files_of(dataset: Dataset) -> list[tuple[int, ...] | None]:
    """Size and times of change of the Arrow files that a dataset lies on, but for those of this process."""
    own = get_temporary_cache_files_directory()
    names = [file["filename"] for file in dataset.cache_files]
    return [_stat(name) for name in names if not name.startswith(own)]


def files_named(dataset: Dataset, column: str) -> list[Any]:
    """Path, size and times of change of each local file that a column names, and does not hold.

    Args:
        dataset: Has the column, undecoded.
        column: Its name.

    Returns:
        A list in the order of the rows; of rows without a file, nothing.

    Raises:
        ValueError: If a row names a file elsewhere, of which nobody knows whether it has changed.
    """
    rows = dataset.with_format("arrow")
    found = []
    for start in range(0, len(rows), 10_000):
        for name in _names(rows[start : start + 10_000].column(column).combine_chunks()):
            local = name.rpartition("::")[2]
            if _REMOTE.match(local):
                if " " not in local and not _FIXED.match(local):
                    raise ValueError(f"{local} lies elsewhere, and may change")
            elif (stat := _stat(local)) is not None:
                found.append((name, os.path.abspath(local), *stat))
    return found


def _names(array: Any) -> Iterator[str]:
    """Strings in the rows; not the path of bytes that are there."""
    if isinstance(array, pa.StructArray):
        names = [field.name for field in array.type]
        for name in names:
            part = array.field(name)
            if name == "path" and "bytes" in names:
                part = part.filter(array.field("bytes").is_null())
            yield from _names(part)
    elif isinstance(array, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
        yield from _names(array.flatten())
    elif pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        yield from (name for name in array.to_pylist() if name)


def _stat(name: str) -> tuple[int, ...] | None:
    """Size and times of change in ns: that of the content, which anybody can set, and that of the file, which not."""
    try:
        found = os.stat(name)
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns
