"""``class X(CurriculumMixin, Y)`` for the trainers of transformers, TRL and Sentence Transformers, trained for real.

Every text is unique, so the token ids that reach the model tell the row.
"""

from dataclasses import fields

import numpy as np
import pytest
import sentence_transformers
import torch
from datasets import Dataset
from drawing import rows_of
from needs import needs
from packaging.version import Version
from tiny import (
    BATCH,
    ROWS,
    STEPS,
    VOCABULARY,
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
from torch.utils.data import DataLoader
from transformers import (
    DataCollatorForSeq2Seq,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    Trainer,
    TrainingArguments,
)

from hf_curriculum import (
    CurriculumConfig,
    CurriculumMixin,
    CurriculumSampler,
    CurriculumSeq2SeqTrainer,
    LearnedDifficulty,
    add_difficulty,
)

pytestmark = pytest.mark.costly


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return word_tokenizer()


def numbered(suffix=" a b") -> list[str]:
    return [str(row) + suffix for row in range(ROWS)]


def reference(dataset, **settings) -> CurriculumSampler:
    return CurriculumSampler(
        dataset["difficulty"][:], **{"total_batch_size": BATCH, "total_steps": STEPS, "seed": 7} | settings
    )


def expected(sampler) -> list[int]:
    return rows_of(sampler, range(STEPS)).tolist()


def assert_easy_first(rows, dataset):
    drawn = np.asarray(dataset["difficulty"][:])[rows].reshape(STEPS, -1).mean(axis=1)
    assert drawn[: STEPS // 4].mean() < 0.7 * drawn[STEPS // 2 :].mean()


# transformers


def test_seq2seq_trainer_teaches_t5_to_reverse_its_input_easy_first(tmp_path, tokenizer):
    class MySeq2SeqTrainer(CurriculumMixin, Seq2SeqTrainer):
        pass

    texts = [f"{row} {row % 7} {row % 5}" for row in range(ROWS)]
    reversed_texts = [" ".join(text.split()[::-1]) for text in texts]
    tokens = {"input_ids": tokenizer(texts)["input_ids"], "labels": tokenizer(reversed_texts)["input_ids"]}
    dataset = scored(text=texts, **tokens)
    model = tiny_t5()
    seen = watch(model)
    args = Seq2SeqTrainingArguments(
        **options(
            tmp_path,
            per_device_train_batch_size=BATCH // 2,
            gradient_accumulation_steps=2,
            learning_rate=1e-2,
            predict_with_generate=True,
            generation_max_length=4,
            remove_unused_columns=True,
        )
    )
    trainer = MySeq2SeqTrainer(
        model=model,
        args=args,
        train_dataset=dataset,
        eval_dataset=dataset.select(range(8)),
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
    )
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < before
    rows = flat(first_words(seen))
    assert rows == expected(reference(dataset))
    assert_easy_first(rows, dataset)


@pytest.mark.parametrize("beams", [1, 3])
def test_seq2seq_trainer_generates_and_measures_as_without_a_curriculum(tmp_path, tokenizer, beams):
    texts = [f"{row} {row % 7} {row % 5}" for row in range(ROWS)]
    tokens = tokenizer(texts)["input_ids"]
    dataset, measured = scored(input_ids=tokens, labels=tokens), []

    def exact(prediction):
        ids = np.where(prediction.predictions < 0, 0, prediction.predictions)
        measured.append(ids)
        wanted = np.where(prediction.label_ids < 0, 0, prediction.label_ids)
        right = [tokenizer.decode(row, skip_special_tokens=True) for row in wanted]
        made = tokenizer.batch_decode(ids, skip_special_tokens=True)
        first = np.mean([one.split()[:1] == other.split()[:1] for one, other in zip(made, right, strict=True)])
        return {"first": first, "words": np.mean([len(text.split()) for text in made])}

    def trainer(cls, model, **changed):
        changed |= {"predict_with_generate": True, "generation_max_length": 4, "generation_num_beams": beams}
        return cls(
            model=model,
            args=Seq2SeqTrainingArguments(**options(tmp_path, learning_rate=1e-2, **changed)),
            train_dataset=dataset,
            eval_dataset=dataset.select(range(0, ROWS, 5)),
            processing_class=tokenizer,
            data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
            compute_metrics=exact,
        )

    ours = trainer(CurriculumSeq2SeqTrainer, tiny_t5(), eval_strategy="steps", eval_steps=STEPS)
    ours.train()
    on_the_way = next(log for log in ours.state.log_history if "eval_first" in log)
    ids_on_the_way = measured[-1]
    plain = trainer(Seq2SeqTrainer, ours.model)
    after = plain.evaluate()
    names = {"eval_loss", "eval_first", "eval_words"}
    assert {name: on_the_way[name] for name in names} == {name: after[name] for name in names}
    np.testing.assert_array_equal(measured[-1], ids_on_the_way)
    assert after["eval_words"] > 0 and len(np.unique(ids_on_the_way)) > 4  # something was generated
    held_out = dataset.select(range(1, ROWS, 7))
    predicted = [one.predict(held_out, max_length=6, num_beams=beams + 1) for one in (ours, plain)]
    np.testing.assert_array_equal(predicted[0].predictions, predicted[1].predictions)
    np.testing.assert_array_equal(predicted[0].label_ids, predicted[1].label_ids)
    for name in ("test_loss", "test_first", "test_words"):
        assert predicted[0].metrics[name] == predicted[1].metrics[name]
    assert predicted[0].metrics["test_words"] > after["eval_words"]  # max_length, here of predict


def test_a_next_class_that_chooses_the_rows_itself_is_named():
    class Sorted(Trainer):
        def _get_train_sampler(self, train_dataset=None):
            return torch.utils.data.SequentialSampler(self.train_dataset)

    class Further(Sorted):
        pass

    with pytest.raises(
        TypeError, match=r"cannot stand in front of .*other_trainers\..*Sorted, which chooses the rows"
    ):

        class SortedCurriculum(CurriculumMixin, Further):
            pass


def test_a_mixin_behind_its_trainer_is_refused():
    with pytest.raises(TypeError, match=r"List CurriculumMixin first: class Wrong\(CurriculumMixin, \.\.\.\)"):

        class Wrong(Trainer, CurriculumMixin):
            pass


def test_a_mixin_without_a_trainer_can_be_extended():
    class Extended(CurriculumMixin):
        pass

    class ExtendedTrainer(Extended, Trainer):
        pass

    assert ExtendedTrainer.__mro__.index(CurriculumMixin) < ExtendedTrainer.__mro__.index(Trainer)


def test_a_trainer_that_loads_without_a_sampler_is_refused_when_training_starts(tmp_path):
    class OwnLoader(Trainer):
        def get_train_dataloader(self):
            return DataLoader(self.train_dataset.select_columns("x").with_format("torch"), batch_size=BATCH)

    class OwnLoaderCurriculum(CurriculumMixin, OwnLoader):
        pass

    trainer = OwnLoaderCurriculum(
        model=OneWeight(), args=TrainingArguments(**options(tmp_path)), train_dataset=scored(x=[0.5] * ROWS)
    )
    with pytest.raises(TypeError, match="OwnLoaderCurriculum loads its training data without asking for a sampler"):
        trainer.train()


def test_a_trainer_that_wraps_the_loader_keeps_its_curriculum(tmp_path):
    class Wraps(Trainer):
        def get_train_dataloader(self):
            self.loaders = [super().get_train_dataloader()]
            return self.loaders[0]

    class WrapsCurriculum(CurriculumMixin, Wraps):
        pass

    model = OneWeight()
    seen = watch(model, "x")
    dataset = scored(x=[row / ROWS for row in range(ROWS)])
    WrapsCurriculum(model=model, args=TrainingArguments(**options(tmp_path)), train_dataset=dataset).train()
    assert (torch.cat(seen) * ROWS).round().int().tolist() == expected(reference(dataset))


# TRL


@pytest.fixture
def trl():
    return needs("trl")


@pytest.fixture
def causal_lm():
    torch.manual_seed(0)
    return LlamaForCausalLM(llama_config())


def needs_option(trl, name):
    if name not in {field.name for field in fields(trl.SFTConfig)}:
        pytest.skip(f"SFTConfig of TRL {trl.__version__} has no {name}")


def sft(trl, path, model, tokenizer, dataset, eval_dataset=None, curriculum=None, learned_difficulty=None, **changed):
    class MySFTTrainer(CurriculumMixin, trl.SFTTrainer):
        pass

    return MySFTTrainer(
        model=model,
        args=trl.SFTConfig(**options(path, bf16=False) | changed),
        train_dataset=dataset,
        eval_dataset=eval_dataset,
        processing_class=tokenizer,
        curriculum=curriculum,
        learned_difficulty=learned_difficulty,
    )


@pytest.mark.parametrize(
    "columns",
    [{"text": numbered(" a b")}, {"prompt": numbered(" a"), "completion": [" b c"] * ROWS}],
    ids=["text", "prompt and completion"],
)
def test_sft_trainer_draws_by_the_curriculum(trl, tmp_path, causal_lm, tokenizer, columns):
    dataset, seen = scored(**columns), watch(causal_lm)
    trainer = sft(trl, tmp_path, causal_lm, tokenizer, dataset, eval_dataset=dataset.select(range(10)))
    trainer.train()
    rows = flat(first_words(seen))
    assert rows == expected(reference(dataset))
    assert_easy_first(rows, dataset)
    assert trainer.evaluate()["eval_loss"] > 0
    if "evaluate" in vars(trl.SFTTrainer):  # since TRL 1.7 it takes texts, too
        assert trainer.evaluate(dataset.select(range(20)))["eval_loss"] > 0
    logs = [log for log in trainer.state.log_history if "loss" in log]
    assert all(log["curriculum/mean_difficulty"] > 0 for log in logs) and len(logs) == 4


def test_sft_rows_that_truncation_drops_do_not_shift_the_others(trl, tmp_path, causal_lm, tokenizer):
    if Version(trl.__version__) < Version("1.9"):
        pytest.skip("before TRL 1.9, rows whose completion is cut off stay")
    prompts = [f"{row} a a a" if row % 3 == 0 else f"{row}" for row in range(ROWS)]
    dataset, seen = scored(prompt=prompts, completion=[" b"] * ROWS), watch(causal_lm)
    sft(trl, tmp_path, causal_lm, tokenizer, dataset, max_length=4).train()
    kept = np.array([row for row in range(ROWS) if row % 3])
    drawn = expected(reference(dataset.select(kept)))
    assert flat(first_words(seen)) == kept[drawn].tolist()


def test_sft_trainer_that_shuffles_its_dataset_first_still_draws_by_difficulty(trl, tmp_path, causal_lm, tokenizer):
    needs_option(trl, "shuffle_dataset")
    dataset, seen = scored(text=numbered()), watch(causal_lm)
    trainer = sft(trl, tmp_path, causal_lm, tokenizer, dataset, shuffle_dataset=True)
    trainer.train()
    order = [int(text.split()[0]) for text in trainer.train_dataset["text"][:]]
    assert order != sorted(order)
    rows = flat(first_words(seen))
    assert rows == [order[i] for i in expected(reference(trainer.train_dataset))]
    assert_easy_first(rows, dataset)


def test_sft_trainer_groups_by_length(trl, tmp_path, causal_lm, tokenizer):
    texts = [str(row) + " a" * (row % 13) for row in range(ROWS)]
    dataset, seen = scored(text=texts), watch(causal_lm)
    grouped = {"train_sampling_strategy": "group_by_length"}
    if "group_by_length" in {field.name for field in fields(trl.SFTConfig)}:  # transformers 4
        grouped = {"group_by_length": True}
    sft(trl, tmp_path, causal_lm, tokenizer, dataset, **grouped).train()
    lengths = [len(text.split()) + 1 for text in texts]  # and the end of the text
    rows = first_words(seen)
    assert flat(rows) == expected(reference(dataset, lengths=lengths))
    spread = np.mean([np.ptp([lengths[row] for row in batch]) for batch in rows])
    assert spread < 4 < np.ptp(lengths)


def test_sft_losses_of_rows_are_those_of_the_passes_that_train(trl, tmp_path, causal_lm, tokenizer):
    """A rate of 0: what was noted of a row is what the model gives now, of the words after the prompt."""
    prompts, ends = numbered(""), [" a b"[: 2 + 2 * (row % 2)] for row in range(ROWS)]
    dataset, seen = scored(prompt=prompts, completion=ends), watch(causal_lm)
    learned = LearnedDifficulty("loss", every=10)
    trainer = sft(trl, tmp_path, causal_lm, tokenizer, dataset, learned_difficulty=learned, learning_rate=0)
    trainer.train()
    assert len(seen) == STEPS  # no pass beside those
    rows = sorted({*flat(first_words(seen))})
    assert len(rows) > 50
    noted = trainer._learning._running.means[rows]
    expected = []
    for row in rows:
        tokens = torch.tensor([trainer.train_dataset[row]["input_ids"]])
        labels = tokens.clone()
        labels[:, :1] = -100
        expected.append(float(causal_lm(input_ids=tokens, labels=labels).loss.detach()))
    np.testing.assert_allclose(noted, expected, rtol=1e-4)


def test_sft_run_resumes_inside_the_second_epoch(trl, tmp_path, tokenizer):
    dataset, seen = scored(text=numbered()), []
    for stop, resume in ((20, False), (STEPS, True)):
        torch.manual_seed(0)
        model = LlamaForCausalLM(llama_config())
        batches = watch(model)
        trainer = sft(trl, tmp_path, model, tokenizer, dataset, save_strategy="steps", save_steps=20, max_steps=stop,
                      curriculum=CurriculumConfig(warmup_steps=30))  # fmt: skip
        trainer.train(resume_from_checkpoint=resume)
        seen += first_words(batches)
    assert len(seen) == STEPS
    assert flat(seen) == expected(reference(dataset, config=CurriculumConfig(warmup_steps=30)))


def test_dpo_trainer_draws_by_the_curriculum(trl, tmp_path, causal_lm, tokenizer):
    class MyDPOTrainer(CurriculumMixin, trl.DPOTrainer):
        pass

    causal_lm.save_pretrained(tmp_path / "model")
    model = LlamaForCausalLM.from_pretrained(tmp_path / "model")  # the reference model is loaded from the same place
    dataset, seen = scored(prompt=numbered(""), chosen=[" a"] * ROWS, rejected=[" b"] * ROWS), watch(model)
    args = trl.DPOConfig(**options(tmp_path, bf16=False))
    MyDPOTrainer(model=model, args=args, train_dataset=dataset, processing_class=tokenizer).train()
    rows = flat([batch[:BATCH] for batch in first_words(seen)])  # the chosen answers come first
    assert rows == expected(reference(dataset))
    assert_easy_first(rows, dataset)


def test_reward_trainer_draws_by_the_curriculum(trl, tmp_path, tokenizer):
    class MyRewardTrainer(CurriculumMixin, trl.RewardTrainer):
        pass

    torch.manual_seed(0)
    model = LlamaForSequenceClassification(llama_config(num_labels=1))
    dataset, seen = scored(chosen=numbered(" a"), rejected=numbered(" b")), watch(model)
    args = trl.RewardConfig(**options(tmp_path, bf16=False))
    MyRewardTrainer(model=model, args=args, train_dataset=dataset, processing_class=tokenizer).train()
    chosen = [[ids for ids in batch if VOCABULARY[ids[1]] == "a"] for batch in seen]  # TRL of 2025 has batches of them
    rows = flat(first_words(chosen))
    assert rows == expected(reference(dataset))
    assert_easy_first(rows, dataset)


@pytest.mark.parametrize("name", ["GRPO", "RLOO"])
def test_once_their_shuffling_is_off_they_take_sorted_rows_in_order(trl, tmp_path, causal_lm, tokenizer, name):
    """The way out that the error names."""
    groups = []

    def reward(prompts, completions, **columns):
        groups.extend(dict.fromkeys(prompts))
        return [float(len(completion)) for completion in completions]

    causal_lm.save_pretrained(tmp_path / "model")
    dataset = scored(prompt=numbered("")).sort("difficulty")
    changed = {"bf16": False, "max_steps": 3, "num_generations": 4, "max_completion_length": 2, "beta": 0.0}
    args = getattr(trl, f"{name}Config")(**options(tmp_path, shuffle_dataset=False, **changed))
    getattr(trl, f"{name}Trainer")(
        model=str(tmp_path / "model"),
        args=args,
        train_dataset=dataset,
        processing_class=tokenizer,
        reward_funcs=reward,
    ).train()
    assert groups == dataset["prompt"][:6]


# Sentence Transformers

DIGITS = ["red", "green", "blue", "cat", "dog", "bird", "small", "large"]


@pytest.fixture
def st():
    return sentence_transformers


def octal(row) -> str:
    return " ".join(DIGITS[row // 8**place % 8] for place in (2, 1, 0))


@pytest.fixture(scope="module")
def pairs(tiny_bert) -> Dataset:
    """Two texts a row, scored by the first of them; the second starts with one word more."""
    texts = [octal(row) for row in range(ROWS)]
    dataset = Dataset.from_dict({"anchor": texts, "positive": [f"red {text}" for text in texts]})
    return add_difficulty(dataset, tiny_bert, input_column="anchor", n_clusters=4)


@pytest.fixture
def embedder(st, tiny_bert):
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    torch.manual_seed(0)
    return st.SentenceTransformer(modules=[Transformer(tiny_bert), Pooling(32)], device="cpu")


def embedding_trainer(st, path, model, dataset, eval_dataset=None, loss=None, curriculum=None, **changed):
    class MyTrainer(CurriculumMixin, st.SentenceTransformerTrainer):
        pass

    return MyTrainer(
        model=model,
        args=st.SentenceTransformerTrainingArguments(**options(path, **changed)),
        train_dataset=dataset,
        eval_dataset=eval_dataset,
        loss=loss,
        curriculum=curriculum,
    )


def loss_of(name, model):
    from sentence_transformers.sentence_transformer import losses

    return getattr(losses, name)(model)


def texts_of(batches, model) -> list[list[str]]:
    return [model.tokenizer.batch_decode(batch, skip_special_tokens=True) for batch in batches]


def octal_rows(texts) -> list[int]:
    return [sum(DIGITS.index(word) * 8**place for place, word in enumerate(text.split()[::-1])) for text in texts]


@pytest.mark.parametrize("case", ["pairs", "label"])
def test_sentence_transformer_trainer_draws_by_the_curriculum(st, tmp_path, embedder, pairs, case):
    name = {"pairs": "MultipleNegativesRankingLoss", "label": "CosineSimilarityLoss"}[case]
    dataset = pairs if case == "pairs" else pairs.add_column("label", [row / ROWS for row in range(ROWS)])
    loss = loss_of(name, embedder)
    seen, labels = watch(embedder[0]), []
    loss.register_forward_pre_hook(lambda _, args: labels.append(args[1]) if loss.training else None)
    trainer = embedding_trainer(st, tmp_path, embedder, dataset, loss=loss)
    assert {"embedding", "cluster", "distance", "difficulty"} <= set(trainer.train_dataset.column_names)
    trainer.train()

    texts = texts_of(seen, embedder)
    assert len(texts) == 2 * STEPS  # anchors and positives by turns: no other column was embedded
    anchors, positives = flat(texts[::2]), flat(texts[1::2])
    assert positives == [f"red {text}" for text in anchors]
    rows = octal_rows(anchors)
    assert rows == expected(reference(pairs))
    assert_easy_first(rows, pairs)
    if case == "label":
        assert (torch.cat(labels) * ROWS).round().int().tolist() == rows


def test_sentence_transformer_trainer_is_not_shown_what_the_margin_adds_nor_scores_that_are_not_read(
    st, tmp_path, embedder, pairs
):
    seen, random = watch(embedder[0]), CurriculumConfig(order="random")
    dataset = pairs.add_column("suggested_label", ["blue"] * ROWS)
    loss = loss_of("MultipleNegativesRankingLoss", embedder)
    embedding_trainer(st, tmp_path, embedder, dataset, loss=loss, curriculum=random).train()
    texts = texts_of(seen, embedder)
    assert len(texts) == 2 * STEPS
    sampler = CurriculumSampler(None, random, rows=ROWS, total_batch_size=BATCH, total_steps=STEPS, seed=7)
    assert octal_rows(flat(texts[::2])) == expected(sampler)


def test_sentence_transformer_trainer_evaluates_on_scored_data(st, tmp_path, embedder, pairs):
    def evaluated(eval_dataset, *given):
        loss = loss_of("MultipleNegativesRankingLoss", embedder)
        trainer = embedding_trainer(st, tmp_path, embedder, pairs, eval_dataset, loss=loss, eval_strategy="no")
        return trainer.evaluate(*given)

    held_out = pairs.select(range(16))
    bare = held_out.select_columns(["anchor", "positive"])
    plain = evaluated(bare)["eval_loss"]
    assert evaluated(held_out)["eval_loss"] == pytest.approx(plain)
    assert evaluated(None, held_out)["eval_loss"] == pytest.approx(plain)
    both = evaluated({"first": held_out, "second": bare})
    assert both["eval_first_loss"] == both["eval_second_loss"] == pytest.approx(plain)


def test_evaluating_on_the_training_data_leaves_its_curriculum_alone(st, tmp_path, embedder, pairs):
    trainer = embedding_trainer(st, tmp_path, embedder, pairs, loss=loss_of("MultipleNegativesRankingLoss", embedder))
    trainer.evaluate(trainer.train_dataset)
    assert trainer.curriculum_sampler is None


def test_scores_stay_out_of_the_model_card(st, tmp_path, embedder, pairs):
    embedding_trainer(st, tmp_path, embedder, pairs, loss=loss_of("MultipleNegativesRankingLoss", embedder))
    shown = embedder.model_card_data.train_datasets[0]
    assert list(shown["stats"]) == ["anchor", "positive"]


def test_a_difficulty_that_is_the_label_still_reaches_the_loss(st, tmp_path, embedder, pairs):
    values = np.random.default_rng(1).random(ROWS).astype(np.float32)
    dataset, loss, labels = pairs.add_column("score", values), loss_of("CosineSimilarityLoss", embedder), []
    loss.register_forward_pre_hook(lambda _, args: labels.append(args[1]))
    curriculum = CurriculumConfig(difficulty_column="score", order="hard_first")  # the most similar pairs first
    embedding_trainer(st, tmp_path, embedder, dataset, loss=loss, curriculum=curriculum).train()
    drawn = expected(CurriculumSampler(values, curriculum, total_batch_size=BATCH, total_steps=STEPS, seed=7))
    np.testing.assert_array_equal(torch.cat(labels).numpy(), values[drawn])
    assert values[drawn[:80]].mean() > values[drawn[-160:]].mean() + 0.1


def test_sentence_transformer_run_resumes_inside_the_second_epoch(st, tmp_path, tiny_bert, pairs):
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    seen = []
    for stop, resume in ((20, False), (STEPS, True)):
        model = st.SentenceTransformer(modules=[Transformer(tiny_bert), Pooling(32)], device="cpu")
        batches = watch(model[0])
        trainer = embedding_trainer(
            st,
            tmp_path,
            model,
            pairs,
            loss=loss_of("MultipleNegativesRankingLoss", model),
            curriculum=CurriculumConfig(warmup_steps=30),
            save_strategy="steps",
            save_steps=20,
            max_steps=stop,
        )
        trainer.train(resume_from_checkpoint=resume)
        seen += texts_of(batches, model)[::2]
    assert octal_rows(flat(seen)) == expected(reference(pairs, config=CurriculumConfig(warmup_steps=30)))


@pytest.mark.parametrize("strategy", ["no_duplicates", "group_by_label"])
def test_other_batch_samplers_are_refused(st, tmp_path, embedder, pairs, strategy):
    with pytest.raises(
        ValueError, match=rf"which rows a batch holds: batch_sampler=.*{strategy}.*\['batch_sampler'\]"
    ):
        embedding_trainer(
            st,
            tmp_path,
            embedder,
            pairs,
            loss=loss_of("MultipleNegativesRankingLoss", embedder),
            batch_sampler=strategy,
        )


def test_several_training_datasets_are_refused(st, tmp_path, embedder, pairs):
    with pytest.raises(TypeError, match=r"got DatasetDict\. Pass one split, e\.g\. dataset\['first'\]"):
        embedding_trainer(
            st,
            tmp_path,
            embedder,
            {"first": pairs, "second": pairs},
            loss=loss_of("MultipleNegativesRankingLoss", embedder),
        )


# Streams


def drawn_easy_first(rows, dataset):
    """Rows of a training on a stream: all batches full, easy ones first, and later all of them."""
    assert len(rows) == STEPS * BATCH
    assert_easy_first(rows, dataset)
    assert len(set(rows[-ROWS:])) > 0.6 * ROWS


def test_seq2seq_trainer_takes_a_stream(tmp_path, tokenizer):
    class MySeq2SeqTrainer(CurriculumMixin, Seq2SeqTrainer):
        pass

    tokens = tokenizer(numbered())["input_ids"]
    dataset, model = scored(input_ids=tokens, labels=tokens), tiny_t5()
    seen = watch(model)
    args = Seq2SeqTrainingArguments(**options(tmp_path, remove_unused_columns=True))
    collator = DataCollatorForSeq2Seq(tokenizer, model=model)
    stream = dataset.to_iterable_dataset(num_shards=2)
    MySeq2SeqTrainer(model=model, args=args, train_dataset=stream, data_collator=collator).train()
    drawn_easy_first(flat(first_words(seen)), dataset)


def test_sft_trainer_takes_a_stream_and_resumes(trl, tmp_path, tokenizer):
    dataset, seen = scored(text=numbered()), {"whole": [], "cut": []}
    for name, stops in (("whole", [STEPS]), ("cut", [17, STEPS])):
        for stop in stops:
            torch.manual_seed(0)
            model = LlamaForCausalLM(llama_config())
            batches = watch(model)
            stream = dataset.to_iterable_dataset(num_shards=2)
            changed = {"save_strategy": "steps", "save_steps": 17, "max_steps": stop}
            trainer = sft(trl, tmp_path / name, model, tokenizer, stream, curriculum=CurriculumConfig(warmup_steps=20),
                          **changed)  # fmt: skip
            trainer.train(resume_from_checkpoint=stop == STEPS and name == "cut")
            seen[name] += first_words(batches)
    assert seen["cut"] == seen["whole"]
    drawn_easy_first(flat(seen["whole"]), dataset)


def test_sentence_transformer_trainer_takes_a_stream(st, tmp_path, embedder, pairs):
    seen = watch(embedder[0])
    loss = loss_of("MultipleNegativesRankingLoss", embedder)
    embedding_trainer(st, tmp_path, embedder, pairs.to_iterable_dataset(num_shards=2), loss=loss).train()
    texts = texts_of(seen, embedder)
    assert len(texts) == 2 * STEPS  # anchors and positives by turns: no other column was embedded
    drawn_easy_first(octal_rows(flat(texts[::2])), pairs)
