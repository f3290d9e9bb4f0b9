"""Audio encoders of the Hub: Wav2Vec2, HuBERT and their family; and how audio is read."""

import io
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoFeatureExtractor, PreTrainedModel

from hf_curriculum._optional import require_extra
from hf_curriculum.encoders.base import pool


def read_audio(row: dict[str, Any], sampling_rate: int) -> NDArray[np.float32]:
    """Samples of an undecoded audio row, mixed to one channel and resampled.

    Args:
        row: ``{"bytes": ..., "path": ...}``, as a column of ``Audio(decode=False)`` gives it.
        sampling_rate: Rate wanted, in Hz.

    Returns:
        float32, shape ``(samples,)``.

    Raises:
        ModuleNotFoundError: If the ``audio`` extra is not installed.
    """
    soundfile = require_extra("soundfile", extra="audio", purpose="Reading audio")
    source = row["path"] if row["bytes"] is None else io.BytesIO(row["bytes"])
    samples, rate = soundfile.read(source, dtype="float32", always_2d=True)
    mono: NDArray[np.float32] = samples.mean(axis=1)
    if rate == sampling_rate:
        return mono
    soxr = require_extra("soxr", extra="audio", purpose="Resampling audio")
    return np.asarray(soxr.resample(mono, rate, sampling_rate), dtype=np.float32)


class AudioEncoder:
    """A speech or sound encoder with its feature extractor.

    Clips run one by one, unpadded: with group normalisation (Wav2Vec2 base) padding would change the vectors.
    """

    modality: str | None = "audio"

    def __init__(self, model: PreTrainedModel, source: dict[str, Any], pooling: str) -> None:
        self.model = model.eval()
        self.extractor = AutoFeatureExtractor.from_pretrained(**source)
        self.pooling = "mean" if pooling == "auto" else pooling
        self.record: dict[str, Any] = {"pooling": self.pooling}

    def __getstate__(self) -> dict[str, Any]:
        """What ``datasets`` hashes for its cache: torch cannot pickle a weight norm, which Wav2Vec2 has."""
        return {**self.__dict__, "model": (self.model.config.to_dict(), self.model.state_dict())}

    def to(self, device: torch.device) -> None:
        """Move the weights to a device."""
        self.model.to(device)

    @torch.inference_mode()
    def __call__(self, rows: list[dict[str, Any]], batch_size: int) -> NDArray[np.float32]:
        """Embed clips; see :class:`hf_curriculum.encoders.base.Encoder`."""
        rate = self.extractor.sampling_rate
        vectors = []
        for row in rows:
            inputs = self.extractor(read_audio(row, rate), sampling_rate=rate, return_tensors="pt")
            hidden = self.model(**inputs.to(self.model.device, self.model.dtype)).last_hidden_state
            mask = torch.ones(hidden.shape[:2], device=hidden.device)
            vectors.append(pool(hidden, mask, self.pooling)[0].float().cpu().numpy())
        return np.stack(vectors)
