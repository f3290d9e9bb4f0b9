"""Rows, difficulties and first draws of benchmarks/evidence."""

import io
import math
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from datasets import Audio, Dataset

from benchmarks.evidence import data, drawn
from benchmarks.evidence.data import Rows
from benchmarks.evidence.difficulties import Place, position, scored, teacher
from benchmarks.evidence.evaluate import quality
from benchmarks.evidence.spectrograms import spectrograms
from benchmarks.evidence.tasks import TASKS
from hf_curriculum import CurriculumConfig, curriculum_weights

pytestmark = pytest.mark.costly

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


@pytest.fixture
def recordings():
    times = np.arange(4000) / 8000
    found = []
    for frequency in (300, 3000):
        file = io.BytesIO()
        soundfile.write(file, np.sin(2 * np.pi * frequency * times), 8000, format="WAV")
        found.append({"bytes": file.getvalue(), "path": None})
    return found


def test_a_spectrogram_shows_a_tone_where_it_is(recordings):
    images = spectrograms(recordings)
    assert images.shape == (2, 64, 64, 1) and images.dtype == np.uint8
    low, high = images[:, :, 10, 0].argmax(axis=1)
    assert low < high  # 300 Hz and 3,000 Hz
    assert images[0, :, 60].max() == 0 and images[0].max() == 255  # half a second of sound, then silence


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


@pytest.mark.slow
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


@pytest.mark.slow
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
