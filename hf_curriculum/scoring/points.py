"""Embeddings as clustering sees them: read in place, brought to the space of the prototypes a chunk at a time."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object, reduce
from numpy.typing import NDArray

from hf_curriculum.processes import this_process
from hf_curriculum.scoring.transfer import transferred

ROUNDING = 4e-6
"""What one and the same row may differ by, as a share of the size of vectors: from batches of other shapes."""
EPSILON = 2.0**-23
"""What a number of float32 may be off by, as a share of itself."""
_LOST = 1e-5  # share of the size of a float64 dimension: float32 tells a hundred steps of it
_EXACT = 1e-12  # what float64 itself may round
_CONSTANT = 1e-6  # a dimension whose deviation is this share of its size holds nothing but rounding
_CHUNK = 2048
_CHUNK_NUMBERS = 1 << 24  # of a chunk on a GPU, which smaller ones leave idle
_HELD = 1 << 27  # bytes of a copy in the memory of the machine
_SAFE = 2.0**40  # squares of what is larger, or smaller than the inverse, leave the range of float32 too soon
_OUTLIER = 1e5  # a row so many times as large as most leaves float32 less than a hundredth of a usual one
_LEAST, _MOST, _FAR = 1e-37, 1e38, 1e17


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
            norms = lengths(rows)[:, None]
            nothing = norms <= EPSILON * self._offset  # what is left of rows that equal the mean has no direction
            rows.div_(norms.masked_fill_(nothing, math.inf))
        return rows if self.directions is None else _turned(rows, self.directions)

    @property
    def _offset(self) -> float:
        """Length of the mean in units of the scale: what is subtracted, and so rounded, at this size."""
        return float((self.mean.double() / self.scale.double()).norm())

    @property
    def rounding(self) -> float:
        """Distance in this space between vectors that are equal up to rounding."""
        size = self.mean.numel() ** 0.5  # of a standardised vector
        if self.unit:
            return ROUNDING + EPSILON * self._offset / size
        return ROUNDING * size + EPSILON * self._offset if bool((self.mean != 0).any()) else 0.0


@dataclass(frozen=True)
class Points:
    """Rows of an embedding matrix that is read in place; only chunks of it are copied, unless it is held.

    Attributes:
        blocks: The matrix in one or more parts, each of shape ``(n, dim)`` and any float dtype.
        rows: Those of its rows that are meant, ascending; a range where they are neighbours.
        space: What they are brought to; ``None`` leaves them as they are.
        device: Where they go.
        shared: Whether all Accelerate processes hold the same points and call together, and so divide the work.
        rounding: Distance between vectors that are equal up to rounding, as far as the space tells.
        name: What errors call the matrix.
        origin: Row of the dataset that each row of the matrix is, where some rows have no embedding.
        copied: The share of this process in the space and on the device, if it is held; float32, shape ``(n, dim)``.
    """

    blocks: Sequence[NDArray[np.floating[Any]]]
    rows: range | NDArray[np.integer[Any]]
    space: Space | None = None
    device: torch.device = torch.device("cpu")
    shared: bool = False
    rounding: float = 0.0
    name: str = "the embeddings"
    origin: NDArray[np.int64] | None = None
    copied: torch.Tensor | None = None

    @classmethod
    def of_column(
        cls, blocks: Sequence[NDArray[np.floating[Any]]], has_embedding: NDArray[np.bool_], column: str
    ) -> "Points":
        """The rows of a column that have an embedding, which all Accelerate processes hold.

        Args:
            blocks: What the column has, in one or more parts, each of shape ``(n, dim)``.
            has_embedding: Which rows these are, shape ``(N,)``.
            column: Its name.

        Returns:
            The points, in no space.
        """
        origin = None if has_embedding.all() else np.flatnonzero(has_embedding)
        return replace(cls.of(blocks, shared=True), name=f"the embeddings in column {column!r}", origin=origin)

    @classmethod
    def of(cls, blocks: Sequence[NDArray[np.floating[Any]]], shared: bool = False) -> "Points":
        """All rows of the blocks, for the device of this process.

        Args:
            blocks: The matrix in one or more parts, each of shape ``(n, dim)``.
            shared: Whether all Accelerate processes hold the same points and call together. Default ``False``.

        Returns:
            The points, in no space.
        """
        rows = range(sum(map(len, blocks)))
        return cls(blocks, rows, device=this_process().device, shared=shared)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.blocks[0].shape[1])

    def inside(self, space: Space) -> "Points":
        """The same rows in this space, instead of that in which they are; what is held in another one is let go."""
        copied = space.change(self.copied.clone()) if self.copied is not None and self.space is None else None
        return replace(self, space=space, rounding=space.rounding, copied=copied)

    def select(self, positions: NDArray[np.integer[Any]] | slice) -> "Points":
        """Some of these points, by ascending position."""
        copied = None if self.copied is None or self._divided else self.copied[positions]
        return replace(self, rows=_numbers(self.rows, positions), copied=copied)

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
        """The same points, their share copied to the device once, where it leaves most of the memory free."""
        share = self.share
        size = 4 * len(share) * self.dim
        most = torch.cuda.mem_get_info(self.device)[0] // 3 if self.device.type == "cuda" else _HELD
        if self.copied is not None or size > most:
            return self
        copied, start = torch.empty(len(share), self.dim, device=self.device), 0
        for rows in share.chunks():
            copied[start : start + len(rows)] = rows
            start += len(rows)
        return replace(self, copied=copied)

    def number(self, position: int) -> int:
        """The row number of one of them, for errors."""
        row = self.rows[position]
        return int(row if self.origin is None else self.origin[row])

    @property
    def own(self) -> slice:
        """Positions of the share of this process."""
        rank, processes = (this_process().process_index, this_process().num_processes) if self._divided else (0, 1)
        return slice(rank * len(self) // processes, (rank + 1) * len(self) // processes)

    @property
    def share(self) -> "Points":
        """The share of this process."""
        return replace(self.select(self.own), shared=False, copied=self.copied) if self._divided else self

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
        if self.copied is not None and not self._divided:
            return self.copied.clone()
        return self._changed(torch.from_numpy(self.read(np.empty((len(self), self.dim), np.float32))).to(self.device))

    def read(self, into: NDArray[np.float32]) -> NDArray[np.float32]:
        """The rows as they are in the blocks.

        Args:
            into: Where they go, shape ``(n, dim)``, in C order.

        Returns:
            The same array.
        """
        starts = np.cumsum([0, *map(len, self.blocks)])
        if isinstance(self.rows, range):
            cuts = starts.clip(self.rows.start, self.rows.stop) - self.rows.start
        else:
            cuts = np.searchsorted(self.rows, starts)
        parts = [
            self.blocks[i][_indices(self.rows[cuts[i] : cuts[i + 1]], starts[i])]
            for i in np.flatnonzero(np.diff(cuts)).tolist()
        ]
        return np.concatenate(parts, out=into)

    def chunks(self) -> Iterator[torch.Tensor]:
        """Copies of a few at a time, in their order."""
        on_gpu = self.device.type == "cuda"
        size = max(_CHUNK, _CHUNK_NUMBERS // self.dim) if on_gpu else _CHUNK
        parts = (self.select(slice(start, start + size)) for start in range(0, len(self), size))
        if on_gpu and (self.copied is None or self._divided):
            largest = min(size, len(self)), self.dim
            moved = transferred(((len(part), part.read) for part in parts), largest, self.device)
            yield from map(self._changed, moved)
        else:
            for part in parts:
                yield part.all()

    def _changed(self, rows: torch.Tensor) -> torch.Tensor:
        return rows if self.space is None else self.space.change(rows)


def _turned(rows: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
    """The product, rounded once: in float32 a row's own would hang on how many others it is multiplied with."""
    wide = rows if rows.is_cuda else rows.cpu()  # other devices may not know float64
    return (wide.double() @ directions.to(wide.device).double()).float().to(rows.device)


def lengths(rows: torch.Tensor) -> torch.Tensor:
    """Euclidean length of each row, float32, right wherever float32 can hold it; ``inf`` beyond."""
    if rows.is_cuda:  # a look at the result would hold the GPU up, float64 does not
        return torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64).float()
    found = torch.linalg.vector_norm(rows, dim=1)
    unsure = ((found < 1e-15) | ~(found < 1e15)).nonzero()[:, 0]  # squares of float32 under- or overflow
    if unsure.numel():
        found[unsure] = torch.linalg.vector_norm(rows[unsure].double(), dim=1).float()
    return found


def fit_space(points: Points, standardize: bool, unit: bool) -> Space:
    """The space in which distances count, from the mean and the deviation of each dimension.

    Args:
        points: ``N`` of them, in no space yet.
        standardize: Whether each dimension gets mean 0 and deviation 1; one that is constant up to rounding is left at
            its deviation of 0.
        unit: Whether each vector is then brought to length 1.

    Returns:
        The space, the same in each process. With neither, all dimensions are divided by one power of two if numbers
        are so large or so small that their squares would leave the range of float32.

    Raises:
        ValueError: If float32 cannot tell the rows apart, since one is larger by a factor of 1e5 than most, a
            dimension varies by less than 1e-37 or reaches 1e38, or one of float64 varies by less than 1e-5 of its
            size.
    """
    _require_spread(points)
    mean, scale = torch.zeros(points.dim), torch.ones(points.dim)
    if not standardize and unit:  # the direction of a vector is right at any size
        return Space(mean, scale, unit)
    largest = _largest(points)
    if standardize:
        origin = points.select(slice(0, 1)).all().cpu().double()  # so that a constant dimension deviates by 0
        shift, squares = points.total(_moments(points.share, origin)) / len(points)
        deviation = (squares - shift.square()).clamp(min=0).sqrt()
        constant = deviation <= _CONSTANT * largest
        if float(largest.max()) > _FAR * _LEAST:  # beside other dimensions, next to nothing is nothing
            constant |= deviation < _LEAST
        for number in (~constant & ((deviation < _LEAST) | (largest > _MOST))).nonzero()[:1, 0].tolist():
            raise ValueError(
                f"Dimension {number} of {points.name} reaches {largest[number]:.3g} and deviates by "
                f"{deviation[number]:.3g}; float32 cannot standardise it. Rescale or drop it."
            )
        mean = (origin[0] + shift).float()
        scale = torch.where(constant, largest.clamp(min=1), deviation).float()
    elif (size := float(largest.max())) > 0 and not 1 / _SAFE < size < _SAFE:
        scale *= 2.0 ** math.frexp(size)[1]
    return Space(mean, scale, unit)


def _moments(points: Points, origin: torch.Tensor) -> torch.Tensor:
    """Sums of the rows relative to ``origin`` and of their squares, float64, shape ``(2, dim)``."""
    device = points.device if points.device.type == "cuda" else torch.device("cpu")  # others may not know float64
    origin = origin.to(device)
    sums = torch.zeros(2, points.dim, dtype=torch.float64, device=device)
    for rows in points.chunks():
        shifted = rows.to(device).double() - origin
        sums[0] += shifted.sum(0)
        sums[1] += shifted.square_().sum(0)
    return sums.cpu()


def _require_spread(points: Points) -> None:
    """Raise if a dimension of float64 varies, but by so little of its size that float32 would lose it."""
    wide = [block for block in points.blocks if block.dtype == np.float64]
    if not wide:
        return
    low = np.min([block.min(0) for block in wide], axis=0)
    high = np.max([block.max(0) for block in wide], axis=0)
    size = np.maximum(np.abs(low), np.abs(high))
    with np.errstate(over="ignore"):
        spread = high - low
    lost = np.flatnonzero((spread > _EXACT * size) & (spread < _LOST * size))
    if lost.size:
        number = int(lost[0])
        raise ValueError(
            f"Dimension {number} of {points.name} goes from {low[number]:.12g} to {high[number]:.12g}, which float32 "
            "cannot tell apart. Subtract its mean, or drop it."
        )


def _largest(points: Points) -> torch.Tensor:
    """Largest absolute number of each dimension, float64, shape ``(dim,)``; an error if one row dwarfs the others."""
    share = points.share
    sizes, largest = torch.empty(len(share)), torch.zeros(points.dim, device=points.device)
    start = 0
    for rows in share.chunks():
        sizes[start : start + len(rows)] = rows.abs_().amax(1)
        largest = torch.maximum(largest, rows.amax(0))
        start += len(rows)
    size = points.joined(sizes.numpy())
    row, usual = int(size.argmax()), float(np.median(size))
    if usual > 0 and float(size[row]) / usual > _OUTLIER:
        raise ValueError(
            f"Row {points.number(row)} of {points.name} reaches {size[row]:.3g}, a usual row {usual:.3g}: beside it "
            "float32 cannot tell the others apart. Drop it."
        )
    return torch.from_numpy(points.joined(largest.cpu().numpy()[None])).amax(0).double()


def _numbers(
    rows: range | NDArray[np.integer[Any]], positions: NDArray[np.integer[Any]] | slice
) -> range | NDArray[np.integer[Any]]:
    """Some of the rows; a range of all rows is never written out."""
    if not isinstance(rows, range):
        return rows[positions]
    if not isinstance(positions, slice):
        return rows.start + positions
    some = rows[positions]
    return some if some.step == 1 else np.asarray(some)


def _indices(rows: range | NDArray[np.integer[Any]], start: int) -> NDArray[np.integer[Any]] | slice:
    """Where rows are in a block; a slice where they are neighbours: read in place, they need not be gathered first."""
    first, stop = rows[0] - start, rows[-1] + 1 - start
    return slice(first, stop) if stop - first == len(rows) else np.asarray(rows) - start
