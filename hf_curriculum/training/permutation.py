"""Shuffled passes over n rows with random access: any part of any pass, without the parts before it."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_SMALL = 1 << 16  # rows up to which an array is shuffled: half a MB and a millisecond a pass
_ROUNDS = 8  # of the network
_RANDOM_ORDER = 2**64 - 1  # a pass that no walk comes to


def shuffled(positions: NDArray[np.int64], n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Rows at these positions of a random permutation of ``range(n)``.

    Small datasets shuffle an array; large ones go through a keyed bijection, which needs neither memory nor a
    start-up time in proportion to ``n``.

    Args:
        positions: Positions in ``[0, n)``, int64, any order. Shape ``(m,)``.
        n: Number of rows.
        seed: Seed of the walk, non-negative.
        epoch: Number of the pass; each has an order of its own.

    Returns:
        Row indices in ``[0, n)``, int64, shape ``(m,)``.

    Source:
        An alternating Feistel network with cycle walking: Black and Rogaway, "Ciphers with Arbitrary Finite
        Domains", CT-RSA 2002.
    """
    if n <= _SMALL:
        return _permutation(n, seed, epoch)[positions]
    keys = _generator(seed, epoch).integers(0, 2**64, size=_ROUNDS, dtype=np.uint64)
    bits = (n - 1).bit_length()
    rows = _feistel(positions.astype(np.uint64), bits, keys)
    outside = np.flatnonzero(rows >= n)
    while outside.size:  # walk the cycle until it comes back below n: still a bijection
        rows[outside] = _feistel(rows[outside], bits, keys)
        outside = outside[rows[outside] >= n]
    return rows.astype(np.int64)


def random_difficulty(n: int, seed: int) -> NDArray[np.float32]:
    """Difficulties in ``[0, 1)`` at even distances, in a random order of the rows: those of ``order="random"``.

    Args:
        n: Number of rows.
        seed: Seed of the order, non-negative.

    Returns:
        float32, shape ``(n,)``.
    """
    return (shuffled(np.arange(n), n, seed, _RANDOM_ORDER) / n).astype(np.float32)


def walk(start: int, size: int, n: int, seed: int) -> NDArray[np.int64]:
    """A part of the endless row of permutations of ``range(n)``, one pass after the other.

    Args:
        start: Where the part starts, counted in rows from the first pass.
        size: Its length.
        n: Number of rows.
        seed: Seed of the walk, non-negative.

    Returns:
        Row indices in ``[0, n)``, int64, shape ``(size,)``.
    """
    end, parts = start + size, [np.empty(0, np.int64)]
    while start < end:
        epoch, position = divmod(start, n)
        positions = np.arange(position, min(n, position + end - start))
        parts.append(shuffled(positions, n, seed, epoch))
        start += positions.size
    return np.concatenate(parts)


@lru_cache(maxsize=2)
def _permutation(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return _generator(seed, epoch).permutation(n)


def _generator(seed: int, epoch: int) -> np.random.Generator:
    # The counter's last word keeps these numbers apart from the draws of the curriculum, which start at 0.
    return np.random.Generator(
        np.random.Philox(key=np.array([seed, epoch], np.uint64), counter=np.array([0, 0, 0, 1], np.uint64))
    )


def _feistel(x: NDArray[np.uint64], bits: int, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    low_bits = bits // 2
    high_bits = bits - low_bits
    low = x & np.uint64((1 << low_bits) - 1)
    high = x >> np.uint64(low_bits)
    for i in range(0, len(keys), 2):
        high = high ^ _hash(low, keys[i], high_bits)
        low = low ^ _hash(high, keys[i + 1], low_bits)
    return (high << np.uint64(low_bits)) | low


def _hash(x: NDArray[np.uint64], key: np.uint64, bits: int) -> NDArray[np.uint64]:
    """The top ``bits`` of a mixed 64-bit product (the finaliser of MurmurHash3)."""
    h = (x ^ key) * np.uint64(0xFF51AFD7ED558CCD)
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xC4CEB9FE1A85EC53)
    return h >> np.uint64(64 - bits)
