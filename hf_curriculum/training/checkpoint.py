"""Which checkpoints are whole: a process may have been killed while it wrote the last one."""

import json
import logging
import os
import re
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from safetensors import safe_open
from transformers import TrainerState

from hf_curriculum.training.checksums import CHECKSUMS, read_checksums, require_same

logger = logging.getLogger(__name__)
_STATE = "trainer_state.json"
_ARCHIVES = (
    *("optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state*.pth", "pytorch_model*.bin", "adapter_model.bin"),
    "curriculum_difficulty.npz",
)


def newest_whole(folder: str) -> str | None:
    """The newest checkpoint of an output folder from which a run can go on; ``None`` if it has no checkpoint at all.

    A warning names those that were passed over.

    Args:
        folder: The output folder.

    Returns:
        The checkpoint's folder.

    Raises:
        ValueError: If no checkpoint is whole; what is wrong with each is said.
    """
    steps = {
        int(match[1]): path
        for path in Path(folder).glob("checkpoint-*")
        if path.is_dir() and (match := re.fullmatch(r"checkpoint-(\d+)", path.name))
    }
    faults: list[str] = []
    for _, path in sorted(steps.items(), reverse=True):
        if (fault := find_damage(path)) is None:
            if faults:
                logger.warning("%s. The run goes on from %s.", "; ".join(faults), path)
            return str(path)
        faults.append(fault)
    if faults:
        raise ValueError(
            f"No checkpoint in {folder} is whole: {'; '.join(faults)}. Train without resume_from_checkpoint."
        )
    return None


def check_whole(checkpoint: str) -> None:
    """Raise unless a run can go on from this checkpoint.

    Raises:
        TypeError: If it is no path.
        ValueError: If a file is missing or damaged; it is named.
    """
    if not isinstance(checkpoint, str | os.PathLike):
        raise TypeError(f"resume_from_checkpoint must be True or the folder of a checkpoint, got {checkpoint!r}.")
    path = Path(checkpoint)
    inside = sorted(each.name for each in path.glob("checkpoint-*"))
    if inside and not (path / _STATE).exists():
        raise ValueError(
            f"{path} is an output folder, not a checkpoint: name one of those in it, {inside}, or set output_dir "
            "to it and pass resume_from_checkpoint=True, the newest whole one."
        )
    if path.is_dir() and (fault := find_damage(path)):
        raise ValueError(f"{fault}. Resume from another checkpoint; True takes the newest whole one.")


def restore_best(state: TrainerState, folder: str) -> None:
    """Find the best checkpoint of a resumed run again, in ``folder`` if that has moved; if it is gone, forget it.

    The best of the steps to come is then the best: ``Trainer`` would go on comparing with the one that is gone.

    Args:
        state: Of the run; changed in place.
        folder: Its output folder.
    """
    if state.best_metric is None:
        return
    names = [Path(state.best_model_checkpoint)] if state.best_model_checkpoint else []
    names += [Path(folder, names[0].name if names else f"checkpoint-{state.best_global_step}")]
    whole = [path for path in names if path.is_dir() and find_damage(path) is None]
    if not whole:
        logger.warning(
            "The best checkpoint so far, %s, is gone or damaged: the best from step %d on will be loaded at the end.",
            names[0],
            state.global_step,
        )
        state.best_metric = state.best_global_step = None
    state.best_model_checkpoint = str(whole[0]) if whole else None


def check_best(checkpoint: str) -> None:
    """Raise unless the best checkpoint of a training that has ended can be loaded.

    Raises:
        RuntimeError: If it is gone, or a file is missing or cut off.
    """
    path = Path(checkpoint)
    if fault := find_damage(path) if path.is_dir() else f"{path} is gone":
        raise RuntimeError(
            f"The best model of the training cannot be loaded: {fault}. The model has the weights of the last step, "
            "which trainer.save_model() saves."
        )


def forget_whole(checkpoint: Path) -> None:
    """Before a checkpoint is written anew: its last files no longer say that the others are whole."""
    for name in (_STATE, CHECKSUMS):
        (checkpoint / name).unlink(missing_ok=True)


def find_damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint: the file, and why no run can go on from it; ``None`` if it is whole.

    ``Trainer`` writes the state last, so where it is whole, the others were written too; they may have been lost, cut
    off or changed later, by a full disk, a loss of power or a failing disk.
    """
    names = {path.name for path in checkpoint.iterdir()}
    if _STATE not in names:
        return f"{checkpoint} was not written to its end: it has no {_STATE}"
    weights = re.compile(r"(pytorch_)?model.*|adapter_model\..*")
    if not any(weights.fullmatch(path.name) or path.is_dir() for path in checkpoint.iterdir()):
        return f"{checkpoint} has no weights"
    elsewhere = any(name.startswith("global_step") for name in names)  # DeepSpeed
    if "scheduler.pt" in names and not elsewhere and not any("optimizer" in name for name in names):
        return f"{checkpoint} has no optimizer.pt"
    if "optimizer.pt" in names and "scheduler.pt" not in names:
        return f"{checkpoint} has no scheduler.pt"
    path = checkpoint / CHECKSUMS
    try:
        checksums = read_checksums(checkpoint)
        for name, checksum in checksums.items():
            path = checkpoint / name
            require_same(path, checksum)
        for path in sorted(checkpoint.iterdir()):
            if path.name not in checksums:
                _open(path)
    except FileNotFoundError as error:  # a shard, of an index, perhaps
        return f"{error.filename or path} is missing"
    except Exception as error:  # whatever a damaged file makes a reader raise
        return f"{path} is damaged ({error or type(error).__name__})"
    return None


def _open(path: Path) -> None:
    """Raise unless a file without a checksum is there to its end; the tensors are not read."""
    if path.suffix == ".safetensors":
        with safe_open(path, "pt"):
            pass
    elif any(path.match(pattern) for pattern in _ARCHIVES):
        with ZipFile(path) as archive:
            if (part := archive.testzip()) is not None:
                raise BadZipFile(f"its part {part} is not what was written")
    elif path.name == _STATE:
        TrainerState.load_from_json(str(path))
    elif path.name == "curriculum.json":
        json.loads(path.read_text())
    elif path.name.endswith(".index.json"):
        for shard in set(json.loads(path.read_text())["weight_map"].values()):
            (path.parent / shard).stat()
