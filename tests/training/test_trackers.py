"""What trackers are told of a curriculum, by the real ones where they are installed."""

import json
import sys

import pytest
from needs import needs
from tiny import OneWeight, options, scored
from transformers import TrainingArguments

from hf_curriculum import CurriculumConfig, CurriculumTrainer
from hf_curriculum.training.trackers import tell_trackers

CONFIG = CurriculumConfig(initial_fraction=0.2, warmup_steps=0.5)


def train(folder, tracker):
    arguments = TrainingArguments(**options(str(folder), report_to=[tracker], max_steps=8))
    rows = scored(x=[row / 100 for row in range(100)])
    CurriculumTrainer(OneWeight(), arguments, train_dataset=rows, curriculum=CONFIG).train()


def test_tensorboard_shows_the_settings(tmp_path, monkeypatch):
    needs("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "board"))
    train(tmp_path / "out", "tensorboard")
    board = EventAccumulator(str(tmp_path / "board"), size_guidance={"tensors": 0}).Reload()
    [event] = board.Tensors("curriculum/text_summary")
    told = json.loads(event.tensor_proto.string_val[0])
    assert (told["curriculum/initial_fraction"], told["curriculum/warmup_steps"]) == (0.2, 4)
    assert told["curriculum/schedule"] == "cosine" and "curriculum/difficulties" not in told


@pytest.mark.parametrize("name", ["trackio", "wandb"])
@pytest.mark.parametrize("reports", [True, False])
def test_a_config_is_told_where_the_training_reports_to_it(name, reports, monkeypatch):
    class Config(dict):
        def update(self, values, allow_val_change):
            super().update(values)

    module = type(sys)(name)
    module.config = Config(max_steps=8)
    monkeypatch.setitem(sys.modules, name, module)
    settings = {"order": "easy_first", "seed": 3, "group_by_length": None, "lengths": {}}
    tell_trackers(settings, [name] if reports else [], [])
    own = {"curriculum/order": "easy_first", "curriculum/seed": 3}
    assert module.config == {"max_steps": 8, **(own if reports else {})}
