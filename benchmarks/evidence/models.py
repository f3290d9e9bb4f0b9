"""Model builders: a masked autoencoder of fixed sizes for images of any size."""

from typing import Any

import torch
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from hf_curriculum.demo import set_positions

MODELS: dict[str, dict[str, Any]] = {
    "mae-nano": {  # for tests
        "patch_size": 2,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "decoder_hidden_size": 16,
        "decoder_num_hidden_layers": 1,
        "decoder_num_attention_heads": 2,
        "decoder_intermediate_size": 32,
    },
    "mae-small": {  # for two cores
        "patch_size": 4,
        "hidden_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "decoder_hidden_size": 48,
        "decoder_num_hidden_layers": 1,
        "decoder_num_attention_heads": 4,
        "decoder_intermediate_size": 96,
    },
    "mae-vit-tiny": {  # ViT-Ti of DeiT
        "patch_size": 4,
        "hidden_size": 192,
        "num_hidden_layers": 12,
        "num_attention_heads": 3,
        "intermediate_size": 768,
        "decoder_hidden_size": 128,
        "decoder_num_hidden_layers": 2,
        "decoder_num_attention_heads": 4,
        "decoder_intermediate_size": 512,
    },
}


def build(name: str, image_size: int, channels: int, seed: int) -> ViTMAEForPreTraining:
    """A model with the initial weights of this seed."""
    torch.manual_seed(seed)
    model = ViTMAEForPreTraining(
        ViTMAEConfig(**MODELS[name], image_size=image_size, num_channels=channels, norm_pix_loss=True)
    )
    set_positions(model)
    return model


def features(model: ViTMAEForPreTraining, pixels: torch.Tensor) -> torch.Tensor:
    """Mean over the patches of the encoder's output, nothing masked. Shape ``(n, width)``."""
    ratio, model.config.mask_ratio = model.config.mask_ratio, 0.0
    try:
        tokens = model.vit(pixels).last_hidden_state
    finally:
        model.config.mask_ratio = ratio
    return tokens[:, 1:].float().mean(dim=1)  # without masking patches are shuffled, which a mean does not see
