"""The README's code runs as it is written; only names that stand for the reader's own things are filled in."""

import re
from pathlib import Path

import pytest
from needs import needs
from transformers import TrainingArguments, ViTMAEConfig, ViTMAEForPreTraining

from hf_curriculum import CurriculumTrainer

README = (Path(__file__).parents[2] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def mine(digits, tiny_dinov2, tmp_path):
    """What a reader has: a dataset to load, a model, training arguments."""
    digits.map(lambda row: {"image": row["image"].convert("RGB").resize((32, 32))}).to_parquet(tmp_path / "d.parquet")
    model = ViTMAEForPreTraining(
        ViTMAEConfig(
            image_size=32,
            patch_size=8,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            decoder_hidden_size=16,
            decoder_num_hidden_layers=1,
            decoder_num_attention_heads=2,
            decoder_intermediate_size=16,
        )
    )
    args = TrainingArguments(
        str(tmp_path / "run"),
        max_steps=3,
        report_to="none",
        use_cpu=True,
        save_strategy="no",
        logging_steps=1,
        remove_unused_columns=False,
    )
    return {"model": model, "args": args, "path": str(tmp_path)}


def run(code, mine, tiny_dinov2, names):
    code = code.replace("zh-plus/tiny-imagenet", mine["path"]).replace("facebook/dinov2-small", tiny_dinov2)
    code = re.sub(r"^push_scored.*$", "", code, flags=re.MULTILINE)
    exec(code.replace("trainer.train()", ""), names)


def test_first_screen_then_config(mine, tiny_dinov2, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = dict(mine)
    for block in BLOCKS:
        if "import trl" in block or "from trl" in block:
            needs("trl")
        run(block, mine, tiny_dinov2, names)
    assert names["scored"].column_names[-4:] == ["embedding", "cluster", "distance", "difficulty"]
    assert (tmp_path / "report.html").stat().st_size > 1_000_000
    assert isinstance(names["trainer"], CurriculumTrainer)
    assert names["trainer"].curriculum.warmup_steps == 0.5
    names["trainer"].data_collator = collate
    names["trainer"].train()
    assert names["trainer"].state.global_step == 3


def collate(rows):
    import numpy as np
    import torch

    pixels = np.stack([np.asarray(row["image"], np.float32) for row in rows]).transpose(0, 3, 1, 2) / 255
    return {"pixel_values": torch.from_numpy(pixels)}
