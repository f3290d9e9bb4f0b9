"""The forward pass: prepared batches through an encoder on the device of this process."""

import logging
from collections.abc import Callable
from functools import cached_property, partial
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
        self._placed = encoder.model is not None and _is_placed(encoder.model)
        if encoder.model is not None and not self._placed:
            encoder.model.to(self.device)

    @cached_property
    def identity(self) -> str:
        """A hash of all that decides the vectors of a row; taken before the first one.

        Raises:
            Exception: If the encoder cannot be hashed.
        """
        return digest([self.encoder.record, self.encoder.identity(), arithmetic(self.dtype, self.device)])

    def __call__(self, prepared: Prepared, n: int) -> NDArray[np.float32]:
        """Vectors of prepared rows.

        Args:
            prepared: Batches of the rows.
            n: Number of rows, at least 1.

        Returns:
            float32, shape ``(n, dim)``; the weighted mean where a row has several inputs.
        """
        return self.start(prepared, n)()

    @torch.no_grad()  # not inference_mode: what a module keeps of it could not be trained on afterwards
    def start(self, prepared: Prepared, n: int) -> Callable[[], NDArray[np.float32]]:
        """Tell the device to embed prepared rows; a GPU does so while this process goes on.

        Args:
            prepared: Batches of the rows.
            n: Number of rows, at least 1.

        Returns:
            What waits for their vectors and gives them, as a call does.
        """
        with in_eval_mode(self.encoder.model), self.precision():
            found = torch.cat([part.float() for batch in prepared.batches for part in self._run(batch.inputs)])
        return partial(_mean_of_rows, _on_its_way(found), prepared, n)

    def precision(self) -> torch.autocast:
        """The precision of a forward pass; inside one, weights are brought to it once."""
        # Offloaded weights come anew in each pass: to keep them would fill the memory that they do not fit in.
        options = {"enabled": self.dtype != "float32", "cache_enabled": not self._placed}
        return torch.autocast(self.device.type, DTYPES[self.dtype], **options)

    def _run(self, inputs: Any) -> list[torch.Tensor]:
        size = _size(inputs)
        if self._limit is not None and size > self._limit:
            return self._halves(inputs, size)
        try:
            return [self.encoder.encode(self._to_device(inputs))]
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

    def _to_device(self, inputs: Any) -> Any:
        if isinstance(inputs, dict):
            return {name: self._to_device(value) for name, value in inputs.items()}
        if isinstance(inputs, np.ndarray):
            inputs = torch.from_numpy(inputs)
        return inputs.to(self.device, non_blocking=True) if isinstance(inputs, torch.Tensor) else inputs


def _on_its_way(vectors: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Send vectors to the CPU behind what the device was told so far; what waits for them, and for nothing later."""
    if not vectors.is_cuda:
        return vectors.cpu
    arrived = torch.empty(vectors.shape, pin_memory=True)
    arrived.copy_(vectors, non_blocking=True)
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(vectors.device))

    def wait() -> torch.Tensor:
        event.synchronize()
        return arrived

    return wait


def _mean_of_rows(vectors: Callable[[], torch.Tensor], prepared: Prepared, n: int) -> NDArray[np.float32]:
    """Float32, shape ``(n, dim)``, from the vectors of the inputs of ``n`` rows."""
    positions = np.concatenate([batch.positions for batch in prepared.batches])
    found = vectors()
    if len(positions) == n:  # an input a row: the mean is that, and its weight would but round it
        own: NDArray[np.float32] = np.empty(found.shape, np.float32)
        own[positions] = found.numpy()
        return own
    # On the CPU, where index_add_ adds in order: on a GPU a row of three parts differs from run to run.
    index = torch.from_numpy(positions)
    weights = torch.from_numpy(np.concatenate([batch.weights for batch in prepared.batches]))
    sums = torch.zeros(n, found.shape[1]).index_add_(0, index, found * weights[:, None])
    mean: NDArray[np.float32] = (sums / torch.zeros(n).index_add_(0, index, weights)[:, None]).numpy()
    return mean


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
