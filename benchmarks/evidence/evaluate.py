"""How good frozen features are: weighted k-NN and a linear probe, both without training and so without a seed."""

import torch
from torch.nn.functional import normalize, one_hot
from transformers import ViTMAEForPreTraining

from benchmarks.evidence.data import Images
from benchmarks.evidence.models import features
from benchmarks.evidence.train import mixed_precision, normalised

METRICS = {"knn": "20-NN", "probe": "linear probe"}

_NEIGHBOURS, _TEMPERATURE = 20, 0.07
_RIDGE = 1e-3
_BATCH = 512


def quality(model: ViTMAEForPreTraining, bank: Images, queries: Images) -> dict[str, float]:
    """Accuracy on the queries of what is learned from the bank, by metric."""
    known, asked = standardised(encode(model, bank.pixels), encode(model, queries.pixels))
    guesses = {"knn": knn(known, bank.labels, asked), "probe": probe(known, bank.labels, asked)}
    return {name: (guess == queries.labels).float().mean().item() for name, guess in guesses.items()}


@torch.no_grad()
def encode(model: ViTMAEForPreTraining, pixels: torch.Tensor) -> torch.Tensor:
    """Features of all images, float32, shape ``(n, width)``."""
    with mixed_precision(pixels.device):
        return torch.cat([features(model, normalised(batch)) for batch in pixels.split(_BATCH)])


def standardised(known: torch.Tensor, asked: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both in units in which each dimension of the known has mean 0 and deviation 1, as the scorer does it."""
    mean, scale = known.mean(dim=0), known.std(dim=0) + 1e-6
    return (known - mean) / scale, (asked - mean) / scale


def knn(known: torch.Tensor, labels: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
    """Labels by a vote of the 20 nearest in cosine, weighted by ``exp(cosine / 0.07)``.

    Source:
        Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", CVPR 2018.
    """
    cosine, nearest = (normalize(asked) @ normalize(known).T).topk(_NEIGHBOURS)
    votes = one_hot(labels[nearest]) * (cosine / _TEMPERATURE).exp()[:, :, None]
    return votes.sum(dim=1).argmax(dim=1)


def probe(known: torch.Tensor, labels: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
    """Labels by ridge regression from standardised features to the classes, in closed form."""
    known, asked = known.double(), asked.double()
    targets = one_hot(labels).double()
    gram = known.T @ known + _RIDGE * len(known) * torch.eye(known.shape[1], dtype=known.dtype, device=known.device)
    weights = torch.linalg.solve(gram, known.T @ (targets - targets.mean(dim=0)))
    return (asked @ weights + targets.mean(dim=0)).argmax(dim=1)
