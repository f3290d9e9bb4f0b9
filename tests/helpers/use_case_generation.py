"""Image generation: diffusion, a VAE, a GAN in a loop of Accelerate."""

from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, skip_first_batches
from datasets import Dataset
from needs import needs
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from use_case_data import SIDE
from use_case_images import pixels
from use_case_training import BATCH, CUT, Batch, Recipe, Trained, WithRows, planned, weights_of

from hf_curriculum import CurriculumTrainer

diffusers = needs("diffusers")


class DiffusionTrainer(CurriculumTrainer):
    """The UNet predicts the noise that was added to a picture."""

    scheduler = diffusers.DDPMScheduler(num_train_timesteps=100)

    def compute_loss(self, model: nn.Module, inputs: Batch, **kwargs: Any) -> torch.Tensor:
        clean = inputs["pixel_values"]
        noise, times = torch.randn_like(clean), torch.randint(0, len(self.scheduler), (len(clean),))
        return F.mse_loss(model(self.scheduler.add_noise(clean, noise, times), times).sample, noise)


def unet(**settings: Any) -> nn.Module:
    return diffusers.UNet2DModel(
        sample_size=SIDE,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        **settings,
    )


def diffusion(_: Dataset) -> Recipe:
    return Recipe(unet(), pixels)


class VAETrainer(CurriculumTrainer):
    def compute_loss(self, model: nn.Module, inputs: Batch, **kwargs: Any) -> torch.Tensor:
        posterior = model.encode(inputs["pixel_values"]).latent_dist
        decoded = model.decode(posterior.sample()).sample
        return F.mse_loss(decoded, inputs["pixel_values"]) + 1e-4 * posterior.kl().mean()


def vae(_: Dataset) -> Recipe:
    model = diffusers.AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
    )
    return Recipe(model, pixels)


def dcgan() -> tuple[nn.Module, nn.Module]:
    generator = nn.Sequential(
        nn.ConvTranspose2d(8, 16, 8),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 8, 4, 2, 1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 3, 4, 2, 1),
        nn.Tanh(),
    )
    discriminator = nn.Sequential(
        nn.Conv2d(3, 8, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(8, 16, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(16, 1, 8)
    )
    return generator, discriminator


def train_gan(dataset: Dataset, path: Path, resume: Path | None) -> Trained:
    accelerator = Accelerator(cpu=True)
    generator, discriminator = dcgan()
    before = weights_of(generator, discriminator)
    sampler = planned(dataset)
    loader = DataLoader(dataset, BATCH, sampler=sampler, collate_fn=WithRows(pixels))
    generator, discriminator, *optimizers, loader = accelerator.prepare(
        generator,
        discriminator,
        torch.optim.Adam(generator.parameters(), 1e-3),
        torch.optim.Adam(discriminator.parameters(), 1e-3),
        loader,
    )
    if resume:
        accelerator.load_state(str(resume))
    rows, losses, done = [], [], CUT if resume else 0
    for step, batch in enumerate(skip_first_batches(loader, done), done):
        rows.append(batch["row"].tolist())
        # Noise of the step's own: the loader draws a seed where it starts, so a resumed run would have another.
        noise = torch.randn(BATCH, 8, 1, 1, generator=torch.Generator().manual_seed(step))
        losses.append(gan_step(accelerator, generator, discriminator, optimizers, batch["pixel_values"], noise))
        if step + 1 == CUT:
            accelerator.save_state(str(path / f"checkpoint-{CUT}"))
    return Trained(rows, losses, before, weights_of(generator, discriminator))


def gan_step(
    accelerator: Accelerator,
    generator: nn.Module,
    discriminator: nn.Module,
    optimizers: list[Any],
    real: torch.Tensor,
    noise: torch.Tensor,
) -> float:
    fake = generator(noise)
    judged = F.softplus(-discriminator(real)).mean() + F.softplus(discriminator(fake.detach())).mean()
    accelerator.backward(judged)
    optimizers[1].step()
    fooled = F.softplus(-discriminator(fake)).mean()
    accelerator.backward(fooled)
    optimizers[0].step()
    for optimizer in optimizers:
        optimizer.zero_grad()
    return (judged + fooled).item()
