"""Packs of rows of similar difficulty, by TRL's own packing."""

import inspect

import numpy as np
import pytest
import torch
from datasets import Dataset
from needs import needs
from tiny import ROWS, STEPS, VOCABULARY, flat, llama_config, options, scored, watch, word_tokenizer
from transformers import LlamaForCausalLM

from hf_curriculum import CurriculumConfig, CurriculumMixin, CurriculumSampler
from hf_curriculum.training.packing import count_packs, pack_by_difficulty

trl = needs("trl")
pytestmark = pytest.mark.costly
LENGTH = 512
END = VOCABULARY.index("<eos>")
STRATEGIES = [
    strategy for strategy in ("bfd", "bfd_split", "wrapped") if strategy in inspect.getsource(trl.pack_dataset)
]


@pytest.fixture(params=[1500, 4000])
def rows(request) -> Dataset:
    """Rows whose tokens are their number; some are longer than a pack, and one is empty."""
    rng = np.random.default_rng(0)
    lengths = rng.lognormal(4.5, 0.8, request.param).astype(int) + 1
    lengths[3] = 0 if "bfd_split" in STRATEGIES else 1  # TRL of 2025 stops at an empty row
    ids = [[row] * length for row, length in enumerate(lengths.tolist())]
    difficulty = rng.permutation(request.param).astype(np.float32) / request.param
    return Dataset.from_dict({"input_ids": ids, "labels": ids, "text": ["x"] * len(ids), "difficulty": difficulty})


def tokens(packs) -> int:
    return sum(map(len, packs["input_ids"]))


def padding(packs) -> float:
    return 1 - tokens(packs) / (len(packs) * LENGTH)


def spread(packs, difficulty) -> float:
    """Standard deviation of the tokens' difficulty around the mean of their pack."""
    squares = [np.square(difficulty[ids] - difficulty[ids].mean()).sum() for ids in map(np.array, packs["input_ids"])]
    return float(np.sqrt(sum(squares) / tokens(packs)))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_packs_hold_rows_of_one_difficulty_and_as_many_tokens_as_those_of_trl(rows, strategy):
    packs = pack_by_difficulty(rows, "difficulty", LENGTH, strategy)
    theirs = trl.pack_dataset(rows.select_columns(["input_ids", "labels"]), LENGTH, strategy)
    assert set(packs.column_names) == {*theirs.column_names, "difficulty"}
    assert packs.features["input_ids"] == theirs.features["input_ids"]

    difficulty = np.asarray(rows["difficulty"][:], np.float64)
    for ids, labels, mean in zip(packs["input_ids"], packs["labels"], packs["difficulty"], strict=True):
        assert ids == labels and len(ids) <= LENGTH
        assert mean == pytest.approx(difficulty[ids].mean(), rel=1e-12)

    # No token more is lost; TRL 1.0 to 1.13 wraps the first 1,000 rows once more in the place of the next ones.
    whole = rows if strategy == "wrapped" else theirs
    assert sorted(flat(packs["input_ids"])) == sorted(flat(whole["input_ids"]))
    assert padding(packs) <= padding(theirs) + 0.01
    window = 1000 if strategy == "wrapped" else None
    assert spread(packs, difficulty) < (0.01 if window else 0.4 * spread(theirs, difficulty))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_where_difficulty_is_the_length_rows_still_fill_their_packs(strategy):
    """Rows of one length do not fit together: 300 tokens leave 212 empty."""
    lengths = np.random.default_rng(1).integers(1, LENGTH, 3000)
    rows = Dataset.from_dict({"input_ids": [[1] * int(n) for n in lengths], "difficulty": lengths.astype(np.float32)})
    packs = pack_by_difficulty(rows, "difficulty", LENGTH, strategy)
    theirs = trl.pack_dataset(rows.select_columns(["input_ids"]), LENGTH, strategy)
    assert tokens(packs) == tokens(theirs)
    assert padding(packs) <= padding(theirs) + 0.01


@pytest.mark.parametrize("seed", range(5))
def test_packs_are_counted_as_trl_makes_them(seed):
    lengths = np.random.default_rng(seed).integers(1, LENGTH + 1, 700)
    rows = Dataset.from_dict({"input_ids": [[1] * int(n) for n in lengths]})
    assert count_packs(lengths, LENGTH) == len(trl.pack_dataset(rows, LENGTH, "bfd"))


def options_of_packs(path, **changed):
    return options(path, bf16=False, **{"packing": True, "max_length": 12} | changed)


def sft(path, dataset, eval_dataset=None, order="easy_first", **changed):
    class MySFTTrainer(CurriculumMixin, trl.SFTTrainer):
        pass

    torch.manual_seed(0)
    return MySFTTrainer(
        model=LlamaForCausalLM(llama_config()),
        args=trl.SFTConfig(**options_of_packs(path, **changed)),
        train_dataset=dataset,
        eval_dataset=eval_dataset,
        processing_class=word_tokenizer(),
        curriculum=CurriculumConfig(warmup_steps=30, order=order),
    )


def texts() -> Dataset:
    """Each row is its number, once or several times."""
    return scored(text=[" ".join([str(row)] * (row % 5 + 1)) for row in range(ROWS)])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_sft_trainer_draws_packs_by_the_curriculum_and_resumes(tmp_path, strategy):
    dataset, seen = texts(), []
    for stop, resume in ((20, False), (STEPS, True)):
        changed = {"max_steps": stop, "save_strategy": "steps", "save_steps": 20}
        trainer = sft(tmp_path, dataset, packing_strategy=strategy, per_device_train_batch_size=2, **changed)
        batches = watch(trainer.model)
        trainer.train(resume_from_checkpoint=resume)
        seen += [batch[batch != 0].tolist() for batch in batches]
    packs = trainer.train_dataset
    difficulty = np.asarray(packs["difficulty"][:])
    sampler = CurriculumSampler(difficulty, CurriculumConfig(warmup_steps=30), total_batch_size=2, seed=7)
    drawn = [sampler.indices(step).tolist() for step in range(STEPS)]
    assert seen == [flat(packs[pack]["input_ids"] for pack in batch) for batch in drawn]

    of_rows = np.asarray(dataset["difficulty"][:])
    for ids, mean in zip(packs["input_ids"], difficulty, strict=True):
        rows = [int(VOCABULARY[token]) if token != END else None for token in ids]
        if rows[0] is not None:  # by "wrapped", the end of a row may be in the next pack
            rows = [row if row is not None else rows[place - 1] for place, row in enumerate(rows)]
            assert mean == pytest.approx(of_rows[rows].mean(), rel=1e-6)
    last = [log for log in trainer.state.log_history if "loss" in log][-1]
    assert last["curriculum/distinct_fraction"] == len(set(flat(drawn))) / len(packs)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_without_difficulties_packs_are_those_of_trl_and_drawn_from_a_random_pool(tmp_path, strategy):
    options = {"packing_strategy": strategy, "per_device_train_batch_size": 2}
    trainer = sft(tmp_path / "ours", texts().remove_columns("difficulty"), order="random", **options)
    packs, batches = trainer.train_dataset, watch(trainer.model)
    theirs = trl.SFTTrainer(
        model=LlamaForCausalLM(llama_config()),
        args=trl.SFTConfig(**options_of_packs(tmp_path / "theirs", **options)),
        train_dataset=texts().remove_columns("difficulty"),
        processing_class=word_tokenizer(),
    ).train_dataset
    assert packs["input_ids"][:] == theirs["input_ids"][:]
    trainer.train()
    config = CurriculumConfig(order="random", warmup_steps=30)
    sampler = CurriculumSampler(None, config, rows=len(packs), total_batch_size=2, seed=7)
    seen = [batch[batch != 0].tolist() for batch in batches]
    assert seen == [flat(packs[int(pack)]["input_ids"] for pack in sampler.indices(step)) for step in range(STEPS)]


def test_evaluation_data_is_packed_by_trl(tmp_path):
    unscored = texts().remove_columns("difficulty")
    trainer = sft(tmp_path, texts(), eval_dataset=unscored, max_steps=2)
    assert set(trainer.eval_dataset.column_names) <= {"input_ids", "labels", "seq_lengths"}
    assert len(trainer.eval_dataset) < ROWS
    assert trainer.evaluate()["eval_loss"] > 0


def test_rows_without_a_difficulty_are_not_packed(tmp_path):
    values = [None if row in (5, 70) else row / ROWS for row in range(ROWS)]
    dataset = texts().remove_columns("difficulty").add_column("difficulty", values)
    with pytest.raises(ValueError, match=r"2 of 100 rows have no difficulty.*dataset\.filter.*set packing=False"):
        sft(tmp_path, dataset)


def test_rows_without_the_column_are_not_packed(tmp_path):
    with pytest.raises(ValueError, match="difficulty"):
        sft(tmp_path, texts().remove_columns("difficulty"))


def test_a_stream_is_not_packed(tmp_path):
    with pytest.raises(TypeError, match=r"stream's rows have no difficulty: set packing=False"):
        sft(tmp_path, texts().to_iterable_dataset())


def test_packs_need_a_length(tmp_path):
    with pytest.raises(ValueError, match=r"packing=True needs max_length"):
        sft(tmp_path, texts(), max_length=None)


def test_a_wrong_strategy_is_told_by_trl():
    rows = Dataset.from_dict({"input_ids": [[1], [2]], "difficulty": [0.0, 1.0]})
    with pytest.raises(ValueError, match=r"[Ii]nvalid packing strategy"):
        pack_by_difficulty(rows, "difficulty", 4, "tight")
