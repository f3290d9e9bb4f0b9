"""The instrument of benchmarks/evidence: arms differ in their rows alone, figures are those worked out by hand."""

import io
import json
import math
import subprocess
import sys
import time
from concurrent.futures import Future
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
import torch
from datasets import Audio, Dataset
from launching import environment

from benchmarks.evidence import data, drawn, run, summary
from benchmarks.evidence.config import Experiment, Run
from benchmarks.evidence.data import Rows
from benchmarks.evidence.difficulties import Place, position, scored, teacher
from benchmarks.evidence.evaluate import knn, loss, probe, quality, standardised
from benchmarks.evidence.run import identity, read_lines
from benchmarks.evidence.samplers import ARMS, make_sampler
from benchmarks.evidence.spectrograms import spectrograms
from benchmarks.evidence.summary import compare, estimate, steps_to_reach
from benchmarks.evidence.tasks import TASKS, moved
from benchmarks.evidence.tokens import MASK, PAD, SPECIAL, VOCABULARY, learn_pieces, numbers
from benchmarks.evidence.train import evaluation_steps, fit, learning_rate_share
from hf_curriculum import CurriculumConfig, curriculum_weights

ROOT = Path(__file__).parent.parent
EXPERIMENTS = ROOT / "benchmarks" / "evidence" / "experiments"
STEPS, BATCH, ROWS = 60, 50, 2000
DIFFICULTY = np.random.default_rng(3).beta(2, 5, ROWS).astype(np.float32)


@pytest.fixture(scope="module")
def smoke() -> Experiment:
    return Experiment.read(EXPERIMENTS / "smoke.json")


def sampler(arm, seed=0):
    return make_sampler(arm, DIFFICULTY, {"initial_fraction": 0.15}, batch_size=BATCH, steps=STEPS, seed=seed)


# Samplers


def test_the_random_pool_has_the_size_of_easy_first_at_every_step():
    easy, pool = sampler("easy_first"), sampler("random_pool")
    for step in range(STEPS):
        assert pool.effective_fraction(step) == easy.effective_fraction(step)
        assert pool.temperature(step) == easy.temperature(step)


def test_the_random_pool_is_easy_first_under_one_relabelling():
    easy, pool = sampler("easy_first"), sampler("random_pool")
    warmup = range(easy.warmup_steps)
    before, after = (np.concatenate([arm.indices(step) for step in warmup]) for arm in (easy, pool))
    assert len(set(zip(before, after, strict=True))) == len(set(before)) == len(set(after))
    for step in range(easy.warmup_steps, STEPS):
        np.testing.assert_array_equal(easy.indices(step), pool.indices(step))


def test_the_random_pool_does_not_know_the_difficulty():
    drawn = {arm: np.concatenate([sampler(arm, s).indices(0) for s in range(40)]) for arm in ARMS}
    error = DIFFICULTY.std() / math.sqrt(40 * BATCH)
    mean = {arm: DIFFICULTY[rows].mean() - DIFFICULTY.mean() for arm, rows in drawn.items()}
    assert abs(mean["random_pool"]) < 4 * error and abs(mean["uniform"]) < 4 * error
    assert mean["easy_first"] < -10 * error and mean["hard_first"] > 10 * error


def test_the_pool_is_another_for_each_seed():
    first, second = (
        np.bincount(np.concatenate([sampler("random_pool", seed).indices(step) for step in range(15)]), minlength=ROWS)
        for seed in (0, 1)
    )
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1


def test_uniform_walks_permutations_from_the_second_step_on():
    uniform = sampler("uniform")
    walk = np.concatenate([uniform.indices(1 + step) for step in range(ROWS // BATCH)])
    assert len(set(walk)) == ROWS


# Training


PIXELS = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
LABELS = torch.tensor([0, 1])


def test_patches_have_positions():
    model = TASKS["mae-nano"].build(PIXELS, LABELS, seed=0)
    for positions in (model.vit.embeddings.position_embeddings, model.decoder.decoder_pos_embed):
        assert len(positions[0, 1:].unique(dim=0)) == 16 and not positions.requires_grad


def first_steps(experiment, arm, monkeypatch, steps=2):
    """Weights before the first step; images and mask noise of each, beside the rows."""
    pixels = torch.arange(ROWS, dtype=torch.int32)[:, None, None, None].expand(ROWS, 1, 8, 8) % 251
    rows = Rows(pixels.to(torch.uint8), torch.zeros(ROWS, dtype=torch.int64))
    task = TASKS[experiment.task]
    model = task.build(rows.inputs, rows.labels, seed=5)
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    seen, forward = [], model.forward
    monkeypatch.setattr(model, "forward", lambda images, noise: seen.append((images, noise)) or forward(images, noise))
    drawn = make_sampler(arm, DIFFICULTY, {}, batch_size=experiment.batch_size, steps=steps, seed=5)
    for _ in fit(model, lambda *batch: task.loss(model, *batch), drawn, rows, experiment, seed=5):
        pass
    return weights, seen, [rows.inputs[torch.from_numpy(drawn.indices(step))] for step in range(steps)]


def test_arms_share_weights_masks_and_augmentations(smoke, monkeypatch):
    experiment = replace(smoke, flip=True)
    expected, *others = (first_steps(experiment, arm, monkeypatch) for arm in ARMS)
    for weights, seen, rows in others:
        assert all(torch.equal(weights[name], expected[0][name]) for name in weights)
        for step, (images, noise) in enumerate(seen):
            assert torch.equal(noise, expected[1][step][1])
            rng = np.random.default_rng([5, step])
            same = TASKS["mae-nano"].augment(rows[step], rng, shift=experiment.shift, flip=True)
            assert torch.equal(images, same.float() / 127.5 - 1)
        assert not torch.equal(rows[0], expected[2][0])


def test_an_image_is_moved_and_mirrored_as_drawn():
    pixels = torch.arange(2 * 3 * 16, dtype=torch.uint8).reshape(2, 3, 4, 4)
    offsets = torch.tensor([[2, 1], [0, 1]])
    images = moved(pixels, torch.tensor([False, True]), offsets, shift=1)
    assert torch.equal(images[0, :, :3, 1:], pixels[0, :, 1:, :3])
    assert not images[0, :, 3].any() and not images[0, :, :, 0].any()
    assert torch.equal(images[1], pixels[1].flip(-1))
    assert torch.equal(moved(pixels, torch.tensor([False, False]), offsets, shift=0), pixels)


TEXTS = ["the cat sat on the mat", "the dog", "a dog and a cat " * 30]


def test_text_is_cut_filled_and_masked():
    tokenizer = learn_pieces(TEXTS)
    tokens = torch.from_numpy(numbers(tokenizer, TEXTS))
    assert tokens.shape == (3, 64) and tokens.dtype == torch.int16 and tokens.max() < VOCABULARY
    assert tokenizer.decode(tokens[0].tolist()) == TEXTS[0]
    assert tokenizer.id_to_token(PAD) == "[PAD]" and tokenizer.id_to_token(MASK) == "[MASK]"
    task = TASKS["mlm-small"]
    model = task.build(tokens, LABELS, seed=0)
    seen, encode = [], model.bert.forward
    model.bert.forward = lambda ids, **options: seen.append((ids, options["attention_mask"])) or encode(ids, **options)
    value = task.loss(model, tokens, LABELS, np.random.default_rng(0))
    ((ids, attention),) = seen
    masked = ids != tokens
    assert (ids[masked] == MASK).all() and (tokens[masked] >= SPECIAL).all() and 0 < masked.sum() < 20
    assert torch.equal(attention, (tokens != PAD).long())
    logits = model(ids, attention_mask=attention).logits[masked]  # all of them, as transformers computes them
    torch.testing.assert_close(value, torch.nn.functional.cross_entropy(logits, tokens[masked].long()))


def test_each_process_numbers_the_pieces_alike():
    tokenizer = learn_pieces(TEXTS)
    pieces = [tokenizer.id_to_token(number) for number in range(tokenizer.get_vocab_size())]
    assert pieces[:SPECIAL] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert pieces[SPECIAL:] == sorted(pieces[SPECIAL:])


@pytest.mark.parametrize("name", ["mlm-small", "classify-text-small"])
def test_features_of_a_text_do_not_see_its_padding(name):
    task, tokens = TASKS[name], torch.from_numpy(numbers(learn_pieces(TEXTS), TEXTS))
    model = task.build(tokens, LABELS, seed=0)
    length = int((tokens[1] != PAD).sum())
    whole, short = task.features(model, tokens[1:2]), task.features(model, tokens[1:2, :length])
    torch.testing.assert_close(whole, short, rtol=1e-4, atol=1e-5)


def texts_and_images():
    texts, images = ["good day", "bad night"] * 20, torch.arange(40, dtype=torch.uint8)[:, None, None, None] % 2 * 255
    yield "classify-text-small", torch.from_numpy(numbers(learn_pieces(texts), texts))
    yield "classify-images-small", images.expand(40, 3, 8, 8)


@pytest.mark.parametrize(("name", "inputs"), list(texts_and_images()))
def test_a_classifier_learns_and_is_judged_by_its_accuracy(name, inputs):
    task, rows = TASKS[name], Rows(inputs, torch.arange(40) % 2)
    model = task.build(rows.inputs, rows.labels, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    for _ in range(10):
        task.loss(model, rows.inputs, rows.labels, np.random.default_rng(0)).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert quality(task, model, rows, rows)["accuracy"] == 1
    assert quality(task, model, rows, Rows(rows.inputs, 1 - rows.labels))["accuracy"] == 0
    assert task.features(model, rows.inputs).shape == (40, 64)


def test_the_held_out_loss_has_the_same_masks_each_time(smoke):
    rows = Rows(torch.randint(256, (30, 1, 8, 8), dtype=torch.uint8), torch.zeros(30, dtype=torch.int64))
    model = TASKS["mae-nano"].build(rows.inputs, rows.labels, seed=0)
    assert loss(TASKS["mae-nano"], model, rows) == loss(TASKS["mae-nano"], model, rows)


def test_a_spectrogram_shows_a_tone_where_it_is(recordings):
    images = spectrograms(recordings)
    assert images.shape == (2, 64, 64, 1) and images.dtype == np.uint8
    low, high = images[:, :, 10, 0].argmax(axis=1)
    assert low < high  # 300 Hz and 3,000 Hz
    assert images[0, :, 60].max() == 0 and images[0].max() == 255  # half a second of sound, then silence


@pytest.fixture
def recordings():
    times = np.arange(4000) / 8000
    found = []
    for frequency in (300, 3000):
        file = io.BytesIO()
        soundfile.write(file, np.sin(2 * np.pi * frequency * times), 8000, format="WAV")
        found.append({"bytes": file.getvalue(), "path": None})
    return found


def test_evaluations_are_evenly_spaced_and_the_rate_rises_and_falls():
    assert sorted(evaluation_steps(10, 4)) == [0, 2, 5, 8, 10]
    rates = [learning_rate_share(step, 100, "cosine") for step in range(101)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1]) and rates[100] == 0
    assert all(after <= before for before, after in zip(rates[5:], rates[6:], strict=False))
    assert [learning_rate_share(step, 100, "none") for step in (0, 4, 99)] == pytest.approx([0.2, 1, 1])


def test_knn_and_probe_tell_clouds_apart():
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 3
    centres = torch.tensor([[5.0, 0, 0], [0, 5, 0], [0, 0, 5]])
    known, asked = (centres[labels] + torch.randn(300, 3, generator=rng) for _ in range(2))
    known, asked = standardised(known, asked)
    torch.testing.assert_close(known.std(dim=0), torch.ones(3), rtol=1e-4, atol=0)
    assert (knn(known, labels, asked) == labels).float().mean() > 0.95
    assert (probe(known, labels, asked) == labels).float().mean() > 0.95


# Data


def test_held_out_rows_are_in_no_budget_and_the_pool_is_the_same_for_both_splits(smoke):
    held_out, test = (
        data.parts(replace(smoke, evaluate_on=on, queries=150), None, "cpu") for on in ("held_out", "test")
    )
    train, tested, _ = data.splits("digits", "cpu")
    assert torch.equal(held_out.pool.inputs, test.pool.inputs)
    assert len(held_out.pool.labels) == len(train.labels) - 200 == 1237
    together = torch.cat([held_out.pool.inputs, held_out.queries.inputs, tested.inputs]).flatten(1).unique(dim=0)
    assert len(together) == 1237 + 150 + 360  # no two digits are the same image
    assert torch.equal(test.queries.labels, tested.labels[:150])
    for row in (0, 1236):
        np.testing.assert_array_equal(np.asarray(test.raw[row]["image"]), test.pool.inputs[row, 0])
    with pytest.raises(ValueError, match="1238 rows are asked for, but there are 1237"):
        data.parts(replace(smoke, bank=1238), None, "cpu")


@pytest.mark.parametrize("wrong_label", ["any", "next"])
def test_wrong_labels_are_of_another_class_and_in_the_training_alone(smoke, wrong_label):
    clean, noisy = (
        data.parts(replace(smoke, label_noise=share, wrong_label=wrong_label), None, "cpu") for share in (0.0, 0.4)
    )
    wrong = clean.pool.labels != noisy.pool.labels
    assert abs(wrong.float().mean() - 0.4) < 4 * math.sqrt(0.24 / 1237)
    steps = np.bincount(((noisy.pool.labels - clean.pool.labels)[wrong] % 10).numpy(), minlength=10)
    assert steps[1:].min() > 20 if wrong_label == "any" else steps[1] == wrong.sum()
    assert noisy.pool.labels.max() == 9
    assert torch.equal(noisy.bank.labels, clean.pool.labels[: smoke.bank])
    assert torch.equal(noisy.queries.labels, clean.queries.labels)


def test_idx_files_are_read(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    for prefix in ("train", "t10k"):
        (tmp_path / f"{prefix}-images-idx3-ubyte").write_bytes(bytes(16) + pixels.tobytes())
        (tmp_path / f"{prefix}-labels-idx1-ubyte").write_bytes(bytes(8) + bytes([1, 0, 2]))
    train, test, _ = data.splits(str(tmp_path), "cpu")
    np.testing.assert_array_equal(train.inputs[:, 0], pixels)
    assert test.labels.tolist() == [1, 0, 2]


def test_parquet_files_are_read(digits, tmp_path):
    digits.select(range(4)).to_parquet(tmp_path / "some-train.parquet")
    digits.select(range(2)).to_parquet(tmp_path / "some-test.parquet")
    train, test, _ = data.splits(str(tmp_path), "cpu")
    np.testing.assert_array_equal(train.inputs[3, 0], np.asarray(digits[3]["image"]))
    assert test.labels.tolist() == digits["label"][:2]


def test_one_file_is_divided_and_texts_and_sounds_become_inputs(recordings, tmp_path):
    texts = Dataset.from_dict({"text": [f"news number {i}" for i in range(10)], "label": list(range(10))})
    texts.to_parquet(tmp_path / "news.parquet")
    train, test, raw = data.splits(str(tmp_path / "news.parquet"), "cpu")
    assert sorted([*train.labels.tolist(), *test.labels.tolist()]) == list(range(10)) and len(test.labels) == 2
    assert raw["label"][:] == train.labels.tolist() and train.inputs.shape == (8, 64)
    sounds = Dataset.from_dict({"audio": recordings * 5, "label": [0, 1] * 5})
    sounds.cast_column("audio", Audio(decode=False)).to_parquet(tmp_path / "sounds.parquet")
    train, test, _ = data.splits(str(tmp_path / "sounds.parquet"), "cpu")
    assert train.inputs.shape == (8, 1, 64, 64) and test.inputs.shape == (2, 1, 64, 64)
    Dataset.from_dict({"x": [1] * 10, "label": [0] * 10}).to_parquet(tmp_path / "numbers.parquet")
    with pytest.raises(ValueError, match="is needed; there are .'x', 'label'."):
        data.splits(str(tmp_path / "numbers.parquet"), "cpu")


# Difficulties


def test_positions_by_hand():
    cluster = np.array([0, 1, 0, 1, 0, 0])
    distance = np.array([0.3, 0.2, 0.1, 0.1, 0.9, 0.4])
    np.testing.assert_allclose(position(cluster, distance), [0.25, 0.25, 0, 0, 0.75, 0.5])


def test_by_position_clusters_are_drawn_from_alike(smoke, tmp_path):
    experiment = replace(smoke, variants={"even": {"features": "builtin/hog", "normalize": "position"}})
    scores = scored(Place(None, tmp_path, "cpu", ""), experiment, experiment.recipe("even"), 1000)
    sizes = np.bincount(scores.cluster)
    weights = curriculum_weights(scores.difficulty, 0, CurriculumConfig(initial_fraction=0.02), total_steps=10)
    shares = np.bincount(scores.cluster, weights)
    assert shares.max() / shares.min() < 1.1 < sizes.max() / sizes.min()


def test_difficulties_are_made_once_and_follow_the_recipe(smoke, tmp_path, monkeypatch):
    place = Place(None, tmp_path, "cpu", "")
    hog = replace(smoke.recipe("hog"), by_class=True, n_clusters=1)
    labels = data.parts(smoke, None, "cpu").pool.labels[:300].numpy()
    first = scored(place, smoke, hog, 300)
    np.testing.assert_array_equal(first.cluster == first.cluster[0], labels == labels[0])
    monkeypatch.setattr("benchmarks.evidence.difficulties.add_embeddings", None)  # nothing is embedded again
    np.testing.assert_array_equal(scored(place, smoke, hog, 300).difficulty, first.difficulty)
    ranked = scored(place, smoke, replace(hog, normalize="rank"), 300)
    assert not np.array_equal(ranked.difficulty, first.difficulty)


def test_a_teacher_of_labels_has_features_that_tell_them_apart(smoke):
    experiment, task = replace(smoke, teacher_steps=500, shift=0), TASKS[smoke.task]
    found = data.parts(experiment, None, "cpu")
    accuracy = {
        by: quality(task, teacher(experiment, by, found.pool), found.bank, found.queries)["knn"]
        for by in ("bootstrap", "supervised")
    }
    assert accuracy["supervised"] > accuracy["bootstrap"] + 0.1


# What is drawn


def test_effective_numbers_and_spread():
    weights = np.array([0.5, 0.25, 0.25])
    assert drawn.effective_number(np.array([0, 1, 1]), weights) == pytest.approx(2)
    assert drawn.effective_number(np.array([0, 0, 0]), weights) == pytest.approx(1)
    vectors = np.random.default_rng(0).normal(size=(50, 3))
    weights = np.random.default_rng(1).dirichlet(np.ones(50))
    scaled = (vectors - vectors.mean(axis=0)) / vectors.std(axis=0)
    covariance = np.cov(scaled.T, aweights=weights, ddof=0)
    assert drawn.spread(vectors, weights) == pytest.approx(np.trace(covariance), rel=1e-4)


def test_purity_is_the_share_of_the_main_label():
    labels, cluster = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 0, 0, 1, 1, 1])
    assert drawn.purity(labels, cluster, np.full(6, 1 / 6)) == pytest.approx(5 / 6)
    assert drawn.purity(labels, cluster, np.array([0, 0.25, 0.5, 0, 0, 0.25])) == pytest.approx(0.5)


def test_what_is_drawn_is_told_for_each_order(smoke, tmp_path):
    experiment = replace(
        smoke, budgets=[(300, 20)], label_noise=0.4, curriculum={"n_clusters": 1, "by_class": True}, teacher_steps=60
    )
    table = {(row[1], row[2]): row for row in drawn.table(Place(None, tmp_path, "cpu", ""), experiment)}
    assert len(table) == 6
    uniform, easy, hard = (table["hog", order] for order in ("uniform", "easy_first", "hard_first"))
    assert easy[6] < uniform[6] < hard[6]  # wrong labels are far from the prototype of their class
    assert uniform[5] == pytest.approx(1) and easy[5] < 1
    assert uniform[3] == pytest.approx(10, rel=0.05)
    assert hard[7] < uniform[7] < easy[7] == pytest.approx(1 - easy[6])
    assert uniform[8] is None and "±" in easy[8]


def test_the_loss_of_what_is_drawn_is_beside_that_of_the_rest(smoke):
    found = data.parts(smoke, None, "cpu").pool.take(slice(200))
    rows = Rows(
        found.inputs * (torch.arange(200) < 100)[:, None, None, None], found.labels
    )  # the second half is black
    model = teacher(smoke, "bootstrap", rows)
    weights = np.zeros(200)
    weights[:100] = 0.01
    shown, black = drawn.extra_loss(smoke, model, rows, weights), drawn.extra_loss(smoke, model, rows, 0.01 - weights)
    assert shown.mean > 5 * shown.error and black.mean < -5 * black.error


# Config


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.json")), ids=lambda path: path.stem)
def test_experiments_are_valid_and_have_every_pair(path):
    experiment = Experiment.read(path)
    runs = experiment.runs()
    assert len(set(runs)) == len(runs)
    for trained in runs:
        assert replace(trained, arm="uniform", variant=None) in runs


def test_a_variant_differs_where_it_says_so(smoke):
    variants = {"a": {"features": "bootstrap"}, "b": {"features": "x", "arms": ["easy_first"]}}
    experiment = replace(smoke, variants=variants)
    first, second = experiment.recipe("a"), experiment.recipe("b")
    assert (first.n_clusters, first.initial_fraction, first.arms) == (10, 0.15, smoke.arms)
    assert second == replace(first, features="x", arms=["easy_first"])
    assert len(experiment.runs()) == len(smoke.seeds) * len(smoke.budgets) * (1 + 3 + 1)


def test_the_grid_can_grow_but_nothing_else(smoke):
    grown = replace(smoke, seeds=[7], budgets=[(64, 8)], arms=[], variants={})
    assert grown.fingerprint() == smoke.fingerprint()
    for change in ({"learning_rate": 1.0}, {"evaluate_on": "test"}, {"label_noise": 0.1}, {"teacher_steps": 3}):
        assert replace(smoke, **change).fingerprint() != smoke.fingerprint()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "resnet"}, "task: .'resnet'. must be among .'mae-nano'"),
        ({"arms": ["uniform"]}, "arms: .'uniform'. must be among .'random_pool', 'easy_first', 'hard_first'"),
        ({"variants": {"a": {"feature": "sift"}}}, "variants: 'a' has unknown settings .'feature'."),
        ({"evaluate_on": "train"}, "evaluate_on"),
        ({"decay": "linear"}, "decay"),
        ({"wrong_label": "worse"}, "wrong_label: .'worse'. must be among .'any', 'next'"),
        ({"curriculum": {"initial_fraction": 2}}, "initial_fraction must be in"),
        ({"curriculum": {"normalize": "position", "repeats": 2}}, "leave repeats at 1"),
        ({"budgets": [(10, 100)]}, "at least a batch of 32 rows"),
        ({"queries": 301}, "queries=301 of held_out=200"),
    ],
)
def test_bad_settings_are_named(smoke, change, message):
    with pytest.raises(ValueError, match=message):
        replace(smoke, **change)


def test_a_file_names_every_setting(smoke, tmp_path):
    values = asdict(smoke) | {"momentum": 0.9}
    del values["seeds"]
    (tmp_path / "bad.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=r"look at \['momentum', 'seeds'\]"):
        Experiment.read(tmp_path / "bad.json")


# Summary


def curve(*values):
    return [{"step": 10 * i, "knn": value} for i, value in enumerate(values)]


def record(seed, *values):
    return {"seed": seed, "curve": curve(*values)}


def test_steps_to_reach():
    assert steps_to_reach(curve(0.1, 0.3, 0.5), "knn", 0.4) == pytest.approx(15)
    assert steps_to_reach(curve(0.1, 0.5, 0.3, 0.6), "knn", 0.5) == 10
    assert steps_to_reach(curve(0.4, 0.3), "knn", 0.4) == 0
    assert steps_to_reach(curve(0.1, 0.3), "knn", 0.31) == math.inf
    falling = [{"step": 10 * i, "loss": value} for i, value in enumerate((0.9, 0.6, 0.4))]
    assert steps_to_reach(falling, "loss", 0.5) == pytest.approx(15)
    assert steps_to_reach(falling, "loss", 0.3) == math.inf


def test_paired_differences_by_hand():
    uniform = [record(0, 0.1, 0.5), record(1, 0.1, 0.6), record(2, 0.1, 0.7)]
    arm = [record(1, 0.2, 0.8), record(0, 0.1, 0.6), record(2, 0.1, 0.6), record(9, 0, 1)]
    found = compare(arm, uniform, "knn")
    assert found.final.mean == pytest.approx(2 / 3)  # seed 9 has no pair
    assert found.difference.mean == pytest.approx(0.2 / 3)  # of 0.2, 0.1 and -0.1
    assert found.difference.error == pytest.approx(math.sqrt((0.06 - 3 * (0.2 / 3) ** 2) / 2 / 3))
    assert (found.better, found.seeds) == (2, 3)
    assert found.reached == [pytest.approx(20 / 3), pytest.approx(8), math.inf]


def test_a_lower_loss_is_better():
    low, high = ([{"seed": 0, "curve": [{"step": 0, "loss": value}]}] for value in (0.4, 0.5))
    found = compare(low, high, "loss")
    assert (found.difference.mean, found.better, found.reached) == (pytest.approx(-0.1), 1, [0])


def test_one_seed_has_no_error():
    assert math.isnan(estimate([0.5]).error) and str(estimate([0.5])) == "0.5000"
    assert str(estimate([0.4, 0.6])) == "0.5000 ± 0.1000"


def test_the_table_says_how_many_seeds_reached_the_goal(smoke, capsys):
    experiment = replace(
        smoke, budgets=[(200, 40)], arms=["random_pool", "easy_first"], variants={"hog": {"features": "builtin/hog"}}
    )
    ends = {"uniform": (0.5, 0.6), "random_pool": (0.5, 0.7), "easy_first": (0.4, 0.5)}
    records = [
        asdict(Run(200, 40, None if arm == "uniform" else "hog", arm, seed))
        | {"curve": [{"step": 0, "knn": 0.0, "probe": 0.0}, {"step": 40, "knn": end, "probe": end}]}
        for arm, values in ends.items()
        for seed, end in enumerate(values)
    ]
    summary.print_summary(experiment, records)
    table = [[cell.strip() for cell in line.split("|")[4:-1]] for line in capsys.readouterr().out.splitlines()]
    assert table[6] == ["-", "uniform", "0.5500 ± 0.0500", "-", "-", "-", "40 (2 of 2)"]
    assert table[7] == ["hog", "random_pool", "0.6000 ± 0.1000", "0.0500 ± 0.0500", "1 of 2", "-", "37 (2 of 2)"]
    assert table[8] == [
        "hog",
        "easy_first",
        "0.4500 ± 0.0500",
        "-0.1000 ± 0.0000",
        "0 of 2",
        "-0.1500 ± 0.0500",
        "> 40 (0 of 2)",
    ]


# The command


@pytest.fixture(scope="module")
def tiny(smoke, tmp_path_factory) -> Path:
    """An experiment of seven runs."""
    values = asdict(replace(smoke, budgets=[(200, 20)], seeds=[0], teacher_steps=4))
    path = tmp_path_factory.mktemp("experiment") / "tiny.json"
    path.write_text(json.dumps(values))
    return path


def command(experiment, output, *options):
    return [
        sys.executable,
        "-m",
        "benchmarks.evidence.run",
        experiment,
        "--output",
        output,
        "--device",
        "cpu",
        *options,
    ]


def execute(experiment, output, *options):
    return subprocess.run(
        command(experiment, output, *options), cwd=ROOT, env=environment(), check=True, capture_output=True, text=True
    ).stdout


def results(output):
    """Finished lines without what a clock or a machine adds."""
    whole, _, _ = (output / "runs.jsonl").read_text().rpartition("\n")
    lines = [json.loads(line) for line in whole.splitlines()]
    kept = [{key: line[key] for key in line if key not in ("seconds", "machine")} for line in lines]
    return sorted(kept, key=str)  # runs end in any order


@pytest.mark.slow
def test_a_killed_experiment_goes_on_to_the_same_lines(tiny, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    table = execute(tiny, whole)
    assert "7 of 7 runs; evaluated on held-out training rows" in table
    assert {path.name for path in whole.glob("*.png")} == {
        f"{kind}-{metric}.png" for kind in ("curves", "differences") for metric in ("knn", "probe", "loss")
    }
    lines = killed / "runs.jsonl"
    with subprocess.Popen(command(tiny, killed), cwd=ROOT, env=environment(), stderr=subprocess.DEVNULL) as process:
        while not lines.exists() or not lines.read_text():
            assert process.poll() is None
            time.sleep(0.01)
        (worker,) = [child for child in psutil.Process(process.pid).children() if "spawn_main" in str(child.cmdline())]
        process.kill()
    worker.wait(timeout=30)  # it ends with its parent
    with lines.open("a") as file:
        file.write('{"rows": 200, "st')  # what a kill may leave
    assert 1 <= len(results(killed)) < 7
    assert execute(tiny, killed) == table
    assert results(killed) == results(whole)


def test_resuming_trains_what_is_missing_alone(tiny, tmp_path, monkeypatch, capsys):
    """The same in one process, for the default suite: a pool that works at once."""
    monkeypatch.setattr(run, "ProcessPoolExecutor", lambda *_: AtOnce())
    arguments = ["run", str(tiny), "--output", str(tmp_path), "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", arguments)
    run.main()
    table, expected = capsys.readouterr().out, results(tmp_path)
    lines = (tmp_path / "runs.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "runs.jsonl").write_text("".join([*lines[:3], lines[3][:40]]))
    run.main()
    output = capsys.readouterr()
    assert output.out == table and "1 of 4: Run" in output.err
    assert results(tmp_path) == expected
    monkeypatch.setattr(sys, "argv", [*arguments, "--summary"])
    monkeypatch.setattr(run, "run_missing", None)  # nothing is trained
    run.main()
    assert capsys.readouterr().out == table
    assert len(list(tmp_path.glob("*.png"))) == 6


class AtOnce:
    """A pool of no processes."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def submit(self, function, *args):
        future = Future()
        future.set_result(function(*args))
        return future

    def shutdown(self, cancel_futures):
        assert cancel_futures


def test_lines_of_other_settings_are_refused(smoke, tmp_path):
    path, first = tmp_path / "runs.jsonl", smoke.runs()[1]
    line = asdict(first) | {"recipe": smoke.made_by(first), "fingerprint": smoke.fingerprint(), "curve": []}
    path.write_text(json.dumps(line) + "\n")
    assert [identity(found) for found in read_lines(path, smoke)] == [first]
    less = replace(smoke, variants={"bootstrap": smoke.variants["bootstrap"]})
    assert [identity(found) for found in read_lines(path, less)] == [first]  # a variant may go
    for change in ({"shift": 0}, {"variants": {"hog": {"features": "builtin/hog", "n_clusters": 3}}}):
        with pytest.raises(ValueError, match="other settings"):
            read_lines(path, replace(smoke, **change))
