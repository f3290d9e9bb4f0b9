"""What a checkpoint says of the curriculum, and whether a training may go on from it."""

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hf_curriculum.data import function_name
from hf_curriculum.training.config import CurriculumConfig
from hf_curriculum.training.groups import GroupSampler
from hf_curriculum.training.schedule import planned_fraction
from hf_curriculum.training.stream_training import StreamTraining
from hf_curriculum.training.trainer_sampler import TrainerSampler

CURRICULUM_FILE = "curriculum.json"
STATE_KEY = "curriculum"
"""Where checkpoints kept it before they had the file: in ``stateful_callbacks``, among names of classes."""
_STATE_FILE = "trainer_state.json"


@dataclass(frozen=True)
class Beginning:
    """The step at which a training begins, and what the curriculum's file of its checkpoint holds.

    Attributes:
        step: 0 for a new training.
        state: Empty for a new training, and for the checkpoint of a trainer without a curriculum.
    """

    step: int = 0
    state: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, checkpoint: str | None) -> "Beginning":
        """Of a checkpoint's folder, or of a new training."""
        if checkpoint is None or not (path := Path(checkpoint, _STATE_FILE)).is_file():
            return cls()
        trainer = json.loads(path.read_text())
        own = path.with_name(CURRICULUM_FILE)
        before = (
            json.loads(own.read_text()) if own.is_file() else trainer.get("stateful_callbacks", {}).get(STATE_KEY, {})
        )
        return cls(trainer["global_step"], before)

    def planned_length(
        self, config: CurriculumConfig, total_steps: int, warmup: Callable[[int], int] = lambda steps: steps
    ) -> int:
        """Steps of which the warm-up, if a share, is one: those that the training of the checkpoint was to have.

        So a training that is resumed to another length keeps its warm-up.

        Args:
            config: Of the training that begins.
            total_steps: Its length.
            warmup: From the steps of a warm-up to the number that the settings hold.

        Returns:
            ``total_steps`` if the warm-up of the checkpoint was no share, or another one.
        """
        settings = self.state.get("settings", {})
        planned = settings.get("total_steps")
        if not isinstance(config.warmup_steps, float) or planned is None:
            return total_steps
        same = warmup(config.resolve_warmup(planned)) == settings["warmup_steps"]
        return int(planned) if same else total_steps

    def compare(self, settings: dict[str, Any], *, allowed: bool) -> list[str]:
        """What has changed since the checkpoint.

        Args:
            settings: Of the training that begins.
            allowed: Whether it may have changed.

        Returns:
            The changes, in words; none for a new training.

        Raises:
            ValueError: If there are some and that is not allowed.
        """
        if self.step == 0:
            return []
        before = self.state.get("settings", {})
        changed = _changes(before, settings)
        if changed and before and not allowed:
            raise ValueError(
                f"Cannot resume at step {self.step}, since the rows of each step would not be those of the "
                f"checkpoint's curriculum: {'; '.join(changed)}. Set them back, or pass allow_changed_resume=True to "
                "the trainer to go on from this step under the new settings."
            )
        return changed


def write_curriculum(checkpoint: Path, state: dict[str, Any]) -> None:
    """Write the curriculum's file of a checkpoint, before the trainer's own files, the last of which says it is whole.

    Args:
        checkpoint: Its folder; made if it is not there.
        state: For :class:`Beginning`.
    """
    checkpoint.mkdir(parents=True, exist_ok=True)
    (checkpoint / CURRICULUM_FILE).write_text(json.dumps(state, indent=2))


def sampler_settings(
    sampler: TrainerSampler | GroupSampler, difficulty: np.ndarray | None, planned_length: int
) -> dict[str, Any]:
    """All that the rows of a step depend on, ready for JSON; a checksum stands for an array or a function.

    Args:
        sampler: Draws the rows.
        difficulty: Of all rows, shape ``(N,)``; ``None`` with ``order="random"``.
        planned_length: From :meth:`Beginning.planned_length`.

    Returns:
        Settings by name.
    """
    settings = {
        **_config_settings(sampler.config, sampler.warmup_steps, planned_length),
        "warmup_steps": sampler.warmup_steps,
        "seed": sampler.seed,
        "rows": sampler.rows,
        "difficulties": None if difficulty is None else _checksum(difficulty),
        "total_batch_size": sampler.total_batch_size,
        "group_by_length": None,
    }
    if sampler.lengths is not None:
        settings["group_by_length"] = {
            "lengths": _checksum(sampler.lengths),
            "micro_batch_size": sampler.micro_batch_size,
            "total_steps": sampler.total_steps,
        }
    if isinstance(sampler, GroupSampler):
        settings["generation"] = sampler.settings()
    return settings


def stream_settings(stream: StreamTraining) -> dict[str, Any]:
    """The same for a stream.

    Args:
        stream: What the trainer reads.

    Returns:
        Settings by name.
    """
    law = stream.law
    return {
        **_config_settings(law.config, law.warmup_steps, stream.total_steps),
        **stream.settings(),
        "seed": stream.seed,
        "quantiles": _checksum(law.quantiles),
    }


def _config_settings(config: CurriculumConfig, warmup_steps: int, total_steps: int | None) -> dict[str, Any]:
    settings = config.to_dict()
    if callable(config.schedule):
        planned = planned_fraction(np.linspace(0, warmup_steps, 1001), config, warmup_steps)
        settings["schedule"] = f"{function_name(config.schedule)} {_checksum(planned)}"
    if isinstance(config.warmup_steps, float):
        settings["total_steps"] = total_steps
    return settings


def _changes(before: dict[str, Any], settings: dict[str, Any]) -> list[str]:
    """What is not as before, in words; of the length of the training, only whether it changed the warm-up, a share."""
    changed = {
        name: f"{name} was {before.get(name)!r} and is {value!r}"
        for name, value in settings.items()
        if before.get(name) != value
    }
    length = changed.pop("total_steps", None)
    if length and "warmup_steps" in changed and "total_steps" in before:
        changed["warmup_steps"] += f", a share of the training (max_steps or num_train_epochs): {length}"
    return list(changed.values())


def _checksum(array: np.ndarray) -> str:
    return f"{zlib.crc32(np.ascontiguousarray(np.ma.filled(array, -1)).data):08x}"
