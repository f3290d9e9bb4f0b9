"""Your own encoder: a torch module, a SentenceTransformer, or any callable."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from hf_curriculum.data import BadRow
from hf_curriculum.encoders.base import Prepared, single_batches
from hf_curriculum.encoders.identity import edition


class CallableEncoder:
    """Wraps what embeds a list of rows: a module, an object with ``encode``, or a function.

    Args:
        embed: Takes a list of rows and returns an array of shape ``(n, dim)``; or, with ``transform``, a batch tensor.
        transform: Turns a row into a tensor; the tensors of a batch are stacked and moved to the module's device.
    """

    modality: str | None = None
    window = 1

    def __init__(self, embed: Any, transform: Callable[[Any], torch.Tensor] | None = None) -> None:
        self.model = embed.eval() if isinstance(embed, torch.nn.Module) else None
        self.function = None if self.model is not None else embed
        self.transform = transform
        self.record: dict[str, Any] = {"model_id": getattr(embed, "__qualname__", type(embed).__qualname__)}

    def read(self, row: Any) -> Any:
        """The row as it is, or transformed."""
        if row is None:
            raise BadRow("the row is null")
        return row if self.transform is None else self.transform(row)

    def prepare(self, samples: list[Any], batch_size: int) -> Prepared:
        """Lists of rows, or stacked tensors."""
        return single_batches(samples, batch_size, list if self.transform is None else torch.stack)

    def encode(self, inputs: Any) -> torch.Tensor:
        """Vectors of a batch; see :class:`hf_curriculum.encoders.base.Encoder`."""
        embed: Any = self.function if self.model is None else self.model
        output = getattr(embed, "encode", embed)(inputs)
        vectors = output if isinstance(output, torch.Tensor) else torch.from_numpy(np.asarray(output, np.float32))
        if vectors.ndim != 2 or len(vectors) != len(inputs):
            raise ValueError(
                f"{self.record['model_id']} must turn {len(inputs)} rows into an array of shape "
                f"({len(inputs)}, dim), got shape {tuple(vectors.shape)}."
            )
        return vectors

    def identity(self) -> Any:
        """The module with its weights and settings, or the function."""
        embed = self.function if self.model is None else self.model
        return embed, self.transform, [edition(name) for name in ("torch", "numpy")]
