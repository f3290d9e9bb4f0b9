"""Does a GPU find what a CPU finds?"""

import multiprocessing
import os
import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from datasets import Dataset
from families import FAMILIES, by_hand, dataset_of, raw_inputs
from transformers import TrainingArguments

from benchmarks.gpu_parts.kmeans import inertia, mixture, one_clustering
from benchmarks.gpu_parts.lines import Figures, Measurements, Size
from benchmarks.gpu_parts.models import digits, save_bert, texts, tiny_mae
from hf_curriculum import CurriculumTrainer, add_difficulty, add_embeddings
from hf_curriculum.embedding.prefetch import Windows, load_windows
from hf_curriculum.embedding.rows import PreparedRows
from hf_curriculum.encoders import Options, load_encoder
from hf_curriculum.scoring.kmeans import assign, kmeans
from hf_curriculum.scoring.points import Points

TOLERANCES = {"float32": 2e-3, "float16": 2e-2, "bfloat16": 1e-1}
"""Largest difference of two vectors, as a share of their length; float32 allows for TF32 in convolutions."""


def measurements(size: Size, deadline: float) -> Measurements:
    for modality, families in FAMILIES.items():
        for name in list(families)[: size.of(None, 1)]:
            yield f"vectors of {modality}, {name}", partial(family, modality, name, size)
    yield "vectors of windows that follow each other", partial(many_windows, size)
    yield "pinned memory", partial(pinned, size)
    yield "k-means", partial(clusters, size)
    yield "add_difficulty", partial(difficulties, size)
    yield "k-means of two processes on one GPU", partial(two_processes, size)
    yield "memory that does not suffice", partial(out_of_memory, size)
    for precision in ("float32", "bfloat16"):
        for compiled in size.of((False, True), (False,)):
            named = f"training, {precision}{', compiled' if compiled else ''}"
            yield named, partial(training, size, precision == "bfloat16", compiled)


def family(modality: str, name: str, size: Size) -> Figures:
    """Vectors of the tiny model of a family, in each precision, beside the model called by hand on the CPU."""
    case, dataset = FAMILIES[modality][name], dataset_of(modality)
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        case.model(case.config()).save_pretrained(folder)
        case.prepare().save_pretrained(folder)

        expected = by_hand(modality, name, folder, raw_inputs(modality, dataset), case.vector())

        def vectors(dtype: str) -> np.ndarray:
            options = {"batch_size": 4, "num_workers": 0, "cache_dir": f"{folder}/{dtype}"}
            return np.array(add_embeddings(dataset, folder, dtype=dtype, **options)["embedding"][:])

        found = {dtype: off(vectors(dtype), torch.stack(expected).numpy()) for dtype in TOLERANCES}
    # The autocast of a CPU computes norms in 16 bits, which that of a GPU does not.
    judged = TOLERANCES if size.device == "cuda" else ["float32"]
    return checked(found, {dtype: found[dtype] <= TOLERANCES[dtype] for dtype in judged})


def many_windows(size: Size) -> Figures:
    """The device has the next window before the vectors of one are read: they are those of each window alone."""
    dataset, alone = texts(size.of(20_000, 200), words=10), size.of(2048, 64)
    with tempfile.TemporaryDirectory() as folder:
        path = save_bert(Path(folder) / "model", *size.of((384, 6), (32, 1)))
        options = {"dtype": "float32", "shard_size": alone, "batch_size": 64, "num_workers": size.of(4, 0)}
        parts = [range(start, min(start + alone, len(dataset))) for start in range(0, len(dataset), alone)]
        whole, *each = (
            np.array(add_embeddings(some, path, cache_dir=f"{folder}/{turn}", **options)["embedding"][:])
            for turn, some in enumerate([dataset, *map(dataset.select, parts)])
        )
    figures = {"off": off(whole, np.concatenate(each))}
    return checked(figures, {"same": figures["off"] < 1e-5})


def pinned(size: Size) -> Figures:
    """What workers hand over is in page-locked memory for a GPU, and what it is without."""
    dataset = texts(size.of(8192, 200), words=10)
    with tempfile.TemporaryDirectory() as folder:
        path = save_bert(Path(folder) / "model", *size.of((384, 6), (32, 1)))
        encoder, column = load_encoder(path, dataset, Options())
        ranges = [(start, start + 64) for start in range(0, len(dataset) - 63, 64)]
        windows = Windows(dataset, column, encoder, 64, ranges)
        loaded = [inputs_of(load_windows(windows, 2, pin_memory)) for pin_memory in (size.device == "cuda", False)]
    figures = {"tensors": len(loaded[0]), "pinned": sum(value.is_pinned() for value in loaded[0])}
    return checked(
        figures,
        {
            "pinned": figures["pinned"] == (figures["tensors"] if size.device == "cuda" else 0),
            "same": all(torch.equal(one, other) for one, other in zip(*loaded, strict=True)),
        },
    )


def inputs_of(loaded: Iterable[PreparedRows]) -> list[torch.Tensor]:
    """All inputs of a model by name."""
    batches = [batch for rows in loaded for batch in rows.prepared.batches]
    return [torch.as_tensor(value) for batch in batches for value in batch.inputs.values()]


def off(found: np.ndarray, expected: np.ndarray) -> float:
    return float((np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)).max())


def checked(found: Figures, holds: dict[str, bool]) -> Figures:
    if wrong := [name for name, right in holds.items() if not right]:
        raise AssertionError(f"{wrong} of {found}")
    return found


def clusters(size: Size) -> Figures:
    """From one start: the same bits each time, held or in chunks; clusters and inertia of the CPU."""
    rows, dim, k = size.of((200_000, 384, 400), (5000, 16, 20))
    matrix = mixture(rows, dim)
    near, far = Points.of([matrix]), Points([matrix], range(rows))
    found = [kmeans(points, k, 0) for points in (near.held(), near.held(), near)]
    expected = kmeans(far, k, 0)
    here, there = inertia(near, found[0]), inertia(far, expected)
    agreed = float(np.mean(assign(near, expected)[0] == assign(far, expected)[0]))
    apart = float((found[0] - found[2]).abs().max())
    figures = {"inertia": here, "inertia_cpu": there, "agreed": agreed, "held_and_chunks_apart": apart}
    return checked(
        figures,
        {
            "same bits": torch.equal(found[0], found[1]),
            "held or not": torch.equal(found[0], found[2]),
            "inertia": abs(here / there - 1) < 0.01,
            "clusters": agreed > 0.9999,
        },
    )


def difficulties(size: Size) -> Figures:
    """With K chosen, and by margins: clusters and difficulties of a process that has the CPU alone."""
    rows = size.of(20_000, 2000)
    here = scored(rows)
    with mock.patch.dict(os.environ, ACCELERATE_USE_CPU="true"), multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.apply(scored, [rows])
    apart = {name: float(np.abs(here[name] - there[name]).max()) for name in here}
    same = {name: value < (0.5 if name.startswith("cluster") else 1e-3) for name, value in apart.items()}
    return checked({"clusters": int(here["cluster"].max()) + 1, "apart": apart}, same)


def scored(rows: int) -> dict[str, np.ndarray]:
    """Cluster and difficulty of rows in forty planted clusters, without and with labels."""
    rng = np.random.default_rng(0)
    planted = rng.integers(40, size=rows)
    matrix = 5 * rng.standard_normal((40, 64), np.float32)[planted] + rng.standard_normal((rows, 64), np.float32)
    dataset = Dataset.from_dict({"embedding": matrix, "label": planted // 4})
    found = {"": add_difficulty(dataset), "_margin": add_difficulty(dataset, label_column="label", measure="margin")}
    return {f"{name}{of}": np.array(found[of][name][:]) for of in found for name in ("cluster", "difficulty")}


def two_processes(size: Size) -> Figures:
    """At the same time, each started anew: a GPU does not survive a fork."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        one, other = pool.map(one_clustering, [0, 0], chunksize=1)
    return checked({}, {"same bits": np.array_equal(one, other)})


def out_of_memory(size: Size) -> Figures:
    """A batch that is too large is halved after a real error of the device; where it has none, there is nothing."""
    if size.device == "cpu":
        return {"left_out": "needs a GPU"}
    dataset = texts(4096, words=400)
    with tempfile.TemporaryDirectory() as folder:
        path = save_bert(Path(folder) / "model", 768, 12)
        expected = np.array(add_embeddings(dataset, path, batch_size=32, cache_dir=f"{folder}/a")["embedding"][:])
        share = 3 * 2**30 / torch.cuda.get_device_properties(0).total_memory
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(share)
        before = torch.cuda.memory_stats().get("num_ooms", 0)
        try:
            found = np.array(add_embeddings(dataset, path, batch_size=4096, cache_dir=f"{folder}/b")["embedding"][:])
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        errors = torch.cuda.memory_stats()["num_ooms"] - before
    figures = {"errors": errors, "off": off(found, expected)}
    return checked(figures, {"halved": errors > 0, "vectors": figures["off"] < TOLERANCES["bfloat16"]})


def training(size: Size, bf16: bool, compiled: bool) -> Figures:
    """A run that was resumed in the middle draws the same rows, and ends with the losses of one that was not."""
    with tempfile.TemporaryDirectory() as folder:
        dataset = digits(size.of(20_000, 2000), f"{folder}/rows")
        options = {
            "max_steps": size.of(60, 8),
            "save_steps": size.of(30, 4),
            "logging_steps": 1,
            "per_device_train_batch_size": 64,
            "bf16": bf16,
            "torch_compile": compiled,
            "use_cpu": size.device == "cpu",
            "report_to": "none",
            "disable_tqdm": True,
        }

        def losses(checkpoint: str | None = None) -> list[float]:
            args = TrainingArguments(f"{folder}/run", **options)
            trainer = CurriculumTrainer(model=tiny_mae(), args=args, train_dataset=dataset)
            trainer.train(resume_from_checkpoint=checkpoint)
            return [line["loss"] for line in trainer.state.log_history if "loss" in line]

        whole = losses()
        again = losses(f"{folder}/run/checkpoint-{options['save_steps']}")
    apart = float(np.abs(np.subtract(whole, again)).max())
    return checked(
        {"losses": [whole[0], whole[-1]], "apart": apart}, {"resumed": apart < 0.02, "learns": whole[-1] < whole[0]}
    )
