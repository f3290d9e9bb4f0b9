"""A small dataset for each modality, made here and scored by the library."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import soundfile
from datasets import Audio, Dataset, Features, Image, List, Value
from families import audio_file
from PIL import Image as PILImage
from sklearn.datasets import load_digits

from hf_curriculum import add_difficulty
from hf_curriculum.encoders.builtin import hog

ROWS = 24
SIDE = 32
RATE = 16_000
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DIRECTIONS = ((0, 3), (0, -3), (3, 0), (-3, 0))


@dataclass(frozen=True)
class Data:
    """Rows of one modality, what embeds them, and the words for that in the table."""

    make: Callable[[], Dataset]
    column: str
    encoder: Any
    scored_by: str


@cache
def scored(data: Data) -> Dataset:
    """The rows with a ``difficulty``, and with their numbers to tell them by."""
    dataset = add_difficulty(data.make(), data.encoder, input_column=data.column, n_clusters=4)
    return dataset.add_column("row", list(range(len(dataset))))


# --- pictures and films -------------------------------------------------------------------------------------------


def digit(number: int, rng: np.random.Generator) -> np.ndarray:
    """A handwritten digit, in grey, of any size and at any place in a black square."""
    height, width = rng.integers(12, 25, 2)
    pixels = PILImage.fromarray((load_digits().images[number] * 15).astype(np.uint8)).resize((width, height))
    top, left = rng.integers(0, (SIDE - height, SIDE - width), endpoint=True)
    square = np.zeros((SIDE, SIDE), np.uint8)
    square[top : top + height, left : left + width] = pixels
    return square


def pictures() -> Dataset:
    rng = np.random.default_rng(0)
    images = [PILImage.fromarray(digit(number, rng)).convert("RGB") for number in range(ROWS)]
    features = Features({"image": Image(), "label": Value("int64")})
    return Dataset.from_dict({"image": images, "label": load_digits().target[:ROWS].tolist()}, features=features)


def films() -> Dataset:
    """Digits that move up, down, left or right."""
    rng = np.random.default_rng(1)
    rows = []
    for number in range(ROWS):
        first, label = digit(number, rng), number % len(DIRECTIONS)
        dy, dx = DIRECTIONS[label]
        frames = [np.roll(first, (time * dy, time * dx), (0, 1)) for time in range(4)]
        rows.append({"frames": [PILImage.fromarray(frame).convert("RGB") for frame in frames], "label": label})
    return Dataset.from_list(rows, features=Features({"frames": List(Image()), "label": Value("int64")}))


def mean_hog(videos: list[list[PILImage.Image]]) -> np.ndarray:
    return np.stack([np.mean([hog(frame) for frame in frames], axis=0) for frames in videos])


# --- sounds -------------------------------------------------------------------------------------------------------


def samples_of(row: dict[str, Any]) -> np.ndarray:
    return soundfile.read(io.BytesIO(row["audio"]["bytes"]), dtype="float32")[0]


def sounds(rows: list[dict[str, Any]]) -> Dataset:
    """Audio in bytes, decoded where a batch is made: no FFmpeg is needed."""
    return Dataset.from_list(rows).cast_column("audio", Audio(decode=False))


def spoken_digits() -> Dataset:
    """Two formants for each digit, and a voice of its own in each clip of a quarter of a second."""
    rng, time, rows = np.random.default_rng(2), np.arange(RATE // 4) / RATE, []
    for number in range(ROWS):
        label = number % 10
        formants = (300 + 60 * label, 2400 - 120 * label)
        voice = sum(np.sin(2 * np.pi * hertz * rng.uniform(0.9, 1.1) * time) for hertz in formants)
        clip = 0.3 * voice * np.hanning(time.size) + rng.normal(0, 0.01, time.size)
        rows.append({"audio": audio_file(clip, RATE), "label": label, "text": DIGITS[label]})
    return sounds(rows)


def melodies() -> Dataset:
    """Four notes of a scale."""
    rng, time = np.random.default_rng(3), np.arange(RATE // 16) / RATE
    rows = []
    for _ in range(ROWS):
        notes = [220 * 2 ** (step / 12) for step in rng.choice([0, 2, 4, 5, 7, 9, 11, 12], 4)]
        clip = np.concatenate([0.5 * np.sin(2 * np.pi * hertz * time) * np.hanning(time.size) for hertz in notes])
        rows.append({"audio": audio_file(clip, RATE)})
    return sounds(rows)


def environmental_sounds() -> Dataset:
    """In the shape of ESC-50: 50 classes of clips of 5 seconds in five folds, of which four are trained on.

    A class is a rhythm of bursts of noise over a hum; at 2 kHz, so that it is quick.
    """
    rng, time, rows = np.random.default_rng(4), np.arange(5 * 2000) / 2000, []
    for fold, label in product(range(1, 6), range(50)):
        rhythm = np.sin(2 * np.pi * (1 + label % 5) * time + rng.uniform(0, 6)) > 0.5
        hum = np.sin(2 * np.pi * 50 * (1 + label // 5) * time)
        clip = 0.2 * hum + 0.2 * rhythm * rng.normal(0, 1, time.size)
        rows.append({"audio": audio_file(clip, 2000), "label": label, "fold": fold})
    return sounds([row for row in rows if row["fold"] != 5])


# --- texts --------------------------------------------------------------------------------------------------------


def texts() -> Dataset:
    """Pairs of texts over the words of one of four topics; words are numbers, see ``tiny.word_tokenizer``."""
    rng = np.random.default_rng(5)
    rows = []
    for number in range(ROWS):
        words = 20 + 20 * (number % 4) + rng.integers(0, 20, (2, 12))
        text, similar = (" ".join(map(str, some[: rng.integers(4, 13)])) for some in words)
        rows.append({"text": text, "similar": similar})
    return Dataset.from_list(rows)


PICTURES = Data(pictures, "image", "builtin/hog", "`builtin/hog`")
FILMS = Data(films, "frames", mean_hog, "a function: mean HOG of the frames")
SPEECH = Data(spoken_digits, "audio", "builtin/logmel", "`builtin/logmel`")
MUSIC = Data(melodies, "audio", "builtin/logmel", "`builtin/logmel`")
ENVIRONMENT = Data(environmental_sounds, "audio", "builtin/logmel", "`builtin/logmel`")
TEXTS = Data(texts, "text", "builtin/tfidf", "`builtin/tfidf`")
