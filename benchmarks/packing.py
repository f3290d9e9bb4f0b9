"""How much packs mix difficulties, and what they pad, beside TRL's own packing.

``python benchmarks/packing.py`` prints one line for each strategy and each kind of difficulty.
"""

import argparse

import numpy as np
from datasets import Dataset, disable_progress_bars
from trl import pack_dataset

from hf_curriculum.training.packing import pack_by_difficulty


def rows(count: int, kind: str) -> Dataset:
    """Rows of about 200 tokens, each of which is the number of its row."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(5, 0.8, count).astype(int), 1, 4000)
    difficulty = rng.beta(2, 3, count) if kind == "independent" else lengths / lengths.max()
    ids = [[row] * length for row, length in enumerate(lengths.tolist())]
    return Dataset.from_dict({"input_ids": ids, "difficulty": difficulty.astype(np.float32)})


def measure(packs: Dataset, difficulty: np.ndarray, max_length: int) -> tuple[float, float]:
    """Spread of the tokens' difficulty around the mean of their pack, and the share of a pack that is padded."""
    parts = [difficulty[np.array(ids)] for ids in packs["input_ids"]]
    tokens = sum(part.size for part in parts)
    spread = np.sqrt(sum(np.square(part - part.mean()).sum() for part in parts) / tokens)
    return float(spread), 1 - tokens / (len(parts) * max_length)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--max-length", type=int, default=2048)
    options = parser.parse_args()
    disable_progress_bars()
    for kind in ("independent", "the length"):
        dataset = rows(options.rows, kind)
        difficulty = np.asarray(dataset["difficulty"][:], np.float64)
        weights = [len(ids) for ids in dataset["input_ids"]]
        overall = np.sqrt(np.average(np.square(difficulty - np.average(difficulty, weights=weights)), weights=weights))
        for strategy in ("bfd", "bfd_split", "wrapped"):
            theirs = pack_dataset(dataset.select_columns(["input_ids"]), options.max_length, strategy)
            ours = pack_by_difficulty(dataset, "difficulty", options.max_length, strategy)
            (spread, padding), (our_spread, our_padding) = (
                measure(packs, difficulty, options.max_length) for packs in (theirs, ours)
            )
            print(  # noqa: T201
                f'| `"{strategy}"` | {kind} | {spread:.3f}, {our_spread:.4f} | {overall:.3f} | '
                f"{padding:.2%}, {our_padding:.2%} |"
            )


if __name__ == "__main__":
    main()
