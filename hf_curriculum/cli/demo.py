"""The main job on data that needs no download: score scikit-learn's digits, then train a tiny MAE on them."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as PILImage
from sklearn.datasets import load_digits
from transformers import (
    PrinterCallback,
    ProgressCallback,
    TrainingArguments,
    ViTMAEConfig,
    ViTMAEForPreTraining,
    set_seed,
)

from hf_curriculum._optional import require_extra
from hf_curriculum.scoring import add_difficulty
from hf_curriculum.training import CurriculumTrainer
from hf_curriculum.viewing import draw_extremes, plot_difficulty, plot_schedule, report

logger = logging.getLogger(__name__)

BATCH_SIZE = 64  # rows of a step
MAX_STEPS = 600  # 21 passes over the digits


@dataclass(frozen=True)
class DemoResult:
    """What the demo made.

    Attributes:
        rows: One row a log of the training: step, effective fraction, temperature (``None`` once uniform), mean
            difficulty of the rows drawn since the row before, loss.
        dataset_dir: Directory of the scored dataset, for ``datasets.load_from_disk``.
        picture: PNG of the schedule, the difficulties and the extremes of some clusters.
        report: HTML page of the scored dataset.
    """

    rows: list[dict[str, float | None]]
    dataset_dir: Path
    picture: Path
    report: Path


def digits_dataset() -> Dataset:
    """scikit-learn's 1,797 digits: ``image`` (8 x 8 grey PIL images) and ``label``."""
    digits = load_digits()
    images = [PILImage.fromarray((pixels * 15.9375).astype(np.uint8)) for pixels in digits.images]
    features = Features({"image": Image(), "label": ClassLabel(names=[str(digit) for digit in range(10)])})
    return Dataset.from_dict({"image": images, "label": digits.target.tolist()}, features=features)


def run_demo(output: Path, max_steps: int = MAX_STEPS) -> DemoResult:
    """Score the digits with ``builtin/hog``, train a tiny MAE easy-first, save dataset, picture and report.

    Args:
        output: Directory for the results; made if it is missing.
        max_steps: Optimiser steps.

    Returns:
        Table and paths.
    """
    output.mkdir(parents=True, exist_ok=True)
    scored = add_difficulty(digits_dataset(), "builtin/hog")
    scored.save_to_disk(output / "scored")
    trainer = train(scored, output / "training", max_steps)
    picture = output / "curriculum.png"
    draw_picture(scored, trainer, picture)
    page = report(scored, output / "report.html", total_steps=max_steps, title="Digits")
    return DemoResult(rows=table(trainer), dataset_dir=output / "scored", picture=picture, report=page)


def train(scored: Dataset, output: Path, max_steps: int) -> CurriculumTrainer:
    """Train a tiny masked autoencoder on a scored dataset of small grey images.

    Args:
        scored: Has the column ``image``, of 8 x 8 pixels, and difficulties.
        output: Folder of the training.
        max_steps: Its optimiser steps.

    Returns:
        The trainer, when it has trained.
    """
    set_seed(0)
    model = ViTMAEForPreTraining(
        ViTMAEConfig(
            image_size=8,
            patch_size=2,
            num_channels=1,
            hidden_size=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=96,
            decoder_hidden_size=32,
            decoder_num_hidden_layers=1,
            decoder_num_attention_heads=4,
            decoder_intermediate_size=64,
        )
    )
    set_positions(model)
    args = TrainingArguments(
        output_dir=str(output),
        per_device_train_batch_size=BATCH_SIZE,
        max_steps=max_steps,
        learning_rate=2e-3,
        logging_steps=max(1, max_steps // 12),
        save_strategy="no",
        report_to="none",
        remove_unused_columns=False,
        use_cpu=True,
        seed=0,
    )
    trainer = CurriculumTrainer(model=model, args=args, train_dataset=scored, data_collator=_collate)
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)  # the table comes once, when it is whole
    logger.info("Training a tiny masked autoencoder for %d steps.", max_steps)
    trainer.train()
    return trainer


def set_positions(model: ViTMAEForPreTraining) -> None:
    """Give a masked autoencoder that was made from a config its fixed sine-cosine positions.

    transformers 5.23 leaves them all zero (4.57 those of the decoder): its ``initialize_weights`` returns early, or is
    undone. Without them patches are a bag without order, and what is hidden cannot be told.
    """
    embeddings = model.vit.embeddings
    embeddings.patch_embeddings.projection._is_hf_initialized = False
    embeddings.initialize_weights()
    model.decoder.initialize_weights(embeddings.patch_embeddings.num_patches)


def table(trainer: CurriculumTrainer) -> list[dict[str, float | None]]:
    """The training logs, a row a log."""
    columns = {
        "step": "step",
        "effective fraction": "curriculum/effective_fraction",
        "temperature": "curriculum/temperature",
        "mean difficulty": "curriculum/mean_difficulty",
        "loss": "loss",
    }
    logs = [log for log in trainer.state.log_history if "loss" in log]
    return [{title: log.get(key) for title, key in columns.items()} for log in logs]


def draw_picture(scored: Dataset, trainer: CurriculumTrainer, path: Path) -> None:
    """One picture: the schedule, the difficulties, the easiest and the hardest digits of some clusters.

    Args:
        scored: Has the column ``image`` and scores.
        trainer: Its curriculum and its steps are drawn.
        path: Of the picture, whose ending decides the format.

    Raises:
        ModuleNotFoundError: If the ``plot`` extra is not installed.
    """
    figure_module = require_extra("matplotlib.figure", extra="plot", purpose="The demo's picture")
    figure = figure_module.Figure(figsize=(11, 9), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=[1, 1.45], hspace=0.06)
    left, right = top.subplots(1, 2)
    plot_schedule(trainer.curriculum, trainer.state.max_steps, left)
    plot_difficulty(scored, config=trainer.curriculum, ax=right)
    draw_extremes(bottom, scored, "image")
    figure.savefig(path, dpi=120)


def _collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    pixels = np.stack([np.asarray(row["image"], np.float32) for row in rows]) / 127.5 - 1
    return {"pixel_values": torch.from_numpy(pixels).unsqueeze(1)}
