"""What every encoder offers: rows are read and prepared on CPU workers, batches are encoded on the device."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass(frozen=True)
class Batch:
    """Inputs that run together.

    Attributes:
        inputs: What :meth:`Encoder.encode` takes: tensors by name, all with the batch as first dimension, or a list.
        positions: Row of each input among the rows that were prepared, int64, shape ``(batch,)``; a row that was cut
            into several windows has several inputs.
        weights: Weight of each input in the mean of its row, float32, shape ``(batch,)``.
    """

    inputs: Any
    positions: NDArray[np.int64]
    weights: NDArray[np.float32]


@dataclass(frozen=True)
class Prepared:
    """Rows ready for the device.

    Attributes:
        batches: Cover every row at least once, in any order.
        truncated: Number of rows that lost a part, since they were longer than the encoder takes.
    """

    batches: list[Batch]
    truncated: int = 0


class Encoder(Protocol):
    """Turns raw rows into one vector each.

    Attributes:
        modality: ``"image"``, ``"audio"``, ``"video"``, ``"text"``, or ``None`` if it takes any column.
        record: Provenance of its vectors: model id, revision, pooling, layer.
        model: The weights; ``None`` if there are none.
        ready: Whether :meth:`prepare` makes the vectors, on the CPU and in float32, and nothing is left to compute.
        window: Rows that are best prepared together, so that inputs of one length find each other; 1 if any will do.
    """

    modality: str | None
    record: dict[str, Any]
    model: torch.nn.Module | None
    ready: bool
    window: int

    def read(self, row: Any) -> Any:
        """Decode one row of the dataset, undecoded where it is media (``{"bytes": ..., "path": ...}``).

        Raises:
            BadRow: If the row is empty. Whatever else is raised counts as the fault of this row, too.
        """

    def prepare(self, samples: list[Any], batch_size: int) -> Prepared:
        """Batches of at most ``batch_size`` inputs from what :meth:`read` returned; runs in a worker process.

        Args:
            samples: Length ``n``.
            batch_size: Inputs in a batch at the most.

        Returns:
            The batches, as arrays or tensors on the CPU.
        """

    def encode(self, inputs: Any) -> torch.Tensor:
        """Vectors of a batch on the device of the model, shape ``(batch, dim)``."""

    def identity(self) -> Any:
        """What its vectors depend on beside :attr:`record`: weights, settings, code. Hashed by ``digest``."""


def single_batches(samples: list[Any], batch_size: int, collate: Any) -> Prepared:
    """Batches in the order of the samples, one input a row.

    Args:
        samples: Length ``n``.
        batch_size: Samples in a batch at the most.
        collate: From a list of samples to the inputs of a batch.

    Returns:
        The batches.
    """
    batches = []
    for start in range(0, len(samples), batch_size):
        positions = np.arange(start, min(start + batch_size, len(samples)))
        batches.append(Batch(collate([samples[i] for i in positions]), positions, np.ones(positions.size, np.float32)))
    return Prepared(batches)


POOLINGS = ("auto", "cls", "mean", "max", "last")


def require_pooling(pooling: str) -> None:
    """Raise unless ``pooling`` is one of :data:`POOLINGS`.

    Raises:
        ValueError: If it is not.
    """
    if pooling not in POOLINGS:
        raise ValueError(f"pooling must be one of {list(POOLINGS)}, got {pooling!r}.")


def pool(hidden: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """One vector a row from its hidden states.

    Args:
        hidden: Shape ``(batch, length, dim)``.
        mask: 1 where a position counts, 0 for padding. Shape ``(batch, length)``.
        pooling: ``"cls"`` (first position that counts), ``"mean"``, ``"max"`` or ``"last"``; padding never counts.

    Returns:
        Shape ``(batch, dim)``.
    """
    if pooling == "mean":
        weight = mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)
    if pooling == "max":
        return hidden.masked_fill(mask.unsqueeze(-1) == 0, -torch.inf).amax(1)
    positions = torch.arange(hidden.shape[1], 0, -1, device=hidden.device)
    if pooling == "last":
        positions = positions.flip(0)
    return hidden[torch.arange(len(hidden), device=hidden.device), (positions * mask).argmax(1)]
