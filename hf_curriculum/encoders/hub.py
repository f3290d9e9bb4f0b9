"""What encoders of the Hub share: from inputs to hidden states, from these to vectors."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from datasets.fingerprint import Hasher
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from hf_curriculum.encoders.base import pool
from hf_curriculum.encoders.identity import digest
from hf_curriculum.encoders.packages import edition

OWN = "own"
"""The pooling that the model does by itself: its pooler, its projection."""


class HubEncoder:
    """A ``transformers`` model whose hidden states are pooled.

    Args:
        model: The model, or the part of it that encodes.
        pooling: ``"cls"``, ``"mean"``, ``"max"``, ``"last"``, or :data:`OWN`.
        layer: ``None`` for the last hidden states, an index into ``hidden_states``, or the name of a module.

    Raises:
        ValueError: If the model has no such layer.
    """

    modality: str | None
    ready = False
    window = 1

    def __init__(self, model: PreTrainedModel, pooling: str, layer: int | str | None) -> None:
        self.model = model.eval()
        self.pooling = pooling
        self.layer = layer
        self.record: dict[str, Any] = {"pooling": pooling, "layer": layer}
        if isinstance(layer, str):
            module_of(model, layer)  # that there is none shows before the first batch

    def encode(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Vectors of a batch; see :class:`hf_curriculum.encoders.base.Encoder`."""
        if self.pooling == OWN:
            return self.own_vector(inputs)
        hidden = self.hidden_states(inputs)
        return pool(hidden, self.mask(inputs, hidden), self.pooling)

    def hidden_states(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Hidden states of the layer, shape ``(batch, length, dim)``; feature maps become a sequence of positions.

        Raises:
            ValueError: If the layer is out of range, gives no hidden states, or has no position for the pooling.
        """
        hidden = self._states_of_layer(inputs)
        if not isinstance(hidden, torch.Tensor):
            raise ValueError(
                f"layer {self.layer!r} gives no hidden states for {self.modality}; choose another module."
            )
        hidden = hidden.float()
        if hidden.ndim == 2:
            return hidden.unsqueeze(1)
        if hidden.ndim > 3:
            if self.pooling not in ("mean", "max"):
                raise ValueError(
                    f"{type(self.model).__name__} gives feature maps of shape {tuple(hidden.shape[1:])}, which have "
                    f"no position for pooling={self.pooling!r}. Pass pooling='mean' or 'max'."
                )
            return hidden.flatten(2).transpose(1, 2)
        return hidden

    def _states_of_layer(self, inputs: dict[str, torch.Tensor]) -> Any:
        if self.layer is None:
            return self.model(**inputs, output_hidden_states=False).last_hidden_state
        if isinstance(self.layer, str):
            with outputs_of(self.model, self.layer) as outputs:
                self.model(**inputs, output_hidden_states=False)
            return outputs[-1] if outputs else None
        states = self.model(**inputs, output_hidden_states=True).hidden_states
        if not -len(states) <= self.layer < len(states):
            raise ValueError(f"layer={self.layer} is out of range: the model has {len(states)} hidden states.")
        return states[self.layer]

    def mask(self, inputs: dict[str, torch.Tensor], hidden: torch.Tensor) -> torch.Tensor:
        """1 where a position of ``hidden`` counts, shape ``(batch, length)``.

        Args:
            inputs: Of the batch.
            hidden: Its hidden states, shape ``(batch, length, dim)``.

        Returns:
            Shape ``(batch, length)``; the attention mask where it fits, else ones.
        """
        mask = inputs.get("attention_mask")
        return mask if mask is not None and mask.shape == hidden.shape[:2] else torch.ones_like(hidden[..., 0])

    def own_vector(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """The vector that the model itself returns for each row: its projection (CLIP, CLAP), or its pooled output."""
        project = getattr(self.model, f"get_{self.modality}_features", None)
        output = (project or self.model)(**inputs)
        return output if isinstance(output, torch.Tensor) else output.pooler_output.flatten(1)  # transformers 4, 5

    @cached_property
    def weights(self) -> dict[str, str]:
        """A hash of each weight by its name, which nobody else has to change."""
        return weights_of(self.model)

    def identity(self) -> Any:
        """Weights and settings; see :class:`hf_curriculum.encoders.base.Encoder`."""
        return (
            {type(module) for module in (self.model, self.model.config, *self.model.modules())},
            self.model.config.to_dict() | {"_name_or_path": None},  # weights tell more than a name
            [_attention(module) for module in self.model.modules()],
            [(name, _settings(module)) for name, module in self.model.named_modules()],
            self.weights,
            [edition(name) for name in ("torch", "transformers", "numpy")],
        )


def weights_of(model: torch.nn.Module) -> dict[str, str]:
    """A hash of each weight by its name, made one by one, so that no second copy of the model is held.

    Buffers that are not saved count, too.
    """
    tensors = {**model.state_dict(), **dict(model.named_buffers())}
    return {name: digest(tensor) for name, tensor in tensors.items()}


def _attention(module: torch.nn.Module) -> Any:
    """By what a part computes attention, which its config does not tell as a dictionary."""
    return getattr(getattr(module, "config", None), "_attn_implementation", None)


def _settings(module: torch.nn.Module) -> dict[str, Any]:
    """Plain attributes of a module, such as an epsilon, or the scale of an adapter."""
    without = "training", "name_or_path"
    return {name: value for name, value in vars(module).items() if name not in without and _is_plain(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return bool(value) and _is_plain([*value, *value.values()])
    return all(map(_is_plain, value)) if isinstance(value, list | tuple) else isinstance(value, str | int | float)


def public_id(model_id: str) -> str:
    """The id of a model; of a folder here only its name, since the path tells who made it.

    Args:
        model_id: Id of the Hub, or a folder here.

    Returns:
        The id.
    """
    return Path(model_id).resolve().name if os.path.isdir(model_id) else model_id  # unlike Path, it bears any name


def origin(model_id: str, encoder: HubEncoder) -> dict[str, Any]:
    """What the record of vectors, which is made public, says of the model.

    Args:
        model_id: Id of the Hub, or a folder here.
        encoder: Made of it.

    Returns:
        ``model_id``; of a folder only its name, with ``local``, and ``weights``, a hash that tells it from others of
        its name and knows it again elsewhere.
    """
    if not os.path.isdir(model_id):
        return {"model_id": model_id}
    return {"model_id": public_id(model_id), "local": True, "weights": Hasher.hash(encoder.weights)}


def module_of(model: torch.nn.Module, layer: str, argument: str = "layer") -> torch.nn.Module:
    """A module inside a model.

    Args:
        model: Has it.
        layer: Its name among ``model.named_modules()``.
        argument: By which the name was given, for the error. Default ``"layer"``.

    Returns:
        The module.

    Raises:
        ValueError: If there is none of that name; some that there are are named.
    """
    modules = dict(model.named_modules())
    if layer not in modules:
        some = [name for name in modules if name.count(".") <= 2 and name][:30]
        raise ValueError(f"{argument} {layer!r} is not a module of {type(model).__name__}; some are {some}.")
    return modules[layer]


@contextmanager
def outputs_of(model: torch.nn.Module, layer: str) -> Iterator[list[Any]]:
    """What a module inside a model returns while the model runs.

    Args:
        model: Has the module.
        layer: Its name among ``model.named_modules()``.

    Yields:
        A list to which each run of the module adds what it returned, of several parts the first.

    Raises:
        ValueError: If there is none of that name.
    """
    outputs: list[Any] = []

    def keep(module: torch.nn.Module, inputs: Any, output: Any) -> None:
        outputs.append(output[0] if isinstance(output, tuple | list | ModelOutput) else output)

    hook = module_of(model, layer).register_forward_hook(keep)
    try:
        yield outputs
    finally:
        hook.remove()
