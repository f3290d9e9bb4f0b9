"""What a training has done so far, in a file beside the results: who cuts it off loses little of it."""

import os
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.report import machine

SECONDS = 15.0
"""Time between two writings, and so about the most that a kill costs."""


class Unfinished:
    """The file of one training, there until the training has its result.

    Args:
        folder: Folder of the results.
        name: Name of the training, one word.
        settings: All that the training depends on. With another of them, of the kind of the device, or of the versions
            of the packages, a state is not taken.
        device: Name of torch's device.
    """

    def __init__(self, folder: Path, name: str, settings: dict[str, Any], device: str) -> None:
        self.path = folder / "unfinished" / f"{name}.pt"
        self.of = settings | {"device": torch.device(device).type, "versions": machine()["versions"]}
        self._due = time.monotonic() + SECONDS

    def read(self) -> dict[str, Any] | None:
        """The state of the training, its tensors on the CPU; ``None`` if there is none that can be used."""
        if not self.path.exists():
            return None
        try:
            found = torch.load(self.path, "cpu", weights_only=True)
            if found["of"] == self.of:
                return found["state"]
            reason = "is of other settings"
        except Exception as error:  # of a damaged file, torch raises what it happens to meet
            reason = f"cannot be read ({type(error).__name__}: {error})"
        print(f"{self.path} {reason}: its training begins anew.", file=sys.stderr)
        return None

    def is_due(self) -> bool:
        """Whether the last writing was long ago."""
        return time.monotonic() >= self._due

    def write(self, state: dict[str, Any]) -> None:
        """Keep a state: tensors, numbers, text, lists and dicts. A kill leaves the one before."""
        self.path.parent.mkdir(exist_ok=True)
        torch.save({"of": self.of, "state": state}, self._beside)
        os.replace(self._beside, self.path)
        self._due = time.monotonic() + SECONDS

    def remove(self) -> None:
        """The training has its result."""
        for path in (self.path, self._beside):
            path.unlink(missing_ok=True)

    @property
    def _beside(self) -> Path:
        return self.path.with_suffix(".part")
