"""Some rows of a column to vectors: read and prepared on the CPU, embedded on the device."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from datasets import List

from hf_curriculum._version import __version__
from hf_curriculum.data import BadRow, embedding_feature
from hf_curriculum.embedding.forward import Forward
from hf_curriculum.encoders import Encoder, Prepared

NOT_FINITE = "the model returned a NaN or infinite number"


@dataclass(frozen=True)
class PreparedRows:
    """Neighbouring rows, ready for the device.

    Attributes:
        count: Number of rows.
        good: Those that could be read and prepared, counted from the first, in the order of ``prepared``.
        bad: What is wrong with each of the others.
        prepared: The good rows in batches.
    """

    count: int
    good: list[int]
    bad: dict[int, str]
    prepared: Prepared

    def pin_memory(self) -> "PreparedRows":
        """The rows with their tensors in page-locked memory, from which a GPU copies while it computes."""
        batches = [replace(batch, inputs=_pinned(batch.inputs)) for batch in self.prepared.batches]
        return replace(self, prepared=replace(self.prepared, batches=batches))


def prepare_rows(encoder: Encoder, values: Sequence[Any], batch_size: int) -> PreparedRows:
    """Read and prepare some rows; no weights are needed.

    Args:
        encoder: Reads and prepares.
        values: A row each, decoded or not.
        batch_size: Inputs of a batch at the most.

    Returns:
        The rows, ready for the device.

    Raises:
        ModuleNotFoundError: If a package is missing that reads them. All else is the fault of a row, and noted.
    """
    samples: dict[int, Any] = {}
    bad: dict[int, str] = {}
    for position, value in enumerate(values):
        with _blame(position, bad):
            samples[position] = encoder.read(value)

    def prepare(some: dict[int, Any]) -> Prepared:
        return encoder.prepare(list(some.values()), batch_size) if some else Prepared([])

    try:
        prepared = prepare(samples)
    except Exception:  # of one row, it may be: which?
        for position, sample in samples.items():
            with _blame(position, bad):
                prepare({position: sample})
        samples = {position: sample for position, sample in samples.items() if position not in bad}
        prepared = prepare(samples)
    return PreparedRows(len(values), list(samples), bad, prepared)


def window_rows(encoder: Encoder, batch_size: int) -> int:
    """Rows that are best prepared together: whole batches.

    Args:
        encoder: Prepares them.
        batch_size: Inputs of a batch at the most.

    Returns:
        Their number.
    """
    return batch_size * max(1, encoder.window // batch_size)


@contextmanager
def _blame(position: int, bad: dict[int, str]) -> Iterator[None]:
    """Note what goes wrong in the block as the fault of the row at this position."""
    try:
        yield
    except ModuleNotFoundError:
        raise  # not the row's fault
    except Exception as error:
        bad[position] = str(error) if isinstance(error, BadRow) else f"{type(error).__name__}: {error}"


class RowEmbedder:
    """Embeds prepared rows of one column.

    Args:
        forward: Runs the encoder.
        column: Name of the column, for errors.
        on_error: ``"raise"`` stops at a row that cannot be embedded; ``"null"`` leaves it without a vector.

    Attributes:
        dim: Length of a vector; ``None`` before the first one.
        truncated: Rows so far that were longer than the encoder takes, and were cut.
    """

    def __init__(self, forward: Forward, column: str, on_error: str) -> None:
        self.forward = forward
        self.column = column
        self.on_error = on_error
        self.dim: int | None = None
        self.truncated = 0

    def embed(self, rows: PreparedRows, numbers: Sequence[int] | None = None) -> pa.Array:
        """Vectors of some rows, null where a row has none.

        Args:
            rows: From :func:`prepare_rows`.
            numbers: Their numbers in the dataset, for errors; shape ``(n,)``. Default ``None``, not known.

        Returns:
            A fixed-size list of ``dim`` float32 a row, ``n`` of them; of type null while ``dim`` is unknown.

        Raises:
            ValueError: With ``on_error="raise"``, if a row cannot be embedded; if vectors differ in length.
            RuntimeError: If the model fails.
        """
        return self.start(rows, numbers)()

    def start(self, rows: PreparedRows, numbers: Sequence[int] | None = None) -> Callable[[], pa.Array]:
        """Tell the device to embed some rows; a GPU does so while this process goes on.

        Args:
            rows: From :func:`prepare_rows`.
            numbers: Their numbers in the dataset, for errors; shape ``(n,)``. Default ``None``, not known.

        Returns:
            What waits for the vectors, and gives or raises what :meth:`embed` does.

        Raises:
            ValueError: If the encoder does not fit its options.
            RuntimeError: If the model fails.
        """
        found: Callable[[], np.ndarray] = partial(np.empty, (0, self.dim or 0), np.float32)
        if rows.good:
            with self._model_blamed(rows, numbers):
                found = self.forward.start(rows.prepared, len(rows.good))
        return partial(self._column, found, rows, numbers)

    def _column(
        self, vectors: Callable[[], np.ndarray], rows: PreparedRows, numbers: Sequence[int] | None
    ) -> pa.Array:
        with self._model_blamed(rows, numbers):
            found = vectors()
        if rows.good:
            self._require_length(found.shape[1], numbers)
        bad = rows.bad | {rows.good[i]: NOT_FINITE for i in np.flatnonzero(~np.isfinite(found).all(axis=1)).tolist()}
        if bad and self.on_error == "raise":
            position = min(bad)
            raise ValueError(
                f"{_named([position], numbers)} of column {self.column!r} cannot be embedded: {bad[position]}. Mend "
                "or drop it, or pass on_error='null' to leave such rows without an embedding."
            )
        self.truncated += rows.prepared.truncated
        if self.dim is None:
            return pa.nulls(rows.count)
        null = np.zeros(rows.count, bool)
        null[list(bad)] = True
        if len(found) < rows.count:
            found, some = np.zeros((rows.count, self.dim), np.float32), found
            found[rows.good] = some
        return pa.FixedSizeListArray.from_arrays(pa.array(found.ravel()), self.dim, mask=pa.array(null))

    @property
    def feature(self) -> List:
        """Feature of the vectors, with their provenance; needs ``dim``."""
        assert self.dim is not None
        encoder = self.forward.encoder
        record = {**encoder.record, "input_column": self.column, "dtype": self.forward.dtype, "version": __version__}
        return embedding_feature(self.dim, record)

    @contextmanager
    def _model_blamed(self, rows: PreparedRows, numbers: Sequence[int] | None) -> Iterator[None]:
        """Say of which rows it is that the model fails in the block."""
        try:
            yield
        except Exception as error:
            if self.dim is None and isinstance(error, ValueError | TypeError):
                raise  # of the encoder, about its options or what the model returns
            raise RuntimeError(
                f"The model failed on {_named(range(rows.count), numbers).lower()} of column {self.column!r}: "
                f"{type(error).__name__}: {error}"
            ) from error

    def _require_length(self, dim: int, numbers: Sequence[int] | None) -> None:
        self.dim = self.dim or dim
        if dim != self.dim:
            place = "a batch" if numbers is None else f"rows from {numbers[0]} on"
            raise ValueError(
                f"The model returned vectors of length {dim} for {place}, and of length {self.dim} for the first row."
            )


def _named(positions: Sequence[int], numbers: Sequence[int] | None) -> str:
    """How an error names rows."""
    first, last = positions[0], positions[-1]
    if numbers is not None:
        first, last = numbers[first], numbers[last]
    name = f"Row {first}" if first == last else f"Rows {first} to {last}"
    return name if numbers is not None else f"{name} of a batch (with_indices=True tells its number in the dataset)"


def _pinned(inputs: Any) -> Any:
    if isinstance(inputs, dict):
        return {name: _pinned(value) for name, value in inputs.items()}
    if isinstance(inputs, np.ndarray):  # of tokens; from other memory, the copy waits for all that a GPU has to do
        inputs = torch.from_numpy(inputs)
    return inputs.pin_memory() if isinstance(inputs, torch.Tensor) else inputs
