"""Difficulties that follow the model: their tables, and the rows that are drawn by them, worked out by hand."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from launching import environment, launch
from transformers import (
    BartConfig,
    BartForCausalLM,
    BartForConditionalGeneration,
    BertConfig,
    BertForMaskedLM,
    BertForTokenClassification,
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    XLNetConfig,
    XLNetLMHeadModel,
)
from worker_learning import EVERY, ROWS, STEPS, make, noted, train

from hf_curriculum import CurriculumConfig, CurriculumSampler, LearnedDifficulty
from hf_curriculum.training.row_losses import row_losses
from hf_curriculum.training.running_means import RunningMeans
from hf_curriculum.training.versions import VersionedSampler

WORKER = Path(__file__).parents[1] / "helpers" / "worker_learning.py"
SMALL = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
BART = {"vocab_size": 50, "d_model": 16}
BART |= {f"{part}_layers": 2 for part in ("encoder", "decoder")}
BART |= {f"{part}_attention_heads": 2 for part in ("encoder", "decoder")}
BART |= {f"{part}_ffn_dim": 32 for part in ("encoder", "decoder")}


# Tables


def test_running_means_forget_the_past_and_count_a_row_once_a_step():
    running = RunningMeans(4)
    assert running.filled() is None
    running.add(np.array([1, 1, 2]), np.array([1.0, 3.0, 5.0]))
    assert running.means.tolist() == [0, 2, 5, 0]
    expected = 2.0
    for count in range(2, 9):
        running.add(np.array([1]), np.array([10.0]))
        expected += max(1 / count, 0.2) * (10 - expected)
    assert running.means[1] == pytest.approx(expected)
    assert running.counts.tolist() == [0, 8, 1, 0]
    assert running.filled() == pytest.approx([(expected + 5) / 2, expected, 5, (expected + 5) / 2])


def test_rows_never_seen_have_the_mean_of_their_cluster_or_of_all():
    running = RunningMeans(6, np.array([0, 0, 0, 1, 1, 2]))
    running.add(np.array([0, 1, 3]), np.array([1.0, 2.0, 6.0]))
    assert running.filled() == pytest.approx([1, 2, 1.5, 6, 6, 3])


def test_losses_of_rows_are_those_that_the_model_averages():
    torch.manual_seed(0)
    model = BertForMaskedLM(BertConfig(**SMALL))
    logits, labels = torch.randn(5, 3), torch.tensor([0, 1, 2, 1, -100])
    losses = row_losses(model, {"logits": logits}, labels)
    assert losses[4].isnan()  # nothing is known of a row without a label
    assert losses[:4].mean() == pytest.approx(float(torch.nn.functional.cross_entropy(logits, labels)))
    tokens, words = torch.randn(2, 4, 7), torch.tensor([[1, -100, 3, -100], [2, 2, 2, 2]])
    for row in range(2):
        alone = torch.nn.functional.cross_entropy(tokens[row], words[row])
        assert row_losses(model, {"logits": tokens}, words)[row] == pytest.approx(float(alone))
    numbers = torch.tensor([1.0, 2.0])
    assert row_losses(model, {"logits": torch.zeros(2, 1)}, numbers).tolist() == [1, 4]


class MyModel(LlamaForCausalLM):
    """As FSDP makes one, or a user."""


def llava():
    vision = CLIPVisionConfig(**SMALL, image_size=8, patch_size=4)
    return LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=LlamaConfig(**SMALL)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: LlamaForCausalLM(LlamaConfig(**SMALL)),
        lambda: MyModel(LlamaConfig(**SMALL)),
        lambda: BertForMaskedLM(BertConfig(**SMALL)),
        lambda: BertForTokenClassification(BertConfig(**SMALL, num_labels=50)),
        lambda: BartForCausalLM(BartConfig(**BART)),
        lambda: BartForConditionalGeneration(BartConfig(**BART)),
        lambda: XLNetLMHeadModel(XLNetConfig(vocab_size=50, d_model=16, n_layer=2, n_head=2, d_inner=32)),
        llava,
    ],
    ids=["causal", "subclass", "masked", "tokens", "decoder", "encoder and decoder", "xlnet", "vision"],
)
def test_losses_of_rows_are_shifted_where_the_model_shifts_them(make):
    torch.manual_seed(0)
    model = make().eval()
    ids, labels = torch.randint(4, 49, (3, 6)), torch.randint(4, 49, (3, 6))
    for row, label in zip(ids, labels, strict=True):
        outputs = model(input_ids=row[None], labels=label[None])
        assert row_losses(model, outputs, label[None])[0].item() == pytest.approx(outputs.loss.item(), rel=1e-5)


def test_a_model_of_which_it_is_not_known_whether_it_shifts_is_an_error():
    with pytest.raises(TypeError, match=r"Whether Linear shifts the labels of its tokens is not known.*function"):
        row_losses(torch.nn.Linear(1, 1), {"logits": torch.zeros(2, 4, 7)}, torch.zeros(2, 4, dtype=torch.long))


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), float("-inf")])
def test_losses_that_are_no_numbers_are_left_out_and_told(tmp_path, caplog, loss):
    trainer = make(tmp_path, batch=8)
    trainer.train()
    learning, before = trainer._learning, trainer._learning._running.means.copy()
    learning._pending = [(9, np.array([1, 2]), torch.tensor([loss, 5.0]))]
    with caplog.at_level(logging.WARNING):
        learning._fold()
    assert f"loss of row 1 is {loss} (1 such rows)" in caplog.text
    changed = np.flatnonzero(learning._running.means != before)
    assert changed.tolist() == [2] and np.isfinite(learning._running.filled()).all()


def test_rows_without_a_label_are_trained_on_and_learned_as_if_they_were_never_seen(tmp_path, caplog):
    trainer = make(tmp_path, batch=4, curriculum={"warmup_steps": 0.9})
    bare = np.arange(0, ROWS, 5)
    labels = np.asarray(trainer.train_dataset["labels"][:])
    labels[bare] = -100
    trainer.train_dataset = trainer.train_dataset.remove_columns("labels").add_column("labels", labels.tolist())
    with caplog.at_level(logging.WARNING):
        trainer.train()
    drawn = {row for step in noted(tmp_path, 1)[: STEPS // EVERY * EVERY] for row, _ in step}
    counts, table = trainer._learning._running.counts, trainer.curriculum_sampler.table(STEPS - 1)
    assert drawn & {*bare} and "is nan" in caplog.text and "or it has no label" in caplog.text
    assert not counts[bare].any() and counts[sorted(drawn - {*bare})].all()
    assert np.isfinite(table).all() and len({*table[bare].tolist()}) == 1  # the mean of all


@pytest.mark.parametrize(
    "outputs, labels",
    [
        ({"loss": 1}, torch.zeros(2)),
        ({"logits": torch.zeros(2, 3)}, None),
        ({"logits": torch.zeros(2, 3)}, torch.zeros(2, 3)),  # several labels a row
        ({"logits": torch.zeros(2, 3)}, torch.zeros(2)),
        ((1, 2), torch.zeros(2)),
    ],
)
def test_losses_that_cannot_be_told_apart_are_an_error(outputs, labels):
    with pytest.raises(TypeError, match=r"losses of single rows cannot be told from the outputs of Linear.*function"):
        row_losses(torch.nn.Linear(1, 1), outputs, labels)


def test_rows_of_a_step_are_those_of_the_table_of_its_time():
    rng = np.random.default_rng(0)
    tables = {0: rng.random(50), 10: rng.random(50), 20: rng.random(50)}
    settings = {"total_batch_size": 4, "config": CurriculumConfig(warmup_steps=25), "seed": 3}
    sampler = VersionedSampler(tables[0], **settings)
    for first in (10, 20):
        sampler.use(first, tables[first])
    for step in (0, 9, 10, 19, 20, 24, 25, 40):
        alone = CurriculumSampler(tables[min(step // 10, 2) * 10], **settings)
        assert sampler.indices(step).tolist() == alone.indices(step).tolist()
        assert sampler.temperature(step) == alone.temperature(step)
        assert sampler.effective_fraction(step) == alone.effective_fraction(step)


def test_rows_whose_table_is_not_there_yet_are_not_drawn():
    sampler = VersionedSampler(np.arange(5.0), total_batch_size=2, total_steps=9)
    sampler.known = 4
    sampler.indices(3)
    with pytest.raises(RuntimeError, match=r"rows of step 4 .* known up to step 4.*Raise every, or lower"):
        sampler.indices(4)


# Trainings


def replayed(rows_of_step, source, config):
    """Rows of each step by tables that are made here, from the losses that the models noted."""
    difficulty = np.zeros(ROWS, np.float32)
    means, counts, tables = np.zeros(ROWS, np.float32), np.zeros(ROWS), {0: difficulty, EVERY: difficulty}
    steps = []
    for step in range(STEPS):
        sampler = CurriculumSampler(
            tables[step // EVERY * EVERY], config, total_batch_size=8, total_steps=STEPS, seed=7
        )
        steps.append(sampler.indices(step).tolist())
        values = {}
        for row, loss in rows_of_step[step]:
            values.setdefault(row, []).append(loss)
        for row, of_row in values.items():
            counts[row] += 1
            means[row] += np.float32(max(1 / counts[row], 0.2) * (np.mean(of_row) - means[row]))
        if (step + 1) % EVERY == 0:
            table = np.where(counts > 0, means, means[counts > 0].mean(dtype=np.float64)).astype(np.float32)
            tables[step + 1 + EVERY] = table
    return steps


@pytest.mark.parametrize("order", ["easy_first", "hard_first"])
@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_rows_follow_their_losses_on_any_number_of_processes_and_after_a_resume(tmp_path, order, processes):
    settings = {"curriculum": {"order": order, "warmup_steps": 0.9}, "batch": 4 // processes}
    runs = [
        {"out": str(tmp_path / "whole"), **settings},
        {"out": str(tmp_path / "cut"), "stop": 13, **settings},  # not where a table is made
        {"out": str(tmp_path / "cut"), "resume": True, **settings},
    ]
    if processes == 1:
        for run in runs:
            train(**run)
    else:
        command = [*launch(processes), str(WORKER), json.dumps(runs)]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
    whole, cut = (noted(tmp_path / name, processes) for name in ("whole", "cut"))
    assert [[row for row, _ in step] for step in cut] == [[row for row, _ in step] for step in whole]
    np.testing.assert_array_equal(cut, whole)  # the losses too
    expected = replayed(whole, "loss", CurriculumConfig(order=order, warmup_steps=0.9))
    assert [sorted(row for row, _ in step) for step in whole] == [sorted(rows) for rows in expected]
    logs = [json.loads((tmp_path / name / "logs-0.json").read_text()) for name in ("whole", "cut")]
    logs = [[{k: v for k, v in log.items() if k.startswith("curriculum/")} for log in run] for run in logs]
    assert logs[0] == logs[1] and "curriculum/distinct_fraction_planned" not in logs[0][0]


@pytest.mark.slow
def test_a_training_that_is_killed_goes_on_by_its_tables(tmp_path):
    settings = {"curriculum": {"warmup_steps": 0.9}, "batch": 4, "save_steps": 7}
    train(tmp_path / "whole", **settings)
    run = [{"out": str(tmp_path / "cut"), "pause": 0.05, **settings}]
    process = subprocess.Popen([sys.executable, str(WORKER), json.dumps(run)], env=environment())
    while not (tmp_path / "cut" / "checkpoint-21" / "trainer_state.json").exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    train(tmp_path / "cut", resume=True, **settings)
    np.testing.assert_array_equal(noted(tmp_path / "cut", 1), noted(tmp_path / "whole", 1))


def test_a_function_of_the_trainer_is_asked_every_n_steps(tmp_path):
    asked = []

    def far_from(trainer):
        asked.append(trainer.state.global_step)
        return np.abs(np.arange(ROWS) - asked[-1])

    trainer = train(tmp_path, source=far_from, batch=4, curriculum={"warmup_steps": STEPS})
    assert asked == list(range(EVERY, STEPS + 1, EVERY))
    for step, seen in enumerate(noted(tmp_path, 1)):
        made = (step // EVERY - 1) * EVERY
        table = np.abs(np.arange(ROWS) - made) if made >= EVERY else np.zeros(ROWS)
        sampler = CurriculumSampler(table, CurriculumConfig(warmup_steps=STEPS), total_batch_size=8, seed=7)
        assert [row for row, _ in seen] == sampler.indices(step).tolist()
    assert trainer.curriculum_sampler.table(STEPS).tolist() == np.abs(np.arange(ROWS) - 25).tolist()


@pytest.mark.parametrize(
    "answer, message",
    [
        (np.zeros(3), r"answers must return one number a row, shape \(40,\), got shape \(3,\) after step 5"),
        (np.full(ROWS, np.nan), r"answers returned nan for row 0 after step 5"),
    ],
)
def test_a_function_that_answers_wrongly_is_named(tmp_path, answer, message):
    def answers(trainer):
        return answer

    with pytest.raises(ValueError, match=message):
        train(tmp_path, source=answers, batch=4)


def test_a_function_that_blocks_is_named(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("hf_curriculum.training.learning._BLOCKED_AFTER", 0.05)

    def sleeper(trainer):
        time.sleep(0.3)
        return np.zeros(ROWS)

    with caplog.at_level(logging.WARNING):
        train(tmp_path, source=sleeper, batch=4, max_steps=EVERY)
    assert "sleeper has been running for 0 s, and the training waits for it" in caplog.text


def test_a_loader_that_reads_further_ahead_than_tables_are_known_is_an_error(tmp_path):
    with pytest.raises(RuntimeError, match=r"reads further ahead than LearnedDifficulty\(every=\.\.\.\) steps"):
        train(tmp_path, batch=4, every=1, dataloader_num_workers=2, dataloader_prefetch_factor=4)


def test_changed_learning_is_not_resumed(tmp_path):
    train(tmp_path, batch=4, stop=10)
    with pytest.raises(ValueError, match=r"Cannot resume at step 10.*learned was .*'every': 5.* is .*'every': 6"):
        train(tmp_path, batch=4, resume=True, every=6)


def test_a_training_that_learned_is_not_resumed_without(tmp_path):
    train(tmp_path, batch=4, stop=10)
    trainer = make(tmp_path, batch=4)
    trainer.learned_difficulty = None
    trainer.train_dataset = trainer.train_dataset.add_column("difficulty", [0.0] * ROWS)
    with pytest.raises(ValueError, match=r"Cannot resume at step 10.*learned was .*'source': 'loss'.* is None"):
        trainer.train(resume_from_checkpoint=True)


def test_a_checkpoint_without_its_table_is_an_error(tmp_path):
    train(tmp_path, batch=4, stop=10)
    (tmp_path / "checkpoint-10" / "curriculum_difficulty.npz").unlink()
    with pytest.raises(ValueError, match=r"curriculum_difficulty\.npz is missing"):
        train(tmp_path, batch=4, resume=True)


@pytest.mark.parametrize(
    "settings, error, message",
    [
        ({"source": "lossy"}, TypeError, r"source must be 'loss', 'reward' or a function.*'lossy'"),
        ({"source": "loss", "every": 0}, ValueError, r"every must be at least 1, got 0"),
        ({"source": "loss", "every": True}, TypeError, r"every must be an integer, got True"),
        ({"source": "loss", "every": 2.5}, TypeError, r"every must be an integer, got 2\.5"),
        ({"source": "reward", "target": "0.5"}, TypeError, r"target must be a number, got '0\.5'"),
        ({"source": "reward", "target": float("nan")}, ValueError, r"target must be a finite reward, got nan"),
        ({"source": "loss", "target": 0.9}, ValueError, r"target=0\.9 is an option of source='reward': leave it out"),
        ({"source": len, "target": 0.9}, ValueError, r"target=0\.9 is an option of source='reward': leave it out"),
    ],
)
def test_wrong_settings_are_errors(settings, error, message):
    with pytest.raises(error, match=message):
        LearnedDifficulty(**settings)


@pytest.mark.parametrize(
    "changed, error, message",
    [
        ({"source": "reward"}, ValueError, r"has no rewards: choose LearnedDifficulty\('loss'\) or a function"),
        ({"stream": True}, ValueError, r"cannot be learned on a stream"),
        ({"learned": "loss"}, TypeError, r"learned_difficulty must be a LearnedDifficulty, got str"),
    ],
)
def test_what_cannot_be_learned_is_an_error_when_the_trainer_is_made(tmp_path, changed, error, message):
    with pytest.raises(error, match=message):
        make(tmp_path, batch=4, **changed)
