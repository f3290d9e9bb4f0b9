"""A training under FSDP on CPU processes that prints its rows; ``worker_sharded.py FOLDER [CHECKPOINT]``."""

import json
import os
import sys
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import DistributedType
from launching import end_group
from tiny import ROWS, first_words, llama_config, options, scored, watch, word_tokenizer
from transformers import DataCollatorForSeq2Seq, LlamaForCausalLM, TrainingArguments, set_seed

from hf_curriculum import CurriculumTrainer


def main(out, *checkpoint):
    os.environ["ACCELERATE_USE_FSDP"] = "true"
    set_seed(0)
    model, tokenizer = LlamaForCausalLM(llama_config()), word_tokenizer()
    tokens = tokenizer([f"{row} a b" for row in range(ROWS)])["input_ids"]
    wrap = {"auto_wrap_policy": "TRANSFORMER_BASED_WRAP", "transformer_layer_cls_to_wrap": ["LlamaDecoderLayer"]}
    changed = {"per_device_train_batch_size": 4, "max_steps": 6, "save_strategy": "steps", "save_steps": 3}
    fsdp = {"fsdp": True, "fsdp_config": {"fsdp_version": 2, "state_dict_type": "SHARDED_STATE_DICT", **wrap}}
    args = TrainingArguments(**options(out, **changed, **fsdp))
    args.device  # noqa: B018 - starts the process group
    # accelerate shards models of GPUs only, and makes DDP of others without a word; torch shards them over gloo, too.
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    trainer = CurriculumTrainer(
        model=model,
        args=args,
        train_dataset=scored(input_ids=tokens, labels=tokens),
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
    )
    seen = watch(model)
    trainer.train(resume_from_checkpoint=checkpoint[0] if checkpoint else None)
    noted = {"sharded": trainer.is_fsdp_enabled and type(model).__name__.startswith("FSDP"), "rows": first_words(seen)}
    Path(out, f"rows-{os.environ['RANK']}.json").write_text(json.dumps(noted))


if __name__ == "__main__":
    main(*sys.argv[1:])
    end_group()
