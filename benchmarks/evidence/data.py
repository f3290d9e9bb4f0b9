"""Images that stay in memory, as bytes: so the model is the limit, not the loader."""

import gzip
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from datasets import Image, load_dataset
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from benchmarks.evidence.config import Experiment

_DIGITS_TRAIN = 1500


@dataclass(frozen=True)
class Images:
    """Pixels, uint8, shape ``(n, channels, size, size)``, on any device, and labels, int64, beside them."""

    pixels: torch.Tensor
    labels: torch.Tensor

    def take(self, rows: NDArray[np.integer] | slice) -> "Images":
        """Some of the images."""
        chosen = torch.arange(len(self.labels))[rows].to(self.labels.device)
        return Images(self.pixels[chosen], self.labels[chosen])


@dataclass(frozen=True)
class Parts:
    """What each image is for.

    Attributes:
        pool: Training images in a fixed random order; a budget of ``n`` images trains on the first ``n``.
        bank: Labelled images that k-NN and probe learn from: the first of the pool, so trained on by large budgets.
        queries: Images that are classified: of the held-out ones, or of the test split.
    """

    pool: Images
    bank: Images
    queries: Images


def parts(experiment: Experiment, source: str | None, device: str) -> Parts:
    """The images of an experiment; held-out ones are never trained on, whichever images are the queries."""
    train, test = splits(source or experiment.dataset, device)
    order = np.random.default_rng(0).permutation(len(train.labels))
    held_out, pool = train.take(order[: experiment.held_out]), train.take(order[experiment.held_out :])
    needed = max(experiment.bank, *(rows for rows, _ in experiment.budgets))
    if needed > len(pool.labels):
        raise ValueError(f"{needed} images are asked for, but there are {len(pool.labels)} beside the held-out ones.")
    queries = held_out if experiment.evaluate_on == "held_out" else test
    return Parts(pool, pool.take(slice(experiment.bank)), queries.take(slice(experiment.queries)))


@lru_cache(maxsize=1)  # a process trains many times on the same images
def splits(source: str, device: str) -> tuple[Images, Images]:
    """Training and test split of ``"digits"``, a folder of Parquet or IDX files, or a Hub id."""
    if source == "digits":
        train, test = _digits()
    elif list(Path(source).glob("train-images-idx3-ubyte*")):
        train, test = (_idx(Path(source), prefix) for prefix in ("train", "t10k"))
    else:
        train, test = _hub(source)
    return tuple(Images(images.pixels.to(device), images.labels.to(device)) for images in (train, test))


def _images(pixels: NDArray[np.uint8], labels: NDArray[np.integer]) -> Images:
    channels_first = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
    return Images(
        torch.from_numpy(np.ascontiguousarray(channels_first)), torch.from_numpy(np.asarray(labels, dtype=np.int64))
    )


def _digits() -> tuple[Images, Images]:
    digits = load_digits()
    images = _images((digits.images * 15.9375).astype(np.uint8), digits.target)
    order = np.random.default_rng(0).permutation(len(digits.target))
    return images.take(order[:_DIGITS_TRAIN]), images.take(order[_DIGITS_TRAIN:])


def _idx(folder: Path, prefix: str) -> Images:
    def content(kind: str, header: int) -> NDArray[np.uint8]:
        (path,) = folder.glob(f"{prefix}-{kind}-ubyte*")
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        return np.frombuffer(data, np.uint8, offset=header)

    size = 28
    return _images(content("images-idx3", 16).reshape(-1, size, size).copy(), content("labels-idx1", 8))


def _hub(source: str) -> tuple[Images, Images]:
    if Path(source).is_dir():
        files = {split: [str(path) for path in Path(source).glob(f"*{split}*.parquet")] for split in ("train", "test")}
        dataset = load_dataset("parquet", data_files=files)
    else:
        dataset = load_dataset(source)
    (column,) = (name for name, feature in dataset["train"].features.items() if isinstance(feature, Image))
    return tuple(
        _images(np.stack([np.asarray(image) for image in split[column]]), split["label"][:])
        for split in (dataset["train"], dataset["test"])
    )
