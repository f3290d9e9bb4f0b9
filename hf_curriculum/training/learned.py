"""Difficulties that follow the model: running means of what the training sees of each row."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.nn.functional import cross_entropy
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
)

from hf_curriculum.data import function_name, plain_number, require_count, require_number, suggesting

if TYPE_CHECKING:
    from transformers import Trainer

_SHIFTED = {*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values(), *MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.values()}
_PLAIN = {*MODEL_FOR_MASKED_LM_MAPPING_NAMES.values(), *MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES.values()}
_PLAIN_DECODERS = """
    BartForCausalLM BigBirdPegasusForCausalLM BlenderbotForCausalLM BlenderbotSmallForCausalLM CpmAntForCausalLM
    MBartForCausalLM MarianForCausalLM MusicgenForCausalLM MusicgenMelodyForCausalLM MvpForCausalLM PLBartForCausalLM
    PegasusForCausalLM ProphetNetForCausalLM TrOCRForCausalLM WhisperForCausalLM XLMWithLMHeadModel XLNetLMHeadModel
""".split()
"""Classes for causal models whose labels are those of the tokens themselves (transformers 5.23)."""
_NEWEST = 0.2  # at least, of an observation in the running mean: rows change as the model does


@suggesting
@dataclass(frozen=True)
class LearnedDifficulty:
    """Difficulties that follow the model while it trains.

    Every ``every`` optimiser steps a new table of difficulties is made of all that was seen so far. It is used from
    ``every`` steps later on, so that a loader may read ahead, until the next one is. Before the first, rows have the
    difficulty of their column; if the dataset lacks it, all rows have the same.

    Args:
        source: What is seen. ``"loss"``: the row's own loss, of the forward pass that trains on it; ``"reward"``: the
            mean reward of a prompt's completions, in TRL's ``GRPOTrainer`` and ``RLOOTrainer``: prompts whose pass
            rate is near ``target`` come first; or a function of the trainer that returns one number a row, low =
            easy, called on all processes, of which the answer of the first counts.
        every: Optimiser steps between two tables. Default 100.
        target: Mean reward of the prompts that come first. Default 0.5.

    Raises:
        TypeError: If ``source`` is something else, ``every`` no integer, or ``target`` no number.
        ValueError: If ``every`` is not at least 1, or ``target`` not finite.
    """

    source: str | Callable[["Trainer"], ArrayLike]
    every: int = 100
    target: float = 0.5

    def __post_init__(self) -> None:
        if self.source not in ("loss", "reward") and not callable(self.source):
            raise TypeError(f"source must be 'loss', 'reward' or a function of the trainer, got {self.source!r}.")
        require_count(self.every, "every")
        require_number(self.target, "target")
        for name in ("every", "target"):
            object.__setattr__(self, name, plain_number(getattr(self, name)))
        if not np.isfinite(self.target):
            raise ValueError(f"target must be a finite reward, got {self.target!r}.")

    @property
    def name(self) -> str:
        """The source, or the name of the function."""
        return self.source if isinstance(self.source, str) else function_name(self.source)


class RunningMeans:
    """Running means by row, of which the newest observation is at least a fifth.

    Args:
        rows: Number of rows ``N``.
        clusters: Cluster of each row, int, shape ``(N,)``; rows that were never seen have the mean of theirs.

    Attributes:
        means: float32, shape ``(N,)``; of rows never seen, 0.
        counts: Steps in which a row was seen, int32, shape ``(N,)``.
    """

    def __init__(self, rows: int, clusters: NDArray[np.integer] | None = None) -> None:
        self.means = np.zeros(rows, np.float32)
        self.counts = np.zeros(rows, np.int32)
        self._clusters = clusters

    def add(self, rows: NDArray[np.integer], values: NDArray[np.floating]) -> None:
        """Observations of one step; those of the same row count as one, their mean.

        Args:
            rows: Row numbers, shape ``(n,)``.
            values: What was seen of them, shape ``(n,)``.
        """
        rows, place, times = np.unique(rows, return_inverse=True, return_counts=True)
        new = np.bincount(place, weights=values) / times
        self.counts[rows] += 1
        weight = np.maximum(1 / self.counts[rows], _NEWEST)
        self.means[rows] += (weight * (new - self.means[rows])).astype(np.float32)

    def filled(self) -> NDArray[np.float32] | None:
        """The means; of rows never seen, that of the seen ones of their cluster, or of all; ``None`` if none was."""
        seen = self.counts > 0
        if not seen.any():
            return None
        overall = self.means[seen].mean(dtype=np.float64)
        if self._clusters is None:
            return np.where(seen, self.means, np.float32(overall))
        size = int(self._clusters.max()) + 1
        count = np.bincount(self._clusters[seen], minlength=size)
        total = np.bincount(self._clusters[seen], weights=self.means[seen], minlength=size)
        by_cluster = np.where(count > 0, total / np.maximum(count, 1), overall).astype(np.float32)
        return np.where(seen, self.means, by_cluster[self._clusters])


@torch.no_grad()
def row_losses(model: torch.nn.Module, outputs: Any, labels: torch.Tensor | None) -> torch.Tensor:
    """The loss of each row of a batch, from what the forward pass has given.

    Args:
        model: Whose class tells whether its labels are shifted by a token.
        outputs: With ``logits``, shape ``(B, classes)`` or ``(B, tokens, classes)``.
        labels: Class of each row or token, below 0 where there is none; numbers, if there is one logit.

    Returns:
        Mean over the row's labels, float32, shape ``(B,)``; NaN for a row without a label.

    Raises:
        TypeError: If there are no such logits and labels, or the model's class is none of which it is known whether
            the labels of tokens are shifted.
    """
    logits = outputs.get("logits") if hasattr(outputs, "get") else None
    numbers = logits is not None and logits.shape[-1] == 1
    if (
        logits is None
        or labels is None
        or logits.ndim not in (2, 3)
        or labels.ndim != logits.ndim - 1
        or (labels.is_floating_point() and not numbers)
    ):
        raise TypeError(
            f"The losses of single rows cannot be told from the outputs of {type(model).__name__}, which need logits "
            "of classes, and from the labels of the batch. Pass LearnedDifficulty a function of the trainer instead."
        )
    if numbers:
        return (logits.squeeze(-1) - labels).float().square().reshape(len(labels), -1).mean(dim=1)
    if logits.ndim == 3 and _shifts(model):
        logits, labels = logits[:, :-1], labels[:, 1:]
    labels = torch.where(labels < 0, -100, labels).reshape(len(labels), -1)
    sums = [  # row by row: a vocabulary is large
        cross_entropy(row.reshape(-1, row.shape[-1]).float(), label, reduction="sum")
        for row, label in zip(logits, labels, strict=True)
    ]
    return torch.stack(sums) / (labels >= 0).sum(dim=1)


def _shifts(model: torch.nn.Module) -> bool:
    """Whether a model compares the output at a token with the label of the next one."""
    names = {cls.__name__ for cls in type(model).__mro__}  # FSDP makes a subclass, and users do
    encodes = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
    if encodes or not names.isdisjoint({*_PLAIN_DECODERS, *_PLAIN}):
        return False
    if not names.isdisjoint(_SHIFTED):
        return True
    raise TypeError(
        f"Whether {type(model).__name__} shifts the labels of its tokens is not known, and so not the losses of "
        "single rows. Pass LearnedDifficulty a function of the trainer instead."
    )
