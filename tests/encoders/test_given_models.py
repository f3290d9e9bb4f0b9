"""Models that a user has in hand: other precisions, offloaded, Sentence Transformers of pictures, odd tokenizers."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import cpu_offload, disk_offload, dispatch_model
from datasets import Audio, Dataset, Features, Image
from PIL import Image as PILImage
from transformers import (
    AutoTokenizer,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    PreTrainedTokenizerFast,
)

from hf_curriculum import add_embeddings

TEXTS = Dataset.from_dict({"text": ["a" * (row % 5 + 1) for row in range(12)]})


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = torch.nn.Linear(3, 8), torch.nn.Linear(8, 4)

    def forward(self, inputs):
        return self.second(torch.tanh(self.first(inputs)))


def lengths(row):
    return torch.tensor([len(row), 1.0, 2.0])


def vectors(dataset, model, **options):
    return np.asarray(add_embeddings(dataset, model, **options)["embedding"][:], np.float32)


# --- precision and place --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_a_module_runs_in_the_precision_of_its_weights(dtype):
    model = Net().to(dtype)
    found = vectors(TEXTS, model, transform=lengths)
    batch = torch.stack([lengths(row) for row in TEXTS["text"]]).to(dtype)
    np.testing.assert_allclose(found, model(batch).float().detach().numpy(), rtol=1e-6, atol=1e-6)
    assert next(model.parameters()).dtype == dtype


@pytest.mark.parametrize("way", ["cpu", "disk", "dispatched"])
def test_an_offloaded_module_gives_what_it_gives_at_home(way, tmp_path):
    wanted, model, cpu = vectors(TEXTS, Net(), transform=lengths), Net(), torch.device("cpu")
    if way == "cpu":
        model = cpu_offload(model, execution_device=cpu)
    elif way == "disk":
        disk_offload(model, offload_dir=tmp_path, execution_device=cpu)
    else:
        device_map = {"first": "disk", "second": "cpu"}
        model = dispatch_model(model, device_map, main_device="cpu", offload_dir=tmp_path, force_hooks=True)
    assert any(weight.is_meta for weight in model.parameters())
    assert np.array_equal(vectors(TEXTS, model, transform=lengths), wanted)


def test_weights_that_are_nowhere_are_told():
    with torch.device("meta"):
        model = Net()
    with pytest.raises(ValueError, match=r"weights of Net are on the meta device.*\(first.weight and 3 more\): load"):
        add_embeddings(TEXTS, model, transform=lengths)


# --- tokenizers -----------------------------------------------------------------------------------------------------


def test_a_tokenizer_without_padding_and_end_gives_the_same_vectors(tiny_bert, sentences, tmp_path):
    path = shutil.copytree(tiny_bert, tmp_path / "bert")
    full = AutoTokenizer.from_pretrained(path)
    bare = PreTrainedTokenizerFast(tokenizer_object=full.backend_tokenizer, unk_token="[UNK]", model_max_length=64)
    bare.save_pretrained(path)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (path / name).exists():
            settings = json.loads((path / name).read_text())
            settings.pop("pad_token", None)
            (path / name).write_text(json.dumps(settings))
    assert AutoTokenizer.from_pretrained(path).pad_token is None
    assert len({len(text.split()) for text in sentences["text"]}) > 1  # some are padded
    np.testing.assert_allclose(vectors(sentences, str(path)), vectors(sentences, tiny_bert), atol=1e-6)


# --- Sentence Transformers of pictures ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clip(tmp_path_factory, tiny_bert):
    st = pytest.importorskip("sentence_transformers")
    path = tmp_path_factory.mktemp("clip")
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**sizes, "vocab_size": 10, "bos_token_id": 2, "eos_token_id": 3},
        vision_config={**sizes, "image_size": 32, "patch_size": 16},
        projection_dim=16,
    )
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(path)
    processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    CLIPProcessor(processor, AutoTokenizer.from_pretrained(tiny_bert)).save_pretrained(path)
    return st.SentenceTransformer(str(path), device="cpu")


def test_a_sentence_transformer_of_pictures_gets_pictures(clip, digits, tmp_path):
    pictures = digits.select(range(6)).select_columns(["image"])
    wanted = clip.encode([image.convert("RGB") for image in pictures["image"]], convert_to_numpy=True)
    np.testing.assert_allclose(vectors(pictures, clip), wanted, atol=1e-5)
    for row, image in enumerate(pictures["image"]):
        image.save(tmp_path / f"{row}.png")
    paths = Dataset.from_dict(
        {"image": [str(tmp_path / f"{row}.png") for row in range(6)]}, features=Features({"image": Image()})
    )
    np.testing.assert_allclose(vectors(paths, clip), wanted, atol=1e-5)


def test_a_damaged_picture_is_the_fault_of_its_row(clip):
    good = PILImage.fromarray(np.zeros((8, 8, 3), np.uint8))
    rows = Dataset.from_dict({"image": [good, good]}, features=Features({"image": Image()}))
    rows = rows.cast_column("image", Image(decode=False)).to_list()
    rows[1]["image"]["bytes"] = b"no picture"
    broken = Dataset.from_list(rows, features=Features({"image": Image()}))
    with pytest.raises(ValueError, match="Row 1 of column 'image' cannot be embedded: .*cannot identify"):
        add_embeddings(broken, clip)


def test_a_sentence_transformer_of_texts_refuses_pictures(minilm, digits, clips):
    st = pytest.importorskip("sentence_transformers")
    model = st.SentenceTransformer(minilm, device="cpu")
    with pytest.raises(ValueError, match="SentenceTransformer embeds text, but the column holds image"):
        add_embeddings(digits.select(range(3)), model, input_column="image")
    audio = Dataset.from_dict({"audio": ["a.wav"]}).cast_column("audio", Audio(decode=False))
    with pytest.raises(ValueError, match="SentenceTransformer embeds text, but the column holds audio"):
        add_embeddings(audio, model)


# --- worker processes -----------------------------------------------------------------------------------------------

SCRIPT = """
import multiprocessing
{method}
import numpy as np, torch
from datasets import Dataset
from hf_curriculum import add_embeddings

texts = Dataset.from_dict({{"text": ["red cat", "blue", "green dog"] * 40}})
model = torch.nn.Linear(1, 2)

def lengths(row):
    return torch.tensor([float(len(row))])

def run(transform):
    add_embeddings(texts, model, transform=transform, num_workers=1, cache_dir="shards")

{call}
"""
SPAWN = 'multiprocessing.set_start_method("spawn", force=True)'


def script(tmp_path, call, method=SPAWN):
    (tmp_path / "script.py").write_text(SCRIPT.format(method=method, call=call))
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root}
    return subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_of_it(tmp_path):
    done = script(tmp_path, "run(lengths)")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "started by 'spawn'" in last and "if __name__ == '__main__':" in last


@pytest.mark.slow
def test_a_function_that_cannot_be_sent_to_a_worker_is_told(tmp_path):
    guarded = "if __name__ == '__main__':\n    run(lambda row: torch.ones(1))"
    done = script(tmp_path, guarded)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ValueError: Worker processes cannot be started by 'spawn', which pickles what reads the")
    assert "pass num_workers=0" in last
    assert script(tmp_path, guarded, method="").returncode == 0  # under fork nothing is pickled
