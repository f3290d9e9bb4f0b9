"""What every encoder offers: rows in, vectors out."""

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray


class Encoder(Protocol):
    """Turns raw rows into one vector each.

    Attributes:
        modality: ``"image"``, ``"audio"``, ``"text"``, or ``None`` if it takes any column.
        record: Provenance of its vectors: model id, revision, pooling.
    """

    modality: str | None
    record: dict[str, Any]

    def to(self, device: torch.device) -> None:
        """Move the weights, if there are any, to a device."""

    def __call__(self, rows: list[Any], batch_size: int) -> NDArray[np.float32]:
        """Embed rows as they come from the dataset.

        Args:
            rows: Decoded images, texts, or undecoded audio (``{"bytes": ..., "path": ...}``). Length ``n``.
            batch_size: Rows a forward pass takes at the most.

        Returns:
            float32, shape ``(n, dim)``, in the order of ``rows``.
        """


def masked_mean(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean over the positions that count.

    Args:
        hidden: Shape ``(batch, length, dim)``.
        mask: 1 where a position counts, 0 for padding. Shape ``(batch, length)``.

    Returns:
        Shape ``(batch, dim)``.
    """
    weight = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)


def pool(hidden: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """One vector a row from its hidden states.

    Args:
        hidden: Shape ``(batch, length, dim)``.
        mask: 1 where a position counts, 0 for padding. Shape ``(batch, length)``.
        pooling: ``"cls"`` (first position), ``"mean"``, ``"max"`` or ``"last"``; padding never counts.

    Returns:
        Shape ``(batch, dim)``.
    """
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "mean":
        return masked_mean(hidden, mask)
    if pooling == "max":
        return hidden.masked_fill(mask.unsqueeze(-1) == 0, -torch.inf).amax(1)
    positions = torch.arange(hidden.shape[1], device=hidden.device)
    last = (positions * mask).argmax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), last]


POOLINGS = ("auto", "cls", "mean", "max", "last")


def require_pooling(pooling: str) -> None:
    """Raise unless ``pooling`` is one of :data:`POOLINGS`."""
    if pooling not in POOLINGS:
        raise ValueError(f"pooling must be one of {list(POOLINGS)}, got {pooling!r}.")
