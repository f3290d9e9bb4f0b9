"""Masked image modelling, and what all models of pictures share: sizes, and pixels."""

import numpy as np
import torch
from datasets import Dataset
from PIL import Image
from sklearn.cluster import KMeans
from torch.nn import functional as F
from transformers import (
    BeitConfig,
    BeitForMaskedImageModeling,
    SwinConfig,
    SwinForMaskedImageModeling,
    ViTConfig,
    ViTForMaskedImageModeling,
    ViTMAEConfig,
    ViTMAEForPreTraining,
)
from use_case_data import SIDE
from use_case_training import Batch, Recipe, Rows

from hf_curriculum.cli.demo import set_positions

PATCH = 8
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
VIT = {**SMALL, "image_size": SIDE, "patch_size": PATCH}
DECODER = {f"decoder_{name}": size for name, size in SMALL.items()}


def tensor(image: Image.Image) -> torch.Tensor:
    """Pixels from -1 to 1, ``(3, height, width)``."""
    return torch.from_numpy(np.asarray(image.convert("RGB"), np.float32).transpose(2, 0, 1) / 127.5 - 1)


def pixels(rows: Rows) -> Batch:
    return {"pixel_values": torch.stack([tensor(row["image"]) for row in rows])}


def patches(images: torch.Tensor) -> torch.Tensor:
    """``(n, patches, numbers of a patch)``."""
    return F.unfold(images, PATCH, stride=PATCH).transpose(1, 2)


def random_mask(rows: int, places: int) -> torch.Tensor:
    """The same number of masked places in each row."""
    return torch.rand(rows, places).argsort(dim=1) < places // 2


def masked_pixels(rows: Rows) -> Batch:
    return {**pixels(rows), "bool_masked_pos": random_mask(len(rows), (SIDE // PATCH) ** 2)}


def mae(_: Dataset) -> Recipe:
    model = ViTMAEForPreTraining(ViTMAEConfig(**VIT, **DECODER))
    set_positions(model)
    return Recipe(model, pixels)


def simmim_vit(_: Dataset) -> Recipe:
    return Recipe(ViTForMaskedImageModeling(ViTConfig(**VIT, encoder_stride=PATCH)), masked_pixels)


def simmim_swin(_: Dataset) -> Recipe:
    config = SwinConfig(
        image_size=SIDE,
        patch_size=4,
        embed_dim=8,
        depths=[1, 1],
        num_heads=[1, 2],
        window_size=4,
        encoder_stride=8,  # a second stage halves the sides
    )

    def collate(rows: Rows) -> Batch:
        return {**pixels(rows), "bool_masked_pos": random_mask(len(rows), (SIDE // config.patch_size) ** 2)}

    return Recipe(SwinForMaskedImageModeling(config), collate)


def beit(dataset: Dataset) -> Recipe:
    """Visual tokens are the nearest of eight patches, where BEiT's own come from a trained dVAE."""
    every_patch = patches(pixels(dataset)["pixel_values"])
    tokens = KMeans(8, n_init=1, random_state=0).fit(every_patch.flatten(0, 1).numpy())

    def collate(rows: Rows) -> Batch:
        batch = masked_pixels(rows)
        masked = patches(batch["pixel_values"])[batch["bool_masked_pos"]]
        return {**batch, "labels": torch.from_numpy(tokens.predict(masked.numpy())).long()}

    return Recipe(BeitForMaskedImageModeling(BeitConfig(**VIT, vocab_size=8, use_mask_token=True)), collate)
