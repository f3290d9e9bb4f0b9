"""A trainer takes a stream as it takes a dataset: logs, resumes, refusals, other trainers."""

import json
import logging
import math
import re
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, IterableDataset, List, Value, load_dataset
from datasets.distributed import split_dataset_by_node
from transformers import Trainer
from worker_training import NotingModel, arguments, end, logged, scored, stream, train

from hf_curriculum import (
    CurriculumConfig,
    CurriculumTrainer,
    DifficultyScorer,
    Embedder,
    add_difficulty,
    curriculum_stream,
    provenance,
)
from hf_curriculum.data import difficulty_quantiles, score_features

pytestmark = pytest.mark.costly

ROWS, STEPS, STOP = 600, 120, 47
DIFFICULTY = np.array(scored(ROWS)["difficulty"][:])
OPTIONS = {"rows": ROWS, "shards": 4, "max_steps": STEPS}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole")
    trainer = train(path, **OPTIONS)
    return path, trainer


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    path = tmp_path_factory.mktemp("cut")
    train(path, stop=STOP, **OPTIONS)
    return path / f"checkpoint-{STOP}"


def rows_of(path):
    return np.array([rows for _, rows in sorted(stream(path).items())])


def test_two_lines_as_for_a_dataset(tmp_path):
    model = NotingModel(tmp_path / "rows-0.txt")
    trainer = CurriculumTrainer(
        model=model, args=arguments(tmp_path, max_steps=STEPS), train_dataset=scored(ROWS).to_iterable_dataset(4)
    )
    trainer.train()
    lines = (tmp_path / "rows-0.txt").read_text().splitlines()
    rows = np.array([list(map(int, line.split()[1:])) for line in lines])
    assert rows.shape == (STEPS, 8)
    means = DIFFICULTY[rows].mean(axis=1)
    assert means[:20].mean() < 0.2 and abs(means[60:].mean() - DIFFICULTY.mean()) < 0.05
    assert isinstance(trainer.train_dataset, IterableDataset) and "curriculum" not in repr(trainer.train_dataset)


def test_logs_say_what_was_trained_on(whole):
    rows, logs = rows_of(whole[0]), logged(end(whole[0])["logs"])
    assert list(logs) == list(range(5, STEPS + 1, 5))
    for step, log in logs.items():
        assert log["curriculum/mean_difficulty"] == pytest.approx(DIFFICULTY[rows[step - 5 : step]].mean(), abs=1e-6)
        assert ("curriculum/temperature" in log) == (step <= STEPS / 2)
        planned = CurriculumConfig().initial_fraction if step == 5 else None
        assert planned is None or log["curriculum/effective_fraction"] == pytest.approx(planned, abs=0.01)
    last = logs[STEPS]
    assert last["curriculum/rows_read"] == pytest.approx(STEPS * 8, rel=0.2)
    assert last["curriculum/rows_per_row_read"] == pytest.approx(STEPS * 8 / last["curriculum/rows_read"], rel=0.01)
    assert last["curriculum/distinct_fraction"] == pytest.approx(
        last["curriculum/distinct_fraction_planned"], abs=0.06
    )


def test_passes_follow_each_other_and_each_is_complete(whole):
    after = rows_of(whole[0])[61:].ravel()
    counts = np.bincount(after, minlength=ROWS)
    assert counts.max() <= 2
    second_begins = next(i for i in range(len(after)) if after[i] in after[:i])
    assert len(set(after[:second_begins])) == second_begins


@pytest.mark.parametrize("ignore", [False, True])
def test_a_resumed_run_goes_on_exactly(tmp_path, whole, cut, ignore):
    trainer = train(tmp_path, resume=str(cut), ignore_data_skip=ignore, **OPTIONS)
    assert stream(tmp_path) == {step: rows for step, rows in stream(whole[0]).items() if step >= STOP}
    assert logged(end(tmp_path)["logs"])[STEPS] == logged(end(whole[0])["logs"])[STEPS]
    assert trainer.args.ignore_data_skip == ignore
    assert trainer.state.epoch == 1 and trainer.state.log_history[-2]["epoch"] == 1


def test_a_checkpoint_that_does_not_say_where_a_pass_began_resumes(tmp_path):
    options = OPTIONS | {"dataloader_num_workers": 2}
    train(tmp_path / "whole", **options | {"stop": 47})
    train(tmp_path / "older", stop=46, **options)
    file = tmp_path / "older" / "checkpoint-46" / "trainer_state.json"
    own = file.with_name("curriculum.json")
    curriculum = json.loads(own.read_text())
    own.unlink()  # it was among the states of callbacks then
    file.with_name("checksums.json").unlink()  # which there were none of
    for reader in curriculum["readers"].values():
        del reader["state"]["began"]
    state = json.loads(file.read_text())
    state["stateful_callbacks"]["curriculum"] = curriculum
    file.write_text(json.dumps(state))
    train(tmp_path / "on", resume=str(file.parent), stop=47, **options)  # the second worker gives no row
    assert stream(tmp_path / "on") == {46: stream(tmp_path / "whole")[46]}


def test_a_run_that_is_resumed_twice_with_workers(tmp_path):
    options = OPTIONS | {"dataloader_num_workers": 2, "dataloader_persistent_workers": True}
    train(tmp_path / "whole", **options)
    train(tmp_path / "one", stop=33, **options)
    train(tmp_path / "two", stop=80, resume=str(tmp_path / "one" / "checkpoint-33"), **options)
    train(tmp_path / "three", resume=str(tmp_path / "two" / "checkpoint-80"), **options)
    parts = stream(tmp_path / "one") | stream(tmp_path / "two") | stream(tmp_path / "three")
    assert parts == stream(tmp_path / "whole")


def test_a_stream_with_a_shuffle_buffer_is_resumed_exactly(tmp_path):
    shuffled = [scored(ROWS).to_iterable_dataset(4).shuffle(seed=1, buffer_size=100) for _ in range(3)]
    train(tmp_path / "whole", dataset=shuffled[0], max_steps=STEPS)
    train(tmp_path / "cut", dataset=shuffled[1], max_steps=STEPS, stop=100)
    train(tmp_path / "on", dataset=shuffled[2], max_steps=STEPS, resume=str(tmp_path / "cut" / "checkpoint-100"))
    assert stream(tmp_path / "cut") | stream(tmp_path / "on") == stream(tmp_path / "whole")


def test_an_epoch_that_is_ended_early_goes_on(tmp_path, whole):
    train(tmp_path, end_epoch=STOP, **OPTIONS)
    assert stream(tmp_path) == stream(whole[0])


def test_a_resume_reads_no_row_of_the_steps_before_its_shard(tmp_path):
    read = []

    def rows(shards):
        for shard in shards:
            for row in range(4000 * shard, 4000 * (shard + 1)):
                read.append(row)
                yield {"row": row, "difficulty": float(DIFFICULTY[row % ROWS])}

    def generated():
        return IterableDataset.from_generator(rows, gen_kwargs={"shards": [0, 1, 2, 3]})

    options = {"max_steps": 200, "curriculum": {"warmup_steps": 20}, "per_device_train_batch_size": 64}
    train(tmp_path / "cut", dataset=generated(), stop=150, **options)
    read.clear()
    train(tmp_path / "on", dataset=generated(), resume=str(tmp_path / "cut" / "checkpoint-150"), stop=151, **options)
    # The first 8,192 give the quantiles. Step 150 stands in a block that starts after some 8192 + 20 * 64 rows.
    assert read[:8192] == list(range(8192)) and min(read[8192:]) == 8000


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"curriculum": {"initial_fraction": 0.2}}, "initial_fraction was 0.3 and is 0.2"),
        ({"dataloader_num_workers": 2}, "dataloader_num_workers was 1 and is 2"),
        ({"shards": 2}, "shards was 4 and is 2"),
        ({"seed": 8}, "seed was 7 and is 8"),
        ({"per_device_train_batch_size": 4}, "total_batch_size was 8 and is 4"),
        ({"max_steps": 140, "curriculum": {"warmup_steps": 0.6}}, "warmup_steps was 60 and is 84"),
    ],
)
def test_a_resume_under_other_settings_is_refused_and_the_difference_named(tmp_path, cut, changed, named):
    with pytest.raises(ValueError, match=named):
        train(tmp_path, resume=str(cut), **OPTIONS | changed)


def test_an_allowed_change_goes_on_at_the_step_of_the_schedule(tmp_path, cut, caplog):
    train(tmp_path, resume=str(cut), allow_changed_resume=True, **OPTIONS | {"shards": 3})
    rows = rows_of(tmp_path)
    assert len(rows) == STEPS - STOP and "read from its start, by the curriculum of step 47" in caplog.text
    assert 0.25 < DIFFICULTY[rows[:13]].mean() < 0.4


def test_a_plain_run_is_joined(tmp_path, caplog):
    train(tmp_path / "plain", rows=ROWS, stop=STOP, max_steps=STEPS, trainer_class=Trainer)
    train(tmp_path / "on", resume=str(tmp_path / "plain" / f"checkpoint-{STOP}"), **OPTIONS)
    assert list(stream(tmp_path / "on")) == list(range(STOP, STEPS))


# --- what the difficulties are like -------------------------------------------------------------------------------


def test_the_quantiles_of_the_provenance_are_taken(tmp_path, caplog):
    features = score_features({"quantiles": difficulty_quantiles(DIFFICULTY)})
    dataset = scored(ROWS)
    known = dataset.cast_column("difficulty", features["difficulty"]).sort("difficulty")
    trainer = train(tmp_path, dataset=known.to_iterable_dataset(1), max_steps=STEPS)
    assert "first" not in caplog.text
    assert trainer._stream.law.quantiles.tolist() == difficulty_quantiles(DIFFICULTY)


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(3)
    return (rng.normal(size=(20, 8))[rng.integers(0, 20, 3000)] + 0.3 * rng.normal(size=(3000, 8))).astype(np.float32)


def test_the_scorer_and_the_provenance_say_how_difficulties_are_distributed(vectors, tmp_path):
    scorer = DifficultyScorer(n_clusters=10)
    dataset = Dataset.from_dict({"row": range(3000), "embedding": vectors})
    difficulty = np.array(add_difficulty(dataset, scorer=scorer)["difficulty"][:])
    assert scorer.quantiles_ == difficulty_quantiles(difficulty)
    record = provenance(add_difficulty(dataset, scorer=scorer))
    assert record["quantiles"] == scorer.quantiles_ and len(json.dumps(record["quantiles"])) < 4000
    scorer.save_pretrained(tmp_path)
    assert DifficultyScorer.from_pretrained(tmp_path).quantiles_ == scorer.quantiles_


def test_a_stream_that_is_scored_on_the_way(vectors, tmp_path, caplog):
    dataset = Dataset.from_dict({"row": range(3000), "x": vectors})
    scorer = DifficultyScorer(n_clusters=10).fit(vectors)
    embedder = Embedder(lambda rows: np.array(rows), input_column="x")
    stream = dataset.to_iterable_dataset(2).map(embedder, batched=True).map(scorer, batched=True)
    trainer = train(tmp_path, dataset=stream, max_steps=STEPS)
    assert trainer._stream.law.quantiles.tolist() == scorer.quantiles_ and "first" not in caplog.text
    difficulty = scorer.score(vectors).difficulty
    rows = rows_of(tmp_path)
    assert difficulty[rows[:20]].mean() < 0.7 * difficulty.mean()


def test_a_scored_stream_is_written_with_its_provenance(vectors, tmp_path, caplog):
    dataset = Dataset.from_dict({"row": range(3000), "embedding": vectors}).cast(
        Features({"row": Value("int64"), "embedding": List(Value("float32"), length=8)})
    )
    scorer = DifficultyScorer(n_clusters=10).fit(vectors, trained_on={"model_id": "me/encoder"})
    plain = dataset.to_iterable_dataset(2)
    scored_stream = plain.map(scorer, batched=True, features=scorer.features(plain.features))
    scored_stream.to_parquet(str(tmp_path / "scored.parquet"))
    read = load_dataset("parquet", data_files=str(tmp_path / "scored.parquet"), split="train", streaming=True)
    assert provenance(read)["embedding"] == {"model_id": "me/encoder"}
    assert provenance(read) == provenance(scored_stream) == scorer.record({"model_id": "me/encoder"})
    trainer = train(tmp_path / "run", dataset=read, max_steps=20)
    assert trainer._stream.law.quantiles.tolist() == scorer.quantiles_ and "first" not in caplog.text


def test_drifting_difficulties_are_told(tmp_path, caplog):
    difficulty = np.r_[DIFFICULTY, np.full(9000, 0.9, np.float32)]
    dataset = Dataset.from_dict({"row": range(len(difficulty)), "difficulty": difficulty})
    dataset = dataset.cast_column(
        "difficulty", score_features({"quantiles": difficulty_quantiles(DIFFICULTY)})["difficulty"]
    )
    config = CurriculumConfig(warmup_steps=10_000)
    train(tmp_path, dataset=dataset.to_iterable_dataset(1), curriculum=config, max_steps=250)
    assert "rows are trained on for each that is read, where it should be 1" in caplog.text


def test_shards_of_unequal_size_are_told(tmp_path, caplog):
    def generated(shards):
        for shard in shards:
            for row in range(400 if shard else 100):
                yield {"row": row, "difficulty": float(DIFFICULTY[row])}

    def shards(*numbers):
        return IterableDataset.from_generator(generated, gen_kwargs={"shards": list(numbers)})

    options = {"max_steps": 60, "curriculum": {"warmup_steps": 5}, "dataloader_num_workers": 2}
    train(tmp_path / "equal", dataset=shards(1, 2), **options | {"max_steps": 120})
    assert "unequal numbers of rows" not in caplog.text
    train(tmp_path / "unequal", dataset=shards(0, 1), **options)
    assert caplog.text.count("unequal numbers of rows") == 1
    assert re.search(
        r"reader 0 has read its 100 rows 2 times, and reader 1 its 2\d\d or more only 0 times", caplog.text
    )


@pytest.mark.parametrize(("shards", "workers", "told"), [(1, 2, True), (3, 2, True), (2, 2, False), (1, 0, False)])
def test_fewer_shards_than_readers_are_told_and_no_worker_is_idle(tmp_path, caplog, shards, workers, told):
    train(
        tmp_path,
        rows=ROWS,
        shards=shards,
        max_steps=60,
        dataloader_num_workers=workers,
        curriculum={"warmup_steps": 5},
    )
    assert ("cannot be shared out evenly to 2 readers" in caplog.text) == told
    rows = [rows for _, rows in sorted(stream(tmp_path).items())][6:]
    for worker in range(max(1, workers)):  # batches of the workers in turn
        own = np.concatenate(rows[worker :: max(1, workers)])
        assert len(set(own.tolist())) == own.size
    assert len({row for batch in rows for row in batch}) == sum(map(len, rows))


def test_a_stream_that_begins_again_in_the_warmup_is_told(tmp_path, caplog):
    train(tmp_path, rows=200, shards=1, max_steps=60, curriculum={"warmup_steps": 50})
    assert caplog.text.count("The stream ended after") == 1
    assert "after 200 rows of each reader, and begins again" in caplog.text


# --- refusals -----------------------------------------------------------------------------------------------------


def test_a_stream_without_the_column_is_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match="'difficulty' is not in the dataset"):
        train(tmp_path, dataset=scored().remove_columns("difficulty").to_iterable_dataset())


def test_a_stream_needs_max_steps(tmp_path):
    with pytest.raises(ValueError, match="max_steps"):
        train(tmp_path, shards=1, max_steps=-1)


def test_grouping_a_stream_by_length_is_refused(tmp_path):
    with pytest.raises(ValueError, match="length"):
        train(tmp_path, shards=1, group_by_length=True)


def test_a_bad_difficulty_stops_the_training_and_is_named(tmp_path):
    difficulty = np.full(20_000, 0.5)
    difficulty[15_000] = -1
    dataset = Dataset.from_dict({"row": range(20_000), "difficulty": difficulty}).to_iterable_dataset()
    with pytest.raises(ValueError, match=r"'difficulty' is -1\.0 in row 15000 of the stream"):
        train(tmp_path, dataset=dataset, max_steps=3000)


def test_part_of_a_stream_is_trained_on_by_one_process(tmp_path):
    part = split_dataset_by_node(scored(ROWS).to_iterable_dataset(4), 1, 2)
    train(tmp_path, dataset=part, max_steps=STEPS)
    rows = rows_of(tmp_path)
    assert set(rows.ravel()) <= set(range(150, 300)) | set(range(450, 600))
    assert DIFFICULTY[rows[:20]].mean() < 0.2


def test_a_stream_of_torch_is_refused(tmp_path):
    class Rows(torch.utils.data.IterableDataset):
        def __iter__(self):
            yield {"row": 1, "difficulty": 0.5}

    with pytest.raises(TypeError, match="got Rows"):
        train(tmp_path, dataset=Rows())


def test_the_journal_holds_no_more_than_what_is_ahead(tmp_path):
    trainer = train(tmp_path, **OPTIONS | {"logging_steps": 1})
    folder = trainer._stream._journal._folder
    assert len(list(folder.iterdir())) < 8
    assert all(not math.isnan(value) for log in logged(trainer.state.log_history).values() for value in log.values())
    assert json.loads((folder / "start").read_text())["turn"] == 0


def test_it_is_quiet(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="hf_curriculum"):
        features = score_features({"quantiles": difficulty_quantiles(DIFFICULTY)})
        dataset = scored(ROWS).cast_column("difficulty", features["difficulty"]).to_iterable_dataset(4)
        train(tmp_path, dataset=dataset, max_steps=STEPS)
    assert not [record for record in caplog.records if record.name.startswith("hf_curriculum")]


class StatefulLoaders(CurriculumTrainer):
    """A trainer whose accelerator makes loaders with a state."""

    def create_accelerator_and_postprocess(self):
        super().create_accelerator_and_postprocess()
        self.accelerator.dataloader_config.use_stateful_dataloader = True


@pytest.mark.skipif(find_spec("torchdata") is None, reason="torchdata is not installed")
def test_a_stateful_loader_of_accelerate(tmp_path, whole, cut):
    trainer = train(tmp_path, resume=str(cut), trainer_class=StatefulLoaders, **OPTIONS)
    assert type(trainer.callback_handler.train_dataloader.base_dataloader).__name__ == "StatefulDataLoader"
    assert stream(tmp_path) == {step: rows for step, rows in stream(whole[0]).items() if step >= STOP}


@pytest.mark.skipif(find_spec("torchdata") is None, reason="torchdata is not installed")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_stateful_loader_in_a_loop(workers):
    from torchdata.stateful_dataloader import StatefulDataLoader

    def loader():
        drawn = curriculum_stream(scored(ROWS).to_iterable_dataset(4), total_batch_size=8, total_steps=75)
        return StatefulDataLoader(drawn, batch_size=8, num_workers=workers)

    batches = [batch["row"].tolist() for batch in loader()]
    begun = loader()
    rows = iter(begun)
    head = [next(rows)["row"].tolist() for _ in range(23)]
    resumed = loader()
    resumed.load_state_dict(begun.state_dict())
    assert head + [batch["row"].tolist() for batch in resumed] == batches
