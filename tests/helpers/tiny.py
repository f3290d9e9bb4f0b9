"""Models of a few thousand random weights over the words "0", "1", ... "99", and a look at what they are trained on.

A text that starts with its row number tells the row by its first token.
"""

import numpy as np
import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import LlamaConfig, PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration
from transformers.modeling_outputs import SequenceClassifierOutput

ROWS, BATCH, STEPS = 100, 8, 40
VOCABULARY = ["<pad>", "<eos>", "<unk>", "a", "b", "c", *map(str, range(ROWS))]


def word_tokenizer() -> PreTrainedTokenizerFast:
    model = Tokenizer(WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token="<unk>"))
    model.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=model, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", model_max_length=64
    )


def llama_config(**settings) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
        **settings,
    )


def tiny_t5() -> T5ForConditionalGeneration:
    torch.manual_seed(0)
    sizes = {"d_model": 16, "d_ff": 16, "d_kv": 8, "num_heads": 2, "num_layers": 1}
    tokens = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    return T5ForConditionalGeneration(T5Config(vocab_size=len(VOCABULARY), **sizes, **tokens))


class OneWeight(torch.nn.Module):
    """Regression of ``x`` on one weight."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return SequenceClassifierOutput(loss=((self.weight - x) ** 2).mean())


def scored(**columns) -> Dataset:
    difficulty = np.random.default_rng(0).beta(2, 3, ROWS).astype(np.float32)
    return Dataset.from_dict({**columns, "embedding": np.zeros((ROWS, 3), np.float32), "difficulty": difficulty})


def options(path, **changed):
    """Training arguments for 40 steps of 8 rows."""
    defaults = {
        "output_dir": str(path),
        "per_device_train_batch_size": BATCH,
        "max_steps": STEPS,
        "logging_steps": 10,
        "report_to": "none",
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
        "seed": 7,
    }
    return defaults | changed


def watch(module, key="input_ids") -> list[torch.Tensor]:
    """What the module takes under this name in each forward pass of a training, from now on."""
    taken = []

    def note(module, args, kwargs):
        if module.training:
            given = args[0] if args else kwargs
            taken.append((given if isinstance(given, torch.Tensor) else given[key]).clone())

    module.register_forward_pre_hook(note, with_kwargs=True)
    return taken


def first_words(batches) -> list[list[int]]:
    """The row of each text."""
    return [[int(VOCABULARY[ids[0]]) for ids in batch] for batch in batches]


def flat(batches) -> list:
    return [row for batch in batches for row in batch]
