"""Sound as images: log-mel spectrograms in bytes."""

import io
from typing import Any

import numpy as np
import soundfile
from datasets import Dataset
from numpy.typing import NDArray
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

_SIZE = 64
_FRAME, _FFT = 256, 512
_SECONDS = 0.8
_DECIBELS = 80


def spectrograms(column: Dataset) -> NDArray[np.uint8]:
    """Recordings as log-mel spectrograms, bytes, shape ``(n, 64, 64, 1)``: mel bands up, 0.8 s across.

    Longer ones are cut, shorter ones end in silence. 255 is the loudest moment of a recording, 0 is 80 dB below it.
    """
    return np.stack([_spectrogram(sound) for sound in column])[:, :, :, None]


def _spectrogram(sound: dict[str, Any]) -> NDArray[np.uint8]:
    wave, rate = soundfile.read(io.BytesIO(sound["bytes"]), dtype="float32")
    hop = round(_SECONDS * rate / _SIZE)
    power = spectrogram(
        np.pad(wave, (0, max(0, _SIZE * hop - len(wave)))),
        window_function(_FRAME, "hann"),
        frame_length=_FRAME,
        hop_length=hop,
        fft_length=_FFT,
        power=2.0,
        mel_filters=mel_filter_bank(_FFT // 2 + 1, _SIZE, 50.0, rate / 2, rate, mel_scale="htk"),
        mel_floor=1e-10,
    )[:, :_SIZE]
    decibels = 10 * np.log10(power / power.max())
    return (255 * np.clip(1 + decibels / _DECIBELS, 0, 1)).astype(np.uint8)
