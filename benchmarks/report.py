"""What the benchmarks share: a Markdown table, lines of JSON, and the machine that the figures are from."""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

_PACKAGES = ("hf-curriculum", "numpy", "torch", "transformers", "datasets", "accelerate")


def machine():
    """Processor, cores, load and versions."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _PACKAGES},
    }


def print_table(header, rows):
    """One Markdown table; numbers get four digits, what is missing a dash."""
    cells = [[_text(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    cells.insert(1, ["-" * width for width in widths])
    for row in cells:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
    print()


def print_json(figures):
    """One line with all figures and the machine."""
    print(json.dumps({**figures, "machine": machine()}))


def read_lines(path):
    """The finished runs of a file with one line of JSON each; none if it is not there."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def spread(values, sign=""):
    """Mean and its standard error."""
    digits = 1 if abs(np.mean(values)) >= 3 or sign == "+" and np.std(values) > 0.3 else 2
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return f"{np.mean(values):{sign}.{digits}f} ± {error:.{digits}f}"


def _text(cell):
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.4g}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)
