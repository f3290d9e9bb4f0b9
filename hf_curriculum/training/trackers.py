"""The settings of a curriculum where a tracker shows the hyperparameters of a run."""

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

_WITH_CONFIG = ("wandb", "trackio")  # modules that bear the config of the run


def tell_trackers(settings: Mapping[str, Any], report_to: Iterable[str], callbacks: Iterable[Any]) -> None:
    """Add the settings to what ``Trainer`` has told TensorBoard, Weights & Biases and Trackio of itself.

    Args:
        settings: By name, ready for JSON; single values are told, as ``curriculum/<name>``.
        report_to: Trackers of the training arguments.
        callbacks: Those of the trainer: that of TensorBoard has its writer.
    """
    told = {f"curriculum/{name}": value for name, value in settings.items() if isinstance(value, str | int | float)}
    for callback in callbacks:
        if (writer := getattr(callback, "tb_writer", None)) is not None:
            writer.add_text("curriculum", json.dumps(told, indent=2))  # beside the text "args"
    for name in set(_WITH_CONFIG) & set(report_to) & sys.modules.keys():
        sys.modules[name].config.update(told, allow_val_change=True)
