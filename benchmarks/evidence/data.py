"""Rows that stay in memory, ready for the model: so the model is the limit, not the loader."""

import gzip
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from datasets import Audio, Dataset, Image, load_dataset
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from benchmarks.evidence.config import Experiment
from benchmarks.evidence.spectrograms import spectrograms
from benchmarks.evidence.tokens import learn_pieces, numbers

_TEST_SHARE = 0.2


@dataclass(frozen=True)
class Rows:
    """Inputs of a model, shape ``(n, ...)``, on any device, and labels, int64, beside them."""

    inputs: torch.Tensor
    labels: torch.Tensor

    def take(self, rows: torch.Tensor | slice) -> "Rows":
        """Some of the rows."""
        return Rows(self.inputs[rows], self.labels[rows])

    def split(self, size: int) -> list["Rows"]:
        """All rows, so many at a time."""
        return [Rows(*part) for part in zip(self.inputs.split(size), self.labels.split(size), strict=True)]


@dataclass(frozen=True)
class Parts:
    """What each row is for.

    Attributes:
        pool: Training rows in a fixed random order, with the labels that a training sees; a budget of ``n`` rows
            trains on the first ``n``.
        raw: The same rows as an encoder takes them.
        bank: Labelled rows that k-NN and probe learn from: the first of the pool, so trained on by large budgets.
        queries: Rows that are classified: of the held-out ones, or of the test split.
    """

    pool: Rows
    raw: Dataset
    bank: Rows
    queries: Rows


def parts(experiment: Experiment, source: str | None, device: str) -> Parts:
    """The rows of an experiment; held-out ones are never trained on, whichever rows are the queries."""
    train, test, raw = splits(source or experiment.dataset, device)
    order = np.random.default_rng(0).permutation(len(train.labels))
    chosen = order[experiment.held_out :]
    needed = max(experiment.bank, *(rows for rows, _ in experiment.budgets))
    if needed > len(chosen):
        raise ValueError(f"{needed} rows are asked for, but there are {len(chosen)} beside the held-out ones.")
    held_out, clean = (_at(train, rows) for rows in (order[: experiment.held_out], chosen))
    queries = held_out if experiment.evaluate_on == "held_out" else test
    return Parts(
        Rows(clean.inputs, mislabelled(clean.labels, experiment.label_noise, experiment.wrong_label)),
        raw.select(chosen),
        clean.take(slice(experiment.bank)),
        queries.take(slice(experiment.queries)),
    )


def mislabelled(labels: torch.Tensor, share: float, wrong_label: str) -> torch.Tensor:
    """Labels of which a share is replaced, by any other class or by the next one; always the same rows."""
    rng = np.random.default_rng(1)
    classes = int(labels.max()) + 1
    wrong = torch.from_numpy(rng.random(len(labels)) < share).to(labels.device)
    furthest = 2 if wrong_label == "next" else max(2, classes)
    step = torch.from_numpy(rng.integers(1, furthest, len(labels))).to(labels.device)
    return torch.where(wrong, (labels + step) % classes, labels)


def _at(rows: Rows, numbers: NDArray[np.integer]) -> Rows:
    return rows.take(torch.from_numpy(numbers).to(rows.labels.device))


@lru_cache(maxsize=1)  # a process trains many times on the same rows
def splits(source: str, device: str) -> tuple[Rows, Rows, Dataset]:
    """Training rows, test rows, and the training rows as they were read.

    Args:
        source: ``"digits"``; a folder of Parquet files or of the IDX files of MNIST; one Parquet file; or a Hub id.
            What has no test split gets one: a fifth of the rows, always the same.
        device: Where the rows are kept.
    """
    train, test = _read(source)
    inputs = _inputs(train, test)
    rows = [
        Rows(torch.from_numpy(array).to(device), torch.tensor(split["label"][:], device=device))
        for array, split in zip(inputs, (train, test), strict=True)
    ]
    return rows[0], rows[1], train


def _read(source: str) -> tuple[Dataset, Dataset]:
    path = Path(source)
    if source == "digits":
        digits = load_digits()
        return _divided(_images((digits.images * 15.9375).astype(np.uint8), digits.target))
    if list(path.glob("train-images-idx3-ubyte*")):
        return _idx(path, "train"), _idx(path, "t10k")
    if path.is_file():
        return _divided(load_dataset("parquet", data_files=source, split="train"))
    if path.is_dir():
        files = {split: [str(file) for file in path.glob(f"*{split}*.parquet")] for split in ("train", "test")}
        found = load_dataset("parquet", data_files=files)
    else:
        found = load_dataset(source)
    return (found["train"], found["test"]) if "test" in found else _divided(found["train"])


def _divided(dataset: Dataset) -> tuple[Dataset, Dataset]:
    halves = dataset.train_test_split(_TEST_SHARE, seed=0)
    return halves["train"], halves["test"]


def _images(pixels: NDArray[np.uint8], labels: NDArray[np.integer]) -> Dataset:
    return Dataset.from_dict({"image": [PIL.Image.fromarray(image) for image in pixels], "label": labels})


def _idx(folder: Path, prefix: str) -> Dataset:
    def content(kind: str, header: int) -> NDArray[np.uint8]:
        (path,) = folder.glob(f"{prefix}-{kind}-ubyte*")
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        return np.frombuffer(data, np.uint8, offset=header)

    size = 28
    return _images(content("images-idx3", 16).reshape(-1, size, size), content("labels-idx1", 8))


def _inputs(*splits: Dataset) -> list[NDArray[np.uint8] | NDArray[np.int16]]:
    """What a model takes, of each split: pixels, spectrograms or tokens, by the columns that there are."""
    features = splits[0].features
    for column, feature in features.items():
        if isinstance(feature, Image):
            return [_channels_first(np.stack([np.asarray(image) for image in split[column]])) for split in splits]
        if isinstance(feature, Audio):
            undecoded = [split.cast_column(column, Audio(decode=False)) for split in splits]
            return [_channels_first(spectrograms(split[column])) for split in undecoded]
    if "text" not in features:
        raise ValueError(f"A column of images, of audio, or 'text' is needed; there are {list(features)}.")
    tokenizer = learn_pieces(splits[0]["text"][:])
    return [numbers(tokenizer, split["text"][:]) for split in splits]


def _channels_first(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    channels = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(channels)
