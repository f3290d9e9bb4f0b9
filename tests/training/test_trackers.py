"""What trackers and the console are told of a curriculum, by the real ones where they are installed."""

import ast
import json
import logging
import sys

import pytest
from needs import needs
from tiny import OneWeight, options, scored
from transformers import PrinterCallback, ProgressCallback, TrainingArguments

from hf_curriculum import CurriculumConfig, CurriculumTrainer, LearnedDifficulty
from hf_curriculum.training.trackers import tell_trackers

CONFIG = CurriculumConfig(initial_fraction=0.2, warmup_steps=0.5)


class Config(dict):
    def update(self, values, allow_val_change):
        super().update(values)


def train(folder, tracker="none", disable_tqdm=True, **own):
    arguments = options(str(folder), report_to=[tracker], max_steps=8, logging_steps=2, disable_tqdm=disable_tqdm)
    rows = scored(x=[row / 100 for row in range(100)])
    trainer = CurriculumTrainer(
        OneWeight(), TrainingArguments(**arguments), train_dataset=rows, curriculum=CONFIG, **own
    )
    trainer.train()
    return trainer


def read_board(folder):
    needs("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()


def settings_of(folder):
    [event] = read_board(folder).Tensors("curriculum/text_summary")
    return json.loads(event.tensor_proto.string_val[0])


def test_tensorboard_shows_settings_and_numbers(tmp_path, monkeypatch):
    needs("tensorboard")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "board"))
    trainer = train(tmp_path / "out", "tensorboard")
    told = settings_of(tmp_path / "board")
    assert (told["curriculum/initial_fraction"], told["curriculum/warmup_steps"]) == (0.2, 4)
    assert told["curriculum/schedule"] == "cosine" and "curriculum/difficulties" not in told
    for name in ("effective_fraction", "temperature", "distinct_fraction_planned"):
        shown = [log[f"curriculum/{name}"] for log in trainer.state.log_history if f"curriculum/{name}" in log]
        board = read_board(tmp_path / "board")
        assert [event.value for event in board.Scalars(f"train/curriculum/{name}")] == pytest.approx(shown)


@pytest.mark.parametrize("disable_tqdm", [True, False])
def test_a_log_is_one_short_line_of_the_console(tmp_path, capsys, disable_tqdm):
    trainer = train(tmp_path, disable_tqdm=disable_tqdm)
    lines = [line[line.index("{") :] for line in capsys.readouterr().out.splitlines() if "'loss'" in line]
    assert len(lines) == 4 and max(map(len, lines)) < 180
    logs = [log for log in trainer.state.log_history if "loss" in log]
    for line, log in zip(lines, logs, strict=True):
        shown = {name: float(value) for name, value in ast.literal_eval(line).items()}
        assert [name for name in shown if "curriculum" in name] == [
            "curriculum/effective_fraction",
            "curriculum/mean_difficulty",
        ]
        assert shown == pytest.approx({name: log[name] for name in shown}, rel=1e-3)
        assert "curriculum/distinct_fraction" in log
    [printing] = [
        it for it in trainer.callback_handler.callbacks if isinstance(it, PrinterCallback | ProgressCallback)
    ]
    assert "on_log" not in vars(printing)


def test_the_settings_are_told_in_a_line_when_a_training_begins(tmp_path, caplog):
    caplog.set_level(logging.INFO, "hf_curriculum.training")
    train(tmp_path)
    assert caplog.messages == [
        "Curriculum: easy_first, an effective fraction of 0.2 at first and of 0.632 from step 4 on."
    ]


def by_number(trainer):
    return range(len(trainer.train_dataset))


def test_how_difficulties_are_learned_is_told_too(tmp_path, monkeypatch):
    needs("tensorboard")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "board"))
    train(tmp_path / "out", "tensorboard", learned_difficulty=LearnedDifficulty(by_number, every=2))
    told = settings_of(tmp_path / "board")
    assert (told["curriculum/learned/source"], told["curriculum/learned/every"]) == ("by_number", 2)


@pytest.mark.parametrize("name", ["trackio", "wandb"])
@pytest.mark.parametrize("reports", [True, False])
def test_a_config_is_told_where_the_training_reports_to_it(name, reports, monkeypatch):
    module = type(sys)(name)
    module.config = Config(max_steps=8)
    monkeypatch.setitem(sys.modules, name, module)
    settings = {"order": "easy_first", "seed": 3, "group_by_length": None, "difficulties": "1f", "quantiles": "2e"}
    tell_trackers(settings, [name] if reports else [], [])
    own = {"curriculum/order": "easy_first", "curriculum/seed": 3}
    assert module.config == {"max_steps": 8, **(own if reports else {})}
