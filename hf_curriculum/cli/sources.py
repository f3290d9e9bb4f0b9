"""From what a user types on the command line to a dataset."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
from datasets import Audio, Dataset, DatasetDict, Features, IterableDataset, Value, load_dataset, load_from_disk
from datasets.exceptions import DatasetGenerationError

from hf_curriculum.data import DIFFICULTY, provenance, require_name

_BUILDERS = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".csv": "csv", ".arrow": "arrow"}
_SAVED = ("dataset_info.json", "state.json", "dataset_dict.json")


def load(name: str, split: str | None, config: str | None = None) -> Dataset | DatasetDict:
    """Load a file, a directory or a Hub dataset.

    Args:
        name: A Parquet, JSON, JSON lines, CSV or Arrow file; a directory of these, of images or of audio, or one that
            ``save_to_disk`` wrote; or the id of a Hub dataset.
        split: Name of the split; ``None`` for all that there are, or the only one.
        config: Configuration (subset) of a Hub dataset. Default the only one.

    Returns:
        The split, or a ``DatasetDict`` of all splits if there are several; a directory that ``save_to_disk`` wrote may
        have none to choose from, and is a ``Dataset`` then.

    Raises:
        ValueError: If the file type is unknown, a file is damaged, or the split or the dataset does not exist.
    """
    require_name(name, "The name of the dataset")
    if os.path.isfile(name):  # unlike Path, it bears any name
        return _load_file(Path(name), split)
    if any(os.path.isfile(os.path.join(name, known)) for known in ("dataset_dict.json", "state.json")):
        return _pick(load_from_disk(name), split)
    try:
        return _pick(load_dataset(name, config, split=split), split)
    except DatasetGenerationError as error:
        if isinstance(error.__cause__, ImportError):  # of torchcodec, to read no more than names
            return _load_sounds(name, split, config)
        raise ValueError(f"{name!r} cannot be read: {error.__cause__ or error}") from error
    except (FileNotFoundError, ConnectionError) as error:
        raise ValueError(
            f"{name!r} is neither a file nor a directory here, nor a dataset of the Hub that can be loaded: {error}"
        ) from error


def require_output(output: Path, source: str, overwrite: bool = False) -> None:
    """Raise unless a dataset made from ``source`` can be saved to ``output``; before hours of work, not after them.

    Args:
        output: A directory that is missing or empty, or holds nothing but a scored dataset.
        source: What is read.
        overwrite: Whether such a dataset may be replaced. Default ``False``.

    Raises:
        ValueError: If it is a file, the source or a folder around it, or holds what must not be replaced, or no
            directory can have this name.
    """
    require_name(str(output), "--output")
    try:
        output.exists()
    except OSError as error:
        raise ValueError(f"--output cannot be a directory: {error}.") from error
    if output.exists() and not output.is_dir():
        raise ValueError(f"--output {output} is a file; name a directory.")
    if output.exists() and os.path.exists(source) and Path(source).resolve().is_relative_to(output.resolve()):
        raise ValueError(f"--output {output} is the dataset that is read; name another directory.")
    if not output.exists() or not any(output.iterdir()):
        return
    if strange := _not_of_a_scored_dataset(output):
        raise ValueError(f"--output {output} holds {strange}: nothing is written over it. Name another directory.")
    if not overwrite:
        raise ValueError(
            f"--output {output} is a scored dataset already. Name another directory, or pass --overwrite."
        )


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


def _load_file(path: Path, split: str | None) -> Dataset | DatasetDict:
    if path.suffix.lower() not in _BUILDERS:
        raise ValueError(f"Cannot read {path.name!r}: expected a file of type {sorted(_BUILDERS)}, or a directory.")
    try:  # a lone file has one split, which its builder calls train
        return _pick(load_dataset(_BUILDERS[path.suffix.lower()], data_files=str(path)), split)
    except (DatasetGenerationError, pa.ArrowInvalid) as error:
        raise ValueError(f"{path} cannot be read: {error.__cause__ or error}") from error


def _pick(loaded: Dataset | DatasetDict, split: str | None) -> Dataset | DatasetDict:
    if isinstance(loaded, Dataset):
        return loaded
    if split is None:
        return next(iter(loaded.values())) if len(loaded) == 1 else loaded
    if split not in loaded:
        raise ValueError(f"There is no split {split!r}; there are {list(loaded)}. Choose one with --split.")
    return loaded[split]
