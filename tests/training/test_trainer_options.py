"""Options of ``Trainer`` do with the curriculum what they do without, on the same rows: weights and logs are equal."""

import math

import pytest
import torch
from tiny import BATCH, ROWS, STEPS, flat, llama_config, options, scored, watch, word_tokenizer
from torch.utils.data import Sampler
from transformers import (
    DataCollatorForSeq2Seq,
    LlamaForCausalLM,
    Trainer,
    TrainingArguments,
)

from hf_curriculum import CurriculumSampler, CurriculumTrainer

pytestmark = pytest.mark.costly
STEPS_PER_EPOCH = math.ceil(ROWS / BATCH)


class Planned(Sampler):
    """The rows of the curriculum as a list, an epoch after another, for a trainer that knows of no curriculum."""

    def __init__(self):
        difficulty = scored()["difficulty"][:]
        self.plan = CurriculumSampler(difficulty, total_batch_size=BATCH, total_steps=STEPS, seed=7)
        self.epoch = 0

    def __len__(self):
        return STEPS_PER_EPOCH * BATCH

    def __iter__(self):
        first = self.epoch * STEPS_PER_EPOCH
        self.epoch += 1
        return iter(flat(self.plan.indices(step).tolist() for step in range(first, first + STEPS_PER_EPOCH)))


def fed(trainer_class):
    class Fed(trainer_class):
        def _get_train_sampler(self, train_dataset=None):
            return Planned()

    return Fed


def texts():
    """Rows of unequal length, so that tokens do not count alike in each batch."""
    tokens = word_tokenizer()([str(row) + " a b" * (row % 5) for row in range(ROWS)])["input_ids"]
    return scored(input_ids=tokens, labels=tokens)


def trained(path, trainer_class, arguments=TrainingArguments, model=None, **changed):
    """A trainer that has trained on :func:`texts`, what its model was given, and its last metrics."""
    torch.manual_seed(0)
    model = model or LlamaForCausalLM(llama_config(attention_dropout=0.1))
    tokenizer = word_tokenizer()
    trainer = trainer_class(
        model=model,
        args=arguments(**options(path, learning_rate=1e-2, **changed)),
        train_dataset=texts(),
        eval_dataset=texts().select(range(16)),
        processing_class=tokenizer,
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
    )
    seen = watch(model)
    return trainer, seen, trainer.train().metrics


def without_times(logs):
    own = ("epoch", "curriculum/", "train_runtime", "eval_runtime", "total_flos")
    timed = ("per_second", "_mem_")
    return [
        {name: value for name, value in log.items() if not name.startswith(own) and not any(t in name for t in timed)}
        for log in logs
    ]


OPTIONS = {
    "noise in the embeddings": {"neftune_noise_alpha": 5.0},
    "tokens averaged": {"average_tokens_across_devices": True, "gradient_accumulation_steps": 2},
    "each batch averaged": {"average_tokens_across_devices": False, "gradient_accumulation_steps": 2},
    "memory measured": {"skip_memory_metrics": False},
    "batch size found": {"auto_find_batch_size": True},
    "tokens counted": {"include_num_input_tokens_seen": "all"},
    "smoothed labels": {"label_smoothing_factor": 0.1},
    "another optimiser": {"optim": "adafactor", "lr_scheduler_type": "cosine", "warmup_steps": 5},
    "evaluated on the way": {"eval_strategy": "steps", "eval_steps": 9, "eval_on_start": True},
    "activations made again": {"gradient_checkpointing": True},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_does_what_it_does_without_a_curriculum_on_the_same_rows(tmp_path, name):
    changed = OPTIONS[name]
    if "gradient_accumulation_steps" in changed:
        changed = changed | {"per_device_train_batch_size": BATCH // 2}
    ours, seen, metrics = trained(tmp_path / "ours", CurriculumTrainer, **changed)
    plain, seen_plain, metrics_plain = trained(tmp_path / "plain", fed(Trainer), **changed)
    assert all(map(torch.equal, seen, seen_plain)) and len(seen) == len(seen_plain)
    torch.testing.assert_close(ours.model.state_dict(), plain.model.state_dict(), rtol=0, atol=0)
    assert without_times(ours.state.log_history) == without_times(plain.state.log_history)
    assert metrics.keys() == metrics_plain.keys()
    assert ours.evaluate()["eval_loss"] == plain.evaluate()["eval_loss"]
