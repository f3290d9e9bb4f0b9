"""What a model learns, at which size, and the features that it is judged by.

Whatever is random in a loss is drawn by place in the batch from a generator of (seed, step), so that arms that draw
other rows still share it. No model has dropout.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy, pad
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    PreTrainedModel,
    ViTConfig,
    ViTForImageClassification,
    ViTMAEConfig,
    ViTMAEForPreTraining,
)

from benchmarks.evidence.tokens import MASK, PAD, SPECIAL, VOCABULARY
from hf_curriculum.cli.demo import set_positions

_MASKED_TEXT = 0.15


class Task(ABC):
    """A model of a size, and its loss.

    Args:
        sizes: Options of the model's config.
    """

    def __init__(self, **sizes: Any) -> None:
        self.sizes = sizes

    @abstractmethod
    def build(self, inputs: torch.Tensor, labels: torch.Tensor, seed: int) -> PreTrainedModel:
        """A model for such rows, with the initial weights of this seed."""

    def augment(self, inputs: torch.Tensor, rng: np.random.Generator, *, shift: int, flip: bool) -> torch.Tensor:
        """The inputs as a step sees them."""
        return inputs

    @abstractmethod
    def loss(self, model: Any, inputs: torch.Tensor, labels: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Mean loss of a batch."""

    @abstractmethod
    def features(self, model: Any, inputs: torch.Tensor) -> torch.Tensor:
        """Mean over the tokens of the encoder's output, nothing masked. Shape ``(n, width)``."""


class Classifier(Task):
    """Learns the labels, from scratch."""

    @abstractmethod
    def logits(self, model: Any, inputs: torch.Tensor) -> torch.Tensor:
        """Shape ``(n, classes)``."""

    def loss(self, model: Any, inputs: torch.Tensor, labels: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Cross-entropy of the classes."""
        return cross_entropy(self.logits(model, inputs).float(), labels)


class _Images(Task):
    """Images, or spectrograms, uint8, shape ``(n, channels, size, size)``."""

    def augment(self, inputs: torch.Tensor, rng: np.random.Generator, *, shift: int, flip: bool) -> torch.Tensor:
        """Half of them mirrored, all moved by up to ``shift`` pixels."""
        mirrored = sent(rng.random(len(inputs)) < 0.5 * flip, inputs.device)
        offsets = sent(rng.integers(0, 2 * shift + 1, (2, len(inputs))), inputs.device)
        return moved(inputs, mirrored, offsets, shift)


class MaskedImages(_Images):
    """A masked autoencoder."""

    def build(self, inputs: torch.Tensor, labels: torch.Tensor, seed: int) -> ViTMAEForPreTraining:
        """An MAE for images of this size and number of channels."""
        torch.manual_seed(seed)
        _, channels, size, _ = inputs.shape
        model = ViTMAEForPreTraining(
            ViTMAEConfig(**self.sizes, image_size=size, num_channels=channels, norm_pix_loss=True)
        )
        set_positions(model)
        return model

    def loss(
        self, model: ViTMAEForPreTraining, inputs: torch.Tensor, labels: torch.Tensor, rng: np.random.Generator
    ) -> torch.Tensor:
        """Mean squared error of the patches that a random three quarters hide, each normalised."""
        patches = model.vit.embeddings.patch_embeddings.num_patches
        noise = sent(rng.random((len(inputs), patches), np.float32), inputs.device)
        return model(_normalised(inputs), noise=noise).loss

    def features(self, model: ViTMAEForPreTraining, inputs: torch.Tensor) -> torch.Tensor:
        """Mean over the patches, without the class token."""
        ratio, model.config.mask_ratio = model.config.mask_ratio, 0.0
        try:
            tokens = model.vit(_normalised(inputs)).last_hidden_state
        finally:
            model.config.mask_ratio = ratio
        return tokens[:, 1:].float().mean(dim=1)  # without masking patches are shuffled, which a mean does not see


class ClassifiedImages(_Images, Classifier):
    """A vision transformer."""

    def build(self, inputs: torch.Tensor, labels: torch.Tensor, seed: int) -> ViTForImageClassification:
        """A ViT for images of this size, with as many classes as the labels have."""
        torch.manual_seed(seed)
        _, channels, size, _ = inputs.shape
        return ViTForImageClassification(
            ViTConfig(**self.sizes, image_size=size, num_channels=channels, num_labels=int(labels.max()) + 1)
        )

    def features(self, model: ViTForImageClassification, inputs: torch.Tensor) -> torch.Tensor:
        """Mean over the patches, without the class token."""
        return model.vit(_normalised(inputs)).last_hidden_state[:, 1:].float().mean(dim=1)

    def logits(self, model: ViTForImageClassification, inputs: torch.Tensor) -> torch.Tensor:
        """Shape ``(n, classes)``."""
        return model(_normalised(inputs)).logits


class _Text(Task):
    """Tokens, int16, shape ``(n, length)``."""

    def config(self, inputs: torch.Tensor, **options: Any) -> BertConfig:
        """For texts of this length; nothing is dropped."""
        return BertConfig(
            **self.sizes,
            **options,
            vocab_size=VOCABULARY,
            pad_token_id=PAD,
            max_position_embeddings=inputs.shape[1],
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )

    def features(self, model: Any, inputs: torch.Tensor) -> torch.Tensor:
        """Mean over the tokens, without padding."""
        real = (inputs != PAD)[:, :, None]
        hidden = _encoded(model, inputs.long()).float()
        return (hidden * real).sum(dim=1) / real.sum(dim=1)


class MaskedText(_Text):
    """A masked language model; what is masked becomes the mask token."""

    def build(self, inputs: torch.Tensor, labels: torch.Tensor, seed: int) -> BertForMaskedLM:
        """A BERT for texts of this length."""
        torch.manual_seed(seed)
        return BertForMaskedLM(self.config(inputs))

    def loss(
        self, model: BertForMaskedLM, inputs: torch.Tensor, labels: torch.Tensor, rng: np.random.Generator
    ) -> torch.Tensor:
        """Cross-entropy of the masked tokens."""
        tokens = inputs.long()
        noise = sent(rng.random(tuple(tokens.shape), np.float32), tokens.device)
        masked = (noise < _MASKED_TEXT) & (tokens >= SPECIAL)
        hidden = _encoded(model, tokens.masked_fill(masked, MASK))
        return cross_entropy(model.cls(hidden[masked]).float(), tokens[masked])  # logits of the masked alone


class ClassifiedText(_Text, Classifier):
    """A BERT that tells topics."""

    def build(self, inputs: torch.Tensor, labels: torch.Tensor, seed: int) -> BertForSequenceClassification:
        """A BERT with as many classes as the labels have."""
        torch.manual_seed(seed)
        return BertForSequenceClassification(self.config(inputs, num_labels=int(labels.max()) + 1))

    def logits(self, model: BertForSequenceClassification, inputs: torch.Tensor) -> torch.Tensor:
        """Shape ``(n, classes)``."""
        return model(inputs.long(), attention_mask=(inputs != PAD).long()).logits


def sent(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    """The array on a device. From memory that is not pinned, the copy would wait for all that a GPU was told to do."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def moved(pixels: torch.Tensor, mirrored: torch.Tensor, offsets: torch.Tensor, shift: int) -> torch.Tensor:
    """Images mirrored where ``mirrored``, shape ``(n,)``, and moved: offsets ``(2, n)`` count from -shift."""
    size = pixels.shape[-1]
    pixels = torch.where(mirrored[:, None, None, None], pixels.flip(-1), pixels)
    if not shift:
        return pixels
    down, right = offsets[:, :, None] + torch.arange(size, device=pixels.device)
    images = torch.arange(len(pixels), device=pixels.device)[:, None, None]
    return pad(pixels, [shift] * 4).permute(0, 2, 3, 1)[images, down[:, :, None], right[:, None]].permute(0, 3, 1, 2)


def _normalised(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.float() / 127.5 - 1


def _encoded(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    return model.bert(tokens, attention_mask=(tokens != PAD).long()).last_hidden_state


_SMALL = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 128}
_SMALL_DECODER = {
    "decoder_hidden_size": 48,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 4,
    "decoder_intermediate_size": 96,
}

TASKS: dict[str, Task] = {
    "mae-nano": MaskedImages(  # for tests
        patch_size=2,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        decoder_hidden_size=16,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=32,
    ),
    "mae-small": MaskedImages(patch_size=4, **_SMALL, **_SMALL_DECODER),  # for two cores
    "mae-spectrogram-small": MaskedImages(patch_size=8, **_SMALL, **_SMALL_DECODER),
    "mae-vit-tiny": MaskedImages(  # ViT-Ti of DeiT
        patch_size=4,
        hidden_size=192,
        num_hidden_layers=12,
        num_attention_heads=3,
        intermediate_size=768,
        decoder_hidden_size=128,
        decoder_num_hidden_layers=2,
        decoder_num_attention_heads=4,
        decoder_intermediate_size=512,
    ),
    "mlm-small": MaskedText(**_SMALL),
    "classify-text-small": ClassifiedText(**_SMALL),
    "classify-images-small": ClassifiedImages(patch_size=4, **_SMALL),
    "classify-spectrograms-small": ClassifiedImages(patch_size=8, **_SMALL),
}
