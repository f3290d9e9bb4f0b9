"""Video encoders of the Hub: VideoMAE, TimeSformer; and how videos are read."""

import io
from typing import Any

import torch
from PIL import Image
from transformers import AutoImageProcessor, PreTrainedModel

from hf_curriculum._optional import require_extra
from hf_curriculum.encoders.base import BadRow, Prepared, single_batches
from hf_curriculum.encoders.hub import HubEncoder
from hf_curriculum.encoders.image import read_image


def read_video(row: Any, n_frames: int) -> list[Image.Image]:
    """Frames at even distances over a whole video.

    Args:
        row: ``{"bytes": ..., "path": ...}``, as a column of ``Video(decode=False)`` gives it, or a list of images.
        n_frames: Frames wanted; of a shorter video some come twice.

    Returns:
        ``n_frames`` images in mode RGB.

    Raises:
        BadRow: If there is no frame.
        ModuleNotFoundError: If the row is a video file and the ``video`` extra is not installed.
    """
    if isinstance(row, list):
        return [read_image(row[i]) for i in _spread(n_frames, len(row))]
    if row is None or row["bytes"] is None and row["path"] is None:
        raise BadRow("the video is null")
    av = require_extra("av", extra="video", purpose="Reading videos")
    with av.open(row["path"] if row["bytes"] is None else io.BytesIO(row["bytes"])) as container:
        count = sum(packet.size > 0 for packet in container.demux(video=0))
        container.seek(0)
        chosen = _spread(n_frames, count)
        # Only the frames that count become pictures: those of a minute of film would fill the memory.
        frames = {i: frame.to_image() for i, frame in enumerate(container.decode(video=0)) if i in chosen}
    if not frames:
        raise BadRow("the video has no frames")
    return [read_image(frames.get(i, frames[max(frames)])) for i in chosen]  # a damaged end is its last picture


def _spread(n_frames: int, count: int) -> list[int]:
    if count == 0:
        raise BadRow("the video has no frames")
    return [int((i + 0.5) * count / n_frames) for i in range(n_frames)]


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
        return super().identity(), self.processor.to_dict()
