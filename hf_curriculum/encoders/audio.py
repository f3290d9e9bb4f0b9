"""Audio encoders of the Hub: Wav2Vec2 and its family, Whisper's encoder, AST, CLAP; and how audio is read."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoFeatureExtractor, PreTrainedModel

from hf_curriculum.data import read_audio
from hf_curriculum.encoders.base import Batch, Prepared
from hf_curriculum.encoders.hub import OWN, HubEncoder
from hf_curriculum.encoders.packages import edition

# With layer normalisation, padding that is masked leaves no trace in these; in their kin the convolutions see it.
_MASKED = {"hubert", "unispeech", "unispeech-sat", "wav2vec2", "wavlm"}


class AudioEncoder(HubEncoder):
    """A speech or sound encoder with its feature extractor.

    ``"auto"`` pools as the model's authors do: the mean over the frames, AST's pooler, CLAP's projection. Where
    padding would change the vectors, as in Wav2Vec2 with group normalisation, batches are of clips of one length.
    """

    modality: str | None = "audio"
    window = 64  # 30 s of each are 120 MB, and each worker holds two windows

    def __init__(
        self,
        model: PreTrainedModel,
        source: dict[str, Any],
        pooling: str,
        layer: int | str | None = None,
        long_inputs: str = "truncate",
        max_seconds: float = 30.0,
    ) -> None:
        pools_itself = (
            hasattr(model, "get_audio_features") or model.config.model_type == "audio-spectrogram-transformer"
        )
        if pooling == "auto":
            pooling = OWN if pools_itself and layer is None else "mean"
        super().__init__(model, pooling, layer)
        self.extractor = AutoFeatureExtractor.from_pretrained(**source)
        self.long_inputs = long_inputs
        taken = _samples_taken(self.extractor)
        self.fixed = taken is not None
        longest = round(max_seconds * self.extractor.sampling_rate)
        self.max_samples = longest if taken is None else min(longest, taken)
        config = model.config
        self.padded = config.model_type in _MASKED and config.feat_extract_norm == "layer"
        self.padded &= not getattr(config, "add_adapter", False)

    def read(self, row: Any) -> NDArray[np.float32]:
        """Samples at the extractor's rate; see :func:`read_audio`."""
        return read_audio(row, self.extractor.sampling_rate)

    def prepare(self, samples: list[NDArray[np.float32]], batch_size: int) -> Prepared:
        """Features in batches of similar length, longest first; without padding where that would count."""
        whole = self.long_inputs == "mean"
        pieces = [
            (position, piece)
            for position, clip in enumerate(samples)
            for piece in (self._windows(clip) if whole else [clip[: self.max_samples]])
        ]
        pieces.sort(key=lambda piece: -piece[1].size)
        batches: list[Batch] = []
        while pieces:
            size = batch_size
            if not self.fixed and not self.padded:  # as many as are of one length
                size = min(size, sum(clip.size == pieces[0][1].size for _, clip in pieces))
            batches.append(self._batch(pieces[:size]))
            pieces = pieces[size:]
        return Prepared(batches, 0 if whole else sum(clip.size > self.max_samples for clip in samples))

    def _windows(self, clip: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        return np.array_split(clip, math.ceil(clip.size / self.max_samples))

    def _batch(self, pieces: list[tuple[int, NDArray[np.float32]]]) -> Batch:
        options = {} if self.fixed else {"padding": True}
        features = self.extractor(
            [clip for _, clip in pieces],
            sampling_rate=self.extractor.sampling_rate,
            return_tensors="pt",
            return_attention_mask=self.padded or self.extractor.model_input_names[0] != "input_values",
            **options,
        )
        if "is_longer" in features:  # CLAP marks a random clip as longer where none is
            features["is_longer"] = torch.zeros_like(features["is_longer"])
        weights = np.array([clip.size for _, clip in pieces] if self.long_inputs == "mean" else [1] * len(pieces))
        # Arrays, since each tensor that a worker sends holds a file open.
        inputs = {name: np.asarray(value) for name, value in features.items()}
        return Batch(inputs, np.array([row for row, _ in pieces]), weights.astype(np.float32))

    def mask(self, inputs: dict[str, torch.Tensor], hidden: torch.Tensor) -> torch.Tensor:
        """1 where a frame of ``hidden`` holds sound of the clip.

        Args:
            inputs: What the extractor gave.
            hidden: Shape ``(batch, frames, dim)``.

        Returns:
            Shape ``(batch, frames)``.

        Raises:
            ValueError: If the layer does not give one vector a frame.
        """
        samples, frames = inputs.get("attention_mask"), hidden.shape[1]
        if samples is None or frames == 1:
            return super().mask(inputs, hidden)
        if self.padded:
            lengths = self.model._get_feat_extract_output_lengths(samples.sum(1))
            mask = torch.arange(int(lengths.max()), device=hidden.device) < lengths[:, None]
        else:  # Whisper: two spectrogram frames a position
            mask = samples[:, :: max(1, samples.shape[1] // frames)]
        if mask.shape[1] != frames:
            raise ValueError(f"layer {self.layer!r} does not give one vector a frame; choose a layer of the encoder.")
        return mask

    def identity(self) -> Any:
        """Weights, settings and those of the extractor."""
        libraries = [edition(name) for name in ("soundfile", "soxr", "av")]
        settings = type(self.extractor), self.extractor.to_dict(), self.long_inputs, self.max_samples
        return super().identity(), settings, libraries


def _samples_taken(extractor: Any) -> int | None:
    """Samples that an extractor cuts or pads every clip to: Whisper, CLAP, AST (frames of 25 ms every 10 ms)."""
    for name in ("n_samples", "nb_max_samples"):
        if hasattr(extractor, name):
            return int(getattr(extractor, name))
    frames = getattr(extractor, "max_length", None)
    return None if frames is None else round(((frames - 1) * 0.010 + 0.025) * extractor.sampling_rate)
