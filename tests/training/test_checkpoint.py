"""Resumed weights, of whatever model, and checkpoints of which files are missing or cut off."""

import json
import logging
import random
import shutil
import signal
import subprocess
import sys
import zipfile
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from launching import environment
from tiny import options
from torch import nn
from transformers import (
    AutoModelForImageClassification,
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    MixtralConfig,
    MixtralForCausalLM,
    TrainingArguments,
    ViTConfig,
    ViTForImageClassification,
    ViTMAEConfig,
    ViTMAEForPreTraining,
)
from use_case_data import PICTURES, scored
from use_case_images import DECODER, VIT, mae, pixels
from worker_training import TRANSFORMERS_4

from hf_curriculum import CurriculumConfig, CurriculumTrainer
from hf_curriculum.training.checkpoint import find_damage, newest_whole
from hf_curriculum.training.weights import load_weights

pytestmark = pytest.mark.costly


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


# --- weights, from the files to the model that is there -------------------------------------------------------------

SIZES = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
PICTURE = {"image_size": 16, "patch_size": 8}


class Adapter(nn.Module):
    """A linear layer with a low-rank one beside it, named as PEFT names them."""

    def __init__(self, layer):
        super().__init__()
        self.base_layer = layer
        self.lora_A = nn.ModuleDict({"default": nn.Linear(layer.in_features, 2, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(2, layer.out_features, bias=False)})

    def forward(self, x):
        return self.base_layer(x) + self.lora_B["default"](self.lora_A["default"](x))


class Around(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model


def vit():
    return ViTForImageClassification(ViTConfig(**SIZES, **PICTURE, num_labels=3))


def mixtral():
    """Its experts are one tensor, and are saved one by one."""
    return MixtralForCausalLM(MixtralConfig(vocab_size=9, num_key_value_heads=2, num_local_experts=3, **SIZES))


def tied_llama():
    return LlamaForCausalLM(LlamaConfig(vocab_size=9, tie_word_embeddings=True, **SIZES))


def llava():
    vision, text = CLIPVisionConfig(**SIZES, **PICTURE), LlamaConfig(vocab_size=9, **SIZES)
    return LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=text, image_token_index=8))


def masked():
    return ViTMAEForPreTraining(ViTMAEConfig(**VIT, **DECODER))


def as_made(model):
    return model


def with_head(model):
    model.classifier = nn.Sequential(nn.Linear(8, 4), nn.GELU(), nn.Linear(4, 3))
    return model


def with_adapters(model):
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear) and name in {"q_proj", "k_proj", "query", "key"}:
                setattr(module, name, Adapter(child))
    return model


def with_lookalikes(model):
    """Parts of the user's own under names that transformers 5 changes in its own parts."""
    model.more = nn.Module()
    for name in ("layer", "layers", "encoder", "attention", "experts", "norm", "language_model", "mlp"):
        part = nn.Module()
        part.dense, part.layer, part.norm = nn.Linear(2, 3), nn.ModuleList([nn.Linear(3, 2)]), nn.LayerNorm(2)
        part.gamma, part.q_proj, part.layers = nn.Parameter(torch.zeros(3)), nn.Linear(2, 2), nn.Linear(2, 2)
        model.more.add_module(name, part)
    return model


def compiled(model):
    return torch.compile(model, backend="eager")


def with_compiled_part(model):
    name = next(name for name, child in model.named_children() if isinstance(child, nn.Module))
    setattr(model, name, compiled(getattr(model, name)))
    return model


CHANGES = [as_made, with_head, with_adapters, with_lookalikes, compiled, with_compiled_part, nn.DataParallel]
OTHERWISE = [  # made in one way when saved, in another when resumed
    (as_made, compiled),
    (compiled, as_made),
    (as_made, with_compiled_part),
    (with_compiled_part, as_made),
    (nn.DataParallel, as_made),
    (as_made, nn.DataParallel),
    (compiled, nn.DataParallel),
]


def randomised(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
    return model


def trainer_for(model, path, **settings):
    settings = options(path, **{"max_steps": 6, "save_strategy": "steps", "save_steps": 2} | settings)
    rows = Dataset.from_dict({"x": [[0.1 * i] for i in range(32)], "difficulty": np.linspace(0, 1, 32)})
    return CurriculumTrainer(
        model=model,
        args=TrainingArguments(**{"remove_unused_columns": False, "learning_rate": 0.01} | settings),
        train_dataset=rows,
        eval_dataset=rows,
        data_collator=lambda rows: {"x": torch.tensor([row["x"] for row in rows])},
        curriculum=CurriculumConfig(warmup_steps=3),
    )


def bare(model):
    return {
        name.replace("_orig_mod.", "").removeprefix("module."): tensor for name, tensor in model.state_dict().items()
    }


def assert_loaded(model, saved):
    weights, expected = bare(model), bare(saved)
    assert weights.keys() == expected.keys()
    assert [name for name in weights if not torch.equal(weights[name], expected[name])] == []


@pytest.mark.parametrize("make", [vit, mixtral, tied_llama, llava, masked])
@pytest.mark.parametrize(
    "ways",
    [*((change, change) for change in CHANGES), *OTHERWISE],
    ids=lambda ways: "-".join(way.__name__ for way in ways),
)
def test_all_weights_reach_the_model_that_is_there(make, ways, tmp_path):
    before, after = ways
    saved, model = randomised(before(make()), 1), randomised(after(make()), 2)
    trainer_for(saved, tmp_path).save_model(tmp_path)
    kept = {name: id(tensor) for name, tensor in model.named_parameters()}
    trainer_for(model, tmp_path)._load_from_checkpoint(str(tmp_path))
    assert_loaded(model, saved)
    assert kept == {name: id(tensor) for name, tensor in model.named_parameters()}  # an optimiser may hold them


@pytest.mark.parametrize("make", [vit, mixtral, tied_llama])
@pytest.mark.parametrize("layout", ["sharded", "pytorch_model.bin", "sharded bin"])
def test_weights_are_read_from_every_layout(make, layout, tmp_path):
    saved, model = randomised(with_lookalikes(make()), 1), randomised(with_lookalikes(make()), 2)
    saved.save_pretrained(tmp_path, **({"max_shard_size": "1KB"} if "sharded" in layout else {}))
    if "bin" in layout:
        for file in tmp_path.glob("*.safetensors"):
            target = file.with_name(file.name.replace("model", "pytorch_model")).with_suffix(".bin")
            from safetensors.torch import load_file

            torch.save(load_file(file), target)
            file.unlink()
        for index in tmp_path.glob("model.safetensors.index.json"):
            text = index.read_text().replace("model-", "pytorch_model-").replace(".safetensors", ".bin")
            (tmp_path / "pytorch_model.bin.index.json").write_text(text)
            index.unlink()
    assert len(list(tmp_path.glob("*-of-*"))) > 1 or "sharded" not in layout
    trainer_for(model, tmp_path / "out")._load_from_checkpoint(str(tmp_path))
    assert_loaded(model, saved)


@pytest.mark.parametrize("start", ["whole model", "base model"])
@pytest.mark.parametrize("resumed", ["from_pretrained", "from the config"])
def test_a_model_that_began_on_the_hub_resumes(start, resumed, tmp_path):
    model = vit()
    (model if start == "whole model" else model.base_model).save_pretrained(tmp_path / "hub")
    saved = randomised(AutoModelForImageClassification.from_pretrained(tmp_path / "hub", num_labels=3), 1)
    saved.save_pretrained(tmp_path / "saved")
    other = saved.__class__.from_pretrained(tmp_path / "hub", num_labels=3) if resumed == "from_pretrained" else vit()
    trainer_for(randomised(other, 2), tmp_path)._load_from_checkpoint(str(tmp_path / "saved"))
    assert_loaded(other, saved)


def test_a_module_around_a_model_keeps_its_weights(tmp_path):
    saved, model = randomised(Around(vit()), 1), randomised(Around(vit()), 2)
    trainer_for(saved, tmp_path).save_model(tmp_path)
    assert not load_weights(model, str(tmp_path))  # Trainer does right
    trainer_for(model, tmp_path)._load_from_checkpoint(str(tmp_path))
    assert_loaded(model, saved)


@pytest.mark.parametrize("make", [vit, lambda: Around(vit())], ids=["renamed", "plain"])
def test_what_the_checkpoint_lacks_is_named_and_nothing_is_loaded(make, tmp_path):
    trainer_for(make(), tmp_path).save_model(tmp_path)
    model = randomised(make(), 2)
    model.extra = nn.Linear(2, 2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(RuntimeError, match=r"lacks 2 weights of the model: extra\.bias, extra\.weight"):
        trainer_for(model, tmp_path)._load_from_checkpoint(str(tmp_path))
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)


def test_another_head_is_an_error_that_names_it(tmp_path):
    with_head(vit()).save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match=r"classifier\.bias, classifier\.weight"):
        load_weights(vit(), str(tmp_path))


def test_weights_that_the_model_does_not_have_are_named_in_a_warning(tmp_path, caplog):
    saved = vit()
    saved.extra = nn.Linear(2, 2)
    saved.save_pretrained(tmp_path)
    model = vit()
    trainer_for(model, tmp_path)._load_from_checkpoint(str(tmp_path))
    assert TRANSFORMERS_4 or "extra.bias, extra.weight" in caplog.text  # where Trainer does right, it warns
    del saved.extra
    assert_loaded(model, saved)


def test_another_shape_is_an_error(tmp_path):
    with_head(vit()).save_pretrained(tmp_path)
    model = with_head(vit())
    model.classifier[0] = nn.Linear(8, 4).to(torch.float64)  # another type is none
    trainer_for(model, tmp_path)._load_from_checkpoint(str(tmp_path))
    model.classifier[0] = nn.Linear(8, 5)
    with pytest.raises(RuntimeError, match=r"classifier\.0\.weight"):
        trainer_for(model, tmp_path)._load_from_checkpoint(str(tmp_path))


def test_a_class_that_its_config_does_not_make_resumes(tmp_path):
    class Weighted(ViTMAEForPreTraining):
        def __init__(self, config, weight):
            super().__init__(config)
            self.weight = weight

    config = ViTMAEConfig(**VIT, **DECODER)
    model, other = Weighted(config, weight=3), Weighted(config, weight=4)
    model.save_pretrained(tmp_path)
    trainer_for(other, tmp_path)._load_from_checkpoint(str(tmp_path))
    assert_same(other, model)
    assert other.weight == 4


def test_an_adapter_added_by_transformers_resumes_and_is_the_best(tmp_path):
    peft = pytest.importorskip("peft", reason="PEFT is not installed")
    saved, model = vit(), vit()
    model.load_state_dict(saved.state_dict())
    targets = [name for name, _ in saved.named_modules() if name.endswith(("q_proj", "query"))]
    for each, seed in ((saved, 1), (model, 2)):
        each.add_adapter(peft.LoraConfig(r=2, target_modules=targets))
        randomised(nn.ParameterList(p for name, p in each.named_parameters() if "lora" in name), seed)
    saved.save_pretrained(tmp_path)
    trainer = trainer_for(model, tmp_path)
    trainer._load_from_checkpoint(str(tmp_path))
    assert_loaded(model, saved)


def with_lora(model, **settings):
    peft = pytest.importorskip("peft", reason="PEFT is not installed")
    targets = [name for name, _ in model.named_modules() if name.endswith(("q_proj", "query"))]
    return peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=targets, **settings))


def with_second_adapter(model):
    model = with_lora(model)
    model.add_adapter("second", model.peft_config["default"])
    model.set_adapter("second")
    return model


def compiled_lora(model):
    return compiled(with_lora(model, modules_to_save=["classifier"]))


def parallel_lora(model):
    return nn.DataParallel(with_lora(model))


@pytest.mark.parametrize("change", [with_lora, with_second_adapter, compiled_lora, parallel_lora])
@pytest.mark.parametrize("load", ["_load_from_checkpoint", "_load_best_model"])
def test_adapters_of_peft_are_saved_and_loaded(change, load, tmp_path):
    start = vit()
    saved, model = (change(deepcopy(start)) for _ in range(2))
    trained = [name for name, weights in model.named_parameters() if weights.requires_grad]
    assert len(trained) > 1
    for each, seed in ((saved, 1), (model, 2)):
        randomised(nn.ParameterList(p for p in each.parameters() if p.requires_grad), seed)
    folder = str(tmp_path / "checkpoint-2")
    trainer_for(saved, tmp_path).save_model(folder)
    (tmp_path / "checkpoint-2" / "trainer_state.json").write_text("{}")
    trainer = trainer_for(model, tmp_path)
    trainer.state.best_model_checkpoint = folder
    getattr(trainer, load)(*([folder] if load == "_load_from_checkpoint" else []))
    assert_loaded(model, saved)
    assert [name for name, weights in model.named_parameters() if weights.requires_grad] == trained


def test_what_is_trained_beside_an_adapter_and_not_saved_is_named(tmp_path):
    model = with_lora(vit())
    for weights in model.base_model.model.classifier.parameters():
        weights.requires_grad_(True)
    trainer = trainer_for(model, tmp_path)
    trainer.save_model(tmp_path / "saved")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(RuntimeError, match=r"trains 2 other weights: .*classifier\.bias, .*in modules_to_save"):
        trainer._load_from_checkpoint(str(tmp_path / "saved"))
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)


def test_another_adapter_than_the_one_saved_is_an_error(tmp_path):
    saved = with_lora(vit())
    trainer_for(saved, tmp_path).save_model(tmp_path / "saved")
    model = with_lora(vit(), use_dora=True)
    with pytest.raises(RuntimeError, match=r"lacks 2 weights of the model: .*lora_magnitude_vector"):
        trainer_for(model, tmp_path)._load_from_checkpoint(str(tmp_path / "saved"))


class Pictures(nn.Module):
    """Makes a picture of a number, so that all models here train on the same rows."""

    @staticmethod
    def loss(model, x):
        pixel_values = x[:, :, None, None] * torch.linspace(-1, 1, 3 * 16 * 16).reshape(3, 16, 16)
        return model(pixel_values=pixel_values, labels=(x[:, 0] > 1).long())


class PictureTrainer(CurriculumTrainer):
    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        outputs = Pictures.loss(model, inputs["x"])
        return (outputs.loss, outputs) if return_outputs else outputs.loss


def picture_trainer(model, path, **settings):
    trainer = trainer_for(model, path, **settings)
    trainer.__class__ = PictureTrainer
    return trainer


WORST_IS_BEST = {
    "eval_strategy": "steps",
    "eval_steps": 2,
    "load_best_model_at_end": True,
    "metric_for_best_model": "eval_loss",
    "greater_is_better": True,
    "prediction_loss_only": True,
    "label_names": ["x"],
}
COMPILE = {"torch_compile": True, "torch_compile_backend": "eager"}


@pytest.mark.parametrize(
    ("change", "settings"),
    [(with_head, {}), (compiled, {}), (with_adapters, {}), (as_made, COMPILE)],
    ids=["head", "compiled", "adapters", "torch_compile"],
)
def test_a_changed_model_resumes_exactly_and_ends_with_the_best(change, settings, tmp_path):
    torch.manual_seed(0)
    whole = picture_trainer(change(vit()), tmp_path / "whole", **settings)
    whole.train()
    torch.manual_seed(1)
    resumed = picture_trainer(change(vit()), tmp_path / "resumed", **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-4"))
    assert_loaded(resumed.model, whole.model)

    best = picture_trainer(change(vit()), tmp_path / "best", **settings, **WORST_IS_BEST)
    best.train()
    folder = best.state.best_model_checkpoint
    assert not folder.endswith("checkpoint-6")
    expected = randomised(change(vit()), 3)
    trainer_for(expected, tmp_path)._load_from_checkpoint(folder)
    assert_loaded(best.model, expected)


# --- checkpoints that are not whole ---------------------------------------------------------------------------------


class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, x):
        return {"loss": ((self.layer(x) - x) ** 2).mean()}


def line_trainer(path, **settings):
    torch.manual_seed(0)
    return trainer_for(Line(), path, **settings)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("finished")
    trainer = line_trainer(path)
    trainer.train()
    return path, trainer.model


def cut(file, share):
    with file.open("r+b") as opened:
        opened.truncate(int(file.stat().st_size * share))


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
@pytest.mark.parametrize(
    "name", ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"]
)
def test_a_file_cut_off_is_named_and_the_checkpoint_before_goes_on(finished, name, share, tmp_path, caplog):
    shutil.copytree(finished[0], tmp_path / "out")
    damaged = tmp_path / "out" / "checkpoint-6"
    cut(damaged / name, share)
    assert name in find_damage(damaged)
    trainer = line_trainer(tmp_path / "out")
    with pytest.raises(ValueError, match=f"checkpoint-6.*{name}|{name}.*checkpoint-6"):
        trainer.train(resume_from_checkpoint=str(damaged))
    trainer.train(resume_from_checkpoint=True)
    assert f"{damaged / name} is damaged" in caplog.text and "goes on from" in caplog.text
    assert trainer.state.global_step == 6
    assert_same(trainer.model, finished[1])
    assert find_damage(damaged) is None  # written anew


FILES = ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "curriculum.json"]


def flip(file, position, bit=2):
    content = bytearray(file.read_bytes())
    content[position] ^= 1 << bit
    file.write_bytes(content)


@pytest.mark.parametrize("name", [*FILES, "checksums.json"])
def test_every_flipped_bit_is_noticed(finished, name, tmp_path):
    folder = shutil.copytree(finished[0] / "checkpoint-6", tmp_path / "checkpoint-6")
    chance, size = random.Random(0), (folder / name).stat().st_size
    assert find_damage(folder) is None
    for position in {0, size - 1, *(chance.randrange(size) for _ in range(60))}:
        bit = chance.randrange(8)
        flip(folder / name, position, bit)
        assert find_damage(folder), position
        flip(folder / name, position, bit)
    assert find_damage(folder) is None


def test_a_flipped_bit_of_a_weight_is_no_weight_that_is_trained_on(finished, tmp_path, caplog):
    shutil.copytree(finished[0], tmp_path / "out")
    file = tmp_path / "out" / "checkpoint-6" / "model.safetensors"
    flip(file, file.stat().st_size - 1)
    trainer = line_trainer(tmp_path / "out")
    with pytest.raises(ValueError, match="model.safetensors is damaged .it is not what was written; .* delete checks"):
        trainer.train(resume_from_checkpoint=str(file.parent))
    trainer.train(resume_from_checkpoint=True)
    assert f"{file} is damaged" in caplog.text
    assert_same(trainer.model, finished[1])


def test_who_changed_a_file_says_so_by_deleting_the_checksums(finished, tmp_path):
    folder = shutil.copytree(finished[0] / "checkpoint-4", tmp_path / "checkpoint-4")
    state = json.loads((folder / "trainer_state.json").read_text())
    (folder / "trainer_state.json").write_text(json.dumps(state | {"save_steps": 1}))
    assert "trainer_state.json is damaged" in find_damage(folder)
    (folder / "checksums.json").unlink()
    trainer = line_trainer(tmp_path / "out")
    trainer.train(resume_from_checkpoint=str(folder))
    assert_same(trainer.model, finished[1])


def part_of(file):
    """Where the largest part of an archive begins: its header, and its content."""
    with zipfile.ZipFile(file) as archive:
        part = max(archive.infolist(), key=lambda part: part.file_size)
    head = file.read_bytes()[part.header_offset :][26:30]
    lengths = int.from_bytes(head[:2], "little") + int.from_bytes(head[2:], "little")
    return part.header_offset, part.header_offset + 30 + lengths, part.file_size


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_without_checksums_damage_of_an_archive_is_noticed_too(finished, name, tmp_path):
    folder = shutil.copytree(finished[0] / "checkpoint-6", tmp_path / "checkpoint-6")
    (folder / "checksums.json").unlink()  # as an earlier release, or Trainer, wrote it
    assert find_damage(folder) is None
    header, content, size = part_of(folder / name)
    index = (folder / name).read_bytes().index(b"PK\x01\x02")
    for position in (header, content + size // 2, index, index + 10, index + 28, index + 29):  # method, lengths
        flip(folder / name, position)
        assert f"{folder / name} is damaged" in find_damage(folder), position
        flip(folder / name, position)


def test_without_checksums_damage_of_learned_difficulties_is_noticed_too(finished, tmp_path):
    folder = shutil.copytree(finished[0] / "checkpoint-6", tmp_path / "checkpoint-6")
    (folder / "checksums.json").unlink()
    file = folder / "curriculum_difficulty.npz"
    np.savez(file, means=np.ones(50, np.float32))
    assert find_damage(folder) is None
    flip(file, file.stat().st_size // 2)
    assert f"{file} is damaged" in find_damage(folder)


@pytest.mark.parametrize(
    "content",
    ["[]", "3", "{}}", '{"global_step": 4, "rest_metric": null}', "[" * 100_000, b"\xff"],
    ids=["list", "number", "two", "unknown", "deep", "no text"],
)
def test_without_checksums_a_state_that_is_none_is_told(finished, content, tmp_path):
    folder = shutil.copytree(finished[0] / "checkpoint-6", tmp_path / "checkpoint-6")
    (folder / "checksums.json").unlink()
    (folder / "trainer_state.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match="trainer_state.json is damaged"):
        line_trainer(tmp_path).train(resume_from_checkpoint=str(folder))


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json"])
def test_a_file_that_is_gone_is_noticed(finished, name, tmp_path):
    shutil.copytree(finished[0], tmp_path / "out")
    (tmp_path / "out" / "checkpoint-6" / name).unlink()
    assert newest_whole(str(tmp_path / "out")) == str(tmp_path / "out" / "checkpoint-4")


@pytest.mark.parametrize("damage", ["a shard gone", "a shard cut off", "the index cut off"])
def test_a_damaged_shard_is_noticed(finished, damage, tmp_path):
    folder = tmp_path / "out" / "checkpoint-6"
    shutil.copytree(finished[0] / "checkpoint-6", folder)
    (folder / "model.safetensors").unlink()
    vit().save_pretrained(folder, max_shard_size="1KB")
    (folder / "checksums.json").unlink()  # of the file that was there
    assert find_damage(folder) is None
    shard = sorted(folder.glob("model-*"))[1]
    if damage == "a shard gone":
        shard.unlink()
    else:
        cut(shard if "shard" in damage else folder / "model.safetensors.index.json", 0.5)
    assert (shard.name if "shard" in damage else "index.json") in find_damage(folder)


def test_steps_are_compared_as_numbers_and_other_folders_left_alone(finished, tmp_path):
    for step in (8, 10, 100):
        shutil.copytree(finished[0] / "checkpoint-6", tmp_path / f"checkpoint-{step}")
    for other in ("checkpoint-900-old", "checkpoint-best", "runs"):
        (tmp_path / other).mkdir()
    assert newest_whole(str(tmp_path)) == str(tmp_path / "checkpoint-100")
    cut(tmp_path / "checkpoint-100" / "optimizer.pt", 0.5)
    assert newest_whole(str(tmp_path)) == str(tmp_path / "checkpoint-10")


def test_a_checkpoint_of_weights_alone_is_whole(finished, tmp_path):
    trainer = line_trainer(tmp_path, save_only_model=True)
    trainer.train()
    assert newest_whole(str(tmp_path)) == str(tmp_path / "checkpoint-6")


@pytest.mark.parametrize("as_given", [str, Path, "{}/".format], ids=["text", "path", "slash"])
def test_a_checkpoint_is_named_in_any_way_and_may_be_a_link(finished, as_given, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "checkpoint-4").symlink_to(finished[0] / "checkpoint-4")
    (tmp_path / "out" / "checkpoint-9").symlink_to(tmp_path / "nowhere")
    for given in (as_given(tmp_path / "out" / "checkpoint-4"), True):
        trainer = line_trainer(tmp_path / "out", save_strategy="no")
        trainer.train(resume_from_checkpoint=given)
        assert_same(trainer.model, finished[1])


@pytest.mark.parametrize("given", [4, ["checkpoint-4"], b"checkpoint-4"])
def test_what_is_no_checkpoint_is_told(given, tmp_path):
    with pytest.raises(TypeError, match="resume_from_checkpoint must be True or the folder of a checkpoint, got "):
        line_trainer(tmp_path).train(resume_from_checkpoint=given)


def test_an_output_folder_is_no_checkpoint(finished, tmp_path):
    with pytest.raises(ValueError, match="is an output folder, not a checkpoint: name one of .*checkpoint-4.*=True"):
        line_trainer(tmp_path).train(resume_from_checkpoint=str(finished[0]))


def test_a_checkpoint_that_save_total_limit_takes_for_an_old_one_is_no_error(finished, tmp_path):
    shutil.copytree(finished[0] / "checkpoint-6", tmp_path / "checkpoint-60")
    trainer = line_trainer(tmp_path, save_total_limit=1)
    trainer.train(resume_from_checkpoint=str(finished[0] / "checkpoint-4"))
    assert_same(trainer.model, finished[1])


def test_where_none_is_whole_that_is_said_of_each(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "out")
    for step, name in ((2, "optimizer.pt"), (4, "model.safetensors"), (6, "trainer_state.json")):
        cut(tmp_path / "out" / f"checkpoint-{step}" / name, 0.5)
    with pytest.raises(ValueError, match="whole.*checkpoint-6/trainer_state.*4/model.*2/optimizer.*without resume"):
        line_trainer(tmp_path / "out").train(resume_from_checkpoint=True)
    with pytest.raises(ValueError, match="No valid checkpoint found"):
        line_trainer(tmp_path / "none").train(resume_from_checkpoint=True)


def test_a_save_that_breaks_off_over_an_older_checkpoint_leaves_no_mixture(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "out")
    trainer = line_trainer(tmp_path / "out", learning_rate=0.5)

    def full(*_):
        raise OSError("No space left on device")

    trainer._save_rng_state = full
    with pytest.raises(OSError, match="No space left"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-4"))
    assert (tmp_path / "out" / "checkpoint-6" / "rng_state.pth").exists()  # of the older one; the weights are new
    assert newest_whole(str(tmp_path / "out")) == str(tmp_path / "out" / "checkpoint-4")


class TakeAway:
    """Damages the best checkpoint before the training ends."""

    def __init__(self, trainer, damage):
        evaluate = trainer.evaluate

        def and_damage(*args, **kwargs):
            if trainer.state.global_step == 6:
                damage(Path(trainer.state.best_model_checkpoint))
            return evaluate(*args, **kwargs)

        trainer.evaluate = and_damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "checkpoint-2 is gone"),
        (lambda path: cut(path / "model.safetensors", 0.5), "model.safetensors is damaged"),
    ],
    ids=["gone", "cut off"],
)
def test_a_best_model_that_cannot_be_loaded_is_an_error(damage, message, tmp_path):
    trainer = line_trainer(tmp_path, **WORST_IS_BEST)
    TakeAway(trainer, damage)
    with pytest.raises(RuntimeError, match=f"{message}.*weights of the last step"):
        trainer.train()
    assert trainer.state.global_step == 6


def test_a_resumed_run_whose_best_is_gone_takes_the_best_to_come(tmp_path, caplog):
    line_trainer(tmp_path, **WORST_IS_BEST).train()
    shutil.rmtree(tmp_path / "checkpoint-2")
    trainer = line_trainer(tmp_path, **WORST_IS_BEST, learning_rate=0.001)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert "checkpoint-2" in caplog.text and "from step 4 on" in caplog.text
    assert Path(trainer.state.best_model_checkpoint) == tmp_path / "checkpoint-6"


def test_the_best_is_found_where_the_output_folder_has_moved(tmp_path):
    line_trainer(tmp_path / "before", **WORST_IS_BEST).train()
    (tmp_path / "before").rename(tmp_path / "after")
    trainer = line_trainer(tmp_path / "after", **WORST_IS_BEST)
    trainer.train(resume_from_checkpoint=True)
    assert Path(trainer.state.best_model_checkpoint) == tmp_path / "after" / "checkpoint-2"


KILLED = """
import sys
sys.path[:0] = {paths!r}
import torch, test_checkpoint

class Wide(test_checkpoint.Line):
    def __init__(self):
        super().__init__()
        self.wide = torch.nn.Parameter(torch.zeros(1000, 1000))  # 4 MB, and 8 of the optimiser: a save takes a while

    def forward(self, x):
        return {{"loss": super().forward(x)["loss"] + (self.wide.mean() - x.mean()) ** 2}}

torch.manual_seed(0)
trainer = test_checkpoint.trainer_for(Wide(), sys.argv[1], max_steps=40, save_steps=1, save_total_limit=3)
trainer.train(resume_from_checkpoint=len(sys.argv) > 2)
torch.save(trainer.model.state_dict(), sys.argv[1] + "/end.pt")
"""


@pytest.mark.slow
def test_kills_during_saves_lose_no_more_than_the_save(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(KILLED.format(paths=[*sys.path, str(Path(__file__).parent)]))
    call = [sys.executable, str(script)]
    subprocess.run([*call, str(tmp_path / "whole")], env=environment(), check=True, capture_output=True)
    chance, out, reached, inside = random.Random(0), tmp_path / "out", 0, 0
    for kill in range(12):
        resume = ["resume"] if kill else []
        with subprocess.Popen([*call, str(out), *resume], env=environment(), stderr=subprocess.PIPE) as process:
            first = reached + 1 + (kill > 0) * chance.randrange(2)
            while process.poll() is None and not (out / f"checkpoint-{first + 1}").exists():
                pass
            deadline = chance.random() * 0.03
            try:
                process.wait(deadline)
            except subprocess.TimeoutExpired:
                pass
            process.send_signal(signal.SIGKILL)
            if process.wait() == 0:  # it was faster than the kill, and is through
                break
            assert process.returncode == -signal.SIGKILL, process.stderr.read().decode()
        whole = Path(newest_whole(str(out)))
        inside += any(find_damage(path) for path in out.glob("checkpoint-*"))
        state = json.loads((whole / "trainer_state.json").read_text())
        assert state["global_step"] >= reached
        reached = state["global_step"]
    assert inside >= 1  # a kill fell into a save
    if not (out / "end.pt").exists():
        subprocess.run([*call, str(out), "resume"], env=environment(), check=True, capture_output=True)
    for name, weights in torch.load(tmp_path / "whole" / "end.pt").items():
        torch.testing.assert_close(torch.load(out / "end.pt")[name], weights, rtol=0, atol=0)
