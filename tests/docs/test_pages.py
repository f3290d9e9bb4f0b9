"""The code of docs/*.md runs as it is written, section by section; only the reader's own things are filled in."""

import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import drawing
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from datasets import Dataset
from hub_client import client
from hub_server import hub
from launching import environment, launch
from needs import needs
from PIL import Image
from tiny import (
    BATCH,
    ROWS,
    STEPS,
    OneWeight,
    first_words,
    flat,
    llama_config,
    options,
    scored,
    tiny_t5,
    watch,
    word_tokenizer,
)
from torch.utils.data import DataLoader, TensorDataset
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DataCollatorForSeq2Seq,
    DetrImageProcessor,
    LlamaForCausalLM,
    Seq2SeqTrainingArguments,
    TrainerCallback,
    TrainingArguments,
)
from use_case_data import PICTURES, SPEECH, samples_of
from use_case_data import scored as scored_rows
from use_case_images import pixels
from use_case_sounds import wav2vec2, waves

import hf_curriculum
from hf_curriculum import (
    CurriculumSampler,
    CurriculumTrainer,
    DifficultyScorer,
    Embedder,
    add_difficulty,
    add_embeddings,
    curriculum_stream,
    curriculum_weights,
    score_parquet,
)

pytestmark = pytest.mark.costly

DOCS = Path(__file__).parents[2] / "docs"


def sections(file) -> dict[str, list[str]]:
    """The code blocks under each heading."""
    _, *parts = re.split(r"^## ", (DOCS / file).read_text(), flags=re.MULTILINE)
    blocks = {part.partition("\n")[0]: re.findall(r"```python\n(.*?)```", part, re.DOTALL) for part in parts}
    return {heading: code for heading, code in blocks.items() if code}


def blocks(file, heading) -> list[str]:
    return sections(file)[heading]


def execute(file, heading, names):
    for block in blocks(file, heading):
        exec(compile(block, f"{file}, {heading}", "exec"), names)


@pytest.mark.parametrize(
    ("file", "heading"),
    [(path.name, heading) for path in sorted(DOCS.glob("*.md")) for heading in sections(path.name)],
)
def test_every_section_with_code_has_a_test(file, heading):
    apart = Path(__file__).parents[1] / "training" / "test_ultralytics.py"  # in an environment of its own
    assert f'"{file}", "{heading}"' in Path(__file__).read_text() + apart.read_text()


def test_no_code_stands_before_the_first_heading():
    for path in DOCS.glob("*.md"):
        assert sum(map(len, sections(path.name).values())) == path.read_text().count("```python")


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # Lightning writes where it stands


def numbers() -> Dataset:
    return scored(x=[row / ROWS for row in range(ROWS)])


def loop_names(**names):
    model = OneWeight()
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    return {"scored": numbers(), "model": model, "optimizer": optimizer, "seen": watch(model, "x"), **names}


def rows_of(batches) -> list[int]:
    return (torch.cat(batches) * ROWS).round().int().tolist()


def stream(sampler, first, last) -> list[int]:
    return drawing.rows_of(sampler, range(first, last)).tolist()


# loops.md


def test_pytorch_loop_sees_the_rows_of_the_sampler():
    names = loop_names()
    execute("loops.md", "PyTorch", names)
    assert rows_of(names["seen"]) == stream(names["sampler"], 0, names["steps"])
    assert names["steps"] == 4 * 13


@pytest.mark.parametrize("done", [5, 13, 20])
@pytest.mark.parametrize("workers", [0, 2], ids=lambda n: f"workers{n}")
def test_pytorch_loop_resumes_as_the_text_says(done, workers):
    sampler = CurriculumSampler(numbers()["difficulty"][:], total_batch_size=BATCH, total_steps=52)
    loader = DataLoader(torch.arange(ROWS), batch_size=BATCH, sampler=sampler, num_workers=workers)
    seen = []
    for epoch in range(done // sampler.steps_per_epoch, 3):
        if not seen:
            sampler.set_step(done)
        else:
            sampler.set_epoch(epoch)
        seen += [row for batch in loader for row in batch.tolist()]
    assert seen == stream(sampler, done, 39)


def test_nulls_become_a_masked_array_as_the_text_says():
    (expression,) = re.findall(r"`(np\.ma\..*?)`", (DOCS / "loops.md").read_text())
    masked = eval(expression, {"np": np, "scored": Dataset.from_dict({"difficulty": [0.5, None, 0.25]})})
    assert masked.mask.tolist() == [False, True, False] and masked.compressed().tolist() == [0.5, 0.25]
    sampler = CurriculumSampler(masked, total_batch_size=100, total_steps=10)
    assert 1 not in sampler.indices(0) and 1 in sampler.indices(9)


@pytest.mark.parametrize("done", [0, 7, 20])
def test_accelerate_loop_sees_the_rows_of_the_sampler(done):
    names = loop_names(done=done)
    execute("loops.md", "Accelerate", names)
    assert rows_of(names["seen"]) == stream(names["sampler"], done, STEPS)


def test_a_prepared_loader_undoes_set_step():
    from accelerate import Accelerator

    sampler = CurriculumSampler(numbers()["difficulty"][:], total_batch_size=BATCH, total_steps=STEPS)
    loader = Accelerator(cpu=True).prepare(DataLoader(torch.arange(ROWS), batch_size=BATCH, sampler=sampler))
    sampler.set_step(5)
    assert torch.cat(list(loader)).tolist() == stream(sampler, 0, sampler.steps_per_epoch)


WORKER = """
import sys
sys.path[:0] = {folders!r}
import json, torch, test_pages
names = test_pages.loop_names(done={done})
test_pages.execute("loops.md", "Accelerate", names)
json.dump(test_pages.rows_of(names["seen"]), open(f"rank{{names['accelerator'].process_index}}.json", "w"))
"""


@pytest.mark.slow
@pytest.mark.parametrize("done", [0, 7])
def test_accelerate_loop_on_two_processes(tmp_path, done):
    script = tmp_path / "worker.py"
    script.write_text(
        WORKER.format(folders=[str(Path(__file__).parent), str(Path(__file__).parents[1] / "helpers")], done=done)
    )
    with subprocess.Popen([*launch(2), str(script)], env=environment(), cwd=tmp_path) as parent:
        try:
            assert parent.wait(timeout=300) == 0
        finally:
            parent.terminate()  # the launcher ends its ranks
    ranks = [np.reshape(json.loads((tmp_path / f"rank{rank}.json").read_text()), (-1, 2, 1, 4)) for rank in (0, 1)]
    together = np.concatenate(ranks, axis=2).reshape(-1)  # step, batch of the step, process, row
    sampler = CurriculumSampler(
        numbers()["difficulty"][:], total_batch_size=16, total_steps=STEPS, steps_per_epoch=STEPS // 4
    )
    assert together.tolist() == stream(sampler, done, STEPS)


def lightning_names(**names):
    lightning = needs("lightning")
    names = loop_names(**names)

    class Module(lightning.LightningModule):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def training_step(self, batch):
            return self.model(**batch).loss

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 1e-3)

    return names | {"module": Module(names["model"])}


@pytest.mark.parametrize(
    ("accumulate", "workers"), [(1, 0), (1, 2), (2, 0)], ids=["as written", "workers", "accumulation"]
)
def test_lightning_sees_the_rows_of_the_sampler_and_resumes(accumulate, workers):
    changes = {
        "total_batch_size=8, total_steps=40, steps_per_epoch=10": f"total_batch_size={8 * accumulate}, "
        f"total_steps={40 // accumulate}, steps_per_epoch={10 // accumulate}",
        "max_epochs=4": f"max_epochs=4, accumulate_grad_batches={accumulate}",
        "batch_size=8, sampler=sampler": f"batch_size=8, sampler=sampler, num_workers={workers}",
    }
    code = "---".join(blocks("loops.md", "Lightning"))
    for old, new in changes.items():
        assert old in code
        code = code.replace(old, new)
    fit, resume = code.split("---")
    stopped = lightning_names()
    exec(fit.replace("max_epochs=4", "max_epochs=2"), stopped)
    half, whole = 20 // accumulate, 40 // accumulate
    assert rows_of(stopped["seen"]) == stream(stopped["sampler"], 0, half)

    names = lightning_names(checkpoint=stopped["trainer"].checkpoint_callback.best_model_path)
    exec(fit, names)
    assert rows_of(names["seen"]) == stream(names["sampler"], 0, whole)
    names["seen"].clear()
    exec(resume, names)
    assert rows_of(names["seen"]) == stream(names["sampler"], half, whole)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_lightning_run_begins_at_its_first_row_whatever_ran_before(workers):
    fit, resume = blocks("loops.md", "Lightning")
    fit = fit.replace("batch_size=8, sampler=sampler", f"batch_size=8, sampler=sampler, num_workers={workers}")
    names = lightning_names()
    exec(fit.replace("max_epochs=4", "max_epochs=3"), names)
    names["checkpoint"] = names["trainer"].checkpoint_callback.best_model_path
    again = next(line for line in fit.splitlines() if line.startswith("trainer = "))
    again = f"{again}\ntrainer.fit(module, loader)"
    for run, first, last in ((again, 0, 40), (again, 0, 40), (resume, 30, 40), (again, 0, 40)):
        names["seen"].clear()
        exec(run, names)
        assert rows_of(names["seen"]) == stream(names["sampler"], first, last)


# trainers.md


@pytest.fixture(scope="module")
def tokenizer():
    return word_tokenizer()


@pytest.fixture
def causal_lm():
    torch.manual_seed(0)
    return LlamaForCausalLM(llama_config())


def assert_stream(names, rows):
    assert rows == stream(names["trainer"].curriculum_sampler, 0, STEPS)


def test_seq2seq_trainer_sees_the_rows_of_the_sampler(tmp_path, tokenizer):
    model, ids = tiny_t5(), tokenizer([f"{row} a b" for row in range(ROWS)])["input_ids"]
    names = {
        "model": model,
        "args": Seq2SeqTrainingArguments(**options(tmp_path)),
        "scored": scored(input_ids=ids, labels=ids),
        "collator": DataCollatorForSeq2Seq(tokenizer, model=model),
    }
    seen = watch(model)
    execute("trainers.md", "Seq2SeqTrainer", names)
    assert_stream(names, flat(first_words(seen)))


def test_sft_trainer_sees_the_rows_of_the_sampler(tmp_path, tokenizer, causal_lm):
    trl = needs("trl")
    args = trl.SFTConfig(**options(tmp_path, bf16=False))
    dataset, seen = scored(text=[f"{row} a b" for row in range(ROWS)]), watch(causal_lm)
    names = {"model": causal_lm, "args": args, "scored": dataset, "tokenizer": tokenizer}
    execute("trainers.md", "SFTTrainer", names)
    assert_stream(names, flat(first_words(seen)))


def prompts(path, causal_lm, tokenizer, **settings):
    """The reader's own things of a training on generated texts, and the prompts of which rewards were asked."""
    trl = needs("trl")
    causal_lm.save_pretrained(path / "model")
    tokenizer.save_pretrained(path / "model")
    settings = {"num_generations": 4, "max_completion_length": 2, "beta": 0.0} | settings
    asked = []

    def reward(prompts, completions, **columns):
        asked.append([int(prompt) for prompt in prompts])
        return [float(row < 50) for row in asked[-1]]

    return {
        "model": str(path / "model"),
        "args": trl.GRPOConfig(**options(path, bf16=False, **settings)),
        "scored": scored(prompt=[str(row) for row in range(ROWS)]),
        "reward": reward,
    }, asked


def test_prompts_of_a_generation_batch_are_those_of_the_sampler(tmp_path, causal_lm, tokenizer):
    names, asked = prompts(tmp_path, causal_lm, tokenizer, max_steps=12)
    execute("trainers.md", "GRPOTrainer", names)
    sampler = CurriculumSampler(names["scored"]["difficulty"][:], total_batch_size=2, total_steps=12, seed=7)
    assert asked == [np.repeat(sampler.indices(step), 4).tolist() for step in range(12)]


def test_difficulties_follow_the_rewards_of_prompts(tmp_path, causal_lm, tokenizer):
    names, asked = prompts(tmp_path, causal_lm, tokenizer, max_steps=12)
    execute("trainers.md", "GRPOTrainer", names)
    (code,) = blocks("trainers.md", "Difficulty that learns")
    asked.clear()
    exec(code.replace("every=50", "every=3"), names)
    names["trainer"].train()
    seen = {row: float(row < 50) for row in flat(asked[:9])}
    rates = np.full(ROWS, np.mean(list(seen.values())))
    rates[list(seen)] = list(seen.values())
    np.testing.assert_allclose(names["trainer"].curriculum_sampler.table(12), np.abs(rates - 0.5), atol=1e-6)


def test_sentence_transformer_trainer_sees_the_rows_of_the_sampler(tmp_path, tiny_bert):
    import sentence_transformers as st
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    colours = ["red", "green", "blue", "cat", "dog"]
    texts = [f"{a} {b} {c}" for a in colours for b in colours for c in colours]
    pairs = add_difficulty(Dataset.from_dict({"anchor": texts, "positive": texts}), tiny_bert, input_column="anchor")
    model = st.SentenceTransformer(modules=[Transformer(tiny_bert), Pooling(32)], device="cpu")
    names = {
        "model": model,
        "args": st.SentenceTransformerTrainingArguments(**options(tmp_path)),
        "scored": pairs,
        "held_out": pairs.select(range(10)),
        "loss": MultipleNegativesRankingLoss(model),
    }
    seen = watch(model[0])
    execute("trainers.md", "SentenceTransformerTrainer", names)
    assert_stream(names, [texts.index(text) for ids in seen[::2] for text in model.tokenizer.batch_decode(ids)])
    assert names["trainer"].evaluate()["eval_loss"] > 0


class StopAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == self.step
        return control


def test_a_changed_resume_goes_on_under_the_new_settings(tmp_path):
    args = TrainingArguments(**options(tmp_path, save_strategy="steps", save_steps=10))
    CurriculumTrainer(model=OneWeight(), args=args, train_dataset=numbers(), callbacks=[StopAt(10)]).train()
    model = OneWeight()
    names, seen = {"model": model, "args": args, "scored": numbers()}, watch(model, "x")
    (code,) = blocks("trainers.md", "Resume")
    with pytest.raises(ValueError, match=r"warmup_steps was 20 and is 32.*pass allow_changed_resume=True"):
        exec(code.replace("allow_changed_resume=True", "allow_changed_resume=False"), names)
    execute("trainers.md", "Resume", names)
    assert names["trainer"].curriculum_sampler.warmup_steps == 32
    assert rows_of(seen) == stream(names["trainer"].curriculum_sampler, 10, STEPS)


def test_logs_have_the_names_of_the_table(tmp_path):
    table = (DOCS / "trainers.md").read_text().partition("## Logs")[2].partition("## ")[0]
    trainer = CurriculumTrainer(
        model=OneWeight(), args=TrainingArguments(**options(tmp_path)), train_dataset=numbers()
    )
    trainer.train()
    logged = {name for name in trainer.state.log_history[0] if name.startswith("curriculum/")}
    assert logged == set(re.findall(r"`(curriculum/\w+)`", table))


def test_a_torch_dataset_is_scored_without_a_copy_and_trained_on(tmp_path):
    class Pictures(torch.utils.data.Dataset):
        def __len__(self):
            return ROWS

        def __getitem__(self, row):
            pixels = np.random.default_rng(row).integers(0, 256, (16, 16), np.uint8)
            return {"image": Image.fromarray(pixels), "x": row / ROWS}

    model = OneWeight()
    names, seen = (
        {"model": model, "args": TrainingArguments(**options(tmp_path)), "dataset": Pictures()},
        watch(model, "x"),
    )
    names |= {"model_id": "builtin/hog", "collator": lambda rows: {"x": torch.tensor([row["x"] for row in rows])}}
    execute("trainers.md", "A torch dataset", names)
    assert_stream(names, rows_of(seen))
    own = Dataset.from_list([{"image": row["image"]} for row in (names["dataset"][i] for i in range(ROWS))])
    copied = add_difficulty(own, "builtin/hog", n_clusters=10)
    np.testing.assert_allclose(names["difficulty"], copied["difficulty"][:], atol=1e-5)


def test_columns_of_all_kinds_serve_as_difficulty(tmp_path, tokenizer, causal_lm):
    dataset = Dataset.from_dict({"text": [str(row) + " a" * (row % 4) for row in range(ROWS)]})
    names = {
        "model": causal_lm,
        "tokenizer": tokenizer,
        "args": TrainingArguments(**options(tmp_path)),
        "dataset": dataset,
        "quality": np.linspace(0, 1, ROWS),
    }
    execute("trainers.md", "Any numeric column", names)
    scores = names["dataset"]
    assert [value is None for value in scores["perplexity"][:]] == [row % 4 == 0 for row in range(ROWS)]
    assert scores["words"][:] == [1 + row % 4 for row in range(ROWS)]
    assert scores["noise"][0] == 1 and scores["noise"][ROWS - 1] == 0
    assert names["trainer"].curriculum.difficulty_column == "perplexity"
    assert names["curriculum"].difficulty_column == "noise"


def test_a_schedule_of_ones_own_is_taken_as_it_is():
    names = {}
    execute("trainers.md", "A schedule of your own", names)
    assert names["curriculum"].schedule(0.25) == 0.5


# embedding.md


def test_an_encoder_of_ones_own_embeds_undecoded_images_and_rows(digits):
    texts = Dataset.from_dict({"text": ["a bb a", "ccc"]})
    names = {
        "dataset": digits.select(range(20)),
        "texts": texts,
        "module": torch.nn.Flatten(),
        "to_tensor": lambda image: torch.from_numpy(np.asarray(image, np.float32)),
    }
    first, second = blocks("embedding.md", "Your own encoder")
    exec(first, names)
    pixels = [np.asarray(image, np.float32).ravel() for image in digits.select(range(20))["image"]]
    np.testing.assert_array_equal(names["embedded"]["embedding"][:], pixels)
    exec(second, names)
    assert names["embedded"]["embedding"][:] == [[0, 2, 1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0, 0, 0]]


def test_the_function_of_a_batch(sentences, tiny_bert):
    names = {"dataset": sentences, "model_id": tiny_bert}
    execute("embedding.md", "As a function of a batch", names)
    assert names["embedded"]["embedding"][:] == [row["embedding"].tolist() for row in names["stream"]]


def test_rows_that_cannot_be_embedded_have_no_difficulty(tiny_bert):
    texts = ["red cat", None, "blue dog", " ", "green bird"]
    names = {"damaged": Dataset.from_dict({"text": texts}), "model_id": tiny_bert, "add_difficulty": add_difficulty}
    execute("embedding.md", "Rows that cannot be embedded", names)
    assert [row is None for row in names["scored"]["difficulty"]] == [False, True, False, True, False]


def test_long_texts_are_averaged_over_their_windows(tiny_bert, caplog):
    names = {"texts": Dataset.from_dict({"text": ["red cat", "blue dog " * 500]}), "model_id": tiny_bert}
    names["add_embeddings"] = add_embeddings
    execute("embedding.md", "Long inputs", names)
    assert "cut" not in caplog.text
    cut = add_embeddings(names["texts"], tiny_bert)
    assert "1 of 2 rows" in caplog.text
    first, second = np.abs(np.subtract(names["embedded"]["embedding"][:], cut["embedding"][:])).max(axis=1)
    assert first < 1e-6 < second


# scorer.md


def test_another_split_is_scored_with_the_same_prototypes():
    rng = np.random.default_rng(0)
    train, test = (Dataset.from_dict({"embedding": rng.normal(size=(n, 6)).tolist()}) for n in (80, 30))
    names = {"train": train, "test": test}
    execute("scorer.md", "Score another split with the same prototypes", names)
    fitted = DifficultyScorer(n_clusters=20).fit(train["embedding"][:])
    expected = fitted.score(test["embedding"][:]).difficulty
    np.testing.assert_array_equal(names["scored"]["difficulty"][:], expected)
    np.testing.assert_array_equal(names["scores"].difficulty, expected)
    plain = DifficultyScorer(n_clusters=20, standardize=False).fit(train["embedding"][:])
    for name, split in (("scored_train", train), ("scored_test", test)):
        np.testing.assert_array_equal(names[name]["difficulty"][:], plain.score(split["embedding"][:]).difficulty)


@pytest.mark.slow
def test_parquet_is_scored_by_ray(tmp_path):
    needs("ray")
    (tmp_path / "photos").mkdir()
    rows = Dataset.from_dict({"text": ["a" * (1 + i % 9) + "b" * (i % 5) for i in range(300)]})
    rows.to_parquet(str(tmp_path / "photos" / "0.parquet"))
    names = {"model_id": lambda texts: [[text.count("a"), text.count("b")] for text in texts]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hf_curriculum.score_parquet", partial(score_parquet, input_column="text"))
        execute("scale.md", "Score", names)
    assert sorted(names["rows"]["row"]) == list(range(300)) and names["scorer"].n_clusters_ == 4


def easy_first(rows, dataset) -> bool:
    drawn = np.array(dataset["difficulty"][:])[rows]
    return drawn[: len(rows) // 5].mean() < 0.7 * np.mean(dataset["difficulty"][:])


def test_a_trainer_takes_a_stream(tmp_path):
    names = loop_names(stream=numbers().to_iterable_dataset(), args=TrainingArguments(**options(tmp_path)))
    execute("streams.md", "In a trainer", names)
    assert len(rows_of(names["seen"])) == STEPS * BATCH and easy_first(rows_of(names["seen"]), numbers())


def test_a_stream_in_a_loop():
    names = loop_names(stream=numbers().to_iterable_dataset(), steps=2 * ROWS // 8)
    execute("streams.md", "In a loop of your own", names)
    rows = rows_of(names["seen"])
    assert 1.5 * ROWS < len(rows) < 2.5 * ROWS and easy_first(rows, numbers())


def test_a_stream_scored_on_the_way_is_trained_on(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(ROWS, 4)).astype(np.float32)
    dataset = Dataset.from_dict({"x": [row / ROWS for row in range(ROWS)], "vector": vectors})
    names = loop_names(
        stream=dataset.to_iterable_dataset(),
        embedder=Embedder(np.array, input_column="vector"),
        scorer=DifficultyScorer(n_clusters=4).fit(vectors),
        args=TrainingArguments(**options(tmp_path)),
    )
    difficulty = names["scorer"].score(vectors).difficulty
    execute("streams.md", "The distribution of the difficulties", names)
    names["trainer"].train()
    assert difficulty[rows_of(names["seen"])[:80]].mean() < 0.8 * difficulty.mean()


def test_sorted_files_are_written_and_streamed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"scored": numbers()}
    execute("streams.md", "Read less", names)
    drawn = list(curriculum_stream(names["stream"], total_batch_size=8, total_steps=ROWS // 4))
    assert {row["x"] for row in drawn} < set(numbers()["x"]) and len(drawn) > ROWS / 2


def test_a_stream_is_scored_as_a_dataset_is(tmp_path):
    texts = Dataset.from_dict({"text": [first * (row + 1) for row in range(20) for first in ("a ", "b ")]})

    def embed(batch):
        return {"embedding": [[text.count("a"), text.count("b"), len(text) % 7] for text in batch["text"]]}

    embedded = texts.map(embed, batched=True)
    scorer = DifficultyScorer(n_clusters=4).fit(embedded["embedding"][:])
    scorer.save_pretrained(tmp_path / "scorer")
    names = {"stream": texts.to_iterable_dataset(), "embed": embed, "DifficultyScorer": DifficultyScorer}
    execute("scorer.md", "Streams", names)
    rows = list(names["scored"])
    expected = scorer.score(embedded["embedding"][:])
    for name in ("cluster", "distance", "difficulty"):
        np.testing.assert_allclose([row[name] for row in rows], getattr(expected, name), rtol=1e-5)
    np.testing.assert_allclose(
        [row["difficulty"] for row in names["easy"]], [d for d in expected.difficulty if d < 0.5]
    )


def mislabelled():
    """Rows of four topics, 30 % of them with the label of another; what embeds them; and which these are."""
    rng = np.random.default_rng(0)
    true = rng.integers(0, 4, 800)
    wrong = rng.random(800) < 0.3
    labels = np.where(wrong, (true + 1) % 4, true)
    dataset = Dataset.from_dict({"text": [str(topic) for topic in true], "label": labels.tolist()})

    def encoder(texts):
        return rng.normal(size=(len(texts), 8)) + 4 * np.eye(8)[[int(text) for text in texts]]

    return {"dataset": dataset, "encoder": encoder}, wrong


def test_wrong_labels_are_the_hardest_rows_as_the_text_says():
    names, wrong = mislabelled()
    execute("scorer.md", "Labels that may be wrong", names)
    difficulty, doubtful = np.array(names["scored"]["difficulty"]), names["doubtful"]
    easy = curriculum_weights(difficulty, 0, names["config"], total_steps=10)
    assert easy @ wrong < 0.02
    np.testing.assert_array_equal(easy, curriculum_weights(difficulty, 9, names["config"], total_steps=10))  # it stays
    first = doubtful.select(range(200))
    assert np.mean([row["text"] != str(row["label"]) for row in first]) > 0.9


def test_wrong_labels_are_nearer_to_another_class_as_the_text_says():
    names, wrong = mislabelled()
    execute("labels.md", "The score", names)
    difficulty, config = np.array(names["scored"]["difficulty"]), names["config"]
    assert curriculum_weights(difficulty, 0, config, total_steps=10) @ wrong < 0.02
    assert curriculum_weights(difficulty, 10, config, total_steps=10) @ wrong > 0.2  # it opens
    first = names["doubtful"].select(range(200))
    assert np.mean([row["text"] == str(row["suggested_label"]) != str(row["label"]) for row in first]) > 0.9


def test_the_files_of_a_scorer_are_read_by_hand_as_the_text_says(tmp_path):
    scorer = DifficultyScorer(n_clusters=4).fit(np.random.default_rng(0).normal(size=(60, 5)))
    scorer.save_pretrained(tmp_path / "scorer")
    names = {}
    execute("scorer.md", "File format", names)
    np.testing.assert_array_equal(names["arrays"]["centroids"], scorer.centroids_)
    assert names["config"]["sizes"] == [4]
    table = re.findall(r"^\| `(\w+)` \|", (DOCS / "scorer.md").read_text(), re.MULTILINE)
    assert sorted(table) == sorted([*names["arrays"], *names["config"]])


# use_cases.md


def use_case(path, data, **settings):
    """The reader's own things of a use case; its collator reads columns that the model does not take."""
    args = TrainingArguments(**options(path, remove_unused_columns=False, **settings))
    return {"args": args, "scored": scored_rows(data)}


def assert_batches(names, seen, batch_of):
    """The model was given what the rows of each step hold."""
    sampler = names["trainer"].curriculum_sampler
    assert len(seen) == STEPS
    for step, batch in enumerate(seen):
        torch.testing.assert_close(batch, batch_of([names["scored"][row] for row in sampler.indices(step).tolist()]))


def test_a_masked_autoencoder_is_told_where_its_patches_are(tmp_path):
    names = {}
    execute("use_cases.md", "Masked autoencoders", names)
    for positions in (names["embeddings"].position_embeddings, names["model"].decoder.decoder_pos_embed):
        patches = positions[0, 1:]
        assert len(patches.unique(dim=0)) == len(patches) == 64
        assert not positions.requires_grad


def test_a_diffusion_model_learns_to_tell_the_noise(tmp_path):
    from use_case_generation import unet

    torch.manual_seed(0)
    names = use_case(tmp_path, PICTURES) | {"unet": unet()}
    execute("use_cases.md", "Diffusion", names)
    losses = [log["loss"] for log in names["trainer"].state.log_history if "loss" in log]
    assert losses[-1] < losses[0]
    assert names["trainer"].curriculum_sampler.total_steps == STEPS
    rows = [names["scored"][row] for row in range(4)]
    torch.testing.assert_close(names["collate"](rows), pixels(rows))


def test_a_gan_sees_the_rows_of_the_sampler(tmp_path):
    from use_case_generation import dcgan

    generator, discriminator = dcgan()
    names = use_case(tmp_path, PICTURES) | {
        "generator": generator,
        "discriminator": discriminator,
        "g_optimizer": torch.optim.Adam(generator.parameters()),
        "d_optimizer": torch.optim.Adam(discriminator.parameters()),
        "latent_size": 8,
        "collate": pixels,
    }
    seen = []
    discriminator.register_forward_pre_hook(lambda _, args: seen.append(args[0].cpu()))
    execute("use_cases.md", "GAN", names)
    real = seen[::3]  # then come the same fakes twice
    for step, batch in enumerate(real):
        rows = [names["scored"][row] for row in names["sampler"].indices(step).tolist()]
        torch.testing.assert_close(batch, pixels(rows)["pixel_values"])
    assert len(real) == STEPS


def test_a_detector_is_given_the_boxes_of_its_rows(tmp_path):
    from use_case_objects import box_of, detr

    def annotated(row):
        left, top, right, bottom = map(float, box_of(row["image"]))
        box = [left, top, right - left, bottom - top]
        return {"objects": [{"bbox": box, "category_id": row["label"], "area": box[2] * box[3], "iscrowd": 0}]}

    scores = scored_rows(PICTURES).map(annotated)
    processor = DetrImageProcessor(size={"height": 64, "width": 64})
    names = use_case(tmp_path, PICTURES) | {"scored": scores, "model": detr(scores).model, "processor": processor}
    labels = []
    names["model"].register_forward_pre_hook(lambda _, args, kwargs: labels.append(kwargs["labels"]), with_kwargs=True)
    seen = watch(names["model"], "pixel_values")
    execute("use_cases.md", "Detection", names)
    assert_batches(names, seen, lambda rows: names["collate"](rows)["pixel_values"])
    sampler = names["trainer"].curriculum_sampler
    for step, targets in enumerate(labels):
        for target, row in zip(targets, sampler.indices(step).tolist(), strict=True):
            left, top, right, bottom = box_of(names["scored"][row]["image"]) / 32
            expected = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
            np.testing.assert_allclose(target["boxes"][0], expected, atol=1e-6)


def test_speech_is_pretrained_on_the_rows_of_the_sampler(tmp_path):
    names = use_case(tmp_path, SPEECH) | {"read": lambda audio: samples_of({"audio": audio})}
    names["model"] = wav2vec2(names["scored"]).model
    seen = watch(names["model"], "input_values")
    execute("use_cases.md", "Speech pretraining", names)
    assert_batches(names, seen, lambda rows: waves(rows)["input_values"])


# reference_api.md


def pictures() -> Dataset:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (ROWS, 32, 32, 3), dtype=np.uint8)
    images = [Image.fromarray(picture) for picture in pixels]
    return Dataset.from_dict({"image": images, "x": [row / ROWS for row in range(ROWS)]})


def test_the_reference_code_s_users_change_one_import(tiny_dino):
    rows = TensorDataset(torch.randn(ROWS, 3, 32, 32), torch.zeros(ROWS))
    names = {"dataset": rows, "device": "cpu"}
    execute("reference_api.md", "One changed import", names)
    assert names["difficulty_weights"].shape == names["weights"].shape == (ROWS,)
    assert names["difficulty_weights"][names["weights"].argmax()] == names["difficulty_weights"].min()


def test_moving_on_from_the_reference_code(tiny_dino, tmp_path):
    names = loop_names(dataset=pictures(), args=TrainingArguments(**options(tmp_path)))
    execute("reference_api.md", "Moving on", names)
    difficulty = names["scored"]["difficulty"][:]
    sampler = CurriculumSampler(difficulty, names["config"], total_batch_size=BATCH, total_steps=STEPS, seed=7)
    assert rows_of(names["seen"]) == stream(sampler, 0, STEPS)


def test_weights_of_the_reference_code_are_a_difficulty_column():
    weights = np.random.default_rng(0).random(ROWS)
    np.save("weights.npy", {"weights": weights, "n_clusters": 3, "features": None, "labels": None})
    (command,) = re.findall(r"```bash\n(.*?)\n```", (DOCS / "reference_api.md").read_text())
    words = command.replace("old.npy", "weights.npy").replace("new.npy", "weights.npy").split()
    subprocess.run([sys.executable, *words[1:]], check=True)
    names = {"dataset": numbers().remove_columns("difficulty")}
    execute("reference_api.md", "Weights that you have", names)
    assert names["scored"]["difficulty"][:] == weights.tolist()


# sharing.md


@pytest.mark.slow
def test_what_is_shared_is_pushed_loaded_and_trained_on(tmp_path):
    names = """
from tiny import OneWeight, options, watch
from datasets import Dataset
from transformers import TrainingArguments
dataset = Dataset.from_dict({"text": [f"row {i} of texts" for i in range(30)], "x": [i / 30 for i in range(30)]})
model_id, model, args = "builtin/tfidf", OneWeight(), TrainingArguments(**options("training"))
seen = watch(model, "x")
"""
    with hub() as server, client(server, tmp_path) as user:
        user.run(names)
        for block in blocks("sharing.md", "Push"):
            user.run(block)
        for block in blocks("sharing.md", "Load and train"):
            user.run(block)
        repo = server.repos["datasets/me/news-scored"]
        files = set(re.findall(r"`(curriculum/\w+[.]png)`", (DOCS / "sharing.md").read_text()))
        assert {path for path in repo.files() if "/" in path and path.endswith("png")} == files
        assert user.run("answer = len(seen)") == STEPS
        for block in blocks("sharing.md", "The scorer, too"):
            user.run(block)
        assert user.run("answer = again['difficulty'][:] == scored['difficulty'][:]")
        assert "model.safetensors" in server.repos["models/me/news-scorer"].files()
        user.run("scored = add_difficulty(scored, n_clusters=1)")
        for block in blocks("sharing.md", "Private, branches, pull requests"):
            user.run(block)
        assert server.repos["datasets/me/secret"].private
        assert "README.md" in repo.files("v2") and "README.md" in repo.files("refs/pr/2")


# report.md


def test_the_report_shows_the_schedule_of_the_reader(own_cache):
    dataset = add_difficulty(pictures(), "builtin/hog", n_clusters=3).add_column("loss", np.arange(ROWS) / 8)
    first, second, third = blocks("report.md", "The report")
    for block, file, inside in (
        (first, "report.html", '"total_steps": 1000, "warmup_steps": 500'),
        (second, "report.html", '"total_steps": 10000, "warmup_steps": 3000'),
        (third, "loss.html", '"column": "loss"'),
    ):
        exec(compile(block, "report.md", "exec"), {"scored": dataset})
        assert inside in Path(file).read_text("utf-8")


def test_figures_are_those_of_the_scores(own_cache):
    names = {"scored": add_difficulty(pictures(), "builtin/hog", n_clusters=3)}
    execute("report.md", "Figures in a notebook", names)
    schedule, difficulty = (plt.figure(number).axes[0] for number in plt.get_fignums())
    assert schedule.get_xlim()[1] >= 1_000 and difficulty.get_legend() is not None
    plt.close("all")


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_has_every_public_name(tmp_path):
    needs("sphinx")
    subprocess.run([sys.executable, "-m", "sphinx", "-W", "-q", str(DOCS), str(tmp_path)], check=True)
    page = (tmp_path / "api.html").read_text()
    for name in hf_curriculum.__all__:
        assert f'id="hf_curriculum.{name}"' in page
    assert 'id="hf_curriculum.curriculum_learning.CurriculumLearning.fit"' in page


def test_two_lines_of_a_script_make_its_training_a_curriculums(tmp_path):
    """The rows as run_classification.py makes them: each column stays beside the tokens."""
    tokenizer = word_tokenizer()
    rows = scored(text=[f"{row} a b" for row in range(ROWS)], label=[row % 2 for row in range(ROWS)])
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    model = BertForSequenceClassification(BertConfig(vocab_size=len(tokenizer), **sizes))
    seen = watch(model)
    names = {
        "model": model,
        "training_args": TrainingArguments(**options(tmp_path)),
        "train_dataset": rows.map(lambda batch: tokenizer(batch["text"]), batched=True),
        "tokenizer": tokenizer,
    }
    execute("report.md", "Training from the shell", names)
    names["trainer"].train()
    assert_stream(names, flat(first_words(seen)))
