"""The results of benchmarks/evidence: tables and pictures are those of the lines."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.evidence import pictures
from benchmarks.evidence.config import Experiment
from benchmarks.evidence.run import read_lines
from benchmarks.evidence.summary import print_summary

ROOT = Path(__file__).parents[2]
LINES = sorted(pictures.RESULTS.glob("*/runs.jsonl"))

pytestmark = [pytest.mark.costly, pytest.mark.skipif(not pictures.RESULTS.exists(), reason="the sdist has no results")]


@pytest.mark.parametrize("lines", LINES, ids=lambda lines: lines.parent.name)
def test_the_tables_are_those_of_the_lines(lines, capsys):
    experiment = Experiment.read(pictures.EXPERIMENTS / f"{lines.parent.name}.json")
    print_summary(experiment, read_lines(lines, experiment))
    assert capsys.readouterr().out == (lines.parent / "tables.md").read_text()


def copied(name, folder) -> Path:
    """The lines of a result, alone in a folder."""
    (folder / name).mkdir()
    shutil.copy(pictures.RESULTS / name / "runs.jsonl", folder / name)
    return folder / name


def draw(monkeypatch, *folders):
    monkeypatch.setattr(sys, "argv", ["pictures", *map(str, folders)])
    pictures.main()


def drawn(folder) -> set[str]:
    return {path.name for path in folder.glob("*.png")}


def pixels(path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"), np.float64)


SHOWN = {"evidence": ("topics_noisy", "curves-accuracy"), "evidence_text": ("text_more", "curves-loss")}
SHOWN |= {"evidence_why": ("why", "differences-loss")}


@pytest.mark.slow
@pytest.mark.parametrize("picture", SHOWN)
def test_the_docs_show_what_the_lines_draw(picture, tmp_path, monkeypatch):
    name, shown = SHOWN[picture]
    folder = copied(name, tmp_path)
    draw(monkeypatch, folder)
    ours = pixels(ROOT / "docs" / f"{picture}.png")
    same = [path.stem for path in folder.glob("*.png") if pixels(path).shape == ours.shape]
    away = {stem: np.abs(pixels(folder / f"{stem}.png") - ours).mean() for stem in same}
    assert away.pop(shown) < 1 < min(away.values())  # of 255; another matplotlib may smooth a line otherwise


def test_without_a_folder_all_results_are_drawn(tmp_path, monkeypatch):
    rate, images = copied("rate", tmp_path), copied("images_noisy", tmp_path)
    (tmp_path / "wrong_labels").mkdir()  # has no lines
    monkeypatch.setattr(pictures, "RESULTS", tmp_path)
    draw(monkeypatch)
    assert drawn(rate) == {
        f"{kind}-{name}.png" for kind in ("curves", "differences") for name in ("knn", "probe", "loss")
    }
    assert drawn(images) == {
        f"{kind}-{name}.png" for kind in ("curves", "differences") for name in ("accuracy", "loss")
    }


def test_a_folder_without_lines_is_an_error(tmp_path, monkeypatch, capsys):
    (tmp_path / "rate").mkdir()
    with pytest.raises(SystemExit):
        draw(monkeypatch, tmp_path / "rate")
    assert "rate has no runs.jsonl with a finished run" in capsys.readouterr().err
