"""Your own encoder: a torch module, a SentenceTransformer, or any callable."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


class CallableEncoder:
    """Wraps what embeds a list of rows: a module, an object with ``encode``, or a function."""

    modality: str | None = None

    def __init__(self, embed: Callable[[Any], Any]) -> None:
        self.model = embed.eval() if isinstance(embed, torch.nn.Module) else None
        self.embed = embed.encode if hasattr(embed, "encode") else embed
        self.record: dict[str, Any] = {"model_id": getattr(embed, "__qualname__", type(embed).__qualname__)}

    def to(self, device: torch.device) -> None:
        """Move the weights, if there are any, to a device."""
        if self.model is not None:
            self.model.to(device)

    @torch.inference_mode()
    def __call__(self, rows: list[Any], batch_size: int) -> NDArray[np.float32]:
        """Embed rows; see :class:`hf_curriculum.encoders.base.Encoder`."""
        vectors = []
        for start in range(0, len(rows), batch_size):
            batch = rows[start : start + batch_size]
            output = self.embed(batch)
            array = (
                output.float().cpu().numpy() if isinstance(output, torch.Tensor) else np.asarray(output, np.float32)
            )
            if array.ndim != 2 or len(array) != len(batch):
                raise ValueError(
                    f"{self.record['model_id']} must turn {len(batch)} rows into an array of shape "
                    f"({len(batch)}, dim), got shape {array.shape}."
                )
            vectors.append(array)
        return np.concatenate(vectors)
