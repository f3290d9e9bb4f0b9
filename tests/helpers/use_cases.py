"""The use cases: the README's table is made from this list, tests/training/test_use_cases.py trains each of its rows.

``python tests/helpers/use_cases.py`` writes the table.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import use_case_films as films
import use_case_generation as generation
import use_case_images as images
import use_case_objects as objects
import use_case_sounds as sounds
import use_case_texts as texts
from datasets import Dataset
from transformers import set_seed
from use_case_data import ENVIRONMENT, FILMS, MUSIC, PICTURES, SPEECH, TEXTS, Data, scored
from use_case_training import SEED, Recipe, Trained, called, train

from hf_curriculum import CurriculumSeq2SeqTrainer, CurriculumTrainer

README = Path(__file__).parents[2] / "README.md"
TABLE = re.compile(r"(?<=<!-- use cases:begin -->\n).*(?=<!-- use cases:end -->)", re.DOTALL)


@dataclass(frozen=True)
class UseCase:
    """A row: what is trained on what. Without a ``trainer``, ``build`` is a loop of its own."""

    task: str
    name: str
    data: Data
    trainer: type | None
    build: Callable[..., Any]
    requires: str | None = None

    def train(self, path: Path, resume: Path | None = None) -> Trained:
        dataset: Dataset = scored(self.data)
        set_seed(SEED)
        if self.trainer is None:
            return self.build(dataset, path, resume)
        recipe: Recipe = self.build(dataset)
        return train(self.trainer, recipe, dataset, path, resume)


MASKED, GENERATION = "Masked image modelling", "Image generation"
DETECTION, SEGMENTATION = "Detection", "Segmentation"
VIDEO, ACTION = "Video pretraining", "Action recognition"
PRETRAINING, RECOGNITION = "Audio pretraining", "Speech recognition"
COMPOSITION, CLASSIFICATION = "Music generation", "Sound classification"
LANGUAGE = "Text"
TORCHVISION = "torchvision"

USE_CASES = [
    UseCase(MASKED, "MAE", PICTURES, CurriculumTrainer, images.mae),
    UseCase(MASKED, "SimMIM (ViT)", PICTURES, CurriculumTrainer, images.simmim_vit),
    UseCase(MASKED, "SimMIM (Swin)", PICTURES, CurriculumTrainer, images.simmim_swin),
    UseCase(MASKED, "BEiT", PICTURES, CurriculumTrainer, images.beit),
    UseCase(GENERATION, "diffusion UNet", PICTURES, generation.DiffusionTrainer, generation.diffusion),
    UseCase(GENERATION, "VAE (AutoencoderKL)", PICTURES, generation.VAETrainer, generation.vae),
    UseCase(GENERATION, "GAN (DCGAN)", PICTURES, None, generation.train_gan),
    UseCase(DETECTION, "DETR", PICTURES, CurriculumTrainer, objects.detr),
    UseCase(DETECTION, "YOLOS", PICTURES, CurriculumTrainer, objects.yolos),
    UseCase(DETECTION, "RT-DETR", PICTURES, CurriculumTrainer, objects.rt_detr),
    UseCase(DETECTION, "Faster R-CNN", PICTURES, objects.TorchvisionTrainer, objects.faster_rcnn, TORCHVISION),
    UseCase(SEGMENTATION, "SegFormer", PICTURES, CurriculumTrainer, objects.segformer),
    UseCase(SEGMENTATION, "Mask2Former", PICTURES, CurriculumTrainer, objects.mask2former),
    UseCase(SEGMENTATION, "U-Net", PICTURES, objects.SegmentationTrainer, objects.segmenting_unet),
    UseCase(SEGMENTATION, "Mask R-CNN", PICTURES, objects.TorchvisionTrainer, objects.mask_rcnn, TORCHVISION),
    UseCase(VIDEO, "VideoMAE", FILMS, CurriculumTrainer, films.videomae),
    UseCase(ACTION, "VideoMAE", FILMS, CurriculumTrainer, films.videomae_classifier),
    UseCase(ACTION, "TimeSformer", FILMS, CurriculumTrainer, films.timesformer),
    UseCase(PRETRAINING, "Wav2Vec2", SPEECH, CurriculumTrainer, sounds.wav2vec2),
    UseCase(PRETRAINING, "HuBERT", SPEECH, CurriculumTrainer, sounds.hubert),
    UseCase(PRETRAINING, "WavLM", SPEECH, CurriculumTrainer, sounds.wavlm),
    UseCase(RECOGNITION, "Whisper", SPEECH, CurriculumSeq2SeqTrainer, sounds.whisper),
    UseCase(RECOGNITION, "Wav2Vec2 with CTC", SPEECH, CurriculumTrainer, sounds.ctc),
    UseCase(COMPOSITION, "MusicGen (decoder on codes of EnCodec)", MUSIC, CurriculumTrainer, sounds.musicgen),
    UseCase(CLASSIFICATION, "AST on spoken digits", SPEECH, CurriculumTrainer, sounds.ast_digits),
    UseCase(CLASSIFICATION, "AST on a set like ESC-50", ENVIRONMENT, CurriculumTrainer, sounds.ast_environment),
    UseCase(LANGUAGE, "masked LM (BERT)", TEXTS, CurriculumTrainer, texts.masked_lm),
    UseCase(LANGUAGE, "causal LM (Llama)", TEXTS, CurriculumTrainer, texts.causal_lm),
    UseCase(LANGUAGE, "SFT (TRL)", TEXTS, texts.MySFTTrainer, texts.sft),
    UseCase(LANGUAGE, "sentence embeddings", TEXTS, texts.MySentenceTransformerTrainer, texts.sentence_transformer),
]


def table() -> str:
    """The rows, a task a line."""
    lines = ["| task | architecture and trainer | scored by |", "|---|---|---|"]
    for task, cases in groupby(USE_CASES, key=lambda case: case.task):
        some = list(cases)
        scored_by = ", ".join(dict.fromkeys(case.data.scored_by for case in some))
        lines.append(f"| {task} | {architectures(some)} | {scored_by} |")
    return "\n".join(lines) + "\n"


def architectures(cases: list[UseCase]) -> str:
    """Neighbours that share a trainer share its name."""
    groups = [(trainer, list(some)) for trainer, some in groupby(cases, key=lambda case: called(case.trainer))]
    return "; ".join(f"{', '.join(map(described, some))}: {trainer}" for trainer, some in groups)


def described(case: UseCase) -> str:
    return f"{case.name} (where {case.requires} is installed)" if case.requires else case.name


if __name__ == "__main__":
    README.write_text(TABLE.sub(lambda _: table(), README.read_text()))
