"""The modules that a Sentence Transformers repository puts behind its transformer."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

logger = logging.getLogger(__name__)
_POOLINGS = {"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max", "lasttoken": "last"}
_POOLINGS |= {pooling: pooling for pooling in _POOLINGS.values()}  # as version 6 names them


@dataclass(frozen=True)
class SentenceModules:
    """How such a repository turns hidden states into vectors.

    Attributes:
        pooling: ``"cls"``, ``"mean"``, ``"max"`` or ``"last"``.
        normalize: Vectors have length 1.
        max_length: Tokens of a text that count; ``None`` for as many as the transformer takes.
    """

    pooling: str
    normalize: bool
    max_length: int | None

    @classmethod
    def load(cls, source: dict[str, Any]) -> "SentenceModules | None":
        """Read ``modules.json`` and what it names; ``None`` where a repository has none.

        Raises:
            ValueError: If it does anything else than a transformer, one pooling and a normalisation do, a file of it
                is damaged.
        """
        modules = _read(source, "modules.json")
        if modules is None:
            return None
        try:
            kinds = {module["type"].rpartition(".")[2]: module["path"] for module in modules}
        except (TypeError, KeyError, AttributeError) as error:
            raise _damaged(source, "modules.json", error) from error
        pooling = _pooling(_read(source, f"{kinds['Pooling']}/config.json")) if "Pooling" in kinds else None
        settings = (_read(source, "config_sentence_transformers.json") or {}) | (
            _read(source, "sentence_bert_config.json") or {}
        )
        other = sorted(kinds.keys() - {"Transformer", "Pooling", "Normalize"})
        other += [name for name in ("default_prompt_name", "do_lower_case", "truncate_dim") if settings.get(name)]
        if pooling is None or other:
            raise ValueError(
                f"{source['pretrained_model_name_or_path']} has modules {list(kinds)}, of which only a transformer, "
                f"one pooling and a normalisation are known here ({', '.join(other) or 'not its pooling'}). Pass the "
                "loaded model as model_id instead: SentenceTransformer(...); or choose a pooling."
            )
        return cls(pooling=pooling, normalize="Normalize" in kinds, max_length=settings.get("max_seq_length"))


def _pooling(config: dict[str, Any] | None) -> str | None:
    config = config or {}
    prefix = "pooling_mode_"
    modes = [name.removeprefix(prefix) for name, on in config.items() if name.startswith(prefix) and on is True]
    modes += [config["pooling_mode"]] if isinstance(config.get("pooling_mode"), str) else []
    return _POOLINGS.get(modes[0]) if len(modes) == 1 else None


def _read(source: dict[str, Any], name: str) -> Any:
    """A JSON file of the model; ``None`` if it has none, or none can be had offline."""
    model_id = source["pretrained_model_name_or_path"]
    try:
        in_folder = Path(model_id).is_dir()
        path = Path(model_id, name) if in_folder else hf_hub_download(model_id, name, revision=source["revision"])
        return json.loads(Path(path).read_text())
    except LocalEntryNotFoundError:  # not there to be had, which is not the same as not there
        if name == "modules.json" and not _is_known_to_lack(source, name):
            logger.warning(
                "Whether %s has a %s, which says how it pools, cannot be told without the Hub; it is taken to have "
                "none. Say it by pooling=..., or load the model once with the Hub.",
                model_id,
                name,
            )
        return None
    except (EntryNotFoundError, FileNotFoundError):
        return None
    except ValueError as error:
        raise _damaged(source, name, error) from error


def _is_known_to_lack(source: dict[str, Any], name: str) -> bool:
    """Whether the cache remembers that there is no such file, or holds the repository as a whole, with its README."""
    model_id, revision = source["pretrained_model_name_or_path"], source["revision"]
    if try_to_load_from_cache(model_id, name, revision=revision) is not None:
        return True
    return isinstance(try_to_load_from_cache(model_id, "README.md", revision=revision), str)


def _damaged(source: dict[str, Any], name: str, error: Exception) -> ValueError:
    return ValueError(
        f"{name} of {source['pretrained_model_name_or_path']} is damaged: {type(error).__name__}: {error}"
    )
