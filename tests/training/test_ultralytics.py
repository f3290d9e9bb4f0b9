"""A YOLO in the trainer of Ultralytics, by the code of docs/use_cases.md; in an environment of its own."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hf_curriculum import CurriculumSampler

pytest.importorskip("ultralytics", reason="ultralytics and torchvision are not installed")
pytestmark = pytest.mark.slow
ROWS, BATCH, EPOCHS = 22, 4, 3
FILE, HEADING = "use_cases.md", "YOLO of Ultralytics"


@pytest.fixture
def pictures(tmp_path):
    """Pictures of one box each, whose grey is their row."""
    for part, rows in (("train", ROWS), ("val", 4)):
        for kind in ("images", "labels"):
            (tmp_path / kind / part).mkdir(parents=True)
        for row in range(rows):
            Image.new("RGB", (64, 64), (10 * row,) * 3).save(tmp_path / "images" / part / f"{row:03}.png")
            (tmp_path / "labels" / part / f"{row:03}.txt").write_text("0 0.5 0.5 0.6 0.3\n")
    data = tmp_path / "data.yaml"
    data.write_text(f"path: {tmp_path}\ntrain: images/train\nval: images/val\nnames:\n  0: box\n")
    return data


def test_a_yolo_trains_on_the_rows_of_the_sampler_and_resumes(tmp_path, pictures, monkeypatch):
    monkeypatch.setenv("YOLO_OFFLINE", "true")
    difficulty = np.random.default_rng(0).random(ROWS)
    page = (Path(__file__).parents[2] / "docs" / FILE).read_text()
    section = page.partition(f"## {HEADING}\n")[2].partition("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    settings = {"imgsz": 64, "batch": BATCH, "device": "cpu", "workers": 0, "epochs": EPOCHS, "plots": False}
    settings |= {"amp": False, "pretrained": False, "project": str(tmp_path / "runs"), "name": "whole", "hsv_v": 0.0}
    settings |= {"mosaic": 0.0, "val": False, "save_period": 1}
    names = {"data": str(pictures), "difficulty": difficulty, "settings": settings}
    seen = []

    def note(trainer):
        files = trainer.train_loader.dataset
        get = type(files).__getitem__

        class Noted(type(files)):
            def __getitem__(self, row):
                seen.append(int(row))
                return get(self, row)

        files.__class__ = Noted

    exec(code.replace("trainer.train()", ""), names)
    trainer = names["trainer"]
    trainer.add_callback("on_train_start", note)
    trainer.train()
    steps = -(-ROWS // BATCH)
    plan = CurriculumSampler(difficulty, total_batch_size=BATCH, total_steps=EPOCHS * steps, steps_per_epoch=steps)
    planned = [plan.indices(step).tolist() for step in range(EPOCHS * steps)]
    assert seen == [row for rows in planned for row in rows]

    seen.clear()
    middle = tmp_path / "runs" / "whole" / "weights" / "epoch0.pt"
    resumed = names["CurriculumDetection"](overrides={**settings, "resume": str(middle)})
    resumed.add_callback("on_train_start", note)
    resumed.train()
    assert seen == [row for rows in planned[steps:] for row in rows]
