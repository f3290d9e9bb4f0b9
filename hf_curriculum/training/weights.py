"""From the names and shapes that weights were saved under to those of the model that is there."""

import json
import logging
import re
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import extract_model_from_parallel
from safetensors.torch import load_file
from torch.nn import Module
from torch.nn.parallel import DataParallel, DistributedDataParallel
from transformers import PreTrainedModel
from transformers.utils import is_peft_available

try:
    from transformers import conversion_mapping, core_model_loading
except ImportError:  # transformers 4
    conversion_mapping = None

logger = logging.getLogger(__name__)
_FILES = ("model.safetensors", "pytorch_model.bin")  # in the order in which Trainer looks for them
_Weights = dict[str, torch.Tensor]


def load_weights(model: Module, checkpoint: str) -> bool:
    """Give ``model`` all weights of a checkpoint of its own training, whatever ``save_pretrained`` has named them.

    The model may be another one than its config makes: with a new head, layers that were added or wrapped, compiled.

    Args:
        model: Gets the weights in place.
        checkpoint: Folder of the checkpoint.

    Returns:
        Whether it did. Not, if ``Trainer`` does right by itself, since the weights have the names that they have in
        the model; nor if the folder has no such file.

    Raises:
        RuntimeError: If the checkpoint lacks a weight of the model, or has it in another shape; all are named.
    """
    inner = _inner(model)
    if getattr(inner, "_hf_peft_config_loaded", False):
        _load_adapter(inner, Path(checkpoint))
        return True
    if _is_peft(inner):
        _load_adapters(inner, Path(checkpoint))
        return True
    saved = _read(Path(checkpoint))
    own = {name: tensor for name, tensor in model.state_dict().items() if isinstance(tensor, torch.Tensor)}
    if saved is None or (own.keys() <= saved.keys() and not _converts(model)):
        return False
    found, unexpected = _match(model, {name: tensor.to("meta") for name, tensor in own.items()}, saved)
    _require_none(_missing(model, own.keys() - found.keys(), found), checkpoint)
    if unexpected:
        logger.warning("%s has weights that the model does not have: %s.", checkpoint, ", ".join(unexpected))
    model.load_state_dict(found, strict=False)
    return True


def names_for_adapters(model: Module) -> _Weights | None:
    """What to save of a compiled or parallel model with adapters of PEFT: under the names that PEFT knows.

    Of the names that ``Trainer`` hands on, PEFT knows none, and saves adapters without weights.

    Args:
        model: That of the trainer.

    Returns:
        Its state; ``None`` where ``Trainer`` does right by itself.
    """
    inner = _inner(model)
    return inner.state_dict() if inner is not model and _is_peft(inner) else None


def _require_none(missing: list[str], checkpoint: str | Path) -> None:
    if missing:
        raise RuntimeError(
            f"{checkpoint} lacks {len(missing)} weights of the model: {', '.join(missing)}. "
            "Resume with the model that was trained, made in the same way."
        )


def _is_peft(inner: Module) -> bool:
    if not is_peft_available():
        return False
    from peft import PeftModel

    return isinstance(inner, PeftModel)


def _load_adapters(inner: Any, checkpoint: Path) -> None:
    """Of PEFT's own model, each adapter has a folder, the one called ``default`` the checkpoint itself.

    ``Trainer`` does not see those folders when it loads the best model, nor that a compiled model has adapters.
    """
    folders = {name: checkpoint if name == "default" else checkpoint / name for name in inner.peft_config}
    _set_adapters(inner, {name: _adapter(folder) for name, folder in folders.items()}, checkpoint)


def _load_adapter(inner: PreTrainedModel, checkpoint: Path) -> None:
    """Of a model with ``add_adapter``, the active adapter alone is saved; ``Trainer`` looks for the whole model."""
    (adapter,) = inner.active_adapters()
    saved = {name.removeprefix("base_model.model."): tensor for name, tensor in _adapter(checkpoint).items()}
    _set_adapters(inner, {adapter: saved}, checkpoint)


def _adapter(folder: Path) -> _Weights:
    """The weights of an adapter by their names in a model that is not compiled."""
    files = (folder / f"adapter_model.{kind}" for kind in ("safetensors", "bin"))
    saved = next((_tensors(file) for file in files if file.is_file()), {})
    return {_bare(name, False): tensor for name, tensor in saved.items()}


def _set_adapters(inner: Any, adapters: dict[str, _Weights], checkpoint: Path) -> None:
    """Give a model its adapters if they, and all else that it trains, were saved.

    PEFT would only warn, or say nothing.

    Raises:
        RuntimeError: If not; the weights are named, and nothing is loaded.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    trained = {name: weight for name, weight in inner.named_parameters() if weight.requires_grad}
    beside = {name for name in trained if {"modules_to_save", *inner.peft_config}.isdisjoint(name.split("."))}
    renamed: dict[str, _Weights] = {}
    for adapter, saved in adapters.items():
        own = get_peft_model_state_dict(inner, adapter_name=adapter, save_embedding_layers=False)
        names = {_bare(name, False): name for name in own}
        _require_none(sorted(names.keys() - saved.keys()), checkpoint)
        renamed[adapter] = {names.get(name, name): tensor for name, tensor in saved.items()}
        kept = {tensor.data_ptr() for tensor in own.values()}
        beside -= {name for name in beside if name in saved or trained[name].data_ptr() in kept}
    if beside:
        raise RuntimeError(
            f"{checkpoint} has adapters alone, but the model trains {len(beside)} other weights: "
            f"{', '.join(sorted(beside))}. Name their modules in modules_to_save of the adapter's config."
        )
    for adapter, saved in renamed.items():
        set_peft_model_state_dict(inner, saved, adapter_name=adapter)


def _read(checkpoint: Path) -> _Weights | None:
    for file in (checkpoint / name for name in _FILES):
        if file.is_file():
            return _tensors(file)
    for index in (checkpoint / f"{name}.index.json" for name in _FILES):
        if index.is_file():
            shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
            return {name: tensor for shard in shards for name, tensor in _tensors(checkpoint / shard).items()}
    return None


def _tensors(file: Path) -> _Weights:
    if file.suffix == ".safetensors":
        return load_file(file)
    return torch.load(file, map_location="cpu", weights_only=True)


def _inner(model: Module) -> Module:
    return extract_model_from_parallel(model, keep_torch_compile=False)


def _converts(model: Module) -> bool:
    """Whether ``save_pretrained`` changes weights; where only their order in a tensor changes, no name tells."""
    inner = _inner(model)
    if conversion_mapping is None or not isinstance(inner, PreTrainedModel):
        return False
    return bool(conversion_mapping.get_model_conversion_mapping(inner, add_legacy=False))


def _match(model: Module, own: _Weights, saved: _Weights) -> tuple[_Weights, list[str]]:
    """The saved tensors by their names in the model, and the names of those that it does not have.

    Names are compared as they are, and without those that compiling and wrapping add: a run may resume without.
    """
    inner = _inner(model)
    found, unexpected = _convert(inner, own, saved)
    if own.keys() <= found.keys():
        return found, unexpected
    parallel = isinstance(model, DataParallel | DistributedDataParallel)
    names = {_bare(name, parallel): name for name in own}
    parallel = all(_bare(name, False).startswith("module.") for name in saved)
    parallel &= not any(name.startswith("module.") for name in names)
    bare, unexpected_bare = _convert(
        inner,
        {name: own[wrapped] for name, wrapped in names.items()},
        {_bare(name, parallel): tensor for name, tensor in saved.items()},
    )
    if len(bare) < len(found):
        return found, unexpected
    return {names[name]: tensor for name, tensor in bare.items()}, unexpected_bare


def _bare(name: str, parallel: bool) -> str:
    name = name.replace("_orig_mod.", "")
    return name.removeprefix("module.") if parallel else name


def _convert(inner: Module, own: _Weights, saved: _Weights) -> tuple[_Weights, list[str]]:
    """The way back from what ``save_pretrained`` does to names and tensors.

    A model tells under which name it saves each weight as it is, whatever was added to it. The others, which were
    merged or split, and those of a model that was made in another way, are read as ``from_pretrained`` reads them.
    """
    if not isinstance(inner, PreTrainedModel):
        return {name: saved[name] for name in own if name in saved}, [name for name in saved if name not in own]
    names = {id(tensor): name for name, tensor in own.items()}
    as_saved = core_model_loading.revert_weight_conversion(inner, own) if conversion_mapping else own
    found: _Weights = {}
    rest: _Weights = {}
    for name, tensor in saved.items():
        target = names.get(id(as_saved.get(name)))
        (rest if target is None else found)[target or name] = tensor
    read, unexpected = (_as_pretrained if conversion_mapping else _as_pretrained_4)(inner, own, rest)
    return read | found, unexpected


def _as_pretrained(inner: PreTrainedModel, own: _Weights, saved: _Weights) -> tuple[_Weights, list[str]]:
    transforms = conversion_mapping.get_model_conversion_mapping(inner)
    if not any("_orig_mod." in name for name in own):
        for each in transforms:
            if each.scope_prefix:  # where in the model it applies
                each.scope_prefix = _bare(f"{each.scope_prefix}.", False).removesuffix(".")
    renamings = [each for each in transforms if isinstance(each, core_model_loading.WeightRenaming)]
    converters = [each for each in transforms if isinstance(each, core_model_loading.WeightConverter)]
    by_pattern = {pattern: converter for converter in converters for pattern in converter.source_patterns}
    found: _Weights = {}
    merging: dict[str, Any] = {}
    unexpected = []
    for name in sorted(saved, key=core_model_loading.dot_natural_key):
        target, pattern = core_model_loading.rename_source_key(
            name, renamings, converters, inner.base_model_prefix, own
        )
        if target not in own and name in own:
            target, pattern = name, None
        if target not in own:
            unexpected.append(name)
        elif pattern is None:
            found[target] = saved[name]
        else:
            converter = merging.setdefault(target, deepcopy(by_pattern[pattern]))
            converter.add_tensor(target, name, pattern, saved[name])
    for target, converter in merging.items():
        for name, tensor in converter.convert(target, model=inner, config=inner.config).items():
            found[name] = tensor[0] if isinstance(tensor, list) else tensor
    return found, unexpected


def _as_pretrained_4(inner: PreTrainedModel, own: _Weights, saved: _Weights) -> tuple[_Weights, list[str]]:
    patterns: Mapping[str, str] = getattr(inner, "_checkpoint_conversion_mapping", {})
    found, unexpected = {}, []
    for name, tensor in saved.items():
        renamed = (re.sub(pattern, new, name) for pattern, new in patterns.items() if re.search(pattern, name))
        target = next(renamed, name)
        if target in own:
            found[target] = tensor
        else:
            unexpected.append(name)
    return found, unexpected


def _missing(model: Module, names: set[str], found: _Weights) -> list[str]:
    """Of the weights that were not found, those that are not tied to one that was, nor left out on purpose."""
    parts = {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }
    tied = {id(parts[name]) for name in found if name in parts}
    left_out = getattr(_inner(model), "_keys_to_ignore_on_save", None) or []
    return sorted(
        name
        for name in names
        if id(parts.get(name)) not in tied and not any(_bare(name, False).endswith(end) for end in left_out)
    )
