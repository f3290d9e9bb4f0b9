"""Image encoders of the Hub: DINO, DINOv2 and their family."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import AutoImageProcessor, PreTrainedModel

from hf_curriculum.encoders.base import pool


class ImageEncoder:
    """A vision transformer or convolutional network with its image processor."""

    modality: str | None = "image"

    def __init__(self, model: PreTrainedModel, source: dict[str, Any], pooling: str) -> None:
        self.model = model.eval()
        self.processor = AutoImageProcessor.from_pretrained(**source)
        self.pooling = "cls" if pooling == "auto" else pooling
        self.record: dict[str, Any] = {"pooling": self.pooling}

    def to(self, device: torch.device) -> None:
        """Move the weights to a device."""
        self.model.to(device)

    @torch.inference_mode()
    def __call__(self, rows: list[Image.Image], batch_size: int) -> NDArray[np.float32]:
        """Embed images; see :class:`hf_curriculum.encoders.base.Encoder`."""
        vectors = []
        for start in range(0, len(rows), batch_size):
            images = [image.convert("RGB") for image in rows[start : start + batch_size]]
            pixels = self.processor(images=images, return_tensors="pt").to(self.model.device, self.model.dtype)
            hidden = self._positions(self.model(**pixels).last_hidden_state)
            mask = torch.ones(hidden.shape[:2], device=hidden.device)
            vectors.append(pool(hidden, mask, self.pooling).float().cpu().numpy())
        return np.concatenate(vectors)

    def _positions(self, hidden: torch.Tensor) -> torch.Tensor:
        if hidden.ndim == 3:
            return hidden
        if self.pooling not in ("mean", "max"):
            raise ValueError(
                f"{self.record['model_id']} gives feature maps of shape {tuple(hidden.shape[1:])}, which have "
                f"no position for pooling={self.pooling!r}. Pass pooling='mean' or 'max'."
            )
        return hidden.flatten(2).transpose(1, 2)
