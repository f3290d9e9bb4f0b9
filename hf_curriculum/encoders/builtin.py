"""Descriptors that need no download: HOG for images, log-mel statistics for audio, TF-IDF for text."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import Pipeline, make_pipeline
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from hf_curriculum._optional import require_extra
from hf_curriculum.encoders.audio import read_audio


class BuiltinEncoder:
    """A descriptor by name, ``builtin/...``."""

    def __init__(self, model_id: str) -> None:
        self.modality: str | None
        self.modality, self.describe = BUILTINS[model_id]
        self.record: dict[str, Any] = {"model_id": model_id}

    def to(self, device: torch.device) -> None:
        """Nothing to move: descriptors run on the CPU."""

    def __call__(self, rows: list[Any], batch_size: int) -> NDArray[np.float32]:
        """Describe rows; see :class:`hf_curriculum.encoders.base.Encoder`."""
        return np.stack([self.describe(row) for row in rows]).astype(np.float32)


def hog(image: Image.Image) -> NDArray[np.float32]:
    """Histogram of oriented gradients of the image at 64 x 64 grey pixels; 324 numbers.

    Source:
        Dalal and Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005.
    """
    feature = require_extra("skimage.feature", extra="image", purpose="builtin/hog")
    pixels = np.asarray(image.convert("L").resize((64, 64), Image.Resampling.BILINEAR), np.float32) / 255
    return np.asarray(
        feature.hog(pixels, orientations=9, pixels_per_cell=(16, 16), cells_per_block=(2, 2), feature_vector=True)
    )


_RATE = 16_000
_MELS = 64


def logmel(row: dict[str, Any]) -> NDArray[np.float32]:
    """Mean and standard deviation over time of 64 log-mel bands at 16 kHz; 128 numbers."""
    samples = read_audio(row, _RATE)
    samples = np.pad(samples, (0, max(0, 400 - samples.size)))
    bands = spectrogram(
        samples,
        window_function(400, "hann"),
        frame_length=400,
        hop_length=160,
        fft_length=512,
        power=2.0,
        mel_filters=mel_filter_bank(257, _MELS, 0.0, _RATE / 2, _RATE),
        log_mel="log10",
        mel_floor=1e-10,
    )
    return np.concatenate([bands.mean(axis=1), bands.std(axis=1)])


class TfidfEncoder:
    """TF-IDF of the dataset's own words, reduced to 128 dimensions by a truncated SVD (latent semantic analysis).

    Source:
        Deerwester et al., "Indexing by Latent Semantic Analysis", JASIS 1990.
    """

    modality: str | None = "text"

    def __init__(self, texts: list[str], seed: int = 0) -> None:
        self.record: dict[str, Any] = {"model_id": "builtin/tfidf"}
        self.model = self._fit(texts, seed)

    @staticmethod
    def _fit(texts: list[str], seed: int) -> Pipeline:
        vectorizer = TfidfVectorizer(sublinear_tf=True, max_features=50_000, dtype=np.float32)
        try:
            words = vectorizer.fit_transform(texts).shape[1]
        except ValueError as error:
            raise ValueError(f"builtin/tfidf found no words in the {len(texts)} texts: {error}") from error
        svd = TruncatedSVD(n_components=min(128, words), random_state=seed)
        return make_pipeline(vectorizer, svd).fit(texts)

    def __getstate__(self) -> dict[str, Any]:
        """What ``datasets`` hashes for its cache: a vectorizer holds an ``id()``, new in each interpreter."""
        vectorizer, svd = self.model[0], self.model[1]
        return {**self.__dict__, "model": (vectorizer.vocabulary_, vectorizer.idf_, svd.components_)}

    def to(self, device: torch.device) -> None:
        """Nothing to move: descriptors run on the CPU."""

    def __call__(self, rows: list[str], batch_size: int) -> NDArray[np.float32]:
        """Describe texts; see :class:`hf_curriculum.encoders.base.Encoder`."""
        return np.asarray(self.model.transform(rows), dtype=np.float32)


BUILTINS: dict[str, tuple[str, Callable[[Any], NDArray[np.float32]]]] = {
    "builtin/hog": ("image", hog),
    "builtin/logmel": ("audio", logmel),
}
NAMES = (*BUILTINS, "builtin/tfidf")
