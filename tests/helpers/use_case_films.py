"""Films: pretraining and action recognition."""

import torch
from datasets import Dataset
from transformers import (
    TimesformerConfig,
    TimesformerForVideoClassification,
    VideoMAEConfig,
    VideoMAEForPreTraining,
    VideoMAEForVideoClassification,
)
from use_case_data import SIDE
from use_case_images import DECODER, PATCH, VIT, random_mask, tensor
from use_case_training import Batch, Recipe, Rows

VIDEOMAE = {**VIT, "num_frames": 4}


def frames(rows: Rows) -> Batch:
    return {"pixel_values": torch.stack([torch.stack([tensor(frame) for frame in row["frames"]]) for row in rows])}


def videomae(_: Dataset) -> Recipe:
    """Tubes: what is masked is masked in all frames."""

    def collate(rows: Rows) -> Batch:
        mask = random_mask(len(rows), (SIDE // PATCH) ** 2)
        return {**frames(rows), "bool_masked_pos": mask.repeat(1, 2)}  # a tube is two frames long

    return Recipe(VideoMAEForPreTraining(VideoMAEConfig(**VIDEOMAE, **DECODER)), collate)


def actions(rows: Rows) -> Batch:
    return {**frames(rows), "labels": torch.tensor([row["label"] for row in rows])}


def videomae_classifier(_: Dataset) -> Recipe:
    return Recipe(VideoMAEForVideoClassification(VideoMAEConfig(**VIDEOMAE, num_labels=4)), actions)


def timesformer(_: Dataset) -> Recipe:
    return Recipe(TimesformerForVideoClassification(TimesformerConfig(**VIDEOMAE, num_labels=4)), actions)
