"""From what a user types on the command line to a dataset."""

import os
from pathlib import Path

import pyarrow as pa
from datasets import Audio, Dataset, DatasetDict, Features, Value, load_dataset, load_from_disk
from datasets.exceptions import DatasetGenerationError

from hf_curriculum.data import require_name

_BUILDERS = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".csv": "csv", ".arrow": "arrow"}


def load(name: str, split: str | None, config: str | None = None) -> Dataset | DatasetDict:
    """Load a file, a directory or a Hub dataset.

    Args:
        name: A Parquet, JSON, JSON lines, CSV or Arrow file; a directory of these, of images or of audio, or one that
            ``save_to_disk`` wrote; or the id of a Hub dataset.
        split: Name of the split; ``None`` for all that there are.
        config: Configuration (subset) of a Hub dataset. Default the only one.

    Returns:
        The split, or a ``DatasetDict`` of all splits; a directory that ``save_to_disk`` wrote may have none to choose
        from, and is a ``Dataset`` then.

    Raises:
        ValueError: If the file type is unknown, a file is damaged, or the split or the dataset does not exist.
    """
    require_name(name, "The name of the dataset")
    if os.path.isfile(name):  # unlike Path, it bears any name
        return _load_file(Path(name), split)
    if any(os.path.isfile(os.path.join(name, known)) for known in ("dataset_dict.json", "state.json")):
        return _pick(load_from_disk(name), split)
    try:
        return load_dataset(name, config, split=split)
    except DatasetGenerationError as error:
        if split is not None and isinstance(error.__cause__, ImportError):  # of torchcodec, to read no more than names
            return _load_sounds(name, split, config)
        raise ValueError(f"{name!r} cannot be read: {error.__cause__ or error}") from error
    except (FileNotFoundError, ConnectionError) as error:
        raise ValueError(
            f"{name!r} is neither a file nor a directory here, nor a dataset of the Hub that can be loaded: {error}"
        ) from error


def require_output(output: Path, source: str) -> None:
    """Raise unless a dataset made from ``source`` can be saved to ``output``; before hours of work, not after them.

    Args:
        output: Directory to save to; may be missing.
        source: What is read: a file, a directory or the name of a dataset of the Hub.

    Raises:
        ValueError: If it is a file, or the source itself, or no directory can have this name.
    """
    require_name(str(output), "--output")
    try:
        output.exists()
    except OSError as error:
        raise ValueError(f"--output cannot be a directory: {error}.") from error
    if output.exists() and not output.is_dir():
        raise ValueError(f"--output {output} is a file; name a directory.")
    if output.exists() and os.path.exists(source) and output.samefile(source):
        raise ValueError(f"--output {output} is the dataset that is read; name another directory.")


def _load_sounds(name: str, split: str, config: str | None) -> Dataset:
    """An audio folder by the names of its files: to write them into a dataset, datasets wants torchcodec."""
    stream = load_dataset(name, config, split=split, streaming=True)
    named = {column: Value("string") if isinstance(kind, Audio) else kind for column, kind in stream.features.items()}
    rows = list(stream.cast(Features(named)))
    return Dataset.from_list(rows, features=Features(named)).cast(stream.features)


def _load_file(path: Path, split: str | None) -> Dataset | DatasetDict:
    if path.suffix.lower() not in _BUILDERS:
        raise ValueError(f"Cannot read {path.name!r}: expected a file of type {sorted(_BUILDERS)}, or a directory.")
    try:  # a lone file has one split, which its builder calls train
        return _pick(load_dataset(_BUILDERS[path.suffix.lower()], data_files=str(path)), split)
    except (DatasetGenerationError, pa.ArrowInvalid) as error:
        raise ValueError(f"{path} cannot be read: {error.__cause__ or error}") from error


def _pick(loaded: Dataset | DatasetDict, split: str | None) -> Dataset | DatasetDict:
    if split is None or isinstance(loaded, Dataset):
        return loaded
    if split not in loaded:
        raise ValueError(f"There is no split {split!r}; there are {list(loaded)}. Choose one with --split.")
    return loaded[split]
