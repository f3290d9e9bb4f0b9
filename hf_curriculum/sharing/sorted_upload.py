"""A dataset that goes to the Hub as files sorted by difficulty."""

from copy import copy
from typing import Any

from datasets import Dataset, DatasetDict

from hf_curriculum.data import number_of_files, stored_table, write_sorted


class _Sorted(Dataset):
    """A dataset of which ``push_to_hub`` makes sorted files: it makes each by ``shard`` and ``to_parquet``."""

    @classmethod
    def of(cls, dataset: Dataset) -> "_Sorted":
        """The same rows."""
        same = copy(dataset)
        same.__class__ = cls
        return same

    def shard(self, num_shards: int, index: int, *args: Any, **kwargs: Any) -> Dataset:
        """Every ``num_shards``-th row, so that each file has rows from everywhere."""
        return self.of(super().shard(num_shards, index, contiguous=False))

    def to_parquet(self, path_or_buf: Any, *args: Any, **kwargs: Any) -> int:
        """Write all rows as one sorted file."""
        write_sorted(stored_table(self), path_or_buf)
        return 0


def sorted_upload(dataset: Dataset | DatasetDict) -> tuple[Dataset | DatasetDict, dict[str, Any]]:
    """What to push so that sorted files arrive.

    Args:
        dataset: Scored.

    Returns:
        A dataset of the same rows, and options for its ``push_to_hub``.
    """
    options: dict[str, Any] = {"embed_external_files": False}  # to_parquet does, a map would forget the class
    if isinstance(dataset, DatasetDict):
        numbers = {name: number_of_files(split) for name, split in dataset.items()}
        return DatasetDict({name: _Sorted.of(split) for name, split in dataset.items()}), options | {
            "num_shards": numbers
        }
    return _Sorted.of(dataset), options | {"num_shards": number_of_files(dataset)}
