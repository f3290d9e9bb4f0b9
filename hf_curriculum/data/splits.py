"""Splits: a dataset of any kind as its checked splits by name, and back."""

import os
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from datasets import (
    Dataset,
    DatasetDict,
    IterableDataset,
    IterableDatasetDict,
)
from datasets.arrow_writer import ArrowWriter
from datasets.fingerprint import Hasher, generate_random_fingerprint, get_temporary_cache_files_directory
from PIL import Image


def as_dataset(dataset: Any) -> Any:
    """A ``Dataset`` with the rows of a map-style torch dataset, in their order; all else comes back as it is.

    Args:
        dataset: A ``torch.utils.data.Dataset`` that gives rows by index, from 0 to its length: dictionaries, or
            tuples such as torchvision's ``(image, label)``, whose parts become columns ``image``, ``text`` or
            ``input``, and ``label``.

    Returns:
        The dataset. Rows are written to disk one by one, not held in memory; its fingerprint is that of their content.

    Raises:
        TypeError: If rows are neither dictionaries nor tuples.
        ValueError: If a row has other keys, or a tuple another length, than the first.
    """
    if not isinstance(dataset, torch.utils.data.Dataset) or isinstance(dataset, torch.utils.data.IterableDataset):
        return dataset
    return _written(dataset)


def _written(dataset: Any) -> Dataset:
    if len(dataset) == 0:
        return Dataset.from_dict({})
    path = os.path.join(get_temporary_cache_files_directory(), f"{generate_random_fingerprint()}.arrow")
    with ArrowWriter(path=path) as writer:
        first = _row(dataset, 0).keys()
        for index in range(len(dataset)):
            row = _row(dataset, index)
            if row.keys() != first:
                raise ValueError(_of_other_keys(index, row.keys(), first))
            writer.write(row)
        writer.finalize()
    written = Dataset.from_file(path)
    content = Hasher()
    for batch in written.data.to_batches():
        content.update(batch)
    return Dataset(written.data, info=written.info, fingerprint=content.hexdigest())


def _of_other_keys(index: int, keys: Collection[str], first: Collection[str]) -> str:
    lacking, added = [name for name in first if name not in keys], [name for name in keys if name not in first]
    has = " and ".join(
        part for part in (lacking and f"lacks {lacking}", added and f"has {added}, which row 0 lacks") if part
    )
    return f"Row {index} {has}. All rows of a torch dataset need the same keys: give None where there is no value."


def _row(dataset: Any, index: int) -> dict[str, Any]:
    row = dataset[index]
    if isinstance(row, tuple | list):
        row = dict(zip(_names(row), row, strict=True))
    elif not isinstance(row, dict):
        raise TypeError(
            f"Row {index} is a {type(row).__name__}; a torch dataset must give dictionaries, or tuples such as "
            "(image, label)."
        )
    return {name: _plain(value) for name, value in row.items()}


def _names(row: tuple[Any, ...] | list[Any]) -> list[str]:
    first = "image" if isinstance(row[0], Image.Image) else "text" if isinstance(row[0], str) else "input"
    return [first, "label", *(f"column_{i}" for i in range(2, len(row)))][: len(row)]


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        value = value.numpy(force=True)
    return value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value


def require_dataset(dataset: object) -> None:
    """Raise unless ``dataset`` is a map-style dataset with at least one row.

    Raises:
        TypeError: For a streaming or any other object.
        ValueError: For an empty dataset.
    """
    if isinstance(dataset, IterableDataset | IterableDatasetDict):
        raise TypeError(
            f"Expected a Dataset, got a streaming {type(dataset).__name__}, whose rows cannot be drawn by index. "
            "Load it with streaming=False, or write its first rows to a Dataset: "
            "Dataset.from_list(list(dataset.take(n)), features=dataset.features). To embed and score a stream as it "
            "passes: stream.map(Embedder(model_id), batched=True).map(scorer, batched=True)."
        )
    if not isinstance(dataset, Dataset):
        raise TypeError(f"Expected a datasets.Dataset, got {type(dataset).__name__}.{_way_to_one(dataset)}")
    if len(dataset) == 0:
        raise ValueError("The dataset has no rows. Did an earlier `dataset.filter(...)` remove all of them?")


_WAYS = {
    "DataFrame": "Dataset.from_pandas(df), or Dataset.from_polars(df)",
    "LazyFrame": "Dataset.from_polars(frame.collect())",
    "Table": "Dataset(table), for one of pyarrow",
    "str": "load_dataset(name), load_from_disk(folder) or, of a file, Dataset.from_parquet, from_json or from_csv",
    "Path": "load_from_disk(folder) or, of a file, Dataset.from_parquet, from_json or from_csv",
    "list": "Dataset.from_list(rows) of dictionaries, or Dataset.from_dict({'text': texts})",
    "dict": "Dataset.from_dict(columns)",
    "ndarray": "Dataset.from_dict({'embedding': array})",
    "Tensor": "Dataset.from_dict({'embedding': tensor.numpy()})",
    "DataLoader": "loader.dataset",
    "IterableDataset": "Dataset.from_list(list(rows))",
    "generator": "Dataset.from_generator(function)",
    "NoneType": "load_dataset(name); a function that changes a dataset returns it",
}


def _way_to_one(dataset: object) -> str:
    """What makes a dataset of what was given instead."""
    if isinstance(dataset, DatasetDict):
        return f" Pass one split, e.g. dataset[{next(iter(dataset), 'train')!r}]."
    kinds = [kind.__name__ for kind in type(dataset).__mro__]
    kinds += ["Path"] if isinstance(dataset, os.PathLike) else []
    if isinstance(dataset, dict) and any(isinstance(value, Dataset) for value in dataset.values()):
        return " Make one of these splits: DatasetDict(splits)."
    way = next((_WAYS[kind] for kind in kinds if kind in _WAYS), None)
    return f" Make one: {way}." if way else ""


def splits_of(dataset: Dataset | DatasetDict) -> dict[str, Dataset]:
    """The splits by name, each checked; a lone ``Dataset`` counts as ``"train"``.

    Raises:
        TypeError: For a streaming or any other object.
        ValueError: For an empty split, or no split.
    """
    splits = dict(dataset) if isinstance(dataset, DatasetDict) else {"train": dataset}
    if not splits:
        raise ValueError("The DatasetDict has no splits.")
    for split in splits.values():
        require_dataset(split)
    return splits


def rejoined(splits: Mapping[str, Dataset], dataset: Dataset | DatasetDict) -> Dataset | DatasetDict:
    """Splits as the kind of dataset that they came from.

    Args:
        splits: By the names of :func:`splits_of`.
        dataset: What they came from.

    Returns:
        A ``DatasetDict`` for a ``DatasetDict``, else the lone ``Dataset``.
    """
    return DatasetDict(splits) if isinstance(dataset, DatasetDict) else next(iter(splits.values()))


def fit_split(splits: Mapping[str, Dataset]) -> str:
    """Name of the split that vocabularies and centroids are fitted on: ``"train"``, or else the first."""
    return "train" if "train" in splits else next(iter(splits))
