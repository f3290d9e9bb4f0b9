"""Trainings on texts of unequal length, whose weights and losses are kept; as a script, for several processes.

``python worker_tokens.py '[{"out": ..., "batch": 4}, ...]'`` calls :func:`train` with each set of options in turn.
"""

import json
import os
import sys
from pathlib import Path

import torch
from launching import end_group
from tiny import BATCH, ROWS, first_words, flat, llama_config, options, scored, watch, word_tokenizer
from transformers import DataCollatorForSeq2Seq, LlamaForCausalLM, TrainingArguments

from hf_curriculum import CurriculumTrainer, LearnedDifficulty

RANK = int(os.environ.get("RANK", 0))
STEPS = 6


def train(out, *, batch=BATCH, learned=False, **changed):
    """Train; process 0 keeps weights and losses of the steps, each process the rows that it saw."""
    torch.manual_seed(0)
    model, tokenizer = LlamaForCausalLM(llama_config()), word_tokenizer()
    tokens = tokenizer([str(row) + " a b c" * (row % 5) for row in range(ROWS)])["input_ids"]
    settings = {"max_steps": STEPS, "logging_steps": 1, "optim": "sgd", "learning_rate": 1.0, "max_grad_norm": 0.0}
    trainer = CurriculumTrainer(
        model=model,
        args=TrainingArguments(**options(out, per_device_train_batch_size=batch, **settings, **changed)),
        train_dataset=scored(input_ids=tokens, labels=tokens),
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
        learned_difficulty=LearnedDifficulty("loss", every=2) if learned else None,
    )
    seen = watch(model)
    trainer.train()
    Path(out).mkdir(parents=True, exist_ok=True)
    Path(out, f"rows-{RANK}.json").write_text(json.dumps(flat(first_words(seen))))
    if RANK == 0:
        torch.save(model.state_dict(), Path(out, "weights.pt"))
        losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
        Path(out, "losses.json").write_text(json.dumps(losses))


if __name__ == "__main__":
    for run in json.loads(sys.argv[1]):
        train(**run)
    end_group()
