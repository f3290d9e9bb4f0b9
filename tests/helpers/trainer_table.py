"""The trainers: the table of docs/trainers.md is made from this list, each row of which names the tests that train it.

``python tests/helpers/trainer_table.py`` writes the table.
"""

import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "trainers.md"
TESTS = Path(__file__).parents[1] / "training"
TABLE = re.compile(r"(?<=<!-- trainers:begin -->\n).*(?=<!-- trainers:end -->)", re.DOTALL)


@dataclass(frozen=True)
class Row:
    """What of a trainer works since which release, what is refused, and the tests that show both."""

    trainer: str
    works: str
    since: str
    refused: str
    tests: tuple[str, ...]


ROWS = [
    Row(
        "`Trainer`",
        "columns, `difficulty=`, torch datasets, streams, losses that are learned, length groups",
        "transformers 4.57",
        "difficulties of a stream beside it",
        (
            "test_as_trainer.test_any_data_with_difficulties_beside_it_is_drawn_by_the_curriculum",
            "test_trainer_options.test_an_option_does_what_it_does_without_a_curriculum_on_the_same_rows",
            "test_learned.test_rows_follow_their_losses_on_any_number_of_processes_and_after_a_resume",
            "test_as_trainer.test_difficulties_that_do_not_fit_are_refused_as_the_trainer_is_made",
        ),
    ),
    Row(
        "`Seq2SeqTrainer`",
        "as `Trainer`; generation at evaluation",
        "transformers 4.57",
        "as `Trainer`",
        (
            "test_other_trainers.test_seq2seq_trainer_teaches_t5_to_reverse_its_input_easy_first",
            "test_other_trainers.test_seq2seq_trainer_takes_a_stream",
            "test_other_trainers.test_seq2seq_trainer_generates_and_measures_as_without_a_curriculum",
        ),
    ),
    Row(
        "`SFTTrainer`",
        "streams; packs of one difficulty, by each strategy",
        "TRL 0.20",
        "packs of a stream, or with rows that have no difficulty: such a pack has none",
        (
            "test_other_trainers.test_sft_trainer_draws_by_the_curriculum",
            "test_packing.test_sft_trainer_draws_packs_by_the_curriculum_and_resumes",
            "test_packing.test_a_stream_is_not_packed",
            "test_packing.test_rows_without_a_difficulty_are_not_packed",
        ),
    ),
    Row(
        "`DPOTrainer`, `RewardTrainer`",
        "a `Dataset`",
        "TRL 0.20",
        "",
        (
            "test_other_trainers.test_dpo_trainer_draws_by_the_curriculum",
            "test_other_trainers.test_reward_trainer_draws_by_the_curriculum",
        ),
    ),
    Row(
        "`GRPOTrainer`",
        "prompts of a generation batch, groups, iterations, resume; rewards that are learned",
        "TRL 0.20",
        "a stream, whose rows TRL repeats itself; losses that are learned: the texts are the model's own",
        (
            "test_generating_trainers.test_a_generation_batch_has_the_planned_prompts_each_in_one_group",
            "test_generating_trainers.test_a_run_resumed_inside_a_generation_batch_uses_up_its_prompts",
            "test_generating_trainers.test_a_stream_of_prompts_is_refused",
            "test_generating_trainers.test_losses_of_texts_that_the_model_made_are_refused",
        ),
    ),
    Row(
        "`RLOOTrainer`",
        "as `GRPOTrainer`",
        "TRL 0.22",
        "as `GRPOTrainer`",
        (
            "test_generating_trainers.test_the_other_trainers_that_generate",
            "test_generating_trainers.test_prompts_near_the_target_come_first_by_tables_made_by_hand",
        ),
    ),
    Row(
        "`DistillationTrainer`",
        "as `GRPOTrainer`, without rewards",
        "TRL 1.10",
        "as `GRPOTrainer`",
        ("test_generating_trainers.test_the_other_trainers_that_generate",),
    ),
    Row(
        "`KTOTrainer`",
        '`loss_type="apo_zero_unpaired"`',
        "TRL 1.8",
        '`loss_type="kto"`, which needs the order of the dataset',
        (
            "test_generating_trainers.test_kto_draws_by_the_curriculum_where_its_loss_needs_no_order",
            "test_generating_trainers.test_kto_whose_loss_needs_its_order_is_refused",
        ),
    ),
    Row(
        "`SentenceTransformerTrainer`",
        "one dataset or stream",
        "Sentence Transformers 5",
        "several datasets, which have no common numbers; other batch samplers, which choose rows too",
        (
            "test_other_trainers.test_sentence_transformer_trainer_draws_by_the_curriculum",
            "test_other_trainers.test_sentence_transformer_trainer_takes_a_stream",
            "test_other_trainers.test_several_training_datasets_are_refused",
            "test_other_trainers.test_other_batch_samplers_are_refused",
        ),
    ),
    Row(
        "Ultralytics' `DetectionTrainer`",
        "`CurriculumSampler` in its loader, resume at an epoch ([recipe](use_cases.md#yolo-of-ultralytics))",
        "Ultralytics 8.4",
        "",
        ("test_ultralytics.test_a_yolo_trains_on_the_rows_of_the_sampler_and_resumes",),
    ),
]


def table() -> str:
    """The rows."""
    lines = ["| trainer | what works | since | what is refused, and why |", "|---|---|---|---|"]
    lines += [f"| {row.trainer} | {row.works} | {row.since} | {row.refused} |" for row in ROWS]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(TABLE.sub(lambda _: table(), PAGE.read_text()))
