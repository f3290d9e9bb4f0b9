"""Rows on their way to a GPU while it works on those before them."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

Read = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Fills an array with rows, and returns it."""


def transferred(
    parts: Iterable[tuple[int, Read]], shape: tuple[int, int], device: torch.device
) -> Iterator[torch.Tensor]:
    """Rows of each part on a GPU, one part ahead of what is asked for.

    Args:
        parts: Number of rows of each, and what reads them.
        shape: Of the largest part.
        device: The GPU.

    Yields:
        float32, shape ``(n, dim)``, for the current stream to use and overwrite.
    """
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    current = torch.cuda.current_stream(device)
    # Two, so that one is filled while the other travels.
    buffers = [torch.empty(shape, pin_memory=True) for _ in range(2)]
    events = [torch.cuda.Event() for _ in buffers]  # type: ignore[no-untyped-call]
    ahead: tuple[torch.Tensor, torch.cuda.Event] | None = None
    for turn, (rows, read) in enumerate(parts):
        buffer, event = buffers[turn % 2][:rows], events[turn % 2]
        event.synchronize()  # what travelled from this buffer before has arrived
        read(buffer.numpy())
        with torch.cuda.stream(stream):
            moved = buffer.to(device, non_blocking=True)
            event.record(stream)
        if ahead is not None:
            yield _arrived(*ahead, current)
        ahead = moved, event
    if ahead is not None:
        yield _arrived(*ahead, current)


def _arrived(rows: torch.Tensor, event: torch.cuda.Event, current: torch.cuda.Stream) -> torch.Tensor:
    current.wait_event(event)
    rows.record_stream(current)  # allocated on the other one, which else would give the memory out again too soon
    return rows
