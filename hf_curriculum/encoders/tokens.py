"""What of a tokenizer decides the tokens of a text."""

import json
import tempfile
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase


def tokenizer_parts(tokenizer: PreTrainedTokenizerBase) -> list[Any]:
    """All that decides the tokens of a text, but for the truncation and padding that each call sets anew.

    Args:
        tokenizer: Fast or in plain Python.

    Returns:
        Its class, its settings, and the content of the files that it would save.
    """
    settings = ("padding_side", "truncation_side", "model_max_length", "model_input_names", "special_tokens_map")
    found = [type(tokenizer), *(getattr(tokenizer, name, None) for name in settings)]
    kept = {name: value for name, value in tokenizer.init_kwargs.items() if _is_setting(value)}
    places = {"name_or_path", *tokenizer.vocab_files_names}
    found.append({name: kept[name] for name in sorted(kept.keys() - places)})
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        for file in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
            content: Any = file.read_bytes()
            if file.name == "tokenizer.json":
                content = json.loads(content)
                content = json.dumps(content | {"truncation": None, "padding": None}, sort_keys=True)
            found += [file.name, content]
    return found


def _is_setting(value: Any) -> bool:
    return isinstance(value, str | int | float | bool | list | dict | tuple | type(None))
