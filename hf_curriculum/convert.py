"""A map-style dataset of torch as a ``datasets.Dataset``."""

import os
from typing import Any

import numpy as np
import torch
from datasets import Dataset
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
    """
    if not isinstance(dataset, torch.utils.data.Dataset) or isinstance(dataset, torch.utils.data.IterableDataset):
        return dataset
    return _written(dataset)


def _written(dataset: Any) -> Dataset:
    if len(dataset) == 0:
        return Dataset.from_dict({})
    path = os.path.join(get_temporary_cache_files_directory(), f"{generate_random_fingerprint()}.arrow")
    with ArrowWriter(path=path) as writer:
        for index in range(len(dataset)):
            writer.write(_row(dataset, index))
        writer.finalize()
    written = Dataset.from_file(path)
    content = Hasher()
    for batch in written.data.to_batches():
        content.update(batch)
    return Dataset(written.data, info=written.info, fingerprint=content.hexdigest())


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
