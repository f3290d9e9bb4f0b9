"""CurriculumTrainer, trained for real on models of a few hundred weights."""

import math

import numpy as np
import pytest
import torch
from datasets import Dataset
from drawing import rows_of
from scipy.stats import chisquare
from transformers import Trainer, TrainerCallback, TrainingArguments
from worker_training import ROWS, arguments, scored

from hf_curriculum import (
    CurriculumConfig,
    CurriculumMixin,
    CurriculumSampler,
    CurriculumSeq2SeqTrainer,
    CurriculumTrainer,
    curriculum_weights,
    effective_fraction,
)

pytestmark = pytest.mark.costly


class Recorder(torch.nn.Module):
    """Regression on one weight, which notes the rows of every forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.batches: list[list[int]] = []

    def forward(self, row, labels=None):
        if self.training:
            self.batches.append(row.tolist())
        return {"loss": ((self.weight - row / ROWS) ** 2).mean()}


def train(path, dataset=None, curriculum=None, resume=None, callbacks=None, **options):
    trainer = CurriculumTrainer(
        model=Recorder(),
        args=arguments(path, **options),
        train_dataset=scored() if dataset is None else dataset,
        callbacks=callbacks,
        **({"curriculum": curriculum} if curriculum else {}),
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def stream(trainer) -> list[int]:
    return [row for batch in trainer.model.batches for row in batch]


def test_trains_easy_first_without_any_other_argument(tmp_path):
    trainer = train(tmp_path, max_steps=400)
    difficulty = np.asarray(trainer.train_dataset["difficulty"][:])
    drawn = difficulty[np.array(stream(trainer))].reshape(400, 8).mean(axis=1)
    assert drawn[:50].mean() < drawn[100:150].mean() < drawn[200:].mean()
    assert drawn[200:].mean() == pytest.approx(difficulty.mean(), abs=0.01)


def test_the_model_sees_the_stream_of_the_sampler(tmp_path):
    trainer = train(tmp_path, gradient_accumulation_steps=2, dataloader_num_workers=2)
    reference = CurriculumSampler(trainer.train_dataset["difficulty"][:], total_batch_size=16, total_steps=40, seed=7)
    expected = rows_of(reference, range(40))
    assert stream(trainer) == expected.tolist()


def test_draws_follow_the_softmax_of_the_step(tmp_path):
    dataset, config = scored(rows=20), CurriculumConfig(warmup_steps=10)
    trainer = train(tmp_path, dataset, config, max_steps=10, per_device_train_batch_size=8192)
    for step in range(10):
        counts = np.bincount(trainer.model.batches[step], minlength=20)
        p = curriculum_weights(dataset["difficulty"][:], step, config)
        assert chisquare(counts, p * 8192).pvalue > 1e-4
    assert chisquare(np.bincount(trainer.model.batches[8])).pvalue < 1e-10  # the test can tell p from uniform


def test_walks_permutations_after_the_warmup(tmp_path):
    trainer = train(tmp_path, curriculum=CurriculumConfig(warmup_steps=3), max_steps=60)
    walked = stream(trainer)[3 * 8 :]
    for start in range(0, len(walked) - ROWS + 1, ROWS):
        assert sorted(walked[start : start + ROWS]) == list(range(ROWS))


def test_logs_the_state_of_the_curriculum(tmp_path):
    trainer = train(tmp_path)
    difficulty = np.asarray(trainer.train_dataset["difficulty"][:])
    logs = [log for log in trainer.state.log_history if "loss" in log]
    assert [log["step"] for log in logs] == list(range(5, 41, 5))
    rows = np.array(stream(trainer)).reshape(40, 8)
    for log in logs:
        step = log["step"]
        assert log["curriculum/mean_difficulty"] == pytest.approx(difficulty[rows[step - 5 : step]].mean(), abs=1e-6)
        temperature = log.get("curriculum/temperature", math.inf)
        assert (temperature == math.inf) == (step > 20)
        assert log["curriculum/effective_fraction"] == pytest.approx(effective_fraction(difficulty, temperature))
    fractions = [log["curriculum/effective_fraction"] for log in logs]
    assert fractions == sorted(fractions)
    assert fractions[0] == pytest.approx(0.3 + (1 - 1 / math.e - 0.3) * (1 - math.cos(math.pi * 4 / 20)) / 2, abs=1e-5)


@pytest.mark.parametrize(
    ("changed", "value"),
    [
        ("initial_fraction", 0.1),
        ("final_fraction", 0.4),
        ("warmup_steps", 0.9),
        ("warmup_steps", 7),
        ("schedule", "linear"),
        ("order", "hard_first"),
        ("difficulty_column", "other"),
        ("seed", 3),
    ],
)
def test_every_field_of_the_config_takes_effect(tmp_path, changed, value):
    dataset = scored(other=np.linspace(0, 1, ROWS))
    config = CurriculumConfig(**{changed: value})
    changed_run = train(tmp_path, dataset, config)
    assert stream(changed_run) != stream(train(tmp_path, dataset))
    column = dataset[config.difficulty_column][:]
    reference = CurriculumSampler(column, config, total_batch_size=8, total_steps=40, seed=7)
    assert stream(changed_run) == rows_of(reference, range(40)).tolist()


@pytest.mark.parametrize(
    ("options", "steps_per_epoch"),
    [
        ({}, 13),
        ({"gradient_accumulation_steps": 4}, 4),
        ({"dataloader_drop_last": True}, 12),
        ({"dataloader_drop_last": True, "gradient_accumulation_steps": 5}, 3),
        ({"per_device_train_batch_size": 500}, 1),
    ],
)
def test_takes_as_many_steps_as_a_plain_trainer(tmp_path, options, steps_per_epoch):
    options = {"max_steps": -1, "num_train_epochs": 2, **options}
    trainer = train(tmp_path, **options)
    plain = Trainer(model=Recorder(), args=arguments(tmp_path, **options), train_dataset=scored())
    plain.train()
    assert trainer.state.global_step == plain.state.global_step == 2 * steps_per_epoch
    assert trainer.state.epoch == plain.state.epoch == 2
    assert {len(batch) for batch in trainer.model.batches} == {options.get("per_device_train_batch_size", 8)}


class StopAt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == self.step
        return control


@pytest.fixture(scope="module", params=[0, 2], ids=lambda workers: f"workers{workers}")
def uncut(request, tmp_path_factory):
    """Options of a training, and its stream where nothing stops it."""
    options = {"gradient_accumulation_steps": 2, "dataloader_num_workers": request.param}
    return options, stream(train(tmp_path_factory.mktemp("whole"), **options))


@pytest.mark.parametrize("stop", [3, 13, 20, 29], ids=lambda step: f"step{step}")
def test_a_resumed_run_continues_the_stream(tmp_path, uncut, stop):
    options, whole = uncut
    options = options | {"save_strategy": "steps", "save_steps": stop}
    first = train(tmp_path, callbacks=[StopAt(stop)], **options)
    second = train(tmp_path, resume=True, **options)
    assert len(stream(first)) == stop * 16
    assert stream(first) + stream(second) == whole
    assert [log["step"] for log in second.state.log_history if "loss" in log] == list(range(5, 41, 5))


def test_works_on_a_shuffled_selection(tmp_path):
    dataset = scored(rows=300).shuffle(seed=1).select(range(0, 300, 2))
    trainer = train(tmp_path, dataset, max_steps=200)
    difficulty = dict(zip(dataset["row"][:], dataset["difficulty"][:], strict=True))
    drawn = np.array([difficulty[row] for row in stream(trainer)])
    assert set(stream(trainer)) <= set(difficulty)
    assert drawn[:200].mean() < 0.7 * drawn[-200:].mean()


def test_the_difficulty_never_reaches_the_model(tmp_path):
    trainer = train(tmp_path, dataset=scored(text=["x"] * ROWS), max_steps=2)
    assert len(trainer.model.batches) == 2


def test_seq2seq_trainer_draws_by_the_curriculum_too(tmp_path):
    from transformers import Seq2SeqTrainingArguments

    args = Seq2SeqTrainingArguments(**arguments(tmp_path).to_dict() | {"output_dir": str(tmp_path)})
    trainer = CurriculumSeq2SeqTrainer(model=Recorder(), args=args, train_dataset=scored())
    trainer.train()
    assert stream(trainer) == stream(train(tmp_path))


def test_mixin_goes_in_front_of_any_trainer(tmp_path):
    class Own(Trainer):
        pass

    class OwnCurriculum(CurriculumMixin, Own):
        pass

    trainer = OwnCurriculum(model=Recorder(), args=arguments(tmp_path), train_dataset=scored())
    trainer.train()
    assert stream(trainer) == stream(train(tmp_path))


def test_missing_difficulty_names_columns_and_remedy(tmp_path):
    with pytest.raises(ValueError, match=r"'difficulty' is not in the dataset \(columns: \['row'\]\).*add_difficulty"):
        train(tmp_path, dataset=Dataset.from_dict({"row": [1, 2]}))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("perplexty", r"'perplexty' is not in the dataset .*Did you mean 'perplexity'\?$"),
        ("loss", r"'loss' is not in the dataset .*'perplexity'\]\)\.$"),
        (
            "difficulty",
            r"'difficulty' is not in the dataset .*Create it with `add_difficulty\(dataset, model_id\)`\.$",
        ),
    ],
)
def test_a_column_of_ones_own_that_is_not_there_is_not_blamed_on_add_difficulty(tmp_path, column, message):
    dataset = Dataset.from_dict({"row": [1, 2], "perplexity": [1.0, 2.0]})
    with pytest.raises(ValueError, match=message):
        train(tmp_path, dataset=dataset, curriculum=CurriculumConfig(difficulty_column=column))


@pytest.mark.parametrize("curriculum", [{"warmup_steps": 5}, "cosine", 0.3, CurriculumConfig])
def test_a_curriculum_that_is_no_config_is_named(tmp_path, curriculum):
    with pytest.raises(TypeError, match=r"curriculum must be a CurriculumConfig, got .*curriculum=CurriculumConfig\("):
        CurriculumTrainer(model=Recorder(), args=arguments(tmp_path), train_dataset=scored(), curriculum=curriculum)


def test_each_training_of_a_trainer_begins_at_its_first_step(tmp_path):
    trainer = train(tmp_path, dataloader_num_workers=2, dataloader_persistent_workers=True)
    first = stream(trainer)
    trainer.model.batches.clear()
    trainer.train()
    assert stream(trainer) == first


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.1, math.nan], "nan in row 1"),
        ([0.1, math.inf], "inf in row 1"),
        ([-0.5, 0.1], "-0.5 in row 0"),
        (["a", "b"], "not numbers"),
        ([None, None], "holds null, not numbers"),
    ],
)
def test_bad_difficulties_are_refused_before_training(tmp_path, values, message):
    with pytest.raises(ValueError, match=message):
        CurriculumTrainer(
            model=Recorder(),
            args=arguments(tmp_path),
            train_dataset=Dataset.from_dict({"row": [0, 1], "difficulty": values}),
        )


def test_empty_datasets_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no rows"):
        train(tmp_path, dataset=scored().select([]))


def test_evaluation_needs_no_training_data(tmp_path):
    trainer = CurriculumTrainer(model=Recorder(), args=arguments(tmp_path), eval_dataset=scored())
    assert trainer.evaluate()["eval_samples_per_second"] > 0


def test_another_order_of_rows_is_refused(tmp_path):
    if "train_sampling_strategy" in TrainingArguments.__dataclass_fields__:  # transformers 5
        with pytest.raises(ValueError, match="train_sampling_strategy='sequential' cannot be combined"):
            train(tmp_path, train_sampling_strategy="sequential")
