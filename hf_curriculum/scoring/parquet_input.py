"""Parquet files as parts: ranges of rows of about one size, wherever the files and their row groups begin."""

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features
from fsspec.core import url_to_fs

WINDOW = 2048
"""Rows that are embedded and assigned together, counted from the first: as add_difficulty does, to the last bit."""
_SMALL, _LARGE = 64, 16_384  # rows of a part; powers of two, so that parts and windows begin together
_BYTES = 256 * 2**20  # of a part in memory
_SHARE = 256  # parts at least, of as many windows: actors then end at about one time
FOOTERS_AT_ONCE = 16
_CREDENTIALS = (
    "If the store wants credentials, give them as its own tools take them: AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, `hf auth login`, and so on."
)

Paths = str | Path | Sequence[str | Path]


@dataclass(frozen=True)
class Piece:
    """Rows ``start`` to ``stop`` of a row group."""

    file: str
    group: int
    start: int
    stop: int


@dataclass(frozen=True)
class Part:
    """Neighbouring rows of the input.

    Attributes:
        number: Of the part, from 0.
        first: Number of its first row, counted through all files.
        pieces: Where its rows lie.
    """

    number: int
    first: int
    pieces: tuple[Piece, ...]

    def __len__(self) -> int:
        return sum(piece.stop - piece.start for piece in self.pieces)

    def __str__(self) -> str:
        files = sorted({piece.file for piece in self.pieces})
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        return f"rows {self.first} to {self.first + len(self) - 1} of the input ({files[0]}{more})"


@dataclass(frozen=True)
class _Footer:
    file: str
    stamp: str
    schema: pa.Schema
    groups: list[tuple[int, int]]  # rows and bytes


@dataclass(frozen=True)
class ParquetInput:
    """What is scored.

    Attributes:
        schema: Of all files; the metadata are those of the first.
        stamps: Name, size and age of each file.
        parts: Of all rows, in the order of the files.
    """

    schema: pa.Schema
    stamps: list[str]
    parts: list[Part]

    @classmethod
    def of(cls, paths: Paths, output: str | Path | None = None) -> "ParquetInput":
        """Read the footers of the files.

        Args:
            paths: A file, a folder (all ``*.parquet`` in it, by name), a glob, or several of these; each local or a
                URL that fsspec knows.
            output: A folder whose files do not count, should it lie in the input. Default ``None``.

        Returns:
            The input. How it is divided depends on the files alone.

        Raises:
            ValueError: If there is no Parquet, a file is damaged or has other columns than the first, or no row is
                there.
            OSError: If the store refuses; its own words are in the message.
        """
        names = [paths] if isinstance(paths, str | Path) else list(paths)
        files = [file for name in names for file in _files(str(name)) if not _lies_in(file, output)]
        if not files:
            besides = "" if output is None else f" (beside the output, {output})"
            raise ValueError(
                f"There is no Parquet file (*.parquet) in {', '.join(map(str, names)) or 'an empty list'}{besides}."
            )
        if len(set(files)) < len(files):
            twice = sorted({file for file in files if files.count(file) > 1})
            raise ValueError(f"{twice[0]} is named twice: its rows would be scored twice.")
        with ThreadPoolExecutor(FOOTERS_AT_ONCE) as pool:
            footers = list(pool.map(_footer, files))
        for footer in footers[1:]:
            _require_same(footers[0], footer)
        rows = sum(count for footer in footers for count, _ in footer.groups)
        if not rows:
            raise ValueError(f"The {len(files)} Parquet files have no rows.")
        size = sum(size for footer in footers for _, size in footer.groups)
        parts = list(_cut(footers, _part_rows(rows, size)))
        return cls(footers[0].schema, [footer.stamp for footer in footers], parts)

    def __len__(self) -> int:
        return self.parts[-1].first + len(self.parts[-1])


def read_part(part: Part, schema: pa.Schema, columns: list[str] | None = None) -> pa.Table:
    """The rows of a part, as the files have them.

    Args:
        part: What is read.
        schema: Of the input.
        columns: Those that are read. Default ``None``, all.

    Returns:
        The rows, with the metadata of the input.
    """
    if columns is not None:
        schema = pa.schema([schema.field(name) for name in columns], schema.metadata)
    batches: list[pa.RecordBatch] = []
    for name, pieces in groupby(part.pieces, lambda piece: piece.file):
        with fsspec.open(name, "rb") as file:
            parquet = pq.ParquetFile(file)
            for piece in pieces:
                batches += _read_piece(parquet, piece, columns)
    return pa.Table.from_batches(batches, schema)


def _read_piece(parquet: pq.ParquetFile, piece: Piece, columns: list[str] | None) -> Iterator[pa.RecordBatch]:
    """A row group may be far larger than a part: batch by batch, no more of it is in memory than is wanted."""
    first = 0
    for batch in parquet.iter_batches(WINDOW, row_groups=[piece.group], columns=columns, use_threads=False):
        start, stop = max(piece.start - first, 0), min(piece.stop - first, len(batch))
        if start < stop:
            yield batch.slice(start, stop - start)
        first += len(batch)
        if first >= piece.stop:
            return


@contextmanager
def store_explained(name: str, verb: str) -> Iterator[None]:
    """Say why a folder or file cannot be used, in the store's own words and ours.

    Args:
        name: Path or URL.
        verb: ``"read"`` or ``"written"``.

    Yields:
        Nothing.

    Raises:
        ModuleNotFoundError: If the package for this kind of URL is not installed.
        ValueError: If nothing is there.
        OSError: If the store refuses.
    """
    is_store = "://" in name and not name.startswith(("file://", "local://"))
    try:
        yield
    except ImportError as error:  # fsspec says which package knows the protocol
        raise ModuleNotFoundError(f"{name} cannot be {verb}: {error}") from error
    except FileNotFoundError as error:
        unseen = f", or the store does not show it: {error}. {_CREDENTIALS}" if is_store else "."
        raise ValueError(f"{name} does not exist{unseen}") from error
    except ValueError:
        raise
    except Exception as error:
        if not is_store and isinstance(error, OSError):
            raise
        raise OSError(f"{name} cannot be {verb}: {type(error).__name__}: {error}. {_CREDENTIALS}") from error


def _files(name: str) -> list[str]:
    with store_explained(name, "read"):
        fs, path = url_to_fs(name)
        if "*" in path or "?" in path or "[" in path:
            found = fs.glob(path) or _none_in(fs, re.split(r"[^/]*[*?[]", path)[0])
        elif fs.info(path)["type"] == "directory":
            found = [file for file in fs.find(path) if _is_data(file[len(path) :])] or _none_in(fs, path)
        elif path.endswith(".parquet"):
            found = [path]
        else:
            raise ValueError(f"{name} is no Parquet file (*.parquet).")
        return [fs.unstrip_protocol(file) for file in sorted(found)]


def _lies_in(file: str, folder: str | Path | None) -> bool:
    if folder is None:
        return False
    fs, path = url_to_fs(str(folder))
    return file.startswith(fs.unstrip_protocol(path).rstrip("/") + "/")


def _none_in(fs: Any, folder: str) -> list[str]:
    """No files; but a store that refuses to be searched says so only here."""
    fs.ls(folder)
    return []


def _is_data(path: str) -> bool:
    return path.endswith(".parquet") and not any(step.startswith((".", "_")) for step in path.split("/"))


def _footer(file: str) -> _Footer:
    with store_explained(file, "read"):
        fs, path = url_to_fs(file)
        info = fs.info(path)
        with fs.open(path, "rb") as opened:
            try:
                metadata = pq.read_metadata(opened)
            except pa.ArrowInvalid as error:
                raise ValueError(f"{file} is not a whole Parquet file: {error}") from error
    try:
        schema = metadata.schema.to_arrow_schema()
        Features.from_arrow_schema(schema)
    except Exception as error:  # whatever a record that was damaged, or written by hand, makes its readers raise
        raise ValueError(
            f"{file} does not say what its columns are: its metadata cannot be read ({type(error).__name__}: {error})."
        ) from error
    age = next((info[name] for name in ("mtime", "ETag", "LastModified", "last_commit") if info.get(name)), None)
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    return _Footer(
        file,
        f"{file} {info.get('size')} {age}",
        schema,
        [(group.num_rows, group.total_byte_size) for group in groups],
    )


def _require_same(one: _Footer, other: _Footer) -> None:
    described = all(b"huggingface" in (footer.schema.metadata or {}) for footer in (one, other))
    here, there = (_kinds(footer.schema, described) for footer in (one, other))
    differing = [
        f"column {name!r} is {there.get(name, 'missing')} there and {here.get(name, 'missing')} here"
        for name in {**here, **there}
        if here.get(name) != there.get(name)
    ]
    if differing or not one.schema.equals(other.schema):
        raise ValueError(
            f"The schemas of the files differ: {other.file} has other columns than {one.file}: "
            f"{'; '.join(differing) or 'their order, or which may be null'}. Score them one by one, or write them "
            "alike."
        )


def _kinds(schema: pa.Schema, described: bool) -> dict[str, str]:
    """Types by column; the features of datasets if both files have them: the same numbers may be other classes."""
    if described:
        return {name: str(feature) for name, feature in Features.from_arrow_schema(schema).items()}
    return {field.name: str(field.type) for field in schema}


def _part_rows(rows: int, size: int) -> int:
    """Rows of a part, a power of two: what fits in memory, and enough parts for many actors."""
    most = min(_LARGE, max(WINDOW, rows // _SHARE), _BYTES * rows // max(size, 1))
    return max(_SMALL, 1 << (most.bit_length() - 1)) if most > 0 else _SMALL


def _cut(footers: list[_Footer], size: int) -> Iterator[Part]:
    number, first, pieces, room = 0, 0, [], size
    for footer in footers:
        for group, (rows, _) in enumerate(footer.groups):
            start = 0
            while start < rows:
                stop = min(rows, start + room)
                pieces.append(Piece(footer.file, group, start, stop))
                room -= stop - start
                start = stop
                if not room:
                    yield Part(number, first, tuple(pieces))
                    number, first, pieces, room = number + 1, first + size, [], size
    if pieces:
        yield Part(number, first, tuple(pieces))
