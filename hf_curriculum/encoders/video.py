"""Video encoders of the Hub: VideoMAE, TimeSformer; and how videos are read."""

from typing import Any

import torch
from PIL import Image
from transformers import AutoImageProcessor, PreTrainedModel

from hf_curriculum.data import read_video
from hf_curriculum.encoders.base import Prepared, single_batches
from hf_curriculum.encoders.hub import HubEncoder
from hf_curriculum.encoders.packages import edition


class VideoEncoder(HubEncoder):
    """A video transformer with its image processor.

    ``"auto"`` pools as the model's authors do: TimeSformer's class token, else the mean over the patches.
    """

    modality: str | None = "video"

    def __init__(
        self, model: PreTrainedModel, source: dict[str, Any], pooling: str, layer: int | str | None = None
    ) -> None:
        if pooling == "auto":
            pooling = "cls" if model.config.model_type == "timesformer" else "mean"
        super().__init__(model, pooling, layer)
        self.processor = AutoImageProcessor.from_pretrained(**source)
        self.n_frames = int(model.config.num_frames)

    def read(self, row: Any) -> list[Image.Image]:
        """Decode the frames that the model takes; see :func:`read_video`."""
        return read_video(row, self.n_frames)

    def prepare(self, samples: list[list[Image.Image]], batch_size: int) -> Prepared:
        """Pixels as the model takes them."""
        return single_batches(samples, batch_size, self._pixels)

    def _pixels(self, videos: list[list[Image.Image]]) -> dict[str, torch.Tensor]:
        return dict(self.processor(videos, return_tensors="pt"))

    def identity(self) -> Any:
        """Weights, settings and those of the processor."""
        libraries = [edition(name) for name in ("pillow", "torchvision", "av")]
        return super().identity(), type(self.processor), self.processor.to_dict(), libraries
