"""Text encoders of the Hub: BERT and its family, T5, decoders, the text side of CLIP, Sentence Transformers."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoTokenizer,
    PreTrainedModel,
)

from hf_curriculum.data import read_text
from hf_curriculum.encoders.base import Batch, Prepared
from hf_curriculum.encoders.hub import OWN, HubEncoder
from hf_curriculum.encoders.packages import edition
from hf_curriculum.encoders.sentence import SentenceModules
from hf_curriculum.encoders.tokens import tokenizer_parts

_UNLIMITED = 2**31  # tokens; the 1e30 of a tokenizer without a limit is more than its truncation takes
_LETTERS_A_TOKEN = 200  # no more of a text than so many letters for each token that the encoder takes is tokenised


class TextEncoder(HubEncoder):
    """A transformer with its tokenizer; rows run in order of their length, so that little is padded.

    ``"auto"`` pools as the model's authors do: the modules of a Sentence Transformers repository, the projection of
    CLIP and its kind, the last token of a decoder, else the mean over the tokens.
    """

    modality: str | None = "text"
    window = 8192

    def __init__(
        self,
        model: PreTrainedModel,
        source: dict[str, Any],
        pooling: str,
        layer: int | str | None = None,
        long_inputs: str = "truncate",
    ) -> None:
        modules = SentenceModules.load(source) if pooling == "auto" and layer is None else None
        if pooling == "auto":
            pooling = modules.pooling if modules else _usual_pooling(model)
        super().__init__(model, pooling, layer)
        self.normalize = bool(modules and modules.normalize)
        self.record |= {"normalize": self.normalize}
        # With padding on the left the positions of a row's tokens would depend on its batch mates.
        self.tokenizer = AutoTokenizer.from_pretrained(**source, padding_side="right")
        if len(self.tokenizer) <= len(self.tokenizer.all_special_ids):  # transformers 5 makes one up
            raise OSError("there is no tokenizer")
        if self.tokenizer.pad_token is None:  # GPT-2 and its kind; masked, so that any token will do
            self.tokenizer.pad_token = self.tokenizer.eos_token or self.tokenizer.convert_ids_to_tokens(0)
        self.tokenizer_state = tokenizer_parts(self.tokenizer)  # before calls of it set its truncation
        limits = [_UNLIMITED, self.tokenizer.model_max_length, _positions(model), modules and modules.max_length]
        self.max_length = min(limit for limit in limits if limit and limit > 0)
        self.full = model.config.model_type.startswith("siglip")  # trained on texts of full length, without a mask
        self.long_inputs = long_inputs

    def read(self, row: str | None) -> str:
        """A text; see :func:`read_text`."""
        return read_text(row)

    def prepare(self, samples: list[str], batch_size: int) -> Prepared:
        """Tokens in batches of similar length, longest first."""
        limit = self.max_length * _LETTERS_A_TOKEN
        whole = self.long_inputs == "mean"
        tokens, rows = self._tokens(samples if whole else [text[:limit] for text in samples])
        first = np.r_[True, rows[1:] != rows[:-1]]
        kept = np.arange(rows.size) if whole else np.flatnonzero(first)
        lengths = np.array([len(ids) for ids in tokens["input_ids"]])
        longest_first = kept[np.argsort(-lengths[kept], kind="stable")]
        batches = []
        for start in range(0, longest_first.size, batch_size):
            chosen = longest_first[start : start + batch_size]
            inputs = {name: [values[i] for i in chosen] for name, values in tokens.items()}
            # Arrays, since each tensor that a worker sends holds a file open.
            padded = self.tokenizer.pad(
                inputs,
                padding="max_length" if self.full else "longest",
                max_length=self.max_length,
                return_attention_mask=not self.full,
                return_tensors="np",
            )
            weights = lengths[chosen] if whole else np.ones(chosen.size)
            batches.append(Batch(dict(padded), rows[chosen], weights.astype(np.float32)))
        return Prepared(batches, 0 if whole else np.unique(rows[~first]).size)

    def _tokens(self, texts: list[str]) -> tuple[dict[str, list[Any]], NDArray[np.int64]]:
        """All windows of the texts, and the text that each is from."""
        if self.tokenizer.is_fast:
            tokens = self.tokenizer(
                texts,
                truncation=True,
                max_length=self.max_length,
                return_attention_mask=not self.full,
                return_overflowing_tokens=True,
            )
            return tokens, np.asarray(tokens.pop("overflow_to_sample_mapping"))
        windows = [self._windows(text) for text in texts]
        rows = np.repeat(np.arange(len(texts)), [len(found) for found in windows])
        flat = [window for found in windows for window in found]
        return {name: [window[name] for window in flat] for name in flat[0]}, rows

    def _windows(self, text: str) -> list[Any]:
        """What a fast tokenizer gives for a text that overflows, from one in plain Python."""
        ids = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        size = self.max_length - self.tokenizer.num_special_tokens_to_add()
        return [self.tokenizer.prepare_for_model(ids[i : i + size]) for i in range(0, max(1, len(ids)), size)]

    def encode(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Vectors of a batch, of length 1 where the Sentence Transformers repository says so."""
        vectors = super().encode(inputs)
        return torch.nn.functional.normalize(vectors, dim=1) if self.normalize else vectors

    def identity(self) -> Any:
        """Weights, settings and those of the tokenizer."""
        libraries = [edition(name) for name in ("tokenizers", "sentencepiece")]
        return super().identity(), self.tokenizer_state, self.max_length, self.long_inputs, libraries


def _usual_pooling(model: PreTrainedModel) -> str:
    if hasattr(model, "get_text_features"):
        return OWN
    kind = type(model.config)
    return "last" if kind in MODEL_FOR_CAUSAL_LM_MAPPING and kind not in MODEL_FOR_MASKED_LM_MAPPING else "mean"


def _positions(model: PreTrainedModel) -> int | None:
    """Tokens that the position embeddings reach, if they end; RoBERTa and its kind count on from the padding's."""
    config = getattr(model.config, "text_config", model.config)
    positions = getattr(config, "max_position_embeddings", None)
    padding = getattr(getattr(getattr(model, "text_model", model), "embeddings", None), "padding_idx", None)
    return positions - padding - 1 if positions and padding is not None else positions
