"""Arms of benchmarks/evidence differ in their rows alone; what is learned, and how well, by independent references."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from drawing import rows_of

from benchmarks.evidence.data import Rows
from benchmarks.evidence.evaluate import knn, loss, probe, quality, standardised
from benchmarks.evidence.samplers import ARMS, make_sampler
from benchmarks.evidence.tasks import TASKS, moved
from benchmarks.evidence.tokens import MASK, PAD, SPECIAL, VOCABULARY, learn_pieces, numbers
from benchmarks.evidence.train import Training, evaluation_steps, learning_rate_share

pytestmark = pytest.mark.costly

STEPS, BATCH, ROWS = 60, 50, 2000
DIFFICULTY = np.random.default_rng(3).beta(2, 5, ROWS).astype(np.float32)


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
    before, after = (rows_of(arm, warmup) for arm in (easy, pool))
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
    first, second = (np.bincount(rows_of(sampler("random_pool", seed), range(15)), minlength=ROWS) for seed in (0, 1))
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
    for _ in Training(model, lambda *batch: task.loss(model, *batch), drawn, rows, experiment, seed=5):
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
