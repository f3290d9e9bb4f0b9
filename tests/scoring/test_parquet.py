"""score_parquet: the numbers of one machine, each row once, whoever is killed."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import worker_parquet
from datasets import Dataset, Value, load_dataset
from launching import environment
from needs import needs
from typer.testing import CliRunner
from worker_parquet import count_letters, count_slowly, refuse_some

from hf_curriculum import (
    DifficultyScorer,
    Embedder,
    add_difficulty,
    provenance,
    score_parquet,
)
from hf_curriculum.cli import app
from hf_curriculum.data import difficulty_quantiles
from hf_curriculum.scoring.parquet import _in_proportion

SCORES = ["embedding", "cluster", "distance", "difficulty"]
WORDS = ["red", "green", "blue", "cat", "dog", "bird", "small", "large", "abacus", "ostrich"]


def write_texts(folder, sizes, seed=0):
    """Files of short texts, of which the number of the row is a column; the rows as a dataset.

    Of column ``some`` no row of the second file has a class, and of the others three in four.
    """
    rng = random.Random(seed)
    texts = [" ".join(rng.choices(WORDS, k=1 + i % 9)) for i in range(sum(sizes))]
    label, share = [i % 3 for i in range(len(texts))], [i / len(texts) for i in range(len(texts))]
    second = range(sizes[0], sum(sizes[:2]))
    some = [None if i % 4 == 0 or i in second else int(len(text) > 20) for i, text in enumerate(texts)]
    columns = {"text": texts, "label": label, "some": some, "share": share, "key": range(len(texts))}
    rows = Dataset.from_dict(columns)
    folder.mkdir(parents=True)
    first = 0
    for i, size in enumerate(sizes):
        rows.select(range(first, first + size)).to_parquet(str(folder / f"{i:03d}.parquet"), batch_size=700)
        first += size
    return rows


def read(folder, order="row"):
    """All scored rows in the order of the input."""
    table = pa.concat_tables(pq.read_table(file) for file in sorted(folder.glob("*.parquet")))
    return Dataset(table.sort_by(order))


def assert_same(scored, reference, columns=SCORES):
    assert len(scored) == len(reference)
    for column in columns:
        assert scored.data.column(column).to_pylist() == reference.data.column(column).to_pylist(), column


@pytest.fixture(scope="module")
def running():
    """A Ray of one CPU that runs already: who does not ask for more actors waits for the imports of one."""
    ray = needs("ray")
    with pytest.MonkeyPatch.context() as patch:  # so that actors find the encoders
        patch.setenv("PYTHONPATH", f"{Path(worker_parquet.__file__).parent}:{os.environ.get('PYTHONPATH', '')}")
        ray.init(include_dashboard=False, log_to_driver=False, num_cpus=1)
        yield ray
        ray.shutdown()


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts") / "in"
    return folder, write_texts(folder, [1500, 30, 2900, 570])


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch, texts):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModuleNotFoundError, match=r"score_parquet needs `ray`.*hf-curriculum\[ray\]"):
        score_parquet(texts[0], tmp_path / "out", count_letters, input_column="text", n_clusters=3)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"input_column": "txt"}, "'txt'"),
        ({"input_column": "text", "id_column": "keys"}, "Did you mean 'key'"),
        ({"input_column": "text", "label_column": "labels"}, "Did you mean 'label'"),
        ({"input_column": "text", "n_clusters": 6000}, "6000 clusters need at least as many rows"),
        ({"input_column": "text", "concurrency": 0}, "concurrency must be at least 1, got 0"),
        ({"input_column": "text", "sample_rows": 0}, "sample_rows must be at least 1, got 0"),
        ({"input_column": "text", "on_error": "skip"}, "on_error must be"),
        ({"input_column": "text", "id_column": "difficulty"}, "difficulty"),
        ({"input_column": "text", "label_column": "share"}, "'share' holds double; labels must be integers or str"),
        (
            {"input_column": "text", "sample_rows": 99, "scorer": DifficultyScorer(2).fit(np.eye(9))},
            "sample_rows=99: a fitted scorer is not fitted again, leave it out",
        ),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(tmp_path, texts, options, message):
    with pytest.raises(ValueError, match=message):
        score_parquet(texts[0], tmp_path / "out", count_letters, **options)
    assert not (tmp_path / "out").exists()


def test_a_model_of_another_kind_than_the_columns_is_refused(tmp_path, texts, minilm):
    with pytest.raises(ValueError, match="image"):
        score_parquet(texts[0], tmp_path / "out", "builtin/hog")
    with pytest.raises(ValueError, match="embeds text, but column 'label' is Value..int64"):
        score_parquet(texts[0], tmp_path / "out", minilm, input_column="label")
    with pytest.raises(ValueError, match="learns its words from a whole dataset"):
        score_parquet(texts[0], tmp_path / "out", "builtin/tfidf")


def test_an_output_that_is_something_else_is_refused(tmp_path, texts):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("mine")
    for output, message in (("file", "is a file"), ("folder", r"holds something else already \(thesis.tex\)")):
        with pytest.raises(ValueError, match=message):
            score_parquet(texts[0], tmp_path / output, count_letters, input_column="text", n_clusters=3)
    with pytest.raises(ValueError, match="There is no Parquet file .*beside the output"):
        score_parquet(texts[0], texts[0], count_letters, input_column="text", n_clusters=3)
    assert (tmp_path / "folder" / "thesis.tex").read_text() == "mine"


def without_comparison(scored):
    """The record of one machine, but for what it counts by looking at all rows at once."""
    counted = ("copies", "duplicates", "doubtful_labels")
    return {name: value for name, value in provenance(scored).items() if name not in counted}


@pytest.mark.slow
def test_no_file_of_the_output_names_a_folder_of_the_user(running, tmp_path, texts, tiny_bert):
    home = tmp_path / "alice-of-the-tests"
    model = shutil.copytree(tiny_bert, home / "my-bert")
    score_parquet(texts[0], tmp_path / "out", str(model), input_column="text", n_clusters=2, sample_rows=100)
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert any(path.name == "arguments.json" for path in files)
    assert [path for path in files if home.name.encode() in path.read_bytes()] == []
    moved = model.rename(tmp_path / "my-bert")  # the same model in another place goes on
    score_parquet(texts[0], tmp_path / "out", str(moved), input_column="text", n_clusters=2, sample_rows=100)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"n_clusters": 4, "label_column": "label", "measure": "distance", "concurrency": 2},
        {"scorer": DifficultyScorer(5, normalize="rank", repeats=2)},
        {"label_column": "some"},
        {"label_column": "some", "measure": "distance", "n_clusters": 3, "concurrency": 2},
    ],
    ids=["labels", "rank", "margin", "labels of some"],
)
def test_the_numbers_are_those_of_one_machine(running, tmp_path, texts, options):
    folder, rows = texts
    given = {"model_id": count_letters, "input_column": "text", "sample_rows": 1000} | options
    scorer = score_parquet(folder, tmp_path / "out", **given)
    scored = read(tmp_path / "out")
    again = {"model_id": count_letters, "input_column": "text", "label_column": options.get("label_column")}
    reference = add_difficulty(rows, scorer=scorer, **again)
    assert_same(scored, reference, reference.column_names)
    assert scored["row"][:] == list(range(5000))
    assert provenance(scored) == without_comparison(reference)
    assert provenance(scored, "embedding") == provenance(reference, "embedding")
    difficulties = [value for value in reference["difficulty"] if value is not None]
    assert (len(difficulties) == 5000) == (options.get("label_column") != "some")
    known, of_all = np.array(scorer.quantiles_), np.array(difficulty_quantiles(difficulties))
    assert np.abs(known - of_all)[16:-16].max() < 0.1 * of_all[-1]
    types = reference.features.arrow_schema.remove_metadata()
    assert [scored.features.arrow_schema.field(name) for name in types.names] == list(types)
    stored = DifficultyScorer.from_pretrained(tmp_path / "out" / "scorer")
    assert_same(add_difficulty(rows, scorer=stored, **again), scored)


def test_a_rare_class_has_no_more_of_the_quantiles_than_of_the_rows():
    labels = np.repeat(["common", "rare"], [6000, 5000])
    kept = labels[_in_proportion(labels, Counter(common=90_000, rare=10_000), seed=0)]
    assert np.sum(kept == "common") == 6000 and abs(np.sum(kept == "rare") - 6000 / 9) < 100


@pytest.mark.slow
def test_ranges_are_those_of_all_rows_but_for_outliers(running, tmp_path):
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(4, 8)) * 10
    planted = centers[rng.integers(0, 4, 9000)] + rng.normal(size=(9000, 8))
    planted[::1500] = centers[0] + 500 * np.eye(8)[0] + rng.normal(size=(6, 8))  # a tiny cluster, far away
    Dataset.from_dict({"vector": planted.astype(np.float32)}).to_parquet(str(tmp_path / "in.parquet"))
    options = {"input_column": "vector", "scorer": DifficultyScorer(5, l2_normalize=False), "sample_rows": 8990}
    scorer = score_parquet(tmp_path / "in.parquet", tmp_path / "out", np.asarray, **options)
    assert scorer.outliers_ and scorer.n_clusters_ == 4
    scored = read(tmp_path / "out")
    cluster, distance, difficulty = (np.array(scored[name]) for name in SCORES[1:])
    usual = np.arange(9000) % 1500 != 0
    for k in range(4):
        mine = usual & (cluster == k)
        low, high = scorer.prototypes_[0].quantiles[k]
        assert (low, high) == (distance[mine].min(), distance[mine].max())
        np.testing.assert_allclose(difficulty[mine], (distance[mine] - low) / (high - low), atol=1e-6)
    assert (difficulty[~usual] == 1).all()


@pytest.mark.slow
def test_media_stay_as_they_are_and_files_are_sorted(running, tmp_path, digits):
    rng = np.random.default_rng(0)
    shuffled = digits.select(rng.permutation(200)).add_column("many", [[i] * (i % 4) for i in range(200)])
    shuffled.to_parquet(str(tmp_path / "in.parquet"))
    scorer = score_parquet(tmp_path / "in.parquet", tmp_path / "out", "builtin/hog", n_clusters=4)
    reference = add_difficulty(shuffled, "builtin/hog", scorer=scorer)
    scored = read(tmp_path / "out")
    assert_same(scored, reference, ["image", "label", "many", *SCORES])
    assert (
        scored.features["image"] == digits.features["image"] and scored.features["label"] == digits.features["label"]
    )
    metadata = pq.read_metadata(tmp_path / "out" / "part-000000-of-000001.parquet")
    assert metadata.num_row_groups > 3 and max(metadata.row_group(i).num_rows for i in range(4)) <= 64
    last = metadata.num_columns - 1
    bounds = [metadata.row_group(i).column(last).statistics for i in range(metadata.num_row_groups)]
    assert [bound.min for bound in bounds][1:] >= [bound.max for bound in bounds][:-1]
    (file,) = (tmp_path / "out").glob("*.parquet")
    written = pq.read_table(file)["difficulty"].to_pylist()
    assert written == sorted(written)
    loaded = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.features["image"] == digits.features["image"] and provenance(loaded) == without_comparison(reference)
    stream = load_dataset("parquet", data_files=str(tmp_path / "out/*.parquet"), split="train", streaming=True)
    assert next(iter(stream))["image"].size == (8, 8)


@pytest.mark.slow
def test_an_output_inside_the_input_is_none_of_it_and_cut_texts_are_told(
    running, tmp_path, tiny_bert, caplog, monkeypatch
):
    """All by relative paths, which mean what they mean to the driver: the Ray was started elsewhere."""
    rows = write_texts(tmp_path / "in", [3000]).map(
        lambda row: {"text": row["text"] * (1 + 99 * (row["key"] == 2500))}
    )
    rows.to_parquet(str(tmp_path / "in" / "000.parquet"))
    shutil.copytree(tiny_bert, tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        score_parquet("in", "in/out", "model", n_clusters=3)
    assert len(read(tmp_path / "in" / "out")) == 3000
    assert caplog.text.count("longer than the model takes and were cut") == 1


@pytest.mark.slow
def test_bad_rows_are_named_or_left_without_a_score(running, tmp_path, caplog):
    rows = write_texts(tmp_path / "in", [2500, 1000]).to_dict()
    bad = [7, 2600]
    for row in bad:
        rows["text"][row] = None
    Dataset.from_dict(rows).to_parquet(str(tmp_path / "bad.parquet"))
    options = {"input_column": "text", "n_clusters": 3, "sample_rows": 1500}
    with pytest.raises(ValueError, match="Row (7|2600) of column 'text' cannot be embedded: the row is null"):
        score_parquet(tmp_path / "bad.parquet", tmp_path / "out", count_letters, **options)
    scorer = score_parquet(tmp_path / "bad.parquet", tmp_path / "out", count_letters, **options, on_error="null")
    assert "2 of 3500 rows have no embedding" in caplog.text
    reference = add_difficulty(
        Dataset.from_dict(rows), count_letters, input_column="text", scorer=scorer, on_error="null"
    )
    scored = read(tmp_path / "out")
    assert_same(scored, reference)
    assert [i for i, value in enumerate(scored["difficulty"]) if value is None] == bad
    (last,) = (tmp_path / "out").glob("part-000000-*")
    assert pq.read_table(last)["difficulty"].to_pylist()[-1] is None
    with pytest.raises(ValueError, match="on_error was 'null' and is 'raise'"):
        score_parquet(tmp_path / "bad.parquet", tmp_path / "out", count_letters, **options)
    nothing = Dataset.from_dict({"text": [None] * 5}).cast_column("text", Value("string"))
    nothing.to_parquet(str(tmp_path / "none.parquet"))
    with pytest.raises(ValueError, match="No row of column 'text' can be embedded"):
        score_parquet(tmp_path / "none.parquet", tmp_path / "none", count_letters, on_error="null", **options)


@pytest.mark.slow
def test_other_arguments_on_the_same_output_are_refused(running, tmp_path, texts):
    folder, rows = texts
    given = {"input_column": "text", "n_clusters": 5, "keep_embeddings": False, "id_column": "key"}
    with pytest.raises(ValueError, match="Id column 'label' has 0 in 1667 rows"):
        score_parquet(folder, tmp_path / "out", count_letters, **given | {"id_column": "label"})
    assert not list((tmp_path / "out").rglob("*.parquet"))
    scorer = score_parquet(
        folder, tmp_path / "out", count_letters, **given
    )  # a call that came to nothing binds nobody
    scored = read(tmp_path / "out", "key")
    assert scored.column_names == ["text", "label", "some", "share", "key", "cluster", "distance", "difficulty"]
    assert provenance(scored)["embedding"]["model_id"] == "count_letters"
    assert_same(scored, add_difficulty(rows, count_letters, input_column="text", n_clusters=5), SCORES[1:])
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.parquet")}
    again = score_parquet(folder, tmp_path / "out", count_letters, **given, concurrency=1, batch_size=7)
    np.testing.assert_array_equal(again.centroids_, scorer.centroids_)
    other = tmp_path / "other"
    write_texts(other, [1500, 30, 2900, 570], seed=1)
    own = DifficultyScorer(5)  # is not fitted by a call, and so the same in the next one
    for _ in range(2):
        score_parquet(folder, tmp_path / "out", count_letters, **given | {"n_clusters": None}, scorer=own)
    for changed, message in (
        ({"n_clusters": 6}, "scorer was .*5.* and is .*6"),
        ({"scorer": scorer, "n_clusters": None}, "scorer was .* and is .*fitted"),
        ({"seed": 3}, "scorer was"),
        ({"keep_embeddings": True}, "keep_embeddings was False and is True"),
        ({"id_column": None}, "id_column was 'key' and is None"),
        ({"label_column": "label"}, "label_column was None and is 'label'"),
        ({"sample_rows": 2000}, "sample_rows was None and is 2000"),
        ({"model_id": refuse_some}, "embedding was"),
        ({"input": other}, "input was"),
    ):
        call = {"input": folder, "model_id": count_letters, **given, **changed}
        with pytest.raises(ValueError, match=f"begun with other arguments: .*{message}"):
            score_parquet(call.pop("input"), tmp_path / "out", call.pop("model_id"), **call)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.parquet")}
    assert running.is_initialized()
    one, two = tmp_path / "out" / "scorer", tmp_path / "two"
    with pytest.raises(ValueError, match="fitted on other embeddings: model_id was 'count_letters'"):
        score_parquet(folder, two, refuse_some, input_column="text", scorer=one)
    assert len(list(two.rglob("*.parquet"))) < 3  # of three parts
    with pytest.raises(ValueError, match="fitted without labels"):
        score_parquet(folder, tmp_path / "3", count_letters, input_column="text", scorer=scorer, label_column="label")


@pytest.mark.slow
def test_a_model_that_only_the_driver_can_load_is_an_error_that_says_so(running, tmp_path, texts, monkeypatch):
    (tmp_path / "only_here.py").write_text(
        "import numpy as np\ndef embed(texts):\n    return np.ones((len(texts), 2))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import only_here

    with pytest.raises(RuntimeError, match="cannot be loaded where it should run.*No module named 'only_here'"):
        score_parquet(texts[0], tmp_path / "out", only_here.embed, input_column="text", n_clusters=2)
    Dataset.from_dict({"text": ["good", "bad"]}).to_parquet(str(tmp_path / "bad.parquet"))
    with pytest.raises((ValueError, RuntimeError), match="a bad text"):
        score_parquet(tmp_path / "bad.parquet", tmp_path / "two", refuse_some, input_column="text", n_clusters=1)


@pytest.mark.slow
def test_the_callables_are_functions_of_ray_data_too(running, tmp_path, texts, minilm):
    folder, rows = texts
    embedded = running.data.read_parquet(str(folder)).map_batches(
        Embedder(minilm), batch_format="pyarrow", batch_size=None
    )
    found = pa.concat_tables(running.get(embedded.to_arrow_refs())).sort_by("key")
    reference = add_difficulty(rows, minilm, n_clusters=3)
    np.testing.assert_allclose(found["embedding"].to_pylist(), reference["embedding"][:], atol=1e-5)


def worker(*words, **more):
    words = [sys.executable, worker_parquet.__file__, *map(str, words)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(words, env=environment() | more, **pipes, text=True)


def finished(output):
    """Finished parts: their content and the time when they were written."""
    found = {}
    for path in [*output.glob("part-*.parquet"), *output.glob(".job/vectors/*.parquet")]:
        try:
            found[path] = path.stat().st_mtime_ns, path.stat().st_ino
        except FileNotFoundError:  # swept just now
            pass
    return found


@pytest.fixture
def many(tmp_path):
    return tmp_path / "in", write_texts(tmp_path / "in", [30_000, 11, 2_000, 8_000])


@pytest.mark.slow
def test_a_driver_killed_at_ten_moments_loses_nothing_and_writes_nothing_twice(running, tmp_path, many):
    folder, rows = many
    rng, output, kills, before = random.Random(0), tmp_path / "out", 0, {}
    moments = sorted(rng.sample(range(1, 31), 10))  # of 20 parts that are embedded, then scored
    address = running.get_runtime_context().gcs_address
    drivers = worker(folder, output, "count_slowly", 1, "--each", RAY_ADDRESS=address)
    ended = None
    while ended != 0:
        print(file=drivers.stdin, flush=True)
        driver = int(drivers.stdout.readline())
        kill = kills < 10
        while not (kill and len(before) >= moments[kills]) and psutil.pid_exists(driver):
            now = finished(output)
            assert all(now[path] == before[path] for path in now.keys() & before.keys())
            before |= now
            time.sleep(0.01)
        if kill:
            time.sleep(rng.uniform(0, 0.3) if len(before) < 20 else 0)  # scores are soon all there
            os.kill(driver, signal.SIGKILL)
            kills += 1
        ended = int(drivers.stdout.readline())
        assert ended == (-signal.SIGKILL if kill else 0), drivers.communicate()[1]
    drivers.communicate()
    assert kills == 10
    scored = read(output)
    assert scored["row"][:] == scored["key"][:] == list(range(len(rows)))
    scorer = DifficultyScorer.from_pretrained(output / "scorer")
    assert_same(scored, add_difficulty(rows, count_slowly, input_column="text", batch_size=256, scorer=scorer))
    assert sorted(path.name for path in output.iterdir() if path.suffix != ".parquet") == [".job", "scorer"]
    assert [path.name for path in (output / ".job").iterdir()] == ["arguments.json"]


@pytest.mark.slow
def test_actors_that_are_killed_lose_nothing(running, tmp_path, many):
    folder, rows = many
    address = running.get_runtime_context().gcs_address
    driver = worker(folder, tmp_path / "out", "count_slowly", 2, RAY_ADDRESS=address)
    killed = 0
    while driver.poll() is None and killed < 2:
        if len(finished(tmp_path / "out")) >= 3 + 9 * killed:
            actors = [one for one in psutil.process_iter() if "ray::_Worker" in " ".join(words_of(one))]
            if actors:
                actors[0].kill()
                killed += 1
        time.sleep(0.05)
    assert driver.wait(600) == 0, driver.stderr.read()
    assert killed == 2
    scored = read(tmp_path / "out")
    assert scored["row"][:] == scored["key"][:] == list(range(len(rows)))


def words_of(process):
    try:
        return process.cmdline() or [process.name()]
    except psutil.NoSuchProcess:
        return []


FULL_DISK = """
mount -t tmpfs -o size=1000k none "$0" || exit 77
"$@"
test $? = 5 || exit 78
stat -c "%i %y %n" "$0"/.job/vectors/0*.parquet > "$KEEP.before"
mount -o remount,size=50m "$0" || exit 77
"$@" > "$KEEP.said" 2>&1 || exit 79
cp -r "$0" "$KEEP"
"""


@pytest.mark.slow
def test_a_full_disk_is_named_and_the_next_call_goes_on(tmp_path, many):
    """On a disk of 1 MB, which 40,011 vectors of nine numbers fill; by a Ray of its own, which each call ends."""
    needs("ray")
    folder, rows = many
    disk, keep = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    words = ["unshare", "--mount", "sh", "-c", FULL_DISK, str(disk), sys.executable, worker_parquet.__file__]
    words += [str(folder), str(disk), "count_letters", "1"]
    quiet = environment() | {"HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "KEEP": str(keep)}
    quiet.pop("RAY_ADDRESS", None)
    ran = subprocess.run(words, env=quiet, capture_output=True, text=True, check=False, timeout=600)
    if ran.returncode in (1, 77):
        pytest.skip("nobody may mount a disk here")
    assert ran.returncode == 0, ran.stderr
    assert 3 < len((tmp_path / "kept.before").read_text().splitlines()) < 20
    assert "parts are embedded and 0 scored, and kept: make room and call again" in ran.stderr
    assert (tmp_path / "kept.said").read_text() == ""
    scored = read(keep)
    assert scored["row"][:] == scored["key"][:] == list(range(len(rows)))


@pytest.mark.slow
def test_the_command_line_scores_by_ray(running, tmp_path, texts, minilm):
    folder, rows = texts
    words = ["score", str(folder), "--model", minilm, "--output", str(tmp_path / "out"), "--clusters", "4"]
    ran = CliRunner().invoke(app, [*words, "--engine", "ray", "--json"])
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout) == {"output": str(tmp_path / "out"), "n_clusters": 4}
    scored = read(tmp_path / "out")
    assert_same(scored, add_difficulty(rows, minilm, n_clusters=4))  # all rows are the sample
    again = CliRunner().invoke(app, [*words[:-1], "5", "--engine", "ray"])
    assert again.exit_code == 2 and "begun with other arguments: scorer was" in again.output


def test_the_command_line_wants_a_model_for_ray_and_ray(tmp_path, texts, minilm, monkeypatch):
    words = ["score", str(texts[0]), "--output", str(tmp_path / "out"), "--engine", "ray"]
    ran = CliRunner().invoke(app, words)
    assert ran.exit_code == 2 and "pass --model" in ran.output
    monkeypatch.setitem(sys.modules, "ray", None)
    ran = CliRunner().invoke(app, [*words, "--model", minilm])
    assert ran.exit_code == 2 and "hf-curriculum[ray]" in ran.output


@pytest.mark.parametrize("more", [["--overwrite"], ["--split", "train"], ["--config", "en"]])
def test_the_command_line_has_options_that_ray_does_not(tmp_path, texts, more):
    words = ["score", str(texts[0]), "--output", str(tmp_path / "out"), "--model", "me/model", "--engine", "ray"]
    ran = CliRunner().invoke(app, [*words, *more])
    assert ran.exit_code == 2 and "leave --split, --config and --overwrite out" in " ".join(ran.output.split())


@pytest.mark.parametrize("more", [["--num-workers", "2"], ["--cache-dir", "kept"]])
def test_the_command_line_has_ways_to_work_that_ray_does_not(tmp_path, texts, more):
    words = ["score", str(texts[0]), "--output", str(tmp_path / "out"), "--model", "me/model", "--engine", "ray"]
    ran = CliRunner().invoke(app, [*words, *more])
    assert ran.exit_code == 2 and "leave --num-workers and --cache-dir out" in " ".join(ran.output.split())


@pytest.mark.slow
def test_the_command_line_hands_files_and_a_scorer_to_ray(running, tmp_path, texts, minilm):
    folder, rows = texts
    files = sorted(map(str, folder.glob("*.parquet")))
    words = ["score", *files, "--model", minilm, "--engine", "ray"]
    options = ["--clusters", "4", "--repeats", "2", "--pooling", "max", "--normalize", "none"]
    ran = CliRunner().invoke(app, [*words, "-o", str(tmp_path / "out"), *options])
    assert ran.exit_code == 0, ran.output
    scorer = DifficultyScorer(4, normalize=None, repeats=2)
    assert_same(read(tmp_path / "out"), add_difficulty(rows, minilm, scorer=scorer, pooling="max"))
    saved = str(tmp_path / "out" / "scorer")
    ran = CliRunner().invoke(app, [*words, "-o", str(tmp_path / "again"), "--scorer", saved, "--pooling", "max"])
    assert ran.exit_code == 0, ran.output
    assert_same(read(tmp_path / "again"), add_difficulty(rows, minilm, scorer=scorer, pooling="max"))
