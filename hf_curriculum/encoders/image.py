"""Image encoders of the Hub, and how images are read."""

from typing import Any

import torch
from PIL import Image
from transformers import AutoImageProcessor, PreTrainedModel

from hf_curriculum.data import read_image
from hf_curriculum.encoders.base import Prepared, single_batches
from hf_curriculum.encoders.hub import OWN, HubEncoder
from hf_curriculum.encoders.packages import edition

# Pooling of the authors where it is not the class token: the model's own pooled output, mostly a normalised mean.
_OWN_POOLING = {
    "beit",
    "clip_vision_model",
    "convnext",
    "convnextv2",
    "data2vec-vision",
    "dinov3_convnext",
    "mobilenet_v2",
    "regnet",
    "resnet",
    "siglip2_vision_model",
    "siglip_vision_model",
    "swin",
    "swinv2",
}


class ImageEncoder(HubEncoder):
    """A vision transformer or convolutional network with its image processor.

    ``"auto"`` pools as the model's authors do: the class token, the model's own pooled output, or the projection of
    CLIP and its kind; a model with none of them, or a layer without class token, is pooled by the mean.
    """

    modality: str | None = "image"

    def __init__(
        self, model: PreTrainedModel, source: dict[str, Any], pooling: str, layer: int | str | None = None
    ) -> None:
        if pooling == "auto":
            pooling = _usual_pooling(model, layer)
        super().__init__(model, pooling, layer)
        self.processor = AutoImageProcessor.from_pretrained(**source)
        if model.config.model_type == "vit_mae":  # it would drop a random three quarters of each image
            model.config.mask_ratio = 0.0
            model.register_forward_pre_hook(_keep_order, with_kwargs=True)

    def read(self, row: Any) -> Image.Image:
        """Decode an image; see :func:`read_image`."""
        return read_image(row)

    def prepare(self, samples: list[Image.Image], batch_size: int) -> Prepared:
        """Pixels as the model takes them."""
        return single_batches(
            samples, batch_size, lambda images: dict(self.processor(images=images, return_tensors="pt"))
        )

    def identity(self) -> Any:
        """Weights, settings and those of the processor."""
        libraries = [edition(name) for name in ("pillow", "torchvision")]
        return super().identity(), type(self.processor), self.processor.to_dict(), libraries


def _usual_pooling(model: PreTrainedModel, layer: int | str | None) -> str:
    by_itself = model.config.model_type in _OWN_POOLING or hasattr(model, "get_image_features")
    if by_itself and layer is None:
        return OWN
    weights = {name.rpartition(".")[2] for name, _ in model.named_parameters()}
    trained = not getattr(model.config, "use_mean_pooling", False)  # BEiT has a class token that means nothing
    return "cls" if trained and weights & {"cls_token", "class_embedding"} else "mean"


def _keep_order(model: PreTrainedModel, args: Any, inputs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Have ViTMAE, which sorts the patches by random numbers, leave them as they are."""
    pixels, patches = inputs["pixel_values"], model.embeddings.patch_embeddings.num_patches
    return args, {**inputs, "noise": torch.arange(patches, device=pixels.device).expand(len(pixels), patches)}
