"""Descriptors that need no download: HOG for images, log-mel statistics for audio, TF-IDF for text."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from hf_curriculum._optional import require_extra
from hf_curriculum.data import BadRow, read_audio, read_image, read_text
from hf_curriculum.encoders.base import Prepared, single_batches
from hf_curriculum.encoders.packages import edition


class _ReadyEncoder:
    """Encodes while it prepares, on the CPU."""

    model: torch.nn.Module | None = None
    ready = True
    window = 1

    def __init__(self, model_id: str, modality: str) -> None:
        self.modality: str | None = modality
        self.record: dict[str, Any] = {"model_id": model_id}

    def encode(self, inputs: torch.Tensor) -> torch.Tensor:
        """The vectors that :meth:`prepare` made."""
        return inputs


class BuiltinEncoder(_ReadyEncoder):
    """A descriptor of one row, by name."""

    def __init__(self, model_id: str) -> None:
        modality, self.describe = BUILTINS[model_id]
        super().__init__(model_id, modality)

    def read(self, row: Any) -> NDArray[np.float32]:
        """Describe one row."""
        return self.describe(row).astype(np.float32)

    def prepare(self, samples: list[NDArray[np.float32]], batch_size: int) -> Prepared:
        """Descriptors in batches."""
        return single_batches(samples, batch_size, lambda vectors: torch.from_numpy(np.stack(vectors)))

    def identity(self) -> Any:
        """Its name, and the libraries that compute it."""
        libraries = ("numpy", "pillow", "skimage", "transformers", "soundfile", "soxr", "av")
        return [edition(name) for name in libraries]


def hog(row: Any) -> NDArray[np.float32]:
    """Histogram of oriented gradients of the image at 64 x 64 grey pixels; 324 numbers.

    Raises:
        BadRow: If the image is of one grey: its vector would be 0, that of the easiest row of all.

    Source:
        Dalal and Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005.
    """
    feature = require_extra("skimage.feature", extra="image", purpose="builtin/hog")
    pixels = np.asarray(read_image(row).convert("L").resize((64, 64), Image.Resampling.BILINEAR), np.float32) / 255
    if np.ptp(pixels) == 0:
        raise BadRow("the image is of one grey, in which builtin/hog finds nothing")
    return np.asarray(
        feature.hog(pixels, orientations=9, pixels_per_cell=(16, 16), cells_per_block=(2, 2), feature_vector=True)
    )


_RATE = 16_000
_MELS = 64


def logmel(row: dict[str, Any]) -> NDArray[np.float32]:
    """Mean and standard deviation over time of 64 log-mel bands at 16 kHz; 128 numbers.

    Raises:
        BadRow: If the audio is silent.
    """
    samples = read_audio(row, _RATE)
    if not samples.any():
        raise BadRow("the audio is silent")
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


_WORD = re.compile(r"\w\w+")
_UNSPACED = re.compile(  # Thai, Lao, Tibetan, Burmese, Khmer, kana, Chinese characters: written without spaces
    "[\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ecd\u0f40-\u0fbc\u1000-\u103f\u1780-\u17d3\u3041-\u30fa\u30fc-\u30ff"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d\U00020000-\U000323af]+"
)


def words(text: str) -> list[str]:
    """The words of a text, in lower case; of a script that has no spaces, all runs of two and three characters."""
    text = text.lower()
    found = _WORD.findall(_UNSPACED.sub(" ", text))
    for run in _UNSPACED.findall(text):
        found += [run] if len(run) == 1 else [run[i : i + n] for n in (2, 3) for i in range(len(run) - n + 1)]
    return found


class TfidfEncoder(_ReadyEncoder):
    """TF-IDF of the dataset's own words, reduced to 128 dimensions by a truncated SVD (latent semantic analysis).

    Words are those of :func:`words`.

    Args:
        texts: What the words and their weights are taken from.
        seed: Seed of the SVD.

    Raises:
        ValueError: If the texts have no words, or only one.

    Source:
        Deerwester et al., "Indexing by Latent Semantic Analysis", JASIS 1990.
    """

    def __init__(self, texts: list[str], seed: int = 0) -> None:
        super().__init__("builtin/tfidf", "text")
        self.vectorizer = TfidfVectorizer(analyzer=words, sublinear_tf=True, max_features=50_000, dtype=np.float32)
        try:
            counts = self.vectorizer.fit_transform(texts)
        except ValueError as error:
            raise ValueError(f"builtin/tfidf found no words in the texts: {error}") from error
        if counts.shape[1] < 2:
            (word,) = self.vectorizer.vocabulary_
            raise ValueError(
                f"builtin/tfidf found no word but {word!r} in the texts, and tells texts apart by their words. Pass "
                "texts of several words, or another encoder."
            )
        self.svd = TruncatedSVD(n_components=min(128, counts.shape[1]), random_state=seed).fit(counts)

    def read(self, row: str | None) -> str:
        """A text with something in it.

        Raises:
            BadRow: If it has no word that is known: its vector would be 0, that of the easiest row of all.
        """
        text = read_text(row)
        if self.vectorizer.vocabulary_.keys().isdisjoint(words(text)):
            raise BadRow("the text has no word that builtin/tfidf knows")
        return text

    def prepare(self, samples: list[str], batch_size: int) -> Prepared:
        """Vectors in batches."""
        return single_batches(samples, batch_size, self._vectors)

    def _vectors(self, texts: list[str]) -> torch.Tensor:
        return torch.from_numpy(self.svd.transform(self.vectorizer.transform(texts)).astype(np.float32))

    def identity(self) -> Any:
        """Words, their weights and the axes."""
        libraries = [edition(name) for name in ("numpy", "scipy", "sklearn")]
        return self.vectorizer.vocabulary_, self.vectorizer.idf_, self.svd.components_, libraries


BUILTINS: dict[str, tuple[str, Callable[[Any], NDArray[np.float32]]]] = {
    "builtin/hog": ("image", hog),
    "builtin/logmel": ("audio", logmel),
}
NAMES = (*BUILTINS, "builtin/tfidf")
