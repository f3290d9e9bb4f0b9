"""What does a curriculum on a stream cost, beside reading the stream, and beside other ways to draw from it?

    python benchmarks/stream.py [--rows 60000] [--pictures 6000] [--resume 100 1000 10000]

- "rows out a second": of the stream with the curriculum, at an effective fraction that stays, over those of a ``map``
  that changes nothing; rows of two numbers, from tables in memory in 8 shards, in turns, best of 3. "accept": a row
  comes out with probability ``exp(-(d - d_min) / tau)``, "at most once": with ``min(1, w / E[w])``, by ``filter``.
- "read": rows read for each that comes out, and the mean difficulty of what comes out beside that of draws with
  replacement.
- "pictures": JPEGs of 128 x 128 in Parquet files, as they are and as ``save_sorted`` writes them: milliseconds a row
  that is trained on, decoded; bytes that the process reads, over those of a plain pass (Linux); and the growth of
  memory at its peak, Python's and numpy's, and Arrow's.
- "first batch": from the start of ``train`` to the first batch of a run resumed at such a step, beside ``Trainer``,
  which reads all of it again; a batch has 32 rows.
"""

import argparse
import io
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset, Image, load_dataset
from PIL import Image as PILImage
from report import print_json, print_table
from transformers import Trainer, TrainerCallback, TrainingArguments

from hf_curriculum import CurriculumConfig, CurriculumTrainer, curriculum_stream, save_sorted, solve_temperature
from hf_curriculum.data import difficulty_quantiles

BATCH, SHARDS, REPEATS = 32, 8, 3
FRACTIONS = (0.15, 0.3, 0.5)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--pictures", type=int, default=6000)
    parser.add_argument("--resume", type=int, nargs="*", default=[100, 1000, 10_000], help="steps")
    args = parser.parse_args()
    difficulty = np.random.default_rng(0).beta(2, 3, args.rows).astype(np.float32)
    draws = {fraction: measure(difficulty, fraction) for fraction in FRACTIONS}
    ways = ("ours", "accept", "at most once")
    print_table(
        ["fraction", *(f"rows out a second, over map's: {way}" for way in ways), *(f"read: {way}" for way in ways)],
        [
            [
                fraction,
                *(f"{d['rates'][way] / d['rates']['map']:.2f}" for way in ways),
                *(f"{d['read'][way]:.2f}" for way in ways),
            ]
            for fraction, d in draws.items()
        ],
    )
    print_table(
        ["fraction", *(f"mean difficulty: {way}" for way in ways), "with replacement"],
        [
            [fraction, *(f"{d['means'][way]:.3f}" for way in (*ways, "with replacement"))]
            for fraction, d in draws.items()
        ],
    )
    pictures = measure_pictures(args.pictures)
    print_table(
        ["pictures", "ms a row", "of the bytes", "memory: Python, MB", "Arrow, MB"],
        [
            [name, f"{p['ms']:.2f}", f"{p['bytes']:.2f}", f"{p['python_mb']:.1f}", f"{p['arrow_mb']:.1f}"]
            for name, p in pictures.items()
        ],
    )
    kinds = (Trainer, CurriculumTrainer)
    resumed = {step: {kind.__name__: first_batch(kind, step) for kind in kinds} for step in args.resume}
    print_table(
        ["resumed at step", "first batch: Trainer, s", "CurriculumTrainer, s"],
        [[step, *(f"{seconds:.2f}" for seconds in times.values())] for step, times in resumed.items()],
    )
    print_json({"draws": draws, "pictures": pictures, "resumed": resumed})


def stream_of(difficulty):
    rows = {"row": range(len(difficulty)), "difficulty": difficulty}
    return Dataset.from_dict(rows).to_iterable_dataset(num_shards=SHARDS)


def constant(fraction):
    return CurriculumConfig(initial_fraction=fraction, final_fraction=fraction, warmup_steps=1.0)


def measure(difficulty, fraction):
    """Rates, rows read for one that comes out, and mean difficulties, of each way."""
    plain, scores = stream_of(difficulty), difficulty.astype(float)
    weights = np.exp(-(scores - scores.min()) / solve_temperature(scores, fraction))
    kept = {"accept": weights, "at most once": np.minimum(1, weights / weights.mean())}
    streams = {
        "map": plain.map(lambda rows: rows, batched=True, batch_size=4096),
        "ours": curriculum_stream(
            plain,
            constant(fraction),
            total_batch_size=256,
            total_steps=-(-len(difficulty) // 256),
            quantiles=difficulty_quantiles(difficulty),
        ),
        **{way: plain.filter(Kept(chances), batched=True, batch_size=4096) for way, chances in kept.items()},
    }
    rates = [{way: rows_a_second(stream) for way, stream in streams.items()} for _ in range(REPEATS)]
    rows = np.array([row["row"] for row in streams["ours"]])
    read = {way: 1 / chances.mean() for way, chances in kept.items()}
    means = {way: chances @ scores / chances.sum() for way, chances in kept.items()}
    return {
        "rates": {way: max(rate[way] for rate in rates) for way in streams},
        "read": {"ours": len(difficulty) / len(rows), **read},
        "means": {"ours": float(scores[rows].mean()), **means, "with replacement": means["accept"]},
    }


class Kept:
    """Keeps each row with its chance."""

    def __init__(self, chances):
        self.chances, self.rng = chances, np.random.default_rng(0)

    def __call__(self, rows):
        """Which rows of a batch are kept."""
        return (self.rng.random(len(rows["row"])) < self.chances[rows["row"]]).tolist()


def rows_a_second(stream):
    start = time.perf_counter()
    count = sum(1 for _ in stream)
    return count / (time.perf_counter() - start)


def measure_pictures(count):
    """Time, bytes and memory of pictures from files, plain and drawn from."""
    rng = np.random.default_rng(0)
    difficulty = rng.beta(2, 3, count).astype(np.float32)
    rows = {"image": [jpeg(rng) for _ in range(count)], "difficulty": difficulty}
    dataset = Dataset.from_dict(rows).cast_column("image", Image())
    with tempfile.TemporaryDirectory() as folder:
        save_sorted(dataset, f"{folder}/sorted")
        for shard in range(SHARDS):
            dataset.shard(SHARDS, shard).to_parquet(f"{folder}/plain/{shard}.parquet", batch_size=100)
        found = {"plain stream": passed(opened(f"{folder}/plain"))}
        for fraction in FRACTIONS[:2]:
            for files in ("plain", "sorted"):
                drawn = curriculum_stream(
                    opened(f"{folder}/{files}"),
                    constant(fraction),
                    total_batch_size=32,
                    total_steps=count // 32,
                    quantiles=difficulty_quantiles(difficulty),
                )
                found[f"fraction {fraction}, {files} files"] = passed(drawn)
    whole = found["plain stream"]["bytes"]
    return {name: {**one, "bytes": one["bytes"] / whole} for name, one in found.items()}


def jpeg(rng):
    """A picture of 128 x 128 as a file of about 6 KB."""
    coarse = PILImage.fromarray(rng.integers(0, 255, (24, 24, 3), np.uint8))
    file = io.BytesIO()
    coarse.resize((128, 128)).save(file, "JPEG", quality=90)
    return {"bytes": file.getvalue(), "path": None}


def opened(folder):
    return load_dataset("parquet", data_files=f"{folder}/*.parquet", split="train", streaming=True)


def passed(stream):
    """One pass for the time and the bytes, and one for the memory."""
    read, start = bytes_read(), time.perf_counter()
    count = sum(1 for _ in stream)
    seconds, read = time.perf_counter() - start, bytes_read() - read
    before, arrow = pa.total_allocated_bytes(), 0
    tracemalloc.start()
    for _ in stream:
        arrow = max(arrow, pa.total_allocated_bytes() - before)
    python = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {"ms": 1e3 * seconds / count, "bytes": read, "python_mb": python / 2**20, "arrow_mb": arrow / 2**20}


def bytes_read():
    """Bytes that this process has read so far."""
    return int(Path("/proc/self/io").read_text().split()[1])


class OneWeight(torch.nn.Module):
    """Regression on one weight, that notes when its first batch came."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.first = None

    def forward(self, row):
        """The loss."""
        self.first = self.first or time.perf_counter()
        return {"loss": ((self.weight - row * 1e-6) ** 2).mean()}


class Stop(TrainerCallback):
    """Ends the training at a step, with a checkpoint."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        """See ``TrainerCallback``."""
        control.should_training_stop = control.should_save = state.global_step >= self.step


def first_batch(trainer_class, step):
    """Seconds from the start of a resumed training to its first batch."""
    difficulty = np.random.default_rng(0).beta(2, 3, BATCH * step * 2).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        for stop, resume in ((step, None), (step + 1, str(Path(folder) / f"checkpoint-{step}"))):
            model = OneWeight()
            args = TrainingArguments(
                folder,
                per_device_train_batch_size=BATCH,
                max_steps=2 * step,
                save_strategy="no",
                report_to="none",
                use_cpu=True,
                disable_tqdm=True,
                logging_strategy="no",
            )
            trainer = trainer_class(
                model=model, args=args, train_dataset=stream_of(difficulty), callbacks=[Stop(stop)]
            )
            start = time.perf_counter()
            trainer.train(resume_from_checkpoint=resume)
        return model.first - start


if __name__ == "__main__":
    main()
