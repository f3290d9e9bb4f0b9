"""From what a user types on the command line to a dataset."""

import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from glob import glob
from lzma import LZMAError
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
from datasets import Audio, Dataset, DatasetDict, Features, IterableDataset, Value, load_dataset, load_from_disk
from datasets.exceptions import DatasetGenerationError
from datasets.table import CastError

from hf_curriculum.data import DIFFICULTY, EMBEDDING, provenance, require_name, splits_of

_BUILDERS = {
    ".arrow": "arrow",
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".tsv": "csv",
    ".txt": "text",
}
_PACKED = (".gz", ".bz2", ".xz", ".zst")  # of texts
_DAMAGED = (  # what readers raise of files that are damaged, or whose description was written by hand
    *(pa.ArrowInvalid, EOFError, LZMAError, OSError, StopIteration, ValueError, zlib.error),
    *(AttributeError, LookupError, RecursionError, TypeError),
)
_WITHOUT_ROWS = ("corresponds to no data", "at least one example")  # as datasets says it
_SPLITS = {"train", "test", "validation"}
_SAVED = ("dataset_info.json", "state.json", "dataset_dict.json")


def load(names: str | Sequence[str], split: str | None, config: str | None = None) -> Dataset | DatasetDict:
    """Load files, a directory or a Hub dataset.

    Args:
        names: Parquet, JSON, JSON lines, CSV, TSV, text (a line a row) or Arrow files of one type, also packed by
            gzip, or patterns of such; they are one split, unless they are named ``train``, ``test`` or
            ``validation``. Or one directory of these, of images or of audio, or that ``save_to_disk`` wrote; or the id
            of a Hub dataset.
        split: Name of the split; ``None`` for all that there are, or the only one.
        config: Configuration (subset) of a Hub dataset. Default the only one.

    Returns:
        The split, or a ``DatasetDict`` of all splits if there are several; a directory that ``save_to_disk`` wrote may
        have none to choose from, and is a ``Dataset`` then.

    Raises:
        ValueError: If the file type is unknown, a file is damaged or has no rows, or the split or the dataset does
            not exist.
    """
    names = [names] if isinstance(names, str) else names
    for name in names:
        require_name(name, "The name of the dataset")
    names = [path for name in names for path in _matching(name)]
    if config is not None and (local := next(filter(os.path.exists, names), None)):
        raise ValueError(f"--config is for datasets of the Hub, and {local!r} is here: leave it out.")
    if all(os.path.isfile(name) for name in names):  # unlike Path, it bears any name
        return _load_files([Path(name) for name in names], split)
    if len(names) > 1:
        lacking = next(name for name in names if not os.path.isfile(name))
        raise ValueError(f"{lacking!r} is no file; several sources must be files of one type.{_meant(lacking)}")
    [name] = names
    if any(os.path.isfile(os.path.join(name, known)) for known in ("dataset_dict.json", "state.json")):
        with _readable(name):
            saved = load_from_disk(name)
        return _pick(saved, split)
    try:
        # The name of a directory is taken from its path, which "." has none of.
        return _pick(load_dataset(os.path.abspath(name) if os.path.isdir(name) else name, config, split=split), split)
    except DatasetGenerationError as error:
        if isinstance(error.__cause__, ImportError):  # of torchcodec, to read no more than names
            return _load_sounds(name, split, config)
        raise _unreadable(repr(name), error) from error
    except (FileNotFoundError, ConnectionError) as error:
        hint = "" if os.path.exists(name) else _meant(name)
        raise ValueError(
            f"{name!r} is neither a file nor a directory here, nor a dataset of the Hub that can be loaded"
            + (f".{hint}" if hint else f": {error}")
        ) from error
    except _DAMAGED as error:
        raise _unreadable(repr(name), error) from error


def require_embeddings(rows: Dataset | DatasetDict) -> None:
    """Raise unless there are embeddings to score.

    Args:
        rows: What was loaded.

    Raises:
        ValueError: If a split has none.
    """
    for split in splits_of(rows).values():
        if EMBEDDING not in split.column_names:
            raise ValueError(
                f"The dataset has no column {EMBEDDING!r} (columns: {', '.join(split.column_names)}). Name an encoder "
                "with --model: a Hub id or directory, or builtin/hog (images), builtin/logmel (sounds), builtin/tfidf "
                "(texts)."
            )


def require_page(output: Path, overwrite: bool) -> None:
    """Raise unless a report can be written to ``output``.

    Args:
        output: A file that is missing, or is a report.
        overwrite: Whether any other file may be replaced.

    Raises:
        ValueError: If it is a directory, or another file, or its folder cannot be written to.
    """
    require_name(str(output), "--output")
    if output.is_dir():
        raise ValueError(f"--output {output} is a directory; name a file, such as {output / 'report.html'}.")
    _require_writable(output)
    if output.is_file() and not overwrite:
        with output.open("rb") as file:
            if b'content="hf-curriculum"' not in file.read(1_000):
                raise ValueError(f"--output {output} is no report of ours. Name another file, or pass --overwrite.")


def require_output(output: Path, sources: str | Sequence[str], overwrite: bool = False) -> None:
    """Raise unless a dataset made from ``sources`` can be saved to ``output``; before hours of work, not after them.

    Args:
        output: A directory that is missing or empty, or holds nothing but a scored dataset.
        sources: What is read.
        overwrite: Whether such a dataset may be replaced. Default ``False``.

    Raises:
        ValueError: If it is a file, the source or a folder around it, or holds what must not be replaced, or no
            directory can have this name or be made there.
    """
    require_name(str(output), "--output")
    try:
        output.exists()
    except OSError as error:
        raise ValueError(f"--output cannot be a directory: {error}.") from error
    if output.exists() and not output.is_dir():
        raise ValueError(f"--output {output} is a file; name a directory.")
    if file := next((parent for parent in output.parents if parent.is_file()), None):
        raise ValueError(f"--output {output} cannot be a directory: {file} is a file.")
    _require_writable(output)
    sources = [sources] if isinstance(sources, str) else sources
    paths = [Path(source).resolve() for source in sources if os.path.exists(source)]
    if output.exists() and any(path.is_relative_to(output.resolve()) for path in paths):
        raise ValueError(f"--output {output} is the dataset that is read; name another directory.")
    if not output.exists() or not any(output.iterdir()):
        return
    if strange := _not_of_a_scored_dataset(output):
        raise ValueError(f"--output {output} holds {strange}: nothing is written over it. Name another directory.")
    if not overwrite:
        raise ValueError(
            f"--output {output} is a scored dataset already. Name another directory, or pass --overwrite."
        )


def require_demo_folder(output: Path) -> None:
    """Raise unless the demo may write its files to ``output``.

    Args:
        output: A directory that is missing or empty, or that an earlier demo has filled.

    Raises:
        ValueError: If it is a file, or holds something else.
    """
    if output.is_file():
        raise ValueError(f"--output {output} is a file; name a directory.")
    if output.is_dir() and any(output.iterdir()) and not (output / "curriculum.png").exists():
        raise ValueError(f"--output {output} holds other files; name a new directory.")


def _require_writable(output: Path) -> None:
    folder = next(parent for parent in output.absolute().parents if parent.exists())
    try:
        TemporaryDirectory(dir=folder, prefix=f".{output.name}-").cleanup()
    except OSError as error:
        raise ValueError(f"--output {output} cannot be written: {error.strerror}.") from error


def save(scored: Dataset | DatasetDict, output: Path) -> None:
    """Save a dataset; it appears whole or not at all.

    Args:
        scored: The dataset.
        output: A directory that :func:`require_output` found fit.

    Raises:
        ValueError: If another program has written to it since.
        OSError: If the disk is full.
    """
    if not output.parent.exists():
        output.parent.mkdir(parents=True)
    with TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as folder:
        scored.save_to_disk(str(Path(folder) / "new"))
        if output.exists():
            if any(output.iterdir()) and _not_of_a_scored_dataset(output):  # since we looked
                raise ValueError(f"--output {output} was written to by another program. Nothing is written over it.")
            output.rename(Path(folder) / "old")
        (Path(folder) / "new").rename(output)


def _not_of_a_scored_dataset(folder: Path) -> str:
    """What is in a folder that ``save_to_disk`` has not written for a scored dataset; empty if nothing is."""
    files = [path for path in sorted(folder.rglob("*")) if not path.is_dir()]
    others = [path for path in files if path.name not in _SAVED and path.suffix != ".arrow" or path.is_symlink()]
    if others:
        return f"{others[0].name!r}"
    try:
        saved = load_from_disk(str(folder))
        splits = saved.values() if isinstance(saved, DatasetDict) else [saved]
        ours = all(DIFFICULTY in split.column_names and provenance(split) for split in splits)
    except (OSError, ValueError, KeyError, pa.ArrowInvalid):
        return "other files"
    return "" if ours else "a dataset without our scores"


def _load_sounds(name: str, split: str | None, config: str | None) -> Dataset | DatasetDict:
    """An audio folder by the names of its files: to write them into a dataset, datasets wants torchcodec."""
    streams = load_dataset(name, config, split=split, streaming=True)
    if split is not None:
        return _from_stream(streams)
    return _pick(DatasetDict({part: _from_stream(stream) for part, stream in streams.items()}), None)


def _from_stream(stream: IterableDataset) -> Dataset:
    named = {column: Value("string") if isinstance(kind, Audio) else kind for column, kind in stream.features.items()}
    rows = list(stream.cast(Features(named)))
    return Dataset.from_list(rows, features=Features(named), split=stream.split).cast(stream.features)


def _matching(name: str) -> list[str]:
    """The files of a pattern; a name that is none is itself."""
    if os.path.exists(name) or not any(sign in name for sign in "*?["):
        return [name]
    if not (found := sorted(glob(name, recursive=True))):
        raise ValueError(f"No file is named like {name!r}.{_meant(name)}")
    return found


def _meant(name: str) -> str:
    """A hint at the file whose name is close; empty if there is none."""
    folder = os.path.dirname(name)
    there = os.listdir(folder or ".") if os.path.isdir(folder or ".") else []
    known = {file.lower(): file for file in there}
    close = get_close_matches(os.path.basename(name).lower(), known, n=1)
    return f" Did you mean {os.path.join(folder, known[close[0]])!r}?" if close else ""


def _kind(path: Path) -> str:
    """The suffix that tells how to read a file."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    kind = suffixes[-2] if len(suffixes) > 1 and suffixes[-1] in _PACKED else (suffixes or [""])[-1]
    if kind not in _BUILDERS:
        raise ValueError(f"Cannot read {path.name!r}: expected a file of type {sorted(_BUILDERS)}, or a directory.")
    return kind


def _load_files(paths: list[Path], split: str | None) -> Dataset | DatasetDict:
    if len(kinds := sorted({_kind(path) for path in paths})) > 1:
        raise ValueError(f"Files of several types: {', '.join(kinds)}. Name files of one type.")
    options = {"sep": "\t"} if kinds == [".tsv"] else {}
    stems = {path.name.partition(".")[0]: str(path) for path in paths}
    named = len(paths) > 1 and len(stems) == len(paths) and stems.keys() <= _SPLITS
    files: dict[str, str] | list[str] = stems if named else [str(path) for path in paths]
    which = str(paths[0]) if len(paths) == 1 else f"One of {len(paths)} files, the first is {paths[0]},"
    with _readable(which):
        loaded = load_dataset(_BUILDERS[kinds[0]], data_files=files, **options)
    return _pick(loaded, split)  # files without names of splits are one, which their builder calls train


@contextmanager
def _readable(what: str) -> Iterator[None]:
    """Say of an error inside the readers of a file that it cannot be read."""
    try:
        yield
    except (DatasetGenerationError, *_DAMAGED) as error:
        raise _unreadable(what, error) from error


def _unreadable(what: str, error: Exception) -> Exception:
    """What is to be said of an error of ``load_dataset``: the input's fault, unless the disk is full or closed."""
    cause = error.__cause__ or error
    if isinstance(cause, StopIteration) or any(part in str(cause) for part in _WITHOUT_ROWS):
        return ValueError(f"{what} cannot be read: there are no rows.")
    if isinstance(cause, OSError) and cause.errno:
        return cause
    if isinstance(cause, CastError):
        columns = " and ".join(map(str, (cause.requested_column_names, cause.table_column_names)))
        return ValueError(f"{what} cannot be read: it has files with the columns {columns}. Name files of one kind.")
    return ValueError(f"{what} cannot be read: {cause}")


def _pick(loaded: Dataset | DatasetDict, split: str | None) -> Dataset | DatasetDict:
    if isinstance(loaded, Dataset):
        if split is not None and loaded.split is not None and split != str(loaded.split):
            raise ValueError(f"There is no split {split!r}: the dataset is the split {str(loaded.split)!r}.")
        return loaded
    if split is None:
        return next(iter(loaded.values())) if len(loaded) == 1 else loaded
    if split not in loaded:
        raise ValueError(f"There is no split {split!r}; there are {list(loaded)}. Choose one with --split.")
    return loaded[split]
