"""Your own encoder: a torch module, a SentenceTransformer, or any callable."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from hf_curriculum.data import BadRow, read_image
from hf_curriculum.encoders.base import Prepared, single_batches
from hf_curriculum.encoders.packages import edition


@contextmanager
def in_eval_mode(model: torch.nn.Module | None) -> Iterator[None]:
    """Hold a module in eval mode; afterwards each of its parts is in the mode of before.

    Args:
        model: The module; ``None`` for none.
    """
    if model is None:
        yield
        return
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


@contextmanager
def evaluated(model: torch.nn.Module | None) -> Iterator[None]:
    """Hold a module in eval mode; afterwards its parts are in the mode, and all on the device, of before.

    Args:
        model: The module; ``None`` for none.
    """
    tensors = () if model is None else (*model.parameters(), *model.buffers())
    devices = {tensor.device for tensor in tensors}
    try:
        with in_eval_mode(model):
            yield
    finally:
        if model is not None and len(devices) == 1:
            model.to(devices.pop())


class CallableEncoder:
    """Wraps what embeds a list of rows: a module, an object with ``encode``, or a function.

    Args:
        embed: Takes a list of rows and returns an array of shape ``(n, dim)``; or, with ``transform``, a batch tensor.
        transform: Turns a row into a tensor; the tensors of a batch are stacked and moved to the module's device.
        column: Modality of the rows; pictures are decoded for a ``SentenceTransformer``, all others get them as they
            are.

    Raises:
        ValueError: If a ``SentenceTransformer`` does not take such rows, or the weights of a module are not loaded.
    """

    modality: str | None = None
    ready = False
    window = 1

    def __init__(
        self, embed: Any, transform: Callable[[Any], torch.Tensor] | None = None, column: str | None = None
    ) -> None:
        self.model = embed if isinstance(embed, torch.nn.Module) else None
        self.function = None if self.model is not None else embed
        self.stacks = transform is not None
        self.transform = transform
        if transform is None and column is not None and type(embed).__module__.startswith("sentence_transformers."):
            self.transform = _reader_for(embed, column)
        self.record: dict[str, Any] = {"model_id": getattr(embed, "__qualname__", type(embed).__qualname__)}

    def read(self, row: Any) -> Any:
        """The row as it is, or transformed."""
        if row is None:
            raise BadRow("the row is null")
        return row if self.transform is None else self.transform(row)

    def prepare(self, samples: list[Any], batch_size: int) -> Prepared:
        """Lists of rows, or stacked tensors."""
        return single_batches(samples, batch_size, torch.stack if self.stacks else list)

    def encode(self, inputs: Any) -> torch.Tensor:
        """Vectors of a batch; see :class:`hf_curriculum.encoders.base.Encoder`."""
        embed: Any = self.function if self.model is None else self.model
        try:
            output = getattr(embed, "encode", embed)(self._in_own_precision(inputs))
        except TypeError as error:
            if self.model is None or self.stacks:
                raise
            raise TypeError(
                f"{self.record['model_id']} failed on a list of {len(inputs)} rows: {error}. If it takes a batch "
                "tensor, pass transform=..., a function from a row to its tensor."
            ) from error
        try:
            vectors = output if isinstance(output, torch.Tensor) else torch.from_numpy(np.asarray(output, np.float32))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{self.record['model_id']} must turn {len(inputs)} rows into an array of numbers, of shape "
                f"({len(inputs)}, dim): {error}."
            ) from error
        if vectors.ndim != 2 or len(vectors) != len(inputs):
            raise ValueError(
                f"{self.record['model_id']} must turn {len(inputs)} rows into an array of shape "
                f"({len(inputs)}, dim), got shape {tuple(vectors.shape)}."
            )
        return vectors

    def _in_own_precision(self, inputs: Any) -> Any:
        """Numbers in the precision of a module's weights, as it takes them where no autocast brings both together."""
        if self.model is None or not isinstance(inputs, torch.Tensor) or not inputs.is_floating_point():
            return inputs
        if torch.is_autocast_enabled(inputs.device.type):
            return inputs
        dtypes = (weight.dtype for weight in self.model.parameters() if weight.is_floating_point())
        return inputs.to(next(dtypes, inputs.dtype))

    def identity(self) -> Any:
        """The module with its weights and settings, or the function."""
        embed = self.function if self.model is None else self.model
        return embed, self.transform, [edition(name) for name in ("torch", "numpy")]


def _reader_for(embed: Any, column: str) -> Callable[[Any], Any] | None:
    """What turns a row of the column into what a ``SentenceTransformer`` takes."""
    takes = getattr(embed, "modalities", None)  # version 6 says it
    if takes is not None and column not in takes:
        raise ValueError(
            f"This {type(embed).__name__} embeds {' and '.join(map(str, takes))}, but the column holds {column}: "
            "choose another with input_column=..., or another model."
        )
    if column in ("text", "image"):
        return read_image if column == "image" else None
    raise ValueError(
        f"Rows of {column} are not decoded for a {type(embed).__name__}: pass a function that decodes a list of rows "
        "and calls its encode()."
    )
