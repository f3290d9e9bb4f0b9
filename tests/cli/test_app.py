"""The command line: run in this process, or where that makes a difference as one of its own."""

import fcntl
import json
import logging
import os
import pty
import re
import resource
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path

import datasets
import numpy as np
import pytest
from datasets import Audio, Dataset, DatasetDict, Features, Image, load_from_disk
from hub_client import environment as on_hub
from hub_server import hub
from launching import environment, launch
from typer.testing import CliRunner

from hf_curriculum import CurriculumConfig, DifficultyScorer, __version__, add_difficulty, provenance
from hf_curriculum.cli import app
from hf_curriculum.cli.console import in_own_words

COMMAND = [str(Path(sys.executable).parent / "hf-curriculum")]


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    datasets.enable_progress_bars()  # the command line has turned them off, since nothing here is a terminal


def process(*words):
    """The command as a process of its own."""
    return subprocess.run([*COMMAND, *map(str, words)], capture_output=True, text=True, check=False)


def run(*words):
    """The same in this process, which has imported all that it needs: what it printed, and ``exit_code``."""
    return CliRunner().invoke(app, [*map(str, words)], prog_name="hf-curriculum")


@pytest.mark.costly
def test_scores_a_parquet_file_of_images(digits, tmp_path):
    digits.to_parquet(tmp_path / "digits.parquet")
    done = process(
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
        done = run(
            "score",
            tmp_path / source,
            "--model",
            tiny_bert,
            "--clusters",
            3,
            "--output",
            tmp_path / "out",
            "--overwrite",
        )
        assert done.exit_code == 0, done.stderr
        difficulties.append(load_from_disk(tmp_path / "out")["difficulty"][:])
    np.testing.assert_allclose(difficulties[1:], [difficulties[0]] * 3, atol=1e-6)


def test_scores_an_image_folder(digits, tmp_path):
    for row in range(30):
        folder = tmp_path / "images" / str(digits[row]["label"])
        folder.mkdir(parents=True, exist_ok=True)
        digits[row]["image"].save(folder / f"{row}.png")
    done = run("score", tmp_path / "images", "--model", "builtin/hog", "--clusters", 3, "--output", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    assert len(load_from_disk(tmp_path / "out")) == 30


def test_scores_an_audio_folder(clips, tmp_path):
    (tmp_path / "sounds").mkdir()
    for row, clip in enumerate(clips.cast_column("audio", Audio(decode=False))):
        (tmp_path / "sounds" / f"{row:02}.wav").write_bytes(clip["audio"]["bytes"])
    done = run("score", "sounds", "--model", "builtin/logmel", "--clusters", 3, "--output", "out")
    assert done.exit_code == 0, done.stderr
    expected = add_difficulty(clips, "builtin/logmel", n_clusters=3)
    np.testing.assert_allclose(load_from_disk("out")["difficulty"][:], expected["difficulty"][:], atol=1e-6)


@pytest.mark.costly
def test_an_error_is_one_line_of_a_process_too():
    done = process("score", "nowhere.parquet", "--model", "builtin/hog", "--output", "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: 'nowhere.parquet' is neither") and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.parquet", "--model", "builtin/hog"], "neither a file nor a directory"),
        (["a.jsonl", "--model", "no/such-model"], "neither a built-in descriptor"),
        (["a.jsonl", "--model", "builtin/hog"], "no such column"),
        (["a.jsonl", "--model", "builtin/tfidf", "--column", "txt"], "Did you mean 'text'"),
        (["a.jsonl", "--model", "builtin/tfidf", "--clusters", "500"], "500 clusters need at least as many rows"),
        (["a.jsonl", "--model", "builtin/tfidf", "--split", "test"], "no split 'test'"),
        (["notes.doc", "--model", "builtin/tfidf"], "expected a file of type"),
        (["a.jsonl"], "no column 'embedding' (columns: text). Name an encoder with --model"),
        (["a.jsonl", "--column", "text"], "Without --model nothing is embedded: drop --column."),
        (["a.jsonl", "--model", "builtin/tfidf", "--clusters", "0"], "--clusters"),
        (["a.jsonl", "--model", "builtin/tfidf", "--scorer", "x", "--repeats", "2"], "--scorer brings its own"),
        (["a.jsonl", "--model", "builtin/tfidf", "--scorer", "x", "--measure", "margin"], "--scorer brings its own"),
        (
            ["a.jsonl", "--model", "builtin/tfidf", "--measure", "margin"],
            "--measure margin compares the classes of rows: pass labels (--label-column label)",
        ),
        (["a.json", "--model", "builtin/tfidf"], "Did you mean 'a.jsonl'?"),
        (["a.jsonl", "--model", "builtin/tfidf", "--seed", "-1"], "--seed must be at least 0"),
        (["a.jsonl", "--model", "builtin/tfidf", "--pooling", "foo"], "--pooling must be one of"),
        (["a.jsonl", "--model", "builtin/tfidf", "--output", ""], "--output is empty"),
        (["two.jsonl", "--model", "builtin/tfidf"], "Choose one with --column (text: text, title: text)."),
        (["own.jsonl", "--model", "builtin/tfidf"], "Keep it under another name, or drop it."),
        (["a.jsonl", "--model", "builtin/tfidf", "--output", "/proc/out"], "--output /proc/out cannot be written"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(sentences, tmp_path, monkeypatch, words, message):
    sentences.to_json(tmp_path / "a.jsonl")
    sentences.add_column("title", sentences["text"][:]).to_json(tmp_path / "two.jsonl")
    sentences.add_column("difficulty", [0.5] * len(sentences)).to_json(tmp_path / "own.jsonl")
    (tmp_path / "notes.doc").write_text("x")
    done = run("score", "--output", "out", *words)
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not re.search("n_clusters|model_id|input_column|add_embeddings|add_difficulty|=|dataset\\.", done.stderr)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("out", "--output out is a file; name a directory."),
        ("out/new", "--output out/new cannot be a directory: out is a file."),
        ("arrow", "--output arrow is the dataset that is read"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_before_the_work(sentences, tmp_path, output, message):
    sentences.save_to_disk(tmp_path / "arrow")
    (tmp_path / "out").write_text("a file")
    done = run("score", "arrow", "--model", "no/such-model", "--output", output)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr and "no/such-model" not in done.stderr
    assert load_from_disk(tmp_path / "arrow")["text"][:] == sentences["text"][:]


def test_work_that_fails_is_exit_code_1(sentences, tmp_path):
    sentences.to_json(tmp_path / "a.jsonl")
    limit, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, limit[1]))
    try:
        done = run("score", "a.jsonl", "--model", "builtin/tfidf", "--duplicates", "first", "--output", "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, ignored)
    assert done.exit_code == 1, done.stderr
    assert "File too large" in done.stderr and "Errno" not in done.stderr and "Traceback" not in done.stderr


def test_what_is_printed_can_be_typed(sentences, tmp_path):
    """The words of the next command, as a shell takes them apart."""
    sentences.to_json(tmp_path / "a.jsonl")
    done = run("score", "a.jsonl", "--model", "builtin/tfidf", "--clusters", 3, "-o", "out été")
    assert done.exit_code == 0, done.stderr
    next_command = next(line for line in done.stdout.splitlines() if "hf-curriculum report" in line).split(":", 1)[1]
    assert shlex.split(next_command) == ["hf-curriculum", "report", "out été"]
    assert run(*shlex.split(next_command)[1:]).exit_code == 0


def test_options_of_the_library_are_those_of_the_command_line(sentences, tiny_bert, tmp_path):
    sentences.to_json(tmp_path / "a.jsonl")
    words = ["score", "a.jsonl", "--model", tiny_bert, "--clusters", 3, "--normalize", "none", "--pooling", "max"]
    words += ["--layer", "1", "--long-inputs", "mean", "--num-workers", 0, "--cache-dir", "kept", "--repeats", 2]
    done = run(*words, "--output", "out")
    assert done.exit_code == 0, done.stderr
    scorer = DifficultyScorer(3, normalize=None, repeats=2)
    options = {"pooling": "max", "layer": 1, "long_inputs": "mean", "cache_dir": str(tmp_path / "kept")}
    expected = add_difficulty(load_from_disk("out").select_columns("text"), tiny_bert, scorer=scorer, **options)
    np.testing.assert_allclose(load_from_disk("out")["difficulty"][:], expected["difficulty"][:], atol=1e-6)
    assert [*Path("kept").rglob("*.arrow")]
    scorer.save_pretrained("scorer")
    done = run("score", "a.jsonl", "--model", tiny_bert, *words[8:16], "--scorer", "scorer", "--output", "again")
    assert done.exit_code == 0, done.stderr
    np.testing.assert_allclose(load_from_disk("again")["difficulty"][:], expected["difficulty"][:], atol=1e-6)


def test_what_was_set_up_to_listen_is_taken_away(sentences):
    sentences.to_json("a.jsonl")
    logger = logging.getLogger("hf_curriculum")
    before = logger.level, list(logger.handlers)
    for _ in range(2):
        assert run("score", "a.jsonl", "--model", "builtin/tfidf", "--clusters", 3, "-o", "out").exit_code in (0, 2)
        assert (logger.level, logger.handlers) == before


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["score", "--help"]])
def test_a_full_disk_is_a_line_wherever_it_is_met(words):
    with open("/dev/full", "w") as full:
        done = subprocess.run([*COMMAND, *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "Error: No space left on device.\n")


@pytest.mark.costly
def test_a_damaged_file_is_told_once(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"no parquet")
    done = process("score", "a.parquet", "--model", "builtin/tfidf", "--output", "out")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "a.parquet cannot be read" in done.stderr


def test_what_can_be_done_about_a_push_is_said_for_a_shell():
    said = (
        "There is no token. Log in, or pass token=. Call push_scored again with revision='x': only the card is sent."
    )
    assert in_own_words(said) == (
        "There is no token. Log in, or set HF_TOKEN. Run the command again with --revision x: only the card is sent."
    )


def test_the_words_of_a_user_stay_as_they_are():
    message = "Column 'n_clusters' is not in the dataset; label_column='model_id' has n_clusters=3, seed=4, a seed."
    assert in_own_words(message) == (
        "Column 'n_clusters' is not in the dataset; --label-column model_id has --clusters 3, --seed 4, a seed."
    )


class NotInstalled:
    """An importer that lacks a module."""

    def __init__(self, module):
        self.module = module

    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] == self.module:
            raise ModuleNotFoundError(f"No module named {name!r}", name=self.module)


@pytest.mark.parametrize(("command", "module"), [("report", "plotly"), ("demo", "plotly"), ("demo", "matplotlib")])
def test_an_extra_that_is_missing_is_told_before_any_work(command, module, monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [NotInstalled(module), *sys.meta_path])
    words = ["report", "nowhere"] if command == "report" else ["demo", "--output", "demo"]
    done = run(*words)
    assert done.exit_code == 2 and f"needs `{module}`. Install it with `pip install" in done.stderr
    assert not (tmp_path / "demo").exists()


# --- for scripts --------------------------------------------------------------------------------------------------


def test_json_is_all_that_is_printed(sentences, tmp_path):
    sentences.to_json(tmp_path / "a.jsonl")
    options = ("--model", "builtin/tfidf", "--clusters", 3, "--duplicates", "first", "--output", "out")
    done = run("score", "a.jsonl", *options, "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    result, scored = json.loads(done.stdout), load_from_disk(tmp_path / "out")
    assert result == {
        "output": "out",
        "rows": 60,
        "rows_without_difficulty": provenance(scored)["copies"],
        "columns": scored.column_names,
        "provenance": provenance(scored),
    }


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["score", "nowhere.csv", "--model", "builtin/hog", "--output", "out"], 2, "neither a file nor a directory"),
        (["report", "nowhere.csv"], 2, "neither a file nor a directory"),
        (["demo", "--output", "file/demo"], 1, "Not a directory"),
    ],
)
def test_an_error_is_json_too(tmp_path, words, code, message):
    (tmp_path / "file").write_text("a file")
    done = run(*words, "--json")
    assert (done.exit_code, done.stderr) == (code, "")
    assert message in json.loads(done.stdout)["error"]


def test_rows_without_a_difficulty_are_counted(digits, tmp_path):
    damaged = Dataset.from_dict(
        {"image": [row["image"] if i != 7 else None for i, row in enumerate(digits.select(range(40)))]},
        Features({"image": Image()}),
    )
    damaged.save_to_disk(tmp_path / "damaged")
    words = ["score", "damaged", "--model", "builtin/hog", "--clusters", 3, "--output", "out", "--on-error"]
    done = run(*words, "raise")
    assert done.exit_code == 2 and "Row 7 of column 'image'" in done.stderr
    done = run(*words, "null")
    assert done.exit_code == 0 and "out, 1 of them without a difficulty." in done.stdout
    assert load_from_disk(tmp_path / "out")["difficulty"][7] is None


# --- terminal, help, completion, interruption ---------------------------------------------------------------------


def on_a_terminal(*words):
    """What a command writes to a terminal, and its exit code."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(COMMAND[0], [*COMMAND, *map(str, words)])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    written = b""
    with suppress(OSError), open(terminal, "rb", buffering=0) as file:  # a terminal that is gone is an error
        while part := file.read(4096):
            written += part
    return written.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.slow
def test_bars_are_for_terminals(sentences, own_cache, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(own_cache.parent))
    sentences.to_json("a.jsonl")
    words = ["score", "a.jsonl", "--model", "builtin/tfidf", "--duplicates", "first", "--output", "out"]
    done = process(*words)
    assert (done.returncode, done.stderr) == (0, "")
    shutil.rmtree(own_cache)
    written, code = on_a_terminal(*words, "--overwrite")
    assert code == 0 and "Embedding text: 100%" in written


@pytest.mark.parametrize("words", [[], ["score"], ["report"], ["push"], ["demo"]], ids=lambda words: "".join(words))
def test_help_says_what_to_type(words):
    done = run(*words, "--help")
    assert done.exit_code == 0
    assert f"Usage: hf-curriculum {' '.join(words)}".strip() in done.stdout
    assert f"\n  hf-curriculum {''.join(words) or 'score DATA --model MODEL --output scored'}" in done.stdout


def test_a_command_alone_shows_the_help():
    assert "Usage: hf-curriculum" in run().output and run().exit_code == 2


def test_every_option_is_explained():
    for words in (["score"], ["report"], ["push"], ["demo"]):
        options = run(*words, "--help").stdout.split("Options:")[1]
        assert re.findall(r"^  --[^ ]+( <.*>)?\n", options, re.MULTILINE) == []


def test_the_version_is_that_of_the_package():
    assert run("--version").stdout.strip() == __version__


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("hf-curriculum ", {"score", "report", "push", "demo"}),
        ("hf-curriculum score --model ", {"builtin/hog", "builtin/logmel", "builtin/tfidf"}),
        ("hf-curriculum score --normalize ", {"minmax", "rank", "none"}),
    ],
)
def test_words_are_completed(line, expected):
    words = {"_HF_CURRICULUM_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split()))}
    done = subprocess.run(COMMAND, env={**os.environ, **words}, capture_output=True, text=True, check=False)
    assert set(done.stdout.split()) == expected


@pytest.mark.slow
def test_ctrl_c_keeps_finished_shards(sentences, minilm, tmp_path):
    """The same command, run again, embeds only what was left."""
    texts = [f"{text} {i}" for i in range(100) for text in sentences["text"]]
    Dataset.from_dict({"text": texts}).to_parquet("texts.parquet")
    words = [*COMMAND, "score", "texts.parquet", "--model", minilm, "--clusters", "3", "--output", "out"]
    caches = {**os.environ, "HF_DATASETS_CACHE": str(tmp_path / "cache")}
    options = {"env": caches, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    first = subprocess.Popen(words, **options, start_new_session=True)
    finished = wait_for(lambda: [*(tmp_path / "cache").glob("hf_curriculum/*/shard-*.arrow")], first)
    os.killpg(first.pid, signal.SIGINT)
    out, err = first.communicate(timeout=60)
    assert (first.returncode, out) == (130, "")
    assert err == "Error: Interrupted. What is finished is kept: the same command goes on after it.\n"
    assert not Path("out").exists()
    stamps = {path: path.stat().st_mtime_ns for path in finished}
    done = subprocess.run(words, **options, check=False)
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in finished} == stamps
    assert len(load_from_disk("out")) == len(texts)


def wait_for(found, process):
    while not (result := found()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    return result


@pytest.mark.slow
def test_processes_of_accelerate_answer_once(sentences):
    sentences.to_json("a.jsonl")
    words = ["score", "a.jsonl", "--model", "builtin/tfidf", "--clusters", "3", "--output", "out", "--json"]
    done = subprocess.run(
        [*launch(2), "-m", "hf_curriculum.cli", *words], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == len(load_from_disk("out")) == 60


# --- push ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_push_uploads_all_splits_and_says_how_to_train_on_them(digits, tmp_path):
    scored = add_difficulty(DatasetDict(train=digits, test=digits.select(range(20))), "builtin/hog", n_clusters=4)
    scored.save_to_disk("scored")
    with hub() as server:
        options = {"env": on_hub(server, tmp_path), "capture_output": True, "text": True, "check": False}
        done = subprocess.run([*COMMAND, "push", "scored", "me/digits", "--private"], **options)
        assert done.returncode == 0 and "Error" not in done.stderr
        assert f"Pushed to {server.url}/datasets/me/digits/commit/" in done.stdout
        assert "load_dataset('me/digits', split='train')" in done.stdout
        repo = server.repos["datasets/me/digits"]
        assert repo.private and {"README.md", "curriculum/extremes.png"} < set(repo.files())
        assert sum(path.endswith(".parquet") for path in repo.files()) == 2
        rejected = subprocess.run(
            [*COMMAND, "push", "scored", "me/digits", "--json"],
            **{**options, "env": options["env"] | {"HF_TOKEN": "x"}},
        )
        assert rejected.returncode == 1 and "does not accept the token" in json.loads(rejected.stdout)["error"]


# --- report and demo ----------------------------------------------------------------------------------------------


def test_report_shows_a_scored_directory(digits, tmp_path):
    add_difficulty(digits, "builtin/hog", n_clusters=4).save_to_disk(tmp_path / "scored")
    config = CurriculumConfig(initial_fraction=0.1, warmup_steps=30)
    (tmp_path / "curriculum.json").write_text(config.to_json())
    done = run("report", "scored", "--curriculum", "curriculum.json", "--steps", 50, "--title", "Mine")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == "Wrote report.html. Open it in a browser; it needs no network.\n"
    html = (tmp_path / "report.html").read_text()
    assert "<title>Mine</title>" in html and '"total_steps": 50, "warmup_steps": 30' in html


def test_report_replaces_reports_alone(digits, tmp_path):
    add_difficulty(digits.select(range(40)), "builtin/hog", n_clusters=2).save_to_disk("scored")
    Path("thesis.html").write_text("mine")
    done = run("report", "scored", "-o", "thesis.html")
    assert done.exit_code == 2 and "thesis.html is no report of ours" in done.stderr
    assert Path("thesis.html").read_text() == "mine"
    assert run("report", "scored", "-o", "thesis.html", "--overwrite").exit_code == 0
    assert run("report", "scored", "-o", "thesis.html").exit_code == 0
    assert "is a directory; name a file" in run("report", "scored", "-o", "scored").stderr


@pytest.mark.parametrize("content", ["{", "[1]", "3", '{"initial_fraction": 0.9}', "\x80"])
def test_a_file_that_is_no_curriculum_is_named(digits, tmp_path, content):
    add_difficulty(digits.select(range(40)), "builtin/hog", n_clusters=2).save_to_disk("scored")
    (tmp_path / "c.json").write_bytes(content.encode("latin1"))
    done = run("report", "scored", "--curriculum", "c.json")
    assert done.exit_code == 2 and "--curriculum c.json holds no curriculum: " in done.stderr


@pytest.mark.parametrize("output", ["mine.csv", "."])
def test_the_demo_writes_over_nothing(tmp_path, output):
    (tmp_path / "mine.csv").write_text("mine")
    done = run("demo", "--output", output)
    assert done.exit_code == 2 and f"--output {output} " in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.csv"]


def test_report_shows_the_first_split_where_there_is_no_train(digits, tmp_path):
    scored = add_difficulty(digits.select(range(40)), "builtin/hog", n_clusters=2)
    DatasetDict(test=scored).save_to_disk("scored")
    assert run("report", "scored").exit_code == 0


@pytest.mark.slow
@pytest.mark.costly
def test_demo_shows_a_table_and_writes_its_files(tmp_path):
    done = run("demo", "--output", tmp_path / "demo", "--steps", 24)
    assert done.exit_code == 0, done.stderr
    lines = done.stdout[done.stdout.index("step  ") :].splitlines()
    steps = [int(line.split()[0]) for line in lines[1:] if line.split() and line.split()[0].isdigit()]
    assert steps == list(range(2, 25, 2))
    assert "uniform" in lines[-6]
    assert done.output.count("'loss'") == 0 and "it/s" not in done.output  # the table comes once
    assert (tmp_path / "demo" / "curriculum.png").stat().st_size > 20_000
    assert len(load_from_disk(tmp_path / "demo" / "scored")) == 1797
    assert json.dumps(provenance(load_from_disk(tmp_path / "demo" / "scored")))


# --- outputs and splits --------------------------------------------------------------------------------------------

SCORE = ["--model", "builtin/tfidf", "--clusters", 2]


@pytest.fixture
def two_splits(sentences, tmp_path):
    sentences.select(range(40)).to_parquet(tmp_path / "news" / "train.parquet")
    sentences.select(range(40, 60)).to_parquet(tmp_path / "news" / "test.parquet")
    return tmp_path / "news"


def test_all_splits_are_scored_unless_one_is_chosen(two_splits, tmp_path):
    done = run("score", two_splits, *SCORE, "--output", tmp_path / "both")
    assert done.exit_code == 0, done.stderr
    both = load_from_disk(tmp_path / "both")
    assert {name: len(split) for name, split in both.items()} == {"train": 40, "test": 20}
    assert all("difficulty" in split.column_names for split in both.values())
    done = run("score", two_splits, *SCORE, "--split", "test", "--output", tmp_path / "one")
    assert done.exit_code == 0, done.stderr
    assert len(load_from_disk(tmp_path / "one")) == 20


def test_a_scored_dataset_is_replaced_only_when_that_is_asked_for(two_splits, tmp_path):
    words = ["score", two_splits, *SCORE, "--output", tmp_path / "out"]
    assert run(*words).exit_code == 0
    refused = run(*words, "--split", "test")
    assert refused.exit_code == 2
    assert "is a scored dataset already. Name another directory, or pass --overwrite." in refused.stderr
    assert set(load_from_disk(tmp_path / "out")) == {"train", "test"}
    assert run(*words, "--split", "test", "--overwrite").exit_code == 0
    assert len(load_from_disk(tmp_path / "out")) == 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["news", "out"]


@pytest.mark.parametrize("content", ["a file", "a folder", "another dataset", "one file more"])
def test_what_is_not_ours_is_never_written_over(two_splits, tmp_path, sentences, content):
    out = tmp_path / "out"
    if content == "another dataset":
        sentences.save_to_disk(out)
    elif content == "one file more":
        assert run("score", two_splits, *SCORE, "--output", out).exit_code == 0
        (out / "notes.txt").write_text("mine")
    else:
        (out / "thesis").mkdir(parents=True)
        if content == "a file":
            (out / "thesis" / "chapter.tex").write_text("mine")
        else:
            (out / "thesis" / "data").write_bytes(b"mine")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    done = run("score", two_splits, *SCORE, "--output", out, "--overwrite")
    assert done.exit_code == 2
    assert "nothing is written over it" in done.stderr.lower()
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_measure_and_duplicates_reach_the_scores_and_the_answer(tmp_path):
    rng = np.random.default_rng(0)
    label = np.arange(90) % 3
    matrix = (rng.normal(size=(90, 6)) + 4 * np.eye(6)[label]).astype(np.float32)
    matrix[[40, 43]] = matrix[1]
    label[[*range(50, 62)]] = (label[50:62] + 1) % 3  # wrong
    rows = Dataset.from_dict({"embedding": matrix, "label": label})
    rows.to_parquet("rows.parquet")
    words = ["score", "rows.parquet", "--label-column", "label", "--duplicates", "first"]
    done = run(*words, "--output", "out")
    assert done.exit_code == 0, done.stderr
    scored = load_from_disk("out")
    expected = add_difficulty(rows, label_column="label", measure="margin", duplicates="first")
    for name in ("difficulty", "suggested_label"):
        assert scored[name][:] == expected[name][:]
    assert scored["suggested_label"][50] == 2
    doubtful = provenance(expected)["doubtful_labels"]
    assert 6 <= doubtful <= 18  # of twelve
    assert f"About {doubtful} labels look wrong, far fewer where the encoder does not tell" in done.stdout
    assert "2 rows have the embedding of an earlier row." in done.stdout
    answer = json.loads(run(*words, "--output", "out", "--overwrite", "--json").stdout)
    assert answer["provenance"]["doubtful_labels"] == doubtful and answer["rows_without_difficulty"] == 2
    for name, more in (("distance", []), ("averaged", ["--repeats", "2"])):  # of clusterings, so of distances
        options = more or ["--measure", "distance"]
        assert run("score", "rows.parquet", "--label-column", "label", *options, "--output", name).exit_code == 0
        record = provenance(load_from_disk(name))
        assert record["measure"] == "distance" and record["repeats"] == 1 + len(more) // 2
