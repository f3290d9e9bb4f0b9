"""The quick start of the reference README with torchvision's lines, in an environment of its own."""

import pytest
import torch
from huggingface_hub import constants
from PIL import Image
from test_reference import QUICK_START, run
from torch.utils.data import DataLoader
from transformers import ViTConfig, ViTImageProcessor, ViTModel

pytest.importorskip("torchvision", reason="torchvision is not installed")
TORCHVISION = """
from torchvision import datasets, transforms

transform = transforms.Compose([
    transforms.Resize(256),
    transforms.CenterCrop(224),
    transforms.ToTensor(),
    transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
])

dataset = datasets.ImageNet(root='./data/imagenet', split='train', transform=transform)
"""


@pytest.fixture
def dino(tmp_path, monkeypatch):
    """facebook/dino-vits16 in the cache of the Hub, of its picture size and of random weights."""
    repository = tmp_path / "hub" / "models--facebook--dino-vits16"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0123")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    ViTModel(ViTConfig(**sizes, image_size=224, patch_size=16)).save_pretrained(repository / "snapshots" / "0123")
    ViTImageProcessor().save_pretrained(repository / "snapshots" / "0123")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def test_quick_start_on_imagenet_as_torchvision_reads_it(dino, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "data" / "imagenet"
    names = ["n01440764", "n01443537"]
    for place, name in enumerate(names):
        (root / "train" / name).mkdir(parents=True)
        for row in range(20):
            Image.new("RGB", (80, 64), (12 * row, 90 * place, 40)).save(root / "train" / name / f"{row}.JPEG")
    torch.save(({name: (name,) for name in names}, []), root / "meta.bin")
    dataset = run(TORCHVISION)["dataset"]
    assert len(dataset) == 40
    trained = []
    left = run(
        QUICK_START,
        torch=torch,
        dataset=dataset,
        num_epochs=1,
        train_loader=DataLoader(dataset, batch_size=8),
        train_step=lambda inputs, targets: trained.append(tuple(inputs.shape)),
    )
    assert trained == [(8, 3, 224, 224)] * 5
    assert left["difficulty_weights"].shape == (40,)
    assert left["curriculum"].labels_.tolist() == dataset.targets
