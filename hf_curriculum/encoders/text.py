"""Text encoders of the Hub: BERT, MiniLM and their family."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoTokenizer, PreTrainedModel

from hf_curriculum.encoders.base import pool

_UNLIMITED = 2**31  # tokens; the 1e30 of a tokenizer without a limit is more than its truncation takes


class TextEncoder:
    """A transformer encoder with its tokenizer; rows run in order of their length, so that little is padded."""

    modality: str | None = "text"

    def __init__(self, model: PreTrainedModel, source: dict[str, Any], pooling: str) -> None:
        self.model = model.eval()
        # With padding on the left the positions of a row's tokens would depend on its batch mates.
        self.tokenizer = AutoTokenizer.from_pretrained(**source, padding_side="right")
        if self.tokenizer.pad_token is None:  # GPT-2 and its kind; masked, so that any token will do
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.pooling = "mean" if pooling == "auto" else pooling
        self.record: dict[str, Any] = {"pooling": self.pooling}
        positions = getattr(model.config, "max_position_embeddings", None) or _UNLIMITED
        self.max_length = min(self.tokenizer.model_max_length, positions)

    def to(self, device: torch.device) -> None:
        """Move the weights to a device."""
        self.model.to(device)

    @torch.inference_mode()
    def __call__(self, rows: list[str], batch_size: int) -> NDArray[np.float32]:
        """Embed texts; see :class:`hf_curriculum.encoders.base.Encoder`."""
        tokens = self.tokenizer(rows, truncation=True, max_length=self.max_length)
        longest_first = np.argsort([-len(ids) for ids in tokens["input_ids"]], kind="stable")
        vectors = np.empty((len(rows), self.model.config.hidden_size), np.float32)
        for start in range(0, len(rows), batch_size):
            chosen = longest_first[start : start + batch_size]
            batch = {name: [values[i] for i in chosen] for name, values in tokens.items()}
            padded = self.tokenizer.pad(batch, return_tensors="pt").to(self.model.device)
            hidden = self.model(**padded).last_hidden_state
            vectors[chosen] = pool(hidden, padded["attention_mask"], self.pooling).float().cpu().numpy()
        return vectors
