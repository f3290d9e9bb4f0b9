"""Texts: language models, instruction tuning, sentence embeddings."""

from tempfile import TemporaryDirectory
from typing import Any

from datasets import Dataset
from needs import needs
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tiny import VOCABULARY, llama_config, word_tokenizer
from transformers import BertConfig, BertForMaskedLM, BertModel, DataCollatorForLanguageModeling, LlamaForCausalLM
from use_case_images import SMALL
from use_case_training import Batch, Recipe, Rows

from hf_curriculum import CurriculumMixin

trl = needs("trl")

BERT = {**SMALL, "vocab_size": len(VOCABULARY)}


class MySFTTrainer(CurriculumMixin, trl.SFTTrainer): ...


class MySentenceTransformerTrainer(CurriculumMixin, SentenceTransformerTrainer): ...


def language_model(model: Any, **settings: Any) -> Recipe:
    tokenizer = word_tokenizer()
    tokenizer.mask_token = "<unk>"
    collator = DataCollatorForLanguageModeling(tokenizer, **settings)

    def collate(rows: Rows) -> Batch:
        return dict(collator([tokenizer(row["text"]) for row in rows]))

    return Recipe(model, collate)


def masked_lm(_: Dataset) -> Recipe:
    return language_model(BertForMaskedLM(BertConfig(**BERT)), mlm_probability=0.4)


def causal_lm(_: Dataset) -> Recipe:
    return language_model(LlamaForCausalLM(llama_config()), mlm=False)


def sft(_: Dataset) -> Recipe:
    return Recipe(
        LlamaForCausalLM(llama_config()),
        arguments=trl.SFTConfig,
        settings={"bf16": False},
        others={"processing_class": word_tokenizer()},
    )


def sentence_transformer(_: Dataset) -> Recipe:
    with TemporaryDirectory() as path:
        BertModel(BertConfig(**BERT)).save_pretrained(path)
        word_tokenizer().save_pretrained(path)
        model = SentenceTransformer(modules=[Transformer(path), Pooling(16)], device="cpu")
    return Recipe(
        model, arguments=SentenceTransformerTrainingArguments, others={"loss": MultipleNegativesRankingLoss(model)}
    )
