"""Weights that transformers 5 saves under the names of the Hub's checkpoints, as it does MAE's."""

import logging

import pytest
import torch
from tiny import options
from transformers import LlamaConfig, LlamaForCausalLM, TrainingArguments, ViTMAEConfig, ViTMAEForPreTraining
from use_case_data import PICTURES, scored
from use_case_images import DECODER, VIT, mae, pixels
from worker_training import TRANSFORMERS_4

from hf_curriculum import CurriculumConfig, CurriculumTrainer
from hf_curriculum.training.checkpoint import load_weights, renames_weights


def trainer_of(path, **settings):
    """A trainer of a small masked autoencoder, which saves and evaluates every other of six steps."""
    settings = {
        "max_steps": 6,
        "save_strategy": "steps",
        "save_steps": 2,
        "eval_strategy": "steps",
        "eval_steps": 2,
        "learning_rate": 0.01,
        "remove_unused_columns": False,
        "label_names": ["pixel_values"],  # so that the loss is known when it evaluates
    } | settings
    dataset = scored(PICTURES)
    return CurriculumTrainer(
        model=mae(dataset).model,
        args=TrainingArguments(**options(path, **settings)),
        train_dataset=dataset,
        eval_dataset=dataset,
        data_collator=pixels,
        curriculum=CurriculumConfig(warmup_steps=3),
    )


def assert_same(model, other):
    torch.testing.assert_close(model.state_dict(), other.state_dict(), rtol=0, atol=0)


def test_a_model_whose_weights_are_renamed_resumes_with_those_of_the_checkpoint(tmp_path, caplog):
    whole = trainer_of(tmp_path / "whole")
    whole.train()
    resumed = trainer_of(tmp_path / "resumed")
    with caplog.at_level(logging.WARNING):
        resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-4"))
    assert_same(resumed.model, whole.model)
    assert "missing keys" not in caplog.text


def test_the_best_model_is_loaded_at_the_end(tmp_path):
    worst_is_best = {"metric_for_best_model": "eval_loss", "greater_is_better": True}
    trainer = trainer_of(tmp_path, load_best_model_at_end=True, **worst_is_best)
    trainer.train()
    best = trainer.state.best_model_checkpoint
    assert not best.endswith("checkpoint-6")
    assert_same(trainer.model, ViTMAEForPreTraining.from_pretrained(best))


class Weighted(ViTMAEForPreTraining):
    """A class of the user's, whose constructor asks for more than the config."""

    def __init__(self, config, weight):
        super().__init__(config)
        self.weight = weight


class WeightedByDefault(Weighted):
    def __init__(self, config, weight=1):
        super().__init__(config, weight)


def test_a_class_that_its_config_does_not_make_is_told_what_it_lacks(tmp_path):
    config = ViTMAEConfig(**VIT, **DECODER)
    model = WeightedByDefault(config, weight=3)
    model.save_pretrained(tmp_path)
    with pytest.raises(TypeError, match="Weighted is made from its config alone.*'weight'.*defaults"):
        load_weights(Weighted(config, weight=3), str(tmp_path))
    other = WeightedByDefault(config, weight=3)
    load_weights(other, str(tmp_path))
    assert_same(other, model)
    assert other.weight == 3


def test_other_models_are_left_to_the_trainer(tmp_path):
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    assert not renames_weights(LlamaForCausalLM(LlamaConfig(vocab_size=9, **sizes)))
    assert not renames_weights(torch.nn.Linear(1, 1))
    assert renames_weights(mae(scored(PICTURES)).model) is not TRANSFORMERS_4
