"""What ``map`` hands to a function: columns of a batch or of one row, decoded or not, and what it takes back."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from datasets import Audio, Features, Image, List, Value, Video
from datasets.formatting.formatting import LazyBatch, LazyRow
from PIL.Image import Image as PILImage

_MEDIA = {"image": Image(), "audio": Audio(), "video": Video()}


class MapBatch:
    """A batch, or one row, as ``Dataset.map``, ``IterableDataset.map`` or Ray hands it over.

    Where it lies on an Arrow table, rows are read from that, undecoded: a column that a function looks at decoded is
    encoded again by ``map``, with other bytes.

    Args:
        batch: Columns by name: a dictionary of lists, or of the values of one row; an Arrow table or a pandas
            ``DataFrame``.
        modalities: What the model takes; tells of values without a type which they are.

    Attributes:
        single: Whether it is one row (``map`` without ``batched=True``).
    """

    def __init__(self, batch: Any, modalities: tuple[str, ...]) -> None:
        self._batch = batch
        self._modalities = modalities
        self._table = batch.pa_table if isinstance(batch, LazyBatch | LazyRow) else batch
        self.single = _is_row(batch, modalities)

    def __len__(self) -> int:
        if self.single:
            return 1
        return len(next(iter(self._table.values()), [])) if isinstance(self._table, Mapping) else len(self._table)

    @property
    def features(self) -> Mapping[str, Any]:
        """Feature types by column: the dataset's own where the batch knows them, else what the values look like."""
        if isinstance(self._table, pa.Table):
            return Features.from_arrow_schema(self._table.schema)
        return {name: _feature_of(self.values(name), self._modalities) for name in self._batch}

    def values(self, column: str) -> list[Any]:
        """The rows of a column."""
        if isinstance(self._table, pa.Table):
            return self._table[column].to_pylist()
        return [self._batch[column]] if self.single else list(self._batch[column])

    def with_column(self, name: str, vectors: pa.Array) -> Any:
        """What ``map`` takes back: the new column alone, or the table with it.

        Args:
            name: Of the column.
            vectors: One a row, or null: a list of float32.

        Returns:
            A dictionary with the new column, or a table or ``DataFrame`` with all of them.
        """
        if isinstance(self._batch, pa.Table):
            kept = self._batch.drop_columns([name]) if name in self._batch.column_names else self._batch
            return kept.append_column(name, vectors)
        rows = [None if row is None else np.asarray(row, np.float32) for row in vectors.to_pylist()]
        if not isinstance(self._batch, Mapping):
            return self._batch.assign(**{name: rows})
        return {name: rows[0] if self.single else rows}


def _is_row(batch: Any, modalities: tuple[str, ...]) -> bool:
    if isinstance(batch, LazyBatch | LazyRow):
        return isinstance(batch, LazyRow)
    if not isinstance(batch, Mapping):
        return False
    values = batch.values()  # of a row they are not all lists of one length
    if not all(isinstance(value, list | tuple | np.ndarray | torch.Tensor) for value in values):
        return True
    film = "video" in modalities and any(isinstance(_feature_of([value], ("video",)), List) for value in values)
    return film or len({len(value) for value in values}) > 1


def _feature_of(values: list[Any], modalities: tuple[str, ...]) -> Any:
    """What the first value looks like; ``None`` if it is neither media nor text."""
    value = next((value for value in values if value is not None), None)
    kinds = {base.__name__ for base in type(value).__mro__}
    if isinstance(value, str):
        return Value("string")
    if isinstance(value, PILImage) or "image" in modalities and getattr(value, "ndim", 0) in (2, 3):
        return Image()
    if "AudioDecoder" in kinds or isinstance(value, Mapping) and {"array", "sampling_rate"} <= value.keys():
        return Audio()
    if "VideoDecoder" in kinds:
        return Video()
    if isinstance(value, list) and isinstance(_feature_of(value, ("image",)), Image):
        return List(Image())
    if isinstance(value, Mapping) and value.keys() == {"bytes", "path"}:
        return next((_MEDIA[modality] for modality in modalities if modality in _MEDIA), None)
    return None
