"""Trainings that note in files which rows reached the model; as a script, for tests that start processes.

``python worker_training.py '[{"out": ..., "rows": 50, "max_steps": 8}, ...]'`` calls :func:`train` with each set of
options in turn. Under ``accelerate launch`` it does so on all ranks, in one process group.
"""

import gc
import hashlib
import json
import os
import random
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import transformers
from accelerate.data_loader import prepare_data_loader
from datasets import Dataset, IterableDataset, load_dataset
from launching import end_group, launch
from torch.distributed.device_mesh import init_device_mesh
from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainingArguments

from hf_curriculum import CurriculumConfig, CurriculumSampler, CurriculumTrainer

gc.freeze()  # Trainer collects garbage as each training starts: 0.4 s, if all that transformers imports is looked at

ROWS = 100
SEED = 7
RANK = int(os.environ.get("RANK", 0))
TRANSFORMERS_4 = transformers.__version__.startswith("4.")


class NotingModel(torch.nn.Module):
    """Regression on one weight. Before it uses a batch, it appends the step and the rows to a file.

    One ``write`` a batch, without a buffer: a process that is killed has noted all that it trained on.
    """

    def __init__(self, path: Path, pause: float = 0, limit: int | None = None, limit_from: int = 0) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.pause, self.limit, self.limit_from = pause, limit, limit_from
        self.step = 0

    def forward(self, row):
        if self.limit is not None and self.step >= self.limit_from and len(row) > self.limit:
            raise RuntimeError("CUDA out of memory.")
        os.write(self.file, (" ".join(map(str, [self.step, *row.tolist()])) + "\n").encode())
        if self.pause:
            time.sleep(self.pause)
        return {"loss": ((self.weight - row / ROWS) ** 2).mean()}


class Follow(TrainerCallback):
    """Tells the model its step and the parent that training starts; ends an epoch or, with a checkpoint, all early."""

    def __init__(self, out: Path, stop: int | None, end_epoch: int | None) -> None:
        self.out, self.stop, self.end_epoch = out, stop, end_epoch

    def on_train_begin(self, args, state, control, **kwargs):
        (self.out / f"pid-{RANK}").write_text(str(os.getpid()))

    def on_step_begin(self, args, state, control, model, **kwargs):
        model.step = state.global_step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_epoch_stop = state.global_step == self.end_epoch
        if state.global_step == self.stop:
            control.should_training_stop = control.should_save = True
        return control


def scored(rows=ROWS, seed=0, **columns) -> Dataset:
    """Rows that know their number, with difficulties, and with lengths that are used if one groups by length."""
    rng = np.random.default_rng(seed)
    difficulty = rng.beta(2, 3, rows).astype(np.float32)
    numbers = {"row": range(rows), "difficulty": difficulty, "length": rng.integers(1, 50, rows)}
    return Dataset.from_dict(numbers | columns)


def rows_of_parts(parts):
    """The rows of some datasets."""
    for part in parts:
        yield from part


def read_global_generators(batch):
    """A transform that reads the global generators as often as its rows say, as a random augmentation may."""
    for row in batch["row"]:
        torch.rand(row % 7 + 1)
        random.sample(range(10), row % 5)
        np.random.rand(row % 3)  # noqa: NPY002 - the global generator is meant
    return {"row": batch["row"]}


def arguments(output_dir, **options):
    """Those of 40 steps of 8 rows, unless the options say otherwise."""
    defaults = {
        "per_device_train_batch_size": 8,
        "max_steps": 40,
        "logging_steps": 5,
        "report_to": "none",
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
        "seed": SEED,
    }
    return TrainingArguments(output_dir=str(output_dir), **(defaults | options))


def train(
    out,
    *,
    rows=ROWS,
    shards=None,
    cuts=None,
    dataset=None,
    files=None,
    curriculum=None,
    stop=None,
    end_epoch=None,
    resume=None,
    pause=0,
    limit=None,
    limit_from=0,
    augment=False,
    group_by_length=False,
    trainer_class=CurriculumTrainer,
    allow_changed_resume=None,
    **options,
):
    """Train, and leave in ``out``: checkpoints, rows-RANK.txt, pid-RANK and, at the end, end-RANK.json."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    if group_by_length:
        options |= {"group_by_length": True} if TRANSFORMERS_4 else {"train_sampling_strategy": "group_by_length"}
    if files is not None:
        columns = ["row", "difficulty"]
        dataset = load_dataset("parquet", data_files=files, split="train", streaming=True, columns=columns)
    dataset = scored(rows) if dataset is None else dataset
    if shards is not None:
        dataset = dataset.to_iterable_dataset(num_shards=shards)
    if cuts is not None:  # shards of unequal size
        parts = [dataset.select(range(*part)) for part in pairwise(cuts)]
        dataset = IterableDataset.from_generator(rows_of_parts, gen_kwargs={"parts": parts})
    if augment:
        dataset.set_transform(read_global_generators)
    own = {"curriculum": curriculum, "allow_changed_resume": allow_changed_resume}
    if isinstance(curriculum, dict):
        own["curriculum"] = CurriculumConfig(**curriculum)
    model = NotingModel(out / f"rows-{RANK}.txt", pause, limit, limit_from)
    trainer = trainer_class(
        model=model,
        args=arguments(**{"output_dir": out, **options}),
        train_dataset=dataset,
        callbacks=[Follow(out, stop, end_epoch)],
        **{name: value for name, value in own.items() if value is not None},
    )
    try:
        trainer.train(resume_from_checkpoint=resume)
    finally:
        os.close(model.file)
        if trainer.args.dataloader_persistent_workers:  # end them now: the garbage collector takes 5 s for each
            trainer.callback_handler.train_dataloader.base_dataloader._iterator = None
    generators = hashlib.sha256(torch.get_rng_state().numpy().tobytes()).hexdigest()
    end = {"step": trainer.state.global_step, "logs": trainer.state.log_history, "generators": generators}
    (out / f"end-{RANK}.json").write_text(json.dumps(end))
    return trainer


def load_on_a_mesh(out, *, epochs):
    """Note the batches that Accelerate gives this rank where all ranks share one tensor-parallel model."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    size = torch.distributed.get_world_size()
    mesh = init_device_mesh("cpu", (1, size), mesh_dim_names=("dp_shard", "tp"))
    loader = prepare_data_loader(DataLoader(range(ROWS), batch_size=8, sampler=reference(8)), torch_device_mesh=mesh)
    batches = [batch.tolist() for _ in range(epochs) for batch in loader]  # the loader counts the epochs itself
    (out / f"end-{RANK}.json").write_text(json.dumps(batches))


# --- what the tests read ------------------------------------------------------------------------------------------


def reference(total_batch_size, *, rows=ROWS, dataset=None, max_steps=40, curriculum=None, **options):
    """The sampler whose stream :func:`train` must train on."""
    config = CurriculumConfig(**curriculum) if isinstance(curriculum, dict) else curriculum or CurriculumConfig()
    difficulty = (scored(rows) if dataset is None else dataset)[config.difficulty_column][:]
    options = {"total_batch_size": total_batch_size, "total_steps": max_steps, "seed": SEED, **options}
    return CurriculumSampler(difficulty, config, **options)


def micro_batches(out, rank=0):
    """Step and rows of each batch that reached the model of this rank, in the order of time."""
    lines = (Path(out) / f"rows-{rank}.txt").read_text().splitlines()
    return [(step, rows) for step, *rows in (map(int, line.split()) for line in lines)]


def stream(out, processes=1):
    """Rows of each step, by slot: for each of its micro-batches, the slices of the ranks in order."""
    steps: dict[int, list[int]] = {}
    for slices in zip(*(micro_batches(out, rank) for rank in range(processes)), strict=True):
        (step,) = {step for step, _ in slices}
        steps.setdefault(step, []).extend(row for _, rows in slices for row in rows)
    return steps


def drawn(sampler, steps):
    """The stream that a sampler gives in these steps."""
    return {step: sampler.indices(step).tolist() for step in steps}


def end(out, rank=0):
    """What :func:`train` wrote last."""
    return json.loads((Path(out) / f"end-{rank}.json").read_text())


def logged(logs, prefix="curriculum/"):
    """The curriculum's part of each training log, by step."""
    return {
        log["step"]: {name: value for name, value in log.items() if name.startswith(prefix)}
        for log in logs
        if "loss" in log
    }


def command(runs, processes=1):
    """Command line that makes these runs."""
    return [*launch(processes), __file__, json.dumps(runs)]


if __name__ == "__main__":
    if TRANSFORMERS_4:  # loads optimizers of several CPU processes to "cpu:0", a name that torch.load does not know
        torch.serialization.register_package(
            0, lambda storage: None, lambda storage, location: storage if location == "cpu:0" else None
        )
    for run in json.loads(sys.argv[1]):
        (load_on_a_mesh if "epochs" in run else train)(**run)
    end_group()
