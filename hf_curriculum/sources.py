"""From what a user types on the command line to a dataset."""

from pathlib import Path

from datasets import Dataset, DatasetDict, load_dataset, load_from_disk

_BUILDERS = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".csv": "csv", ".arrow": "arrow"}


def load(name: str, split: str) -> Dataset:
    """Load one split of a file, a directory or a Hub dataset.

    Args:
        name: A Parquet, JSON, JSON lines, CSV or Arrow file; a directory of these, of images or of audio, or one that
            ``save_to_disk`` wrote; or the id of a Hub dataset.
        split: Name of the split.

    Returns:
        The split.

    Raises:
        ValueError: If the file type is unknown, or the split or the dataset does not exist.
    """
    path = Path(name)
    if path.is_file():
        return _load_file(path, split)
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        return _pick(load_from_disk(name), split)
    try:
        return load_dataset(name, split=split)
    except (FileNotFoundError, ConnectionError) as error:
        raise ValueError(
            f"{name!r} is neither a file nor a directory here, nor a dataset of the Hub that can be loaded: {error}"
        ) from error


def _load_file(path: Path, split: str) -> Dataset:
    if path.suffix.lower() not in _BUILDERS:
        raise ValueError(f"Cannot read {path.name!r}: expected a file of type {sorted(_BUILDERS)}, or a directory.")
    # A lone file has one split, which its builder calls train.
    return _pick(load_dataset(_BUILDERS[path.suffix.lower()], data_files=str(path)), split)


def _pick(loaded: Dataset | DatasetDict, split: str) -> Dataset:
    if isinstance(loaded, Dataset):
        return loaded
    if split not in loaded:
        raise ValueError(f"There is no split {split!r}; there are {list(loaded)}. Choose one with --split.")
    return loaded[split]
