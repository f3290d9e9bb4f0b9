"""Trainings of TRL's trainers that generate, which note their prompts in files; as a script, for several processes.

``python worker_generating.py '[{"out": ..., "name": "GRPO"}, ...]'`` calls :func:`train` with each set of options in
turn. Under ``accelerate launch`` it does so on all ranks, in one process group.
"""

import json
import os
import sys
from pathlib import Path

import torch
import trl
from launching import end_group
from tiny import VOCABULARY, llama_config, options, scored, word_tokenizer
from transformers import LlamaForCausalLM, TrainerCallback

from hf_curriculum import CurriculumConfig, CurriculumMixin, LearnedDifficulty

RANK = int(os.environ.get("RANK", 0))
ROWS = 100


class Noting:
    """Notes the rows whose completions are made, and of each batch that is trained on the step and the rows."""

    def _generate_and_score_completions(self, inputs):
        if self.model.training:
            self.note("made", [int(row["prompt"]) for row in inputs])
        return super()._generate_and_score_completions(inputs)

    def compute_loss(self, model, inputs, *args, **kwargs):
        if model.training:
            rows = [int(VOCABULARY[ids[ids != 0][0]]) for ids in inputs["prompt_ids"]]
            self.note("trained", [self.state.global_step, rows])
        return super().compute_loss(model, inputs, *args, **kwargs)

    def note(self, kind, what):
        with (Path(self.args.output_dir) / f"{kind}-{RANK}.jsonl").open("a") as file:
            file.write(json.dumps(what) + "\n")


class Stop(TrainerCallback):
    """Ends a training early, with a checkpoint."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            control.should_training_stop = control.should_save = True


def noted(out, kind, rank=0) -> list:
    return [json.loads(line) for line in (Path(out) / f"{kind}-{rank}.jsonl").read_text().splitlines()]


def lengths(prompts, completions, **columns) -> list[float]:
    return [float(len(completion)) for completion in completions]


def passes(prompts, completions, **columns) -> list[float]:
    """Rows below 40 always pass, rows from 60 never, the others every second time."""
    return [float(row < 40 or (row < 60 and place % 2)) for place, row in enumerate(map(int, prompts))]


def half_known(prompts, completions, **columns) -> list[float | None]:
    """Every second completion has no reward."""
    return [None if place % 2 else 0.0 for place in range(len(prompts))]


def not_a_number(prompts, completions, **columns) -> list[float]:
    return [float("nan") if place % 2 else 0.0 for place in range(len(prompts))]


def infinite(prompts, completions, **columns) -> list[float]:
    return [float("-inf") if place % 2 else 0.0 for place in range(len(prompts))]


def make(out, *, name="GRPO", rows=ROWS, curriculum=None, learned=None, reward="lengths", plain=False, **changed):
    """A trainer on a tiny model, ready to train."""
    Path(out).mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model = Path(out) / "model"
    if RANK == 0 and not model.exists():
        LlamaForCausalLM(llama_config()).save_pretrained(Path(out) / "half")
        (Path(out) / "half").rename(model)
    while not model.exists():
        pass
    bases = (getattr(trl, f"{name}Trainer"),) if plain else (Noting, CurriculumMixin, getattr(trl, f"{name}Trainer"))
    ours = {} if plain else {"curriculum": CurriculumConfig(**(curriculum or {"warmup_steps": 0.75}))}
    if learned:
        ours["learned_difficulty"] = LearnedDifficulty(learned[0], every=learned[1])
    if name == "Distillation":
        ours["teacher_model"] = str(model)
        changed = {"max_completion_length": 2} | changed
    else:
        ours["reward_funcs"] = [globals()[one] for one in reward.split()]
        changed = {"max_completion_length": 2, "num_generations": 4, "beta": 0.0} | changed
    dataset = scored(prompt=[str(row) for row in range(ROWS)]).select(range(rows))
    tokenizer = word_tokenizer()
    tokenizer.model_input_names = ["input_ids", "attention_mask"]  # TRL of 2025 hands all of them to the model
    return type("MyTrainer", bases, {})(
        model=str(model),
        args=getattr(trl, f"{name}Config")(**options(out, bf16=False, **changed)),
        train_dataset=dataset,
        processing_class=tokenizer,
        **ours,
    )


def train(out, *, stop=None, resume=None, **settings):
    """Train; the logs are kept in ``logs-RANK.json``."""
    trainer = make(out, **settings)
    if stop:
        trainer.add_callback(Stop(stop))
    trainer.train(resume_from_checkpoint=resume)
    (Path(out) / f"logs-{RANK}.json").write_text(json.dumps(trainer.state.log_history))
    return trainer


if __name__ == "__main__":
    for run in json.loads(sys.argv[1]):
        train(**run)
    end_group()
