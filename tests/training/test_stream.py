"""Rows of a stream come as often as the curriculum draws them, in every way in which a stream is read."""

import json
import logging
import math
from collections import Counter
from functools import cache

import numpy as np
import pytest
from datasets import Dataset, Features, Image, IterableDataset, Value, interleave_datasets, load_dataset
from datasets.distributed import split_dataset_by_node
from PIL import Image as PILImage
from scipy import stats
from torch.utils.data import DataLoader

from hf_curriculum import CurriculumConfig, CurriculumSampler, curriculum_stream, effective_fraction, solve_temperature
from hf_curriculum.data import difficulty_quantiles
from hf_curriculum.training.copies import CopyLaw

pytestmark = pytest.mark.costly

N, BATCH = 24_000, 32
STEPS = N // BATCH
DIFFICULTY = np.random.default_rng(0).beta(2, 3, N).astype(np.float32)
QUANTILES = difficulty_quantiles(DIFFICULTY)
CONSTANT = CurriculumConfig(initial_fraction=0.3, final_fraction=0.3, warmup_steps=1.0)


def stream_of(difficulty=DIFFICULTY, shards=12):
    return Dataset.from_dict({"row": range(len(difficulty)), "difficulty": difficulty}).to_iterable_dataset(shards)


def curriculum(stream=None, config=None, **options):
    options = {"total_batch_size": BATCH, "total_steps": STEPS, "quantiles": QUANTILES, **options}
    return curriculum_stream(stream_of() if stream is None else stream, config, **options)


def rows_of(stream):
    return np.array([row["row"] for row in stream])


def by_step(rows, steps=20, batch=BATCH):
    """Mean difficulty of so many steps in a row, and its standard error; copies of a row are no news."""
    means, errors = [], []
    for window in rows[: len(rows) // (steps * batch) * steps * batch].reshape(-1, steps * batch):
        found, copies = np.unique(window, return_counts=True)
        scores = DIFFICULTY[found].astype(float)
        means.append(copies @ scores / window.size)
        errors.append(math.sqrt(copies**2 @ (scores - means[-1]) ** 2) / window.size)
    return np.array(means), np.array(errors)


@cache
def expected_difficulty(steps, config):
    """By the formulas, over all rows: mean difficulty of draws at the temperatures of these steps."""
    sampler = CurriculumSampler(DIFFICULTY, config, total_batch_size=BATCH, total_steps=STEPS)
    scores = DIFFICULTY.astype(float)
    sign = -1 if sampler.config.order == "easy_first" else 1
    means = []
    for step in steps:
        weights = (
            np.exp(sign * scores / sampler.temperature(int(step))) if step < sampler.warmup_steps else scores * 0 + 1
        )
        means.append(weights @ scores / weights.sum())
    return np.array(means)


# --- the law ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fraction", [0.15, 0.3, 0.5])
def test_copies_of_a_row_are_poisson_at_its_temperature(fraction):
    config = CurriculumConfig(initial_fraction=fraction, final_fraction=fraction, warmup_steps=1.0)
    rows = rows_of(curriculum(config=config))
    copies = np.bincount(rows, minlength=N)
    weights = np.exp(-DIFFICULTY.astype(float) / solve_temperature(DIFFICULTY, fraction))
    rates = weights / weights.mean()
    observed, expected = [], []
    for part in np.array_split(np.argsort(rates), 8):  # in eight classes of rate, how many rows come 0, 1, ... times
        found = np.bincount(np.minimum(copies[part], 6), minlength=7)
        probable = stats.poisson.pmf(np.arange(6)[:, None], rates[part]).sum(axis=1)
        probable = np.append(probable, len(part) - probable.sum())
        keep = probable > 5
        observed += [*found[keep], found[~keep].sum()]
        expected += [*probable[keep], probable[~keep].sum()]
    observed, expected = np.array(observed), np.array(expected)
    enough = expected > 5
    statistic = ((observed - expected)[enough] ** 2 / expected[enough]).sum()
    assert stats.chi2.sf(statistic, enough.sum()) > 1e-3

    error = math.sqrt((rates + (rates - 1) ** 2).mean() / N)
    assert abs(len(rows) / N - 1) < 4 * error  # rows handed out for each that is read
    assert abs(np.mean(copies > 0) - fraction) < 4 * math.sqrt(fraction / N)
    assert abs(np.mean(copies > 0) - effective_fraction(DIFFICULTY, solve_temperature(DIFFICULTY, fraction))) < 0.01


@pytest.mark.parametrize("schedule", ["cosine", "linear", "root", "step", lambda progress: round(progress * 4) / 4])
@pytest.mark.parametrize("order", ["easy_first", "hard_first"])
def test_the_mean_difficulty_of_any_20_steps_is_the_planned_one(schedule, order):
    config = CurriculumConfig(warmup_steps=300, schedule=schedule, order=order)
    rows = rows_of(curriculum(config=config))
    planned = expected_difficulty(range(STEPS), config)
    for start in (0, 7, 13):  # windows that start at any step
        means, errors = by_step(rows[start * BATCH :])
        windows = np.array([planned[start + 20 * i : start + 20 * i + 20].mean() for i in range(len(means))])
        assert (np.abs(means - windows) < 0.01 + 4 * errors).all()
        assert abs((means - windows).mean()) < 0.003


@pytest.mark.parametrize("warmup", [150, 400, 2000])
@pytest.mark.parametrize("readers", [1, 4])
@pytest.mark.parametrize("schedule", ["cosine", "root", "linear"])
def test_blocks_do_not_blur_the_schedule(warmup, readers, schedule):
    """Without chance: each row in expectation, at the middle of the block that it is shuffled in."""
    config = CurriculumConfig(initial_fraction=0.15, warmup_steps=warmup, schedule=schedule)
    law = CopyLaw(QUANTILES, config, total_batch_size=BATCH, warmup_steps=warmup)
    nodes = np.linspace(0, warmup, 80)
    at = np.interp(
        np.arange(warmup * BATCH // readers) * readers / BATCH, nodes, expected_difficulty(tuple(nodes), config)
    )
    blurred, start = at.copy(), 0
    while start < at.size:
        size = law.block_rows(start, readers)
        blurred[start : start + size] = at[start : start + size].mean()
        start += size
    assert start == at.size  # no block bridges the end of the warm-up
    window = 20 * BATCH // readers
    smooth = [np.convolve(values, np.ones(window) / window, "valid") for values in (at, blurred)]
    assert np.abs(smooth[0] - smooth[1]).max() < 0.01


def test_the_mean_difficulty_is_that_of_the_sampler():
    config = CurriculumConfig()
    sampler = CurriculumSampler(DIFFICULTY, config, total_batch_size=BATCH, total_steps=STEPS)
    drawn = by_step(np.concatenate([sampler.indices(step) for step in range(STEPS)]))
    found = by_step(rows_of(curriculum()))
    count = min(len(drawn[0]), len(found[0]))
    difference = (drawn[0][:count] - found[0][:count]) / np.hypot(drawn[1][:count], found[1][:count])
    assert np.abs(difference).max() < 4.5 and abs(difference.mean()) < 4 / math.sqrt(count)


def test_after_the_warmup_each_row_comes_once():
    config = CurriculumConfig(warmup_steps=100)
    rows = rows_of(curriculum(config=config))
    after = rows[100 * BATCH :]
    assert len(np.unique(after)) == len(after)
    assert set(after) >= set(
        range(int(1.1 * 100 * BATCH), N)
    )  # the warm-up has read about as many rows as it gave out


def test_a_sorted_stream_keeps_to_the_law_and_warns_nobody(caplog):
    config = CurriculumConfig(initial_fraction=0.3, final_fraction=0.3, warmup_steps=10_000)
    ranked = np.sort(DIFFICULTY)
    rows = rows_of(curriculum(stream_of(ranked), config))
    weights = np.exp(-ranked.astype(float) / solve_temperature(ranked, 0.3))
    assert abs(ranked[rows].mean() - weights @ ranked / weights.sum()) < 0.005
    assert abs(len(rows) / N - 1) < 0.03


def test_ties_come_alike():
    difficulty = np.random.default_rng(1).integers(0, 5, N).astype(np.float32)
    rows = rows_of(curriculum(stream_of(difficulty), CONSTANT, quantiles=difficulty_quantiles(difficulty)))
    weights = np.exp(-difficulty.astype(float) / solve_temperature(difficulty, 0.3))
    shares = np.bincount(difficulty[rows].astype(int), minlength=5) / len(rows)
    expected = np.array([weights[difficulty == value].sum() for value in range(5)]) / weights.sum()
    np.testing.assert_allclose(shares, expected, atol=0.012)


@pytest.mark.parametrize("missing", [None])
def test_rows_without_a_difficulty_wait_for_the_end_of_the_warmup(missing):
    difficulty = [missing if row % 3 == 0 else float(value) for row, value in enumerate(DIFFICULTY)]
    rows = rows_of(curriculum(stream_of(difficulty), CurriculumConfig(warmup_steps=200)))
    assert (rows[: 200 * BATCH] % 3 != 0).all()
    assert abs(np.mean(rows[200 * BATCH :] % 3 == 0) - 1 / 3) < 0.02


def test_equal_difficulties_are_drawn_uniformly():
    rows = rows_of(curriculum(stream_of(np.zeros(4000)), quantiles=[0, 0], total_steps=125))
    copies = np.bincount(rows[:2000], minlength=4000)
    assert 1 < copies.max() < 10


def test_the_order_in_a_block_is_a_random_permutation():
    law = CopyLaw(QUANTILES, CONSTANT, total_batch_size=BATCH, warmup_steps=10)
    first = [law.draw(np.zeros(7), 10_000, 1, [seed]) for seed in range(7000)]
    assert {tuple(sorted(drawn)) for drawn in first} == {tuple(range(7))}
    counts = np.array([np.bincount([drawn[place] for drawn in first], minlength=7) for place in range(7)])
    assert stats.chi2.sf(((counts - 1000) ** 2 / 1000).sum(), 36) > 1e-3


def test_an_outlier_is_not_copied_beyond_the_easiest_known():
    rows = rows_of(curriculum(stream_of(np.r_[np.zeros(10), DIFFICULTY[:1000] / 2 + 0.5]), quantiles=[0.5, 0.75, 1]))
    assert np.bincount(rows, minlength=10)[:10].max() < 30  # not exp(0.5 / tau) times


# --- streams of every kind ----------------------------------------------------------------------------------------


FEW = 5000
KINDS_CONFIG = CurriculumConfig(warmup_steps=90)


def few():
    return stream_of(DIFFICULTY[:FEW])


def from_parquet(tmp_path):
    for shard in range(3):
        part = Dataset.from_dict({"row": range(FEW)[shard::3], "difficulty": DIFFICULTY[:FEW][shard::3]})
        part.to_parquet(str(tmp_path / f"{shard}.parquet"), batch_size=700)
    return load_dataset("parquet", data_files=str(tmp_path / "*.parquet"), split="train", streaming=True)


def generated(shards):
    for shard in shards:
        for row in range(FEW)[shard::4]:
            yield {"row": row, "difficulty": float(DIFFICULTY[row])}


FEATURES = Features({"row": Value("int64"), "difficulty": Value("float32")})
KINDS = {
    "arrow": lambda path: few(),
    "parquet": from_parquet,
    "generator": lambda path: IterableDataset.from_generator(generated, gen_kwargs={"shards": [0, 1, 2, 3]}),
    "typed generator": lambda path: IterableDataset.from_generator(
        generated, features=FEATURES, gen_kwargs={"shards": [0, 1, 2, 3]}
    ),
    "map": lambda path: few().map(lambda row: {"twice": 2 * row["row"]}),
    "batched map": lambda path: few().map(lambda rows: {"x": rows["row"]}, batched=True, batch_size=333),
    "filter": lambda path: few().filter(lambda row: row["row"] % 10 < 10),
    "shuffle": lambda path: few().shuffle(seed=3, buffer_size=500),
    "interleave": lambda path: interleave_datasets(
        [few().filter(lambda row: row["row"] % 2 == 0), few().filter(lambda row: row["row"] % 2 == 1)],
        stopping_strategy="all_exhausted_without_replacement",
    ),
    "torch format": lambda path: few().with_format("torch"),
    "take and skip": lambda path: few().take(FEW).skip(0),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_of_any_kind(kind, tmp_path):
    stream = KINDS[kind](tmp_path)
    drawn = list(curriculum(stream, KINDS_CONFIG))
    assert drawn[0].keys() == next(iter(stream)).keys()
    rows = np.array([int(row["row"]) for row in drawn])
    means, errors = by_step(rows, steps=15)
    planned = expected_difficulty(range(120), KINDS_CONFIG).reshape(8, 15).mean(axis=1)
    assert (np.abs(means[:8] - planned) < 0.01 + 4 * errors[:8]).all()
    assert len(np.unique(rows[90 * BATCH + 10 :])) == len(rows[90 * BATCH + 10 :])


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_of_any_kind_is_resumed_exactly(kind, tmp_path):
    whole = [int(row["row"]) for row in curriculum(KINDS[kind](tmp_path), KINDS_CONFIG)]
    for stop in (1, 1234, 4000, len(whole)):
        begun = curriculum(KINDS[kind](tmp_path), KINDS_CONFIG)
        rows = iter(begun)
        head = [int(next(rows)["row"]) for _ in range(stop)]
        resumed = curriculum(KINDS[kind](tmp_path), KINDS_CONFIG)
        resumed.load_state_dict(json.loads(json.dumps(begun.state_dict())))
        assert head + [int(row["row"]) for row in resumed] == whole


def test_the_columns_and_features_stay():
    drawn = curriculum(stream_of())
    assert drawn.features == stream_of().features
    assert next(iter(drawn.with_format("torch")))["difficulty"].dtype.is_floating_point


@pytest.mark.parametrize("threads", [0, 2])
def test_only_rows_that_come_out_are_decoded(threads, monkeypatch, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (600, 4, 4, 3), np.uint8)
    images = Dataset.from_dict({"image": list(map(PILImage.fromarray, pixels)), "difficulty": DIFFICULTY[:600]})
    images.cast_column("image", Image()).to_parquet(str(tmp_path / "images.parquet"))
    stream = load_dataset("parquet", data_files=str(tmp_path / "images.parquet"), split="train", streaming=True)
    stream = stream.decode(num_threads=threads) if threads else stream
    decoded, decode = [], Image.decode_example
    monkeypatch.setattr(Image, "decode_example", lambda *args, **kwargs: decoded.append(1) or decode(*args, **kwargs))
    config = CurriculumConfig(initial_fraction=0.15, final_fraction=0.15, warmup_steps=10_000)
    drawn = list(curriculum(stream, config))
    assert len(decoded) == len(drawn) > 400
    by_difficulty = {float(difficulty): image for difficulty, image in zip(DIFFICULTY, pixels, strict=False)}
    assert all((np.array(row["image"]) == by_difficulty[row["difficulty"]]).all() for row in drawn)


def test_an_endless_stream():
    def endless():
        rng = np.random.default_rng(5)
        while True:
            yield {"difficulty": float(rng.beta(2, 3))}

    config = CurriculumConfig(warmup_steps=200)
    stream = curriculum(IterableDataset.from_generator(endless), config)
    drawn = np.array([row["difficulty"] for row in stream.take(400 * BATCH)])
    planned = expected_difficulty((10, 390), config)
    assert abs(drawn[: 20 * BATCH].mean() - planned[0]) < 0.03 and abs(drawn[-20 * BATCH :].mean() - planned[1]) < 0.03


@pytest.mark.parametrize("size", [1, 5, 40])
def test_a_stream_shorter_than_a_block(size):
    rows = rows_of(curriculum(stream_of(DIFFICULTY[:size], 1), CurriculumConfig(warmup_steps=1), total_batch_size=1))
    assert set(rows) >= set(range(1 if size == 1 else 3, size))


def test_passes_are_shuffled_anew():
    stream = curriculum(stream_of(DIFFICULTY[:100], 4).repeat(3), CurriculumConfig(warmup_steps=1), total_batch_size=1)
    passes = rows_of(stream)[-200:].reshape(2, 100)
    assert [sorted(rows) for rows in passes] == [list(range(100))] * 2
    assert (passes[0] != passes[1]).mean() > 0.8


def test_epochs_are_drawn_anew():
    stream = curriculum(config=CurriculumConfig(warmup_steps=100))
    first = rows_of(stream)
    np.testing.assert_array_equal(rows_of(stream), first)
    stream.set_epoch(1)
    second = rows_of(stream)
    assert (first[:1000] != second[:1000]).mean() > 0.9


def test_the_seed_decides():
    whole = rows_of(curriculum(seed=1))
    np.testing.assert_array_equal(rows_of(curriculum(seed=1)), whole)
    np.testing.assert_array_equal(rows_of(curriculum(config=CurriculumConfig(seed=1), seed=5)), whole)
    assert rows_of(curriculum(seed=2))[:1000].tolist() != whole[:1000].tolist()
    assert rows_of(curriculum(seed=-1))[:100].tolist() != whole[:100].tolist()


def test_the_global_generators_are_left_alone():
    np.random.seed(0)  # noqa: NPY002 - the global generator is meant
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    rows_of(curriculum().take(100))
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


# --- readers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shards", [1, 3, 4, 12])
@pytest.mark.parametrize(("world", "workers"), [(1, 1), (1, 2), (2, 1), (2, 2), (3, 2)])
@pytest.mark.parametrize("when", ["before", "after", "shard"])
def test_readers_share_out_a_pass_and_follow_one_schedule(shards, world, workers, when):
    """In this process, as ``datasets`` divides a stream for nodes and workers."""
    config = KINDS_CONFIG
    drawn = []
    for rank in range(world):
        if when == "before":
            stream = curriculum(split_dataset_by_node(stream_of(DIFFICULTY[:FEW], shards), rank, world), config)
        elif when == "after":
            stream = split_dataset_by_node(curriculum(stream_of(DIFFICULTY[:FEW], shards), config), rank, world)
        else:
            stream = curriculum(stream_of(DIFFICULTY[:FEW], shards), config).shard(world, rank)
        reader = stream._prepare_ex_iterable_for_iteration()
        for worker in range(workers):
            share = reader.shard_data_sources(workers, worker, contiguous=False) if workers > 1 else reader
            drawn.append(np.array([row["row"] for _, row in share]))
    share = BATCH // (world * workers)  # rows of a step that each reader gives, where that is whole
    if BATCH % (world * workers) == 0:
        steps = np.concatenate([rows[: 120 * share].reshape(120, share) for rows in drawn], axis=1)
        means, errors = by_step(steps.ravel(), steps=15)
        windows = expected_difficulty(range(120), config).reshape(8, 15).mean(axis=1)
        assert (np.abs(means - windows) < 0.01 + 4 * errors).all()
    owners = Counter(row for rows in drawn for row in np.unique(rows).tolist())
    assert set(owners.values()) == {1}  # no row is read by two
    late = [rows[90 * BATCH // (world * workers) + 10 :] for rows in drawn]  # the last block gave a few too many
    assert all(len(np.unique(rows)) == len(rows) for rows in late)
    assert len(owners) > 0.6 * FEW


@pytest.mark.parametrize("workers", [2, 3])
def test_the_workers_of_a_loader(workers):
    config = CurriculumConfig(warmup_steps=300)
    loader = DataLoader(curriculum(config=config), batch_size=BATCH, num_workers=workers)
    rows = np.concatenate([batch["row"].numpy() for batch in loader])
    planned = expected_difficulty(range(500), config)
    means, errors = by_step(rows)
    assert (np.abs(means[:25] - planned.reshape(25, 20).mean(axis=1)) < 0.02 + 4.5 * errors[:25]).all()


def test_readers_that_share_shards_are_told(caplog):
    for shards, readers in ((3, 2), (1, 2), (2, 3)):
        next(iter(split_dataset_by_node(curriculum(stream_of(shards=shards)), 0, readers)))
        assert f"cannot be shared out evenly to {readers} readers" in caplog.text
        caplog.clear()
    next(iter(split_dataset_by_node(curriculum(stream_of(shards=4)), 0, 2)))
    assert not caplog.records


# --- what is wrong with it ----------------------------------------------------------------------------------------


def test_a_dataset_is_not_a_stream():
    with pytest.raises(TypeError, match=r"Expected a datasets\.IterableDataset, got Dataset\..*CurriculumSampler"):
        curriculum(Dataset.from_dict({"difficulty": [0.5]}))


def test_a_missing_column_is_named_at_once():
    with pytest.raises(ValueError, match=r"'difficulty' is not in the dataset .*\['row'\]"):
        curriculum(stream_of().remove_columns("difficulty"), quantiles=None)
    unknown = stream_of().map(lambda row: {"other": 1}, remove_columns="difficulty")
    with pytest.raises(ValueError, match=r"no column 'difficulty'.*stream\.map\(scorer"):
        curriculum(unknown, quantiles=None)


def test_a_column_of_words_is_refused():
    words = Dataset.from_dict({"difficulty": ["easy"] * 10}).to_iterable_dataset()
    with pytest.raises(ValueError, match="holds string, not numbers"):
        curriculum(words)
    unknown = words.map(lambda row: row)
    with pytest.raises(ValueError, match="does not hold one number a row"):
        next(iter(curriculum(unknown)))


@pytest.mark.parametrize("value", [-0.5, math.nan, math.inf])
@pytest.mark.parametrize("mapped", [False, True])
def test_a_difficulty_that_cannot_rank_is_named_with_its_row(value, mapped):
    difficulty = DIFFICULTY.astype(float)
    difficulty[7777] = value
    stream = stream_of(difficulty)
    with pytest.raises(ValueError, match=rf"'difficulty' is {value} in row 7777 of the stream"):
        rows_of(curriculum(stream.map(lambda row: row) if mapped else stream))


@pytest.mark.parametrize("quantiles", [None, QUANTILES])
def test_nulls_only_are_refused(quantiles):
    features = Features({"row": Value("int64"), "difficulty": Value("float32")})
    nulls = Dataset.from_dict({"row": range(900), "difficulty": [None] * 900}, features=features).to_iterable_dataset()
    with pytest.raises(ValueError, match=r"null in (the first 900 rows|all 900 rows)"):
        rows_of(curriculum(nulls, quantiles=quantiles))
    with pytest.raises(ValueError, match=r"null in (the first \d+ rows|all \d+ rows)"):
        rows_of(curriculum(nulls.repeat(None), quantiles=quantiles))


def test_a_stream_without_rows_is_refused():
    empty = stream_of(DIFFICULTY[:10], 1).filter(lambda row: False)
    with pytest.raises(ValueError, match="The stream has no rows"):
        rows_of(curriculum(empty))
    with pytest.raises(ValueError, match="The stream has no rows"):
        curriculum(empty, quantiles=None)


def test_a_block_too_large_for_the_warmup_is_refused_and_the_largest_named():
    config = CurriculumConfig(warmup_steps=100)
    with pytest.raises(ValueError, match=r"block_size=400 is too large: 1 readers .* largest that fits is 320"):
        curriculum(config=config, block_size=400)
    rows_of(curriculum(config=config, block_size=320).take(10))
    halves = split_dataset_by_node(curriculum(config=config, block_size=320), 0, 2)
    with pytest.raises(ValueError, match=r"block_size=320 is too large: 2 readers .* largest that fits is 160"):
        next(iter(halves))


@pytest.mark.parametrize("option", ["total_batch_size", "block_size"])
def test_counts_must_be_positive(option):
    with pytest.raises(ValueError, match=rf"{option} must be at least 1, got 0"):
        curriculum(**{option: 0})


def test_a_share_of_the_training_needs_its_length():
    with pytest.raises(ValueError, match="pass total_steps"):
        curriculum(total_steps=None)


@pytest.mark.parametrize("quantiles", [[1, 0], [0.5], [0, math.nan], [[0, 1]], "abc", {"0": 1}, [None, 1]])
def test_quantiles_must_ascend(quantiles):
    message = "quantiles must be at least two finite numbers in ascending order"
    with pytest.raises(ValueError, match=message):
        curriculum(quantiles=quantiles)


@pytest.mark.parametrize("kept", ['"abc"', "[1, 0]", "[0.5]", "7", "[0, null]", "[-1, 0]", '[0, "inf"]', "[[0]]"])
def test_quantiles_of_another_tool_are_left_out(kept, caplog):
    column = Value("float32", id=f'{{"quantiles": {kept}}}')
    curriculum(stream_of().cast_column("difficulty", column), quantiles=None)
    assert "the first 8192 rows do" in caplog.text


def test_a_stream_that_ends_in_the_warmup_is_told(caplog):
    rows_of(curriculum(config=CurriculumConfig(warmup_steps=2 * STEPS)))
    assert "The stream ended after 24000 rows" in caplog.text and "1500 steps of 32 rows" in caplog.text
    caplog.clear()
    rows_of(curriculum(config=CurriculumConfig(warmup_steps=STEPS)))  # it ends there, but for chance
    rows_of(curriculum(stream_of().repeat(2), CurriculumConfig(warmup_steps=2 * STEPS)))  # as asked for
    assert not caplog.records


def test_the_first_rows_stand_for_all_where_nothing_else_does(caplog):
    with caplog.at_level(logging.WARNING):
        rows = rows_of(curriculum(config=CONSTANT, quantiles=None))
    assert "the first 8192 rows do" in caplog.text
    assert abs(len(np.unique(rows)) / N - 0.3) < 0.02
