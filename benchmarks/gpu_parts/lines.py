"""Lines of JSON, one for each measurement, of a command that may be cut off at any moment."""

import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.report import machine

Figures = dict[str, Any]
Measurements = Iterator[tuple[str, Callable[[], Figures]]]


@dataclass(frozen=True)
class Size:
    """What is measured, and where.

    Attributes:
        smoke: Whether everything is small.
        device: ``"cuda"`` or ``"cpu"``.
        data: Folder of Parquet files, if there is one.
        output: File of the lines; what a part keeps besides lies beside it.
    """

    smoke: bool
    device: str
    data: Path | None
    output: Path

    def of(self, full: Any, smoke: Any) -> Any:
        """What is meant of a full and a small size."""
        return smoke if self.smoke else full


_GOES_ON = {"error", "unfinished"}


class Lines:
    """The file; a measurement that it has is not repeated, unless it failed or is ``"unfinished"``."""

    def __init__(self, path: Path, size: Size) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.failures = path, 0
        name = torch.cuda.get_device_name() if size.device == "cuda" else "cpu"
        self.where = {"device": name, "smoke": size.smoke}
        self.machine = machine()

    def measure(self, part: str, name: str, run: Callable[[], Figures]) -> None:
        """Run it and write its line at once."""
        what = {"part": part, "name": name, **self.where}
        if any(what.items() <= line.items() and not _GOES_ON & line.keys() for line in self._read()):
            return
        start = time.perf_counter()
        try:
            found = run()
        except Exception as error:
            traceback.print_exc()
            self.failures += 1
            found = {"error": f"{type(error).__name__}: {error}"}
        line = json.dumps({**what, **found, "took_s": time.perf_counter() - start, "machine": self.machine})
        with self.path.open("a") as file:
            file.write(line + "\n")
        print(f"{part}, {name}: {json.dumps(found)}", file=sys.stderr, flush=True)

    def _read(self) -> Iterator[Figures]:
        for line in self.path.read_text().splitlines() if self.path.exists() else []:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:  # cut off
                continue


def settle() -> float:
    """The time, once the GPU has done what it was told."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def seconds(run: Callable[[], object]) -> float:
    """How long it takes, the GPU's work included."""
    start = settle()
    run()
    return settle() - start
