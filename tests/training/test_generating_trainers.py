"""TRL's trainers that generate, behind the mixin: which prompts are completed, and which are trained on, when."""

import json
import math
import subprocess
from collections import Counter
from dataclasses import fields

import numpy as np
import pytest
import torch
from datasets import Dataset
from launching import environment, launch
from needs import needs
from tiny import flat, llama_config, options, scored, watch, word_tokenizer
from torch.utils.data import SequentialSampler
from transformers import LlamaForCausalLM

from hf_curriculum import CurriculumConfig, CurriculumMixin, CurriculumSampler

trl = needs("trl")
import worker_generating  # noqa: E402 - it needs TRL
from worker_generating import make, noted, train  # noqa: E402

pytestmark = pytest.mark.costly
STEPS, WARMUP = 12, 9
SHAPES = {  # batch of all processes, accumulation, steps_per_generation, num_iterations, num_generations
    "one generation a step": (8, 1, 1, 1, 4),
    "accumulation": (8, 2, 2, 1, 4),
    "iterations": (8, 2, 2, 3, 4),
    "several steps a generation": (8, 1, 3, 1, 4),
    "several generations a step": (8, 4, 2, 1, 2),
    "generations across steps": (4, 2, 3, 1, 4),
    "groups across batches": (4, 1, 3, 2, 6),
}


def changed(shape, processes=1) -> dict:
    batch, accumulation, per_generation, iterations, group = SHAPES[shape]
    return {
        "per_device_train_batch_size": batch // processes,
        "gradient_accumulation_steps": accumulation,
        "steps_per_generation": per_generation,
        "num_iterations": iterations,
        "num_generations": group,
        "max_steps": STEPS,
        "curriculum": {"warmup_steps": WARMUP},
    }


def planned(shape, steps=STEPS) -> list[list[int]]:
    """Prompts of each generation batch, by a sampler that knows nothing of groups."""
    batch, accumulation, per_generation, iterations, group = SHAPES[shape]
    batches = per_generation * iterations
    sampler = CurriculumSampler(
        scored()["difficulty"][:],
        CurriculumConfig(warmup_steps=math.ceil(WARMUP * accumulation / batches)),
        total_batch_size=batch * per_generation // group,
        seed=7,
    )
    return [sampler.indices(g).tolist() for g in range(math.ceil(steps * accumulation / batches))]


def repeated(prompts, group) -> list[int]:
    return [prompt for prompt in prompts for _ in range(group)]


def joined(out, kind, processes) -> list:
    """What the processes noted in turn, together."""
    ranks = [noted(out, kind, rank) for rank in range(processes)]
    assert len({len(rank) for rank in ranks}) == 1
    if kind == "made":
        return [flat(parts) for parts in zip(*ranks, strict=True)]
    return [(parts[0][0], flat(rows for _, rows in parts)) for parts in zip(*ranks, strict=True)]


def assert_trained(trained, plan, shape, first_step=0):
    """Each generation's prompts once an iteration, all of a group, at the steps at which their turn is."""
    _, accumulation, per_generation, iterations, group = SHAPES[shape]
    first = first_step * accumulation
    assert [step for step, _ in trained] == [batch // accumulation for batch in range(first, first + len(trained))]
    whole = 0
    for batch in range(first, first + len(trained)):
        generation, used = divmod(batch, per_generation * iterations)
        rows = trained[batch - first : batch - first + per_generation]
        if used % per_generation == 0 and len(rows) == per_generation:
            assert Counter(flat(rows for _, rows in rows)) == Counter(repeated(plan[generation], group))
            whole += 1
        assert set(trained[batch - first][1]) <= set(plan[generation])
    assert whole > 1


@pytest.fixture(scope="module", params=[1, pytest.param(2, marks=pytest.mark.slow)], ids=["1_process", "2_processes"])
def runs(request, tmp_path_factory):
    """All shapes, trained by so many processes in one process group; and each once more, resumed at step 5."""
    processes, path = request.param, tmp_path_factory.mktemp("generating")
    runs = []
    for shape in SHAPES:
        settings = changed(shape, processes) | {"logging_steps": 2}
        out = str(path / shape)
        runs += [{"out": out, **settings}, {"out": f"{out}-cut", "stop": 5, **settings}]
        runs += [{"out": f"{out}-cut", "resume": True, **settings}]
    if processes == 1:
        for run in runs:
            train(**run)
    else:
        script = [worker_generating.__file__, json.dumps(runs)]
        done = subprocess.run(
            [*launch(processes), *script], env=environment(), capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
    return processes, path


@pytest.mark.parametrize("shape", SHAPES)
def test_a_generation_batch_has_the_planned_prompts_each_in_one_group(runs, shape):
    processes, path = runs
    group = SHAPES[shape][-1]
    made, plan = joined(path / shape, "made", processes), planned(shape)
    assert made == [repeated(prompts, group) for prompts in plan]
    assert_trained(joined(path / shape, "trained", processes), plan, shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_run_resumed_inside_a_generation_batch_uses_up_its_prompts(runs, shape):
    processes, path = runs
    _, accumulation, per_generation, iterations, group = SHAPES[shape]
    plan, batches = planned(shape), per_generation * iterations
    made = joined(path / f"{shape}-cut", "made", processes)
    begun = math.ceil(5 * accumulation / batches)
    assert made[:begun] == [repeated(prompts, group) for prompts in plan[:begun]]
    inside = 5 * accumulation // batches  # generated once more: completions are not in the checkpoint
    assert made[begun:] == [repeated(prompts, group) for prompts in plan[inside:]]
    trained = joined(path / f"{shape}-cut", "trained", processes)
    assert_trained(trained[5 * accumulation :], plan, shape, first_step=5)


@pytest.mark.parametrize("shape", SHAPES)
def test_logs_tell_the_generation_batch_of_the_step(runs, shape):
    processes, path = runs
    batch, accumulation, per_generation, iterations, group = SHAPES[shape]
    difficulty = np.asarray(scored()["difficulty"][:])
    sampler = CurriculumSampler(
        difficulty,
        CurriculumConfig(warmup_steps=math.ceil(WARMUP * accumulation / (per_generation * iterations))),
        total_batch_size=batch * per_generation // group,
    )
    for name, rank in [(name, rank) for name in (shape, f"{shape}-cut") for rank in range(processes)]:
        logs = [log for log in json.loads((path / name / f"logs-{rank}.json").read_text()) if "loss" in log]
        assert len(logs) == STEPS // 2
        for log in logs:
            last = math.ceil(log["step"] * accumulation / (per_generation * iterations)) - 1
            assert log["curriculum/effective_fraction"] == pytest.approx(sampler.effective_fraction(last))
            assert log.get("curriculum/temperature", math.inf) == pytest.approx(sampler.temperature(last))
            drawn = flat(planned(shape, log["step"]))
            assert log["curriculum/distinct_fraction"] == len(set(drawn)) / difficulty.size
        first = flat(planned(shape, 2))
        assert logs[0]["curriculum/mean_difficulty"] == pytest.approx(float(difficulty[first].mean()))


def test_prompts_of_a_random_pool_need_no_difficulty(tmp_path):
    random = {"order": "random", "warmup_steps": WARMUP}
    settings = changed("iterations") | {"curriculum": random, "max_steps": 6}
    train(tmp_path / "whole", **settings)
    train(tmp_path / "cut", stop=3, **settings)
    train(tmp_path / "cut", resume=True, **settings)
    made = noted(tmp_path / "whole", "made")
    batch, accumulation, per_generation, iterations, group = SHAPES["iterations"]
    config = CurriculumConfig(order="random", warmup_steps=math.ceil(WARMUP * accumulation / 6))
    sampler = CurriculumSampler(None, config, rows=100, total_batch_size=batch * per_generation // group, seed=7)
    plan = [sampler.indices(g).tolist() for g in range(2)]
    assert made == noted(tmp_path / "cut", "made") == [repeated(prompts, group) for prompts in plan]
    assert_trained(noted(tmp_path / "cut", "trained"), plan, "iterations")


def generates(name):
    """Whether this release of TRL has such a trainer; its first RLOO had a training loop of its own."""
    return "_get_train_sampler" in vars(getattr(trl, f"{name}Trainer", object))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.skipif(not generates(name), reason=f"TRL {trl.__version__} has none"))
        for name in ("RLOO", "Distillation")
    ],
)
def test_the_other_trainers_that_generate(tmp_path, name):
    group = 1 if name == "Distillation" else 4
    settings = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "max_steps": 6, "name": name}
    settings |= {"curriculum": {"warmup_steps": 4}}
    train(tmp_path, stop=3, **settings)
    train(tmp_path, resume=True, **settings)
    sampler = CurriculumSampler(
        scored()["difficulty"][:], CurriculumConfig(warmup_steps=4), total_batch_size=8 // group, seed=7
    )
    plan = [repeated(sampler.indices(step).tolist(), group) for step in range(6)]
    assert noted(tmp_path, "made") == plan
    trained = noted(tmp_path, "trained")
    for step in range(6):
        assert Counter(flat(rows for at, rows in trained if at == step)) == Counter(plan[step])


@pytest.mark.parametrize("rows", [21, 10, 3])
def test_an_epoch_is_as_long_as_that_of_trl_and_starts_with_a_generation_batch(tmp_path, rows):
    """10 rows are 2 generation batches of 4 prompts, 6 batches, of which an epoch's last step has 2; 3 rows: 1."""
    settings = {
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 4,
        "generation_batch_size": 16,
        "num_iterations": 3,
        "num_train_epochs": 2,
        "max_steps": -1,
        "rows": rows,
    }
    trainer = train(tmp_path / "ours", **settings)
    generations = max(1, rows // 4)
    made = noted(tmp_path / "ours", "made")
    assert len(made) == 2 * generations
    assert len(noted(tmp_path / "ours", "trained")) == 2 * generations * 6
    if rows >= 4:
        plain = make(tmp_path / "plain", plain=True, **settings)
        plain.train()
        assert trainer.state.global_step == plain.state.global_step == 2 * math.ceil(generations * 6 / 4)


@pytest.mark.parametrize("cut, ignore_data_skip", [(2, False), (3, False), (4, False), (4, True)])
def test_a_run_resumed_in_the_second_of_uneven_epochs_is_the_run_that_was_not_cut(tmp_path, cut, ignore_data_skip):
    """An epoch has 6 batches: a step of 4 and one of 2."""
    settings = {
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 4,
        "generation_batch_size": 16,
        "num_train_epochs": 3,
        "max_steps": -1,
        "rows": 12,
        "ignore_data_skip": ignore_data_skip,
    }
    train(tmp_path / "whole", **settings)
    train(tmp_path / "cut", stop=cut, **settings)
    train(tmp_path / "cut", resume=True, **settings)

    def steps(out):
        per_step = {}
        for step, rows in noted(out, "trained"):
            per_step.setdefault(step, Counter()).update(rows)
        return per_step

    whole = steps(tmp_path / "whole")
    assert len(whole) == 6
    assert steps(tmp_path / "cut") == whole


def test_a_second_training_of_a_trainer_starts_with_a_generation_batch(tmp_path):
    settings = {"per_device_train_batch_size": 8, "steps_per_generation": 3, "max_steps": 4, "num_generations": 4}
    trainer = train(tmp_path, **settings)
    trainer.train()
    made = noted(tmp_path, "made")
    assert len(made) == 4 and made[:2] == made[2:]


def test_settings_that_move_prompts_to_other_steps_are_not_resumed(tmp_path):
    settings = {"per_device_train_batch_size": 8, "max_steps": 6}
    train(tmp_path, stop=2, **settings)
    with pytest.raises(ValueError, match=r"Cannot resume at step 2.*generation was .*'uses': 1.* is .*'uses': 2"):
        train(tmp_path, resume=True, num_iterations=2, **settings)


def test_constraints_of_trl_are_told_by_trl(tmp_path):
    with pytest.raises(ValueError, match=r"generation_batch_size \(6\) must be divisible by num_generations \(4\)"):
        make(tmp_path, per_device_train_batch_size=6)


def test_a_stream_of_prompts_is_refused(tmp_path):
    trainer = make(tmp_path, plain=True)

    class MyGRPOTrainer(CurriculumMixin, trl.GRPOTrainer):
        pass

    with pytest.raises(
        (TypeError, NotImplementedError),  # of TRL of 2025
        match=r"stream cannot hand rows to GRPOTrainer.*Pass a datasets\.Dataset|not yet supported in GRPOTrainer",
    ):
        MyGRPOTrainer(
            model=str(tmp_path / "model"),
            args=trainer.args,
            train_dataset=trainer.train_dataset.to_iterable_dataset(),
            processing_class=word_tokenizer(),
            reward_funcs=worker_generating.lengths,
        )


def test_prompts_without_a_difficulty_are_an_error_before_the_training(tmp_path):
    trainer = make(tmp_path, plain=True)

    class MyGRPOTrainer(CurriculumMixin, trl.GRPOTrainer):
        pass

    with pytest.raises(ValueError, match="difficulty"):
        MyGRPOTrainer(
            model=str(tmp_path / "model"),
            args=trainer.args,
            train_dataset=Dataset.from_dict({"prompt": ["1", "2", "3", "4"]}),
            processing_class=word_tokenizer(),
            reward_funcs=worker_generating.lengths,
        )


shuffled_kto = pytest.mark.skipif(
    "train_sampling_strategy" not in {field.name for field in fields(trl.KTOConfig)},
    reason="before transformers 5.2, KTO reads rows in order whatever its loss",
)


def kto(path, **settings):
    class MyKTOTrainer(CurriculumMixin, trl.KTOTrainer):
        pass

    torch.manual_seed(0)
    LlamaForCausalLM(llama_config()).save_pretrained(path / "model")
    model = LlamaForCausalLM.from_pretrained(path / "model")
    dataset = scored(
        prompt=[str(row) for row in range(100)], completion=[" a"] * 100, label=[row % 2 == 0 for row in range(100)]
    )
    args = trl.KTOConfig(**options(path, bf16=False, **settings))
    return MyKTOTrainer(model=model, args=args, train_dataset=dataset, processing_class=word_tokenizer())


@shuffled_kto
def test_kto_draws_by_the_curriculum_where_its_loss_needs_no_order(tmp_path):
    trainer = kto(tmp_path, loss_type="apo_zero_unpaired", train_sampling_strategy="random")
    seen = watch(trainer.model)
    trainer.train()
    sampler = CurriculumSampler(scored()["difficulty"][:], total_batch_size=8, total_steps=40, seed=7)
    rows = [int(word_tokenizer().decode(ids[ids != 0][0])) for batch in seen for ids in batch]
    assert rows == flat(sampler.indices(step).tolist() for step in range(40))


@shuffled_kto
def test_kto_whose_loss_needs_its_order_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"train_sampling_strategy='sequential' cannot be combined"):
        kto(tmp_path, loss_type="kto", train_sampling_strategy="sequential")


def test_another_sampler_of_a_trl_trainer_is_refused_when_training_starts(tmp_path, monkeypatch):
    trainer = make(tmp_path)
    monkeypatch.setattr(trl.GRPOTrainer, "_get_train_sampler", lambda self, *_: SequentialSampler(self.train_dataset))
    with pytest.raises(TypeError, match="MyTrainer reads its rows in an order of its own, by a SequentialSampler"):
        trainer.train()


# Difficulties that follow the rewards


LEARNED = {
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 2,
    "steps_per_generation": 2,
    "num_iterations": 2,
    "max_steps": 24,
    "learned": ["reward", 4],
    "reward": "passes",
}


def rate(row) -> float:
    return 1.0 if row < 40 else 0.5 if row < 60 else 0.0


@pytest.mark.parametrize(
    "name",
    [
        "GRPO",
        pytest.param(
            "RLOO",
            marks=pytest.mark.skipif(not generates("RLOO"), reason="TRL's first RLOO had a training loop of its own"),
        ),
    ],
)
def test_prompts_near_the_target_come_first_by_tables_made_by_hand(tmp_path, name):
    """A generation batch of 4 prompts is used for 2 steps; a table of steps 4, 8, ... is valid 4 steps later."""
    settings = LEARNED | {"name": name, "curriculum": {"warmup_steps": 24}}
    train(tmp_path / "whole", **settings)
    train(tmp_path / "cut", stop=11, **settings)
    train(tmp_path / "cut", resume=True, **settings)
    made = noted(tmp_path / "whole", "made")
    difficulty = np.asarray(scored()["difficulty"][:])
    tables, seen = {0: difficulty, 2: difficulty}, {}
    for generation, prompts in enumerate(made):
        if generation % 2 == 0 and generation >= 2:
            rates = np.full(100, np.mean([rate(row) for row in seen]))
            rates[list(seen)] = [rate(row) for row in seen]
            tables[generation + 2] = np.abs(rates - 0.5).astype(np.float32)
        table = tables[generation // 2 * 2]
        sampler = CurriculumSampler(table, CurriculumConfig(warmup_steps=12), total_batch_size=8 * 2 // 4, seed=7)
        assert prompts == repeated(sampler.indices(generation).tolist(), 4), generation
        seen |= dict.fromkeys(prompts)
    cut = noted(tmp_path / "cut", "made")
    assert cut[:6] == made[:6] and cut[6:] == made[5:]  # that of step 11 is generated once more
    at_target = [row for prompts in made[:8] for row in prompts if 40 <= row < 60]
    assert at_target and (tables[12][at_target] == 0).all()


@pytest.mark.slow
def test_two_processes_learn_the_same_difficulties_as_one(tmp_path):
    settings = LEARNED | {"curriculum": {"warmup_steps": 24}}
    train(tmp_path / "1", **settings)
    runs = [{"out": str(tmp_path / "2"), **settings, "per_device_train_batch_size": 4}]
    script = [worker_generating.__file__, json.dumps(runs)]
    done = subprocess.run(
        [*launch(2), *script], env=environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert joined(tmp_path / "2", "made", 2) == noted(tmp_path / "1", "made")


@pytest.mark.parametrize("reward, told", [("half_known", "nan"), ("not_a_number", "nan"), ("infinite", "-inf")])
def test_a_reward_that_is_no_number_is_an_error_that_names_the_prompt(tmp_path, reward, told):
    ours = rf"reward of a completion of prompt \d+ is {told}.*8 such completions"
    theirs = "'TrainerState' object is not subscriptable"  # TRL of 2025 stumbles as it warns of the same
    with pytest.raises((ValueError, TypeError), match=f"{ours}|{theirs}"):
        train(tmp_path, **LEARNED | {"reward": reward})


def test_a_reward_that_one_of_two_functions_knows_is_learned(tmp_path):
    trainer = train(tmp_path, **LEARNED | {"reward": "passes half_known"})
    running = trainer._learning._running
    seen = np.flatnonzero(running.counts)
    assert len(seen) > 4
    assert running.means[seen] == pytest.approx([rate(row) for row in seen])  # 0 is added, or nothing


def test_losses_of_texts_that_the_model_made_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"makes its own texts.*LearnedDifficulty\('reward'\) or a function"):
        make(tmp_path, learned=["loss", 4])
