"""One training: equal seeds give equal weights, masks and augmentations at every step, whatever rows the arm draws."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import pad
from torch.optim.lr_scheduler import LambdaLR
from transformers import ViTMAEForPreTraining

from benchmarks.evidence.config import Experiment
from hf_curriculum import CurriculumSampler

_WARMUP_SHARE = 0.05


@dataclass(frozen=True)
class Chance:
    """All that is random in a step but its rows: by place in the batch, not by row.

    Attributes:
        mirrored: Whether the image at each place is mirrored, shape ``(batch,)``.
        offsets: Down and right, from 0 to twice the shift, int64, shape ``(2, batch)``.
        noise: Ranks the patches for the mask, float32, shape ``(batch, patches)``.
    """

    mirrored: torch.Tensor
    offsets: torch.Tensor
    noise: torch.Tensor


def chance(experiment: Experiment, patches: int, seed: int, step: int) -> Chance:
    """The chance of a step, a pure function of (seed, step)."""
    rng = np.random.default_rng([seed, step])
    batch = experiment.batch_size
    return Chance(
        torch.from_numpy(rng.random(batch) < 0.5 * experiment.flip),
        torch.from_numpy(rng.integers(0, 2 * experiment.shift + 1, (2, batch))),
        torch.from_numpy(rng.random((batch, patches), np.float32)),
    )


def augment(pixels: torch.Tensor, drawn: Chance, shift: int) -> torch.Tensor:
    """Mirrored and moved images, in the size that they had."""
    device, size = pixels.device, pixels.shape[-1]
    pixels = torch.where(drawn.mirrored.to(device)[:, None, None, None], pixels.flip(-1), pixels)
    if not shift:
        return pixels
    across = torch.arange(size, device=device)
    down, right = drawn.offsets.to(device)[:, :, None] + across
    images = torch.arange(len(pixels), device=device)[:, None, None]
    return pad(pixels, [shift] * 4).permute(0, 2, 3, 1)[images, down[:, :, None], right[:, None]].permute(0, 3, 1, 2)


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    """Bytes as numbers in [-1, 1]."""
    return pixels.float() / 127.5 - 1


def mixed_precision(device: torch.device) -> torch.autocast:
    """16 bits on a GPU."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def fit(
    model: ViTMAEForPreTraining,
    sampler: CurriculumSampler,
    pixels: torch.Tensor,
    experiment: Experiment,
    *,
    steps: int,
    seed: int,
) -> Iterator[int]:
    """Train; after the start and every step, yield how many steps are done, with the model as it is then."""
    optimizer = torch.optim.AdamW(
        model.parameters(), experiment.learning_rate, betas=(0.9, 0.95), weight_decay=0.05, fused=True
    )
    schedule = LambdaLR(optimizer, lambda step: learning_rate_share(step, steps))
    patches = model.vit.embeddings.patch_embeddings.num_patches
    for step in range(steps):
        yield step
        drawn = chance(experiment, patches, seed, step)
        rows = torch.from_numpy(sampler.indices(step)).to(pixels.device)
        images = normalised(augment(pixels[rows], drawn, experiment.shift))
        with mixed_precision(pixels.device):
            loss = model(images, noise=drawn.noise.to(pixels.device)).loss
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    yield steps


def learning_rate_share(step: int, steps: int) -> float:
    """Share of the peak: a linear rise, then a cosine to 0."""
    warmup = max(1, round(_WARMUP_SHARE * steps))
    if step < warmup:
        return (step + 1) / warmup
    return (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup))) / 2


def evaluation_steps(steps: int, evaluations: int) -> set[int]:
    """The start, and evenly spaced numbers of steps up to the end."""
    return {round(steps * i / evaluations) for i in range(evaluations + 1)}
