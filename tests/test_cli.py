"""The command line, run as a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from datasets import load_from_disk

from hf_curriculum import provenance

COMMAND = [str(Path(sys.executable).parent / "hf-curriculum")]


def run(*words, cwd=None):
    return subprocess.run([*COMMAND, *map(str, words)], capture_output=True, text=True, cwd=cwd, check=False)


def test_scores_a_parquet_file_of_images(digits, tmp_path):
    digits.to_parquet(tmp_path / "digits.parquet")
    done = run(
        "score", tmp_path / "digits.parquet", "--model", "builtin/hog", "--clusters", 10, "--output", tmp_path / "out"
    )
    assert done.returncode == 0, done.stderr
    scored = load_from_disk(tmp_path / "out")
    assert scored.column_names == [*digits.column_names, "embedding", "cluster", "distance", "difficulty"]
    assert provenance(scored)["embedding"]["model_id"] == "builtin/hog"
    assert "CurriculumTrainer(model=model, args=args" in done.stdout
    assert str(tmp_path / "out") in done.stdout


def test_scores_text_of_every_file_type(sentences, tiny_bert, tmp_path):
    sentences.to_csv(tmp_path / "a.csv", index=False)
    sentences.to_json(tmp_path / "a.jsonl")
    sentences.to_parquet(tmp_path / "a.parquet")
    sentences.save_to_disk(tmp_path / "arrow")
    difficulties = []
    for source in ("a.csv", "a.jsonl", "a.parquet", "arrow"):
        done = run("score", tmp_path / source, "--model", tiny_bert, "--clusters", 3, "--output", tmp_path / "out")
        assert done.returncode == 0, done.stderr
        difficulties.append(load_from_disk(tmp_path / "out")["difficulty"][:])
    np.testing.assert_allclose(difficulties[1:], [difficulties[0]] * 3, atol=1e-6)


def test_scores_an_image_folder(digits, tmp_path):
    for row in range(30):
        folder = tmp_path / "images" / str(digits[row]["label"])
        folder.mkdir(parents=True, exist_ok=True)
        digits[row]["image"].save(folder / f"{row}.png")
    done = run("score", tmp_path / "images", "--model", "builtin/hog", "--clusters", 3, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert len(load_from_disk(tmp_path / "out")) == 30


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.parquet", "--model", "builtin/hog"], "neither a file nor a directory"),
        (["a.jsonl", "--model", "no/such-model"], "neither a built-in descriptor"),
        (["a.jsonl", "--model", "builtin/hog"], "no such column"),
        (["a.jsonl", "--model", "builtin/tfidf", "--column", "txt"], "Did you mean 'text'"),
        (["a.jsonl", "--model", "builtin/tfidf", "--clusters", "500"], "500 clusters need at least as many rows"),
        (["a.jsonl", "--model", "builtin/tfidf", "--split", "test"], "no split 'test'"),
        (["notes.txt", "--model", "builtin/tfidf"], "expected a file of type"),
        (["a.jsonl"], "add_embeddings"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(sentences, tmp_path, monkeypatch, words, message):
    sentences.to_json(tmp_path / "a.jsonl")
    (tmp_path / "notes.txt").write_text("x")
    done = run("score", *words, "--output", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_written_is_one_line_and_exit_code_2(sentences, tmp_path):
    sentences.to_json(tmp_path / "a.jsonl")
    (tmp_path / "out").write_text("a file")
    done = run("score", "a.jsonl", "--model", "builtin/tfidf", "--clusters", 3, "--output", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert f"Error: [Errno 17] File exists: '{tmp_path}/out'" in done.stderr
    assert "Traceback" not in done.stderr


def test_demo_shows_a_table_and_writes_its_files(tmp_path):
    done = run("demo", "--output", tmp_path / "demo", "--steps", 24)
    assert done.returncode == 0, done.stderr
    lines = done.stdout[done.stdout.index("step  ") :].splitlines()
    steps = [int(line.split()[0]) for line in lines[1:] if line.split() and line.split()[0].isdigit()]
    assert steps == list(range(2, 25, 2))
    assert "uniform" in lines[-6]
    assert (tmp_path / "demo" / "curriculum.png").stat().st_size > 20_000
    assert len(load_from_disk(tmp_path / "demo" / "scored")) == 1797
    assert json.dumps(provenance(load_from_disk(tmp_path / "demo" / "scored")))
