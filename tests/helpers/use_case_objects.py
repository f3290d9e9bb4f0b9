"""Detection and segmentation; boxes and masks are computed from the pixels of the digits."""

from typing import Any

import numpy as np
import torch
from datasets import Dataset
from PIL import Image
from torch import nn
from torch.nn import functional as F
from transformers import (
    DetrConfig,
    DetrForObjectDetection,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    ResNetConfig,
    RTDetrConfig,
    RTDetrForObjectDetection,
    RTDetrResNetConfig,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SwinConfig,
    YolosConfig,
    YolosForObjectDetection,
)
from use_case_data import SIDE
from use_case_generation import unet
from use_case_images import PATCH, SMALL, pixels, tensor
from use_case_training import Batch, Recipe, Rows

from hf_curriculum import CurriculumTrainer

CLASSES = 10

# --- detection ----------------------------------------------------------------------------------------------------


def mask_of(image: Image.Image) -> np.ndarray:
    """Where the digit is."""
    return np.asarray(image.convert("L")) > 80


def box_of(image: Image.Image) -> np.ndarray:
    """Left, top, right, bottom of the digit in pixels."""
    y, x = np.nonzero(mask_of(image))
    return np.array([x.min(), y.min(), x.max() + 1, y.max() + 1], np.float32)


def boxes(rows: Rows) -> Batch:
    """Targets as DETR takes them: centre and size, as shares of the picture."""
    labels = []
    for row in rows:
        left, top, right, bottom = box_of(row["image"]) / SIDE
        box = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
        labels.append({"class_labels": torch.tensor([row["label"]]), "boxes": torch.tensor([box])})
    return {**pixels(rows), "labels": labels}


def detr(_: Dataset) -> Recipe:
    config = DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], out_features=["stage2"], layer_type="basic"
        ),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        num_queries=5,
        num_labels=CLASSES,
    )
    return Recipe(DetrForObjectDetection(config), boxes)


def yolos(_: Dataset) -> Recipe:
    config = YolosConfig(
        **SMALL, image_size=[SIDE, SIDE], patch_size=PATCH, num_detection_tokens=5, num_labels=CLASSES
    )
    return Recipe(YolosForObjectDetection(config), boxes)


def rt_detr(_: Dataset) -> Recipe:
    config = RTDetrConfig(
        backbone_config=RTDetrResNetConfig(
            embedding_size=8,
            hidden_sizes=[8, 8, 8, 8],
            depths=[1, 1, 1, 1],
            layer_type="basic",
            out_features=["stage2", "stage3", "stage4"],
        ),
        encoder_hidden_dim=16,
        encoder_in_channels=[8, 8, 8],
        encoder_ffn_dim=16,
        encoder_attention_heads=2,
        d_model=16,
        decoder_in_channels=[16, 16, 16],
        decoder_ffn_dim=16,
        decoder_layers=1,
        decoder_attention_heads=2,
        num_queries=5,
        num_denoising=4,
        num_labels=CLASSES,
    )
    return Recipe(RTDetrForObjectDetection(config), boxes)


class TorchvisionTrainer(CurriculumTrainer):
    """Detectors of torchvision return a dictionary of losses."""

    def compute_loss(self, model: nn.Module, inputs: Batch, **kwargs: Any) -> torch.Tensor:
        return sum(model(inputs["images"], inputs["targets"]).values())


def torchvision_targets(rows: Rows) -> Batch:
    targets = [
        {
            "boxes": torch.from_numpy(box_of(row["image"]))[None],
            "labels": torch.tensor([row["label"] + 1]),  # 0 is the background
            "masks": torch.from_numpy(mask_of(row["image"]))[None].to(torch.uint8),
        }
        for row in rows
    ]
    return {"images": [(tensor(row["image"]) + 1) / 2 for row in rows], "targets": targets}


def torchvision_detector(name: str) -> Recipe:
    from torchvision.models import detection
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    backbone = nn.Sequential(nn.Conv2d(3, 16, 4, 4), nn.ReLU())
    backbone.out_channels = 16
    anchors = AnchorGenerator(sizes=((8, 16, 24),), aspect_ratios=((0.5, 1.0, 2.0),))
    model = getattr(detection, name)(backbone, 1 + CLASSES, min_size=SIDE, max_size=SIDE, rpn_anchor_generator=anchors)
    return Recipe(model, torchvision_targets)


def faster_rcnn(_: Dataset) -> Recipe:
    return torchvision_detector("FasterRCNN")


# --- segmentation -------------------------------------------------------------------------------------------------


def masks(rows: Rows) -> Batch:
    """The class of each pixel: 0 is the background."""
    classes = [np.where(mask_of(row["image"]), row["label"] + 1, 0) for row in rows]
    return {**pixels(rows), "labels": torch.from_numpy(np.stack(classes))}


class SegmentationTrainer(CurriculumTrainer):
    """A UNet of a diffusion model, at time 0, whose channels are classes."""

    def compute_loss(self, model: nn.Module, inputs: Batch, **kwargs: Any) -> torch.Tensor:
        return F.cross_entropy(model(inputs["pixel_values"], 0).sample, inputs["labels"])


def segmenting_unet(_: Dataset) -> Recipe:
    return Recipe(unet(out_channels=1 + CLASSES), masks)


def segformer(_: Dataset) -> Recipe:
    config = SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[2, 1],
        hidden_sizes=[8, 16],
        patch_sizes=[7, 3],
        strides=[4, 2],
        num_attention_heads=[1, 2],
        mlp_ratios=[2, 2],
        decoder_hidden_size=16,
        num_labels=1 + CLASSES,
    )
    return Recipe(SegformerForSemanticSegmentation(config), masks)


def instances(rows: Rows) -> Batch:
    """A mask and a class for each object, as Mask2Former takes them."""
    shapes = [torch.from_numpy(mask_of(row["image"]))[None].float() for row in rows]
    return {**pixels(rows), "mask_labels": shapes, "class_labels": [torch.tensor([row["label"]]) for row in rows]}


def mask2former(_: Dataset) -> Recipe:
    config = Mask2FormerConfig(
        backbone_config=SwinConfig(
            image_size=SIDE,
            patch_size=2,
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 1, 1],
            window_size=2,
            out_features=["stage1", "stage2", "stage3", "stage4"],
        ),
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        dim_feedforward=16,
        num_queries=5,
        train_num_points=64,
        num_labels=CLASSES,
    )
    return Recipe(Mask2FormerForUniversalSegmentation(config), instances)


def mask_rcnn(_: Dataset) -> Recipe:
    return torchvision_detector("MaskRCNN")
