"""Does a curriculum slow a training down? Samples per second of CurriculumTrainer beside Trainer.

    python benchmarks/training.py [--rows 100000] [--pairs 11] [--steps 300]

Both train the same tiny masked autoencoder (ViTMAE) on scikit-learn's digits, repeated to ``--rows`` rows with scores
of their own, and by turns: plain, curriculum, plain, curriculum. Half of the steps are the warm-up; both log every 20
steps. The first pair warms up and does not count.

- "first_step_s": from before the trainer is made to the end of step 1.
- "samples_per_s", "step_ms": of the steps after it.
- "..._cpu_...": the same by the processor time of the process, which other work on the machine disturbs less.
"""

import argparse
import tempfile
import time
from statistics import median, quantiles

import numpy as np
import torch
from datasets import Array3D, Dataset, Features, Value, disable_progress_bars, load_from_disk
from report import print_json, print_table
from sklearn.datasets import load_digits
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    ViTMAEConfig,
    ViTMAEForPreTraining,
    set_seed,
)
from transformers.utils import logging

from hf_curriculum import CurriculumTrainer

TRAINERS = {"Trainer": Trainer, "CurriculumTrainer": CurriculumTrainer}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--pairs", type=int, default=11)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    disable_progress_bars()
    logging.set_verbosity_error()
    runs = {name: [] for name in TRAINERS}
    with tempfile.TemporaryDirectory() as directory:
        dataset = digits(args.rows, directory)
        for _ in range(1 + args.pairs):
            for name, trainer in TRAINERS.items():
                runs[name].append(train(trainer, dataset, args.steps, args.batch))
    report(vars(args), {name: values[1:] for name, values in runs.items()})


def digits(rows, directory):
    """Digits as pixel values, repeated, each row with a difficulty of its own; memory-mapped, as from the Hub."""
    pixels = (load_digits().images.astype(np.float32) / 8 - 1)[:, None]
    columns = {
        "pixel_values": pixels[np.arange(rows) % len(pixels)],
        "difficulty": np.random.default_rng(0).beta(2, 3, rows).astype(np.float32),
    }
    features = Features({"pixel_values": Array3D((1, 8, 8), "float32"), "difficulty": Value("float32")})
    Dataset.from_dict(columns, features=features).save_to_disk(directory)
    return load_from_disk(directory).with_format("numpy")


class Clock(TrainerCallback):
    """Wall and processor time at the end of the first and of the last step."""

    def __init__(self):
        self.first = self.last = None

    def on_step_end(self, args, state, control, **kwargs):  # noqa: D102
        if state.global_step == 1:
            self.first = now()
        if state.global_step == state.max_steps:
            self.last = now()


def now():
    return np.array([time.perf_counter(), time.process_time()])


def train(trainer, dataset, steps, batch):
    set_seed(0)
    model = ViTMAEForPreTraining(
        ViTMAEConfig(
            image_size=8,
            patch_size=2,
            num_channels=1,
            hidden_size=64,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=128,
            decoder_hidden_size=32,
            decoder_num_hidden_layers=1,
            decoder_num_attention_heads=4,
            decoder_intermediate_size=64,
        )
    )
    clock = Clock()
    with tempfile.TemporaryDirectory() as output:
        args = TrainingArguments(
            output_dir=output,
            per_device_train_batch_size=batch,
            max_steps=steps,
            logging_steps=20,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        )
        start = now()
        made = trainer(model=model, args=args, train_dataset=dataset, callbacks=[clock])
        made.remove_callback(PrinterCallback)
        made.train()
    wall, cpu = clock.last - clock.first
    return {
        "samples_per_s": (steps - 1) * batch / wall,
        "samples_per_cpu_s": (steps - 1) * batch / cpu,
        "step_ms": 1e3 * wall / (steps - 1),
        "first_step_s": (clock.first - start)[0],
        "first_step_cpu_s": (clock.first - start)[1],
    }


def report(options, runs):
    plain, ours = runs.values()
    rows, ratios = [], {}
    for key, aim in {
        "samples_per_s": ">= 0.99",
        "samples_per_cpu_s": "",
        "step_ms": "",
        "first_step_s": "<= 1",
        "first_step_cpu_s": "",
    }.items():
        pairs = [b[key] / a[key] for a, b in zip(plain, ours, strict=True)]
        low, middle, high = quantiles(pairs, n=4)
        ratios[key] = {"median": middle, "quartiles": [low, high], "pairs": pairs}
        columns = [median(run[key] for run in kind) for kind in (plain, ours)]
        rows.append([key, *columns, middle, f"{low:.3f} to {high:.3f}", aim])
    print_table([f"median of {len(plain)} pairs", *runs, "**ratio**", "quartiles", "aim"], rows)
    print_json({**options, "ratios": ratios, "runs": runs})


if __name__ == "__main__":
    main()
