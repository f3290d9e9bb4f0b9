"""The forward pass: prepared batches through an encoder on the device of this process."""

import logging
from functools import cached_property
from typing import Any

import numpy as np
import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from numpy.typing import NDArray

from hf_curriculum.encoders import Encoder, Prepared, digest, in_eval_mode
from hf_curriculum.processes import this_process

logger = logging.getLogger(__name__)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def require_dtype(dtype: str) -> None:
    """Check the name of a precision.

    Raises:
        ValueError: Unless it is ``"auto"`` or one of :data:`DTYPES`.
    """
    if dtype != "auto" and dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {['auto', *DTYPES]}, got {dtype!r}.")


def _precision(dtype: str, device: torch.device) -> str:
    if dtype != "auto":
        return dtype
    half = "bfloat16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "float16"
    return "float32" if device.type == "cpu" else half


def arithmetic(dtype: str, device: torch.device) -> tuple[Any, ...]:
    """What decides the rounding of a forward pass.

    Args:
        dtype: Precision, or ``"auto"``.
        device: Where it runs.

    Returns:
        Precision, kind of device, precision of products.
    """
    products = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    return _precision(dtype, device), device.type, products


class Forward:
    """Runs an encoder, in lower precision where that is faster, in smaller batches where memory is short.

    Args:
        encoder: Its weights move to the device.
        dtype: Precision of the forward pass: ``"float32"``, ``"bfloat16"``, ``"float16"``; ``"auto"`` is float32 on
            the CPU, else bfloat16 or, where the device has none, float16. Weights and vectors are float32.
        device: Where it runs; default the device of this process.

    Attributes:
        device: Where it runs.
        dtype: Name of the precision.

    Raises:
        ValueError: If ``dtype`` is unknown, or another than float32 where there is no model to run, or the model has
            weights that are nowhere.
    """

    def __init__(self, encoder: Encoder, dtype: str, device: torch.device | str | None = None) -> None:
        require_dtype(dtype)
        self.encoder = encoder
        self.device = torch.device(device or this_process().device)
        if encoder.ready and dtype not in ("auto", "float32"):
            name = encoder.record["model_id"]
            raise ValueError(f"dtype={dtype!r} is an option of models: {name} computes in float32, leave it out.")
        self.dtype = "float32" if encoder.ready else _precision(dtype, self.device)
        self._limit: int | None = None
        if encoder.model is not None and not _is_placed(encoder.model):
            encoder.model.to(self.device)

    @cached_property
    def identity(self) -> str:
        """A hash of all that decides the vectors of a row; taken before the first one.

        Raises:
            Exception: If the encoder cannot be hashed.
        """
        return digest([self.encoder.record, self.encoder.identity(), arithmetic(self.dtype, self.device)])

    @torch.no_grad()  # not inference_mode: what a module keeps of it could not be trained on afterwards
    def __call__(self, prepared: Prepared, n: int) -> NDArray[np.float32]:
        """Vectors of prepared rows.

        Args:
            prepared: Batches of the rows.
            n: Number of rows, at least 1.

        Returns:
            float32, shape ``(n, dim)``; the weighted mean where a row has several inputs.
        """
        with in_eval_mode(self.encoder.model):
            # To the CPU, where index_add_ adds in order: on a GPU a row of three parts differs from run to run.
            vectors = torch.cat([part for batch in prepared.batches for part in self._run(batch.inputs)]).cpu()
        positions = torch.from_numpy(np.concatenate([batch.positions for batch in prepared.batches]))
        weights = torch.from_numpy(np.concatenate([batch.weights for batch in prepared.batches]))
        sums = torch.zeros(n, vectors.shape[1])
        sums.index_add_(0, positions, vectors * weights[:, None])
        total = torch.zeros(n).index_add_(0, positions, weights)
        mean: NDArray[np.float32] = (sums / total[:, None]).numpy()
        return mean

    def _run(self, inputs: Any) -> list[torch.Tensor]:
        size = _size(inputs)
        if self._limit is not None and size > self._limit:
            return self._halves(inputs, size)
        try:
            return [self._vectors(inputs)]
        except RuntimeError as error:
            if size == 1 or not should_reduce_batch_size(error):
                raise
        clear_device_cache(garbage_collection=True)
        self._limit = size // 2
        logger.warning("Out of memory with %d inputs at once: going on with %d.", size, self._limit)
        return self._halves(inputs, size)

    def _halves(self, inputs: Any, size: int) -> list[torch.Tensor]:
        half = (size + 1) // 2
        return self._run(_slice(inputs, 0, half)) + self._run(_slice(inputs, half, size))

    def _vectors(self, inputs: Any) -> torch.Tensor:
        with torch.autocast(self.device.type, DTYPES[self.dtype], enabled=self.dtype != "float32"):
            vectors = self.encoder.encode(self._to_device(inputs))
        return vectors.float()

    def _to_device(self, inputs: Any) -> Any:
        if isinstance(inputs, dict):
            return {name: self._to_device(value) for name, value in inputs.items()}
        if isinstance(inputs, np.ndarray):
            inputs = torch.from_numpy(inputs)
        return inputs.to(self.device, non_blocking=True) if isinstance(inputs, torch.Tensor) else inputs


def _is_placed(model: torch.nn.Module) -> bool:
    """Whether hooks of Accelerate bring weights and inputs together, as under ``device_map`` and offload."""
    if any(hasattr(module, "_hf_hook") for module in model.modules()):
        return True
    empty = [name for name, weight in model.named_parameters() if weight.is_meta]
    if empty:
        raise ValueError(
            f"The weights of {type(model).__name__} are on the meta device, which holds no numbers ({empty[0]} and "
            f"{len(empty) - 1} more): load them first."
        )
    return False


def _size(inputs: Any) -> int:
    return len(next(iter(inputs.values()))) if isinstance(inputs, dict) else len(inputs)


def _slice(inputs: Any, start: int, stop: int) -> Any:
    if isinstance(inputs, dict):
        return {name: value[start:stop] for name, value in inputs.items()}
    return inputs[start:stop]
