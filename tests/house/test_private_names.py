"""Private names of other libraries: all that the package uses, why, and what shows that they still mean the same."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import PreTrainedModel, Trainer, ViTMAEConfig, ViTMAEForPreTraining, Wav2Vec2Config, Wav2Vec2Model
from transformers.integrations.peft import PeftAdapterMixin

import hf_curriculum
from hf_curriculum.cli.demo import set_positions
from hf_curriculum.training import CurriculumMixin
from hf_curriculum.training.resumable import Resumable

PACKAGE = Path(hf_curriculum.__file__).parent
TESTS = Path(__file__).parents[1]

PRIVATE = {
    # name: (files that use it, what it is and why there is no public way, tests that fail when it goes)
    "_indices": (
        {"data/columns.py"},
        "datasets.Dataset: row numbers after select or shuffle; the public way gathers row by row, 118 times slower",
        ["house/test_private_names.py::test_indices_are_the_rows_that_were_selected"],
    ),
    "_fingerprint": (
        {"embedding/column.py"},
        "datasets.Dataset: tells the rows apart; each cache of datasets is keyed by it, but nothing public reads it",
        ["house/test_private_names.py::test_a_fingerprint_is_that_of_the_rows"],
    ),
    "_attn_implementation": (
        {"encoders/hub.py"},
        "transformers' configs: how attention is computed, which rounds differently; it is in no public part of them",
        ["embedding/test_keys.py::test_the_computation_of_attention_is_part_of_the_key"],
    ),
    "_name_or_path": (
        {"encoders/hub.py"},
        "transformers' configs: where the model was loaded from, a key of to_dict() that a hash leaves out",
        ["embedding/test_keys.py::test_the_place_of_a_model_is_no_part_of_its_key"],
    ),
    "_get_feat_extract_output_lengths": (
        {"encoders/audio.py"},
        "transformers' audio models: frames that so many samples give; the mask of the hidden states is made of it",
        ["house/test_private_names.py::test_output_lengths_are_those_of_the_hidden_states"],
    ),
    "_is_hf_initialized": (
        {"cli/demo.py"},
        "transformers' modules: marks weights as made, so that MAE's fixed positions stay zero",
        ["house/test_private_names.py::test_a_masked_autoencoder_gets_its_positions"],
    ),
    "_hf_peft_config_loaded": (
        {"training/weights.py"},
        "transformers' models: adapters are loaded, and these alone are saved",
        ["house/test_private_names.py::test_a_model_says_whether_adapters_are_loaded"],
    ),
    "_get_train_sampler": (
        {"training/trainer.py", "training/trainer_checks.py"},
        "Trainer: the one hook where it asks for the order of rows",
        ["training/test_trainer.py", "house/test_private_names.py::test_hooks_of_the_trainer_are_there"],
    ),
    "_save_checkpoint": (
        {"training/resumable.py"},
        "Trainer: the hook before a checkpoint is written, over an older one perhaps; and the one moment before "
        "trainer_state.json is written at which all processes are there: on_save is after it, so that a run that is "
        "killed in between would leave a checkpoint without the stream's state",
        [
            "training/test_stream_processes.py::test_processes_resume_a_stream_exactly",
            "training/test_checkpoint.py::test_a_save_that_breaks_off_over_an_older_checkpoint_leaves_no_mixture",
            "house/test_private_names.py::test_hooks_of_the_trainer_are_there",
        ],
    ),
    "_push_from_checkpoint": (
        {"training/resumable.py"},
        "Trainer: the moment after a checkpoint is written and before it is pushed, which on_save comes after",
        [
            "training/test_pushing.py::test_checksums_on_the_hub_are_those_of_the_files_beside_them",
            "house/test_private_names.py::test_hooks_of_the_trainer_are_there",
        ],
    ),
    "_save": (
        {"training/resumable.py"},
        "Trainer: where the state of a compiled model gets names under which PEFT saves nothing",
        ["training/test_checkpoint.py::test_adapters_of_peft_are_saved_and_loaded"],
    ),
    "_get_output_dir": (
        {"training/resumable.py"},
        "Trainer: where checkpoints of a trial go",
        [
            "training/test_checkpoint.py::test_a_save_that_breaks_off_over_an_older_checkpoint_leaves_no_mixture",
            "house/test_private_names.py::test_hooks_of_the_trainer_are_there",
        ],
    ),
    "_keys_to_ignore_on_save": (
        {"training/weights.py"},
        "transformers' models: weights that no checkpoint holds, and that are not missed",
        ["house/test_private_names.py::test_a_model_says_which_weights_it_does_not_save"],
    ),
    "_checkpoint_conversion_mapping": (
        {"training/weights.py"},
        "models of transformers 4: names under which weights are saved",
        ["training/test_checkpoint.py::test_weights_are_read_from_every_layout"],
    ),
    "_step": (
        {"training/groups.py", "training/learning.py"},
        "TRL's trainers that generate: batches since the process started, by which they know when to generate",
        ["training/test_generating_trainers.py::test_a_run_resumed_inside_a_generation_batch_uses_up_its_prompts"],
    ),
    "_buffered_inputs": (
        {"training/groups.py"},
        "TRL's trainers that generate: completions of the training before",
        ["training/test_generating_trainers.py::test_a_second_training_of_a_trainer_starts_with_a_generation_batch"],
    ),
    "_calculate_rewards": (
        {"training/trainer.py", "training/trainer_checks.py"},
        "TRL's GRPO and RLOO: the one place where the rewards of all processes are, by completion",
        ["training/test_generating_trainers.py::test_prompts_near_the_target_come_first_by_tables_made_by_hand"],
    ),
    "_generate_and_score_completions": (
        {"training/trainer_checks.py"},
        "TRL's trainers that generate: who has it trains on texts of its own, whose losses tell nothing",
        ["training/test_generating_trainers.py::test_losses_of_texts_that_the_model_made_are_refused"],
    ),
    "_prepare_dataset": (
        {"training/trainer.py"},
        "TRL's SFTTrainer: packs the rows that it has tokenised, and keeps no other column",
        ["training/test_packing.py::test_sft_trainer_draws_packs_by_the_curriculum_and_resumes"],
    ),
    "_load_from_checkpoint": (
        {"training/resumable.py"},
        "Trainer: the hook where a resumed run reads its weights (transformers issue 48805)",
        [
            "training/test_checkpoint.py::test_a_model_whose_weights_are_renamed_resumes_with_those_of_the_checkpoint",
            "house/test_private_names.py::test_hooks_of_the_trainer_are_there",
        ],
    ),
    "_load_best_model": (
        {"training/resumable.py"},
        "Trainer: the hook where load_best_model_at_end reads its weights",
        [
            "training/test_checkpoint.py::test_the_best_model_is_loaded_at_the_end",
            "house/test_private_names.py::test_hooks_of_the_trainer_are_there",
        ],
    ),
    "_inner_training_loop": (
        {"training/resumable.py"},
        "Trainer: reads the setting by which it reads a stream again from its start (transformers issue 31441)",
        ["training/test_stream_training.py::test_a_resumed_run_goes_on_exactly"],
    ),
    "_load_callback_state": (
        {"training/resumable.py"},
        "Trainer: called once the state of a checkpoint is there, before anything compares with its best",
        ["training/test_checkpoint.py::test_a_resumed_run_whose_best_is_gone_takes_the_best_to_come"],
    ),
    "_maybe_log_save_evaluate": (
        {"training/resumable.py"},
        "Trainer: called after each step, before its log and its checkpoint",
        ["training/test_stream_training.py::test_an_epoch_that_is_ended_early_goes_on"],
    ),
    "_ex_iterable": (
        {"training/stream_rows.py"},
        "datasets.IterableDataset: its steps. Only a step learns into how many parts a stream is divided, and stands "
        "before the decoding; a function that map calls is told neither",
        ["training/test_stream.py::test_readers_share_out_a_pass_and_follow_one_schedule"],
    ),
    "_init_state_dict": (
        {"training/stream.py", "training/stream_rows.py", "training/sorted_parquet.py"},
        "datasets: what a step of a stream defines, so that state_dict and load_state_dict reach it",
        ["training/test_stream.py::test_a_stream_of_any_kind_is_resumed_exactly"],
    ),
    "_fetch_range": (
        {"training/sorted_parquet.py"},
        "fsspec's files: fetches some bytes; handed to a cache that fetches no others, which cannot be asked for as "
        "datasets opens the file",
        ["training/test_sorted_parquet.py::test_over_the_hub_no_more_is_read"],
    ),
    "_formatting": (
        {"training/stream_rows.py"},
        "datasets.IterableDataset: its format, which has no public name there as it has in Dataset",
        ["training/test_stream.py::test_the_columns_and_features_stay"],
    ),
    "_token_per_repo_id": (
        {"training/stream_rows.py"},
        "datasets.IterableDataset: gives access to media of private repositories; handed on as it is",
        ["training/test_stream.py::test_a_stream_of_any_kind"],
    ),
    "_column_requires_decoding": (
        {"training/stream_rows.py"},
        "datasets.Features: whether there are media; to decode rows without any would halve the rows a second",
        ["training/test_stream.py::test_only_rows_that_come_out_are_decoded"],
    ),
    "_distributed": (
        {"training/stream_rows.py"},
        "datasets.IterableDataset: what split_dataset_by_node did to it",
        ["training/test_stream_training.py::test_part_of_a_stream_is_trained_on_by_one_process"],
    ),
    **dict.fromkeys(
        ("_core", "_codecs", "_reconstruct", "_frombuffer"),
        (
            {"curriculum_learning/pickled.py"},
            "numpy, codecs: names in pickles of arrays; compared with what a file says, never imported or called",
            ["curriculum_learning/test_weights_file.py::test_files_of_the_reference_are_converted"],
        ),
    ),
    "_hf_hook": (
        {"embedding/forward.py"},
        "accelerate: marks modules whose weights its hooks bring to the device; moving such a model would undo that",
        ["encoders/test_given_models.py::test_an_offloaded_module_gives_what_it_gives_at_home"],
    ),
    "_save_pretrained": (
        {"scoring/pretrained.py"},
        "ModelHubMixin: documented for subclasses, in spite of its name. Its counterpart _from_pretrained is not "
        "used: before it the mixin reads config.json, whatever its size, and does not name the file that is damaged",
        ["scoring/test_scorer_files.py::test_the_files_are_those_of_the_format"],
    ),
    "_hub_mixin_config": (
        {"scoring/pretrained.py"},
        "ModelHubMixin: where it is set, the arguments of __init__ are left alone, of which a clusterer can be any",
        ["scoring/test_scorer_files.py::test_a_clusterer_is_left_alone_whatever_it_is"],
    ),
}

INNER_MODULES = {
    "datasets.arrow_dataset": "transmit_format: by which map keeps format and transform of a dataset; so do we",
    "datasets.arrow_writer": (
        "ArrowWriter: rows of a torch dataset to a file, one by one. Dataset.from_generator, the public way, hashes "
        "all that the dataset holds; from datasets 4.3 on fingerprint= spares that, and it can take its place"
    ),
    "datasets.formatting.formatting": (
        "LazyBatch, LazyRow: what map hands over, in which a row that nobody has looked at is not decoded; pa_table "
        "has its bytes. Without them a batch would be read as a dictionary, decoded, and encoded again"
    ),
    "datasets.iterable_dataset": (
        "the steps of a stream: those that a reader puts around its rows, and the base of our own (see _ex_iterable)"
    ),
    "transformers.models.auto.modeling_auto": "names of the models that shift their labels; Trainer asks it, too",
    "datasets.packaged_modules.parquet.parquet": "Parquet: tells a stream of such files, and has its options",
    "datasets.table": (
        "embed_table_storage, table_cast: the bytes of media files into a table, as push_to_hub puts them there; a "
        "table as its features say, as the reader of Parquet makes it"
    ),
    "datasets.utils.file_utils": "xopen: opens a file of a stream, wherever it lies, as datasets itself does",
}
"""Modules without documentation that the package imports from; the tests of what uses them fail when they go."""

LIBRARIES = ("accelerate", "datasets", "huggingface_hub", "sklearn", "torch", "transformers")
FILES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
NAME = re.compile(r"_[a-z][a-z0-9_]*[a-z0-9]")


def own_attributes(trees):
    """Private names of methods and attributes of the package's classes."""
    names = set()
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                names |= {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
                targets = [t for item in node.body if isinstance(item, ast.Assign) for t in item.targets]
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
                names.add(node.attr)
    return names


def is_self(node):
    return isinstance(node, ast.Name) and node.id in ("self", "cls", "scorer")  # a scorer makes scorers


def foreign(tree, own):
    """Private names of a file that its package does not define: attributes, imports, keywords, names in strings."""
    pieces = {id(piece) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for piece in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and NAME.fullmatch(node.attr) and node.attr not in own:
            yield node.attr
        elif isinstance(node, ast.ImportFrom) and not node.module.startswith("hf_curriculum"):
            yield from (
                name for name in [*node.module.split("."), *(a.name for a in node.names)] if NAME.fullmatch(name)
            )
        elif isinstance(node, ast.Import):
            yield from (name for alias in node.names for name in alias.name.split(".") if NAME.fullmatch(name))
        elif isinstance(node, ast.keyword) and NAME.fullmatch(node.arg or ""):
            yield node.arg
        elif (
            isinstance(node, ast.Constant)
            and id(node) not in pieces
            and isinstance(node.value, str)
            and NAME.fullmatch(node.value)
            and node.value not in own
        ):
            yield node.value


def overridden():
    """Private names that a class of the package takes over from a class of another library, and the file."""
    for file in FILES:
        if file.endswith("__.py"):
            continue
        module = importlib.import_module(f"hf_curriculum.{file.removesuffix('.py').replace('/', '.')}")
        for kind in vars(module).values():
            if inspect.isclass(kind) and kind.__module__ == module.__name__:
                bases = (*kind.__mro__, *([Trainer] if kind in (CurriculumMixin, Resumable) else []))
                others = [base for base in bases if base.__module__.split(".")[0] in LIBRARIES]
                taken = {name for name in vars(kind) for base in others if name in vars(base)}
                yield from ((name, file) for name in taken if NAME.fullmatch(name))


def test_no_private_name_of_another_library_is_used_but_those_of_the_table():
    trees = {file: ast.parse(path.read_text()) for file, path in FILES.items()}
    own = own_attributes(trees.values()) - PRIVATE.keys()
    used = {(name, file) for file, tree in trees.items() for name in foreign(tree, own)} | set(overridden())
    table = {(name, file) for name, (files, _, _) in PRIVATE.items() for file in files}
    assert {(name, file) for name, file in used - table} == set()
    assert table - used == set()


@pytest.mark.parametrize("name", PRIVATE)
def test_each_has_tests(name):
    for test in PRIVATE[name][2]:
        file, _, function = test.partition("::")
        assert f"def {function}" in (TESTS / file).read_text()


def test_inner_modules_are_those_of_the_table():
    documented = {
        *(
            "accelerate.utils",
            "accelerate.utils.memory",
            "datasets.exceptions",
            "datasets.formatting",
            "datasets.fingerprint",
            "datasets.info",
        ),
        *("datasets.utils.tqdm", "huggingface_hub.errors", "huggingface_hub.utils", "transformers.audio_utils"),
        *("transformers.trainer_utils", "transformers.utils"),
    }
    found = {
        node.module
        for file, path in FILES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        and re.match(r"(accelerate|datasets|huggingface_hub|transformers)\.", node.module)
    }
    assert found - documented == INNER_MODULES.keys()


@pytest.mark.parametrize(
    "code, names",
    [
        ("self._mine + other._mine", []),
        ("dataset._indices.column(0)", ["_indices"]),
        ("self.model._private()", ["_private"]),
        ("super()._private()", ["_private"]),
        ("from other import _private", ["_private"]),
        ("from other._inner import public", ["_inner"]),
        ("import other._inner", ["_inner"]),
        ("from hf_curriculum._optional import require_extra", []),
        ("function(_private=False)", ["_private"]),
        ("getattr(model, '_private', None)", ["_private"]),
        ("name.__class__, '__init__', '_', 'a_b'", []),
    ],
)
def test_the_check_sees_private_names(code, names):
    assert list(foreign(ast.parse(code), {"_mine"})) == names


# --- what they mean -----------------------------------------------------------------------------------------------


def test_indices_are_the_rows_that_were_selected():
    dataset = Dataset.from_dict({"a": [10, 11, 12, 13]})
    assert dataset._indices is None
    chosen = dataset.select([3, 0, 0])
    assert chosen._indices.column(0).to_pylist() == [3, 0, 0] and len(chosen.data.column("a")) == 4


def test_a_fingerprint_is_that_of_the_rows():
    one, other = (Dataset.from_dict({"a": [value]}) for value in (1, 2))
    assert one._fingerprint == Dataset.from_dict({"a": [1]})._fingerprint != other._fingerprint
    assert one.select([0, 0])._fingerprint != one._fingerprint


def test_output_lengths_are_those_of_the_hidden_states():
    config = Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=(8,) * 7
    )
    model = Wav2Vec2Model(config).eval()
    for samples in (500, 1000, 1999):
        frames = model(torch.zeros(1, samples)).last_hidden_state.shape[1]
        assert int(model._get_feat_extract_output_lengths(torch.tensor(samples))) == frames


def test_a_masked_autoencoder_gets_its_positions():
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    of_decoder = {f"decoder_{name}": size for name, size in sizes.items()}
    model = ViTMAEForPreTraining(ViTMAEConfig(image_size=8, patch_size=2, num_channels=1, **sizes, **of_decoder))
    set_positions(model)
    for positions in (model.vit.embeddings.position_embeddings, model.decoder.decoder_pos_embed):
        assert len(torch.unique(positions[0], dim=0)) == 17  # 16 patches and the class token, each its own


def test_a_model_says_whether_adapters_are_loaded():
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    assert Wav2Vec2Model(Wav2Vec2Config(**sizes))._hf_peft_config_loaded is False
    # peft itself is not among the packages of the tests.
    assert "self._hf_peft_config_loaded = True" in inspect.getsource(PeftAdapterMixin.add_adapter)


def test_a_model_says_which_weights_it_does_not_save():
    assert "self._keys_to_ignore_on_save" in inspect.getsource(PreTrainedModel.save_pretrained)


def test_hooks_of_the_trainer_are_there():
    source = inspect.getsource(Trainer)
    hooks = ("_get_train_sampler", "_load_from_checkpoint", "_load_best_model", "_save_checkpoint", "_get_output_dir")
    more = ("_load_callback_state", "_maybe_log_save_evaluate", "_push_from_checkpoint", "set_initial_training_values")
    for name in (*hooks, *more):
        assert name in vars(Trainer) and len(re.findall(rf"self\.{name}\b", source)) > 0
