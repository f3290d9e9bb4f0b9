"""``push_to_hub=True`` while a curriculum trains: the client is the real one, the Hub is on the loopback interface."""

import json

import pytest
import xxhash
from hub_client import client
from hub_server import hub
from tiny import scored
from transformers import LlamaForCausalLM, TrainerCallback

from hf_curriculum import CurriculumSampler

pytestmark = pytest.mark.slow
STEPS = 6

CODE = f"""
import os
import numpy as np
import torch
from huggingface_hub import snapshot_download
from tiny import first_words, llama_config, options, scored, watch, word_tokenizer
from transformers import DataCollatorForSeq2Seq, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

from hf_curriculum import CurriculumConfig, CurriculumTrainer, LearnedDifficulty


class Pushes(TrainerCallback):
    def __init__(self):
        self.steps = []

    def on_push_begin(self, args, state, control, **kwargs):
        self.steps.append(state.global_step)

    def on_save(self, args, state, control, **kwargs):
        self.trainer._finish_current_push()  # else the files of the next step may come before they are read


def train(name, trainer_class=CurriculumTrainer, max_steps={STEPS}, resume=None, **own):
    torch.manual_seed(0)
    model, tokenizer = LlamaForCausalLM(llama_config()), word_tokenizer()
    tokens = tokenizer([f"{{row}} a b" for row in range(100)])["input_ids"]
    pushes = Pushes()
    pushed = {{"push_to_hub": True, "hub_model_id": f"me/{{name}}", "hub_strategy": "checkpoint"}}
    saved = {{"save_strategy": "steps", "save_steps": 2, "hub_always_push": True, "max_steps": max_steps}}
    trainer = trainer_class(
        model=model,
        args=TrainingArguments(**options(os.path.abspath(name), **pushed, **saved)),
        train_dataset=scored(input_ids=tokens, labels=tokens),
        processing_class=tokenizer,
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
        callbacks=[pushes],
        **own,
    )
    pushes.trainer = trainer
    seen = watch(model)
    trainer.train(resume_from_checkpoint=resume)
    return trainer, first_words(seen), pushes.steps


def learning():
    return {{"learned_difficulty": LearnedDifficulty("loss", every=2), "curriculum": CurriculumConfig(warmup_steps=6)}}
"""


@pytest.fixture(scope="module")
def pushed(tmp_path_factory):
    """The repositories, and what the trainings told."""
    folder = tmp_path_factory.mktemp("alice-of-the-tests")
    told = {}
    with hub() as server, client(server, folder) as user:
        user.run(CODE)
        for name, own in {"plain": "Trainer", "ours": "CurriculumTrainer"}.items():
            told[name] = user.run(
                f"trainer, rows, steps = train('{name}', {own}); trainer.push_to_hub(); answer = [rows, steps]"
            )
        told["weights"] = user.run("answer = trainer.model.lm_head.weight.tolist()")
        told["first half"] = user.run("_, rows, _ = train('learned', max_steps=4, **learning()); answer = rows")
        told["second half"] = user.run(
            "folder = snapshot_download('me/learned', allow_patterns='last-checkpoint/*')\n"
            "resume = os.path.join(folder, 'last-checkpoint')\n"
            "_, rows, _ = train('elsewhere', resume=resume, **learning()); answer = rows"
        )
        told["whole"] = user.run("_, rows, _ = train('whole', **learning()); answer = rows")
        yield server.repos, told


def files(pushed, name):
    return pushed[0][f"models/me/{name}"].files()


def test_each_checkpoint_is_pushed_while_the_training_runs_as_by_a_plain_trainer(pushed):
    rows, steps = pushed[1]["ours"]
    told = [2, 4, 6] if hasattr(TrainerCallback, "on_push_begin") else []  # since transformers 5
    assert steps == pushed[1]["plain"][1] and steps[:3] == told
    for name in ("ours", "plain"):
        commits = pushed[0][f"models/me/{name}"].commits.values()
        weights = {commit["model.safetensors"] for commit in commits if "model.safetensors" in commit}
        assert len(weights) == 3  # of the three steps
    sampler = CurriculumSampler(scored()["difficulty"][:], total_batch_size=8, total_steps=STEPS, seed=7)
    assert rows == [sampler.indices(step).tolist() for step in range(STEPS)]


def test_what_is_pushed_is_what_a_plain_trainer_pushes_and_the_state_of_the_curriculum(pushed):
    ours, plain, learned = (set(files(pushed, name)) for name in ("ours", "plain", "learned"))
    assert {"model.safetensors", "config.json", "README.md", "last-checkpoint/trainer_state.json"} <= plain
    own = {"last-checkpoint/curriculum.json", "last-checkpoint/checksums.json"}
    assert ours - plain == own and not plain - ours
    assert learned - ours == {"last-checkpoint/curriculum_difficulty.npz"}


def test_checksums_on_the_hub_are_those_of_the_files_beside_them(pushed):
    for name in ("ours", "learned"):
        for commit in pushed[0][f"models/me/{name}"].commits.values():
            told = json.loads(commit.get("last-checkpoint/checksums.json", "{}"))
            for file, checksum in told.items():
                assert xxhash.xxh3_128_hexdigest(commit[f"last-checkpoint/{file}"]) == checksum
        assert {"model.safetensors", "optimizer.pt", "trainer_state.json", "curriculum.json"} <= told.keys()


def test_the_pushed_weights_are_those_that_were_trained_and_load(pushed, tmp_path):
    for path, data in files(pushed, "ours").items():
        if "/" not in path:
            (tmp_path / path).write_bytes(data)
    model = LlamaForCausalLM.from_pretrained(tmp_path)
    assert model.lm_head.weight.tolist() == pushed[1]["weights"]


def test_no_file_names_a_folder_of_who_trained_but_those_that_do_without_a_curriculum(pushed):
    """The pickled training arguments hold the output folder, whoever trains."""
    for name in ("ours", "learned", "plain"):
        naming = {path.rpartition("/")[2] for path, data in files(pushed, name).items() if b"alice" in data}
        assert naming == {"training_args.bin"}, name


def test_a_run_goes_on_from_the_pushed_checkpoint_elsewhere(pushed):
    told = pushed[1]
    assert len(told["first half"]) == 4 and len(told["second half"]) == 2
    assert told["first half"] + told["second half"] == told["whole"]
