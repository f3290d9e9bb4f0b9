"""Models with random weights, which are as fast as trained ones, and rows for them."""

import io
from pathlib import Path

import numpy as np
import soundfile
from datasets import Array3D, Audio, Dataset, Features, Image, Value, load_from_disk
from families import words
from PIL import Image as PILImage
from sklearn.datasets import load_digits
from transformers import (
    BertConfig,
    BertModel,
    ViTConfig,
    ViTImageProcessor,
    ViTMAEConfig,
    ViTMAEForPreTraining,
    ViTModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    set_seed,
)

WORDS = ["red", "green", "blue", "cat", "dog", "bird"]


def save_bert(folder: Path, width: int, layers: int) -> str:
    config = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": max(1, width // 64)}
    BertModel(BertConfig(vocab_size=30_522, intermediate_size=4 * width, **config)).save_pretrained(folder)
    words(model_max_length=256)().save_pretrained(folder)
    return str(folder)


def save_vit(folder: Path, width: int, layers: int) -> str:
    config = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": max(1, width // 64)}
    ViTModel(ViTConfig(intermediate_size=4 * width, **config)).save_pretrained(folder)
    ViTImageProcessor(size={"height": 224, "width": 224}).save_pretrained(folder)
    return str(folder)


def save_wav2vec2(folder: Path, width: int, layers: int) -> str:
    config = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": max(1, width // 64)}
    Wav2Vec2Model(Wav2Vec2Config(intermediate_size=4 * width, **config)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(sampling_rate=16_000).save_pretrained(folder)
    return str(folder)


def texts(rows: int, words: int = 60) -> Dataset:
    """Of 1 to twice so many words."""
    rng = np.random.default_rng(0)
    return Dataset.from_dict({"text": [" ".join(rng.choice(WORDS, rng.integers(1, 2 * words))) for _ in range(rows)]})


def photographs(rows: int) -> Dataset:
    """JPEG files of 500 x 375 pixels, in which there is something to decode."""
    rng, files = np.random.default_rng(0), []
    for _ in range(min(rows, 256)):
        small = PILImage.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        file = io.BytesIO()
        small.resize((500, 375), PILImage.Resampling.BICUBIC).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    # A byte after its end makes each a file of its own, which no cache knows.
    given = [{"bytes": files[i % len(files)] + i.to_bytes(4, "little"), "path": None} for i in range(rows)]
    return Dataset.from_dict({"image": given}, features=Features({"image": Image()}))


def sounds(rows: int) -> Dataset:
    """WAV files of 2 to 6 seconds."""
    rng, given = np.random.default_rng(0), []
    for _ in range(rows):
        file = io.BytesIO()
        soundfile.write(file, rng.normal(0, 0.1, int(16_000 * rng.uniform(2, 6))), 16_000, format="WAV")
        given.append({"bytes": file.getvalue(), "path": None})
    stored = Features({"audio": {"bytes": Value("binary"), "path": Value("string")}})
    return Dataset.from_dict({"audio": given}, features=stored).cast_column("audio", Audio(sampling_rate=16_000))


def digits(rows: int, folder: str) -> Dataset:
    """Pixel values on disk, each row with a difficulty of its own."""
    pixels = (load_digits().images.astype(np.float32) / 8 - 1)[:, None]
    columns = {
        "pixel_values": pixels[np.arange(rows) % len(pixels)],
        "difficulty": np.random.default_rng(0).beta(2, 3, rows).astype(np.float32),
    }
    features = Features({"pixel_values": Array3D((1, 8, 8), "float32"), "difficulty": Value("float32")})
    Dataset.from_dict(columns, features=features).save_to_disk(folder)
    return load_from_disk(folder).with_format("numpy")


def tiny_mae(width: int = 64, layers: int = 3) -> ViTMAEForPreTraining:
    """A masked autoencoder of digits; the same weights each time."""
    set_seed(0)
    config = {"hidden_size": width, "num_hidden_layers": layers, "intermediate_size": 2 * width}
    decoder = {"decoder_hidden_size": 32, "decoder_num_hidden_layers": 1, "decoder_intermediate_size": 64}
    heads = {"num_attention_heads": 4, "decoder_num_attention_heads": 4}
    return ViTMAEForPreTraining(ViTMAEConfig(image_size=8, patch_size=2, num_channels=1, **config, **decoder, **heads))
