"""What the benchmarks share: a Markdown table, a JSON line, and the machine that the figures are from."""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

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


def _text(cell):
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.4g}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)
