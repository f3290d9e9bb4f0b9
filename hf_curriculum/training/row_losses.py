"""The loss of each row of a batch, from what the forward pass has given."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
)

_SHIFTED = {*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values(), *MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.values()}
_PLAIN = {*MODEL_FOR_MASKED_LM_MAPPING_NAMES.values(), *MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES.values()}
_PLAIN_DECODERS = """
    BartForCausalLM BigBirdPegasusForCausalLM BlenderbotForCausalLM BlenderbotSmallForCausalLM CpmAntForCausalLM
    MBartForCausalLM MarianForCausalLM MusicgenForCausalLM MusicgenMelodyForCausalLM MvpForCausalLM PLBartForCausalLM
    PegasusForCausalLM ProphetNetForCausalLM TrOCRForCausalLM WhisperForCausalLM XLMWithLMHeadModel XLNetLMHeadModel
""".split()
"""Classes for causal models whose labels are those of the tokens themselves (transformers 5.23)."""


@contextmanager
def watched(model: torch.nn.Module) -> Iterator[list[Any]]:
    """What a model's forward passes give inside the block, whoever calls it.

    A trainer asked for its outputs may make them anew, as TRL's ``SFTTrainer`` does, or not have them.

    Args:
        model: As it is called, so with its wrappers.

    Yields:
        The outputs, of the first pass first.
    """
    outputs: list[Any] = []
    hook = model.register_forward_hook(lambda module, given, output: outputs.append(output))
    try:
        yield outputs
    finally:
        hook.remove()


@torch.no_grad()
def row_losses(model: torch.nn.Module, outputs: Any, labels: torch.Tensor | None) -> torch.Tensor:
    """The loss of each row of a batch, from what the forward pass has given.

    Args:
        model: Whose class tells whether its labels are shifted by a token.
        outputs: With ``logits``, shape ``(B, classes)`` or ``(B, tokens, classes)``; or with the ``log_probs`` of
            labels, shape ``(B, tokens)``, and their ``label_mask``, as TRL's fused heads give them.
        labels: Class of each row or token, below 0 where there is none; numbers, if there is one logit.

    Returns:
        Mean over the row's labels, float32, shape ``(B,)``; NaN for a row without a label.

    Raises:
        TypeError: If there are no such logits and labels, or the model's class is none of which it is known whether
            the labels of tokens are shifted.
    """
    found = outputs if hasattr(outputs, "get") else {}
    if (log_probs := found.get("log_probs")) is not None:
        return -log_probs.float().sum(dim=1) / found["label_mask"].sum(dim=1)
    logits = found.get("logits")
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
