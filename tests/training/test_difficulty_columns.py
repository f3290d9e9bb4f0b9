"""Difficulties of the reader's own: perplexity, length, label counts, rows without one, and schedules of one's own."""

import logging
import math

import numpy as np
import pytest
import torch
from datasets import Dataset
from scipy.stats import chisquare
from tiny import BATCH, ROWS, STEPS, OneWeight, options, watch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, TrainingArguments

from hf_curriculum import CurriculumConfig, CurriculumSampler, CurriculumTrainer, curriculum_weights
from hf_curriculum.data.columns import read_difficulty

UNIFORM = 1 - 1 / math.e


def rows_with(values, column="difficulty") -> Dataset:
    return Dataset.from_dict({"x": [row / len(values) for row in range(len(values))], column: values})


def train(path, dataset, column="difficulty", max_steps=STEPS, logging_steps=1, batch=BATCH, **settings):
    """The rows of each step, the logs of each step, and the trainer."""
    model = OneWeight()
    seen = watch(model, "x")
    trainer = CurriculumTrainer(
        model=model,
        args=TrainingArguments(
            **options(path, max_steps=max_steps, logging_steps=logging_steps, per_device_train_batch_size=batch)
        ),
        train_dataset=dataset,
        curriculum=CurriculumConfig(difficulty_column=column, **settings),
    )
    trainer.train()
    rows = (torch.stack(seen) * len(dataset)).round().int().numpy()
    return rows, [log for log in trainer.state.log_history if "loss" in log], trainer


# columns


@pytest.fixture(scope="module")
def language_model(tiny_bert):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=10, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, pad_token_id=0
    )
    model = LlamaForCausalLM(config).eval()
    model.lm_head.weight.data *= 40  # a model with opinions: perplexities far apart
    return model, AutoTokenizer.from_pretrained(tiny_bert)


def with_perplexity(sentences, language_model):
    model, tokenizer = language_model

    @torch.no_grad()
    def perplexity(row):
        ids = tokenizer(row["text"], return_tensors="pt")["input_ids"]
        return {"perplexity": model(input_ids=ids, labels=ids).loss.exp().item() if ids.shape[1] > 1 else None}

    dataset = sentences.map(perplexity, load_from_cache_file=False)
    return dataset.add_column("x", [row / len(dataset) for row in range(len(dataset))])


def test_perplexity_of_a_language_model_ranks_the_texts(tmp_path, sentences, language_model):
    dataset = with_perplexity(sentences, language_model)
    rows, _, _ = train(tmp_path, dataset, "perplexity", warmup_steps=30)

    model, tokenizer = language_model
    row = 17  # by hand: the geometric mean of the inverse probabilities of its words
    ids = tokenizer(dataset["text"][row])["input_ids"]
    logits = model(input_ids=torch.tensor([ids])).logits[0].double()
    p = torch.softmax(logits, dim=-1)[range(len(ids) - 1), ids[1:]]
    assert dataset["perplexity"][row] == pytest.approx(math.prod(p.tolist()) ** (-1 / (len(ids) - 1)), rel=1e-4)

    values = np.array(dataset["perplexity"][:], dtype=float)
    assert np.isnan(values).sum() == 7  # the texts of one word
    assert not np.isnan(values[rows[:30]]).any()
    early, late = np.nanmean(values[rows[:8]]), np.nanmean(values[rows[-10:]])
    assert early < 0.7 * late
    masked = np.ma.masked_invalid(values)
    reference = CurriculumSampler(masked, CurriculumConfig(warmup_steps=30), total_batch_size=BATCH, seed=7)
    assert rows.tolist() == [reference.indices(step).tolist() for step in range(STEPS)]


def test_length_as_an_integer_column_ranks_the_texts(tmp_path, sentences):
    dataset = sentences.map(lambda row, i: {"words": len(row["text"].split()), "x": i / 60}, with_indices=True)
    rows, logs, _ = train(tmp_path, dataset, "words")
    words = np.array(dataset["words"][:])
    assert words.dtype == np.int64
    assert words[rows[:5]].mean() < 3 < words[rows[20:]].mean()
    assert [log["curriculum/mean_difficulty"] for log in logs] == pytest.approx(words[rows].mean(axis=1).tolist())


@pytest.mark.parametrize("order", ["easy_first", "hard_first"])
def test_label_counts_tie_and_tied_rows_are_drawn_alike(tmp_path, order):
    counts, draws = np.repeat([1, 2, 5], [20, 30, 50]), 8192
    dataset = rows_with(counts, "labels_in_row")
    rows, _, trainer = train(tmp_path, dataset, "labels_in_row", max_steps=3, batch=draws, warmup_steps=4, order=order)
    assert len(set(counts[rows[0]])) == 1 if order == "hard_first" else (counts[rows[0]] < 5).mean() > 0.9
    observed = np.bincount(rows[2], minlength=ROWS)
    p = curriculum_weights(counts, 2, trainer.curriculum)
    tied = [counts == count for count in (1, 2, 5)]
    assert chisquare([observed[rows].sum() for rows in tied], [draws * p[rows].sum() for rows in tied]).pvalue > 1e-4
    assert all(chisquare(observed[rows]).pvalue > 1e-4 for rows in tied if observed[rows].sum() > 100)


def test_difficulties_that_are_all_equal_train_uniformly(tmp_path):
    rows, logs, _ = train(tmp_path, rows_with([3] * ROWS), max_steps=4, batch=8192, warmup_steps=4)
    counts = np.bincount(rows[0], minlength=ROWS)
    assert abs(counts - 8192 / ROWS).max() < 6 * math.sqrt(8192 / ROWS)
    assert logs[0]["curriculum/effective_fraction"] == pytest.approx(1 - (1 - 1 / ROWS) ** ROWS)


def test_hard_first_draws_the_highest_values_first(tmp_path):
    values = np.random.default_rng(0).lognormal(size=ROWS)
    rows, _, _ = train(tmp_path, rows_with(values), order="hard_first")
    assert values[rows[:5]].mean() > 2 * values[rows[20:]].mean()


def test_a_constant_and_a_factor_change_nothing():
    values, config = np.random.default_rng(0).lognormal(size=500), CurriculumConfig(warmup_steps=10)
    weights = curriculum_weights(values, 3, config)
    np.testing.assert_allclose(curriculum_weights(1000 * values + 7, 3, config), weights, rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize("kind", ["int8", "uint16", "int64", "float16", "float32", "float64"])
def test_columns_of_every_number_type_give_the_same_rows(tmp_path, kind):
    values = np.arange(ROWS) % 50
    wanted = CurriculumSampler(values.astype(float), total_batch_size=BATCH, total_steps=STEPS, seed=7)
    column = read_difficulty(rows_with(values.astype(kind)), "difficulty")
    sampler = CurriculumSampler(column, total_batch_size=BATCH, total_steps=STEPS, seed=7)
    assert [sampler.indices(step).tolist() for step in (0, 9)] == [wanted.indices(step).tolist() for step in (0, 9)]


# rows without a difficulty


def test_null_rows_wait_for_the_end_of_the_warmup(tmp_path, caplog):
    values = [None if row % 5 == 0 else row / ROWS for row in range(ROWS)]
    with caplog.at_level(logging.WARNING, logger="hf_curriculum"):
        rows, logs, _ = train(tmp_path, rows_with(values), warmup_steps=20)
    warnings = [record.getMessage() for record in caplog.records if record.name.startswith("hf_curriculum")]
    assert warnings == ["20 of 100 rows have no difficulty: they are left out while the curriculum warms up."]

    null = np.array([value is None for value in values])
    assert not null[rows[:20]].any()
    walked = rows[20:].ravel()
    assert sorted(walked[:ROWS]) == list(range(ROWS))  # null rows as often as all others

    masked = np.ma.masked_array([value or 0 for value in values], null)
    for log, drawn in zip(logs, rows, strict=True):
        if null[drawn].all():
            assert "curriculum/mean_difficulty" not in log
        else:
            assert log["curriculum/mean_difficulty"] == pytest.approx(masked[drawn].mean())


def test_the_log_of_a_step_of_null_rows_alone_has_no_mean(tmp_path):
    values = [0.5] + [None] * 9
    rows, logs, _ = train(tmp_path, rows_with(values), warmup_steps=2, max_steps=12, batch=1)
    assert rows.ravel()[:2].tolist() == [0, 0] and sorted(rows.ravel()[2:]) == list(range(10))
    for log, row in zip(logs, rows.ravel(), strict=True):
        assert log.get("curriculum/mean_difficulty") == (0.5 if row == 0 else None)


def test_a_column_of_nulls_alone_is_refused(tmp_path):
    dataset = rows_with([0.1, None]).filter(lambda row: row["difficulty"] is None)
    with pytest.raises(ValueError, match="Column 'difficulty' is null in all 1 rows"):
        train(tmp_path, dataset)


# schedules


def test_a_square_root_of_ones_own_equals_the_values_by_hand(tmp_path):
    values = np.random.default_rng(0).random(400)
    _, logs, trainer = train(tmp_path, rows_with(values), schedule=math.sqrt, initial_fraction=0.2, warmup_steps=16)
    planned = [0.2, 0.2 + (UNIFORM - 0.2) / 4, 0.2 + (UNIFORM - 0.2) / 2, 0.2 + (UNIFORM - 0.2) * 3 / 4]
    for step, fraction in zip((0, 1, 4, 9), planned, strict=True):
        assert trainer.curriculum_sampler.effective_fraction(step) == pytest.approx(fraction, abs=1e-5)
    logged = [log["curriculum/effective_fraction"] for log in logs]
    by_hand = [0.2 + (UNIFORM - 0.2) * math.sqrt(step / 16) for step in range(16)]
    assert logged[:16] == pytest.approx(by_hand, abs=1e-5)
    assert logged[16:] == pytest.approx([1 - (1 - 1 / 400) ** 400] * 24)


def test_a_schedule_that_goes_back_is_followed(tmp_path):
    """Nothing asks for a rise: a share that falls again is a curriculum too."""
    _, logs, _ = train(
        tmp_path,
        rows_with(np.linspace(0, 1, ROWS)),
        schedule=lambda progress: 1 - abs(2 * progress - 1),
        warmup_steps=STEPS,
    )
    logged = [log["curriculum/effective_fraction"] for log in logs]
    assert logged[:20] == sorted(logged[:20]) and logged[20:] == sorted(logged[20:], reverse=True)
    assert logged[10] == pytest.approx(logged[30], abs=1e-6)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (lambda progress: 2 * progress, r"schedule\(0\.51\) returned 1\.02; .*also in \[0, 1\]"),
        (lambda progress: progress - 0.1, r"schedule\(0\.0\) returned -0\.1"),
        (lambda progress: math.nan, r"schedule\(0\.0\) returned nan"),
        (lambda progress: math.inf, r"schedule\(0\.0\) returned inf"),
        (lambda progress: math.nan if progress > 0.5 else 0.5, r"schedule\(0\.51\) returned nan"),
    ],
    ids=["above", "below", "nan", "inf", "nan later"],
)
def test_a_schedule_out_of_range_is_refused_with_the_value(schedule, message):
    with pytest.raises(ValueError, match=message):
        CurriculumConfig(schedule=schedule)


@pytest.mark.parametrize("value", ["half", None, [0.5], 0.5j])
def test_a_schedule_that_returns_no_number_is_refused(value):
    with pytest.raises(ValueError, match="a schedule maps progress"):
        CurriculumConfig(schedule=lambda progress: value)


@pytest.mark.parametrize("value", [np.float32(0.25), np.array(0.25), torch.tensor(0.25)], ids=type)
def test_a_schedule_may_return_the_numbers_of_numpy_and_torch(value):
    config = CurriculumConfig(schedule=lambda progress: value, initial_fraction=0.2, warmup_steps=10)
    sampler = CurriculumSampler(np.random.default_rng(0).random(200), config, total_batch_size=4)
    assert sampler.effective_fraction(5) == pytest.approx(0.2 + (UNIFORM - 0.2) / 4, abs=1e-5)
