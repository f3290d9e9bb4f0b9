"""Embeddings as clustering sees them: read in place, brought to the space of the prototypes a chunk at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object, reduce
from numpy.typing import NDArray

from hf_curriculum.processes import this_process

_CHUNK = 2048
_TINY = 1e-12


@dataclass(frozen=True)
class Space:
    """How embeddings are changed before distances count.

    Attributes:
        mean: Subtracted from each dimension, float32, shape ``(dim,)``.
        scale: Then divides it, float32, shape ``(dim,)``.
        unit: Whether each vector is then brought to length 1; a zero vector stays.
        directions: What each vector is then multiplied by, float32, shape ``(dim, dim)``; ``None`` (default) for
            nothing.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    unit: bool
    directions: torch.Tensor | None = None

    def change(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows, float32, shape ``(n, dim)``, in this space; those that are given are changed."""
        rows.sub_(self.mean.to(rows.device)).div_(self.scale.to(rows.device))
        if self.unit:
            rows.div_(torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp_(min=_TINY))
        return rows if self.directions is None else rows @ self.directions.to(rows.device)


@dataclass(frozen=True)
class Points:
    """Rows of an embedding matrix that is read in place; only chunks of it are ever copied.

    Attributes:
        blocks: The matrix in one or more parts, each of shape ``(n, dim)`` and any float dtype.
        rows: Those of its rows that are meant, ascending.
        space: What they are brought to; ``None`` leaves them as they are.
        device: Where they go.
        shared: Whether all Accelerate processes hold the same points and call together, and so divide the work.
    """

    blocks: Sequence[NDArray[np.floating[Any]]]
    rows: NDArray[np.int64]
    space: Space | None = None
    device: torch.device = torch.device("cpu")
    shared: bool = False

    @classmethod
    def of(cls, blocks: Sequence[NDArray[np.floating[Any]]], shared: bool = False) -> "Points":
        """All rows of the blocks, for the device of this process.

        Args:
            blocks: The matrix in one or more parts, each of shape ``(n, dim)``.
            shared: Whether all Accelerate processes hold the same points and call together. Default ``False``.

        Returns:
            The points, in no space.
        """
        rows = np.arange(sum(map(len, blocks)))
        return cls(blocks, rows, device=this_process().device, shared=shared)

    def __len__(self) -> int:
        return self.rows.size

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.blocks[0].shape[1])

    def inside(self, space: Space) -> "Points":
        """The same rows in a space."""
        return replace(self, space=space)

    def select(self, positions: NDArray[np.int64] | slice) -> "Points":
        """Some of these points, by ascending position."""
        return replace(self, rows=self.rows[positions])

    def sample(self, size: int, seed: int) -> "Points":
        """So many of these points at random, in their order; all of them if they are fewer.

        Args:
            size: How many.
            seed: Of the choice.

        Returns:
            The sample, without repeats.
        """
        if size >= len(self):
            return self
        return self.select(np.sort(np.random.default_rng(seed).choice(len(self), size, replace=False, shuffle=False)))

    def held(self) -> "Points":
        """The same points from a copy in memory, already in their space: few of them, to be gone through often."""
        return Points.of([self.all().cpu().numpy()], self.shared)

    @property
    def share(self) -> "Points":
        """The share of this process."""
        if not self._divided:
            return self
        rank, processes = this_process().process_index, this_process().num_processes
        return self.select(slice(rank * len(self) // processes, (rank + 1) * len(self) // processes))

    def total(self, part: torch.Tensor) -> torch.Tensor:
        """The sum of what the processes found on their shares."""
        return reduce(part.to(self.device), "sum").to(part.device) if self._divided else part

    def joined(self, part: NDArray[Any]) -> NDArray[Any]:
        """What the processes found for each point of their shares, one after the other."""
        return np.concatenate(gather_object([part])) if self._divided else part

    @property
    def _divided(self) -> bool:
        """Whether there are enough of them to be worth a word between processes."""
        return self.shared and len(self) > _CHUNK and this_process().num_processes > 1

    def all(self) -> torch.Tensor:
        """A copy of all of them, float32, shape ``(n, dim)``, on the device."""
        starts = np.cumsum([0, *map(len, self.blocks)])
        cuts = np.searchsorted(self.rows, starts)
        parts = [
            self.blocks[i][_indices(self.rows[cuts[i] : cuts[i + 1]] - starts[i])]
            for i in np.flatnonzero(np.diff(cuts)).tolist()
        ]
        matrix = np.concatenate(parts, out=np.empty((len(self), self.dim), np.float32))  # in C order
        rows = torch.from_numpy(matrix).to(self.device)
        return rows if self.space is None else self.space.change(rows)

    def chunks(self) -> Iterator[torch.Tensor]:
        """Copies of a few at a time, in their order."""
        for start in range(0, len(self), _CHUNK):
            yield self.select(slice(start, start + _CHUNK)).all()


def fit_space(points: Points, standardize: bool, unit: bool) -> Space:
    """The space in which distances count, from the mean and the deviation of each dimension.

    Args:
        points: ``N`` of them, in no space yet.
        standardize: Whether each dimension gets mean 0 and deviation 1; a constant one is left at its deviation of 0.
        unit: Whether each vector is then brought to length 1.

    Returns:
        The space, the same in each process.
    """
    mean, scale = torch.zeros(points.dim), torch.ones(points.dim)
    if standardize:
        origin = points.select(slice(0, 1)).all().cpu().double()  # so that a constant dimension deviates by 0
        sums, squares = torch.zeros(2, points.dim, dtype=torch.float64)
        for rows in points.share.chunks():
            shifted = rows.cpu().double() - origin
            sums += shifted.sum(0)
            squares += shifted.square().sum(0)
        shift = points.total(sums) / len(points)
        deviation = (points.total(squares) / len(points) - shift.square()).clamp(min=0).sqrt()
        mean, scale = (origin[0] + shift).float(), torch.where(deviation > 0, deviation, 1).float()
    return Space(mean, scale, unit)


def _indices(rows: NDArray[np.int64]) -> NDArray[np.int64] | slice:
    """A slice where the rows are neighbours: read in place, they need not be gathered first."""
    return slice(rows[0], rows[-1] + 1) if rows[-1] - rows[0] + 1 == rows.size else rows
