"""What a process of the pool does: score the images of a budget, or train and evaluate one run."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from PIL import Image
from transformers import ViTMAEForPreTraining

from benchmarks.evidence.config import Experiment, Run
from benchmarks.evidence.data import parts
from benchmarks.evidence.evaluate import encode, quality
from benchmarks.evidence.models import build
from benchmarks.evidence.samplers import make_sampler
from benchmarks.evidence.train import evaluation_steps, fit
from benchmarks.report import machine
from hf_curriculum import DifficultyScorer, add_embeddings

_BOOTSTRAP_SEED = 1_000_003  # not among the seeds that anyone compares


@dataclass(frozen=True)
class Place:
    """Where an experiment runs.

    Attributes:
        source: Folder of the images, or ``None`` for the Hub.
        output: Folder of the results.
        device: Name of torch's device.
    """

    source: str | None
    output: Path
    device: str


def difficulty_file(place: Place, experiment: Experiment, name: str, rows: int) -> Path:
    """Where the difficulties of these features are kept."""
    return place.output / f"difficulty-{name}-{rows}-{experiment.fingerprint()}.npy"


def score(place: Place, experiment: Experiment, name: str, rows: int) -> None:
    """Compute the difficulties of the first images of the pool, unless they are there."""
    path = difficulty_file(place, experiment, name, rows)
    if path.exists():
        return
    pixels = parts(experiment, place.source, place.device).pool.pixels[:rows]
    vectors = _hog(pixels) if name == "hog" else _bootstrap(experiment, pixels)
    found = DifficultyScorer(experiment.n_clusters).fit(vectors).score(vectors).difficulty
    unfinished = path.with_suffix(".part.npy")
    np.save(unfinished, found)
    unfinished.rename(path)


def train(place: Place, experiment: Experiment, run: Run) -> dict[str, Any]:
    """Train one run; its line of results."""
    images = parts(experiment, place.source, place.device)
    pixels = images.pool.pixels[: run.rows]
    difficulty = np.zeros(run.rows)  # uniform draws do not look at them
    if run.features:
        difficulty = np.load(difficulty_file(place, experiment, run.features, run.rows))
    start, at = time.perf_counter(), evaluation_steps(run.steps, experiment.evaluations)
    model = _model(experiment, pixels, run.seed)
    sampler = make_sampler(
        run.arm, difficulty, experiment.curriculum, batch_size=experiment.batch_size, steps=run.steps, seed=run.seed
    )
    training = fit(model, sampler, pixels, experiment, steps=run.steps, seed=run.seed)
    curve = [{"step": done} | quality(model, images.bank, images.queries) for done in training if done in at]
    return {
        **asdict(run),
        "fingerprint": experiment.fingerprint(),
        "curve": curve,
        "seconds": time.perf_counter() - start,
        "device": torch.cuda.get_device_name() if pixels.is_cuda else place.device,
        "machine": machine(),
    }


def _model(experiment: Experiment, pixels: torch.Tensor, seed: int) -> ViTMAEForPreTraining:
    return build(experiment.model, pixels.shape[-1], pixels.shape[1], seed).to(pixels.device)


def _hog(pixels: torch.Tensor) -> NDArray[np.float32]:
    images = [Image.fromarray(image.permute(1, 2, 0).squeeze(-1).cpu().numpy()) for image in pixels]
    return np.array(add_embeddings(Dataset.from_dict({"image": images}), "builtin/hog")["embedding"][:], np.float32)


def _bootstrap(experiment: Experiment, pixels: torch.Tensor) -> NDArray[np.float32]:
    """The model's own features, after a short uniform training from weights that no run starts with."""
    steps, seed = experiment.bootstrap_steps, _BOOTSTRAP_SEED
    model = _model(experiment, pixels, seed)
    sampler = make_sampler(
        "uniform", np.zeros(len(pixels)), {}, batch_size=experiment.batch_size, steps=steps, seed=seed
    )
    for _ in fit(model, sampler, pixels, experiment, steps=steps, seed=seed):
        pass
    return encode(model, pixels).cpu().numpy()
