"""What users of ``Trainer`` rely on holds with the curriculum in its place."""

import gc
import weakref

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import IterableDataset, Subset
from transformers import DefaultFlowCallback, Trainer
from worker_training import ROWS, SEED, arguments, drawn, reference, scored

from hf_curriculum import CurriculumConfig, CurriculumSampler, CurriculumTrainer, LearnedDifficulty


class Noting(torch.nn.Module):
    """Regression on one weight, which keeps the rows of each batch."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.batches = []

    def forward(self, row):
        if self.training:
            self.batches.append(row.tolist())
        return {"loss": ((self.weight - row / ROWS) ** 2).mean()}


def rows_of(trainer):
    return dict(enumerate(trainer.model.batches))


class Rows(TorchDataset):
    """Rows that know their number."""

    def __len__(self):
        return ROWS

    def __getitem__(self, index):
        return {"row": index}


DIFFICULTY = np.asarray(scored()["difficulty"][:], np.float32)


def trained(path, trainer_class=CurriculumTrainer, dataset=None, resume=None, **options):
    own = {name: options.pop(name) for name in ("difficulty", "curriculum", "callbacks") if name in options}
    trainer = trainer_class(
        model=Noting(),
        args=arguments(path, **options),
        train_dataset=scored() if dataset is None else dataset,
        **own,
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


@pytest.mark.parametrize("stream", [False, True], ids=["dataset", "stream"])
@pytest.mark.parametrize("workers", [0, 2])
def test_the_model_is_freed_with_the_last_reference_to_the_trainer(tmp_path, stream, workers):
    gc.collect()
    gc.disable()
    try:
        dataset = scored().to_iterable_dataset(2) if stream else scored()
        loading = {"dataloader_num_workers": workers, "dataloader_persistent_workers": workers > 0}
        trainer = trained(tmp_path, dataset=dataset, max_steps=6, **loading)
        model = weakref.ref(trainer.model)
        del trainer
        assert model() is None
    finally:
        gc.enable()


def test_callbacks_are_those_of_a_plain_trainer(tmp_path):
    kinds = [
        [type(callback) for callback in trained(tmp_path, cls, max_steps=1).callback_handler.callbacks]
        for cls in (CurriculumTrainer, Trainer)
    ]
    assert kinds[0] == kinds[1]


def test_a_user_who_replaces_the_callbacks_keeps_the_check_of_a_resume(tmp_path):
    trained(tmp_path, max_steps=4, save_strategy="steps", save_steps=2)
    trainer = CurriculumTrainer(model=Noting(), args=arguments(tmp_path, max_steps=4, seed=3), train_dataset=scored())
    trainer.callback_handler.callbacks = [DefaultFlowCallback()]
    with pytest.raises(ValueError, match="seed was 7 and is 3"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))


class TwoLoaders(CurriculumTrainer):
    def get_train_dataloader(self):
        return Both([super().get_train_dataloader(), super().get_train_dataloader()])


class Both:
    def __init__(self, loaders):
        self.loaders = loaders

    def __len__(self):
        return sum(map(len, self.loaders))

    def __iter__(self):
        for loader in self.loaders:
            yield from loader


def test_two_loaders_make_epochs_of_twice_the_steps_and_the_warmup_knows(tmp_path):
    trainer = trained(tmp_path, TwoLoaders, max_steps=-1, num_train_epochs=2)
    assert trainer.state.global_step == 52
    assert rows_of(trainer) == drawn(reference(8, max_steps=52), range(52))
    assert trainer.curriculum_sampler.warmup_steps == 26


def test_columns_that_the_model_does_not_take_are_explained(tmp_path):
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'difficulty'.*remove_unused_columns=True"):
        trained(tmp_path, dataset=scored().remove_columns("length"), remove_unused_columns=False)


@pytest.mark.parametrize("kind", ["dataset", "stream", "torch"])
def test_data_may_be_set_after_the_trainer_is_made(tmp_path, kind):
    own = {"difficulty": DIFFICULTY} if kind == "torch" else {}
    trainer = CurriculumTrainer(model=Noting(), args=arguments(tmp_path), **own)
    with pytest.raises(ValueError, match="requires a train_dataset"):
        trainer.train()
    trainer.train_dataset = {"dataset": scored(), "stream": scored().to_iterable_dataset(2), "torch": Rows()}[kind]
    trainer.train()
    assert len(trainer.model.batches) == 40
    if kind != "stream":
        assert rows_of(trainer) == drawn(reference(8), range(40))


def test_data_that_is_set_later_is_checked_too(tmp_path):
    trainer = CurriculumTrainer(model=Noting(), args=arguments(tmp_path))
    trainer.train_dataset = Rows()
    with pytest.raises(TypeError, match="A Rows has no difficulty column: pass difficulty="):
        trainer.train()


# --- difficulties beside the data -----------------------------------------------------------------------------------


def masked():
    return np.ma.masked_array(DIFFICULTY, np.arange(ROWS) < 3)


DATA = {
    "torch": Rows(),
    "list": [{"row": row} for row in range(ROWS)],
    "subset": Subset(scored(), range(ROWS)),
    "dataset": scored().remove_columns("difficulty"),
}


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("values", [DIFFICULTY, DIFFICULTY.tolist(), torch.tensor(DIFFICULTY)], ids=type)
def test_any_data_with_difficulties_beside_it_is_drawn_by_the_curriculum(tmp_path, kind, values):
    trainer = trained(tmp_path, dataset=DATA[kind], difficulty=values)
    assert rows_of(trainer) == drawn(reference(8), range(40))
    assert trainer.state.log_history[0]["curriculum/mean_difficulty"] > 0


@pytest.mark.parametrize("kind", ["torch", "dataset"])
def test_a_run_on_difficulties_beside_the_data_resumes(tmp_path, kind):
    options = {"dataset": DATA[kind], "difficulty": DIFFICULTY, "save_strategy": "steps", "save_steps": 17}
    trained(tmp_path, **options)
    checkpoint = str(tmp_path / "checkpoint-17")
    resumed = trained(tmp_path, resume=checkpoint, **options)
    assert resumed.model.batches == list(drawn(reference(8), range(17, 40)).values())
    with pytest.raises(ValueError, match="difficulties was"):
        trained(tmp_path, resume=checkpoint, **options | {"difficulty": DIFFICULTY[::-1]})


@pytest.mark.parametrize("kind", ["torch", "dataset"])
def test_masked_rows_wait_until_the_warmup_is_over(tmp_path, kind):
    trainer = trained(tmp_path, dataset=DATA[kind], difficulty=masked())
    warm = {row for batch in trainer.model.batches[:20] for row in batch}
    assert warm.isdisjoint({0, 1, 2}) and {0, 1, 2} <= {r for batch in trainer.model.batches for r in batch}


def test_the_model_does_not_see_difficulties_beside_the_data(tmp_path):
    dataset = scored().select_columns("row")
    assert len(trained(tmp_path, dataset=dataset, difficulty=DIFFICULTY, remove_unused_columns=False).model.batches)


@pytest.mark.parametrize(
    ("dataset", "difficulty", "error", "message"),
    [
        (Rows(), DIFFICULTY[:-1], ValueError, "has 99 numbers, and the training data 100 rows"),
        (DATA["dataset"], DIFFICULTY[:-1], ValueError, "has 99 numbers, and the training data 100 rows"),
        (scored(), DIFFICULTY, ValueError, r"has a column 'difficulty', and difficulty= is given too.*remove_columns"),
        (scored().to_iterable_dataset(), DIFFICULTY, TypeError, "a stream's rows have no numbers"),
        (Rows(), None, TypeError, "A Rows has no difficulty column: pass difficulty="),
        (DATA["list"], None, TypeError, "A list has no difficulty column: pass difficulty="),
        (Rows(), np.full(ROWS, np.nan), ValueError, "difficulty of row 0 is nan"),
        (Rows(), -DIFFICULTY, ValueError, "difficulty of row 0 is -.*must be >= 0"),
        (Rows(), np.zeros((ROWS, 2)), ValueError, r"one number a row, shape \(N,\), got shape"),
        (Rows(), np.ma.masked_all(ROWS), ValueError, "masked in all 100 rows"),
        (Rows(), "difficulty", TypeError, "must be one number a row, got 'difficulty'"),
        ([], DIFFICULTY, ValueError, "The list has no rows"),
        ({"row": [1]}, DIFFICULTY, TypeError, "got dict"),
    ],
)
def test_difficulties_that_do_not_fit_are_refused_as_the_trainer_is_made(
    tmp_path, dataset, difficulty, error, message
):
    with pytest.raises(error, match=message):
        CurriculumTrainer(model=Noting(), args=arguments(tmp_path), train_dataset=dataset, difficulty=difficulty)


# --- without difficulties -------------------------------------------------------------------------------------------

RANDOM = CurriculumConfig(order="random")


@pytest.mark.parametrize("kind", DATA)
def test_any_data_is_drawn_from_a_random_pool_without_difficulties(tmp_path, kind):
    trainer = trained(tmp_path, dataset=DATA[kind], curriculum=RANDOM)
    sampler = CurriculumSampler(None, RANDOM, rows=ROWS, total_batch_size=8, total_steps=40, seed=SEED)
    assert rows_of(trainer) == drawn(sampler, range(40))
    names = {name for log in trainer.state.log_history for name in log}
    assert "curriculum/distinct_fraction" in names and "curriculum/mean_difficulty" not in names


class SizedStream(IterableDataset):
    """Of torch, with a length."""

    def __len__(self):
        return ROWS

    def __iter__(self):
        return iter(DATA["list"])


@pytest.mark.parametrize(
    ("dataset", "own", "error", "message"),
    [
        (Rows(), {"difficulty": DIFFICULTY}, ValueError, "looks at no difficulty: leave difficulty= out"),
        (scored(), {"difficulty": DIFFICULTY}, ValueError, "looks at no difficulty: leave difficulty= out"),
        (
            scored(),
            {"learned_difficulty": LearnedDifficulty("loss")},
            ValueError,
            "looks at no difficulty: leave learned_difficulty= out",
        ),
        (SizedStream(), {}, TypeError, "got SizedStream"),
        ([], {}, ValueError, "The list has no rows"),
        ({"row": [1]}, {}, TypeError, "got dict"),
    ],
)
def test_what_a_random_pool_does_not_take_is_refused_as_the_trainer_is_made(tmp_path, dataset, own, error, message):
    with pytest.raises(error, match=message):
        CurriculumTrainer(model=Noting(), args=arguments(tmp_path), train_dataset=dataset, curriculum=RANDOM, **own)


def test_scores_that_a_random_pool_does_not_need_are_explained(tmp_path):
    with pytest.raises(
        TypeError, match=r"unexpected keyword argument 'difficulty'.*or remove them from train_dataset"
    ):
        dataset = scored().remove_columns("length")
        trained(tmp_path, dataset=dataset, curriculum=RANDOM, remove_unused_columns=False)
