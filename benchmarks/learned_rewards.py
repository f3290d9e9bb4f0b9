"""Does GRPO learn sooner by a pass rate that it learns of its prompts?

    python benchmarks/learned_rewards.py --output learned_rewards.jsonl

TRL's ``GRPOTrainer`` teaches a language model of two layers and random weights, on one thread, what to answer to a
prompt of four words: its kind, one of six keys, and two of six words that mean nothing. A quarter of the prompts is
easy (reward 1 if the first word of the answer is the key's), a quarter medium (two right words, of which the first is
that of the easy ones), half impossible (reward 0 whatever is answered). A step is 8 prompts of 8 completions each. All
arms of a seed have the same initial weights.

- "uniform": ``GRPOTrainer`` as it is
- "random": a pool of random prompts; "static": easy prompts first, then medium ones, as they are known to be
- "reward": ``LearnedDifficulty("reward")``, a table every 10 steps, prompts with a pass rate near 0.5 first

Pools "open" over the first half of the training, or "stay" at an effective fraction of 0.3. Every 10 steps the
expected reward of easy and medium prompts with other meaningless words than those of the training is computed from
the probabilities of the answers: nothing is sampled. "impossible" is the share of such prompts among all that were
completed. A finished run is a line of the output; a command that was stopped goes on where it was. ``--summary``
prints the tables of the lines that are there. With ``--warm 200`` the model of a seed first learns for so many steps
by uniform sampling, so that it answers some prompts of each solvable kind, and all arms begin from there.
"""

import argparse
import json
import tempfile
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, disable_progress_bars
from report import print_table, read_lines, spread
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from hf_curriculum import CurriculumConfig, CurriculumMixin, LearnedDifficulty

PROMPTS, GROUP, EVERY, LOOK = 8, 8, 10, 10
POOLS = {"opens": {}, "stays": {"warmup_steps": 1.0, "final_fraction": 0.3}}
ARMS = [("uniform", "-"), *((kind, "opens") for kind in ("random", "static", "reward")), ("reward", "stays")]
KINDS = {"easy": 0.0, "medium": 0.5, "impossible": 1.0}
KEYS, NOISE = [f"key{i}" for i in range(6)], [f"noise{i}" for i in range(6)]
WORDS = ["<pad>", "<eos>", "<unk>", *KINDS, *KEYS, *NOISE]
SOLVED = (0.5, 0.75)  # rewards whose first step is told


class CurriculumGRPOTrainer(CurriculumMixin, GRPOTrainer):
    """The prompts are chosen by the curriculum."""


def tokenizer() -> PreTrainedTokenizerFast:
    model = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    model.pre_tokenizer = WhitespaceSplit()
    words = PreTrainedTokenizerFast(
        tokenizer_object=model, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", padding_side="left"
    )
    words.model_input_names = ["input_ids", "attention_mask"]
    return words


def prompts() -> tuple[Dataset, Dataset]:
    """Those of the training, and those of the solvable kinds that are held out."""
    rng = np.random.default_rng(0)
    pairs = list(product(NOISE, NOISE))
    held_out = set(rng.permutation(len(pairs))[:12].tolist())
    rows: tuple[list[dict], list[dict]] = ([], [])
    for (pair, noise), key, kind in product(enumerate(pairs), range(len(KEYS)), KINDS):
        answer = [WORDS.index(KEYS[(key + shift) % len(KEYS)]) for shift in (1, 2)]
        row = {
            "prompt": " ".join([kind, KEYS[key], *noise]),
            "kind": kind,
            "answer": {"easy": answer[:1], "medium": answer, "impossible": []}[kind],
            "difficulty": KINDS[kind],
        }
        if pair not in held_out:
            rows[0].extend([row] * (2 if kind == "impossible" else 1))
        elif kind != "impossible":
            rows[1].append(row)
    return Dataset.from_list(rows[0]), Dataset.from_list(rows[1])


class Rewards:
    """1 for a right answer; counts the impossible prompts."""

    __name__ = "right"

    def __init__(self) -> None:
        self.impossible, self.all = 0, 0

    def __call__(
        self, completion_ids: list[list[int]], answer: list[list[int]], kind: list[str], **columns: Any
    ) -> list[float]:
        """Rewards of completions, as TRL asks for them."""
        self.impossible += kind.count("impossible")
        self.all += len(kind)
        return [
            float(bool(right) and list(ids[: len(right)]) == right)
            for ids, right in zip(completion_ids, answer, strict=True)
        ]


class Look(TrainerCallback):
    """Expected rewards of held-out prompts, every few steps."""

    def __init__(self, held_out: Dataset) -> None:
        words = tokenizer()
        self.prompts = torch.tensor(words(held_out["prompt"][:])["input_ids"])
        self.answers = [torch.tensor(answer) for answer in held_out["answer"][:]]
        self.kinds = np.array(held_out["kind"][:])
        self.curve: list[dict[str, float]] = []

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Look now and then."""
        if state.global_step % LOOK == 0:
            self.curve.append({"step": state.global_step, **self.rewards(model)})

    @torch.inference_mode()
    def rewards(self, model: Any) -> dict[str, float]:
        """Probability of a right answer, mean over the prompts: of all, and by kind."""
        training = model.training
        model.eval()
        right = torch.ones(len(self.prompts))
        firsts = torch.stack([answer[0] for answer in self.answers])
        inputs = torch.cat([self.prompts, firsts[:, None]], dim=1)
        chances = model(input_ids=inputs).logits.float().softmax(-1)
        width = self.prompts.shape[1]
        for row, answer in enumerate(self.answers):
            for place, word in enumerate(answer):
                right[row] *= chances[row, width - 1 + place, word]
        model.train(training)
        means = {kind: right.numpy()[self.kinds == kind].mean() for kind in ("easy", "medium")}
        return {name: round(float(mean), 4) for name, mean in {"reward": right.numpy().mean(), **means}.items()}


def new_model() -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(WORDS),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=8,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=None,
        )
    )


@lru_cache(maxsize=1)
def warm_weights(steps: int, rate: float, seed: int) -> dict[str, torch.Tensor]:
    """Of the model that all arms of a seed begin with."""
    torch.manual_seed(seed)
    model = new_model()
    if steps:
        train(("uniform", "-"), steps, rate, 1000 + seed, model)
    return model.state_dict()


def train(arm: tuple[str, str], steps: int, rate: float, seed: int, model: LlamaForCausalLM) -> dict[str, Any]:
    kind, pool = arm
    dataset, held_out = prompts()
    trainer_class, own = GRPOTrainer, {}
    if kind != "uniform":
        order = "random" if kind == "random" else "easy_first"
        trainer_class, own = CurriculumGRPOTrainer, {"curriculum": CurriculumConfig(order=order, **POOLS[pool])}
    if kind == "reward":
        own["learned_difficulty"] = LearnedDifficulty("reward", every=EVERY)
    if kind != "static":
        dataset = dataset.remove_columns("difficulty")
    rewards, look = Rewards(), Look(held_out)
    with tempfile.TemporaryDirectory() as folder:
        args = GRPOConfig(
            output_dir=folder,
            per_device_train_batch_size=PROMPTS * GROUP,
            num_generations=GROUP,
            max_completion_length=2,
            max_steps=steps,
            learning_rate=rate,
            lr_scheduler_type="constant",
            beta=0.0,
            bf16=False,
            seed=seed,
            use_cpu=True,
            disable_tqdm=True,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
        )
        trainer = trainer_class(
            model=model,
            args=args,
            train_dataset=dataset,
            processing_class=tokenizer(),
            reward_funcs=rewards,
            callbacks=[look],
            **own,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return {"impossible": round(rewards.impossible / rewards.all, 4), "curve": look.curve}


def first_step(curve: list[dict[str, float]], reward: float) -> float:
    """At which the expected reward is reached; infinity if it never is."""
    return next((point["step"] for point in curve if point["reward"] >= reward), np.inf)


def median(steps: list[float], last: int) -> str:
    middle = np.median(steps)
    return f"{f'{middle:.0f}' if np.isfinite(middle) else f'> {last}'} ({np.isfinite(steps).sum()} of {len(steps)})"


def summary(lines: list[dict]) -> None:
    """Rewards in percent; minus uniform's of the same seed: mean and standard error. What is not reached takes all."""
    found = {(line["arm"], line["pool"], line["seed"]): line["curve"] for line in lines}
    last = max(curve[-1]["step"] for curve in found.values())
    print(f"{len({key[2] for key in found})} seeds\n")
    header = ["arm", "pool", "impossible", *(f"steps to {reward:.0%}" for reward in SOLVED)]
    header += [f"to {SOLVED[0]:.0%}, minus uniform", "sooner", f"reward after {last}", "minus uniform", "easy, medium"]
    table = []
    for arm in dict.fromkeys(key[:2] for key in found):
        of_arm = {key[2]: curve for key, curve in found.items() if key[:2] == arm}
        pairs = [(curve, base) for seed, curve in of_arm.items() if (base := found.get(("uniform", "-", seed)))]
        sooner = [np.subtract(*(min(first_step(curve, SOLVED[0]), last) for curve in pair)) for pair in pairs]
        higher = [100 * (curve[-1]["reward"] - base[-1]["reward"]) for curve, base in pairs]
        compared = arm[0] != "uniform" and pairs
        ends = [curve[-1] for curve in of_arm.values()]
        table.append(
            [
                *arm,
                f"{np.mean([line['impossible'] for line in lines if (line['arm'], line['pool']) == arm]):.0%}",
                *(median([first_step(curve, reward) for curve in of_arm.values()], last) for reward in SOLVED),
                spread(sooner, sign="+") if compared else None,
                f"{sum(steps < 0 for steps in sooner)} of {len(pairs)}" if compared else None,
                spread([100 * end["reward"] for end in ends]),
                spread(higher, sign="+") if compared else None,
                ", ".join(f"{100 * np.mean([end[kind] for end in ends]):.0f}" for kind in ("easy", "medium")),
            ]
        )
    print_table(header, table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("learned_rewards.jsonl"))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--warm", type=int, default=0, help="steps by uniform sampling that come first")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--arms", nargs="+", default=[arm[0] for arm in ARMS], choices={arm[0] for arm in ARMS})
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--summary", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    disable_progress_bars()
    lines = read_lines(args.output)
    if args.summary:
        return summary(lines)
    done = {(line["arm"], line["pool"], line["seed"]) for line in lines}
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        for arm in [arm for arm in ARMS if arm[0] in args.arms and (*arm, seed) not in done]:
            model = new_model()
            model.load_state_dict(warm_weights(args.warm, args.learning_rate, seed))
            line = {"arm": arm[0], "pool": arm[1], "seed": seed}
            line |= train(arm, args.steps, args.learning_rate, seed, model)
            with args.output.open("a") as output:
                output.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
