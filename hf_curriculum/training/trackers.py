"""What others show of a curriculum: trackers its settings, the console a few of its numbers."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from transformers import PrinterCallback, ProgressCallback

_WITH_CONFIG = ("wandb", "trackio")  # modules that bear the config of the run
_CHECKSUMS = ("difficulties", "quantiles", "lengths")
_ON_CONSOLE = ("curriculum/effective_fraction", "curriculum/mean_difficulty")


def in_a_line(settings: Mapping[str, Any]) -> str:
    """The settings of a curriculum for somebody who reads along.

    Args:
        settings: By name, as checkpoints keep them.

    Returns:
        A sentence.

    Example:
        >>> in_a_line({"order": "easy_first", "initial_fraction": 0.3, "final_fraction": 0.632, "warmup_steps": 500})
        'Curriculum: easy_first, an effective fraction of 0.3 at first and of 0.632 from step 500 on.'
    """
    return (
        f"Curriculum: {settings['order']}, an effective fraction of {settings['initial_fraction']:.3g} at first and "
        f"of {settings['final_fraction']:.3g} from step {settings['warmup_steps']} on."
    )


@contextmanager
def short_lines(callbacks: Iterable[Any]) -> Iterator[None]:
    """While it lasts, ``Trainer`` prints two numbers of the curriculum; trackers and the history get all.

    Args:
        callbacks: Those of the trainer.
    """
    printing = [callback for callback in callbacks if isinstance(callback, ProgressCallback | PrinterCallback)]
    for callback in printing:
        vars(callback)["on_log"] = _of_few(callback.on_log)
    try:
        yield
    finally:
        for callback in printing:
            del vars(callback)["on_log"]


def _of_few(on_log: Any) -> Any:
    def on_log_of_few(*args: Any, logs: dict[str, Any], **kwargs: Any) -> Any:
        few = {
            name: value for name, value in logs.items() if not name.startswith("curriculum/") or name in _ON_CONSOLE
        }
        names = set(few)
        answer = on_log(*args, logs=few, **kwargs)
        for name in names - few.keys():  # transformers drops total_flos from what train() returns here
            del logs[name]
        return answer

    return on_log_of_few


def tell_trackers(settings: Mapping[str, Any], report_to: Iterable[str], callbacks: Iterable[Any]) -> None:
    """Add the settings to what ``Trainer`` has told TensorBoard, Weights & Biases and Trackio of itself.

    Args:
        settings: By name, as checkpoints keep them; single values are told, as ``curriculum/<name>``.
        report_to: Trackers of the training arguments.
        callbacks: Those of the trainer: that of TensorBoard has its writer.
    """
    told = dict(_single(settings, "curriculum"))
    for callback in callbacks:
        if (writer := getattr(callback, "tb_writer", None)) is not None:
            writer.add_text("curriculum", json.dumps(told, indent=2))  # beside the text "args"
    for name in set(_WITH_CONFIG) & set(report_to) & sys.modules.keys():
        sys.modules[name].config.update(told, allow_val_change=True)


def _single(settings: Mapping[str, Any], within: str) -> Iterator[tuple[str, str | int | float]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _single(value, f"{within}/{name}")
        elif isinstance(value, str | int | float) and name not in _CHECKSUMS:
            yield f"{within}/{name}", value
